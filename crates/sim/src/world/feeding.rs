//! How records come into the log: in groups, until it says that they are durable.
//!
//! An append that was answered with "unknown" is made again with the ids it had, behind whatever a new
//! process finds in the log. What stands there then is what is true.

use std::sync::Arc;

use reckon_event::{Position, RecordId, stamp};
use reckon_eventlog::{EventLog, LaneHealth, Outcome, Refusal};

use super::World;
use crate::Happening;
use crate::decisions::Decided;
use crate::feeds::lock;
use crate::machine::{Ending, LOG_FAULTS};
use crate::traffic::Sent;

/// Read at a time when the log is read back.
const READ_BYTES: usize = 1 << 16;

/// Records of one partition that are appended together.
struct Group {
    partition: u16,
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    is_stamped: bool,
}

impl World<'_> {
    /// The log, however often it takes to open it.
    pub fn log(&mut self) -> Result<Arc<dyn EventLog>, String> {
        loop {
            match self.machine.log() {
                Ok(log) => {
                    let ends = self.machine.ends();
                    let known = lock(&self.truth).ends.clone();
                    if ends.iter().zip(&known).any(|(end, known)| end < known) {
                        return Err(format!("the log ends at {ends:?} and had {known:?}"));
                    }
                    return Ok(log);
                }
                Err(error) => self.fail(&error.to_string(), None)?,
            }
        }
    }

    /// Appends the next records, durably.
    pub(super) fn feed(&mut self) -> Result<(), String> {
        if self.random.percent(30) {
            let armed = self.machine.log_disk.arm(&mut self.random, &LOG_FAULTS, 10);
            self.story.tell(|| format!("armed: {armed:?}"));
        }
        if self.random.percent(40) {
            let (now, partitions) = (self.traffic.now, self.machine.partitions);
            let decided = self.decisions.draw(&mut self.random, now, partitions);
            self.decide(decided)?;
        }
        let count = (1 + self.random.below(60)).min(self.left);
        self.left -= count;
        let tally = Arc::clone(&self.tally);
        let sent = (0..count).map(|_| self.traffic.next(&mut lock(&tally))).collect();
        self.story.tell(|| format!("{count} records come"));
        self.send(sent)
    }

    pub(super) fn decide(&mut self, decided: Decided) -> Result<(), String> {
        self.note(decided.happening);
        self.send(decided.sent)
    }

    fn send(&mut self, sent: Vec<Sent>) -> Result<(), String> {
        for group in self.group(sent) {
            self.append(group)?;
        }
        Ok(())
    }

    /// Records without an id of their own share an append, a few at a time.
    fn group(&mut self, sent: Vec<Sent>) -> Vec<Group> {
        let most = 1 + self.random.below(6) as usize;
        let mut groups: Vec<Group> = Vec::new();
        for Sent { slot, bytes, is_stamped } in sent {
            let partition = slot.range_of(self.machine.partitions);
            let last = groups.iter_mut().rev().find(|group| group.partition == partition);
            match last.filter(|last| !is_stamped && !last.is_stamped && last.lengths.len() < most) {
                Some(last) => {
                    last.lengths.push(bytes.len());
                    last.bytes.extend(bytes);
                }
                None => {
                    let lengths = vec![bytes.len()];
                    groups.push(Group { partition, bytes, lengths, is_stamped });
                }
            }
        }
        groups
    }

    /// Until the log says that it is durable.
    fn append(&mut self, mut group: Group) -> Result<(), String> {
        let mut was_unknown = false;
        loop {
            let log = self.log()?;
            let receipt = log.append(group.partition, &group.bytes, group.lengths.len() as u32);
            let first = receipt.first;
            let outcome = receipt.wait();
            if let Outcome::Durable(_) = outcome {
                return self.read_back(&*log, &group, was_unknown);
            }
            drop(log);
            self.refused(outcome)?;
            if outcome == Outcome::Unknown {
                was_unknown = true;
                group.stamp(first);
                self.note(Happening::AppendedAgain);
            }
        }
    }

    /// An append is not in, or may not be: what was armed must be behind it.
    fn refused(&mut self, outcome: Outcome) -> Result<(), String> {
        self.story.tell(|| format!("the log answers {outcome:?}"));
        let Some(what) = self.machine.log_disk.take_struck(true) else {
            return Err(format!("the log answers {outcome:?} though nothing was to fail"));
        };
        self.note(what);
        match outcome {
            Outcome::NotWritten(_) if !self.machine.has_power() => {
                let running = self.running.take();
                self.end(Ending::PowerCut, running);
                Ok(())
            }
            Outcome::NotWritten(Refusal::Full) => Ok(()),
            Outcome::NotWritten(Refusal::Fenced) => self.await_repair(),
            Outcome::Unknown => {
                let is_cut = !self.machine.has_power() || self.random.percent(50);
                let running = self.running.take();
                self.end(if is_cut { Ending::PowerCut } else { Ending::Kill }, running);
                Ok(())
            }
            _ => Err(format!("the log answers {outcome:?}")),
        }
    }

    /// The lane was repaired before it answered, and opens in a moment.
    fn await_repair(&mut self) -> Result<(), String> {
        let log = self.machine.log().map_err(|error| error.to_string())?;
        while log.health().iter().any(|lane| *lane != LaneHealth::Writable) {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// What stands in the log now is what is true.
    fn read_back(
        &mut self,
        log: &dyn EventLog,
        group: &Group,
        was_unknown: bool,
    ) -> Result<(), String> {
        let partition = group.partition;
        let mut from = lock(&self.truth).ends[usize::from(partition)];
        let mut found = 0;
        while from < log.range(partition).end {
            let chunk = log.read(partition, from, READ_BYTES).map_err(|error| error.to_string())?;
            for entry in &chunk.entries {
                let bytes = &chunk.bytes[entry.bytes.clone()];
                let position = Position { partition, offset: entry.offset };
                lock(&self.truth).take(position, bytes)?;
                self.traffic.learn(bytes);
                found += 1;
            }
            from = chunk.next;
        }
        lock(&self.tally).records += found;
        match found as usize {
            count if count == group.lengths.len() => Ok(()),
            count if was_unknown && count > group.lengths.len() => {
                self.note(Happening::WasIn);
                Ok(())
            }
            count => Err(format!("{} were appended, {count} are in", group.lengths.len())),
        }
    }
}

impl Group {
    /// Gives the records the ids they were appended with.
    fn stamp(&mut self, first: RecordId) {
        let mut rest = self.bytes.as_mut_slice();
        for (nth, &length) in (0..).zip(&self.lengths) {
            let (record, behind) = rest.split_at_mut(length);
            let id = RecordId { sequence: first.sequence + nth, ..first };
            stamp(record, id).expect("it was encoded here");
            rest = behind;
        }
        self.is_stamped = true;
    }
}
