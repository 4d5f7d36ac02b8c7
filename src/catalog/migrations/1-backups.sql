-- What was backed up, and keys. All times are UTC.

CREATE TABLE catalog_state (
    repository_id UUID NOT NULL,
    -- False for a catalog that was begun anew and does not have all that the repository knows.
    is_complete BOOLEAN NOT NULL
);

CREATE TABLE backup_metadata (
    id UUID PRIMARY KEY,
    -- The name of the tier's kind of work.
    backup_type VARCHAR NOT NULL CHECK (regexp_full_match(backup_type, '[a-z_]+')),
    backup_scope VARCHAR NOT NULL CHECK (backup_scope IN ('full', 'incremental')),
    -- A 128-bit number in decimal; NULL is all tenants.
    tenant_id VARCHAR CHECK (regexp_full_match(tenant_id, '[0-9]{1,39}')),
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    backup_size_bytes UBIGINT,
    -- The object by which the backup exists, and its digest, which authenticates all that it names.
    backup_location VARCHAR,
    checksum VARCHAR CHECK (regexp_full_match(checksum, '[0-9a-f]{64}')),
    compression VARCHAR CHECK (compression IN ('none', 'gzip', 'zstd')),
    encryption VARCHAR CHECK (encryption IN ('none', 'aes256')),
    -- NULL is for ever.
    retention_until TIMESTAMP,
    -- When the run began, so that it is the same however the row came about.
    created_at TIMESTAMP NOT NULL,
    -- The run's number, which names of objects have too.
    run VARCHAR NOT NULL CHECK (regexp_full_match(run, '[0-9a-f]{16}')),
    job VARCHAR NOT NULL,
    run_by VARCHAR NOT NULL,
    reason VARCHAR,
    -- JSON
    details VARCHAR,
    -- What the row rests on: the record of the run's beginning, the backup that it left, or the record of its end.
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended')),
    CHECK ((status = 'started') = (end_time IS NULL))
);

CREATE INDEX backup_metadata_type ON backup_metadata (backup_type);
CREATE INDEX backup_metadata_tenant ON backup_metadata (tenant_id);
CREATE INDEX backup_metadata_status ON backup_metadata (status);

-- What is known of the keys among the backups; id is that of the backup.
CREATE TABLE kms_key_backups (
    id UUID PRIMARY KEY,
    key_id VARCHAR,
    key_version VARCHAR,
    wrapped_by VARCHAR,
    status VARCHAR NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    backup_location VARCHAR,
    checksum VARCHAR CHECK (regexp_full_match(checksum, '[0-9a-f]{64}')),
    created_at TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL CHECK (evidence IN ('started', 'backup', 'ended'))
);
