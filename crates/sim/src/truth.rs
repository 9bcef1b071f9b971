//! What is true of a history: the records as they stand in the log, and what plain sets say of them.
//!
//! Records are read back from the log as soon as they are in it, before anything may let go of them,
//! and judged by [`Recount`] at once. It lives through every crash: it is what the house is held
//! against, not a part of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use reckon_count::Policy;
use reckon_count::naive::Recount;
use reckon_event::{Counted, Epoch, Position, Record, Timestamp, Verdict};

/// One record of the log.
pub(crate) struct Told {
    pub position: Position,
    pub bytes: Vec<u8>,
    /// As steps one and two judge it.
    pub first: Option<Verdict>,
}

impl Told {
    pub fn record(&self) -> Record<'_> {
        Record::decode(&self.bytes).expect("it was decoded when it was read").0
    }
}

/// Everything that is in the log, in the order in which it came to be there.
pub(crate) struct Truth {
    pub recount: Recount,
    pub policy: Policy,
    pub told: Vec<Told>,
    pub places: BTreeMap<Position, usize>,
    /// By partition, the offset behind the last record that was read back.
    pub ends: Vec<u64>,
    /// By number, a digest of all that an epoch has brought.
    epochs: BTreeMap<u64, u64>,
    /// The first thing that was not as it should be.
    pub breach: Option<String>,
}

/// What an epoch was for those who have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Fresh,
    Again,
}

impl Truth {
    pub fn new(policy: Policy, partitions: u16) -> Self {
        Truth {
            recount: Recount::default(),
            policy,
            told: Vec::new(),
            places: BTreeMap::new(),
            ends: vec![0; usize::from(partitions)],
            epochs: BTreeMap::new(),
            breach: None,
        }
    }

    /// Takes a record that stands in the log; they come in the order of their offsets.
    pub fn take(&mut self, position: Position, bytes: &[u8]) -> Result<(), String> {
        let (record, _) = Record::decode_checked(bytes)
            .map_err(|error| format!("{position:?} of the log does not read back: {error}"))?;
        let first = self.recount.take(&record, &self.policy);
        self.places.insert(position, self.told.len());
        self.told.push(Told { position, bytes: bytes.to_vec(), first });
        self.ends[usize::from(position.partition)] = position.offset + 1;
        Ok(())
    }

    /// Holds an epoch against what its records are worth, and against the same epoch before.
    pub fn look(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> (Seen, u64) {
        for ((position, _), verdict) in counted.records.iter().zip(counted.verdicts) {
            let expected = self.places.get(position).map(|&at| self.told[at].first);
            if expected != Some(*verdict) {
                self.note_breach(format!(
                    "epoch {} gives {position:?} {verdict:?}, plain sets give {expected:?}",
                    epoch.number
                ));
            }
        }
        let digest = digest_of(epoch, counted);
        let known = self.epochs.insert(epoch.number, digest);
        if known.is_some_and(|known| known != digest) {
            self.note_breach(format!("epoch {} came again, but not the same", epoch.number));
        }
        let seen = if known.is_some() { Seen::Again } else { Seen::Fresh };
        (seen, counted.records.len() as u64)
    }

    pub fn note_breach(&mut self, what: String) {
        self.breach.get_or_insert(what);
    }

    /// By record, the verdict in force once every minute below `watermark` is judged. To be called
    /// once, at the end.
    pub fn settle(&mut self, watermark: Timestamp) -> Vec<Option<Verdict>> {
        let mut in_force: Vec<Option<Verdict>> = self.told.iter().map(|told| told.first).collect();
        for (number, verdict) in self.recount.settle(watermark) {
            in_force[number as usize] = Some(verdict);
        }
        in_force
    }
}

/// Of everything but the generation, which a replay may raise.
fn digest_of(epoch: &Epoch, counted: &Counted<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (epoch.number, &epoch.bounds, epoch.stage, epoch.group).hash(&mut hasher);
    for ((position, record), verdict) in counted.records.iter().zip(counted.verdicts) {
        (position, record.id, verdict.map(Verdict::code)).hash(&mut hasher);
    }
    let cells = counted.deltas.cells.iter();
    let mut cells: Vec<_> = cells.map(|(cell, sum)| (cell, sum.count, sum.spend)).collect();
    cells.sort_unstable();
    cells.hash(&mut hasher);
    for revision in counted.revisions {
        (revision.position, revision.verdict, revision.rules_version).hash(&mut hasher);
    }
    counted.watermark.hash(&mut hasher);
    hasher.finish()
}
