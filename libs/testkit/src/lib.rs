//! What tests of one service need, and only tests.
//!
//! In: a service to put into a mesh. Out: a mesh with an identity that signs for tests, and clients that speak for any
//! caller. Never: a dependency of production code.
#![deny(missing_docs)]

pub mod certificates;
pub mod cluster;
pub mod disk;
pub mod redis;
pub mod servers;

use std::{sync::Arc, time::Duration};

use switchboard_errors::{Fault, Reason};
use switchboard_proto::{convert, identity::v1 as pb, identity::v1::identity_service_server as server};
use switchboard_runtime::{
    Clock, Condition, Context, Host, Listener, Mesh, Role, Shutdown, StartError,
    caller::{Claims, ISSUER, KeySource, SigningKey, Verifier, role_name},
    process,
    server::{Served, serve},
    telemetry::Metrics,
};
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

/// A mesh in this process with a stand-in for identity. Services under test are put into it beside it.
pub struct TestMesh {
    /// The mesh.
    pub mesh: Mesh,
    /// The time all of them see.
    pub clock: Clock,
    /// Ends everything.
    pub shutdown: Shutdown,
    key: Arc<SigningKey>,
}

impl TestMesh {
    /// A new mesh at the system's time.
    pub async fn start() -> Self {
        Self::start_at(Clock::system()).await
    }

    /// A new mesh at a given time.
    pub async fn start_at(clock: Clock) -> Self {
        let key = Arc::new(SigningKey::generate().expect("a key"));
        let mesh = Mesh::new(process::in_process(), process::random_key());
        let shutdown = Shutdown::new();
        let this = TestMesh { mesh, clock, shutdown, key };
        let identity = Identity { key: this.key.clone(), clock: this.clock.clone() };
        let host = this.host("identity");
        let verifier = this.verifier();
        let routes = Routes::new(server::IdentityServiceServer::new(identity));
        let public = &[
            "/switchboard.identity.v1.IdentityService/GetKeys",
            "/switchboard.identity.v1.IdentityService/IssueServiceToken",
        ];
        let served = Served { routes, services: &[], public, verifier, condition: Condition::well() };
        this.run(async move |shutdown| serve(served, &host, Listener::InProcess, shutdown).await);
        this.until_up("identity").await;
        this
    }

    /// What a service gets, by name.
    pub fn host(&self, name: &'static str) -> Host {
        self.mesh.host(name, self.clock.clone(), Metrics::default())
    }

    /// Runs a service beside the test; a start that fails fails the test.
    pub fn run<F: Future<Output = Result<(), StartError>> + Send + 'static>(
        &self,
        service: impl FnOnce(Shutdown) -> F,
    ) {
        let running = service(self.shutdown.clone());
        tokio::spawn(async move {
            if let Err(e) = running.await {
                panic!("a service did not start: {e}");
            }
        });
    }

    /// Waits until a service is in the mesh.
    pub async fn until_up(&self, name: &str) {
        let up = async {
            while !self.mesh.is_up(name) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), up).await.unwrap_or_else(|_| panic!("{name} did not start"));
    }

    /// A token for somebody.
    pub fn token(&self, role: Role, org: Uuid, user: Uuid) -> String {
        sign(&self.key, &self.clock, role, org, user)
    }

    /// Runs a future as somebody: calls inside carry their token and a deadline of 30 s.
    pub async fn as_user<F: Future>(&self, role: Role, org: Uuid, user: Uuid, work: F) -> F::Output {
        let caller = self.verifier().verify(&self.token(role, org, user)).await.expect("own token");
        Context { caller: Some(caller), ..Context::with_timeout(Duration::from_secs(30)) }.scope(work).await
    }

    /// Verifies this mesh's tokens.
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(Box::new(Keys(self.key.clone())), self.clock.clone()))
    }
}

impl Drop for TestMesh {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn jwks(key: &SigningKey) -> String {
    serde_json::json!({ "keys": [key.jwk()] }).to_string()
}

fn sign(key: &SigningKey, clock: &Clock, role: Role, org: Uuid, user: Uuid) -> String {
    let now = clock.now().as_second();
    let roles = vec![role_name(role).to_owned()];
    let claims = Claims {
        sub: user,
        user_id: user,
        org,
        roles,
        iss: ISSUER.into(),
        iat: now,
        exp: now + 3600,
        jti: clock.new_id(),
    };
    key.sign(&claims).expect("signs")
}

struct Keys(Arc<SigningKey>);

#[async_trait::async_trait]
impl KeySource for Keys {
    async fn jwks(&self) -> Result<String, Fault> {
        Ok(jwks(&self.0))
    }
}

struct Identity {
    key: Arc<SigningKey>,
    clock: Clock,
}

/// The RPCs that no test of another service needs.
macro_rules! not_played {
    ($($name:ident: $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl server::IdentityService for Identity {
            async fn get_keys(&self, _: Request<pb::GetKeysRequest>) -> Result<Response<pb::GetKeysResponse>, Status> {
                Ok(Response::new(pb::GetKeysResponse { jwks_json: jwks(&self.key) }))
            }

            async fn issue_service_token(
                &self,
                request: Request<pb::IssueServiceTokenRequest>,
            ) -> Result<Response<pb::IssueServiceTokenResponse>, Status> {
                let org = Uuid::try_parse(&request.get_ref().organization_id).map_err(|_| Fault::field("organization_id", "must be a UUID"))?;
                let token = pb::Token {
                    access_token: sign(&self.key, &self.clock, Role::Service, org, Uuid::nil()),
                    expires_in: Some(convert::duration(Duration::from_secs(600))),
                    ..pb::Token::default()
                };
                Ok(Response::new(pb::IssueServiceTokenResponse { token: Some(token) }))
            }

            async fn start_password_reset(
                &self,
                request: Request<pb::StartPasswordResetRequest>,
            ) -> Result<Response<pb::StartPasswordResetResponse>, Status> {
                let known = request.get_ref().email.starts_with("known");
                let reset_token = if known { "one-time".to_owned() } else { String::new() };
                Ok(Response::new(pb::StartPasswordResetResponse { known, reset_token, ..Default::default() }))
            }

            $(async fn $name(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(Fault::new(Reason::NotImplemented, "the stand-in for identity does not play this").into())
            })*
        }
    };
}
not_played! {
    issue_token: IssueTokenRequest => IssueTokenResponse;
    issue_guest_token: IssueGuestTokenRequest => IssueGuestTokenResponse;
    create_user: CreateUserRequest => CreateUserResponse;
    ensure_customer: EnsureCustomerRequest => EnsureCustomerResponse;
    get_user: GetUserRequest => GetUserResponse;
    get_organization: GetOrganizationRequest => GetOrganizationResponse;
    get_guest_organization: GetGuestOrganizationRequest => GetGuestOrganizationResponse;
    complete_password_reset: CompletePasswordResetRequest => CompletePasswordResetResponse;
    export_user: ExportUserRequest => ExportUserResponse;
    erase_user: EraseUserRequest => EraseUserResponse;
}
