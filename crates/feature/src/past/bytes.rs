//! A past as a file keeps it: `flags u8 | categories u8 | words u16 | u32 each`, words from `TOUCHED` on. Whose
//! it is, and what the store knows of it, stands elsewhere.

use super::layout::{COUNTS, HAS_SUMS, IS_DIRTY, IS_WIDE, SHAPE, TOUCHED, shape};
use super::{CATEGORIES_MAX, Past, PastMut, room_at_first};
use crate::happened::Key;
use crate::plan::{Entity, LEVELS, Plan};

impl Past<'_> {
    /// Appends what it is, and not whose, to `bytes`.
    pub fn encode(self, entity: &Entity, bytes: &mut Vec<u8>) {
        let [_, flags, categories, _] = shape(self.0);
        let words = &self.0[TOUCHED..self.length(entity)];
        bytes.extend_from_slice(&[flags & !IS_DIRTY, categories]);
        bytes.extend_from_slice(&(words.len() as u16).to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// Reads what [`Past::encode`] wrote, and moves on: all words of the past. `None` where it cannot be.
    pub fn decode(plan: &Plan, key: Key, entity: u8, bytes: &mut &[u8]) -> Option<Vec<u32>> {
        let declared = plan.entities.get(usize::from(entity))?;
        let [flags, categories] = take(bytes)?;
        let length = usize::from(u16::from_le_bytes(take(bytes)?));
        let (head, tail) = bytes.split_at_checked(length * 4)?;
        *bytes = tail;
        let is_of_user = plan.user == Some(usize::from(entity));
        let mut words = vec![0; room_at_first(is_of_user, declared).0];
        PastMut(&mut words).clear(key, entity, is_of_user, declared);
        if flags & !(IS_WIDE | HAS_SUMS) != shape(&words)[1]
            || usize::from(categories) > CATEGORIES_MAX
        {
            return None;
        }
        words[SHAPE] = u32::from_le_bytes([entity, flags, categories, 0]);
        words.truncate(TOUCHED);
        words.extend(head.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)));
        let counts = words.get(COUNTS)?.to_le_bytes();
        let mut levels = counts.iter().zip(LEVELS).enumerate();
        let is_bounded = levels.all(|(level, (&count, bound))| {
            let most = if declared.levels >> level & 1 == 1 { bound.count + 1 } else { 0 };
            u32::from(count) <= most
        });
        let fits = is_bounded && Past(&words).length(declared) == words.len();
        fits.then_some(words)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}
