-- The embedded org. Every table begins with the organization, and so does every index.

-- Organizations that were seen; a row here means that demo records were made, or were not wanted.
CREATE TABLE organizations (
    org        TEXT    NOT NULL PRIMARY KEY,
    first_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last number given per organization and kind; `change` counts the change log.
CREATE TABLE counters (
    org  TEXT    NOT NULL,
    kind TEXT    NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (org, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    org  TEXT NOT NULL,
    id   TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    org         TEXT NOT NULL,
    id          TEXT NOT NULL,
    external_id TEXT,
    -- lower case; empty if unknown
    email       TEXT NOT NULL,
    name        TEXT NOT NULL,
    account_id  TEXT,
    -- the order in which contacts were made
    number      INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, account_id) REFERENCES accounts (org, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX contacts_by_external_id ON contacts (org, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX contacts_by_email ON contacts (org, email);

CREATE TABLE cases (
    org          TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    number       TEXT    NOT NULL,
    external_id  TEXT,
    subject      TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('New', 'Working', 'Escalated', 'Closed')),
    priority     TEXT    NOT NULL CHECK (priority IN ('Low', 'Medium', 'High', 'Critical')),
    origin       TEXT    NOT NULL,
    queue        TEXT    NOT NULL,
    contact_id   TEXT,
    -- microseconds since 1970, here and below
    sla_deadline INTEGER,
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, contact_id) REFERENCES contacts (org, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX cases_by_number ON cases (org, number);
CREATE UNIQUE INDEX cases_by_external_id ON cases (org, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE comments (
    org         TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    case_id     TEXT    NOT NULL,
    external_id TEXT,
    body        TEXT    NOT NULL,
    author      TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    -- the order in which comments were made
    number      INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, case_id) REFERENCES cases (org, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX comments_by_external_id ON comments (org, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX comments_by_case ON comments (org, case_id, number);

CREATE TABLE orders (
    org          TEXT NOT NULL,
    id           TEXT NOT NULL,
    number       TEXT NOT NULL,
    -- the number without signs, and its digits alone: what people write is looked up by these
    plain        TEXT NOT NULL,
    digits       TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('Processing', 'Shipped', 'Delivered', 'Cancelled')),
    items        TEXT NOT NULL,
    tracking_url TEXT NOT NULL,
    delivery     INTEGER,
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX orders_by_plain ON orders (org, plain);
CREATE INDEX orders_by_digits ON orders (org, digits);

-- What happened to cases and comments, by whom: `switchboard` is this service, `person` everybody else.
CREATE TABLE changes (
    org        TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    origin     TEXT    NOT NULL CHECK (origin IN ('switchboard', 'person')),
    case_id    TEXT    NOT NULL,
    comment_id TEXT,
    time       INTEGER NOT NULL,
    PRIMARY KEY (org, number),
    FOREIGN KEY (org, case_id) REFERENCES cases (org, id),
    FOREIGN KEY (org, comment_id) REFERENCES comments (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_people ON changes (org, number) WHERE origin = 'person';
