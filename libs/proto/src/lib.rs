//! The contracts between services, as Rust types.
//!
//! In: the files of `proto/`, compiled at build time without protoc. Out: one module per package, the descriptor set for
//! reflection, the tables of reasons and methods, and conversions of well-known types ([`convert`]). Never: any behaviour.
#![allow(missing_docs, clippy::all, unreachable_pub)] // generated code carries the comments of the .proto files

pub mod convert;

/// Every file of `proto/` with its comments, for reflection and for tools.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// What one reason means on the wire; from the options in `error/v1/reason.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonRow {
    /// Number of the enum value.
    pub number: i32,
    /// Name without the prefix: what clients see.
    pub name: &'static str,
    /// google.rpc.Code.
    pub code: i32,
    /// HTTP status at the edge.
    pub http: u16,
    /// True if the same request may succeed later.
    pub retry: bool,
    /// Title of the problem document.
    pub title: &'static str,
}

/// All reasons, by number.
pub const REASONS: &[ReasonRow] = include!(concat!(env!("OUT_DIR"), "/reasons.rs"));

/// What clients have to know about a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodRow {
    /// HTTP/2 path, such as `/switchboard.rules.v1.RulesService/Decide`.
    pub path: &'static str,
    /// True if it may be retried (`idempotency_level` is set).
    pub idempotent: bool,
    /// True if either side streams.
    pub streaming: bool,
}

/// All methods of all services.
pub const METHODS: &[MethodRow] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

macro_rules! package {
    ($($name:ident => $package:literal),* $(,)?) => {$(
        #[doc = concat!("`switchboard.", $package, ".v1`")]
        pub mod $name {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/switchboard.", $package, ".v1.rs"));
            }
        }
    )*};
}
package! {
    conversation => "conversation", edge => "edge", error => "error", events => "events", identity => "identity",
    knowledge => "knowledge", notification => "notification", orchestrator => "orchestrator", rules => "rules",
    salesforce => "salesforce", r#type => "r#type",
}
/// `switchboard.type.v1` under a name that is no keyword.
pub use r#type as types;
