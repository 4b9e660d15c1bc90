-- Which bundle decided when. No personal data: policies are the company's own text, and nobody is named.
--
-- switchboard_rules sees the rows of the organization in app.current_org_id. Nothing looks for work across organizations.
CREATE TABLE activation (
    organization_id UUID        NOT NULL,               -- the nil UUID: the whole installation
    position        BIGINT      NOT NULL CONSTRAINT chk_position CHECK (position >= 1),     -- order of activation; clocks may go backwards
    version         TEXT        NOT NULL,               -- content hash of the bundle
    name            TEXT        NOT NULL,
    activated_at    TIMESTAMPTZ NOT NULL,
    files           JSONB       NOT NULL CONSTRAINT chk_files CHECK (jsonb_typeof(files) = 'object'),   -- path to content, so that an old decision can be replayed
    hash            BYTEA       NOT NULL,               -- over this row and the hash of the one before
    PRIMARY KEY (organization_id, position)
);
ALTER TABLE activation ENABLE ROW LEVEL SECURITY;
ALTER TABLE activation FORCE ROW LEVEL SECURITY;
CREATE POLICY activation_isolation ON activation TO switchboard_rules
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT ON activation TO switchboard_rules;

-- Holds whoever owns the table too.
CREATE FUNCTION refuse_to_edit_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was active is never edited or deleted';
END;
$$;
CREATE TRIGGER activation_is_final BEFORE UPDATE OR DELETE ON activation
    FOR EACH ROW EXECUTE FUNCTION refuse_to_edit_history();
