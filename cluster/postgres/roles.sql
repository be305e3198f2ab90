-- The ledger and the catalog of raypipe in PostgreSQL 14 or later, with a role for each part. Run it again after an update:
--   psql -v ON_ERROR_STOP=1 -d raypipe -f roles.sql      (as the owner of the database, who may make roles)
-- Then let each part log in as a member of one role:
--   CREATE ROLE train_eu LOGIN PASSWORD '…' IN ROLE raypipe_trainer;
--
--   role              ledger                                           catalog
--   raypipe_reader    reads (auditors, dashboards)                     reads
--   raypipe_server    reads                                            writes logs of predictions and feedback
--   raypipe_trainer   adds rows, but none by which a version answers   writes
--   raypipe_promoter  adds any row                                     reads
--
-- Nobody changes or removes a row of the ledger, its owner neither.

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['raypipe_reader', 'raypipe_server', 'raypipe_trainer', 'raypipe_promoter'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', name);
    END IF;
  END LOOP;
END $$;

-- The same tables as the first run would make.
CREATE TABLE IF NOT EXISTS ledger (
  seq integer PRIMARY KEY,
  key varchar(255) NOT NULL UNIQUE,
  kind varchar(64) NOT NULL,
  subject varchar(255) NOT NULL,
  at bigint NOT NULL,
  body text NOT NULL,
  previous varchar(64) NOT NULL,
  hash varchar(64) NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_ledger_kind ON ledger (kind);
CREATE INDEX IF NOT EXISTS ix_ledger_subject ON ledger (subject);

CREATE TABLE IF NOT EXISTS iceberg_tables (
  catalog_name varchar(255) NOT NULL,
  table_namespace varchar(255) NOT NULL,
  table_name varchar(255) NOT NULL,
  metadata_location varchar(1000),
  previous_metadata_location varchar(1000),
  iceberg_type varchar(5),
  PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
  catalog_name varchar(255) NOT NULL,
  namespace varchar(255) NOT NULL,
  property_key varchar(255) NOT NULL,
  property_value varchar(1000) NOT NULL,
  PRIMARY KEY (catalog_name, namespace, property_key)
);

-- Only what is granted here is allowed.
REVOKE ALL ON ledger, iceberg_tables, iceberg_namespace_properties
  FROM PUBLIC, raypipe_reader, raypipe_server, raypipe_trainer, raypipe_promoter;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO raypipe_reader, raypipe_server, raypipe_trainer, raypipe_promoter;

GRANT SELECT ON ledger, iceberg_tables, iceberg_namespace_properties
  TO raypipe_reader, raypipe_server, raypipe_trainer, raypipe_promoter;
GRANT INSERT ON ledger TO raypipe_trainer, raypipe_promoter;
GRANT INSERT, UPDATE ON iceberg_tables, iceberg_namespace_properties TO raypipe_trainer, raypipe_server;

ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS everybody_reads ON ledger;
CREATE POLICY everybody_reads ON ledger FOR SELECT USING (true);
DROP POLICY IF EXISTS trainer_adds ON ledger;
CREATE POLICY trainer_adds ON ledger FOR INSERT TO raypipe_trainer
  WITH CHECK (kind NOT IN ('model.promoted', 'model.released', 'model.deployed'));
DROP POLICY IF EXISTS promoter_adds ON ledger;
CREATE POLICY promoter_adds ON ledger FOR INSERT TO raypipe_promoter WITH CHECK (true);

ALTER TABLE iceberg_tables ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS everybody_reads ON iceberg_tables;
CREATE POLICY everybody_reads ON iceberg_tables FOR SELECT USING (true);
DROP POLICY IF EXISTS trainer_writes ON iceberg_tables;
CREATE POLICY trainer_writes ON iceberg_tables TO raypipe_trainer USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS server_writes_logs ON iceberg_tables;
CREATE POLICY server_writes_logs ON iceberg_tables TO raypipe_server
  USING (table_namespace IN ('predictions', 'feedback'))
  WITH CHECK (table_namespace IN ('predictions', 'feedback'));
ALTER TABLE iceberg_namespace_properties ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS everybody_reads ON iceberg_namespace_properties;
CREATE POLICY everybody_reads ON iceberg_namespace_properties FOR SELECT USING (true);
DROP POLICY IF EXISTS trainer_writes ON iceberg_namespace_properties;
CREATE POLICY trainer_writes ON iceberg_namespace_properties TO raypipe_trainer USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS server_writes_logs ON iceberg_namespace_properties;
CREATE POLICY server_writes_logs ON iceberg_namespace_properties TO raypipe_server
  USING (namespace IN ('predictions', 'feedback')) WITH CHECK (namespace IN ('predictions', 'feedback'));

-- Rows of the ledger are added at its end, on top of the last one, and stay.
CREATE OR REPLACE FUNCTION ledger_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of the ledger are never changed or removed' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE OR REPLACE FUNCTION ledger_grows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last record;
BEGIN
  SELECT seq, hash INTO last FROM ledger ORDER BY seq DESC LIMIT 1;
  IF NEW.seq <> coalesce(last.seq, 0) + 1 OR NEW.previous <> coalesce(last.hash, repeat('0', 64)) THEN
    RAISE EXCEPTION 'a row of the ledger goes on top of the last one' USING ERRCODE = 'unique_violation';
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS ledger_stays ON ledger;
CREATE TRIGGER ledger_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_stays();
DROP TRIGGER IF EXISTS ledger_grows ON ledger;
CREATE TRIGGER ledger_grows BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_grows();
