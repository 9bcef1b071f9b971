//! The minter: dense ids for impressions, sealed into tokens.
//!
//! An id is (incarnation, slot, hour, sequence). The incarnation is leased durably at each start and
//! the hour of a slot never falls, so neither a crash nor a clock that steps back mints an id twice.

use std::sync::atomic::{AtomicU64, Ordering};

use reckon_event::{Claims, ImpressionId, SLOT_COUNT, Slot, Timestamp};

/// Mints ids; shared by all threads.
pub struct Minter {
    incarnation: u32,
    /// For each slot its hour (high half) and the next sequence (low half).
    slots: Box<[AtomicU64]>,
}

impl Minter {
    /// A minter of a freshly leased incarnation.
    pub fn new(incarnation: u32) -> Self {
        Minter { incarnation, slots: (0..SLOT_COUNT).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The next id of a slot. `None` once 2^32 ids were minted in the slot within the hour.
    pub fn mint(&self, slot: Slot, now: Timestamp) -> Option<ImpressionId> {
        let state = &self.slots[usize::from(slot.number())];
        let before = state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| advance(state, now.hour()))
            .ok()?;
        let id =
            if (before >> 32) as u32 >= now.hour() { before } else { u64::from(now.hour()) << 32 };
        Some(ImpressionId {
            incarnation: self.incarnation,
            slot,
            hour: (id >> 32) as u32,
            sequence: id as u32,
        })
    }
}

/// The state after one more id: the hour never falls, a new hour begins at 0.
fn advance(state: u64, hour: u32) -> Option<u64> {
    if (state >> 32) as u32 >= hour {
        (state as u32 != u32::MAX).then_some(state + 1)
    } else {
        Some((u64::from(hour) << 32) + 1)
    }
}

/// The click id an advertiser sees: names the impression, and tells nothing of volumes.
pub fn click_id(secret: &[u8; 32], claims: &Claims) -> String {
    let id = claims.impression;
    let mut hasher = blake3::Hasher::new_keyed(secret);
    for part in [id.incarnation, u32::from(id.slot.number()), id.hour, id.sequence] {
        hasher.update(&part.to_le_bytes());
    }
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(&hasher.finalize().as_bytes()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dense_within_the_hour() {
        let minter = Minter::new(7);
        let slot = Slot::new(3).expect("below 1,024");
        let at = |hour: i64| Timestamp(hour * Timestamp::HOUR);
        let ids: Vec<(u32, u32)> = [5, 5, 6, 6]
            .map(|hour| minter.mint(slot, at(hour)).expect("room"))
            .iter()
            .map(|id| (id.hour, id.sequence))
            .collect();
        assert_eq!(ids, [(5, 0), (5, 1), (6, 0), (6, 1)]);
    }

    #[test]
    fn a_clock_that_steps_back_mints_no_id_twice() {
        let minter = Minter::new(7);
        let slot = Slot::new(3).expect("below 1,024");
        let mut seen = std::collections::HashSet::new();
        for hour in [9, 9, 2, 1, 9, 10, 3] {
            let id = minter.mint(slot, Timestamp(hour * Timestamp::HOUR)).expect("room");
            assert!(seen.insert(id), "{id} was minted twice");
        }
        assert_eq!(seen.len(), 7);
    }
}
