-- What is known of persons beside their events, by pseudonym. A person's row goes with their tombstone;
-- the old row is gone from its page with the next vacuum, which the table asks for early.
CREATE TABLE persons (
    tenant       BIGINT  NOT NULL REFERENCES tenants,
    person       BYTEA   NOT NULL CHECK (length(person) = 16),
    locale       TEXT    COLLATE "C",
    interests    TEXT    NOT NULL COLLATE "C",
    updated_at   BIGINT  NOT NULL,
    PRIMARY KEY (tenant, person)
) WITH (autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0);
