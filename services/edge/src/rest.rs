//! The REST routes: JSON in, one call of the owning service, JSON out.
pub(crate) mod auth;
pub(crate) mod conversations;
pub(crate) mod desk;
pub(crate) mod knowledge;
pub(crate) mod messages;
pub(crate) mod persons;
pub(crate) mod users;

use switchboard_errors::Fault;
use switchboard_runtime::page::MAX_SIZE;
use utoipa_axum::router::OpenApiRouter;

use crate::app::Edge;

/// Routes that need a token.
pub(crate) fn signed_in() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(conversations::routes())
        .merge(messages::routes())
        .merge(desk::routes())
        .merge(knowledge::routes())
        .merge(users::routes())
        .merge(persons::routes())
}

/// Routes for those who have none yet.
pub(crate) fn open() -> OpenApiRouter<Edge> {
    auth::routes()
}

/// The page size asked for; 0 is the owning service's default.
fn page_size(limit: Option<u32>) -> Result<u32, Fault> {
    match limit {
        None => Ok(0),
        Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(n),
        Some(_) => Err(Fault::field("limit", format!("limit must be 1 to {MAX_SIZE}"))),
    }
}
