//! Identity by gRPC: conversions and checks of what comes in, nothing else.
use switchboard_proto::{
    convert,
    identity::v1::{self as pb, identity_service_server::IdentityService},
    types::v1 as types,
};
use switchboard_runtime::{Caller, Fault, Role, Secret, caller::STAFF, validate::Check};
use tonic::{Request, Response, Status};

use crate::{
    model::{self, Organization, Person, Tier, User},
    opening::Door,
    password::misses,
    token::Issued,
};

/// What needs no token: it hands tokens out, or shows another proof. The mesh has checked the calling service all the same.
pub const PUBLIC: &[&str] = &[
    "/switchboard.identity.v1.IdentityService/GetKeys",
    "/switchboard.identity.v1.IdentityService/IssueToken",
    "/switchboard.identity.v1.IdentityService/IssueGuestToken",
    "/switchboard.identity.v1.IdentityService/IssueServiceToken",
    "/switchboard.identity.v1.IdentityService/GetGuestOrganization",
    "/switchboard.identity.v1.IdentityService/CompletePasswordReset",
];

/// The gRPC side of [`crate::Identity`].
pub struct Grpc(pub Door);

/// Who may see everything of a person, and erase it.
const KEEPERS: &[Role] = &[Role::Admin, Role::Service];

/// Longest external id, as the contract says.
const EXTERNAL_ID: usize = 255;
/// Longest full name.
const FULL_NAME: usize = 200;

type Answer<T> = Result<Response<T>, Status>;

fn token(issued: Issued) -> Option<pb::Token> {
    Some(pb::Token {
        access_token: issued.access,
        expires_in: Some(convert::duration(issued.expires_in)),
        refresh_token: issued.refresh.unwrap_or_default(),
        user_id: issued.user.to_string(),
    })
}

fn tier(tier: Tier) -> types::Tier {
    match tier {
        Tier::Free => types::Tier::Free,
        Tier::Standard => types::Tier::Standard,
        Tier::Professional => types::Tier::Professional,
        Tier::Enterprise => types::Tier::Enterprise,
    }
}

fn user(user: User) -> Option<pb::User> {
    Some(pb::User {
        id: user.id.to_string(),
        organization_id: user.org.to_string(),
        external_id: user.external_id.unwrap_or_default(),
        email: user.email.unwrap_or_default(),
        full_name: user.full_name,
        role: user.role as i32,
        tier: tier(user.tier) as i32,
        create_time: Some(convert::timestamp(user.created)),
        erase_time: user.erased.map(convert::timestamp),
    })
}

fn organization(organization: Organization) -> Option<pb::Organization> {
    Some(pb::Organization {
        id: organization.id.to_string(),
        name: organization.name,
        tier: tier(organization.tier) as i32,
        salesforce_org_id: organization.salesforce_org_id,
        settings: Some(convert::to_struct(&organization.settings)),
        create_time: Some(convert::timestamp(organization.created)),
        guests_allowed: organization.guests_allowed,
    })
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

fn fault(error: impl Into<Fault>) -> Fault {
    error.into()
}

#[tonic::async_trait]
impl IdentityService for Grpc {
    async fn get_keys(&self, _: Request<pb::GetKeysRequest>) -> Answer<pb::GetKeysResponse> {
        Ok(Response::new(pb::GetKeysResponse { jwks_json: self.0.identity().await?.jwks().to_owned() }))
    }

    async fn issue_token(&self, request: Request<pb::IssueTokenRequest>) -> Answer<pb::IssueTokenResponse> {
        use pb::issue_token_request::Grant;
        let mut check = Check::new();
        let grant = check.required("grant", request.into_inner().grant);
        match &grant {
            Some(Grant::Password(p)) => {
                check.text("username", &p.username, 1, usize::MAX).text("password", &p.password, 1, usize::MAX);
            }
            Some(Grant::RefreshToken(t)) => {
                check.text("refresh_token", t, 1, usize::MAX);
            }
            None => {}
        }
        check.done()?;
        let identity = self.0.identity().await?;
        let issued = match grant {
            Some(Grant::Password(p)) => identity.sign_in(&p.username, &Secret::new(p.password)).await,
            Some(Grant::RefreshToken(t)) => identity.refresh(&t).await,
            None => return Err(Fault::field("grant", "is required").into()),
        };
        Ok(Response::new(pb::IssueTokenResponse { token: token(issued.map_err(fault)?) }))
    }

    async fn issue_guest_token(
        &self,
        request: Request<pb::IssueGuestTokenRequest>,
    ) -> Answer<pb::IssueGuestTokenResponse> {
        let issued = self.0.identity().await?.guest(&request.get_ref().resume).await.map_err(fault)?;
        Ok(Response::new(pb::IssueGuestTokenResponse { token: token(issued) }))
    }

    async fn issue_service_token(
        &self,
        request: Request<pb::IssueServiceTokenRequest>,
    ) -> Answer<pb::IssueServiceTokenResponse> {
        let mut check = Check::new();
        let org = check.uuid("organization_id", &request.get_ref().organization_id);
        check.done()?;
        let issued = self.0.identity().await?.service_token(org).await.map_err(fault)?;
        Ok(Response::new(pb::IssueServiceTokenResponse { token: token(issued) }))
    }

    async fn create_user(&self, request: Request<pb::CreateUserRequest>) -> Answer<pb::CreateUserResponse> {
        let caller = Caller::with_role(&[Role::Admin, Role::Service])?;
        let r = request.into_inner();
        let mut check = Check::new();
        let request_id = (!r.request_id.is_empty()).then(|| check.uuid("request_id", &r.request_id));
        let email = given(r.email).map(|text| {
            model::email(&text).unwrap_or_else(|| {
                check.fail("email", "must be one email address, at most 254 characters");
                text
            })
        });
        let external_id = given(r.external_id);
        if email.is_none() && external_id.is_none() {
            check.fail("email", "is required where no external_id is given");
        }
        check.text("external_id", external_id.as_deref().unwrap_or_default(), 0, EXTERNAL_ID);
        check.text("full_name", &r.full_name, 0, FULL_NAME);
        let role = Role::try_from(r.role).unwrap_or(Role::Unspecified);
        // A service's token may act for everybody of the organization: its owner mints it, no admin's session does.
        if !matches!(role, Role::Customer | Role::Agent | Role::Supervisor | Role::Admin) {
            check.fail("role", "must be customer, agent, supervisor or admin");
        }
        let tier = match types::Tier::try_from(r.tier) {
            Ok(types::Tier::Free) => Tier::Free,
            Ok(types::Tier::Unspecified | types::Tier::Standard) => Tier::Standard,
            Ok(types::Tier::Professional) => Tier::Professional,
            Ok(types::Tier::Enterprise) => Tier::Enterprise,
            Err(_) => {
                check.fail("tier", "must be free, standard, professional or enterprise");
                Tier::Standard
            }
        };
        let password = given(r.password);
        if let Some(misses) = password.as_deref().map(misses).filter(|m| !m.is_empty()) {
            check.fail("password", format!("needs {}", misses.join(", ")));
        }
        check.done()?;
        let new = Person { external_id, email, full_name: r.full_name, role, tier };
        let made = self
            .0
            .identity()
            .await?
            .create_user(caller.org, caller.user, new, request_id, password.map(Secret::new))
            .await
            .map_err(fault)?;
        Ok(Response::new(pb::CreateUserResponse { user: user(made.user) }))
    }

    async fn ensure_customer(&self, request: Request<pb::EnsureCustomerRequest>) -> Answer<pb::EnsureCustomerResponse> {
        let caller = Caller::with_role(STAFF)?;
        let external_id = request.into_inner().external_id;
        Check::new().text("external_id", &external_id, 1, EXTERNAL_ID).done()?;
        let made =
            self.0.identity().await?.ensure_customer(caller.org, caller.user, &external_id).await.map_err(fault)?;
        Ok(Response::new(pb::EnsureCustomerResponse { created: made.new, user: user(made.user) }))
    }

    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Answer<pb::GetUserResponse> {
        let caller = Caller::current()?;
        let mut check = Check::new();
        let id = check.uuid("user_id", &request.get_ref().user_id);
        check.done()?;
        // Whether others exist is not a customer's to know.
        if !caller.is_staff() && caller.user != id {
            return Err(fault(crate::error::Error::NoUser(id)).into());
        }
        let found = self.0.identity().await?.user(caller.org, id).await.map_err(fault)?;
        Ok(Response::new(pb::GetUserResponse { user: user(found) }))
    }

    async fn get_organization(&self, _: Request<pb::GetOrganizationRequest>) -> Answer<pb::GetOrganizationResponse> {
        let caller = Caller::current()?;
        let found = self.0.identity().await?.organization(caller.org).await.map_err(fault)?;
        Ok(Response::new(pb::GetOrganizationResponse { organization: organization(found) }))
    }

    async fn get_guest_organization(
        &self,
        _: Request<pb::GetGuestOrganizationRequest>,
    ) -> Answer<pb::GetGuestOrganizationResponse> {
        let found = self.0.identity().await?.guest_organization().await.map_err(fault)?;
        let guests_allowed = found.is_some();
        let name = found.map(|o| o.name).unwrap_or_default();
        Ok(Response::new(pb::GetGuestOrganizationResponse { name, guests_allowed }))
    }

    // Conversation asks this in a customer's turn and forwards the customer's token, so every verified caller may: the mesh
    // lets only services call, and none hands the answer to the customer.
    async fn start_password_reset(
        &self,
        request: Request<pb::StartPasswordResetRequest>,
    ) -> Answer<pb::StartPasswordResetResponse> {
        let caller = Caller::current()?;
        let r = request.get_ref();
        let mut check = Check::new();
        let request_id = check.uuid("request_id", &r.request_id);
        check.text("email", &r.email, 1, usize::MAX).done()?;
        let started = self.0.identity().await?.start_reset(caller.org, request_id, &r.email).await.map_err(fault)?;
        let answer = started.map(|(reset_token, reset, user)| pb::StartPasswordResetResponse {
            known: true,
            reset_token,
            expire_time: Some(convert::timestamp(reset.expires)),
            full_name: user.full_name,
        });
        Ok(Response::new(answer.unwrap_or_default()))
    }

    async fn complete_password_reset(
        &self,
        request: Request<pb::CompletePasswordResetRequest>,
    ) -> Answer<pb::CompletePasswordResetResponse> {
        let r = request.into_inner();
        self.0.identity().await?.complete_reset(&r.reset_token, &Secret::new(r.new_password)).await.map_err(fault)?;
        Ok(Response::new(pb::CompletePasswordResetResponse {}))
    }

    async fn export_user(&self, request: Request<pb::ExportUserRequest>) -> Answer<pb::ExportUserResponse> {
        let caller = Caller::with_role(KEEPERS)?;
        let mut check = Check::new();
        let id = check.uuid("user_id", &request.get_ref().user_id);
        check.done()?;
        let data = self.0.identity().await?.export_user(caller.org, caller.user, id).await.map_err(fault)?;
        Ok(Response::new(pb::ExportUserResponse { data: Some(convert::to_struct(&data)) }))
    }

    async fn erase_user(&self, request: Request<pb::EraseUserRequest>) -> Answer<pb::EraseUserResponse> {
        let caller = Caller::with_role(KEEPERS)?;
        let mut check = Check::new();
        let id = check.uuid("user_id", &request.get_ref().user_id);
        check.done()?;
        let erased = self.0.identity().await?.erase_user(caller.org, caller.user, id).await.map_err(fault)?;
        Ok(Response::new(pb::EraseUserResponse {
            erase_time: Some(convert::timestamp(erased.at)),
            erased: erased.new,
            credentials: erased.credentials,
            sessions: erased.sessions,
            password_resets: erased.resets,
        }))
    }
}
