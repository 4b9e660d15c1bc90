//! What the law grants people about their data: a copy of it, and its erasure.
//!
//! In: a user's id, from an admin. Out: all that is kept about them, or how far their erasure is. Never: a copy of it in a
//! cache of this process or of anybody between.
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use switchboard_proto::{
    conversation::v1::{self as pb, ErasureState},
    convert::from_struct,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::conversations::Nothing;
use crate::{
    app::Edge,
    body::{Ids, Strict},
    error::Answer,
    gate::NotKept,
    names::word,
    view::{object, some, time},
};

/// One place that may keep something of a person.
#[derive(Debug, Serialize, ToSchema)]
struct ErasureStep {
    /// A service, or a store beside the ledger.
    #[schema(example = "identity")]
    place: String,
    /// running or completed.
    state: String,
    attempts: u32,
    /// Why the last try failed; it is tried again.
    last_error: Option<String>,
    completed_at: Option<String>,
    /// Rows, documents or files removed.
    removed: u64,
}

impl From<pb::ErasureStep> for ErasureStep {
    fn from(s: pb::ErasureStep) -> Self {
        ErasureStep {
            place: s.place,
            state: word::<ErasureState>(s.state).unwrap_or_default(),
            attempts: s.attempts,
            last_error: some(s.last_error),
            completed_at: time(&s.complete_time),
            removed: s.removed,
        }
    }
}

/// The erasure of a person. It goes on by itself until it is completed.
#[derive(Debug, Serialize, ToSchema)]
struct Erasure {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = Uuid)]
    user_id: String,
    /// running or completed.
    state: String,
    #[schema(format = DateTime)]
    requested_at: String,
    completed_at: Option<String>,
    steps: Vec<ErasureStep>,
    /// What was removed where, and what proves it; without personal data. Null before the end.
    #[schema(required, value_type = Option<Object>)]
    receipt: Option<Map<String, Value>>,
}

impl From<pb::Erasure> for Erasure {
    fn from(e: pb::Erasure) -> Self {
        Erasure {
            id: e.id,
            user_id: e.user_id,
            state: word::<ErasureState>(e.state).unwrap_or_default(),
            requested_at: time(&e.request_time).unwrap_or_default(),
            completed_at: time(&e.complete_time),
            steps: e.steps.into_iter().map(ErasureStep::from).collect(),
            receipt: e.receipt.as_ref().map(from_struct),
        }
    }
}

/// All that is kept about a user, as JSON with a member for each service. Admins.
#[utoipa::path(post, path = "/v1/users/{user_id}/export", operation_id = "exportUser", tag = "Users",
    params(("user_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "All of it; never stored, so that an Idempotency-Key asks anew", body = Object)))]
async fn export(
    State(app): State<Edge>,
    Ids([user_id]): Ids<1>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Answer<Response> {
    let person = app.conversation().export_person(pb::ExportPersonRequest { user_id }).await?.into_inner().person;
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(object(person))).into_response();
    response.extensions_mut().insert(NotKept);
    Ok(response)
}

/// Erase a user everywhere. Asking again tells how far it is. Admins.
#[utoipa::path(post, path = "/v1/users/{user_id}/erase", operation_id = "eraseUser", tag = "Users",
    params(("user_id" = Uuid, Path)), request_body = Nothing, responses(
    (status = 202, description = "It has begun and goes on by itself", body = Erasure),
    (status = 200, description = "It is completed", body = Erasure)))]
async fn erase(
    State(app): State<Edge>,
    Ids([user_id]): Ids<1>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Answer<Response> {
    let answer = app.conversation().erase_person(pb::ErasePersonRequest { user_id }).await?.into_inner();
    let erasure = answer.erasure.unwrap_or_default();
    let done = erasure.state() == ErasureState::Completed;
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Erasure::from(erasure))).into_response())
}

/// How far the erasure of a user is, and its receipt. Admins.
#[utoipa::path(get, path = "/v1/users/{user_id}/erase", operation_id = "getErasure", tag = "Users",
    params(("user_id" = Uuid, Path)), responses((status = 200, description = "The erasure", body = Erasure)))]
async fn erasure(State(app): State<Edge>, Ids([user_id]): Ids<1>) -> Answer<Json<Erasure>> {
    let answer = app.conversation().get_erasure(pb::GetErasureRequest { user_id }).await?.into_inner();
    Ok(Json(answer.erasure.unwrap_or_default().into()))
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(erase, erasure))
}
