//! Signing in: tokens by password, by refresh token, for guests; new passwords; what the chat page may know before.
use axum::{
    Json,
    extract::State,
    response::{AppendHeaders, IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{convert::from_duration, identity::v1 as pb};
use switchboard_runtime::validate::Check;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::conversations::Nothing;
use crate::{app::Edge, body::Strict, error::Answer, view::some};

/// Resumes a guest. The page itself cannot read it, and no other site can make the browser send it.
const GUEST_COOKIE: &str = "switchboard_guest";
/// A browser forgets a guest after this long without a visit, in seconds: 30 days.
const GUEST_KEPT: u32 = 30 * 24 * 3600;

/// What is shown to get a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    /// password (default) or refresh_token.
    grant_type: Option<String>,
    /// Email address or user name; with the grant password.
    username: Option<String>,
    password: Option<String>,
    /// With the grant refresh_token; it is used up.
    refresh_token: Option<String>,
    /// Taken so that OAuth clients which always send it are not refused.
    #[expect(dead_code, reason = "neither grant that is offered asks for it")]
    client_id: Option<String>,
    /// With client_credentials, which is not offered.
    #[expect(dead_code, reason = "neither grant that is offered asks for it")]
    client_secret: Option<String>,
    /// Taken so that OAuth clients which always send it are not refused; the role decides.
    #[expect(dead_code, reason = "neither grant that is offered asks for it")]
    scope: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
struct TokenResponse {
    /// A JWT with sub, user_id, org, roles, iat, exp, jti.
    access_token: String,
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl From<pb::Token> for TokenResponse {
    fn from(t: pb::Token) -> Self {
        TokenResponse {
            access_token: t.access_token,
            token_type: "Bearer",
            expires_in: t.expires_in.as_ref().map(from_duration).unwrap_or_default().as_secs(),
            refresh_token: some(t.refresh_token),
        }
    }
}

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Sign in.
#[utoipa::path(post, path = "/auth/token", operation_id = "issueToken", tag = "Sign-in", security(()), request_body = TokenRequest,
    responses((status = 200, description = "A token", body = TokenResponse), (status = 401, description = "Wrong credentials")))]
async fn token(State(app): State<Edge>, Strict(body): Strict<TokenRequest>) -> Answer<Response> {
    use pb::issue_token_request::Grant;
    let mut check = Check::new();
    let grant = match body.grant_type.as_deref().unwrap_or("password") {
        "password" => {
            let username = check.required("username", body.username).unwrap_or_default();
            let password = check.required("password", body.password).unwrap_or_default();
            check.text("username", &username, 0, 254).text("password", &password, 0, 1024);
            Grant::Password(pb::PasswordGrant { username, password })
        }
        "refresh_token" => Grant::RefreshToken(check.required("refresh_token", body.refresh_token).unwrap_or_default()),
        "client_credentials" => {
            let detail =
                "client_credentials is not offered by this installation; sign in with a password or a refresh token";
            return Err(Fault::field("grant_type", detail).into());
        }
        _ => return Err(Fault::field("grant_type", "must be password or refresh_token").into()),
    };
    check.done()?;
    let token = app.identity().issue_token(pb::IssueTokenRequest { grant: Some(grant) }).await?.into_inner().token;
    Ok((NO_STORE, Json(TokenResponse::from(token.unwrap_or_default()))).into_response())
}

/// A token for a visitor who has not signed in. The same browser gets the same guest again, by a cookie that only this
/// route reads.
#[utoipa::path(post, path = "/auth/guest", operation_id = "issueGuestToken", tag = "Sign-in", security(()), request_body = Nothing,
    responses((status = 200, description = "A token", body = TokenResponse), (status = 403, description = "Guests are not allowed")))]
async fn guest(State(app): State<Edge>, headers: HeaderMap, Strict(Nothing {}): Strict<Nothing>) -> Answer<Response> {
    if !app.config.guests {
        return Err(Fault::new(Reason::PermissionDenied, "Guests are not allowed here. Sign in first.").into());
    }
    let resume = cookie(&headers, GUEST_COOKIE).unwrap_or_default();
    let answer = app.identity().issue_guest_token(pb::IssueGuestTokenRequest { resume }).await?.into_inner();
    let mut token = TokenResponse::from(answer.token.unwrap_or_default());
    // Over plain HTTP, as on a laptop, a Secure cookie would be dropped.
    let secure = headers.get("x-forwarded-proto").is_some_and(|p| p == "https");
    let cookie = token.refresh_token.take().map(|resume| {
        let secure = if secure { "; Secure" } else { "" };
        (
            header::SET_COOKIE,
            format!("{GUEST_COOKIE}={resume}; Path=/auth; Max-Age={GUEST_KEPT}; HttpOnly; SameSite=Strict{secure}"),
        )
    });
    Ok((NO_STORE, AppendHeaders(cookie), Json(token)).into_response())
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordReset {
    /// From the link in the email.
    token: String,
    /// At least 12 characters with upper case, lower case, digit and special character.
    #[schema(min_length = 12, max_length = 128)]
    new_password: String,
}

/// Set a new password with the token of a reset link.
#[utoipa::path(post, path = "/auth/password-reset", operation_id = "resetPassword", tag = "Sign-in", security(()),
    request_body = PasswordReset, responses((status = 204, description = "The password is changed")))]
async fn reset(State(app): State<Edge>, Strict(body): Strict<PasswordReset>) -> Answer<StatusCode> {
    let ask = pb::CompletePasswordResetRequest { reset_token: body.token, new_password: body.new_password };
    app.identity().complete_password_reset(ask).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the chat page may know before anybody signed in.
#[derive(Serialize, ToSchema)]
struct ChatConfig {
    organization: ChatOrganization,
    /// True if a visitor may chat without signing in.
    guests: bool,
}

/// Whose chat it is.
#[derive(Serialize, ToSchema)]
struct ChatOrganization {
    name: String,
}

/// What the chat page may know before anybody signed in.
#[utoipa::path(get, path = "/chat/config", operation_id = "getChatConfig", tag = "Sign-in", security(()),
    responses((status = 200, description = "Name and whether guests may chat", body = ChatConfig)))]
async fn chat_config(State(app): State<Edge>) -> Answer<Json<ChatConfig>> {
    let found = app.identity().get_guest_organization(pb::GetGuestOrganizationRequest {}).await?.into_inner();
    Ok(Json(ChatConfig {
        organization: ChatOrganization { name: found.name },
        guests: found.guests_allowed && app.config.guests,
    }))
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(token))
        .routes(routes!(guest))
        .routes(routes!(reset))
        .routes(routes!(chat_config))
}
