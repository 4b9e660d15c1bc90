-- What the tests of the ground need: one table that belongs to organizations, one row of which says nothing.
CREATE TABLE notes (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    body            text NOT NULL,
    created_at      timestamptz NOT NULL
);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notes TO switchboard_probe
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY worker ON notes FOR SELECT TO switchboard_probe_worker USING (true);
GRANT SELECT, INSERT ON notes TO switchboard_probe;
GRANT SELECT (id, organization_id) ON notes TO switchboard_probe_worker;
