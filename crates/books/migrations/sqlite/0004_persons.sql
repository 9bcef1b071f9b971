-- What is known of persons beside their events, by pseudonym. A person's row goes with their tombstone.
CREATE TABLE persons (
    tenant       INTEGER NOT NULL REFERENCES tenants,
    person       BLOB    NOT NULL CHECK (length(person) = 16),
    locale       TEXT,
    interests    TEXT    NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, person)
) STRICT, WITHOUT ROWID;
