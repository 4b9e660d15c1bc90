//! The rules service from outside: one binary, since linking each of several costs more than running them.
mod demo;
mod dialogues;
mod grpc;
mod loader;
mod postgres;
mod store;
