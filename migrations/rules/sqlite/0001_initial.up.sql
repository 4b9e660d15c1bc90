-- Which bundle decided when. No personal data: policies are the company's own text, and nobody is named.
CREATE TABLE activation (
    organization_id TEXT    NOT NULL,           -- the nil UUID: the whole installation
    position        INTEGER NOT NULL CONSTRAINT chk_position CHECK (position >= 1),     -- order of activation; clocks may go backwards
    version         TEXT    NOT NULL,           -- content hash of the bundle
    name            TEXT    NOT NULL,
    activated_at    INTEGER NOT NULL,           -- microseconds since 1970
    files           TEXT    NOT NULL CONSTRAINT chk_files CHECK (json_type(files) = 'object'),  -- path to content, so that an old decision can be replayed
    hash            BLOB    NOT NULL,           -- over this row and the hash of the one before
    PRIMARY KEY (organization_id, position)
) STRICT;

CREATE TRIGGER activation_is_final BEFORE UPDATE ON activation BEGIN
    SELECT RAISE(ABORT, 'what was active is never edited or deleted');
END;
CREATE TRIGGER activation_stays BEFORE DELETE ON activation BEGIN
    SELECT RAISE(ABORT, 'what was active is never edited or deleted');
END;
