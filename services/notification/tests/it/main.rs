//! Notification's tests: one binary, so that they are linked once. Those on PostgreSQL say SKIPPED where there is no server.
mod absent;
mod grpc;
mod laws;
mod migrations;
mod replicas;
mod rig;
mod sealed;
mod sender;
mod tenancy;
