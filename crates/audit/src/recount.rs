//! The recount: every verdict and every figure once more, from the records alone, in SQL.
//!
//! ```text
//! marked   every record with the highest number its appender had before it, in its slot
//! timed    repeated appends told apart; the slot's clock
//! classed  what decides: expired, refused, minted, sequenced, opaque, unsigned, alone
//! judged   the verdict of each: first of its id, in the order of the log within the slot
//! ruled    counted clicks, by rules on closed minutes
//! ```
//!
//! Slots never meet before the rules, so all but the last step is done for some slots at a time; that
//! bounds memory. Figures and checksums of rules are moved afterwards, as the pipeline moves them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use datafusion::datasource::MemTable;
use reckon_event::{Currency, Kind, Position, SLOT_COUNT, TenantId, Timestamp, Verdict};

use crate::figure::{Checksum, Figure, FigureKey};
use crate::rules::{RuleSet, verdict_by_rules};
use crate::table::{Keys, Numbers, Texts};
use crate::{AuditError, Auditor};

/// Slots of one group: checksums are compared by hour and group.
pub(crate) const GROUP_SLOTS: u16 = 64;
/// Records that are judged at a time, roughly.
const STEP_RECORDS: u64 = 4_000_000;

/// For how long counting remembers, in microseconds of a slot's clock; as the epochs were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizons {
    /// Bits of a minted hour.
    pub minted: i64,
    /// An opaque id, after its first copy.
    pub opaque: i64,
    /// Within which an unsigned click of the same person on the same ad does not count again.
    pub unsigned: i64,
}

/// What is recounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecountRange {
    /// Records of epochs up to this one.
    pub cut: u64,
    /// Figures of events from here, rounded to minutes.
    pub from: Timestamp,
    /// Figures of events before this.
    pub to: Timestamp,
    /// Records received before this are not looked at, so copies of earlier ones are not known as
    /// such; `None` looks at all.
    pub received_from: Option<Timestamp>,
    /// Rules have judged minutes that begin before this; `None`: all of them.
    pub judged_before: Option<Timestamp>,
}

/// A click that counts because its first copy is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeyondHorizon {
    /// Where it stands.
    pub position: Position,
    /// Where its first copy stands.
    pub first: Position,
    /// What it was counted under.
    pub key: FigureKey,
    /// What it cost.
    pub price: i64,
    /// In which currency.
    pub currency: Currency,
}

/// What a recount has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// How many records were judged, whenever they happened.
    pub records: u64,
    /// How many of them are repeated appends.
    pub redelivered: u64,
    /// Every figure that is not zero.
    pub figures: BTreeMap<FigureKey, Figure>,
    /// By hour since 1970 (event time) and group of slots.
    pub checksums: BTreeMap<(i64, u16), Checksum>,
    /// Clicks that count because their first copy was forgotten: `duplicate_beyond_horizon`.
    pub beyond_horizon: Vec<BeyondHorizon>,
    /// Verdicts that rules gave, by position.
    pub(crate) ruled: BTreeMap<Position, Verdict>,
}

const MINUTE: i64 = Timestamp::MINUTE;
const HOUR: i64 = Timestamp::HOUR;

impl Auditor {
    /// Recounts a range.
    pub async fn recount(
        &self,
        range: &RecountRange,
        horizons: &Horizons,
        rules: &[RuleSet],
    ) -> Result<Recount, AuditError> {
        self.check(range)?;
        let mut recount = Recount::default();
        let mut survivors = Vec::new();
        for slots in self.steps() {
            self.judge(range, horizons, slots).await?;
            recount.add_figures(&self.collect(&figures_sql(range)).await?)?;
            recount.add_checksums(&self.collect(&checksums_sql(range)).await?)?;
            recount.add_totals(&self.collect(TOTALS_SQL).await?)?;
            recount.add_beyond(&self.collect(&beyond_sql(range)).await?)?;
            survivors.extend(self.collect(&survivors_sql(range)).await?);
        }
        self.register("survivors", survivors)?;
        recount.move_ruled(&self.collect(&ruled_sql(range, rules)).await?)?;
        self.forget_tables()?;
        let Recount { beyond_horizon, ruled, .. } = &mut recount;
        beyond_horizon
            .retain(|copy| copy.key.kind == Kind::Click && !ruled.contains_key(&copy.position));
        recount.figures.retain(|_, figure| !figure.is_zero());
        recount.checksums.retain(|_, sum| sum.rows > 0);
        Ok(recount)
    }

    pub(crate) fn check(&self, range: &RecountRange) -> Result<(), AuditError> {
        if range.cut > self.manifest.epoch {
            return Err(AuditError::NotCovered { has: self.manifest.epoch, asked: range.cut });
        }
        if range.from >= range.to {
            return Err(AuditError::Question("`to` must be later than `from`".to_owned()));
        }
        Ok(())
    }

    /// Ranges of slots that are judged together.
    pub(crate) fn steps(&self) -> Vec<(u16, u16)> {
        let wanted = self.manifest.record_count().div_ceil(STEP_RECORDS).next_power_of_two();
        let count = u16::try_from(wanted).unwrap_or(SLOT_COUNT).min(SLOT_COUNT / GROUP_SLOTS * 4);
        let width = SLOT_COUNT / count;
        (0..count).map(|at| (at * width, (at + 1) * width)).collect()
    }

    /// Judges the records of some slots into the table `judged`.
    pub(crate) async fn judge(
        &self,
        range: &RecountRange,
        horizons: &Horizons,
        slots: (u16, u16),
    ) -> Result<(), AuditError> {
        let classed = self.collect(&classed_sql(range, horizons, slots)).await?;
        self.register("classed", classed)?;
        let judged = self.collect(&judged_sql(horizons)).await?;
        self.register("judged", judged)
    }

    pub(crate) fn register(&self, name: &str, batches: Vec<RecordBatch>) -> Result<(), AuditError> {
        self.context.deregister_table(name)?;
        if let Some(schema) = batches.first().map(RecordBatch::schema) {
            let table = MemTable::try_new(schema, vec![batches])?;
            self.context.register_table(name, Arc::new(table))?;
        }
        Ok(())
    }

    pub(crate) fn forget_tables(&self) -> Result<(), AuditError> {
        for name in ["classed", "judged", "survivors"] {
            self.context.deregister_table(name)?;
        }
        Ok(())
    }
}

/// Repeated appends, the clocks of slots and topics, and which rule decides on a record.
fn classed_sql(range: &RecountRange, horizons: &Horizons, (from, to): (u16, u16)) -> String {
    let received = range
        .received_from
        .map_or_else(String::new, |from| format!("AND CAST(received AS BIGINT) >= {}", from.0));
    let place = "ORDER BY log_partition, log_offset ROWS BETWEEN UNBOUNDED PRECEDING AND";
    let unsigned = Verdict::Unsigned.code();
    let (control, prediction) = (Kind::Control.code(), Kind::Prediction.code());
    format!(
        "WITH base AS (
           SELECT log_partition, log_offset, appender, append_sequence, kind, outcome, slot, tenant,
                  source_class, facts, CAST(received AS BIGINT) AS received,
                  CAST(happened AS BIGINT) AS happened, ad_key, price, currency, pseudonym,
                  minted_incarnation, minted_hour, minted_sequence, ip_tag, agent_key,
                  coalesce(payload_digest, CAST(0 AS BIGINT UNSIGNED)) AS digest, event_id, source,
                  install_id, session_id, session_sequence, order_key,
                  kind IN (1, 2, 3) AS is_exposure,
                  CASE WHEN kind IN (1, 2) THEN 0 WHEN kind = 3 THEN 1 ELSE 2 END AS topic
           FROM records WHERE epoch <= {cut} AND slot >= {from} AND slot < {to} {received}),
         marked AS (
           SELECT *, max(append_sequence) OVER (PARTITION BY slot, topic, appender {place} 1 PRECEDING)
                     AS highest
           FROM base),
         timed AS (
           SELECT *, max(CASE WHEN is_fresh THEN received END)
                     OVER (PARTITION BY slot, topic {place} CURRENT ROW) AS clock
           FROM (SELECT *, (appender = 0 AND append_sequence = 0) OR highest IS NULL
                           OR append_sequence > highest AS is_fresh
                 FROM marked)
           WHERE kind NOT IN ({control}, {prediction})),
         known AS (
           SELECT *, minted_sequence IS NOT NULL AND is_exposure AS is_minted,
                  greatest(clock - {minted}, 0) / {HOUR} AS first_hour,
                  CASE WHEN is_exposure THEN topic ELSE CAST(kind AS BIGINT) END AS id_kind,
                  (CAST(log_partition AS BIGINT UNSIGNED) << CAST(48 AS BIGINT UNSIGNED)) | log_offset
                    AS place
           FROM timed)
         SELECT *, CASE
             WHEN NOT is_fresh THEN 'redelivered'
             WHEN is_minted AND CAST(minted_hour AS BIGINT) < first_hour THEN 'expired'
             WHEN outcome = {unsigned} AND (CAST(facts AS BIGINT) & 128) <> 0 THEN 'unsigned'
             WHEN outcome <> 1 THEN 'refused'
             WHEN is_minted THEN 'minted'
             WHEN session_sequence IS NOT NULL AND install_id IS NOT NULL AND session_id IS NOT NULL
               THEN 'sequenced'
             WHEN event_id IS NOT NULL THEN 'opaque'
             ELSE 'alone' END AS class
         FROM known",
        cut = range.cut,
        minted = horizons.minted,
    )
}

/// The verdict of each record of `classed`. Zero for a repeated append.
fn judged_sql(horizons: &Horizons) -> String {
    let (counted, duplicate) = (Verdict::Counted.code(), Verdict::Duplicate.code());
    let (conflict, expired) = (Verdict::Conflict.code(), Verdict::Expired.code());
    let double = Verdict::Invalid(reckon_event::Reason::DoubleClick).code();
    let columns = "log_partition, log_offset, place, appender, append_sequence, kind, slot, tenant, \
        source_class, happened, ad_key, price, currency, pseudonym, ip_tag, agent_key, order_key, \
        class";
    let copies = |class: &str, id: &str| {
        let id = format!("PARTITION BY slot, tenant, id_kind, source, {id} ORDER BY place");
        let opaque = horizons.opaque;
        format!(
            "SELECT {columns}, CASE WHEN leads = place THEN {counted} WHEN leads_digest = digest
                    THEN {duplicate} ELSE {conflict} END AS verdict, first AS first_place
             FROM (SELECT *, leader(clock, received, {opaque}, place) OVER ({id}) AS leads,
                          leader(clock, received, {opaque}, digest) OVER ({id}) AS leads_digest,
                          first_value(place) OVER ({id}) AS first
                   FROM classed WHERE class = '{class}')"
        )
    };
    let person = "PARTITION BY slot, tenant, kind, ad_key, pseudonym, \
        CASE WHEN pseudonym IS NULL THEN ip_tag END, \
        CASE WHEN pseudonym IS NULL THEN agent_key END ORDER BY place";
    format!(
        "SELECT {columns}, CAST(CASE class WHEN 'redelivered' THEN 0 WHEN 'expired' THEN {expired}
                WHEN 'refused' THEN CAST(outcome AS BIGINT) ELSE {counted} END AS BIGINT) AS verdict,
                place AS first_place
         FROM classed WHERE class IN ('redelivered', 'expired', 'refused', 'alone')
         UNION ALL
         SELECT {columns}, CASE WHEN row_number() OVER (PARTITION BY slot, minted_incarnation,
                minted_hour, minted_sequence, kind ORDER BY place) = 1 THEN {counted}
                ELSE {duplicate} END AS verdict, place AS first_place
         FROM classed WHERE class = 'minted'
         UNION ALL
         SELECT {columns}, CASE WHEN leader(clock, clock, {window}, place) OVER ({person}) = place
                THEN {counted} ELSE {double} END AS verdict, place AS first_place
         FROM classed WHERE class = 'unsigned'
         UNION ALL {sequenced}
         UNION ALL {opaque}",
        window = horizons.unsigned,
        sequenced = copies("sequenced", "install_id, session_id, session_sequence"),
        opaque = copies("opaque", "pseudonym, event_id"),
    )
}

/// Events of the range, whole minutes.
pub(crate) fn within(range: &RecountRange, column: &str) -> String {
    let (from, to) = (range.from.floor(MINUTE).0, range.to.ceil(MINUTE).0);
    format!("{column} >= {from} AND {column} < {to}")
}

fn figures_sql(range: &RecountRange) -> String {
    let (click, counted) = (Kind::Click.code(), Verdict::Counted.code());
    let within = within(range, "happened");
    format!(
        "SELECT tenant, ad_key, happened / {MINUTE} AS minute, kind, verdict, currency,
                count(*) AS records,
                sum(CASE WHEN kind = {click} AND verdict = {counted} THEN price ELSE 0 END) AS spend
         FROM judged WHERE verdict > 0 AND kind <> {adjustment} AND {within}
         GROUP BY 1, 2, 3, 4, 5, 6",
        adjustment = Kind::Adjustment.code(),
    )
}

/// Sums of hashes of (record id, verdict) over some rows.
pub(crate) fn checksum_columns(verdict: &str) -> String {
    let hash =
        format!("record_hash(appender, append_sequence, CAST({verdict} AS BIGINT UNSIGNED))");
    format!("count(*) AS records, bit_xor({hash}) AS xor_of, sum({hash}) AS sum_of")
}

fn checksums_sql(range: &RecountRange) -> String {
    format!(
        "SELECT happened / {HOUR} AS hour, slot / {GROUP_SLOTS} AS slots, {columns}
         FROM judged WHERE {within} GROUP BY 1, 2",
        columns = checksum_columns("verdict"),
        within = within(range, "happened"),
    )
}

const TOTALS_SQL: &str = "SELECT count(*) AS records, \
    sum(CASE WHEN verdict = 0 THEN 1 ELSE 0 END) AS redelivered FROM judged";

fn beyond_sql(range: &RecountRange) -> String {
    format!(
        "SELECT *, happened / {MINUTE} AS minute FROM judged
         WHERE verdict = {counted} AND first_place < place AND {within} ORDER BY place",
        counted = Verdict::Counted.code(),
        within = within(range, "happened"),
    )
}

/// Clicks that rules look at: those of the range, and of the minute before it.
fn survivors_sql(range: &RecountRange) -> String {
    let (from, to) = (range.from.floor(MINUTE).0 - MINUTE, range.to.ceil(MINUTE).0);
    format!(
        "SELECT log_partition, log_offset, place, appender, append_sequence, slot, tenant, source_class,
                happened, happened / {MINUTE} AS minute, ad_key, price, currency, pseudonym, ip_tag,
                agent_key, order_key
         FROM judged WHERE kind = {click} AND verdict = {counted}
                AND happened >= {from} AND happened < {to}",
        click = Kind::Click.code(),
        counted = Verdict::Counted.code(),
    )
}

/// The survivors that a rule takes, each with its verdict.
fn ruled_sql(range: &RecountRange, rules: &[RuleSet]) -> String {
    let judged = range
        .judged_before
        .map_or_else(String::new, |before| format!("AND minute * {MINUTE} < {}", before.0));
    let minute = "PARTITION BY source_class, minute, tenant";
    format!(
        "SELECT * FROM (
           SELECT *, {verdict} AS verdict FROM (
             SELECT *,
               CASE WHEN pseudonym IS NOT NULL THEN happened - lag(happened) OVER (
                 PARTITION BY source_class, tenant, pseudonym, ad_key
                 ORDER BY happened, order_key, place) END AS gap,
               count(*) OVER ({minute}, pseudonym) AS of_user,
               count(*) OVER ({minute}, ip_tag) AS of_ip,
               count(*) OVER ({minute}, ip_tag, agent_key) AS of_ip_agent
             FROM survivors))
         WHERE verdict IS NOT NULL AND {within} {judged}",
        verdict = verdict_by_rules(rules),
        within = within(range, "happened"),
    )
}

pub(crate) fn figure_key(
    batch: &RecordBatch,
    kind: Option<Kind>,
) -> Result<impl Fn(usize) -> Option<FigureKey> + use<>, AuditError> {
    let tenants = Numbers::of(batch, "tenant")?;
    let ads = Keys::of(batch, "ad_key")?;
    let minutes = Numbers::of(batch, "minute")?;
    let kinds = if kind.is_none() { Some(Numbers::of(batch, "kind")?) } else { None };
    let verdicts = Numbers::of(batch, "verdict")?;
    Ok(move |row| {
        let code = |numbers: &Numbers| u8::try_from(numbers.at(row)).ok();
        Some(FigureKey {
            tenant: TenantId(u32::try_from(tenants.at(row)).ok()?),
            ad: ads.at(row),
            minute: minutes.at(row),
            kind: kind.or_else(|| kinds.as_ref().and_then(code).and_then(Kind::from_code))?,
            verdict: Verdict::from_code(code(&verdicts)?)?,
        })
    })
}

pub(crate) fn currency_of(text: &str) -> Currency {
    Currency::parse(text).unwrap_or(Currency::NONE)
}

pub(crate) fn place_of(place: u64) -> Position {
    Position { partition: (place >> 48) as u16, offset: place & ((1 << 48) - 1) }
}

impl Recount {
    /// The verdicts that rules gave, as rows.
    pub(crate) fn ruled_batch(&self) -> Result<Vec<RecordBatch>, AuditError> {
        let places = self.ruled.keys().map(|at| u64::from(at.partition) << 48 | at.offset);
        let places: UInt64Array = places.collect();
        let verdicts: Int64Array = self.ruled.values().map(|v| i64::from(v.code())).collect();
        let columns: [(&str, ArrayRef); 2] =
            [("place", Arc::new(places)), ("verdict", Arc::new(verdicts))];
        Ok(vec![RecordBatch::try_from_iter(columns)?])
    }

    fn add_figures(&mut self, batches: &[RecordBatch]) -> Result<(), AuditError> {
        for batch in batches {
            let key = figure_key(batch, None)?;
            let currencies = Texts::of(batch, "currency")?;
            let (records, spend) = (Numbers::of(batch, "records")?, Numbers::of(batch, "spend")?);
            for row in 0..batch.num_rows() {
                if let Some(key) = key(row) {
                    let currency = currency_of(currencies.at(row));
                    let figure = self.figures.entry(key).or_default();
                    figure.add(records.at(row), currency, spend.at(row));
                }
            }
        }
        Ok(())
    }

    fn add_checksums(&mut self, batches: &[RecordBatch]) -> Result<(), AuditError> {
        for (key, sum) in checksums(batches)? {
            self.checksums.entry(key).or_default().add(&sum);
        }
        Ok(())
    }

    fn add_totals(&mut self, batches: &[RecordBatch]) -> Result<(), AuditError> {
        for batch in batches {
            self.records += Keys::of(batch, "records")?.at(0);
            self.redelivered += Keys::of(batch, "redelivered")?.at(0);
        }
        Ok(())
    }

    fn add_beyond(&mut self, batches: &[RecordBatch]) -> Result<(), AuditError> {
        for batch in batches {
            let key = figure_key(batch, None)?;
            let (places, firsts) = (Keys::of(batch, "place")?, Keys::of(batch, "first_place")?);
            let (prices, currencies) =
                (Numbers::of(batch, "price")?, Texts::of(batch, "currency")?);
            for row in 0..batch.num_rows() {
                let Some(key) = key(row) else { continue };
                self.beyond_horizon.push(BeyondHorizon {
                    position: place_of(places.at(row)),
                    first: place_of(firsts.at(row)),
                    key,
                    price: prices.at(row),
                    currency: currency_of(currencies.at(row)),
                });
            }
        }
        Ok(())
    }

    /// Moves what rules have taken from "counted" to their verdict.
    fn move_ruled(&mut self, batches: &[RecordBatch]) -> Result<(), AuditError> {
        for batch in batches {
            let key = figure_key(batch, Some(Kind::Click))?;
            let (places, slots) = (Keys::of(batch, "place")?, Numbers::of(batch, "slot")?);
            let (prices, currencies) =
                (Numbers::of(batch, "price")?, Texts::of(batch, "currency")?);
            let appenders = Keys::of(batch, "appender")?;
            let sequences = Keys::of(batch, "append_sequence")?;
            for row in 0..batch.num_rows() {
                let Some(key) = key(row) else { continue };
                let currency = currency_of(currencies.at(row));
                let counted = FigureKey { verdict: Verdict::Counted, ..key };
                self.figures.entry(counted).or_default().add(-1, currency, -prices.at(row));
                self.figures.entry(key).or_default().add(1, currency, 0);
                let group = (key.minute / 60, slots.at(row) as u16 / GROUP_SLOTS);
                let id = (appenders.at(row), sequences.at(row));
                let sum = self.checksums.entry(group).or_default();
                sum.take(&checksum_of(id, Verdict::Counted));
                sum.add(&checksum_of(id, key.verdict));
                self.ruled.insert(place_of(places.at(row)), key.verdict);
            }
        }
        Ok(())
    }
}

/// The checksum of one record, as the SQL function gives it.
fn checksum_of((appender, sequence): (u64, u64), verdict: Verdict) -> Checksum {
    let hash = crate::function::hash_record(appender, sequence, u64::from(verdict.code()));
    Checksum { rows: 1, xor: hash, sum: hash }
}

/// Checksums by hour and group of slots.
pub(crate) fn checksums(
    batches: &[RecordBatch],
) -> Result<BTreeMap<(i64, u16), Checksum>, AuditError> {
    let mut sums = BTreeMap::new();
    for batch in batches {
        let (hours, slots) = (Numbers::of(batch, "hour")?, Numbers::of(batch, "slots")?);
        let records = Keys::of(batch, "records")?;
        let (xors, totals) = (Keys::of(batch, "xor_of")?, Keys::of(batch, "sum_of")?);
        for row in 0..batch.num_rows() {
            let key = (hours.at(row), slots.at(row) as u16);
            let sum = Checksum { rows: records.at(row), xor: xors.at(row), sum: totals.at(row) };
            sums.insert(key, sum);
        }
    }
    Ok(sums)
}
