//! Rows as they were served, joined to what became of them: the data set that a lake holds.
//!
//! A row is taken where its impression counted: what nobody saw, nobody could click. It is positive
//! where a click on it counted within the attribution window, by the verdicts in force when the lake
//! is read, and negative where that window has passed without one. What is computed again is nothing:
//! the columns are the ones that were logged, at the cut they name.
//!
//! The lake is gone through by stretches of hours, as long as the labels of one fit into memory, so a
//! lake of any size is read; rows come in the order in which they were served, a request's together.

mod delay;
mod labels;
mod table;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt8Type;
use reckon_event::{
    Kind, ServedCandidate, ServedRows, TenantId, Timestamp, prediction_id, prediction_request,
};
use reckon_lake::{LakeError, LakeFile, LakeReader, Table};

pub use self::delay::Delays;
use self::labels::Labels;
pub use self::table::{schema, table};

/// What is taken from a lake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LakeOptions {
    /// Whose rows.
    pub tenant: TenantId,
    /// Rows served from this moment on.
    pub from: Timestamp,
    /// Rows served before this moment.
    pub to: Timestamp,
    /// Version of the plan whose columns are wanted; rows of others are counted and left out.
    pub plan: u64,
    /// A click counts for its row within so many microseconds after the impression.
    pub window_us: i64,
    /// An impression counts for its row within so many microseconds after it was served: as long as
    /// its token lives.
    pub shown_us_max: i64,
    /// What becomes of rows whose window has not passed yet.
    pub young: Young,
    /// Labels that are held at a time.
    pub labels_max: usize,
}

impl LakeOptions {
    /// Everything of a tenant by a plan: a window of 30 minutes, tokens of a day, no young rows.
    pub const fn new(tenant: TenantId, plan: u64) -> Self {
        LakeOptions {
            tenant,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            plan,
            window_us: 30 * Timestamp::MINUTE,
            shown_us_max: 24 * Timestamp::HOUR,
            young: Young::Leave,
            labels_max: 20_000_000,
        }
    }
}

/// Rows that may still be clicked within their window when the lake is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Young {
    /// They are left out.
    Leave,
    /// They are taken once this share of all clicks would have come, and weighed so that the missing
    /// ones make no difference on average: see [`Delays`].
    Weigh {
        /// The share, above 0 and at most 1.
        covered_min: f64,
    },
}

/// One row with its label.
#[derive(Clone, Copy, Debug)]
pub struct LakeRow<'a> {
    /// What it shares with the request's other rows: the moment, the cut, the user's columns.
    pub served: &'a ServedRows,
    /// What is its own.
    pub candidate: &'a ServedCandidate,
    /// Where it was shown, from 1; 0 where nobody said.
    pub position: u16,
    /// True where it was clicked within the window.
    pub is_clicked: bool,
    /// Its weight: 1 for rows whose window has passed.
    pub weight: f32,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LakeCounts {
    /// Served rows in the span.
    pub served: u64,
    /// Taken.
    pub taken: u64,
    /// Of those taken, clicked.
    pub clicked: u64,
    /// Left out: no counted impression in time.
    pub not_shown: u64,
    /// Left out: their window has not passed.
    pub young: u64,
    /// Left out: columns of another plan, or none.
    pub other_plan: u64,
    /// Left out: the person was erased, and what their rows held with them.
    pub erased: u64,
    /// Left out: written by a later build.
    pub unknown: u64,
}

/// Why a lake gives no data set.
#[derive(Debug, thiserror::Error)]
pub enum LakeDataError {
    /// It could not be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// One hour has more labels than may be held.
    #[error(
        "the hour from {hour} on has {labels} labels, and {labels_max} may be held: raise labels_max"
    )]
    Labels {
        /// Its beginning.
        hour: Timestamp,
        /// How many records may bear one.
        labels: u64,
        /// How many may be held.
        labels_max: usize,
    },
    /// An option that cannot be.
    #[error("{0}: {1}")]
    Option(&'static str, &'static str),
}

/// Reads the rows of a lake with their labels, in the order in which they were served. One hour's rows
/// are in memory at a time.
pub fn read(
    lake: &LakeReader,
    options: &LakeOptions,
    out: &mut dyn FnMut(LakeRow<'_>),
) -> Result<LakeCounts, LakeDataError> {
    check(options)?;
    let files = Files::of(lake, options.tenant);
    let mut counts = LakeCounts::default();
    let delays = match options.young {
        Young::Leave => None,
        Young::Weigh { .. } => Some(files.delays(lake, options)?),
    };
    let mut hours = files.hours(options);
    while !hours.is_empty() {
        let taken = files.stretch(&hours, options)?;
        let stretch: Vec<u32> = hours.drain(..taken).collect();
        let labels = files.labels(lake, &stretch, options)?;
        let join = Join { labels: &labels, delays: delays.as_ref(), now: files.now, options };
        for hour in stretch {
            let mut requests = Vec::new();
            for file in files.records.iter().filter(|file| file.hour == hour) {
                for rows in lake.rows(file, &["kind", "payload"])? {
                    join.decode(&rows?, &mut counts, &mut requests);
                }
            }
            // Files lie by ad, and of one request each part is a record of its own.
            requests.sort_by_key(|served: &ServedRows| (served.at, served.request));
            for served in &requests {
                join.request(served, &mut counts, out);
            }
        }
    }
    Ok(counts)
}

fn check(options: &LakeOptions) -> Result<(), LakeDataError> {
    if options.window_us <= 0 {
        return Err(LakeDataError::Option("window_us", "must be above 0"));
    }
    match options.young {
        Young::Weigh { covered_min } if !(covered_min > 0.0 && covered_min <= 1.0) => {
            Err(LakeDataError::Option("covered_min", "must be above 0 and at most 1"))
        }
        _ => Ok(()),
    }
}

/// A tenant's files, and how far the lake knows.
struct Files<'a> {
    records: Vec<&'a LakeFile>,
    revisions: Vec<&'a LakeFile>,
    /// When the newest of its records was received.
    now: Timestamp,
}

impl<'a> Files<'a> {
    fn of(lake: &'a LakeReader, tenant: TenantId) -> Self {
        let all = &lake.manifest().files;
        let records = all.iter().filter(|file| file.table == Table::Records);
        // Other tenants' records are as good a clock as this one's.
        let now = records.clone().map(|file| file.received.last).max().unwrap_or(i64::MIN);
        Files {
            records: records.filter(|file| file.tenant == tenant.0).collect(),
            revisions: all.iter().filter(|file| file.table == Table::Revisions).collect(),
            now: Timestamp(now),
        }
    }

    /// Hours in which rows of the span stand, in order.
    fn hours(&self, options: &LakeOptions) -> Vec<u32> {
        let meets = |file: &&&LakeFile| file.received.meets(options.from, options.to);
        let mut hours: Vec<u32> = self.records.iter().filter(meets).map(|file| file.hour).collect();
        hours.sort_unstable();
        hours.dedup();
        hours
    }

    /// Files in which labels of rows served in some hours may stand.
    fn labelling(&self, first: u32, last: u32, options: &LakeOptions) -> Vec<&'a LakeFile> {
        let from = hour_start(first);
        let to = hour_start(last + 1).plus(options.shown_us_max).plus(options.window_us);
        // What comes late is received long after it happened, so it is looked for by that.
        self.records.iter().filter(|file| file.happened.meets(from, to)).copied().collect()
    }

    /// How many of the hours, from the first on, have labels that fit into memory.
    fn stretch(&self, hours: &[u32], options: &LakeOptions) -> Result<usize, LakeDataError> {
        let labels_to = |last: u32| -> u64 {
            self.labelling(hours[0], last, options).iter().map(|file| file.rows).sum()
        };
        let fits = |&&last: &&u32| labels_to(last) <= options.labels_max as u64;
        let count = hours.iter().take_while(fits).count();
        if count > 0 {
            return Ok(count);
        }
        Err(LakeDataError::Labels {
            hour: hour_start(hours[0]),
            labels: labels_to(hours[0]),
            labels_max: options.labels_max,
        })
    }

    fn labels(
        &self,
        lake: &LakeReader,
        hours: &[u32],
        options: &LakeOptions,
    ) -> Result<Labels, LakeDataError> {
        let (first, last) = (hours[0], hours[hours.len() - 1]);
        let files = self.labelling(first, last, options);
        Ok(Labels::read(lake, &files, &self.revisions)?)
    }

    /// How late clicks come, from all rows of the span whose window has passed.
    fn delays(&self, lake: &LakeReader, options: &LakeOptions) -> Result<Delays, LakeDataError> {
        let mut delays = Delays::new(options.window_us);
        let mut hours = self.hours(options);
        while !hours.is_empty() {
            let taken = self.stretch(&hours, options)?;
            let stretch: Vec<u32> = hours.drain(..taken).collect();
            let labels = self.labels(lake, &stretch, options)?;
            let (from, to) = (hour_start(stretch[0]), hour_start(stretch[stretch.len() - 1] + 1));
            for label in labels.shown() {
                let is_here = from <= label.shown && label.shown < to;
                if is_here && label.shown.plus(options.window_us) <= self.now {
                    delays.take(label.delay(options.window_us));
                }
            }
        }
        Ok(delays)
    }
}

const fn hour_start(hour: u32) -> Timestamp {
    Timestamp(hour as i64 * Timestamp::HOUR)
}

struct Join<'a> {
    labels: &'a Labels,
    delays: Option<&'a Delays>,
    now: Timestamp,
    options: &'a LakeOptions,
}

impl Join<'_> {
    fn decode(&self, rows: &RecordBatch, counts: &mut LakeCounts, requests: &mut Vec<ServedRows>) {
        let kinds = rows.column(0).as_primitive::<UInt8Type>();
        let payloads = rows.column(1).as_binary::<i32>();
        for row in 0..rows.num_rows() {
            if kinds.value(row) != Kind::Prediction.code() {
                continue;
            }
            if payloads.is_null(row) {
                counts.erased += 1;
                continue;
            }
            match ServedRows::decode(payloads.value(row)) {
                Ok(served) => self.keep(served, counts, requests),
                Err(_) => counts.unknown += 1,
            }
        }
    }

    fn keep(&self, served: ServedRows, counts: &mut LakeCounts, requests: &mut Vec<ServedRows>) {
        let rows = served.candidates.len() as u64;
        if served.plan != self.options.plan || served.plan == 0 {
            counts.served += rows;
            counts.other_plan += rows;
        } else if self.options.from <= served.at && served.at < self.options.to {
            counts.served += rows;
            requests.push(served);
        }
    }

    fn request(
        &self,
        served: &ServedRows,
        counts: &mut LakeCounts,
        out: &mut dyn FnMut(LakeRow<'_>),
    ) {
        for candidate in &served.candidates {
            self.candidate(served, candidate, counts, out);
        }
    }

    fn candidate(
        &self,
        served: &ServedRows,
        candidate: &ServedCandidate,
        counts: &mut LakeCounts,
        out: &mut dyn FnMut(LakeRow<'_>),
    ) {
        let prediction = prediction_id(served.request, candidate.index);
        debug_assert_eq!(prediction_request(prediction), served.request);
        let label = self.labels.of(prediction);
        let latest = served.at.plus(self.options.shown_us_max);
        let Some(label) = label.filter(|label| label.shown <= latest) else {
            counts.not_shown += 1;
            return;
        };
        let is_clicked = label.delay(self.options.window_us).is_some();
        let Some(weight) = self.weight(label.shown, is_clicked) else {
            counts.young += 1;
            return;
        };
        counts.taken += 1;
        counts.clicked += u64::from(is_clicked);
        out(LakeRow { served, candidate, position: label.position, is_clicked, weight });
    }

    /// `None` where the row is too young to be taken.
    fn weight(&self, shown: Timestamp, is_clicked: bool) -> Option<f32> {
        let age = self.now.since(shown);
        if age >= self.options.window_us {
            return Some(1.0);
        }
        match (self.options.young, self.delays) {
            (Young::Weigh { covered_min }, Some(delays)) if delays.covered(age) >= covered_min => {
                Some(delays.weight(age, is_clicked))
            }
            _ => None,
        }
    }
}
