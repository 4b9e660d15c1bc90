//! What clients send, read strictly: bodies, query parameters, ids in paths, headers.
//!
//! In: a request. Out: a typed value, or a refusal that names the field. Never: an unknown field passed over, U+0000, more
//! than [`LIMIT`] bytes in memory, a field nested deeper than [`DEPTH`].
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use switchboard_errors::{Fault, FieldError, Reason};
use uuid::Uuid;

use crate::error::Refusal;

/// Largest body. A message of 5000 characters with an attachment of some hundred KiB fits; uploads are not taken here.
pub(crate) const LIMIT: usize = 1024 * 1024;

/// Levels of objects and arrays in one field. Protobuf readers give up at 100 levels and a JSON level takes three of theirs.
const DEPTH: usize = 16;

/// A JSON body. No body at all counts as `{}`: what is required is named then.
pub(crate) struct Strict<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Strict<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Ok(Strict(parse(b"{}")?));
        }
        is_json(&parts.headers, &["application/json"])?;
        Ok(Strict(parse(&bytes)?))
    }
}

/// A JSON merge patch.
pub(crate) struct Patch(pub(crate) serde_json::Map<String, Value>);

impl<S: Sync> FromRequest<S> for Patch {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body).await?;
        is_json(&parts.headers, &["application/merge-patch+json", "application/json"])?;
        Ok(Patch(parse(&bytes)?))
    }
}

/// Reads a body up to the limit.
pub(crate) async fn collect(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let too_large = || Fault::new(Reason::PayloadTooLarge, "The body may have at most 1 MiB.");
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > LIMIT as u64) {
        return Err(too_large());
    }
    match Limited::new(body, LIMIT).collect().await {
        Ok(all) => Ok(all.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Fault::new(Reason::ValidationFailed, "The body broke off before its end.")),
    }
}

fn is_json(headers: &HeaderMap, taken: &[&str]) -> Result<(), Fault> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    if taken.iter().any(|t| t.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    Err(Fault::new(Reason::UnsupportedMediaType, format!("Send {} in content-type.", taken.join(" or "))))
}

/// Parses strict JSON.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        let why = if e.is_eof() { "it ends too early".to_owned() } else { without_place(&e.to_string()) };
        Fault::new(Reason::ValidationFailed, format!("The body is not valid JSON: {why} ({place})."))
            .with_field("", format!("not valid JSON at {place}"))
    })?;
    let mut path = Vec::new();
    if has_nul(&value, &mut path) {
        path.reverse();
        return Err(Fault::field(path.join(".").replace(".[", "["), "must not contain U+0000"));
    }
    let mut fields = value.as_object().into_iter().flatten();
    if let Some((name, _)) = fields.find(|(_, field)| is_deeper(field, DEPTH)) {
        return Err(Fault::field(name.as_str(), format!("must not be nested deeper than {DEPTH} levels")));
    }
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        field_error(&path, &e.into_inner().to_string())
    })
}

fn without_place(text: &str) -> String {
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

/// The path to the first string or key with U+0000, innermost first.
fn has_nul(value: &Value, path: &mut Vec<String>) -> bool {
    match value {
        Value::String(s) => s.contains('\0'),
        Value::Array(items) => items.iter().enumerate().any(|(i, item)| {
            let found = has_nul(item, path);
            if found {
                path.push(format!("[{i}]"));
            }
            found
        }),
        Value::Object(map) => map.iter().any(|(key, item)| {
            let found = key.contains('\0') || has_nul(item, path);
            if found {
                path.push(key.replace('\0', "\u{fffd}"));
            }
            found
        }),
        _ => false,
    }
}

/// True if objects and arrays are nested deeper than this many levels. serde_json's own limit of 128 bounds the recursion.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| is_deeper(item, levels - 1)),
        _ => false,
    }
}

/// serde names a missing or unknown field in its words and not in its path.
fn field_error(path: &str, text: &str) -> Fault {
    let text = without_place(text);
    let named = ["missing field `", "unknown field `"].iter().find_map(|p| text.strip_prefix(p)?.split('`').next());
    let base = if path == "." { "" } else { path };
    let field = match named {
        // The path of an unknown field ends with it already.
        Some(name) if base == name || base.ends_with(&format!(".{name}")) => base.to_owned(),
        Some(name) if base.is_empty() => name.to_owned(),
        Some(name) => format!("{base}.{name}"),
        None => base.to_owned(),
    };
    let words = if text.starts_with("missing field") { "is required".to_owned() } else { text };
    let detail =
        if field.is_empty() { format!("The body has the wrong form: {words}.") } else { format!("{field}: {words}") };
    let mut fault = Fault::new(Reason::ValidationFailed, detail);
    fault.fields.push(FieldError { field, detail: words });
    fault
}

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let Query(value) = Query::<T>::try_from_uri(&parts.uri).map_err(|e| {
            let text = e.body_text();
            let words = text.split_once("query string: ").map_or(text.as_str(), |(_, rest)| rest);
            let (field, why) = words.split_once(": ").unwrap_or(("", words));
            Fault::new(Reason::ValidationFailed, format!("The query is not valid: {words}.")).with_field(field, why)
        })?;
        Ok(Params(value))
    }
}

/// The ids in a path, in order; each is a UUID.
pub(crate) struct Ids<const N: usize>(pub(crate) [String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Ids<N> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let malformed = || Fault::new(Reason::ValidationFailed, "The path is not valid.");
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| malformed())?;
        let mut ids = Vec::with_capacity(N);
        for (name, value) in &params {
            let id = Uuid::try_parse(value).map_err(|_| Fault::field(name, format!("{name} must be a UUID")))?;
            ids.push(id.to_string());
        }
        Ok(Ids(ids.try_into().map_err(|_| malformed())?))
    }
}

/// The `Idempotency-Key` of a request, if it has one.
pub(crate) struct RetryKey(pub(crate) Option<String>);

/// Longest key: what the owning services keep.
const LONGEST_KEY: usize = 255;

impl RetryKey {
    /// The key as text; refused unless it is 1 to 255 visible characters.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<String>, Fault> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let text = value.to_str().unwrap_or_default().trim();
        if text.is_empty() || text.len() > LONGEST_KEY {
            return Err(Fault::field("Idempotency-Key", "must have 1 to 255 visible ASCII characters"));
        }
        Ok(Some(text.to_owned()))
    }

    /// The key for services whose request ids are UUIDs; empty without a key.
    pub(crate) fn as_uuid(&self, user: Uuid) -> String {
        use sha2::{Digest as _, Sha256};
        let Some(key) = &self.0 else { return String::new() };
        let digest = Sha256::new().chain_update(user.as_bytes()).chain_update(key.as_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

impl<S: Sync> FromRequestParts<S> for RetryKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(RetryKey(RetryKey::of(&parts.headers)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the way in is tested")]
    struct Outer {
        content: String,
        #[serde(default)]
        inner: Vec<Inner>,
        metadata: Option<Value>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the way in is tested")]
    struct Inner {
        size: u64,
    }

    fn refused(text: &str) -> (String, String) {
        let fault = parse::<Outer>(text.as_bytes()).expect_err("refused");
        assert_eq!(fault.http(), 400, "{fault}");
        (fault.fields[0].field.clone(), fault.fields[0].detail.clone())
    }

    #[test]
    fn each_wrong_field_is_named_by_its_path() {
        assert_eq!(refused("{}"), ("content".into(), "is required".into()));
        assert_eq!(refused(r#"{"content":7}"#).0, "content");
        assert_eq!(refused(r#"{"content":"x","size":1}"#).0, "size");
        assert_eq!(refused(r#"{"content":"x","inner":[{"size":1},{}]}"#).0, "inner[1].size");
        assert_eq!(refused(r#"{"content":"x","inner":[{"size":1,"more":2}]}"#).0, "inner[0].more");
        assert_eq!(refused(r#"{"content":"a\u0000b"}"#), ("content".into(), "must not contain U+0000".into()));
        assert_eq!(refused(r#"{"content":"x","metadata":{"a":["\u0000"]}}"#).0, "metadata.a[0]");
        let deep = |n| format!(r#"{{"content":"x","metadata":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert_eq!(refused(&deep(17)), ("metadata".into(), "must not be nested deeper than 16 levels".into()));
        assert!(parse::<Outer>(deep(16).as_bytes()).is_ok());
        assert_eq!(refused("[]").0, "");
    }

    #[test]
    fn what_is_not_json_is_refused_without_a_crash() {
        let bomb = format!("{{\"metadata\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
        for bad in ["{", "", "nul", "{\"content\":\"\\ud800\"}", "\u{feff}{}", bomb.as_str()] {
            assert_eq!(refused(bad).0, "");
        }
    }
}
