//! The knowledge service from outside: one binary, since linking each of several costs more than running them.
mod common;
mod database;
mod grpc;
mod index;
mod plans;
mod replicas;
mod retrieval;
mod store;
mod tenancy;
