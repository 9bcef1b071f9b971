//! What the lake's thread tells the others: how far it is, what it failed with, who reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Manifest;
use crate::manifest::CoveredTo;

/// How far the lake is. Log segments below these positions, and epochs up to this one, are durable
/// in it and need not be kept for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// The number of the state.
    pub number: u64,
    /// The last epoch that is in the lake.
    pub epoch: u64,
    /// The offset behind the last record, by partition.
    pub positions: Vec<CoveredTo>,
    /// How many files the lake has.
    pub file_count: usize,
    /// How many records are in it.
    pub record_count: u64,
}

#[derive(Default)]
struct State {
    covered: Covered,
    /// By the number of the state that is read: how many read it.
    leases: BTreeMap<u64, usize>,
    failure: Option<String>,
    trouble: Option<String>,
}

#[derive(Default)]
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    /// A panic elsewhere leaves plain values here, each of them whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, manifest: &Manifest) {
        self.state().covered = Covered {
            number: manifest.number,
            epoch: manifest.epoch,
            positions: manifest.positions.clone(),
            file_count: manifest.files.len(),
            record_count: manifest.record_count(),
        };
    }

    pub fn covered(&self) -> Covered {
        self.state().covered.clone()
    }

    pub fn set_failure(&self, failure: Option<String>) {
        self.state().failure = failure;
    }

    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    pub fn set_trouble(&self, trouble: Option<String>) {
        self.state().trouble = trouble;
    }

    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    pub fn lowest_lease(&self) -> Option<u64> {
        self.state().leases.keys().next().copied()
    }
}

/// Holds the files of a state: none of them is removed while it lives, but by an erasure.
pub struct Lease {
    shared: Arc<Shared>,
    number: u64,
}

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let mut state = shared.state();
        let number = state.covered.number;
        *state.leases.entry(number).or_default() += 1;
        drop(state);
        Lease { shared, number }
    }

    /// The number of the oldest state whose files it holds.
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(count) = state.leases.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                state.leases.remove(&self.number);
            }
        }
    }
}
