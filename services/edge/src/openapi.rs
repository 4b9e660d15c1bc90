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
use switchboard_proto::{
    conversation::v1::{ErasureState, ResolutionType},
    events::v1::{ContentType, ConversationStatus, Owner, SenderType},
    knowledge::v1::Audience,
    types::v1::{ActionStatus, Channel, Priority, Role, Rung, SentimentLabel, Tier},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Edge, error::PROBLEM_JSON, names::all, view};

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
    document["components"]["securitySchemes"] =
        json!({ "bearerAuth": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } });
    document["components"]["schemas"]["Problem"] = problem();
    document["components"]["responses"] = responses();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        words(schemas);
        inputs(schemas);
    }
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            errors_of(path, method, operation);
        }
    }
    document
}

/// The words of enums, from the protos.
fn words(schemas: &mut Map<String, Value>) {
    let (status, owner, channel) = (all::<ConversationStatus>(), all::<Owner>(), all::<Channel>());
    let (content, action, audience) = (all::<ContentType>(), all::<ActionStatus>(), all::<Audience>());
    let (priority, role, tier, rung) = (all::<Priority>(), all::<Role>(), all::<Tier>(), all::<Rung>());
    let table = [
        ("Conversation", "channel", &channel),
        ("Conversation", "status", &status),
        ("Conversation", "owner", &owner),
        ("ConversationDetail", "resolution_type", &all::<ResolutionType>()),
        ("Message", "sender_type", &all::<SenderType>()),
        ("Message", "content_type", &content),
        ("MessageResponse", "status", &status),
        ("MessageResponse", "owner", &owner),
        ("MessageResponse", "rung", &rung),
        ("Sentiment", "label", &all::<SentimentLabel>()),
        ("Action", "status", &action),
        ("Effect", "status", &action),
        ("Escalation", "priority", &priority),
        ("Article", "audience", &audience),
        ("RestingAnswer", "status", &status),
        ("Erasure", "state", &all::<ErasureState>()),
        ("ErasureStep", "state", &all::<ErasureState>()),
        ("User", "role", &role),
        ("User", "tier", &tier),
        ("NewConversation", "channel", &channel),
        ("NewMessage", "content_type", &content),
        ("EscalateBody", "priority", &priority),
        ("NewArticle", "audience", &audience),
        ("NewUser", "role", &role),
        ("NewUser", "tier", &tier),
        ("Attachment", "type", &["text", "image", "file", "code"].map(str::to_owned).to_vec()),
        ("TokenRequest", "grant_type", &["password", "refresh_token"].map(str::to_owned).to_vec()),
    ];
    for (schema, field, words) in table {
        let Some(schema) = schemas.get_mut(schema) else { continue };
        // A schema that takes another one in has its own fields in the last part.
        let parts = schema.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
        let own = if parts > 0 { &mut schema["allOf"][parts - 1] } else { schema };
        let Some(property) = own["properties"].get_mut(field) else { continue };
        let mut list: Vec<Value> = words.iter().map(|w| w.as_str().into()).collect();
        if property["type"].is_array() {
            list.push(Value::Null);
        }
        property["enum"] = list.into();
    }
}

/// What bodies have to fulfil beside the types of their fields.
fn inputs(schemas: &mut Map<String, Value>) {
    let either = [
        (
            "Attachment",
            json!([{ "required": ["type", "content"] }, { "required": ["name", "media_type", "size", "url"] }, { "required": ["name", "media_type", "size", "data"] }]),
        ),
        ("NewUser", json!([{ "required": ["email"] }, { "required": ["external_id"] }])),
        ("TokenRequest", json!([{ "required": ["username", "password"] }, { "required": ["refresh_token"] }])),
    ];
    for (name, sets) in either {
        if let Some(schema) = schemas.get_mut(name) {
            schema["anyOf"] = sets;
        }
    }
    let body = |name: &str| {
        name.starts_with("New")
            || name.ends_with("Body")
            || matches!(name, "Attachment" | "TokenRequest" | "PasswordReset")
    };
    for (_, schema) in schemas.iter_mut().filter(|(name, _)| body(name)) {
        for (_, property) in schema["properties"].as_object_mut().into_iter().flatten() {
            let text = property["type"] == "string"
                || property["type"].as_array().is_some_and(|t| t.contains(&"string".into()));
            if text && property.get("enum").is_none() && property.get("format").is_none() {
                // U+0000 is taken nowhere.
                property["pattern"] = "^[^\\u0000]*$".into();
            }
        }
    }
}

fn errors_of(path: &str, method: &str, operation: &mut Value) {
    let open = operation.get("security").is_some();
    let gated = !open || path.starts_with("/auth/") || path == "/chat/config";
    let mut add = vec![("500", "Internal")];
    if gated {
        add.extend([
            ("400", "BadRequest"),
            ("429", "RateLimited"),
            ("501", "NotImplemented"),
            ("503", "Unavailable"),
            ("504", "TooLate"),
        ]);
    }
    if !open || path.starts_with("/auth/") {
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
                    "description": "The same key with the same body gets the first answer again; with another body it is refused for 24 hours",
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
    let one = |description: &str| json!({ "description": description, "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } } });
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
