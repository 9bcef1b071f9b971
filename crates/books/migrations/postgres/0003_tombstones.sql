-- Persons whose erasure was asked for. A row is never taken away: nothing is computed of its person
-- again. What the erasure is done with (surrogate, secret, what is known of installs and addresses)
-- stands here until no row of the person can come any more, and is then let go of. The old row is gone
-- from its page with the next vacuum, which the table asks for after every few changes.
CREATE TABLE tombstones (
    tenant       BIGINT  NOT NULL REFERENCES tenants,
    person       BYTEA   NOT NULL CHECK (length(person) = 16),
    asked_at     BIGINT  NOT NULL,
    quiet_at     BIGINT  NOT NULL CHECK (quiet_at >= asked_at),
    surrogate    BYTEA   CHECK (length(surrogate) = 16),
    secret       BYTEA   CHECK (length(secret) = 32),
    traces       TEXT    COLLATE "C",
    swept_epoch  BIGINT  CHECK (swept_epoch >= 0),
    proof        TEXT    COLLATE "C",
    PRIMARY KEY (tenant, person),
    CHECK ((surrogate IS NULL) = (secret IS NULL)),
    CHECK ((surrogate IS NULL) = (traces IS NULL)),
    CHECK ((surrogate IS NULL) = (swept_epoch IS NULL)),
    CHECK (surrogate IS NOT NULL OR proof IS NOT NULL)
) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);

CREATE INDEX tombstones_at_work ON tombstones (asked_at, tenant, person) WHERE surrogate IS NOT NULL;

CREATE TRIGGER tombstones_are_never_deleted BEFORE DELETE ON tombstones
    FOR EACH ROW EXECUTE FUNCTION refuse('a tombstone is never taken away');

CREATE TRIGGER tombstones_are_never_emptied BEFORE TRUNCATE ON tombstones
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a tombstone is never taken away');

CREATE TRIGGER settled_erasures_stand BEFORE UPDATE ON tombstones
    FOR EACH ROW WHEN (OLD.surrogate IS NULL)
    EXECUTE FUNCTION refuse('a settled erasure is never changed');
