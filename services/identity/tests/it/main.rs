//! Everything of identity that is seen from outside, on both stores: its port, its installation, its service.
#[macro_use]
mod ground;
mod at_rest;
mod duties;
mod grpc;
mod indexes;
mod installation;
mod laws;
mod opening;
mod tenancy;
