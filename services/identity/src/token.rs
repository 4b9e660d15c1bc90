//! Tokens: signed ones, and opaque ones of which only a hash is kept.
//!
//! In: who, for how long, when. Out: text to hand out. Never: an opaque token that is kept in clear.
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use switchboard_runtime::{
    Role,
    caller::{Claims, ISSUER, SigningKey, role_name},
};
use uuid::Uuid;

use crate::error::Error;

/// SHA-256 of something that is not kept itself.
pub type Hash = [u8; 32];

/// The hash under which an opaque token is kept. It has 256 random bits, so it needs neither salt nor stretching.
pub fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// A new opaque token.
pub fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A token that is the same for the same secret and parts, and that nobody else can make.
pub fn derived(secret: &[u8], purpose: &str, parts: &[Uuid]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(purpose.as_bytes());
    for part in parts {
        mac.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// What is handed out.
#[derive(Debug, Clone)]
pub struct Issued {
    /// A JWT.
    pub access: String,
    /// How long it is good.
    pub expires_in: Duration,
    /// Carries the session on; none where the grant gives none.
    pub refresh: Option<String>,
    /// Whose it is.
    pub user: Uuid,
}

/// Signs access tokens with the installation's key.
pub struct Signer {
    key: SigningKey,
    jwks: String,
}

impl Signer {
    /// With a kept key.
    pub fn new(pem: &str) -> Result<Self, Error> {
        let key = SigningKey::from_pem(pem)?;
        let jwks = serde_json::json!({ "keys": [key.jwk()] }).to_string();
        Ok(Signer { key, jwks })
    }

    /// The public half as a JSON Web Key Set.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// A signed token. `id` is the token's own.
    pub fn sign(
        &self,
        id: Uuid,
        org: Uuid,
        user: Uuid,
        role: Role,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<String, Error> {
        let iat = now.as_second();
        let exp = iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        let roles = vec![role_name(role).to_owned()];
        Ok(self.key.sign(&Claims { sub: user, user_id: user, org, roles, iss: ISSUER.into(), iat, exp, jti: id })?)
    }
}
