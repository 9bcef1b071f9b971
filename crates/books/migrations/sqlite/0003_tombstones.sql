-- Persons whose erasure was asked for. A row is never taken away: nothing is computed of its person
-- again. What the erasure is done with (surrogate, secret, what is known of installs and addresses)
-- stands here until no row of the person can come any more, and is then overwritten.
CREATE TABLE tombstones (
    tenant       INTEGER NOT NULL REFERENCES tenants,
    person       BLOB    NOT NULL CHECK (length(person) = 16),
    asked_at     INTEGER NOT NULL,
    quiet_at     INTEGER NOT NULL CHECK (quiet_at >= asked_at),
    surrogate    BLOB    CHECK (length(surrogate) = 16),
    secret       BLOB    CHECK (length(secret) = 32),
    traces       TEXT,
    swept_epoch  INTEGER CHECK (swept_epoch >= 0),
    proof        TEXT,
    PRIMARY KEY (tenant, person),
    CHECK ((surrogate IS NULL) = (secret IS NULL)),
    CHECK ((surrogate IS NULL) = (traces IS NULL)),
    CHECK ((surrogate IS NULL) = (swept_epoch IS NULL)),
    CHECK (surrogate IS NOT NULL OR proof IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_at_work ON tombstones (asked_at, tenant, person) WHERE surrogate IS NOT NULL;

CREATE TRIGGER tombstones_are_never_deleted BEFORE DELETE ON tombstones
BEGIN
    SELECT RAISE(ABORT, 'a tombstone is never taken away');
END;

CREATE TRIGGER settled_erasures_stand BEFORE UPDATE ON tombstones WHEN OLD.surrogate IS NULL
BEGIN
    SELECT RAISE(ABORT, 'a settled erasure is never changed');
END;
