//! The second stage: behavioural rules on closed minutes, behind the verdicts of all slots.
//!
//! ```text
//! records -> watermark, rule sets          survivors -> their minutes, which become dirty
//! end of an epoch: has the watermark passed a minute? -> judge what is due -> revisions
//! ```
//!
//! At any moment the verdicts in force of a minute are those of [`judge`] over the rows that were
//! there when it was judged last, and those of the minute before. So a revision is the difference of
//! two results of one pure function, and nothing else is remembered of a verdict.
//!
//! Decision: both stages move in one epoch. The first one's survivors, of every partition this counter
//! reads, are the second one's input; what it judges, and when, follows from records and ticks alone.
//! An epoch made again after a crash therefore brings the same revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use reckon_count::rules::{
    CLOSED_AFTER, Judged, MinuteKey, MinuteSet, RuleSet, Rules, Survivor, judge as judge_rows,
};
use reckon_disk::Disk;
use reckon_event::{Control, Kind, Position, Record, Revision, SourceClass, Timestamp, Verdict};

use crate::Error;
use crate::bytes::{Reader, put_long};
use crate::minutes::{Minutes, read_key};

/// A minute that changes is judged again when an eighth of its age has passed, in powers of two of
/// minutes up to this: old minutes of a busy day are not judged for every click that comes late.
const PERIOD_MAX: i64 = 16;

/// What is known of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Survivors so far.
    rows: u32,
    /// Those that its verdicts in force were judged from: the first so many.
    judged: u32,
    /// The latest receive time of any partition when the last one came.
    seen: Timestamp,
}

/// The state of the second stage.
pub(crate) struct Judgement {
    minutes: Minutes,
    entries: BTreeMap<MinuteKey, Entry>,
    /// Minutes with rows that have not been judged.
    dirty: BTreeSet<MinuteKey>,
    /// The highest receive time by partition.
    received: Vec<Timestamp>,
    /// All rule sets the log has told of.
    rules: Arc<Rules>,
    /// Those that the verdicts in force were judged by.
    in_force: Arc<Rules>,
    /// The watermark at the last judgement.
    judged_at: Timestamp,
    /// A record has asked for everything to be judged.
    is_settling: bool,
}

/// Up to where figures are judged, by source class: the start of the first minute that has rows which
/// were not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unjudged {
    /// Of clicks and pixels.
    pub server: Option<Timestamp>,
    /// Of batches.
    pub client: Option<Timestamp>,
}

impl Judgement {
    /// Takes up what a checkpoint holds; of no bytes it begins.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        partitions: usize,
        bytes: &[u8],
    ) -> Result<Self, Error> {
        let damaged = |what: &str| Error::damaged(dir.display().to_string(), what);
        let kept = if bytes.is_empty() {
            Kept { received: vec![Timestamp::default(); partitions], ..Kept::default() }
        } else {
            Kept::read(bytes).ok_or_else(|| damaged("state of the rules"))?
        };
        let minutes = Minutes::open(disk, dir, &kept.runs)?;
        let rows = kept.entries.iter().map(|(key, entry)| (*key, entry.rows)).collect();
        if kept.received.len() != partitions || minutes.on_disk() != rows {
            return Err(damaged("minutes and their runs do not fit"));
        }
        let is_dirty = |(_, entry): &(&MinuteKey, &Entry)| entry.judged < entry.rows;
        let dirty = kept.entries.iter().filter(is_dirty).map(|(key, _)| *key).collect();
        Ok(Judgement {
            minutes,
            dirty,
            entries: kept.entries,
            received: kept.received,
            rules: Arc::new(kept.rules),
            in_force: Arc::new(kept.in_force),
            judged_at: kept.judged_at,
            is_settling: false,
        })
    }

    /// The receive time before which everything has been read: the least over all partitions.
    pub fn watermark(&self) -> Timestamp {
        self.received.iter().copied().min().unwrap_or_default()
    }

    /// By partition, the highest receive time of any record.
    pub fn received(&self) -> &[Timestamp] {
        &self.received
    }

    /// Survivors that stand only in memory.
    pub const fn in_memory(&self) -> usize {
        self.minutes.in_memory()
    }

    /// All rule sets the log has told of.
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Where judging has work left.
    pub fn unjudged(&self) -> Unjudged {
        if self.rules.sets().iter().all(|set| set.rules.is_empty()) {
            return Unjudged::default();
        }
        let first = |class| {
            self.dirty.iter().find(|key| key.class == class).map(|key: &MinuteKey| key.start())
        };
        Unjudged { server: first(SourceClass::Server), client: first(SourceClass::Client) }
    }

    /// Notes a record's time, and what a control record says.
    pub fn note(&mut self, position: Position, record: &Record<'_>) -> Result<(), Error> {
        let received = &mut self.received[usize::from(position.partition)];
        *received = record.received.max(*received);
        if record.kind == Kind::Control { self.control(position, record) } else { Ok(()) }
    }

    fn control(&mut self, position: Position, record: &Record<'_>) -> Result<(), Error> {
        let Position { partition, offset } = position;
        let control = Control::decode(record.payload).map_err(|source| Error::Record {
            partition,
            offset,
            source,
        })?;
        match control {
            Some(Control::Rules { version, from, rules }) => {
                let set = RuleSet::decode(version, from, rules).map_err(|error| {
                    Error::damaged(format!("{partition}/{offset}"), error.to_string())
                })?;
                Arc::make_mut(&mut self.rules).take(set);
            }
            Some(Control::Settle) => self.is_settling = true,
            Some(Control::Tick) | None => {}
        }
        Ok(())
    }

    /// Adds survivors of the first stage.
    pub fn add(&mut self, clicks: &[Survivor]) {
        let seen = self.received.iter().copied().max().unwrap_or_default();
        for click in clicks {
            let key = self.minutes.add(click);
            let fresh = Entry { rows: 0, judged: 0, seen };
            let entry = self.entries.entry(key).or_insert(fresh);
            if entry.rows == entry.judged {
                self.dirty.insert(key);
            }
            entry.rows += 1;
            entry.seen = seen;
        }
    }

    /// Judges what is due at the end of an epoch. Minutes that nothing has come to for `horizon` are
    /// forgotten: what they were judged as stays.
    pub fn judge(&mut self, horizon: i64) -> Result<Vec<Revision>, Error> {
        let watermark = self.watermark();
        let minute = |at: Timestamp| at.plus(-CLOSED_AFTER).0.div_euclid(Timestamp::MINUTE);
        let has_passed = minute(watermark) > minute(self.judged_at);
        let is_swapped = self.rules != self.in_force;
        if !(has_passed || is_swapped || self.is_settling) {
            return Ok(Vec::new());
        }
        let due = self.due(watermark);
        let affected = self.affected(&due);
        let mut revisions = Vec::new();
        let mut before = None;
        for &key in &affected {
            before = Some(self.revise(key, &due, before.take(), &mut revisions)?);
        }
        for key in &due {
            let entry = self.entries.get_mut(key).expect("what is due has an entry");
            entry.judged = entry.rows;
            self.dirty.remove(key);
        }
        if is_swapped {
            self.in_force = Arc::clone(&self.rules);
        }
        self.judged_at = watermark;
        self.is_settling = false;
        self.forget(watermark, horizon);
        Ok(revisions)
    }

    /// The dirty minutes that are judged now.
    fn due(&self, watermark: Timestamp) -> BTreeSet<MinuteKey> {
        let is_due = |key: &&MinuteKey| {
            let is_closed = key.end().plus(CLOSED_AFTER) <= watermark;
            let is_new = self.entries[*key].judged == 0;
            let period = period_of(watermark.since(key.end()));
            let turn = |at: Timestamp| at.0.div_euclid(period * Timestamp::MINUTE);
            let is_its_turn = turn(watermark) > turn(self.judged_at);
            is_closed && (is_new || self.is_settling || is_its_turn)
        };
        self.dirty.iter().filter(is_due).copied().collect()
    }

    /// Everything whose verdicts may change: what is due, the minutes behind it, whose rules look back,
    /// and those that other rules apply to now.
    fn affected(&self, due: &BTreeSet<MinuteKey>) -> BTreeSet<MinuteKey> {
        let is_judged = |key: &MinuteKey| self.entries.get(key).is_some_and(|e| e.judged > 0);
        let behind = due.iter().map(MinuteKey::after).filter(is_judged);
        let mut affected: BTreeSet<MinuteKey> = due.iter().copied().chain(behind).collect();
        if self.rules != self.in_force {
            let judged = self.entries.keys().filter(|key| is_judged(key));
            let others = judged.filter(|key| self.rules.at(**key) != self.in_force.at(**key));
            affected.extend(others);
        }
        affected
    }

    /// Adds the revisions of one minute; gives its survivors, for the minute behind it.
    fn revise(
        &self,
        key: MinuteKey,
        due: &BTreeSet<MinuteKey>,
        last: Option<(MinuteKey, MinuteSet)>,
        revisions: &mut Vec<Revision>,
    ) -> Result<(MinuteKey, MinuteSet), Error> {
        let set = self.minutes.load(key)?;
        let entry = self.entries[&key];
        let earlier = match last {
            Some((last, set)) if last == key.before() => set,
            _ if self.entries.contains_key(&key.before()) => self.minutes.load(key.before())?,
            _ => MinuteSet::default(),
        };
        let earlier_entry = self.entries.get(&key.before()).copied();
        let judged_now = |key: MinuteKey, entry: Entry| {
            let rows = if due.contains(&key) { entry.rows } else { entry.judged };
            rows as usize
        };
        let then = earlier_entry.map_or(0, |entry| entry.judged as usize);
        let now = earlier_entry.map_or(0, |entry| judged_now(key.before(), entry));
        let old_rules = self.in_force.at(key);
        let new_rules = self.rules.at(key);
        let old = verdicts(old_rules, (&set, entry.judged as usize), (&earlier, then));
        let new = verdicts(new_rules, (&set, judged_now(key, entry)), (&earlier, now));
        let version = new_rules.map_or(0, |set| set.version);
        for (at, (row, &verdict)) in set.rows.iter().zip(&new).enumerate() {
            let was = old.get(at).copied().unwrap_or(Verdict::Counted);
            if was != verdict {
                revisions.push(set.revision(key, row, (was, verdict), version));
            }
        }
        Ok((key, set))
    }

    fn forget(&mut self, watermark: Timestamp, horizon: i64) {
        let is_past =
            |entry: &Entry| entry.judged == entry.rows && watermark.since(entry.seen) >= horizon;
        let past: Vec<MinuteKey> =
            self.entries.iter().filter(|(_, entry)| is_past(entry)).map(|(key, _)| *key).collect();
        for key in past {
            self.entries.remove(&key);
            self.minutes.forget(key);
        }
    }

    /// Writes survivors to runs; gives the bytes for the checkpoint.
    pub fn persist(&mut self) -> Result<Vec<u8>, Error> {
        let runs = self.minutes.persist()?;
        let kept = Kept {
            runs,
            rules: (*self.rules).clone(),
            in_force: (*self.in_force).clone(),
            judged_at: self.judged_at,
            received: self.received.clone(),
            entries: self.entries.clone(),
        };
        Ok(kept.encode())
    }

    /// Removes the files that no checkpoint in `kept` names.
    pub fn remove_unnamed<'a>(&self, kept: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
        self.minutes.remove_unnamed(kept.filter_map(runs_of))
    }
}

/// A minute of this age, in microseconds behind its end, is judged again every so many minutes.
fn period_of(age: i64) -> i64 {
    let eighth = (age / Timestamp::MINUTE / 8).clamp(1, PERIOD_MAX);
    1 << eighth.ilog2()
}

/// The verdicts of the first rows of a minute; all counted where no rules apply.
fn verdicts(
    rules: Option<&RuleSet>,
    (set, rows): (&MinuteSet, usize),
    (earlier, earlier_rows): (&MinuteSet, usize),
) -> Vec<Verdict> {
    match rules {
        Some(rules) if rows > 0 => {
            let context = Judged::first(earlier, earlier_rows);
            judge_rows(rules, Judged::first(set, rows), Some(context))
        }
        _ => vec![Verdict::Counted; rows],
    }
}

/// What a checkpoint keeps of the second stage.
///
/// ```text
/// | runs: length u64, bytes | rules | rules in force | judged at i64 |
/// | partitions u16 | received i64 * | minutes u32 |
/// | (class u8, minute i64, rows u32, judged u32, seen i64) * |
/// ```
#[derive(Default)]
struct Kept {
    runs: Vec<u8>,
    rules: Rules,
    in_force: Rules,
    judged_at: Timestamp,
    received: Vec<Timestamp>,
    entries: BTreeMap<MinuteKey, Entry>,
}

impl Kept {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_long(&mut out, &self.runs);
        self.rules.encode(&mut out);
        self.in_force.encode(&mut out);
        out.extend_from_slice(&self.judged_at.0.to_le_bytes());
        out.extend_from_slice(&(self.received.len() as u16).to_le_bytes());
        for received in &self.received {
            out.extend_from_slice(&received.0.to_le_bytes());
        }
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for (key, entry) in &self.entries {
            out.push(key.class as u8);
            out.extend_from_slice(&key.minute.to_le_bytes());
            out.extend_from_slice(&entry.rows.to_le_bytes());
            out.extend_from_slice(&entry.judged.to_le_bytes());
            out.extend_from_slice(&entry.seen.0.to_le_bytes());
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let runs = reader.long()?.to_vec();
        let rules = Rules::decode(&mut reader.0).ok()?;
        let in_force = Rules::decode(&mut reader.0).ok()?;
        let judged_at = Timestamp(reader.i64()?);
        let partitions = reader.u16()?;
        let received =
            (0..partitions).map(|_| reader.i64().map(Timestamp)).collect::<Option<_>>()?;
        let mut entries = BTreeMap::new();
        for _ in 0..reader.u32()? {
            let key = read_key(&mut reader)?;
            let (rows, judged) = (reader.u32()?, reader.u32()?);
            let entry = Entry { rows, judged, seen: Timestamp(reader.i64()?) };
            entries.insert(key, entry);
        }
        reader.0.is_empty().then_some(Kept { runs, rules, in_force, judged_at, received, entries })
    }
}

/// The names of the runs in a checkpoint's bytes.
fn runs_of(bytes: &[u8]) -> Option<&[u8]> {
    Reader(bytes).long()
}

/// Reads every minute a checkpoint relies on; gives how many survivors they hold.
pub(crate) fn check(disk: &dyn Disk, dir: &Path, bytes: &[u8]) -> Result<u64, Error> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let damaged = || Error::damaged(dir.display().to_string(), "state of the rules");
    crate::minutes::check(disk, dir, &Kept::read(bytes).ok_or_else(damaged)?.runs)
}
