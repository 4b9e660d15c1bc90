//! Tests of the whole stack, in one process.
mod structure;
