-- The books as of version 1. Times are microseconds since 1970 in UTC, money is micros of the
-- advertiser's currency, name_key is the 64-bit key of the id (its bits, read as signed). Texts are
-- ordered by their bytes, whatever the database's language.

CREATE TABLE tenants (
    tenant      BIGINT  NOT NULL PRIMARY KEY CHECK (tenant BETWEEN 1 AND 4294967295),
    name        TEXT    COLLATE "C" NOT NULL UNIQUE,
    created_at  BIGINT  NOT NULL
);

INSERT INTO tenants (tenant, name, created_at) VALUES (1, 'default', 0);

-- Has no rows: who writes locks it, shared with all others, or alone after having lost several times.
CREATE TABLE turns ();

CREATE TABLE advertisers (
    tenant         BIGINT  NOT NULL REFERENCES tenants,
    advertiser_id  TEXT    COLLATE "C" NOT NULL,
    name_key       BIGINT  NOT NULL,
    name           TEXT    COLLATE "C" NOT NULL,
    currency       TEXT    COLLATE "C" NOT NULL CHECK (length(currency) = 3),
    created_at     BIGINT  NOT NULL,
    PRIMARY KEY (tenant, advertiser_id)
);

CREATE UNIQUE INDEX advertisers_by_key ON advertisers (tenant, name_key);

CREATE TABLE campaigns (
    tenant               BIGINT  NOT NULL REFERENCES tenants,
    campaign_id          TEXT    COLLATE "C" NOT NULL,
    name_key             BIGINT  NOT NULL,
    advertiser_id        TEXT    COLLATE "C" NOT NULL,
    name                 TEXT    COLLATE "C" NOT NULL,
    cpc_micros           BIGINT  NOT NULL CHECK (cpc_micros >= 0),
    daily_budget_micros  BIGINT  CHECK (daily_budget_micros >= 0),
    targeting            TEXT    COLLATE "C",
    status               TEXT    COLLATE "C" NOT NULL CHECK (status IN ('active', 'paused', 'archived')),
    created_at           BIGINT  NOT NULL,
    PRIMARY KEY (tenant, campaign_id),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers
);

CREATE UNIQUE INDEX campaigns_by_key ON campaigns (tenant, name_key);
CREATE INDEX campaigns_by_advertiser ON campaigns (tenant, advertiser_id, campaign_id);

-- The history of prices and budgets. The row with the highest sequence equals what stands in
-- campaigns; effective_at never falls with the sequence.
CREATE TABLE campaign_terms (
    tenant               BIGINT  NOT NULL,
    campaign_id          TEXT    COLLATE "C" NOT NULL,
    sequence             BIGINT  NOT NULL CHECK (sequence >= 1),
    effective_at         BIGINT  NOT NULL,
    cpc_micros           BIGINT  NOT NULL CHECK (cpc_micros >= 0),
    daily_budget_micros  BIGINT  CHECK (daily_budget_micros >= 0),
    PRIMARY KEY (tenant, campaign_id, sequence),
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns
);

-- Refuses whatever its trigger is set on, in the words of the trigger.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = TG_ARGV[0];
END $$;

CREATE TRIGGER campaign_terms_are_never_edited BEFORE UPDATE OR DELETE ON campaign_terms
    FOR EACH ROW EXECUTE FUNCTION refuse('terms are history: add new ones');

CREATE TRIGGER campaign_terms_are_never_emptied BEFORE TRUNCATE ON campaign_terms
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('terms are history: add new ones');

CREATE TABLE ads (
    tenant           BIGINT  NOT NULL REFERENCES tenants,
    ad_id            TEXT    COLLATE "C" NOT NULL,
    name_key         BIGINT  NOT NULL,
    campaign_id      TEXT    COLLATE "C" NOT NULL,
    destination_url  TEXT    COLLATE "C" NOT NULL,
    category         TEXT    COLLATE "C",
    creative_size    TEXT    COLLATE "C",
    append_click_id  TEXT    COLLATE "C",
    status           TEXT    COLLATE "C" NOT NULL CHECK (status IN ('active', 'paused', 'archived')),
    created_at       BIGINT  NOT NULL,
    PRIMARY KEY (tenant, ad_id),
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns
);

CREATE UNIQUE INDEX ads_by_key ON ads (tenant, name_key);
CREATE INDEX ads_by_campaign ON ads (tenant, campaign_id, ad_id);

-- scopes is a set of bits: 1 collect, 2 predict, 4 read, 8 manage.
CREATE TABLE api_keys (
    tenant               BIGINT  NOT NULL REFERENCES tenants,
    key_id               TEXT    COLLATE "C" NOT NULL,
    secret_hash          BYTEA   NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    name                 TEXT    COLLATE "C" NOT NULL,
    kind                 TEXT    COLLATE "C" NOT NULL CHECK (kind IN ('secret', 'write')),
    scopes               BIGINT  NOT NULL CHECK (scopes BETWEEN 0 AND 15),
    requests_per_second  BIGINT  CHECK (requests_per_second BETWEEN 1 AND 4294967295),
    created_at           BIGINT  NOT NULL,
    revoked_at           BIGINT,
    PRIMARY KEY (tenant, key_id)
);

CREATE TABLE leases (
    name       TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    number     BIGINT  NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    leased_at  BIGINT  NOT NULL
);

-- status and body are empty while the request is in progress.
CREATE TABLE replays (
    tenant           BIGINT  NOT NULL REFERENCES tenants,
    idempotency_key  TEXT    COLLATE "C" NOT NULL,
    request_digest   BYTEA   NOT NULL CHECK (length(request_digest) = 32),
    claimed_at       BIGINT  NOT NULL,
    status           BIGINT  CHECK (status BETWEEN 100 AND 599),
    body             BYTEA,
    PRIMARY KEY (tenant, idempotency_key),
    CHECK ((status IS NULL) = (body IS NULL))
);

CREATE INDEX replays_by_age ON replays (claimed_at);
