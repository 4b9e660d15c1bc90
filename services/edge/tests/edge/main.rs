//! The edge from outside, over a mesh in this process. One binary, so that it is linked once.
mod conversation;
mod persons;
mod replicas;
mod rest;
mod socket;
mod support;
