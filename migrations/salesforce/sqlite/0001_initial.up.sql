-- The embedded org, and where reading of a real one stands. Every table begins with the organization, and so does every index.
-- Times are microseconds since 1970, ids of ours hyphenated UUIDs. What people are called and what they wrote is sealed under
-- the key of the contact whom it is about; NULL where there is none, or no more.

-- Wrapped keys: a contact's under its id, that of cases without a contact under `organization`, that of blind indexes under
-- `index`, which is also the sign that an organization was seen, and given its demo records if they were wanted.
CREATE TABLE person_keys (
    organization_id TEXT    NOT NULL,
    person_id       TEXT    NOT NULL,
    wrapped_key     BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, person_id)
) STRICT, WITHOUT ROWID;

-- The last number given per organization and kind; `change` counts the change log.
CREATE TABLE counters (
    organization_id TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    last            INTEGER NOT NULL,
    PRIMARY KEY (organization_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    organization_id TEXT NOT NULL,
    id              TEXT NOT NULL,
    name            TEXT NOT NULL,
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    organization_id TEXT NOT NULL,
    id              TEXT NOT NULL,
    external_id     TEXT,
    -- sealed, lower case
    email           BLOB,
    -- keyed hash of the address
    email_index     BLOB,
    -- sealed
    name            BLOB,
    account_id      TEXT,
    -- the order in which contacts were made
    number          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, account_id) REFERENCES accounts (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX contacts_by_external_id ON contacts (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX contacts_by_email ON contacts (organization_id, email_index) WHERE email_index IS NOT NULL;

CREATE TABLE cases (
    organization_id TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    number          TEXT    NOT NULL,
    external_id     TEXT,
    -- sealed
    subject         BLOB,
    -- sealed
    description     BLOB,
    status          TEXT    NOT NULL CONSTRAINT chk_cases_status CHECK (status IN ('New', 'Working', 'Escalated', 'Closed')),
    priority        TEXT    NOT NULL CONSTRAINT chk_cases_priority CHECK (priority IN ('Low', 'Medium', 'High', 'Critical')),
    origin          TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    contact_id      TEXT,
    sla_deadline    INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, contact_id) REFERENCES contacts (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX cases_by_number ON cases (organization_id, number);
CREATE UNIQUE INDEX cases_by_external_id ON cases (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX cases_by_contact ON cases (organization_id, contact_id) WHERE contact_id IS NOT NULL;

-- Sealed under the key of the case's contact.
CREATE TABLE comments (
    organization_id TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    case_id         TEXT    NOT NULL,
    external_id     TEXT,
    -- sealed
    body            BLOB,
    -- sealed
    author          BLOB,
    created_at      INTEGER NOT NULL,
    -- the order in which comments were made
    number          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, case_id) REFERENCES cases (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX comments_by_external_id ON comments (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX comments_by_case ON comments (organization_id, case_id, number);

CREATE TABLE orders (
    organization_id TEXT NOT NULL,
    id              TEXT NOT NULL,
    number          TEXT NOT NULL,
    -- the number without signs, and its digits alone: what people write is looked up by these
    plain           TEXT NOT NULL,
    digits          TEXT NOT NULL,
    status          TEXT NOT NULL
        CONSTRAINT chk_orders_status CHECK (status IN ('Processing', 'Shipped', 'Delivered', 'Cancelled')),
    items           TEXT NOT NULL,
    tracking_url    TEXT NOT NULL,
    delivery_at     INTEGER,
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX orders_by_plain ON orders (organization_id, plain);
CREATE INDEX orders_by_digits ON orders (organization_id, digits);

-- What happened to cases and comments, by whom: `switchboard` is this service, `person` everybody else.
CREATE TABLE changes (
    organization_id TEXT    NOT NULL,
    number          INTEGER NOT NULL,
    origin          TEXT    NOT NULL CONSTRAINT chk_changes_origin CHECK (origin IN ('switchboard', 'person')),
    case_id         TEXT    NOT NULL,
    comment_id      TEXT,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, number),
    FOREIGN KEY (organization_id, case_id) REFERENCES cases (organization_id, id),
    FOREIGN KEY (organization_id, comment_id) REFERENCES comments (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_people ON changes (organization_id, number) WHERE origin = 'person';
CREATE INDEX changes_by_case ON changes (organization_id, case_id);

-- Up to where the events of a topic were taken; the position is Salesforce's own, opaque to us.
CREATE TABLE replay_positions (
    organization_id TEXT    NOT NULL,
    topic           TEXT    NOT NULL,
    position        BLOB    NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, topic)
) STRICT, WITHOUT ROWID;

-- Events that were taken, as long as Salesforce may send them again.
CREATE TABLE replay_events (
    organization_id TEXT    NOT NULL,
    topic           TEXT    NOT NULL,
    event_id        TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, topic, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_events_by_time ON replay_events (organization_id, topic, created_at);
