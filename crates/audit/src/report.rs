//! What a comparison has found: for machines as JSON, for people as lines.

use std::fmt;

use reckon_event::{Currency, Micros};
use reckon_lake::Damage;
use serde::Serialize;

use crate::figure::{Checksum, Figure, FigureKey};

/// Why a figure differs, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cause {
    /// What an epoch adds is missing.
    LostDelta {
        /// Which epoch.
        epoch: u64,
    },
    /// What an epoch adds is in twice.
    DoubledDelta {
        /// Which epoch.
        epoch: u64,
    },
    /// The records and their verdicts are right, and no epoch explains the figure.
    DamagedRollup,
    /// Records have another verdict in force than they should.
    WrongVerdict,
}

/// What mends a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mend {
    /// The pane is made again from the records: derived data is damaged.
    RebuildPane,
    /// The records are judged again from the log, then the pane is made again.
    JudgeAgain,
}

impl Cause {
    /// What mends it.
    pub const fn mend(&self) -> Mend {
        match self {
            Cause::WrongVerdict => Mend::JudgeAgain,
            Cause::LostDelta { .. } | Cause::DoubledDelta { .. } | Cause::DamagedRollup => {
                Mend::RebuildPane
            }
        }
    }
}

/// Count and money, for a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Number of records.
    pub count: i64,
    /// Micros by currency.
    pub spend: Vec<(String, Micros)>,
}

impl From<&Figure> for Amount {
    fn from(figure: &Figure) -> Self {
        let money = |(currency, spend): (&Currency, &Micros)| (currency.to_string(), *spend);
        Amount { count: figure.count, spend: figure.spend.iter().map(money).collect() }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        for (currency, spend) in &self.spend {
            write!(f, " ({spend} micros {currency})")?;
        }
        Ok(())
    }
}

/// A figure that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose.
    pub tenant: u32,
    /// Key of the ad.
    pub ad: u64,
    /// The minute, RFC 3339.
    pub minute: String,
    /// What happened.
    pub kind: &'static str,
    /// What it is worth.
    pub verdict: &'static str,
    /// What the recount has.
    pub recounted: Amount,
    /// What the rollup has.
    pub found: Amount,
    /// What the verdicts in force in the lake add up to.
    pub in_lake: Amount,
    /// Why, probably.
    pub cause: Cause,
    /// What mends it.
    pub mend: Mend,
}

impl Difference {
    pub(crate) fn new(
        key: &FigureKey,
        recounted: &Figure,
        found: &Figure,
        in_lake: &Figure,
        cause: Cause,
    ) -> Self {
        Difference {
            tenant: key.tenant.0,
            ad: key.ad,
            minute: key.at().to_string(),
            kind: key.kind.name(),
            verdict: key.verdict.name(),
            recounted: recounted.into(),
            found: found.into(),
            in_lake: in_lake.into(),
            cause,
            mend: cause.mend(),
        }
    }
}

/// An hour of some slots whose verdicts in the lake are not those of the recount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupDifference {
    /// The hour, RFC 3339.
    pub hour: String,
    /// The group: slots from 64 times this on.
    pub slot_group: u16,
    /// What the recount has.
    pub recounted: Checksum,
    /// What the lake has.
    pub in_lake: Checksum,
}

/// A record whose verdict in force is not that of the recount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordDifference {
    /// Whose.
    pub tenant: u32,
    /// Partition of the log.
    pub partition: u16,
    /// Offset in it.
    pub offset: u64,
    /// The epoch it was counted in.
    pub epoch: u64,
    /// What happened.
    pub kind: String,
    /// When, RFC 3339.
    pub happened: String,
    /// Key of the ad.
    pub ad: u64,
    /// How its verdict is found: by which id.
    pub decided_by: String,
    /// The recount's verdict.
    pub recounted: String,
    /// The verdict in force in the lake.
    pub in_lake: String,
}

/// What was compared, and what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The state of the lake that was read.
    pub manifest: u64,
    /// Records of epochs up to this one.
    pub cut: u64,
    /// The range of event time, RFC 3339.
    pub from: String,
    /// Its end.
    pub to: String,
    /// Records that were judged again.
    pub records: u64,
    /// Repeated appends among them.
    pub redelivered: u64,
    /// Figures that were compared.
    pub figures: usize,
    /// Hours by slot group whose checksums were compared.
    pub groups: usize,
    /// Files of the lake that are not what was written. Nothing is compared where there are any.
    pub damage: Vec<Damage>,
    /// Sums that were built again from the records before this comparison.
    pub mended: u64,
    /// Figures that differ.
    pub differences: Vec<Difference>,
    /// Checksums that differ.
    pub group_differences: Vec<GroupDifference>,
    /// Records that differ, the first thousand.
    pub record_differences: Vec<RecordDifference>,
    /// Copies that counted because their first was forgotten. They are no difference: an adjustment
    /// `duplicate_beyond_horizon` corrects them.
    pub duplicates_beyond_horizon: usize,
}

impl Report {
    /// True where nothing that was compared differs. How much that was stands in `records` and
    /// `figures`.
    pub fn is_equal(&self) -> bool {
        self.damage.is_empty()
            && self.differences.is_empty()
            && self.group_differences.is_empty()
            && self.record_differences.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.is_equal() { "equal" } else { "DIFFERENT" };
        writeln!(f, "{} to {} at epoch {}: {outcome}", self.from, self.to, self.cut)?;
        writeln!(
            f,
            "compared {} records ({} repeated appends), {} figures, {} checksums",
            self.records, self.redelivered, self.figures, self.groups
        )?;
        if self.mended > 0 {
            writeln!(f, "{} sums were built again from the records before", self.mended)?;
        }
        for damage in &self.damage {
            writeln!(f, "damaged: {}: {}", damage.path, damage.what)?;
        }
        for one in &self.differences {
            writeln!(
                f,
                "tenant {} ad {} {} {} {}: recount {}, rollup {}, lake {}: {:?}, mend: {:?}",
                one.tenant,
                one.ad,
                one.minute,
                one.kind,
                one.verdict,
                one.recounted,
                one.found,
                one.in_lake,
                one.cause,
                one.mend
            )?;
        }
        for one in &self.group_differences {
            writeln!(
                f,
                "hour {} of slot group {}: recount {:?}, lake {:?}",
                one.hour, one.slot_group, one.recounted, one.in_lake
            )?;
        }
        for one in &self.record_differences {
            writeln!(
                f,
                "record {}/{} (epoch {}, {} at {}, ad {}, by its {} id): recount {}, lake {}",
                one.partition,
                one.offset,
                one.epoch,
                one.kind,
                one.happened,
                one.ad,
                one.decided_by,
                one.recounted,
                one.in_lake
            )?;
        }
        if self.duplicates_beyond_horizon > 0 {
            let count = self.duplicates_beyond_horizon;
            writeln!(f, "{count} copies beyond the horizon: adjust duplicate_beyond_horizon")?;
        }
        Ok(())
    }
}
