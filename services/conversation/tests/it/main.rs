//! All tests of conversation in one binary.
mod grpc;
mod rig;
mod store;
mod turns;
