//! What one strand remembers. Nothing in here is moved by another strand's records.

use std::collections::{HashSet, VecDeque};
use std::mem::size_of;

use reckon_event::{Claims, Kind, Record, RecordId, TenantId, Timestamp};

use crate::{IdSet, Policy, Totals};

/// The memory of one strand.
#[derive(Clone, Debug, Default)]
pub(crate) struct StrandState {
    /// The highest receive time of its counted records; never falls.
    pub clock: Timestamp,
    /// Ascending by appender.
    pub appenders: Vec<Appender>,
    /// Ascending by (hour, incarnation).
    pub pieces: Vec<Piece>,
    pub unsigned: UnsignedWindow,
    pub totals: Totals,
    /// Something but a piece has changed since the state was last written.
    pub is_changed: bool,
    /// Pieces that were written once and are forgotten now.
    pub dropped: Vec<(u32, u32)>,
}

/// The highest record number of one appender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appender {
    pub appender: u64,
    pub sequence: u64,
    /// The strand's clock when it was last seen.
    pub seen: Timestamp,
}

/// The bits of one hour of one minter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub hour: u32,
    pub incarnation: u32,
    /// By [`lane`].
    pub sets: [IdSet; 3],
    /// Changed since the state was last written.
    pub is_changed: bool,
    /// Stands in what was last written.
    pub is_written: bool,
}

/// Who clicked what without a token, within the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnsignedWindow {
    /// In the order they counted, with the strand's clock of that moment.
    pub order: VecDeque<(Timestamp, PersonAd)>,
    pub members: HashSet<PersonAd, foldhash::fast::RandomState>,
}

/// A person, as far as known, and an ad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PersonAd {
    pub tenant: TenantId,
    pub kind: Kind,
    pub is_user: bool,
    /// The user, else the tag of the address.
    pub who: u128,
    /// 0 where the user is known.
    pub agent: u64,
    pub ad: u64,
}

/// Which of a piece's sets a kind has; `None` for kinds without minted ids.
pub(crate) const fn lane(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Impression => Some(0),
        Kind::View => Some(1),
        Kind::Click => Some(2),
        _ => None,
    }
}

impl StrandState {
    /// Notes a record's id; true where it is not above the highest of its appender, so this append
    /// has been seen. Records without an id are always new.
    pub fn is_redelivered(&mut self, record: &Record<'_>, policy: &Policy) -> bool {
        let id = record.id;
        if id == RecordId::default() {
            return false;
        }
        // The record's own time counts: before a slot's first record its clock stands in 1970, and
        // whatever was seen then would be beyond any horizon at once.
        let seen = self.clock.max(record.received);
        let fresh = Appender { appender: id.appender, sequence: id.sequence, seen };
        match self.appenders.binary_search_by_key(&id.appender, |known| known.appender) {
            Ok(at) => {
                let known = &mut self.appenders[at];
                let is_known = seen.since(known.seen) < policy.appender_horizon;
                if is_known && id.sequence <= known.sequence {
                    return true;
                }
                *known = fresh;
            }
            Err(at) => self.appenders.insert(at, fresh),
        }
        false
    }

    /// Moves the clock and lets go of what is beyond a horizon, whole hours at a time.
    pub fn advance(&mut self, received: Timestamp, policy: &Policy) {
        if received <= self.clock {
            return;
        }
        let (before, clock) = (self.clock, received);
        self.clock = clock;
        if policy.first_minted_hour(before) != policy.first_minted_hour(clock) {
            self.drop_hours(policy.first_minted_hour(clock));
        }
        if before.hour() != clock.hour() {
            self.appenders.retain(|known| clock.since(known.seen) < policy.appender_horizon);
        }
        self.unsigned.expire(clock, policy);
    }

    fn drop_hours(&mut self, first_kept: u32) {
        let kept_from = self.pieces.partition_point(|piece| piece.hour < first_kept);
        for piece in self.pieces.drain(..kept_from) {
            if piece.is_written {
                self.dropped.push((piece.hour, piece.incarnation));
            }
        }
    }

    /// Sets the bit of a minted id; true where it was not set.
    pub fn insert_minted(&mut self, claims: &Claims, lane: usize) -> bool {
        let piece = self.piece_mut(claims.impression.hour, claims.impression.incarnation);
        let is_new = piece.sets[lane].insert(claims.impression.sequence);
        piece.is_changed |= is_new;
        is_new
    }

    fn piece_mut(&mut self, hour: u32, incarnation: u32) -> &mut Piece {
        let key = (hour, incarnation);
        let last = self.pieces.len().wrapping_sub(1);
        let at = match self.pieces.last() {
            Some(piece) if (piece.hour, piece.incarnation) == key => last,
            _ => match self.pieces.binary_search_by_key(&key, |p| (p.hour, p.incarnation)) {
                Ok(at) => at,
                Err(at) => {
                    self.pieces.insert(at, Piece { hour, incarnation, ..Piece::default() });
                    at
                }
            },
        };
        &mut self.pieces[at]
    }

    /// The bytes it takes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let pieces = self.pieces.iter().flat_map(|piece| &piece.sets).map(IdSet::heap_bytes);
        pieces.sum::<usize>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.appenders.capacity() * size_of::<Appender>()
            + self.unsigned.order.capacity() * 2 * size_of::<(Timestamp, PersonAd)>()
    }
}

impl UnsignedWindow {
    /// Lets go of everyone whose click lies a window back.
    fn expire(&mut self, clock: Timestamp, policy: &Policy) {
        while let Some((counted, person_ad)) = self.order.front() {
            if clock.since(*counted) < policy.unsigned_window {
                return;
            }
            self.members.remove(person_ad);
            self.order.pop_front();
        }
    }

    /// Notes a click; true where this person did not click this ad within the window.
    pub fn insert(&mut self, clock: Timestamp, person_ad: PersonAd) -> bool {
        let is_new = self.members.insert(person_ad);
        if is_new {
            self.order.push_back((clock, person_ad));
        }
        is_new
    }
}

impl PersonAd {
    /// Of a record: the user, else the address of the day and the user agent.
    pub fn of(record: &Record<'_>) -> Self {
        let is_user = record.user.is_some();
        PersonAd {
            tenant: record.tenant,
            kind: record.kind,
            is_user,
            who: if is_user { record.user.0 } else { u128::from(record.ip_tag) },
            agent: if is_user { 0 } else { record.agent_key },
            ad: record.ad_key,
        }
    }
}
