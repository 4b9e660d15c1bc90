//! Tests of the whole tree and of the whole stack.
mod migrations;
mod people;
mod servers;
mod structure;
