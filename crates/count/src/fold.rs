//! The fold: records in, one verdict each and the sums out.
//!
//! ```text
//! record -> append seen before? -> None, redelivered
//!        -> control, prediction -> None, skipped
//!        -> minted, its hour forgotten -> Expired, whatever the edge said
//!        -> the edge said something -> that stands, and the id stays free
//!             (unsigned that may count: one a person, ad and window)
//!        -> minted: its bit; else opaque: its first copy; else nothing -> Counted, Duplicate, Conflict
//! ```

use std::collections::HashMap;

use reckon_event::{Cell, Claims, Deltas, Fact, Kind, Measure, Position, Reason, Record, Verdict};

use crate::rules::Survivor;
use crate::slot::{PersonAd, StrandState, lane};
use crate::{Asked, FirstCopy, OpaqueKey, Policy, State, Strand, Totals};

/// What follows from a batch.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// The verdict of each record; `None` for one that is not counted at all.
    pub verdicts: Vec<Option<Verdict>>,
    /// What they add up to.
    pub deltas: Deltas,
    /// The opaque ids whose first copy stands in this batch, to be remembered by the caller.
    pub new_ids: Vec<(OpaqueKey, FirstCopy)>,
    /// The clicks that count so far, for rules on closed minutes.
    pub survivors: Vec<Survivor>,
    /// How many records got which verdict.
    pub totals: Totals,
}

/// Judges a batch and moves the state on.
///
/// `batch` holds records in the order of their positions within each strand; `seen` answers for the
/// opaque id of each of them as [`crate::ask`] makes it, without the batch's own.
///
/// # Panics
/// Where `seen` does not belong to `batch`.
pub fn fold(
    state: &mut State,
    batch: &[(Position, Record<'_>)],
    seen: &[Option<Asked>],
    policy: &Policy,
) -> Folded {
    let mut folded = Folded::default();
    fold_into(state, batch, seen, policy, &mut folded);
    folded
}

/// As [`fold`], adding to what earlier batches gave, whose new ids the caller has remembered. A large
/// batch is folded faster in parts of about a thousand records, while they are in the cache.
///
/// # Panics
/// Where `seen` does not belong to `batch`.
pub fn fold_into(
    state: &mut State,
    batch: &[(Position, Record<'_>)],
    seen: &[Option<Asked>],
    policy: &Policy,
    folded: &mut Folded,
) {
    assert_eq!(batch.len(), seen.len(), "one answer a record");
    let mut firsts = Firsts::default();
    let mut names = NameMemo::default();
    folded.verdicts.reserve(batch.len());
    for (at, ((position, record), asked)) in batch.iter().zip(seen).enumerate() {
        if at.is_multiple_of(WARM_RECORDS) {
            warm(state, &batch[at..batch.len().min(at + WARM_RECORDS)]);
        }
        let slot = state.strand_mut(Strand::of(record));
        let judged = judge(slot, record, *position, asked.as_ref(), &mut firsts, policy);
        slot.is_changed = true;
        slot.totals.note(record.kind, judged);
        folded.totals.note(record.kind, judged);
        let verdict = judged.verdict();
        if let Some(verdict) = verdict {
            let cell = add_cell(&mut folded.deltas, &mut names, record, verdict);
            if record.kind == Kind::Click && verdict == Verdict::Counted {
                folded.survivors.push(survivor(*position, record, cell));
            }
        }
        folded.verdicts.push(verdict);
    }
    folded.new_ids.append(&mut firsts.in_order);
}

/// So many records are looked at together before they are judged.
const WARM_RECORDS: usize = 16;

/// Touches what the next records will need. Their strands lie all over memory; looking at several that
/// do not depend on each other lets the processor wait for all of them at once.
fn warm(state: &State, group: &[(Position, Record<'_>)]) {
    let is_known = |record: &Record<'_>| {
        let slot = state.strands[Strand::of(record).number()].as_ref()?;
        let appender = slot.appenders.first().map_or(0, |known| known.sequence);
        let is_set = record.claims.as_ref().zip(lane(record.kind)).is_some_and(|(claims, lane)| {
            let last = slot.pieces.last();
            last.is_some_and(|piece| piece.sets[lane].contains(claims.impression.sequence))
        });
        Some(is_set ^ (appender == 0))
    };
    let known = group.iter().filter(|(_, record)| is_known(record) == Some(true)).count();
    std::hint::black_box(known);
}

#[derive(Clone, Copy)]
enum Judged {
    Redelivered,
    Skipped,
    Is(Verdict),
}

impl Judged {
    const fn verdict(self) -> Option<Verdict> {
        match self {
            Judged::Is(verdict) => Some(verdict),
            Judged::Redelivered | Judged::Skipped => None,
        }
    }
}

impl Totals {
    fn note(&mut self, kind: Kind, judged: Judged) {
        match judged {
            Judged::Redelivered => self.redelivered += 1,
            Judged::Skipped => self.skipped += 1,
            Judged::Is(verdict) => self.add(kind, verdict, 1),
        }
    }
}

fn judge(
    slot: &mut StrandState,
    record: &Record<'_>,
    position: Position,
    asked: Option<&Asked>,
    firsts: &mut Firsts,
    policy: &Policy,
) -> Judged {
    if slot.is_redelivered(record, policy) {
        return Judged::Redelivered;
    }
    if matches!(record.kind, Kind::Control | Kind::Prediction) {
        return Judged::Skipped;
    }
    slot.advance(record.received, policy);
    let minted = record.claims.as_ref().zip(lane(record.kind));
    if minted.is_some_and(|(claims, _)| is_forgotten(slot, claims, policy)) {
        return Judged::Is(Verdict::Expired);
    }
    if record.outcome != Verdict::Counted {
        return Judged::Is(judge_refused(slot, record));
    }
    Judged::Is(match (minted, asked) {
        (Some((claims, lane)), _) if slot.insert_minted(claims, lane) => Verdict::Counted,
        (Some(_), _) => Verdict::Duplicate,
        (None, Some(asked)) => judge_opaque(slot, record, position, asked, firsts, policy),
        (None, None) => Verdict::Counted,
    })
}

fn is_forgotten(slot: &StrandState, claims: &Claims, policy: &Policy) -> bool {
    claims.impression.hour < policy.first_minted_hour(slot.clock)
}

/// The edge's outcome stands, but where unsigned clicks may count.
fn judge_refused(slot: &mut StrandState, record: &Record<'_>) -> Verdict {
    if record.outcome != Verdict::Unsigned || !record.facts.has(Fact::UnsignedCounts) {
        return record.outcome;
    }
    if slot.unsigned.insert(slot.clock, PersonAd::of(record)) {
        Verdict::Counted
    } else {
        Verdict::Invalid(Reason::DoubleClick)
    }
}

fn judge_opaque(
    slot: &StrandState,
    record: &Record<'_>,
    position: Position,
    asked: &Asked,
    firsts: &mut Firsts,
    policy: &Policy,
) -> Verdict {
    let known = firsts.by_key.get(&asked.key).copied().or(asked.first);
    let first = known.filter(|first| {
        first.position < position && !policy.forgets_opaque(first.received, slot.clock)
    });
    match first {
        Some(first) if first.digest == record.payload_digest => Verdict::Duplicate,
        Some(_) => Verdict::Conflict,
        None => {
            let digest = record.payload_digest;
            firsts.note(asked.key, FirstCopy { position, digest, received: record.received });
            Verdict::Counted
        }
    }
}

/// The first copies that stand in the batch itself.
#[derive(Default)]
struct Firsts {
    by_key: HashMap<OpaqueKey, FirstCopy, foldhash::fast::RandomState>,
    in_order: Vec<(OpaqueKey, FirstCopy)>,
}

impl Firsts {
    fn note(&mut self, key: OpaqueKey, copy: FirstCopy) {
        self.by_key.insert(key, copy);
        self.in_order.push((key, copy));
    }
}

fn survivor(position: Position, record: &Record<'_>, cell: Cell) -> Survivor {
    Survivor {
        position,
        slot: record.slot,
        class: record.source_class,
        happened: record.happened,
        order: record.order_key(),
        user: record.user,
        ip_tag: record.ip_tag,
        agent: record.agent_key,
        price: record.price,
        cell,
    }
}

/// Adds a record to the sums; adjustments are summed in the ledger alone.
fn add_cell(
    deltas: &mut Deltas,
    names: &mut NameMemo,
    record: &Record<'_>,
    verdict: Verdict,
) -> Cell {
    let is_charged = record.kind == Kind::Click && verdict == Verdict::Counted;
    let cell = Cell {
        second: record.happened.seconds(),
        tenant: record.tenant,
        ad: record.ad_key,
        campaign: if record.ad_key == 0 { 0 } else { record.campaign_key },
        region: names.key(deltas, record.region),
        device: names.key(deltas, record.device),
        placement: names.key(deltas, record.placement),
        position: position_on_page(record),
        kind: record.kind,
        verdict,
        currency: record.currency,
    };
    if record.kind != Kind::Adjustment {
        deltas.add(cell, Measure { count: 1, spend: if is_charged { record.price } else { 0 } });
    }
    cell
}

/// What the event says, else what the token sealed.
fn position_on_page(record: &Record<'_>) -> u16 {
    match record.claims {
        Some(claims) if record.position == 0 => claims.position,
        _ => record.position,
    }
}

const MEMO_ENTRIES: usize = 64;

/// The names a batch has brought lately, so that most records need no look-up in its map.
struct NameMemo([u64; MEMO_ENTRIES]);

impl Default for NameMemo {
    fn default() -> Self {
        NameMemo([0; MEMO_ENTRIES])
    }
}

impl NameMemo {
    fn key(&mut self, deltas: &mut Deltas, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let key = reckon_event::name_key(text);
        let entry = &mut self.0[key as usize % MEMO_ENTRIES];
        if *entry != key || key == 0 {
            *entry = deltas.name(text);
        }
        key
    }
}
