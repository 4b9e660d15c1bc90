//! The edge from outside, over a mesh in this process. One binary, so that it is linked once.
mod rest;
mod socket;
mod support;
