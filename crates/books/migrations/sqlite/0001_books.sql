-- The books as of version 1. Times are microseconds since 1970 in UTC, money is micros of the
-- advertiser's currency, name_key is the 64-bit key of the id (its bits, read as signed).

CREATE TABLE tenants (
    tenant      INTEGER NOT NULL PRIMARY KEY CHECK (tenant BETWEEN 1 AND 4294967295),
    name        TEXT    NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
) STRICT;

INSERT INTO tenants (tenant, name, created_at) VALUES (1, 'default', 0);

CREATE TABLE advertisers (
    tenant         INTEGER NOT NULL REFERENCES tenants,
    advertiser_id  TEXT    NOT NULL,
    name_key       INTEGER NOT NULL,
    name           TEXT    NOT NULL,
    currency       TEXT    NOT NULL CHECK (length(currency) = 3),
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, advertiser_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX advertisers_by_key ON advertisers (tenant, name_key);

CREATE TABLE campaigns (
    tenant               INTEGER NOT NULL REFERENCES tenants,
    campaign_id          TEXT    NOT NULL,
    name_key             INTEGER NOT NULL,
    advertiser_id        TEXT    NOT NULL,
    name                 TEXT    NOT NULL,
    cpc_micros           INTEGER NOT NULL CHECK (cpc_micros >= 0),
    daily_budget_micros  INTEGER CHECK (daily_budget_micros >= 0),
    targeting            TEXT,
    status               TEXT    NOT NULL CHECK (status IN ('active', 'paused', 'archived')),
    created_at           INTEGER NOT NULL,
    PRIMARY KEY (tenant, campaign_id),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX campaigns_by_key ON campaigns (tenant, name_key);
CREATE INDEX campaigns_by_advertiser ON campaigns (tenant, advertiser_id, campaign_id);

-- The history of prices and budgets. The row with the highest sequence equals what stands in
-- campaigns; effective_at never falls with the sequence.
CREATE TABLE campaign_terms (
    tenant               INTEGER NOT NULL,
    campaign_id          TEXT    NOT NULL,
    sequence             INTEGER NOT NULL CHECK (sequence >= 1),
    effective_at         INTEGER NOT NULL,
    cpc_micros           INTEGER NOT NULL CHECK (cpc_micros >= 0),
    daily_budget_micros  INTEGER CHECK (daily_budget_micros >= 0),
    PRIMARY KEY (tenant, campaign_id, sequence),
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns
) STRICT, WITHOUT ROWID;

CREATE TRIGGER campaign_terms_are_never_edited BEFORE UPDATE ON campaign_terms
BEGIN
    SELECT RAISE(ABORT, 'terms are history: add new ones');
END;

CREATE TRIGGER campaign_terms_are_never_deleted BEFORE DELETE ON campaign_terms
BEGIN
    SELECT RAISE(ABORT, 'terms are history: add new ones');
END;

CREATE TABLE ads (
    tenant           INTEGER NOT NULL REFERENCES tenants,
    ad_id            TEXT    NOT NULL,
    name_key         INTEGER NOT NULL,
    campaign_id      TEXT    NOT NULL,
    destination_url  TEXT    NOT NULL,
    category         TEXT,
    creative_size    TEXT,
    append_click_id  TEXT,
    status           TEXT    NOT NULL CHECK (status IN ('active', 'paused', 'archived')),
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (tenant, ad_id),
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX ads_by_key ON ads (tenant, name_key);
CREATE INDEX ads_by_campaign ON ads (tenant, campaign_id, ad_id);

-- scopes is a set of bits: 1 collect, 2 predict, 4 read, 8 manage.
CREATE TABLE api_keys (
    tenant               INTEGER NOT NULL REFERENCES tenants,
    key_id               TEXT    NOT NULL,
    secret_hash          BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    name                 TEXT    NOT NULL,
    kind                 TEXT    NOT NULL CHECK (kind IN ('secret', 'write')),
    scopes               INTEGER NOT NULL CHECK (scopes BETWEEN 0 AND 15),
    requests_per_second  INTEGER CHECK (requests_per_second BETWEEN 1 AND 4294967295),
    created_at           INTEGER NOT NULL,
    revoked_at           INTEGER,
    PRIMARY KEY (tenant, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    name       TEXT    NOT NULL PRIMARY KEY,
    number     INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    leased_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- status and body are empty while the request is in progress.
CREATE TABLE replays (
    tenant           INTEGER NOT NULL REFERENCES tenants,
    idempotency_key  TEXT    NOT NULL,
    request_digest   BLOB    NOT NULL CHECK (length(request_digest) = 32),
    claimed_at       INTEGER NOT NULL,
    status           INTEGER CHECK (status BETWEEN 100 AND 599),
    body             BLOB,
    PRIMARY KEY (tenant, idempotency_key),
    CHECK ((status IS NULL) = (body IS NULL))
) STRICT;

CREATE INDEX replays_by_age ON replays (claimed_at);
