//! From views of pasts, a request and its candidates to rows: one pure computation for serving,
//! training and backfill.
//!
//! It goes entity by entity, not row by row: a past that several candidates share is viewed once, and a
//! column is computed over all views of its entity before it goes into the rows.

mod calculate;
mod known;

use reckon_event::{Micros, Timestamp};

use crate::happened::{Ad, Key, Parts, hour_of_day, mix};
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

/// The key of whoever has no past, because a part of it is absent.
pub(crate) const NOBODY: Key = Key { owner: 0, id: 0 };
/// No past was found.
const ABSENT: u32 = u32::MAX;
/// No kind of candidates stands there.
const EMPTY: u32 = u32::MAX;

/// The pasts of one entity that a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Each once; [`NOBODY`] where a part is absent.
    pub keys: Vec<Key>,
    /// Which of them is each candidate's; one alone for what all share.
    index: Vec<u32>,
    /// Views of the pasts that are there, in the order in which they were found; behind them, anything.
    views: Vec<f32>,
    /// How many they are.
    found: u32,
    /// Which of them is each key's; [`ABSENT`] where there is none.
    by_key: Vec<u32>,
    /// Which of them is each candidate's; `found` where there is none. One alone for what all share.
    at: Vec<u32>,
}

impl Asked {
    /// Which view is a candidate's; `None` where there is no past.
    fn place(&self, candidate: usize) -> Option<u32> {
        let at = *self.at.get(candidate).or(self.at.first())?;
        (at < self.found).then_some(at)
    }

    /// The view for a candidate; `None` where there is no past.
    fn of(&self, candidate: usize, width: usize) -> Option<&[f32]> {
        Some(&self.views[self.place(candidate)? as usize * width..][..width])
    }

    /// Nothing was found yet.
    fn begin(&mut self, width: usize) {
        self.found = 0;
        self.by_key.clear();
        self.by_key.resize(self.keys.len(), ABSENT);
        if self.views.len() < self.keys.len() * width {
            self.views.resize(self.keys.len() * width, 0.0);
        }
    }

    /// The past of a key is there: where its view goes.
    pub fn find(&mut self, key: usize, width: usize) -> &mut [f32] {
        let at = self.found;
        self.by_key[key] = at;
        self.found += 1;
        &mut self.views[at as usize * width..][..width]
    }

    /// How many pasts were found.
    #[cfg(test)]
    pub fn found(&self) -> u32 {
        self.found
    }

    /// Everything was looked for.
    fn end(&mut self) {
        let Asked { index, found, by_key, at, .. } = self;
        at.clear();
        at.extend(index.iter().map(|&key| by_key[key as usize].min(*found)));
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
    hashes: Vec<u64>,
    parts: Vec<Parts>,
    /// By the parts of a candidate that they are made of.
    groups: [Group; 8],
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
        let Views { asked, groups, parts, .. } = self;
        parts.clear();
        parts.extend(candidates.iter().map(|candidate| together(request, candidate)));
        groups.iter_mut().for_each(|group| group.is_known = false);
        asked.resize_with(plan.entities.len(), Asked::default);
        for (entity, asked) in plan.entities.iter().zip(asked) {
            asked.keys.clear();
            asked.index.clear();
            if entity.is_shared() {
                asked.keys.push(request.parts.key(entity, hour).unwrap_or(NOBODY));
                asked.index.push(0);
            } else {
                let group = &mut groups[usize::from(entity.of_candidate)];
                group.know(entity.of_candidate, parts);
                let key = |&first: &u32| parts[first as usize].key(entity, hour).unwrap_or(NOBODY);
                asked.keys.extend(group.firsts.iter().map(key));
                asked.index.extend_from_slice(&group.index);
            }
        }
    }

    /// A look begins.
    pub(crate) fn begin(&mut self, plan: &Plan) {
        let asked = plan.entities.iter().zip(&mut self.asked);
        asked.for_each(|(entity, asked)| asked.begin(entity.width()));
        self.top_category = 0;
    }

    /// Everything was looked for.
    pub(crate) fn end(&mut self) {
        self.asked.iter_mut().for_each(Asked::end);
    }
}

/// Candidates that are the same to some entities: those made of the same parts of a candidate.
#[derive(Clone, Debug, Default)]
struct Group {
    is_known: bool,
    /// The first candidate of each kind.
    firsts: Vec<u32>,
    /// Of which kind each candidate is.
    index: Vec<u32>,
    table: Vec<u32>,
}

impl Group {
    fn know(&mut self, mask: u8, candidates: &[Parts]) {
        if self.is_known {
            return;
        }
        self.is_known = true;
        self.firsts.clear();
        self.index.clear();
        self.table.clear();
        self.table.resize((candidates.len() * 2).next_power_of_two(), EMPTY);
        for number in 0..candidates.len() {
            let index = self.number(mask, candidates, number);
            self.index.push(index);
        }
    }

    /// The kind of a candidate; it is a new one where there was none like it.
    fn number(&mut self, mask: u8, candidates: &[Parts], number: usize) -> u32 {
        let own = candidates[number].of_candidate(mask);
        let hash = own.iter().fold(0, |hash, part| mix(hash, *part));
        let mut at = hash as usize & (self.table.len() - 1);
        loop {
            let kind = self.table[at];
            if kind == EMPTY {
                self.table[at] = self.firsts.len() as u32;
                self.firsts.push(number as u32);
                return self.table[at];
            }
            if candidates[self.firsts[kind as usize] as usize].of_candidate(mask) == own {
                return kind;
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }
}

/// A request's parts with a candidate's.
fn together(request: &Request<'_>, candidate: &Candidate) -> Parts {
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
