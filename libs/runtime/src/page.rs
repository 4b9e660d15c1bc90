//! Paging by opaque cursors.
//!
//! In: the size and token of a request. Out: a checked size and the key to go on after. Never: an offset.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use switchboard_errors::Fault;

/// Page size when none is asked for.
pub const DEFAULT_SIZE: u32 = 50;
/// Largest page.
pub const MAX_SIZE: u32 = 200;

/// The page size asked for: 0 is the default.
pub fn size(asked: u32) -> Result<u32, Fault> {
    match asked {
        0 => Ok(DEFAULT_SIZE),
        1..=MAX_SIZE => Ok(asked),
        _ => Err(Fault::field("page_size", format!("must be 1 to {MAX_SIZE}"))),
    }
}

/// A token that says where to go on.
pub fn token<T: Serialize>(key: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// Where to go on; none for an empty token.
pub fn key<T: DeserializeOwned>(token: &str) -> Result<Option<T>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok();
    read()
        .map(Some)
        .ok_or_else(|| Fault::field("page_token", "is not one that this server gave; start again without it"))
}
