-- The ledger as of version 2. Nothing in it is ever edited: corrections are new rows that name what
-- they correct. day counts days since 1970 in UTC, hour is the first microsecond of one of its hours.

-- A row is a frozen day: its figures are those of the epochs up to cut.
CREATE TABLE periods (
    day             INTEGER NOT NULL PRIMARY KEY CHECK (day BETWEEN 0 AND 84005),
    cut             INTEGER NOT NULL CHECK (cut >= 0),
    figure_count    INTEGER NOT NULL CHECK (figure_count >= 0),
    figures_digest  BLOB    NOT NULL CHECK (length(figures_digest) = 32),
    frozen_at       INTEGER NOT NULL
) STRICT;

-- A row says that every charge and credit of a frozen day has been posted.
CREATE TABLE period_closings (
    day        INTEGER NOT NULL PRIMARY KEY REFERENCES periods,
    closed_at  INTEGER NOT NULL
) STRICT;

-- figure_key is the key of the charge that follows from it. The budget is the one in force for the
-- campaign in that hour; without one there is no limit.
CREATE TABLE period_figures (
    figure_key           TEXT    NOT NULL PRIMARY KEY,
    day                  INTEGER NOT NULL REFERENCES periods,
    hour                 INTEGER NOT NULL CHECK (hour / 86400000000 = day AND hour % 3600000000 = 0),
    tenant               INTEGER NOT NULL REFERENCES tenants,
    advertiser_id        TEXT    NOT NULL,
    campaign_id          TEXT    NOT NULL,
    ad_id                TEXT    NOT NULL,
    currency             TEXT    NOT NULL CHECK (length(currency) = 3),
    clicks               INTEGER NOT NULL CHECK (clicks >= 0),
    duplicates           INTEGER NOT NULL CHECK (duplicates >= 0),
    invalid              INTEGER NOT NULL CHECK (invalid >= 0),
    spend_micros         INTEGER NOT NULL CHECK (spend_micros >= 0),
    daily_budget_micros  INTEGER CHECK (daily_budget_micros >= 0),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers,
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns,
    FOREIGN KEY (tenant, ad_id) REFERENCES ads
) STRICT, WITHOUT ROWID;

CREATE INDEX period_figures_by_hour ON period_figures (hour, figure_key);
CREATE INDEX period_figures_by_advertiser ON period_figures (tenant, advertiser_id, hour, figure_key);

-- Each row takes amount_micros from one account of an advertiser to another, so it is balanced by
-- its form. ad_id is empty where a row is for a whole campaign.
CREATE TABLE ledger_entries (
    entry_key       TEXT    NOT NULL PRIMARY KEY,
    day             INTEGER NOT NULL REFERENCES periods,
    hour            INTEGER NOT NULL CHECK (hour / 86400000000 = day AND hour % 3600000000 = 0),
    tenant          INTEGER NOT NULL REFERENCES tenants,
    advertiser_id   TEXT    NOT NULL,
    campaign_id     TEXT    NOT NULL,
    ad_id           TEXT,
    currency        TEXT    NOT NULL CHECK (length(currency) = 3),
    debit           TEXT    NOT NULL CHECK (debit IN ('receivable', 'revenue', 'over_delivery')),
    credit          TEXT    NOT NULL CHECK (credit IN ('receivable', 'revenue', 'over_delivery')),
    amount_micros   INTEGER NOT NULL CHECK (amount_micros >= 0),
    clicks          INTEGER NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('charge', 'credit', 'adjustment')),
    reason          TEXT,
    corrects        TEXT,
    cut             INTEGER NOT NULL CHECK (cut >= 0),
    created_at      INTEGER NOT NULL,
    CHECK (debit <> credit),
    CHECK ((kind = 'adjustment') = (reason IS NOT NULL)),
    CHECK ((kind = 'adjustment') = (corrects IS NOT NULL)),
    CHECK (kind = 'adjustment' OR clicks >= 0),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers,
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns,
    FOREIGN KEY (tenant, ad_id) REFERENCES ads
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_entries_by_hour ON ledger_entries (hour, entry_key);
CREATE INDEX ledger_entries_by_advertiser ON ledger_entries (tenant, advertiser_id, hour, entry_key);

CREATE TRIGGER periods_are_never_edited BEFORE UPDATE ON periods
BEGIN
    SELECT RAISE(ABORT, 'a frozen period is never edited');
END;

CREATE TRIGGER periods_are_never_deleted BEFORE DELETE ON periods
BEGIN
    SELECT RAISE(ABORT, 'a frozen period is never deleted');
END;

CREATE TRIGGER closings_are_never_edited BEFORE UPDATE ON period_closings
BEGIN
    SELECT RAISE(ABORT, 'a closed period is never edited');
END;

CREATE TRIGGER closings_are_never_deleted BEFORE DELETE ON period_closings
BEGIN
    SELECT RAISE(ABORT, 'a closed period is never opened again');
END;

CREATE TRIGGER figures_are_never_edited BEFORE UPDATE ON period_figures
BEGIN
    SELECT RAISE(ABORT, 'frozen figures are never edited');
END;

CREATE TRIGGER figures_are_never_deleted BEFORE DELETE ON period_figures
BEGIN
    SELECT RAISE(ABORT, 'frozen figures are never deleted');
END;

CREATE TRIGGER figures_of_a_closed_period_stand BEFORE INSERT ON period_figures
WHEN EXISTS (SELECT 1 FROM period_closings WHERE day = NEW.day)
BEGIN
    SELECT RAISE(ABORT, 'the period is closed: its figures stand');
END;

CREATE TRIGGER entries_are_never_edited BEFORE UPDATE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never edited: post a correction');
END;

CREATE TRIGGER entries_are_never_deleted BEFORE DELETE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never deleted: post a correction');
END;

CREATE TRIGGER a_closed_period_takes_adjustments_only BEFORE INSERT ON ledger_entries
WHEN (NEW.kind = 'adjustment') <> EXISTS (SELECT 1 FROM period_closings WHERE day = NEW.day)
BEGIN
    SELECT RAISE(ABORT, 'charges and credits come before a period is closed, adjustments after');
END;

-- How an advertiser is billed; without a row: in UTC, paying for every counted click.
CREATE TABLE billing_profiles (
    tenant         INTEGER NOT NULL REFERENCES tenants,
    advertiser_id  TEXT    NOT NULL,
    time_zone      TEXT    NOT NULL,
    unseen_clicks  TEXT    NOT NULL CHECK (unseen_clicks IN ('pay', 'credit')),
    PRIMARY KEY (tenant, advertiser_id),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers
) STRICT, WITHOUT ROWID;
