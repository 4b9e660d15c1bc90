-- Times are microseconds since 1970, ids hyphenated UUIDs, hashes SHA-256. A "sealed" column is noise without the person's
-- key (ADR 0010); a "_blind" one is a keyed hash by which a sealed value is found. Both are made by the program.

-- What an installation made once and keeps: the signing key, the secret that one-time tokens are derived from, the id of
-- the demo organization, the key of the blind indexes. Each value is sealed under a key of its own, which a master key
-- wraps; where the key itself is what is kept there is no value.
CREATE TABLE keys (
    name        TEXT    PRIMARY KEY,
    wrapped_key BLOB    NOT NULL,
    value       BLOB,
    created_at  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER))
) STRICT;

-- By the blind index of the name that was typed: names that nobody has are counted too.
CREATE TABLE sign_in_failures (
    name_blind BLOB    PRIMARY KEY,
    failures   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at);

-- Work that one process does for all: due when its time has come, then due again later.
CREATE TABLE duties (
    name TEXT    PRIMARY KEY,
    due  INTEGER NOT NULL
) STRICT;

CREATE TABLE organizations (
    id                TEXT    PRIMARY KEY,
    name              TEXT    NOT NULL,
    salesforce_org_id TEXT    UNIQUE,           -- none: not connected
    subscription_tier TEXT    NOT NULL,
    settings          TEXT    NOT NULL CONSTRAINT chk_settings CHECK (json_type(settings) = 'object'),
    guests_allowed    INTEGER NOT NULL CHECK (guests_allowed IN (0, 1)),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    CONSTRAINT chk_subscription_tier CHECK (subscription_tier IN ('free', 'standard', 'professional', 'enterprise'))
) STRICT;

-- Whoever was erased keeps the row, so that the id in other services' rows can be explained: nothing in it is personal.
-- The unique constraints begin with what is looked up, since a sign-in says no organization.
CREATE TABLE users (
    id                TEXT    PRIMARY KEY,
    organization_id   TEXT    NOT NULL REFERENCES organizations (id),
    request_id        TEXT,
    external_id       BLOB,     -- sealed
    external_id_blind BLOB,
    email             BLOB,     -- sealed
    email_blind       BLOB,
    full_name         BLOB,     -- sealed; none if it is empty
    role              TEXT    NOT NULL,
    subscription_tier TEXT    NOT NULL,
    guest             INTEGER NOT NULL CHECK (guest IN (0, 1)),    -- a web visitor who never signed in
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    erased_at         INTEGER,
    UNIQUE (organization_id, request_id),
    UNIQUE (external_id_blind, organization_id),
    UNIQUE (email_blind, organization_id),
    UNIQUE (organization_id, id),
    CONSTRAINT chk_role CHECK (role IN ('customer', 'agent', 'supervisor', 'admin', 'service')),
    CONSTRAINT chk_subscription_tier CHECK (subscription_tier IN ('free', 'standard', 'professional', 'enterprise')),
    CONSTRAINT chk_erased CHECK (erased_at IS NULL OR (external_id IS NULL AND external_id_blind IS NULL
        AND email IS NULL AND email_blind IS NULL AND full_name IS NULL))
) STRICT;
-- Guests whose time is up.
CREATE INDEX users_guests ON users (created_at) WHERE guest AND erased_at IS NULL;

-- One key per person, wrapped by the master key of this number. Erasing the person deletes it.
CREATE TABLE person_keys (
    organization_id TEXT    NOT NULL,
    person_id       TEXT    NOT NULL,
    master          INTEGER NOT NULL,
    wrapped_key     BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, person_id),
    FOREIGN KEY (organization_id, person_id) REFERENCES users (organization_id, id)
) STRICT;
-- Keys that an older master wraps.
CREATE INDEX person_keys_by_master ON person_keys (master);

CREATE TABLE credentials (
    organization_id TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    password_hash   BLOB    NOT NULL,   -- sealed
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, user_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id)
) STRICT;

-- A family is what came from one sign-in. A token is used once; used again, its family ends.
CREATE TABLE refresh_tokens (
    hash            BLOB    PRIMARY KEY,
    family          TEXT    NOT NULL,
    organization_id TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    guest           INTEGER NOT NULL CHECK (guest IN (0, 1)),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_at         INTEGER,
    revoked_at      INTEGER,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id)
) STRICT;
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (organization_id, user_id);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

CREATE TABLE reset_tokens (
    hash            BLOB    PRIMARY KEY,
    organization_id TEXT    NOT NULL,
    request_id      TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_at         INTEGER,
    UNIQUE (organization_id, request_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id)
) STRICT;
CREATE INDEX reset_tokens_by_user ON reset_tokens (organization_id, user_id);
CREATE INDEX reset_tokens_by_end ON reset_tokens (expires_at);

-- The last row of each organization's log: a log whose end was cut off shows.
CREATE TABLE activity_heads (
    organization_id TEXT    PRIMARY KEY REFERENCES organizations (id),
    seq             INTEGER NOT NULL,
    hash            BLOB    NOT NULL
) STRICT;

-- Who did what. Each row's hash covers the row and the hash of the one before. Details are numbers: no person's words can
-- get in.
CREATE TABLE activity_log (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    timestamp       INTEGER NOT NULL,
    user_id         TEXT,                   -- who did it; none: the installation itself
    action          TEXT    NOT NULL,
    resource_type   TEXT    NOT NULL,
    resource_id     TEXT    NOT NULL,
    details         TEXT    NOT NULL,
    hash            BLOB    NOT NULL,
    PRIMARY KEY (organization_id, seq)
) STRICT;
CREATE INDEX idx_activity_log_user ON activity_log (organization_id, user_id);
CREATE INDEX idx_activity_log_resource ON activity_log (organization_id, resource_id);
CREATE TRIGGER activity_log_is_never_changed BEFORE UPDATE ON activity_log
BEGIN
    SELECT RAISE(ABORT, 'a row of the log is never changed');
END;
CREATE TRIGGER activity_log_is_never_deleted BEFORE DELETE ON activity_log
BEGIN
    SELECT RAISE(ABORT, 'a row of the log is never deleted');
END;
