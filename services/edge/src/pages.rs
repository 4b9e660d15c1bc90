//! The pages and their files, built into the binary: they work without the network and without a file beside it.
use std::{collections::HashMap, sync::LazyLock};

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use include_dir::{Dir, include_dir};
use sha2::{Digest as _, Sha256};
use switchboard_errors::{Fault, Reason};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Edge,
    error::{Answer, Refusal},
};

static ASSETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets");

/// The tag of each file: it changes when the binary's content does.
static TAGS: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
    let tag = |bytes: &[u8]| Sha256::digest(bytes).iter().take(12).map(|b| format!("{b:02x}")).collect::<String>();
    ASSETS.files().filter_map(|f| Some((f.path().to_str()?, format!("\"{}\"", tag(f.contents()))))).collect()
});

fn file(name: &str, headers: &HeaderMap) -> Answer<Response> {
    let missing = || Refusal::from(Fault::new(Reason::RouteNotFound, "There is no such file."));
    let file = ASSETS.get_file(name).ok_or_else(missing)?;
    let tag = TAGS.get(name).map(String::as_str).unwrap_or_default();
    // Asked for again each time and answered by 304: a new release is seen at once.
    let cache = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if known.split(',').any(|t| t.trim().trim_start_matches("W/") == tag) {
        return Ok((StatusCode::NOT_MODIFIED, cache).into_response());
    }
    Ok(([(header::CONTENT_TYPE, media_type(name))], cache, file.contents()).into_response())
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

/// To the chat.
#[utoipa::path(get, path = "/", operation_id = "getStart", tag = "Pages", security(()), responses(
    (status = 303, description = "To the chat page")))]
async fn start() -> Redirect {
    Redirect::to("/chat")
}

/// The chat for customers.
#[utoipa::path(get, path = "/chat", operation_id = "getChat", tag = "Pages", security(()), responses(
    (status = 200, description = "A page", body = String, content_type = "text/html"), (status = 304, description = "Not changed")))]
async fn chat(headers: HeaderMap) -> Answer<Response> {
    file("chat.html", &headers)
}

/// This reference as a page.
#[utoipa::path(get, path = "/docs", operation_id = "getDocs", tag = "Pages", security(()), responses(
    (status = 200, description = "A page", body = String, content_type = "text/html"), (status = 304, description = "Not changed")))]
async fn docs(headers: HeaderMap) -> Answer<Response> {
    file("docs.html", &headers)
}

/// The page that a password reset link opens.
#[utoipa::path(get, path = "/reset", operation_id = "getReset", tag = "Pages", security(()), responses(
    (status = 200, description = "A page", body = String, content_type = "text/html"), (status = 304, description = "Not changed")))]
async fn reset(headers: HeaderMap) -> Answer<Response> {
    file("reset.html", &headers)
}

/// The script that puts the chat on any site.
#[utoipa::path(get, path = "/widget.js", operation_id = "getWidget", tag = "Pages", security(()), responses(
    (status = 200, description = "A script", body = String, content_type = "text/javascript"), (status = 304, description = "Not changed")))]
async fn widget(headers: HeaderMap) -> Answer<Response> {
    file("widget.js", &headers)
}

/// A file of a page.
#[utoipa::path(get, path = "/assets/{name}", operation_id = "getAsset", tag = "Pages", security(()),
    params(("name" = String, Path, description = "File name", example = "chat.css")), responses(
    (status = 200, description = "A file", body = String, content_type = "text/css"), (status = 304, description = "Not changed")))]
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Answer<Response> {
    // Pages have paths of their own.
    file(if name.ends_with(".html") { "" } else { &name }, &headers)
}

/// Nothing: pages name their icon. Browsers ask here wherever a page names none, and would log a 404 as an error.
#[utoipa::path(get, path = "/favicon.ico", operation_id = "getFavicon", tag = "Pages", security(()), responses(
    (status = 204, description = "Nothing")))]
async fn favicon() -> impl IntoResponse {
    // A week: it does not change with a release.
    (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "max-age=604800")])
}

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(chat))
        .routes(routes!(docs))
        .routes(routes!(reset))
        .routes(routes!(widget))
        .routes(routes!(asset))
        .routes(routes!(favicon))
}
