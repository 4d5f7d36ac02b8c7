-- What runs beside backups, and a view over everything that ran.

CREATE TABLE verification_runs (
    id UUID PRIMARY KEY,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    -- Every block was opened, not only digested.
    is_full BOOLEAN,
    backups UBIGINT,
    backups_whole UBIGINT,
    files UBIGINT,
    files_whole UBIGINT,
    objects UBIGINT,
    bytes_read UBIGINT,
    problems UBIGINT,
    created_at TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL CHECK (regexp_full_match(run, '[0-9a-f]{16}')),
    job VARCHAR NOT NULL,
    run_by VARCHAR NOT NULL,
    reason VARCHAR,
    details VARCHAR,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended')),
    CHECK ((status = 'started') = (end_time IS NULL))
);

CREATE TABLE recovery_drills (
    id UUID PRIMARY KEY,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    kind VARCHAR,
    -- The backup that was restored.
    backup_location VARCHAR,
    restored_op UBIGINT,
    restored_bytes UBIGINT,
    restore_seconds DOUBLE,
    created_at TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL CHECK (regexp_full_match(run, '[0-9a-f]{16}')),
    job VARCHAR NOT NULL,
    run_by VARCHAR NOT NULL,
    reason VARCHAR,
    details VARCHAR,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended')),
    CHECK ((status = 'started') = (end_time IS NULL))
);

CREATE TABLE retention_runs (
    id UUID PRIMARY KEY,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    backups_removed UBIGINT,
    objects_removed UBIGINT,
    bytes_removed UBIGINT,
    created_at TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL CHECK (regexp_full_match(run, '[0-9a-f]{16}')),
    job VARCHAR NOT NULL,
    run_by VARCHAR NOT NULL,
    reason VARCHAR,
    details VARCHAR,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended')),
    CHECK ((status = 'started') = (end_time IS NULL))
);

CREATE VIEW runs AS
    SELECT id, run, backup_type AS work, backup_scope AS scope, job, run_by, start_time, end_time, status,
           backup_size_bytes AS stored_bytes, backup_location AS location, reason
    FROM backup_metadata
    UNION ALL
    SELECT id, run, 'verification', NULL, job, run_by, start_time, end_time, status, NULL, NULL, reason FROM verification_runs
    UNION ALL
    SELECT id, run, 'drill', NULL, job, run_by, start_time, end_time, status, NULL, backup_location, reason FROM recovery_drills
    UNION ALL
    SELECT id, run, 'retention', NULL, job, run_by, start_time, end_time, status, NULL, NULL, reason FROM retention_runs;
