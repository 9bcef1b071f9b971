//! From views of pasts, a request and its candidates to rows: one pure computation for serving,
//! training and backfill.
//!
//! It goes entity by entity, not row by row: a past that several candidates share is viewed once, and a
//! column is computed over all views of its entity before it goes into the rows.

mod calculate;
mod known;

use reckon_event::{Micros, Timestamp};

use crate::happened::{Ad, Key, Parts, hour_of_day};
use crate::plan::Plan;

pub use calculate::ln;

/// What is known of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Who and where; ad, campaign and category are the candidates'.
    pub parts: Parts,
    /// When.
    pub now: Timestamp,
    /// How many impressions the session has had, where the client says it. Else the user's impressions
    /// of the last hour stand for it.
    pub session_depth: Option<u32>,
    /// Key of the user's language; 0 where unknown.
    pub locale: u64,
    /// Keys of the categories the profile names.
    pub interests: &'a [u64],
}

/// An ad that might be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// What the catalog says.
    pub ad: Ad,
    /// What a click costs.
    pub price: Micros,
    /// Where it would be shown, from 1; 0 where that is not known.
    pub position: u16,
}

/// A candidate, or a request, has no past of an entity.
pub(crate) const NONE: u32 = u32::MAX;

/// The pasts of one entity that a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Each once.
    pub keys: Vec<Key>,
    /// Which of them is each candidate's; one alone for what all share. [`NONE`] where none is.
    pub index: Vec<u32>,
    /// Views, one a key; anything where there is no past.
    pub views: Vec<f32>,
    /// Whether there is a past.
    pub is_there: Vec<bool>,
    /// Places of keys, by hash: for those of candidates.
    table: Vec<u32>,
}

impl Asked {
    /// The view for a candidate; `None` where there is no past.
    fn of(&self, candidate: usize, width: usize) -> Option<&[f32]> {
        let index = *self.index.get(candidate).or(self.index.first())?;
        if index == NONE || !self.is_there[index as usize] {
            return None;
        }
        Some(&self.views[index as usize * width..][..width])
    }
}

/// What a batch of pasts looked like at one cut. It is a caller's own, and used again.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// The second they are seen from: the request's, or that of the latest event, if that is later.
    pub(crate) moment: u32,
    pub(crate) asked: Vec<Asked>,
    /// The category the user clicked most; 0 where there is none.
    pub(crate) top_category: u64,
    pub(crate) by_shard: Vec<u32>,
    scratch: calculate::Scratch,
    fields: Vec<u64>,
}

/// Rows, row-major: one for each candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Columns of the plan; NaN where missing.
    pub numeric: Vec<f32>,
    /// Fields of the plan; 0 where missing.
    pub keys: Vec<u64>,
}

impl Views {
    /// The second everything was seen from.
    pub fn moment(&self) -> u32 {
        self.moment
    }

    /// Resolves which pasts are asked for.
    pub(crate) fn ask(&mut self, plan: &Plan, request: &Request<'_>, candidates: &[Candidate]) {
        let hour = hour_of_day(second_of(request.now));
        self.asked.resize_with(plan.entities.len(), Asked::default);
        self.top_category = 0;
        let size = (candidates.len() * 2).next_power_of_two();
        for (entity, asked) in plan.entities.iter().zip(&mut self.asked) {
            asked.keys.clear();
            asked.index.clear();
            if entity.is_shared() {
                let key = request.parts.key(entity, hour);
                asked.index.push(if key.is_some() { 0 } else { NONE });
                asked.keys.extend(key);
            } else {
                asked.table.clear();
                asked.table.resize(size, NONE);
            }
        }
        for candidate in candidates {
            let parts = parts(request, candidate);
            for (entity, asked) in plan.entities.iter().zip(&mut self.asked) {
                if !entity.is_shared() {
                    let key = parts.key(entity, hour);
                    let number =
                        key.map_or(NONE, |key| number(&mut asked.table, &mut asked.keys, key));
                    asked.index.push(number);
                }
            }
        }
        for (entity, asked) in plan.entities.iter().zip(&mut self.asked) {
            asked.views.resize(asked.keys.len() * entity.width(), 0.0);
            asked.is_there.resize(asked.keys.len(), false);
        }
    }
}

/// The place of a key among keys; it is added where it is new.
fn number(table: &mut [u32], keys: &mut Vec<Key>, key: Key) -> u32 {
    let mut at = key.id as usize & (table.len() - 1);
    loop {
        let slot = table[at];
        if slot == NONE {
            table[at] = keys.len() as u32;
            keys.push(key);
            return table[at];
        }
        if keys[slot as usize] == key {
            return slot;
        }
        at = (at + 1) & (table.len() - 1);
    }
}

/// A request's parts with a candidate's.
pub(crate) fn parts(request: &Request<'_>, candidate: &Candidate) -> Parts {
    let Ad { ad, campaign, category, .. } = candidate.ad;
    Parts { ad, campaign, category, ..request.parts }
}

pub(crate) fn second_of(at: Timestamp) -> u32 {
    u32::try_from(at.seconds().max(0)).unwrap_or(u32::MAX)
}

impl Plan {
    /// Rows from views: the same views, the same bytes.
    pub fn rows(
        &self,
        request: &Request<'_>,
        candidates: &[Candidate],
        views: &mut Views,
        rows: &mut Rows,
    ) {
        calculate::columns(self, request, candidates, views, rows);
        known::fields(self, request, candidates, views, rows);
    }
}
