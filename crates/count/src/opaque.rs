//! Ids Reckon did not mint: turned into 128-bit keys, remembered with their first copy.
//!
//! A key begins with slot and topic (10 and 2 bits), so a store sorted by key is sorted by strand and
//! can be split like the state; the other 116 bits are BLAKE3 over the scope and the id. The strand
//! belongs to the key because order is known only within one: two copies in two slots, or in two
//! topics, have no first.
//!
//! ```text
//! sequenced:  2 | kind | tenant | source | install | session | number
//! event id:   3 | kind | tenant | source | user | event id
//!             kind is 0 for impressions, views and clicks: one id, one impression or view, and one click
//! ```

use reckon_event::{Kind, Position, Record, Slot, Timestamp, Topic, Verdict};

use crate::Strand;

const SLOT_SHIFT: u32 = 118;
const TOPIC_SHIFT: u32 = 116;

/// An opaque id in its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpaqueKey(pub u128);

impl OpaqueKey {
    /// Of the low 116 bits of a hash, in a strand.
    pub fn new(strand: Strand, hash: u128) -> Self {
        let strand = u128::from(strand.slot.number()) << 2 | strand.topic as u128;
        OpaqueKey(strand << TOPIC_SHIFT | (hash & ((1 << TOPIC_SHIFT) - 1)))
    }

    /// The strand its records are counted in; `None` for a key that [`OpaqueKey::new`] did not make.
    pub fn strand(self) -> Option<Strand> {
        let slot = Slot::new((self.0 >> SLOT_SHIFT) as u16).expect("ten bits are a slot");
        let topic = *Topic::ALL.get((self.0 >> TOPIC_SHIFT) as usize & 3)?;
        Some(Strand { slot, topic })
    }
}

/// What is remembered of the first record with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstCopy {
    /// Where it stands. An id is a duplicate only of an earlier position.
    pub position: Position,
    /// Digest of its payload: another one under the same id is a conflict.
    pub digest: u64,
    /// When the server received it.
    pub received: Timestamp,
}

/// What is known of a record's opaque id before its batch is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The id.
    pub key: OpaqueKey,
    /// The latest copy before this record that was counted as first.
    pub first: Option<FirstCopy>,
}

/// The opaque id by which a record is deduplicated; `None` for one that needs none: a minted id
/// decides, the edge has refused it, or it has no id at all.
pub fn opaque_key(record: &Record<'_>) -> Option<OpaqueKey> {
    let is_minted = record.claims.is_some() && is_exposure(record.kind);
    let is_counted_kind = !matches!(record.kind, Kind::Control | Kind::Prediction);
    if is_minted || !is_counted_kind || record.outcome != Verdict::Counted {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    match record.session_sequence {
        Some(number) if !record.install_id.is_empty() && !record.session_id.is_empty() => {
            hash_scope(&mut hasher, 2, record);
            hash_text(&mut hasher, record.install_id);
            hash_text(&mut hasher, record.session_id);
            hasher.update(&number.to_le_bytes());
        }
        _ if !record.event_id.is_empty() => {
            hash_scope(&mut hasher, 3, record);
            hasher.update(&record.user.0.to_le_bytes());
            hash_text(&mut hasher, record.event_id);
        }
        _ => return None,
    }
    let hash: [u8; 16] = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    Some(OpaqueKey::new(Strand::of(record), u128::from_le_bytes(hash)))
}

/// Asks for every opaque id of a batch; `lookup` answers with the latest first copy below a position.
pub fn ask(
    batch: &[(Position, Record<'_>)],
    mut lookup: impl FnMut(OpaqueKey, Position) -> Option<FirstCopy>,
) -> Vec<Option<Asked>> {
    batch
        .iter()
        .map(|(position, record)| {
            opaque_key(record).map(|key| Asked { key, first: lookup(key, *position) })
        })
        .collect()
}

/// The kinds whose minted id is the impression's.
pub(crate) const fn is_exposure(kind: Kind) -> bool {
    matches!(kind, Kind::Impression | Kind::View | Kind::Click)
}

fn hash_scope(hasher: &mut blake3::Hasher, class: u8, record: &Record<'_>) {
    let kind = if is_exposure(record.kind) { 0 } else { record.kind.code() };
    hasher.update(&[class, kind]);
    hasher.update(&record.tenant.0.to_le_bytes());
    hash_text(hasher, record.source);
}

/// With its length, so that no two scopes run into each other.
fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u32).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_event::{Pseudonym, TenantId};
    use std::collections::HashSet;

    fn base() -> Record<'static> {
        let slot = Slot::new(7).expect("below 1,024");
        Record { event_id: "e", source: "s", ..Record::new(Kind::Conversion, slot, Timestamp(1)) }
    }

    #[test]
    fn scopes_kinds_and_classes_are_apart() {
        let records = [
            base(),
            Record { kind: Kind::Dwell, ..base() },
            Record { kind: Kind::Click, ..base() },
            Record { tenant: TenantId(2), ..base() },
            Record { source: "t", ..base() },
            Record { source: "se", event_id: "", ..base() },
            Record { user: Pseudonym(1), ..base() },
            Record { slot: Slot::new(8).expect("below 1,024"), ..base() },
            Record { install_id: "i", session_id: "n", session_sequence: Some(1), ..base() },
            Record {
                install_id: "in",
                session_id: "",
                session_sequence: Some(1),
                source: "u",
                ..base()
            },
        ];
        let keys: HashSet<_> = records.iter().map(opaque_key).collect();
        assert_eq!(keys.len(), records.len(), "one of them has none, the others differ");
        let strand = Strand { slot: base().slot, topic: Topic::Events };
        assert_eq!(opaque_key(&base()).and_then(OpaqueKey::strand), Some(strand));
        let of = |kind| opaque_key(&Record { kind, ..base() });
        assert_eq!(of(Kind::Impression), of(Kind::View), "one id, one of them");
        assert_ne!(of(Kind::Impression), of(Kind::Click), "topics are apart");
        assert_eq!(OpaqueKey(3 << TOPIC_SHIFT).strand(), None, "there is no fourth topic");
    }

    #[test]
    fn what_needs_no_key_gets_none() {
        for record in [
            Record { event_id: "", ..base() },
            Record { outcome: Verdict::UnknownAd, ..base() },
            Record { kind: Kind::Control, ..base() },
        ] {
            assert_eq!(opaque_key(&record), None);
        }
    }

    #[test]
    fn keys_never_change() {
        assert_eq!(opaque_key(&base()).map(|key| key.0), Some(PUBLISHED_KEY));
    }

    const PUBLISHED_KEY: u128 = 0x1e643cf798fc1d2f0b816f35cc8e3b9;
}
