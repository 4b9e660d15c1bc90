//! Who asks: the verified token behind a request.
//!
//! In: a bearer token and identity's published keys. Out: a [`Caller`]. Never: a token whose signature, expiry or issuer
//! was not checked; the tenant is what the token says and nothing else.
use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use switchboard_errors::{Fault, Reason};
pub use switchboard_proto::types::v1::Role;
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::{clock::Clock, context::Context};

/// The issuer of our own tokens.
pub const ISSUER: &str = "switchboard";

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: Uuid,
    /// The same, under the name that front ends look for.
    pub user_id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// `customer`, `agent`, `supervisor`, `admin`, `service`.
    pub roles: Vec<String>,
    /// Who signed it.
    pub iss: String,
    /// Signed at, in seconds since 1970.
    pub iat: i64,
    /// Good until, in seconds since 1970.
    pub exp: i64,
    /// The token's own id.
    pub jti: Uuid,
}

/// A verified caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user: Uuid,
    /// The organization: every store call carries it.
    pub org: Uuid,
    /// The highest of its roles.
    pub role: Role,
    /// Good until, in seconds since 1970.
    pub expires: i64,
    /// The token itself, to travel on.
    pub token: crate::Secret,
}

impl Caller {
    /// The caller of the running request. UNAUTHENTICATED if there is none.
    pub fn current() -> Result<Arc<Caller>, Fault> {
        Context::current().caller.ok_or_else(|| {
            Fault::new(Reason::Unauthenticated, "A bearer token is required in the authorization header.")
        })
    }

    /// The caller, if it has one of these roles. PERMISSION_DENIED if not.
    pub fn with_role(roles: &[Role]) -> Result<Arc<Caller>, Fault> {
        let caller = Caller::current()?;
        if roles.contains(&caller.role) {
            return Ok(caller);
        }
        let names: Vec<_> = roles.iter().map(|r| role_name(*r)).collect();
        Err(Fault::new(Reason::PermissionDenied, format!("This needs the role {}.", names.join(" or "))))
    }

    /// True for agents, supervisors, admins and services: those who work for the organization.
    pub fn is_staff(&self) -> bool {
        self.role != Role::Customer
    }
}

/// Those who work for the organization.
pub const STAFF: &[Role] = &[Role::Agent, Role::Supervisor, Role::Admin, Role::Service];

/// The role as tokens spell it.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "none",
        Role::Customer => "customer",
        Role::Agent => "agent",
        Role::Supervisor => "supervisor",
        Role::Admin => "admin",
        Role::Service => "service",
    }
}

/// The role of a name; none if there is no such role.
pub fn role_of(name: &str) -> Option<Role> {
    [Role::Customer, Role::Agent, Role::Supervisor, Role::Admin, Role::Service]
        .into_iter()
        .find(|r| role_name(*r) == name)
}

/// Where keys come from.
#[async_trait::async_trait]
pub trait KeySource: Send + Sync {
    /// The JSON Web Key Set as text.
    async fn jwks(&self) -> Result<String, Fault>;
}

/// Verifies tokens; keeps keys and results.
pub struct Verifier {
    source: Box<dyn KeySource>,
    keys: RwLock<Option<JwkSet>>,
    // By the token's hash: a dump of this process's memory map then shows no token as a key.
    verified: Cache<[u8; 32], Arc<Caller>>,
    clock: Clock,
}

impl Verifier {
    /// A verifier that asks this source for keys.
    pub fn new(source: Box<dyn KeySource>, clock: Clock) -> Self {
        // 60 s at most: a revoked key or role is noticed within a minute.
        let verified = Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(60)).build();
        Verifier { source, keys: RwLock::new(None), verified, clock }
    }

    /// The caller behind a token. UNAUTHENTICATED with a word on why.
    pub async fn verify(&self, token: &str) -> Result<Arc<Caller>, Fault> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = self.clock.now().as_second();
        if let Some(caller) = self.verified.get(&hash) {
            return if caller.expires > now {
                Ok(caller)
            } else {
                Err(refused("The token has expired. Sign in again."))
            };
        }
        let caller = Arc::new(self.check(token, now).await?);
        self.verified.insert(hash, caller.clone());
        Ok(caller)
    }

    async fn check(&self, token: &str, now: i64) -> Result<Caller, Fault> {
        let malformed = || refused("The token is malformed.");
        let header = decode_header(token).map_err(|_| malformed())?;
        // The algorithm is ours to choose, never the token's: `none` and HS256-with-a-public-key fail here.
        if header.alg != Algorithm::ES256 {
            return Err(refused("The token's algorithm is not accepted."));
        }
        let kid = header.kid.ok_or_else(malformed)?;
        let key = self.key(&kid).await?;
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        rules.validate_exp = false; // by our own clock, below
        rules.validate_aud = false;
        let claims = decode::<Claims>(token, &key, &rules)
            .map_err(|_| refused("The token's signature or claims are wrong."))?
            .claims;
        if claims.exp <= now {
            return Err(refused("The token has expired. Sign in again."));
        }
        let role = claims.roles.iter().filter_map(|r| role_of(r)).max_by_key(|r| *r as i32).ok_or_else(malformed)?;
        Ok(Caller { user: claims.sub, org: claims.org, role, expires: claims.exp, token: crate::Secret::new(token) })
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, Fault> {
        let find = |set: &JwkSet| set.find(kid).and_then(|jwk| DecodingKey::from_jwk(jwk).ok());
        if let Some(key) = self.keys.read().await.as_ref().and_then(find) {
            return Ok(key);
        }
        let text = self.source.jwks().await?;
        let set: JwkSet = serde_json::from_str(&text).map_err(Fault::internal)?;
        let key = find(&set).ok_or_else(|| refused("The token was signed by a key that is not known here."));
        *self.keys.write().await = Some(set);
        key
    }
}

fn refused(detail: &'static str) -> Fault {
    Fault::new(Reason::Unauthenticated, detail)
}

/// A signing key of an installation: identity keeps one, tests make their own.
pub struct SigningKey {
    kid: String,
    secret: p256::SecretKey,
    encoding: jsonwebtoken::EncodingKey,
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> Result<Self, Fault> {
        loop {
            // Nearly every 32 random bytes are a valid scalar; zero and those above the order are not.
            if let Ok(secret) = p256::SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
                return Self::from_secret(secret);
            }
        }
    }

    /// A kept key.
    pub fn from_pem(pem: &str) -> Result<Self, Fault> {
        use p256::pkcs8::DecodePrivateKey as _;
        Self::from_secret(p256::SecretKey::from_pkcs8_pem(pem).map_err(|e| Fault::internal(e.to_string()))?)
    }

    fn from_secret(secret: p256::SecretKey) -> Result<Self, Fault> {
        use p256::pkcs8::EncodePrivateKey as _;
        let der = secret.to_pkcs8_der().map_err(|e| Fault::internal(e.to_string()))?;
        let encoding = jsonwebtoken::EncodingKey::from_ec_der(der.as_bytes());
        let digest = Sha256::digest(secret.public_key().to_sec1_bytes());
        let kid = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &digest[..12]);
        Ok(SigningKey { kid, secret, encoding })
    }

    /// The key as PEM, to keep.
    pub fn to_pem(&self) -> Result<crate::Secret, Fault> {
        use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
        let pem = self.secret.to_pkcs8_pem(LineEnding::LF).map_err(|e| Fault::internal(e.to_string()))?;
        Ok(crate::Secret::new(pem.as_str()))
    }

    /// Its name in tokens and key sets.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as one key of a JSON Web Key Set.
    pub fn jwk(&self) -> serde_json::Value {
        use p256::elliptic_curve::sec1::ToEncodedPoint as _;
        let point = self.secret.public_key().to_encoded_point(false);
        let part = |bytes: Option<&p256::FieldBytes>| {
            base64::Engine::encode(
                &base64::engine::general_purpose::URL_SAFE_NO_PAD,
                bytes.map(|b| &b[..]).unwrap_or_default(),
            )
        };
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": part(point.x()), "y": part(point.y()),
        })
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, Fault> {
        let mut header = jsonwebtoken::Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(Fault::internal)
    }
}
