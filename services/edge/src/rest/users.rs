//! Users of the organization.
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use switchboard_proto::{
    identity::v1 as pb,
    types::v1::{Role, Tier},
};
use switchboard_runtime::{Caller, validate::Check};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Edge,
    body::{Ids, RetryKey, Strict},
    error::Answer,
    names::{self, word},
    view::{some, time},
};

/// A new user. One of `email` and `external_id` is required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    #[schema(max_length = 254)]
    email: Option<String>,
    /// At least 12 characters with upper case, lower case, digit and special character.
    #[schema(min_length = 12, max_length = 128)]
    password: Option<String>,
    #[schema(max_length = 200)]
    full_name: Option<String>,
    /// customer, agent, supervisor, admin or service.
    #[schema(example = "agent")]
    role: String,
    /// The id that your own systems use.
    #[schema(max_length = 255)]
    external_id: Option<String>,
    /// free, standard (default), professional or enterprise.
    tier: Option<String>,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = Uuid)]
    organization_id: String,
    external_id: Option<String>,
    email: Option<String>,
    full_name: Option<String>,
    role: String,
    tier: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<pb::User> for User {
    fn from(u: pb::User) -> Self {
        User {
            id: u.id,
            organization_id: u.organization_id,
            external_id: some(u.external_id),
            email: some(u.email),
            full_name: some(u.full_name),
            role: word::<Role>(u.role).unwrap_or_default(),
            tier: word::<Tier>(u.tier).unwrap_or_else(|| "standard".to_owned()),
            created_at: time(&u.create_time).unwrap_or_default(),
        }
    }
}

/// Create a user. Admins.
#[utoipa::path(post, path = "/v1/users", operation_id = "createUser", tag = "Users", request_body = NewUser,
    responses((status = 201, description = "The user", body = User, headers(("Location" = String, description = "Path of the user")))))]
async fn create(State(app): State<Edge>, key: RetryKey, Strict(new): Strict<NewUser>) -> Answer<Response> {
    let caller = Caller::current()?;
    let email = new.email.unwrap_or_default();
    let external_id = new.external_id.unwrap_or_default();
    let full_name = new.full_name.unwrap_or_default();
    let mut check = Check::new();
    check.text("email", &email, 0, 254).text("external_id", &external_id, 0, 255).text("full_name", &full_name, 0, 200);
    if email.is_empty() && external_id.is_empty() {
        check.fail("email", "is required, or external_id");
    }
    check.done()?;
    let ask = pb::CreateUserRequest {
        request_id: key.as_uuid(caller.user),
        email,
        password: new.password.unwrap_or_default(),
        full_name,
        role: names::read::<Role>("role", Some(&new.role))?,
        external_id,
        tier: names::read::<Tier>("tier", new.tier.as_deref())?,
    };
    let user = User::from(app.identity().create_user(ask).await?.into_inner().user.unwrap_or_default());
    let location = [(header::LOCATION, format!("/v1/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, Json(user)).into_response())
}

/// Read a user of the organization; a customer only itself.
#[utoipa::path(get, path = "/v1/users/{user_id}", operation_id = "getUser", tag = "Users", params(("user_id" = Uuid, Path)),
    responses((status = 200, description = "The user", body = User)))]
async fn get(State(app): State<Edge>, Ids([user_id]): Ids<1>) -> Answer<Json<User>> {
    let user = app.identity().get_user(pb::GetUserRequest { user_id }).await?.into_inner().user;
    Ok(Json(user.unwrap_or_default().into()))
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(get))
}
