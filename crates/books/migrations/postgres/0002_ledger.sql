-- The ledger as of version 2. Nothing in it is ever edited: corrections are new rows that name what
-- they correct. day counts days since 1970 in UTC, hour is the first microsecond of one of its hours.

-- A row is a frozen day: its figures are those of the epochs up to cut.
CREATE TABLE periods (
    day             BIGINT  NOT NULL PRIMARY KEY CHECK (day BETWEEN 0 AND 84005),
    cut             BIGINT  NOT NULL CHECK (cut >= 0),
    figure_count    BIGINT  NOT NULL CHECK (figure_count >= 0),
    figures_digest  BYTEA   NOT NULL CHECK (length(figures_digest) = 32),
    frozen_at       BIGINT  NOT NULL
);

-- A row says that every charge and credit of a frozen day has been posted.
CREATE TABLE period_closings (
    day        BIGINT  NOT NULL PRIMARY KEY REFERENCES periods,
    closed_at  BIGINT  NOT NULL
);

-- figure_key is the key of the charge that follows from it. The budget is the one in force for the
-- campaign in that hour; without one there is no limit.
CREATE TABLE period_figures (
    figure_key           TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    day                  BIGINT  NOT NULL REFERENCES periods,
    hour                 BIGINT  NOT NULL CHECK (hour / 86400000000 = day AND hour % 3600000000 = 0),
    tenant               BIGINT  NOT NULL,
    advertiser_id        TEXT    COLLATE "C" NOT NULL,
    campaign_id          TEXT    COLLATE "C" NOT NULL,
    ad_id                TEXT    COLLATE "C" NOT NULL,
    currency             TEXT    COLLATE "C" NOT NULL CHECK (length(currency) = 3),
    clicks               BIGINT  NOT NULL CHECK (clicks >= 0),
    duplicates           BIGINT  NOT NULL CHECK (duplicates >= 0),
    invalid              BIGINT  NOT NULL CHECK (invalid >= 0),
    spend_micros         BIGINT  NOT NULL CHECK (spend_micros >= 0),
    daily_budget_micros  BIGINT  CHECK (daily_budget_micros >= 0),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers,
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns,
    FOREIGN KEY (tenant, ad_id) REFERENCES ads
);

CREATE INDEX period_figures_by_hour ON period_figures (hour, figure_key);
CREATE INDEX period_figures_by_advertiser ON period_figures (tenant, advertiser_id, hour, figure_key);

-- Each row takes amount_micros from one account of an advertiser to another, so it is balanced by
-- its form. ad_id is empty where a row is for a whole campaign.
CREATE TABLE ledger_entries (
    entry_key       TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    day             BIGINT  NOT NULL REFERENCES periods,
    hour            BIGINT  NOT NULL CHECK (hour / 86400000000 = day AND hour % 3600000000 = 0),
    tenant          BIGINT  NOT NULL,
    advertiser_id   TEXT    COLLATE "C" NOT NULL,
    campaign_id     TEXT    COLLATE "C" NOT NULL,
    ad_id           TEXT    COLLATE "C",
    currency        TEXT    COLLATE "C" NOT NULL CHECK (length(currency) = 3),
    debit           TEXT    COLLATE "C" NOT NULL CHECK (debit IN ('receivable', 'revenue', 'over_delivery')),
    credit          TEXT    COLLATE "C" NOT NULL CHECK (credit IN ('receivable', 'revenue', 'over_delivery')),
    amount_micros   BIGINT  NOT NULL CHECK (amount_micros >= 0),
    clicks          BIGINT  NOT NULL,
    kind            TEXT    COLLATE "C" NOT NULL CHECK (kind IN ('charge', 'credit', 'adjustment')),
    reason          TEXT    COLLATE "C",
    corrects        TEXT    COLLATE "C",
    cut             BIGINT  NOT NULL CHECK (cut >= 0),
    created_at      BIGINT  NOT NULL,
    CHECK (debit <> credit),
    CHECK ((kind = 'adjustment') = (reason IS NOT NULL)),
    CHECK ((kind = 'adjustment') = (corrects IS NOT NULL)),
    CHECK (kind = 'adjustment' OR clicks >= 0),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers,
    FOREIGN KEY (tenant, campaign_id) REFERENCES campaigns,
    FOREIGN KEY (tenant, ad_id) REFERENCES ads
);

CREATE INDEX ledger_entries_by_hour ON ledger_entries (hour, entry_key);
CREATE INDEX ledger_entries_by_advertiser ON ledger_entries (tenant, advertiser_id, hour, entry_key);

CREATE TRIGGER periods_are_never_edited BEFORE UPDATE OR DELETE ON periods
    FOR EACH ROW EXECUTE FUNCTION refuse('a frozen period is never edited and never deleted');

CREATE TRIGGER periods_are_never_emptied BEFORE TRUNCATE ON periods
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a frozen period is never deleted');

CREATE TRIGGER closings_are_never_edited BEFORE UPDATE OR DELETE ON period_closings
    FOR EACH ROW EXECUTE FUNCTION refuse('a closed period is never edited and never opened again');

CREATE TRIGGER closings_are_never_emptied BEFORE TRUNCATE ON period_closings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a closed period is never opened again');

CREATE TRIGGER figures_are_never_edited BEFORE UPDATE OR DELETE ON period_figures
    FOR EACH ROW EXECUTE FUNCTION refuse('frozen figures are never edited and never deleted');

CREATE TRIGGER figures_are_never_emptied BEFORE TRUNCATE ON period_figures
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('frozen figures are never deleted');

CREATE TRIGGER entries_are_never_edited BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse('ledger entries are never edited and never deleted: post a correction');

CREATE TRIGGER entries_are_never_emptied BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('ledger entries are never deleted: post a correction');

CREATE FUNCTION figures_of_a_closed_period_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM period_closings WHERE day = NEW.day) THEN
        RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
            MESSAGE = 'the period is closed: its figures stand';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER figures_of_a_closed_period_stand BEFORE INSERT ON period_figures
    FOR EACH ROW EXECUTE FUNCTION figures_of_a_closed_period_stand();

CREATE FUNCTION a_closed_period_takes_adjustments_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.kind = 'adjustment') <> EXISTS (SELECT 1 FROM period_closings WHERE day = NEW.day) THEN
        RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
            MESSAGE = 'charges and credits come before a period is closed, adjustments after';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER a_closed_period_takes_adjustments_only BEFORE INSERT ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION a_closed_period_takes_adjustments_only();

-- How an advertiser is billed; without a row: in UTC, paying for every counted click.
CREATE TABLE billing_profiles (
    tenant         BIGINT  NOT NULL,
    advertiser_id  TEXT    COLLATE "C" NOT NULL,
    time_zone      TEXT    COLLATE "C" NOT NULL,
    unseen_clicks  TEXT    COLLATE "C" NOT NULL CHECK (unseen_clicks IN ('pay', 'credit')),
    PRIMARY KEY (tenant, advertiser_id),
    FOREIGN KEY (tenant, advertiser_id) REFERENCES advertisers
);
