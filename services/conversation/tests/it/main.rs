//! All tests of conversation in one binary.
mod bus;
mod cache;
mod fanout;
mod grpc;
mod outcomes;
mod presence;
mod replicas;
mod rig;
mod sessions;
mod store;
mod turns;
