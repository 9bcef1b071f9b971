//! Holds a rollup's figures against the recount, and finds out why they differ.
//!
//! Three things are at hand: what the recount says, what the verdicts in force in the lake add up to,
//! and what the rollup has. Where lake and recount differ, a verdict is wrong, and the records are
//! named. Where they agree and the rollup differs, a delta went missing or came twice (an epoch is
//! found whose part of the figure is exactly the difference), or its file is damaged.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use reckon_event::{Kind, Timestamp};
use reckon_lake::LakePlace;

use crate::auditor::verdict_name;
use crate::figure::{Checksum, Figure, FigureKey, has_metric};
use crate::recount::{
    GROUP_SLOTS, Horizons, Recount, RecountRange, checksum_columns, checksums, currency_of,
    figure_key, within,
};
use crate::report::{Cause, Difference, GroupDifference, RecordDifference, Report};
use crate::rules::RuleSet;
use crate::table::{Keys, Numbers, Texts};
use crate::{AuditError, Auditor};

/// The most records that are named in a report.
const RECORDS_MAX: usize = 1_000;
/// The most figures that are named, each with its cause.
const FIGURES_MAX: usize = 10_000;

/// Which figures are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of them.
    All,
    /// Those that a rollup's metrics have: clicks of every verdict, and counted impressions, views and
    /// conversions.
    Metrics,
}

/// Figures of the recount less those of a period's frozen ones: knowledge that came later, as rows for
/// the ledger. Both must be of the same range; nothing stands where nothing changed.
pub fn late_knowledge(
    recounted: &BTreeMap<FigureKey, Figure>,
    frozen: &BTreeMap<FigureKey, Figure>,
) -> BTreeMap<FigureKey, Figure> {
    let mut difference = recounted.clone();
    for (key, figure) in frozen {
        let entry = difference.entry(*key).or_default();
        entry.count -= figure.count;
        for (&currency, &spend) in &figure.spend {
            entry.add(0, currency, -spend);
        }
    }
    difference.retain(|_, figure| !figure.is_zero());
    difference
}

impl Auditor {
    /// Recounts a range and holds a rollup's figures of the same range and cut against it.
    pub async fn reconcile(
        &self,
        place: &LakePlace,
        range: &RecountRange,
        (horizons, rules): (&Horizons, &[RuleSet]),
        found: &BTreeMap<FigureKey, Figure>,
        coverage: Coverage,
    ) -> Result<Report, AuditError> {
        self.check(range)?;
        let mut report = self.begin_report(range);
        report.damage = self.manifest.verify(place).await.damage;
        if !report.damage.is_empty() {
            return Ok(report);
        }
        let recount = self.recount(range, horizons, rules).await?;
        report.records = recount.records;
        report.redelivered = recount.redelivered;
        report.duplicates_beyond_horizon = recount.beyond_horizon.len();
        let groups = self.compare_groups(range, &recount, &mut report).await?;
        if !groups.is_empty() {
            let found = self.records_that_differ(range, (horizons, &recount), &groups).await?;
            report.record_differences = found;
        }
        self.compare_figures(range, &recount, (found, coverage), &mut report).await?;
        Ok(report)
    }

    fn begin_report(&self, range: &RecountRange) -> Report {
        Report {
            manifest: self.manifest.number,
            cut: range.cut,
            from: range.from.to_string(),
            to: range.to.to_string(),
            ..Report::default()
        }
    }

    /// Checksums by hour and group of slots; gives the groups in which one differs.
    async fn compare_groups(
        &self,
        range: &RecountRange,
        recount: &Recount,
        report: &mut Report,
    ) -> Result<BTreeSet<u16>, AuditError> {
        let in_lake = checksums(&self.collect(&lake_checksums_sql(range)).await?)?;
        let keys: BTreeSet<_> = in_lake.keys().chain(recount.checksums.keys()).copied().collect();
        report.groups = keys.len();
        let mut groups = BTreeSet::new();
        for key in keys {
            let sum = |sums: &BTreeMap<_, Checksum>| sums.get(&key).copied().unwrap_or_default();
            let (recounted, in_lake) = (sum(&recount.checksums), sum(&in_lake));
            if recounted != in_lake {
                groups.insert(key.1);
                let hour = Timestamp(key.0 * Timestamp::HOUR).to_string();
                let one = GroupDifference { hour, slot_group: key.1, recounted, in_lake };
                report.group_differences.push(one);
            }
        }
        Ok(groups)
    }

    async fn records_that_differ(
        &self,
        range: &RecountRange,
        (horizons, recount): (&Horizons, &Recount),
        groups: &BTreeSet<u16>,
    ) -> Result<Vec<RecordDifference>, AuditError> {
        let mut found = Vec::new();
        self.register("ruled", recount.ruled_batch()?)?;
        for &group in groups {
            let slots = (group * GROUP_SLOTS, (group + 1) * GROUP_SLOTS);
            self.judge(range, horizons, slots).await?;
            for batch in self.collect(&differing_sql(range, slots)).await? {
                add_records(&mut found, &batch)?;
            }
            if found.len() >= RECORDS_MAX {
                break;
            }
        }
        found.truncate(RECORDS_MAX);
        self.context.deregister_table("ruled")?;
        self.forget_tables()?;
        Ok(found)
    }

    async fn compare_figures(
        &self,
        range: &RecountRange,
        recount: &Recount,
        (found, coverage): (&BTreeMap<FigureKey, Figure>, Coverage),
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let is_compared = |key: &&FigureKey| coverage == Coverage::All || has_metric(key);
        let keys = recount.figures.keys().chain(found.keys()).filter(is_compared);
        let keys: BTreeSet<FigureKey> = keys.copied().collect();
        report.figures = keys.len();
        let nothing = Figure::default();
        let of = |figures: &BTreeMap<FigureKey, Figure>, key| {
            figures.get(key).cloned().unwrap_or_default()
        };
        let differs = |key: &&FigureKey| {
            recount.figures.get(key).unwrap_or(&nothing) != found.get(key).unwrap_or(&nothing)
        };
        let differing: Vec<FigureKey> =
            keys.iter().filter(differs).take(FIGURES_MAX).copied().collect();
        if differing.is_empty() {
            return Ok(());
        }
        let parts = self.parts_of(range, &differing).await?;
        let likely = Likely::of(&differing, &recount.figures, found, &parts);
        for key in &differing {
            let in_lake = in_lake(&parts, key);
            let recounted = of(&recount.figures, key);
            let found = of(found, key);
            let cause = if in_lake == recounted {
                likely.cause(key, &recounted, &found, &parts)
            } else {
                Cause::WrongVerdict
            };
            let one = Difference::new(key, &recounted, &found, &in_lake, cause);
            report.differences.push(one);
        }
        Ok(())
    }

    /// What each epoch has added to each of these figures, revisions included.
    async fn parts_of(
        &self,
        range: &RecountRange,
        keys: &[FigureKey],
    ) -> Result<Parts, AuditError> {
        let wanted: BTreeSet<&FigureKey> = keys.iter().collect();
        let mut parts = Parts::default();
        for batch in self.collect(&parts_sql(range)).await? {
            let key = figure_key(&batch, None)?;
            let (epochs, currencies) = (Keys::of(&batch, "epoch")?, Texts::of(&batch, "currency")?);
            let (records, spend) = (Numbers::of(&batch, "records")?, Numbers::of(&batch, "spend")?);
            for row in 0..batch.num_rows() {
                let Some(key) = key(row).filter(|key| wanted.contains(key)) else { continue };
                let part = parts.entry(key).or_default().entry(epochs.at(row)).or_default();
                part.add(records.at(row), currency_of(currencies.at(row)), spend.at(row));
            }
        }
        Ok(parts)
    }
}

/// By figure and epoch, what the epoch has added.
type Parts = BTreeMap<FigureKey, BTreeMap<u64, Figure>>;

fn in_lake(parts: &Parts, key: &FigureKey) -> Figure {
    let mut sum = Figure::default();
    for part in parts.get(key).into_iter().flat_map(BTreeMap::values) {
        add(&mut sum, part, 1);
    }
    sum
}

fn add(to: &mut Figure, part: &Figure, times: i64) {
    to.count += times * part.count;
    for (&currency, &spend) in &part.spend {
        to.add(0, currency, times * spend);
    }
}

/// How many figures each cause would explain: the one that explains most is believed first.
struct Likely(Vec<(Cause, usize)>);

impl Likely {
    fn of(
        keys: &[FigureKey],
        recounted: &BTreeMap<FigureKey, Figure>,
        found: &BTreeMap<FigureKey, Figure>,
        parts: &Parts,
    ) -> Self {
        let mut counts: BTreeMap<Cause, usize> = BTreeMap::new();
        for key in keys {
            let of = |figures: &BTreeMap<FigureKey, Figure>| {
                figures.get(key).cloned().unwrap_or_default()
            };
            for cause in candidates(key, &of(recounted), &of(found), parts) {
                *counts.entry(cause).or_default() += 1;
            }
        }
        let mut counts: Vec<(Cause, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        Likely(counts)
    }

    fn cause(&self, key: &FigureKey, recounted: &Figure, found: &Figure, parts: &Parts) -> Cause {
        let own = candidates(key, recounted, found, parts);
        let among = self.0.iter().map(|(cause, _)| *cause).find(|cause| own.contains(cause));
        among.unwrap_or(Cause::DamagedRollup)
    }
}

/// The epochs whose part of a figure is exactly what is missing, or too much.
fn candidates(
    key: &FigureKey,
    recounted: &Figure,
    found: &Figure,
    parts: &Parts,
) -> BTreeSet<Cause> {
    let mut causes = BTreeSet::new();
    for (&epoch, part) in parts.get(key).into_iter().flatten() {
        let with = |times| {
            let mut figure = recounted.clone();
            add(&mut figure, part, times);
            figure == *found
        };
        if !part.is_zero() && with(-1) {
            causes.insert(Cause::LostDelta { epoch });
        }
        if !part.is_zero() && with(1) {
            causes.insert(Cause::DoubledDelta { epoch });
        }
    }
    causes
}

/// Records up to the cut with the verdict in force at it; 0 for a repeated append.
pub(crate) fn in_force(range: &RecountRange) -> String {
    let cut = range.cut;
    format!(
        "SELECT r.*, CAST(coalesce(v.verdict, r.verdict, 0) AS BIGINT) AS in_force
         FROM (SELECT *, CAST(happened AS BIGINT) AS at FROM records WHERE epoch <= {cut}
               AND kind NOT IN ({control}, {prediction})) r
         LEFT JOIN (SELECT * FROM (SELECT log_partition, log_offset, verdict, row_number() OVER (
               PARTITION BY log_partition, log_offset ORDER BY epoch DESC, ordinal DESC) AS nth
               FROM revisions WHERE epoch <= {cut}) WHERE nth = 1) v
         ON r.log_partition = v.log_partition AND r.log_offset = v.log_offset",
        control = Kind::Control.code(),
        prediction = Kind::Prediction.code(),
    )
}

fn lake_checksums_sql(range: &RecountRange) -> String {
    format!(
        "SELECT at / {hour} AS hour, slot / {GROUP_SLOTS} AS slots, {columns}
         FROM ({rows}) WHERE {within} {received} GROUP BY 1, 2",
        hour = Timestamp::HOUR,
        columns = checksum_columns("in_force"),
        rows = in_force(range),
        within = within(range, "at"),
        received = received(range),
    )
}

fn received(range: &RecountRange) -> String {
    range
        .received_from
        .map_or_else(String::new, |from| format!("AND CAST(received AS BIGINT) >= {}", from.0))
}

fn differing_sql(range: &RecountRange, (from, to): (u16, u16)) -> String {
    let recounted = "coalesce(r.verdict, j.verdict)";
    format!(
        "SELECT j.place, j.tenant, j.class, j.ad_key, e.epoch, e.kind, j.happened, {recounted_name} AS recounted,
                {lake_name} AS in_lake
         FROM judged j
         LEFT JOIN ruled r ON j.place = r.place
         JOIN (SELECT * FROM ({rows}) WHERE slot >= {from} AND slot < {to}) e
           ON j.log_partition = e.log_partition AND j.log_offset = e.log_offset
         WHERE {recounted} <> e.in_force AND {within} ORDER BY j.place LIMIT {RECORDS_MAX}",
        recounted_name = verdict_name(recounted),
        lake_name = verdict_name("e.in_force"),
        rows = in_force(range),
        within = within(range, "j.happened"),
    )
}

fn add_records(found: &mut Vec<RecordDifference>, batch: &RecordBatch) -> Result<(), AuditError> {
    let (places, ads) = (Keys::of(batch, "place")?, Keys::of(batch, "ad_key")?);
    let tenants = Numbers::of(batch, "tenant")?;
    let (epochs, kinds) = (Keys::of(batch, "epoch")?, Numbers::of(batch, "kind")?);
    let (times, classes) = (Numbers::of(batch, "happened")?, Texts::of(batch, "class")?);
    let (recounted, in_lake) = (Texts::of(batch, "recounted")?, Texts::of(batch, "in_lake")?);
    let or_repeated =
        |name: &str| if name.is_empty() { "repeated append" } else { name }.to_owned();
    for row in 0..batch.num_rows() {
        let position = crate::recount::place_of(places.at(row));
        let kind = u8::try_from(kinds.at(row)).ok().and_then(Kind::from_code);
        found.push(RecordDifference {
            tenant: u32::try_from(tenants.at(row)).unwrap_or_default(),
            partition: position.partition,
            offset: position.offset,
            epoch: epochs.at(row),
            kind: kind.map_or("unknown", Kind::name).to_owned(),
            happened: Timestamp(times.at(row)).to_string(),
            ad: ads.at(row),
            decided_by: classes.at(row).to_owned(),
            recounted: or_repeated(recounted.at(row)),
            in_lake: or_repeated(in_lake.at(row)),
        });
    }
    Ok(())
}

/// What each epoch adds to each figure: its records under their first verdict, and its revisions,
/// which take from one cell what they add to another.
fn parts_sql(range: &RecountRange) -> String {
    let cut = range.cut;
    let received = received(range);
    format!(
        "SELECT epoch, tenant, ad_key, at / {minute} AS minute, kind, verdict, currency,
                sum(records) AS records, sum(spend) AS spend
         FROM (
           SELECT epoch, tenant, ad_key, CAST(happened AS BIGINT) AS at, CAST(kind AS BIGINT) AS kind,
                  CAST(verdict AS BIGINT) AS verdict, currency, 1 AS records,
                  CASE WHEN kind = 3 AND verdict = 1 THEN price ELSE 0 END AS spend
           FROM records WHERE epoch <= {cut} AND verdict IS NOT NULL AND kind <> 8 {received}
           UNION ALL
           SELECT epoch, tenant, ad_key, CAST(happened AS BIGINT) AS at, CAST(kind AS BIGINT) AS kind,
                  CAST(verdict_before AS BIGINT) AS verdict, currency, -1 AS records,
                  CASE WHEN verdict_before = 1 THEN -price ELSE 0 END AS spend
           FROM revisions WHERE epoch <= {cut}
           UNION ALL
           SELECT epoch, tenant, ad_key, CAST(happened AS BIGINT) AS at, CAST(kind AS BIGINT) AS kind,
                  CAST(verdict AS BIGINT) AS verdict, currency, 1 AS records,
                  CASE WHEN verdict = 1 THEN price ELSE 0 END AS spend
           FROM revisions WHERE epoch <= {cut})
         WHERE {within} GROUP BY 1, 2, 3, 4, 5, 6, 7",
        minute = Timestamp::MINUTE,
        within = within(range, "at"),
    )
}
