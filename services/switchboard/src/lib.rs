//! The all-in-one and the command line.
//!
//! In: arguments, settings, scenario and example files. Out: a [`Stack`] of all services in one process, or the work of one
//! command. Never: a rule of the business, a store of its own, or a global: many stacks can live in one process.
pub mod cli;

mod chat;
mod config_cmd;
mod eval;
mod failure;
mod lock;
mod migrate;
mod nlu;
mod out;
mod settings;
mod socket;
mod stack;
mod token;
mod up;

pub use migrate::OWNERS;
pub use stack::{Stack, StackConfig, Transport};
