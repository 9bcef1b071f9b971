//! The learner: from counted events to weights.
//!
//! A shown row is learned at once as "not clicked", and corrected when its click comes: the sum of
//! both steps is the gradient of the clicked row, so nothing has to wait for a window to pass, and
//! the model is better for an event as soon as it is counted. A label that is read before its row waits
//! for it. Only rows with a counted impression are
//! learned, so that lost pixels and scanners bias nothing. What is learned is the row that was
//! served, read from the log, with the place it was shown at. Of who was erased nothing is learned, nor
//! of who has said no since the row was served.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use reckon_disk::Disk;
use reckon_event::{
    Applied, Consent, Counted, Epoch, Erasures, Feature, Kind, NobodyErased, Position, Record,
    ServedCandidate, ServedRows, Subscriber, SubscriberError, Timestamp, Verdict, prediction_index,
    prediction_request,
};
use reckon_model::{Calibrator, CalibratorOptions, Linear, LinearOptions, log_odds, sigmoid};

use crate::early::{Early, Label, Sign};
use crate::history::History;
use crate::models::{Models, Online};
use crate::pending::{Known, Pending, Shown};
use crate::state::{State, Store};

/// How it learns.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the linear model.
    pub linear: LinearOptions,
    /// Rows wait until the watermark is this far past them, in microseconds: so long may an impression
    /// or a click come after its row. One that is read before its row waits as long.
    pub window: i64,
    /// Rows that wait take at most so many bytes.
    pub pending_bytes_max: usize,
    /// Under load a snapshot is published after so many epochs in which something was learned; an
    /// epoch of few rows is published at once.
    pub publish_epochs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            linear: LinearOptions::default(),
            window: 30 * Timestamp::MINUTE,
            pending_bytes_max: 256 << 20,
            publish_epochs: 4,
        }
    }
}

/// Served probabilities nearer to 0 and 1 than this are judged as this near: no row weighs without bound.
const PROBABILITY_MIN: f32 = 1e-6;
/// Publishing after so few rows copies little.
const LIGHT_ROWS: usize = 256;

/// Reads prediction records of some ranges of the log again, after a restart: rows that still wait
/// for their label stand there, and are not written twice.
pub type Recall = Box<
    dyn FnMut(
            &[(u16, Range<u64>)],
            &mut dyn FnMut(Position, &Record<'_>),
        ) -> Result<(), RecallError>
        + Send,
>;

/// Why rows could not be read again.
pub type RecallError = Box<dyn std::error::Error + Send + Sync>;

/// Learns online, and publishes.
pub struct Learner {
    options: Options,
    linear: Linear,
    calibrator: Calibrator,
    history: History,
    pending: Pending,
    early: Early,
    progress: Progress,
    epochs_learned: u32,
    /// As last told.
    orphans_told: u64,
    models: Arc<Models>,
    store: Store,
    generation: u32,
    recall: Option<(Recall, Waiting)>,
    erasures: Arc<dyn Erasures>,
    scratch: Vec<Feature>,
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub epoch: u64,
    pub version: u32,
    pub at: Timestamp,
    pub rows: u64,
    pub clicks: u64,
    /// The offset behind the last record of each partition it has seen.
    pub cut: Vec<u64>,
}

/// What was known of rows that waited when the state was written, from where on they stand in the
/// log, and the labels that waited for theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Waiting {
    pub known: Vec<(u64, u16, Known)>,
    pub from: Vec<(u16, u64)>,
    pub early: Vec<Label>,
}

impl Learner {
    /// Opens the learner in a folder. Damaged state is told and left out: the model begins anew.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        recall: Recall,
    ) -> Result<(Self, Option<String>), SubscriberError> {
        let (mut store, mut state, mut damage) = Store::open(disk, dir)?;
        if state.as_ref().is_some_and(|state| state.linear.options() != &options.linear) {
            store.forget()?;
            state = None;
            damage = Some("the model's options have changed".to_owned());
        }
        let is_restored = state.is_some();
        let State { mut linear, calibrator, history, progress, waiting } =
            state.unwrap_or_else(|| State::fresh(&options.linear));
        let online = Online {
            version: progress.version,
            epoch: progress.epoch,
            at: progress.at,
            rows: progress.rows,
            clicks: progress.clicks,
            weights: linear.publish(),
            calibration: calibrator.fit(),
        };
        let models = Arc::new(Models::new(online));
        models.tell(&history, 0, 0, 0);
        let learner = Learner {
            options,
            linear,
            calibrator,
            history,
            pending: Pending::default(),
            early: Early::default(),
            progress,
            epochs_learned: 0,
            orphans_told: 0,
            models,
            store,
            generation: 0,
            recall: is_restored.then_some((recall, waiting)),
            erasures: Arc::new(NobodyErased),
            scratch: Vec::new(),
        };
        Ok((learner, damage))
    }

    /// Leaves out whoever is erased.
    #[must_use]
    pub fn without(mut self, erasures: Arc<dyn Erasures>) -> Self {
        self.erasures = erasures;
        self
    }

    /// What readers take; shared for as long as anyone reads.
    pub fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models)
    }

    /// Takes in what waited when the state was written.
    fn recall(&mut self) -> Result<(), SubscriberError> {
        let Some((mut read, waiting)) = self.recall.take() else {
            return Ok(());
        };
        if let Err(error) = self.take_in(&mut read, &waiting) {
            // It is tried again: without these rows another model would be learned.
            self.recall = Some((read, waiting));
            return Err(SubscriberError::Failed(error));
        }
        Ok(())
    }

    fn take_in(&mut self, read: &mut Recall, waiting: &Waiting) -> Result<(), RecallError> {
        let mut known: HashMap<(u64, u16), Known> = waiting
            .known
            .iter()
            .map(|&(request, index, known)| ((request, index), known))
            .collect();
        let ranges: Vec<(u16, Range<u64>)> = waiting
            .from
            .iter()
            .filter_map(|&(partition, from)| {
                let to = *self.progress.cut.get(usize::from(partition))?;
                (from < to).then_some((partition, from..to))
            })
            .collect();
        let erasures = Arc::clone(&self.erasures);
        let mut take = |position: Position, record: &Record<'_>| {
            if erasures.is_erased(record.tenant, record.user) {
                return;
            }
            let Ok(rows) = ServedRows::decode_inputs(record.payload) else {
                return;
            };
            let is_waited_for =
                rows.candidates.iter().any(|one| known.contains_key(&(rows.request, one.index)));
            if !is_waited_for {
                return;
            }
            let request = rows.request;
            let indexes: Vec<u16> = rows.candidates.iter().map(|one| one.index).collect();
            self.pending.insert(rows, position, record.received);
            for index in indexes {
                if let Some((row, known)) =
                    self.pending.get_mut(request, index).zip(known.remove(&(request, index)))
                {
                    *row.2 = known;
                }
            }
        };
        read(&ranges, &mut take)?;
        self.early = Early::of(&waiting.early);
        Ok(())
    }

    /// Learns what an epoch holds; gives how many times. Rows first: what names them may stand in
    /// another partition, and come before them here.
    fn take(&mut self, counted: &Counted<'_>) -> usize {
        let mut learned = 0;
        for (position, record) in counted.records {
            self.progress.at = self.progress.at.max(record.received);
            if record.kind == Kind::Prediction && self.may_learn_of(record) {
                learned += self.wait_for(*position, record);
            }
        }
        for ((_, record), verdict) in counted.records.iter().zip(counted.verdicts) {
            let is_label = matches!(record.kind, Kind::Impression | Kind::Click)
                && *verdict == Some(Verdict::Counted);
            if is_label && self.may_learn_of(record) {
                learned += usize::from(self.label(record));
            }
        }
        learned
    }

    /// A row that was served under a "no" knows nothing of the user, and may be learned.
    fn may_learn_of(&self, record: &Record<'_>) -> bool {
        let served = record.claims.is_none_or(|c| Consent(c.consent).allows_features());
        let withdrawn =
            record.claims.is_some() && served && !Consent(record.consent).allows_features();
        !withdrawn && !self.erasures.is_erased(record.tenant, record.user)
    }

    /// Takes rows in, and learns from the labels that have waited for them; gives how many times.
    fn wait_for(&mut self, position: Position, record: &Record<'_>) -> usize {
        // A row that cannot be read is one that was never logged: its impression will be an orphan.
        let Ok(rows) = ServedRows::decode_inputs(record.payload) else {
            return 0;
        };
        let labels = self.early.take(&rows);
        self.pending.insert(rows, position, record.received);
        labels.iter().filter(|label| self.teach(label) == Taught::Learned).count()
    }

    /// Takes an impression or a click of a minted prediction; true where something was learned.
    fn label(&mut self, record: &Record<'_>) -> bool {
        let Some(claims) = record.claims.filter(|claims| claims.prediction_id != 0) else {
            return false;
        };
        let label = Label {
            at: record.received,
            prediction: claims.prediction_id,
            sign: if record.kind == Kind::Click { Sign::Clicked } else { Sign::Shown },
            place: if record.position == 0 { claims.position } else { record.position },
        };
        let taught = self.teach(&label);
        if taught == Taught::NoRow {
            self.early.hold(label);
        }
        taught == Taught::Learned
    }

    fn teach(&mut self, label: &Label) -> Taught {
        let request = prediction_request(label.prediction);
        let index = prediction_index(label.prediction);
        let Some((rows, candidate, known)) = self.pending.get_mut(request, index) else {
            return Taught::NoRow;
        };
        let row = &mut self.scratch;
        match (label.sign, known.shown) {
            (Sign::Shown, None) => {
                fill(row, rows, candidate, label.place);
                let was_clicked = known.clicked;
                self.linear.learn(row, was_clicked, 1.0);
                let shift = shift(&self.linear, label.place);
                let logit = candidate.logit + shift;
                let probability = sigmoid(log_odds(candidate.probability) + shift)
                    .clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
                let shown = Shown { at: label.at, place: label.place, logit, probability };
                known.shown = Some(shown);
                self.calibrator.observe(logit, 1.0);
                self.history.impression(shown.at, probability);
                if was_clicked {
                    self.calibrator.click(logit, 1.0);
                    self.history.click(shown.at, probability);
                    self.progress.clicks += 1;
                }
                self.progress.rows += 1;
                Taught::Learned
            }
            (Sign::Clicked, Some(shown)) if !known.clicked => {
                known.clicked = true;
                fill(row, rows, candidate, shown.place);
                self.linear.correct(row, 1.0);
                self.calibrator.click(shown.logit, 1.0);
                self.history.click(shown.at, shown.probability);
                self.progress.clicks += 1;
                Taught::Learned
            }
            (Sign::Clicked, None) => {
                // The click came first; it is learned with its impression.
                known.clicked = true;
                Taught::Nothing
            }
            _ => Taught::Nothing,
        }
    }

    fn publish(&mut self) {
        self.progress.version += 1;
        self.epochs_learned = 0;
        self.models.publish(Online {
            version: self.progress.version,
            epoch: self.progress.epoch,
            at: self.progress.at,
            rows: self.progress.rows,
            clicks: self.progress.clicks,
            weights: self.linear.publish(),
            calibration: self.calibrator.fit(),
        });
        self.tell();
    }

    fn tell(&mut self) {
        self.orphans_told = self.early.orphans();
        let (rows, dropped) = (self.pending.rows(), self.pending.dropped());
        self.models.tell(&self.history, rows, dropped, self.orphans_told);
    }

    fn advance(&mut self, epoch: &Epoch, watermark: Timestamp) {
        self.progress.epoch = epoch.number;
        for bound in &epoch.bounds {
            let partition = usize::from(bound.partition);
            if self.progress.cut.len() <= partition {
                self.progress.cut.resize(partition + 1, 0);
            }
            self.progress.cut[partition] = bound.to;
        }
        // The newest record may be far ahead of a topic that is behind; the watermark never is.
        let before = watermark.plus(-self.options.window);
        self.pending.expire(before, self.options.pending_bytes_max);
        self.early.expire(before);
    }

    fn waiting(&self) -> Waiting {
        let known = self.pending.known().collect();
        let mut from: HashMap<u16, u64> = HashMap::new();
        for position in self.pending.positions() {
            let first = from.entry(position.partition).or_insert(position.offset);
            *first = position.offset.min(*first);
        }
        let from = from.into_iter().collect();
        let mut waiting = Waiting { known, from, early: self.early.labels().collect() };
        waiting.known.sort_unstable_by_key(|&(request, index, _)| (request, index));
        waiting.from.sort_unstable();
        waiting
    }
}

/// What a label did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taught {
    /// Something was learned from it.
    Learned,
    /// It is noted, or was known.
    Nothing,
    /// Its row is not there.
    NoRow,
}

/// The row as it was shown: shared inputs, the candidate's own, and its place.
fn fill(row: &mut Vec<Feature>, rows: &ServedRows, candidate: &ServedCandidate, place: u16) {
    row.clear();
    row.extend_from_slice(&rows.shared);
    row.extend_from_slice(&candidate.features);
    row.extend(Feature::place(place));
}

/// What another place than the first adds to log odds, by what is known of places now.
fn shift(linear: &Linear, place: u16) -> f32 {
    let of = |place| Feature::place(place).map_or(0.0, |input| linear.logit(&[input]));
    if place <= 1 { 0.0 } else { of(place) - of(1) }
}

impl Subscriber for Learner {
    fn name(&self) -> &'static str {
        "learner"
    }

    fn persisted(&self) -> Option<u64> {
        // A folder from before there was a learner is fed from the checkpoint on.
        self.store.persisted()
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        if epoch.generation < self.generation {
            return Err(SubscriberError::Fenced(self.generation));
        }
        self.generation = epoch.generation;
        if epoch.number <= self.progress.epoch {
            return Ok(Applied::Again);
        }
        self.recall()?;
        let learned = self.take(counted);
        self.advance(epoch, counted.watermark);
        self.epochs_learned += u32::from(learned > 0);
        let is_light = learned > 0 && learned <= LIGHT_ROWS;
        if is_light || self.epochs_learned >= self.options.publish_epochs {
            self.publish();
        } else if self.early.orphans() > self.orphans_told {
            // Where no row comes nothing is learned, nor published: but that is told.
            self.tell();
        }
        Ok(Applied::Fresh)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        if self.store.persisted() == Some(self.progress.epoch) {
            return Ok(());
        }
        self.recall()?;
        let waiting = self.waiting();
        let bytes =
            State::encode(&self.linear, &self.calibrator, &self.history, &self.progress, &waiting);
        self.store.write(self.progress.epoch, &bytes)
    }
}

impl State {
    fn fresh(options: &LinearOptions) -> Self {
        State {
            linear: Linear::new(*options),
            calibrator: Calibrator::new(CalibratorOptions::default()),
            history: History::default(),
            progress: Progress::default(),
            waiting: Waiting::default(),
        }
    }
}
