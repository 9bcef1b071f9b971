//! What was compared and what occurred: a run in which something never happened has not shown it.

use std::fmt;

use reckon_count::Totals;
use reckon_event::Verdict;

macro_rules! happenings {
    ($($(#[$doc:meta])* $name:ident => $words:literal,)*) => {
        /// Something that may go otherwise than on a fine day.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Happening {
            $($(#[$doc])* $name,)*
        }

        impl Happening {
            /// All of them.
            pub const ALL: &[Happening] = &[$(Happening::$name,)*];

            /// In words.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Happening::$name => $words,)*
                }
            }
        }
    };
}

happenings! {
    /// The machine lost its power at a quiet moment.
    PowerCut => "power cut",
    /// The process was killed; what its disks had taken stays as it is.
    Killed => "killed",
    /// The process was asked to stop, and did.
    Stopped => "stopped",
    /// A sync of the log failed.
    LogSyncFailed => "log: a sync failed",
    /// A write of the log failed after some of its bytes.
    LogWriteFailed => "log: a write failed",
    /// The power went while the log was syncing.
    LogPowerCut => "log: power cut at a sync",
    /// No sync of the log worked any more.
    LogSyncsFailed => "log: no sync works",
    /// An append did not fit.
    LogFull => "log: disk full",
    /// Nobody could say whether an append is in, so it was made again.
    AppendedAgain => "log: unknown, appended again",
    /// Records that were answered with "unknown" were in, and so were in twice.
    WasIn => "log: unknown, and was in",
    /// Segments of the log were let go of.
    Retired => "log: records retired",
    /// A sync of rollup or pipeline failed.
    SyncFailed => "counter: a sync failed",
    /// A write of rollup or pipeline failed after some of its bytes.
    WriteFailed => "counter: a write failed",
    /// The power went while rollup or pipeline was syncing.
    SyncPowerCut => "counter: power cut at a sync",
    /// The disk of rollup and pipeline was full.
    Full => "counter: disk full",
    /// A put of the lake was refused.
    PutRefused => "lake: a put refused",
    /// A put of the lake was done, and its answer lost.
    PutAnswerLost => "lake: a put's answer lost",
    /// The store was gone before a put.
    PutDiedBefore => "lake: gone before a put",
    /// The store was gone after a put.
    PutDiedAfter => "lake: gone after a put",
    /// The store was gone within a put; half of the object is there.
    PutCutShort => "lake: a put cut short",
    /// A checkpoint was written.
    Checkpoint => "checkpoint",
    /// An epoch came again after a restart.
    Again => "epoch came again",
    /// Rules changed a verdict.
    Revised => "verdict revised",
    /// Rules were swapped from a minute to come.
    RulesAhead => "rules swapped ahead",
    /// Rules were swapped from a minute long past.
    RulesBehind => "rules swapped behind",
    /// Time passed without events.
    Tick => "tick",
    /// Everything was to be judged at once.
    Settle => "settle",
    /// The clock went back.
    ClockBack => "clock went back",
    /// The clock jumped ahead.
    ClockAhead => "clock jumped ahead",
    /// A record had waited in a spool.
    Spooled => "record out of the spool",
    /// A client sent what had happened hours ago.
    LateBatch => "client hours late",
    /// The very same append was made again.
    Reappended => "record appended again",
    /// A client sent an event again.
    SentAgain => "event sent again",
    /// An event came again with another payload.
    Altered => "event sent again, altered",
}

/// How much of what was held against plain sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Records of the log, byte by byte.
    pub log_records: u64,
    /// Verdicts as they were given.
    pub first_verdicts: u64,
    /// Sums after a single epoch.
    pub sums: u64,
    /// Rows of the rollup.
    pub rollup_rows: u64,
    /// Rows of the lake's records.
    pub lake_records: u64,
    /// Rows of the lake's revisions.
    pub lake_revisions: u64,
}

/// What one or many histories have gone through.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many histories.
    pub histories: u64,
    /// How many records were in their logs.
    pub records: u64,
    /// How many epochs were applied, those that came again included.
    pub epochs: u64,
    /// How often the process was started.
    pub starts: u64,
    /// What was compared.
    pub compared: Compared,
    /// How many of the histories were tampered with.
    pub tampered: u64,
    /// Verdicts in force at the end.
    pub verdicts: Totals,
    happened: Vec<u64>,
}

impl Tally {
    /// Notes that something has happened.
    pub fn note(&mut self, what: Happening) {
        self.happened.resize(Happening::ALL.len(), 0);
        self.happened[what as usize] += 1;
    }

    /// How often something has happened.
    pub fn times(&self, what: Happening) -> u64 {
        self.happened.get(what as usize).copied().unwrap_or(0)
    }

    /// How many records ended with a verdict.
    pub fn verdict(&self, verdict: Verdict) -> u64 {
        self.verdicts.iter().filter(|(_, one, _)| *one == verdict).map(|(.., count)| count).sum()
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Tally) {
        self.histories += other.histories;
        self.records += other.records;
        self.epochs += other.epochs;
        self.starts += other.starts;
        self.tampered += other.tampered;
        self.verdicts.merge(&other.verdicts);
        self.compared.add(&other.compared);
        self.happened.resize(Happening::ALL.len(), 0);
        for (mine, theirs) in self.happened.iter_mut().zip(&other.happened) {
            *mine += theirs;
        }
    }

    /// Every happening, verdict and reason that never occurred.
    pub fn missing(&self) -> Vec<&'static str> {
        let happenings = Happening::ALL.iter().filter(|&&what| self.times(what) == 0);
        let verdicts = Verdict::all().filter(|&verdict| self.verdict(verdict) == 0);
        happenings.map(|what| what.name()).chain(verdicts.map(Verdict::name)).collect()
    }
}

impl Compared {
    fn add(&mut self, other: &Compared) {
        self.log_records += other.log_records;
        self.first_verdicts += other.first_verdicts;
        self.sums += other.sums;
        self.rollup_rows += other.rollup_rows;
        self.lake_records += other.lake_records;
        self.lake_revisions += other.lake_revisions;
    }

    /// The first kind of comparison that was never made; revisions need not occur in one history.
    pub fn nothing(&self) -> Option<&'static str> {
        let made = [
            ("log records", self.log_records),
            ("first verdicts", self.first_verdicts),
            ("sums", self.sums),
            ("rollup rows", self.rollup_rows),
            ("lake records", self.lake_records),
        ];
        made.into_iter().find(|(_, count)| *count == 0).map(|(what, _)| what)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { histories, records, epochs, starts, compared, .. } = self;
        writeln!(f, "{histories} histories, {records} records, {epochs} epochs, {starts} starts")?;
        writeln!(
            f,
            "compared: {} records of the log, {} verdicts as given, {} sums of epochs, {} rows of \
             the rollup, {} records and {} revisions of the lake",
            compared.log_records,
            compared.first_verdicts,
            compared.sums,
            compared.rollup_rows,
            compared.lake_records,
            compared.lake_revisions,
        )?;
        for &what in Happening::ALL {
            writeln!(f, "{:>12}  {}", self.times(what), what.name())?;
        }
        for verdict in Verdict::all() {
            writeln!(f, "{:>12}  verdict {verdict}", self.verdict(verdict))?;
        }
        Ok(())
    }
}
