//! Salesforce's tests: one binary, so that they are linked once. Those on PostgreSQL say SKIPPED where there is no server.
mod absent;
mod demo;
mod grpc;
mod laws;
mod migrations;
mod races;
mod replay;
mod rig;
mod sealed;
mod stub;
mod tenancy;
