//! Two categories of a row as one more: what a sum over single categories cannot say.
//!
//! A pair's key is XXH3 of both keys, the earlier field's first. A key knows its field, so pairs of different fields
//! have different keys, and where one of the two is missing the pair is. Pairs are in the order of their later
//! field, and of one later field in that of the earlier.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// "pairs": a pair is no value of any field, and no bucket of any column.
const SEED: u64 = 0x70_6169_7273;

/// The key of a pair; 0 where one of them is missing.
pub(super) fn key(earlier: u64, later: u64) -> u64 {
    if earlier == 0 || later == 0 {
        return 0;
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&earlier.to_le_bytes());
    bytes[8..].copy_from_slice(&later.to_le_bytes());
    xxh3_64_with_seed(&bytes, SEED).max(1)
}

/// Each of a half's fields with each before it.
fn each<'a, T>(before: &'a [T], fields: &'a [T]) -> impl Iterator<Item = (&'a T, &'a T)> {
    let earlier = move |at: usize| before.iter().chain(&fields[..at]);
    fields.iter().enumerate().flat_map(move |(at, later)| earlier(at).map(move |one| (one, later)))
}

/// Appends the keys of a half's pairs.
pub(super) fn push(before: &[u64], keys: &[u64], out: &mut Vec<u64>) {
    out.extend(each(before, keys).map(|(&earlier, &later)| key(earlier, later)));
}

/// Their names.
pub(super) fn names<'a>(
    before: &'a [String],
    fields: &'a [String],
) -> impl Iterator<Item = String> + 'a {
    each(before, fields).map(|(earlier, later)| format!("{earlier} with {later}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_two_fields_are_one_more_wherever_the_user_ends() {
        let keys = [11, 22, 33, 44, 55];
        let mut whole = Vec::new();
        push(&[], &keys, &mut whole);
        assert_eq!(whole.len(), 10);
        assert_eq!(whole.iter().collect::<HashSet<_>>().len(), 10);
        for users in 0..=keys.len() {
            let (user, own) = keys.split_at(users);
            let mut halves = Vec::new();
            push(&[], user, &mut halves);
            push(user, own, &mut halves);
            assert_eq!(halves, whole, "{users} of the user");
        }
        assert_ne!(key(11, 22), key(22, 11), "who comes first counts");
        assert_eq!((key(0, 22), key(11, 0)), (0, 0), "without one of the two there is no pair");
        let text = ["a", "b", "c"].map(str::to_owned);
        let named: Vec<_> = names(&text[..1], &text[1..]).collect();
        assert_eq!(named, ["a with b", "a with c", "b with c"]);
    }
}
