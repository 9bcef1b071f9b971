//! What is behind one figure: every record of an ad and a minute, with all that was decided of it.

use std::collections::BTreeMap;

use reckon_event::{TenantId, Timestamp};
use serde::Serialize;

use crate::auditor::verdict_name;
use crate::table::{Keys, Numbers, Texts};
use crate::{AuditError, Auditor};

/// The most records that are told of one minute.
const RECORDS_MAX: usize = 100_000;

/// One record behind a figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRecord {
    /// Partition of the log.
    pub partition: u16,
    /// Offset in it.
    pub offset: u64,
    /// Its id: the appender, in hexadecimal digits, and the number.
    pub record: String,
    /// The epoch it was counted in.
    pub epoch: u64,
    /// What happened; an adjustment is what somebody has decided later.
    pub kind: String,
    /// When it happened, RFC 3339.
    pub happened: String,
    /// When the server received it.
    pub received: String,
    /// What the edge made of it.
    pub outcome: String,
    /// The verdict it was counted with; empty for a repeated append.
    pub first_verdict: String,
    /// The verdict in force.
    pub verdict: String,
    /// Version of the rules at the edge that looked at it.
    pub rules_version: u64,
    /// Every later verdict, oldest first.
    pub revisions: Vec<ExplainedRevision>,
    /// What it costs where it counts, in micros.
    pub price: i64,
    /// In which currency.
    pub currency: String,
    /// The minted impression, where it has one: incarnation-slot-hour-sequence.
    pub impression: Option<String>,
    /// The client's own id, where it has one.
    pub event_id: Option<String>,
}

/// One later verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRevision {
    /// The epoch in which rules changed it.
    pub epoch: u64,
    /// What it was before.
    pub before: String,
    /// What it was then.
    pub after: String,
    /// Version of the rule set.
    pub rules_version: u64,
}

/// What is behind the figures of an ad's minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Key of the ad.
    pub ad: u64,
    /// The minute, RFC 3339.
    pub minute: String,
    /// The state of the lake that was read.
    pub manifest: u64,
    /// Every record, in the order of event time.
    pub records: Vec<ExplainedRecord>,
    /// Adjustments that name this ad and minute.
    pub adjustments: Vec<ExplainedRecord>,
    /// There are more records than are told.
    pub is_cut: bool,
}

impl Auditor {
    /// Tells what is behind the figures of an ad (0: of none that is registered) in a minute.
    pub async fn explain(
        &self,
        tenant: TenantId,
        ad: u64,
        minute: Timestamp,
    ) -> Result<Explained, AuditError> {
        let minute = minute.floor(Timestamp::MINUTE);
        let mut explained = Explained {
            ad,
            minute: minute.to_string(),
            manifest: self.manifest.number,
            ..Explained::default()
        };
        let among = format!(
            "tenant = {} AND ad_key = {ad} AND CAST(happened AS BIGINT) >= {} AND \
             CAST(happened AS BIGINT) < {}",
            tenant.0,
            minute.0,
            minute.0 + Timestamp::MINUTE
        );
        let records = self.records_where(&among).await?;
        let mut revisions = self.revisions_where(&among).await?;
        explained.is_cut = records.len() > RECORDS_MAX;
        for mut record in records.into_iter().take(RECORDS_MAX) {
            let place = (record.partition, record.offset);
            record.revisions = revisions.remove(&place).unwrap_or_default();
            if record.kind == "adjustment" {
                explained.adjustments.push(record);
            } else {
                explained.records.push(record);
            }
        }
        Ok(explained)
    }

    async fn records_where(&self, among: &str) -> Result<Vec<ExplainedRecord>, AuditError> {
        let sql = format!(
            "SELECT *, CAST(happened AS BIGINT) AS happened_at, CAST(received AS BIGINT) AS received_at
             FROM events WHERE {among}
             ORDER BY happened_at, log_partition, log_offset LIMIT {}",
            RECORDS_MAX + 1
        );
        let mut found = Vec::new();
        for batch in self.collect(&sql).await? {
            let number = |name| Numbers::of(&batch, name);
            let key = |name| Keys::of(&batch, name);
            let text = |name| Texts::of(&batch, name);
            let (partitions, offsets) = (number("log_partition")?, key("log_offset")?);
            let (appenders, sequences) = (key("appender")?, key("append_sequence")?);
            let (epochs, kinds, rules) = (key("epoch")?, text("kind")?, key("rules_version")?);
            let (happened, received) = (number("happened_at")?, number("received_at")?);
            let (outcomes, firsts, verdicts) =
                (text("outcome")?, text("first_verdict")?, text("verdict")?);
            let (prices, currencies, ids) =
                (number("price")?, text("currency")?, text("event_id")?);
            let minted = [number("minted_incarnation")?, number("minted_slot")?];
            let (hours, numbers) = (number("minted_hour")?, number("minted_sequence")?);
            for row in 0..batch.num_rows() {
                let impression = numbers.get(row).map(|number| {
                    let [incarnation, slot] = [minted[0].at(row), minted[1].at(row)];
                    format!("{incarnation}-{slot}-{}-{number}", hours.at(row))
                });
                found.push(ExplainedRecord {
                    partition: partitions.at(row) as u16,
                    offset: offsets.at(row),
                    record: format!("{:x}-{}", appenders.at(row), sequences.at(row)),
                    epoch: epochs.at(row),
                    kind: kinds.at(row).to_owned(),
                    happened: Timestamp(happened.at(row)).to_string(),
                    received: Timestamp(received.at(row)).to_string(),
                    outcome: outcomes.at(row).to_owned(),
                    first_verdict: firsts.at(row).to_owned(),
                    verdict: verdicts.at(row).to_owned(),
                    rules_version: rules.at(row),
                    revisions: Vec::new(),
                    price: prices.at(row),
                    currency: currencies.at(row).to_owned(),
                    impression,
                    event_id: Some(ids.at(row).to_owned()).filter(|id| !id.is_empty()),
                });
            }
        }
        Ok(found)
    }

    /// Later verdicts by partition and offset, oldest first.
    async fn revisions_where(
        &self,
        among: &str,
    ) -> Result<BTreeMap<(u16, u64), Vec<ExplainedRevision>>, AuditError> {
        let sql = format!(
            "SELECT log_partition, log_offset, epoch, {before} AS before_name, {after} AS after_name,
                    rules_version
             FROM revisions WHERE {among} ORDER BY epoch, ordinal",
            before = verdict_name("verdict_before"),
            after = verdict_name("verdict"),
        );
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for batch in self.collect(&sql).await? {
            let (partitions, offsets) =
                (Numbers::of(&batch, "log_partition")?, Keys::of(&batch, "log_offset")?);
            let (epochs, rules) = (Keys::of(&batch, "epoch")?, Keys::of(&batch, "rules_version")?);
            let before = Texts::of(&batch, "before_name")?;
            let after = Texts::of(&batch, "after_name")?;
            for row in 0..batch.num_rows() {
                let place = (partitions.at(row) as u16, offsets.at(row));
                found.entry(place).or_default().push(ExplainedRevision {
                    epoch: epochs.at(row),
                    before: before.at(row).to_owned(),
                    after: after.at(row).to_owned(),
                    rules_version: rules.at(row),
                });
            }
        }
        Ok(found)
    }
}
