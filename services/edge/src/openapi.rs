//! The OpenAPI 3.1 document, made from the same lines as the routes; and the AsyncAPI document of the WebSocket.
//!
//! In: the routes with their annotations. Out: JSON. Never: a route that answers and is not in it.
use std::sync::OnceLock;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Edge, error::PROBLEM_JSON, view};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Switchboard",
        description = "Conversations with an AI customer-service agent, and everything around them. Errors are RFC 9457 \
            problems with a `reason`. Sign in at `POST /auth/token`; send the token as `Authorization: Bearer`. \
            The WebSocket at `/ws` is described in /asyncapi.json.",
    ),
    security(("bearerAuth" = [])),
    tags((name = "Conversations"), (name = "Messages"), (name = "Desk", description = "For agents and admins"),
        (name = "Knowledge"), (name = "Users"), (name = "Sign-in"), (name = "System"), (name = "Pages")),
    components(schemas(
        view::Conversation, view::ConversationDetail, view::MessageResponse, view::Action, view::Attachment, view::Message
    ))
)]
struct Base;

/// What stands in the document beside the routes.
pub(crate) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

static DOCUMENT: OnceLock<String> = OnceLock::new();

/// The whole document.
pub(crate) fn document(app: &Edge) -> &'static str {
    DOCUMENT.get_or_init(|| {
        let document = serde_json::to_value(crate::http::routes(app).into_openapi()).unwrap_or_default();
        complete(document).to_string()
    })
}

/// Adds what holds for every route of a kind: its errors, and the headers it takes.
fn complete(mut document: Value) -> Value {
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["components"]["securitySchemes"] = json!({ "bearerAuth": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } });
    document["components"]["schemas"]["Problem"] = problem();
    document["components"]["responses"] = responses();
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            errors_of(path, method, operation);
        }
    }
    document
}

fn errors_of(path: &str, method: &str, operation: &mut Value) {
    let open = operation.get("security").is_some();
    let gated = !open || path.starts_with("/auth/") || path == "/chat/config";
    let mut add = vec![("500", "Internal")];
    if gated {
        add.extend([("400", "BadRequest"), ("429", "RateLimited"), ("501", "NotImplemented"), ("503", "Unavailable"), ("504", "TooLate")]);
    }
    if !open {
        add.extend([("401", "Unauthorized"), ("403", "Forbidden")]);
    } else if path.starts_with("/auth/") {
        add.extend([("401", "Unauthorized"), ("403", "Forbidden")]);
    }
    if path.contains('{') {
        add.push(("404", "NotFound"));
    }
    if path.ends_with("jwks.json") {
        add.extend([("503", "Unavailable"), ("504", "TooLate")]);
    }
    if operation.get("requestBody").is_some() {
        add.extend([("413", "TooLarge"), ("415", "UnsupportedMediaType")]);
    }
    if method == "patch" || method == "put" {
        add.extend([("412", "Stale"), ("409", "Conflict")]);
    }
    if method == "patch" {
        add.push(("428", "PreconditionRequired"));
    }
    if method == "post" {
        add.push(("409", "Conflict"));
        if !open {
            add.push(("422", "KeyReused"));
            let parameters = operation.as_object_mut().map(|o| o.entry("parameters").or_insert_with(|| json!([])));
            if let Some(Value::Array(list)) = parameters {
                list.push(json!({
                    "name": "Idempotency-Key", "in": "header", "required": false,
                    "description": "The same key with the same body gets the first answer again, for 24 hours",
                    "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
                }));
            }
        }
    }
    let responses = operation.as_object_mut().map(|o| o.entry("responses").or_insert_with(|| json!({})));
    let Some(Value::Object(responses)) = responses else { return };
    for (status, name) in add {
        // A described error keeps its words only if it has a body of its own.
        let described = responses.get(status).is_some_and(|r| r.get("content").is_some());
        if !described {
            responses.insert(status.to_owned(), json!({ "$ref": format!("#/components/responses/{name}") }));
        }
    }
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "An RFC 9457 problem",
        "required": ["type", "title", "status", "detail", "instance", "reason", "trace_id"],
        "properties": {
            "type": { "type": "string", "description": "A stable URN of the reason" },
            "title": { "type": "string" },
            "status": { "type": "integer", "format": "int32" },
            "detail": { "type": "string", "description": "What happened here, and what to do" },
            "instance": { "type": "string", "description": "The path that was asked for" },
            "reason": { "type": "string", "description": "The reason's name, such as VALIDATION_FAILED" },
            "trace_id": { "type": "string", "description": "Finds the request in traces and logs" },
            "errors": {
                "type": "array", "description": "Fields that are wrong",
                "items": {
                    "type": "object", "required": ["field", "detail"],
                    "properties": { "field": { "type": "string" }, "detail": { "type": "string" } },
                },
            },
        },
    })
}

fn responses() -> Value {
    let all = [
        ("BadRequest", "Malformed or not valid; `errors` names the fields"),
        ("Unauthorized", "No token, or a bad one"),
        ("Forbidden", "The role is not enough"),
        ("NotFound", "There is none, or it is not the caller's"),
        ("Conflict", "What is there does not allow it"),
        ("Stale", "It was changed in the meantime"),
        ("TooLarge", "More than 1 MiB"),
        ("UnsupportedMediaType", "The body's media type is not taken here"),
        ("KeyReused", "The Idempotency-Key was used with another body"),
        ("PreconditionRequired", "If-Match is required"),
        ("RateLimited", "Too many requests; Retry-After says when to come back"),
        ("Internal", "A bug; the trace id finds it"),
        ("NotImplemented", "Not built in this installation"),
        ("Unavailable", "Not available right now; Retry-After says when to come back"),
        ("TooLate", "It took too long"),
    ];
    let one = |description: &str| {
        json!({ "description": description, "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } } })
    };
    Value::Object(all.into_iter().map(|(name, words)| (name.to_owned(), one(words))).collect::<Map<_, _>>())
}

fn json_document(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "getOpenApi", tag = "System", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn openapi(State(app): State<Edge>) -> Response {
    json_document(document(&app))
}

/// The WebSocket, described.
#[utoipa::path(get, path = "/asyncapi.json", operation_id = "getAsyncApi", tag = "System", security(()),
    responses((status = 200, description = "AsyncAPI 3.0", body = Object)))]
async fn asyncapi() -> Response {
    json_document(include_str!("asyncapi.json"))
}

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(asyncapi))
}
