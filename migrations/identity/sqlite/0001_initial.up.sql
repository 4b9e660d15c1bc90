-- Times are microseconds since 1970, ids hyphenated UUIDs, hashes SHA-256.

-- What an installation made once and keeps: the signing key, the secret that one-time tokens are derived from, the id of
-- the demo organization.
CREATE TABLE keys (
    name       TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE organizations (
    id                TEXT PRIMARY KEY,
    name              TEXT NOT NULL,
    tier              TEXT NOT NULL CHECK (tier IN ('free', 'standard', 'professional', 'enterprise')),
    salesforce_org_id TEXT NOT NULL,
    settings          TEXT NOT NULL CHECK (json_valid(settings)),
    guests_allowed    INTEGER NOT NULL CHECK (guests_allowed IN (0, 1)),
    created_at        INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id          TEXT PRIMARY KEY,
    org         TEXT NOT NULL REFERENCES organizations (id),
    request_id  TEXT,
    external_id TEXT,
    email       TEXT,
    full_name   TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('customer', 'agent', 'supervisor', 'admin', 'service')),
    tier        TEXT NOT NULL CHECK (tier IN ('free', 'standard', 'professional', 'enterprise')),
    created_at  INTEGER NOT NULL,
    UNIQUE (org, request_id),
    UNIQUE (org, external_id),
    UNIQUE (org, email),
    UNIQUE (org, id)
) STRICT;
-- Whoever signs in says no organization.
CREATE INDEX users_by_email ON users (email) WHERE email IS NOT NULL;
CREATE INDEX users_by_external_id ON users (external_id) WHERE external_id IS NOT NULL;

CREATE TABLE credentials (
    org           TEXT NOT NULL,
    user          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (org, user),
    FOREIGN KEY (org, user) REFERENCES users (org, id)
) STRICT;

-- A family is what came from one sign-in. A token is used once; used again, its family ends.
CREATE TABLE refresh_tokens (
    hash       BLOB PRIMARY KEY,
    family     TEXT NOT NULL,
    org        TEXT NOT NULL,
    user       TEXT NOT NULL,
    guest      INTEGER NOT NULL CHECK (guest IN (0, 1)),
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    revoked_at INTEGER,
    FOREIGN KEY (org, user) REFERENCES users (org, id)
) STRICT;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (org, user);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

CREATE TABLE reset_tokens (
    hash       BLOB PRIMARY KEY,
    org        TEXT NOT NULL,
    request_id TEXT NOT NULL,
    user       TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    UNIQUE (org, request_id),
    FOREIGN KEY (org, user) REFERENCES users (org, id)
) STRICT;
CREATE INDEX reset_tokens_by_user ON reset_tokens (org, user);
CREATE INDEX reset_tokens_by_end ON reset_tokens (expires_at);

-- By the hash of the name that was typed: names that nobody has are counted too, and must not be kept in clear.
CREATE TABLE sign_in_failures (
    name_hash BLOB PRIMARY KEY,
    failures  INTEGER NOT NULL,
    last_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at);
