-- What every run has, so that its event in a ledger can be told from its row; restores; and what
-- was aimed for and met.

ALTER TABLE verification_runs ADD COLUMN backup_scope VARCHAR;
ALTER TABLE verification_runs ADD COLUMN tenant_id VARCHAR;
ALTER TABLE recovery_drills ADD COLUMN backup_scope VARCHAR;
ALTER TABLE recovery_drills ADD COLUMN tenant_id VARCHAR;
ALTER TABLE retention_runs ADD COLUMN backup_scope VARCHAR;
ALTER TABLE retention_runs ADD COLUMN tenant_id VARCHAR;
-- As the records of these runs have it: of what an agent ran everything, of a verification by hand
-- what was asked for.
UPDATE verification_runs SET backup_scope = CASE WHEN job = 'command line' AND NOT coalesce(is_full, false) THEN 'incremental' ELSE 'full' END;
UPDATE recovery_drills SET backup_scope = 'full';
UPDATE retention_runs SET backup_scope = 'full';

CREATE TABLE restore_runs (
    id UUID PRIMARY KEY,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    -- The tier that was restored, and the backup that was used.
    tier VARCHAR,
    backup_location VARCHAR,
    restored_bytes UBIGINT,
    restore_seconds DOUBLE,
    expected_seconds DOUBLE,
    created_at TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL CHECK (regexp_full_match(run, '[0-9a-f]{16}')),
    job VARCHAR NOT NULL,
    run_by VARCHAR NOT NULL,
    reason VARCHAR,
    details VARCHAR,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended')),
    backup_scope VARCHAR,
    tenant_id VARCHAR,
    CHECK ((status = 'started') = (end_time IS NULL))
);

-- What was aimed for and met, tier by tier, each time that it was looked at.
CREATE TABLE objectives (
    id UUID PRIMARY KEY,
    tier VARCHAR,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    -- The worst since the look before.
    recovery_point_seconds DOUBLE,
    recovery_point_objective_seconds DOUBLE,
    -- Of the newest restore that was measured, else an estimate.
    recovery_time_seconds DOUBLE,
    recovery_time_objective_seconds DOUBLE,
    is_measured BOOLEAN,
    created_at TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL CHECK (regexp_full_match(run, '[0-9a-f]{16}')),
    job VARCHAR NOT NULL,
    run_by VARCHAR NOT NULL,
    reason VARCHAR,
    details VARCHAR,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended')),
    backup_scope VARCHAR,
    tenant_id VARCHAR,
    CHECK ((status = 'started') = (end_time IS NULL))
);

-- Of each tier and day.
CREATE VIEW objectives_by_day AS
    SELECT tier, end_time::DATE AS day,
           max(recovery_point_seconds) AS recovery_point_seconds, max(recovery_point_objective_seconds) AS recovery_point_objective_seconds,
           max(recovery_time_seconds) AS recovery_time_seconds, max(recovery_time_objective_seconds) AS recovery_time_objective_seconds,
           bool_or(is_measured) AS is_measured
    FROM objectives WHERE status = 'completed' AND tier IS NOT NULL GROUP BY ALL;

CREATE OR REPLACE VIEW runs AS
    SELECT id, run, backup_type AS work, backup_scope AS scope, job, run_by, start_time, end_time, status,
           backup_size_bytes AS stored_bytes, backup_location AS location, reason
    FROM backup_metadata
    UNION ALL
    SELECT id, run, 'verification', backup_scope, job, run_by, start_time, end_time, status, NULL, NULL, reason FROM verification_runs
    UNION ALL
    SELECT id, run, 'drill', backup_scope, job, run_by, start_time, end_time, status, NULL, backup_location, reason FROM recovery_drills
    UNION ALL
    SELECT id, run, 'retention', backup_scope, job, run_by, start_time, end_time, status, NULL, NULL, reason FROM retention_runs
    UNION ALL
    SELECT id, run, 'restore', backup_scope, job, run_by, start_time, end_time, status, NULL, backup_location, reason FROM restore_runs
    UNION ALL
    SELECT min(id), run, 'objectives', first(backup_scope), first(job), first(run_by), first(start_time), first(end_time), first(status), NULL, NULL, first(reason)
    FROM objectives GROUP BY run;
