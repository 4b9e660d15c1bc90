CREATE SCHEMA rules;

CREATE FUNCTION rules.refuse_to_edit_history() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'what was active is never edited or deleted';
END;
$$;

CREATE TABLE rules.activation (
    organization_id uuid NOT NULL,
    "position" bigint NOT NULL,
    version text NOT NULL,
    name text NOT NULL,
    activated_at timestamp with time zone NOT NULL,
    files jsonb NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT chk_files CHECK ((jsonb_typeof(files) = 'object'::text)),
    CONSTRAINT chk_position CHECK (("position" >= 1))
);

ALTER TABLE ONLY rules.activation FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY rules.activation
    ADD CONSTRAINT activation_pkey PRIMARY KEY (organization_id, "position");

CREATE TRIGGER activation_is_final BEFORE DELETE OR UPDATE ON rules.activation FOR EACH ROW EXECUTE FUNCTION rules.refuse_to_edit_history();

ALTER TABLE rules.activation ENABLE ROW LEVEL SECURITY;

CREATE POLICY activation_isolation ON rules.activation TO switchboard_rules USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

GRANT USAGE ON SCHEMA rules TO switchboard_rules;

GRANT USAGE ON SCHEMA rules TO switchboard_rules_worker;

GRANT SELECT,INSERT ON TABLE rules.activation TO switchboard_rules;
