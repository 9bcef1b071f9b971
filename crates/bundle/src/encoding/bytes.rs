//! Encodings as bytes; `docs/bundle-format.md` draws them.

use super::{
    Buckets, Code, Codes, EDGES_MAX, Encoding, FIXED_MAX, Fixed, Halves, KEYS_MAX, NAME_BYTES_MAX,
    PAIRED_MAX,
};
use crate::manifest::COLUMNS_MAX;

const MAGIC: &[u8] = b"RKEN\x01";
const BUCKETS: u8 = 1;
const BOTH: u8 = 2;
const CODES: u8 = 3;
const FIXED: u8 = 4;
const PAIRS: u8 = 5;
/// Ranks are whole numbers that an f32 holds exactly.
const RANK_MAX: f32 = 16_777_216.0;

pub(super) fn encode(encoding: &Encoding, out: &mut Vec<u8>) {
    let (form, counts) = match encoding {
        Encoding::Plain => return,
        Encoding::Buckets(it) => (BUCKETS, [it.user.len(), it.own.len()]),
        Encoding::Both(it) => (BOTH, [it.user.len(), it.own.len()]),
        Encoding::Codes(it) => (CODES, [it.user.len(), it.own.len()]),
        // Whether another one follows, instead of columns of the user.
        Encoding::Pairs(inner, fields) => (PAIRS, [usize::from(!inner.is_plain()), *fields]),
        Encoding::Fixed(inner, it) => (FIXED, [usize::from(!inner.is_plain()), it.len()]),
    };
    out.extend_from_slice(MAGIC);
    out.push(form);
    counts.iter().for_each(|&count| put(out, count));
    match encoding {
        Encoding::Plain => {}
        Encoding::Buckets(it) | Encoding::Both(it) => it.iter().for_each(|one| buckets(one, out)),
        Encoding::Codes(it) => it.iter().for_each(|one| codes(one, out)),
        Encoding::Pairs(inner, _) => encode(inner, out),
        Encoding::Fixed(inner, it) => {
            it.iter().for_each(|one| fixed(one, out));
            encode(inner, out);
        }
    }
}

fn put(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("counts are bounded far below");
    out.extend_from_slice(&count.to_le_bytes());
}

fn buckets(buckets: &Buckets, out: &mut Vec<u8>) {
    out.extend_from_slice(&buckets.name.to_le_bytes());
    put(out, buckets.edges.len());
    buckets.edges.iter().for_each(|edge| out.extend_from_slice(&edge.to_le_bytes()));
}

fn codes(codes: &Codes, out: &mut Vec<u8>) {
    out.extend_from_slice(&codes.base().to_le_bytes());
    put(out, codes.len());
    for Code { key, rank, odds } in codes.iter() {
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&rank.to_le_bytes());
        out.extend_from_slice(&odds.to_le_bytes());
    }
}

fn fixed(field: &Fixed, out: &mut Vec<u8>) {
    out.extend_from_slice(&field.key.to_le_bytes());
    put(out, field.name.len());
    out.extend_from_slice(field.name.as_bytes());
}

pub(super) fn decode(mut bytes: &[u8]) -> Result<Encoding, String> {
    let bytes = &mut bytes;
    if take::<5>(bytes)? != MAGIC {
        return Err("it does not begin as an encoding of version 1".to_owned());
    }
    let [form] = take(bytes)?;
    let user = count(bytes, "columns or fields of the user", COLUMNS_MAX)?;
    let own = count(bytes, "columns or fields of a candidate", COLUMNS_MAX)?;
    let encoding = match form {
        BUCKETS | BOTH => {
            let all: Result<Vec<_>, _> = (0..user + own).map(|_| take_buckets(bytes)).collect();
            let halves = Halves::cut(all?, user);
            if form == BOTH { Encoding::Both(halves) } else { Encoding::Buckets(halves) }
        }
        CODES => {
            let mut left = KEYS_MAX;
            let all: Result<Vec<_>, _> =
                (0..user + own).map(|_| take_codes(bytes, &mut left)).collect();
            Encoding::Codes(Halves::cut(all?, user))
        }
        FIXED => return take_fixed(bytes, user, own),
        PAIRS => return take_pairs(bytes, user, own),
        other => return Err(format!("form {other} is none; there are 1 to 5")),
    };
    match bytes.len() {
        0 => Ok(encoding),
        more => Err(format!("{more} bytes belong to nothing")),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = bytes.split_first_chunk().ok_or("it is cut off")?;
    *bytes = tail;
    Ok(*head)
}

/// How many follow.
fn count(bytes: &mut &[u8], what: &str, max: usize) -> Result<usize, String> {
    let count = u32::from_le_bytes(take(bytes)?) as usize;
    if count > max {
        return Err(format!("{count} {what}; at most {max}"));
    }
    Ok(count)
}

/// So many items of so many bytes each.
fn items<'a>(bytes: &mut &'a [u8], count: usize, size: usize) -> Result<&'a [u8], String> {
    let (head, tail) = bytes.split_at_checked(count * size).ok_or("it is cut off")?;
    *bytes = tail;
    Ok(head)
}

fn take_buckets(bytes: &mut &[u8]) -> Result<Buckets, String> {
    let name = u64::from_le_bytes(take(bytes)?);
    let count = count(bytes, "edges", EDGES_MAX)?;
    let (edges, _) = items(bytes, count, 4)?.as_chunks::<4>();
    let edges: Vec<_> = edges.iter().map(|&edge| f32::from_le_bytes(edge)).collect();
    let rise = edges.is_sorted_by(|left, right| left < right);
    if !rise || edges.iter().any(|edge| !edge.is_finite()) {
        return Err("edges of buckets are finite and rise".to_owned());
    }
    Ok(Buckets { name, edges })
}

/// Fixed fields, and the encoding before them, if there is any, which has none of its own.
fn take_fixed(bytes: &mut &[u8], follows: usize, own: usize) -> Result<Encoding, String> {
    if follows > 1 || !(1..=FIXED_MAX).contains(&own) {
        return Err(format!(
            "{own} fixed fields before {follows} encodings; 1 to {FIXED_MAX}, before one or none"
        ));
    }
    let mut fields = Vec::new();
    for _ in 0..own {
        let key = u64::from_le_bytes(take(bytes)?);
        let length = count(bytes, "bytes of a name", NAME_BYTES_MAX)?;
        let name = std::str::from_utf8(items(bytes, length, 1)?);
        let name = name.map_err(|_| "a fixed field's name is no text".to_owned())?.to_owned();
        if name.is_empty() {
            return Err("a fixed field has no name".to_owned());
        }
        fields.push(Fixed { name, key });
    }
    let inner = take_inner(bytes, follows, &[FIXED], "fixed fields")?;
    Ok(Encoding::Fixed(Box::new(inner), fields))
}

/// Pairs of so many fields, and the encoding before them, if there is any, which has none of its own.
fn take_pairs(bytes: &mut &[u8], follows: usize, fields: usize) -> Result<Encoding, String> {
    if follows > 1 || !(2..=PAIRED_MAX).contains(&fields) {
        return Err(format!(
            "pairs of {fields} fields before {follows} encodings; 2 to {PAIRED_MAX}, before one or none"
        ));
    }
    let inner = take_inner(bytes, follows, &[PAIRS, FIXED], "pairs")?;
    Ok(Encoding::Pairs(Box::new(inner), fields))
}

/// What follows, of another form than these.
fn take_inner(
    bytes: &mut &[u8],
    follows: usize,
    outer: &[u8],
    within: &str,
) -> Result<Encoding, String> {
    if follows == 0 {
        return match bytes.len() {
            0 => Ok(Encoding::Plain),
            more => Err(format!("{more} bytes belong to nothing")),
        };
    }
    // Looked at before it is read: nothing is nested deeper than fixed fields, pairs, one more.
    match bytes.get(MAGIC.len()) {
        Some(form @ (&FIXED | &PAIRS)) if outer.contains(form) => {
            let form = if *form == FIXED { "fixed fields" } else { "pairs" };
            Err(format!("{form} within {within}"))
        }
        _ => decode(bytes),
    }
}

fn take_codes(bytes: &mut &[u8], left: &mut usize) -> Result<Codes, String> {
    let base = f32::from_le_bytes(take(bytes)?);
    let count = count(bytes, "keys", *left)?;
    *left -= count;
    let (items, _) = items(bytes, count, 16)?.as_chunks::<16>();
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let codes: Vec<_> = items
        .iter()
        .map(|item| Code {
            key: u64::from_le_bytes(*item.first_chunk().expect("sixteen bytes")),
            rank: number(&item[8..12]),
            odds: number(&item[12..]),
        })
        .collect();
    if base.is_infinite() || codes.iter().any(|code| !is_sound(code)) {
        return Err("ranks are whole numbers from 0 on or missing, log odds finite".to_owned());
    }
    let rise = codes.is_sorted_by(|left, right| left.key < right.key);
    if !rise || codes.first().is_some_and(|code| code.key == 0) {
        return Err("keys are not 0, and rise".to_owned());
    }
    Ok(Codes::new(codes, base))
}

fn is_sound(code: &Code) -> bool {
    let is_rank = (0.0..=RANK_MAX).contains(&code.rank) && code.rank.fract() == 0.0;
    (is_rank || code.rank.is_nan()) && code.odds.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Encoding; 8] {
        let buckets = || {
            let edges = vec![-1.5, 0.0, 3.25e-20];
            let all = vec![Buckets::new("a", edges), Buckets::new("b", Vec::new())];
            Halves::cut(all, 1)
        };
        let code = |key, rank, odds| Code { key, rank, odds };
        let place = |name: &str, key| Fixed { name: name.to_owned(), key };
        let known = vec![code(9, 0.0, -1.0), code(3, 1.0, 0.5), code(u64::MAX, f32::NAN, 2.0)];
        let codes = vec![Codes::new(known, -2.0), Codes::new(vec![code(1, 0.0, 0.0)], f32::NAN)];
        let pairs = |inner| Encoding::Pairs(Box::new(inner), 2);
        let both = pairs(Encoding::Buckets(buckets()));
        [
            Encoding::Buckets(buckets()),
            Encoding::Both(buckets()),
            Encoding::Codes(Halves::cut(codes, 1)),
            pairs(Encoding::Plain),
            both.clone(),
            Encoding::Fixed(Box::new(both), vec![place("place", 7)]),
            Encoding::Fixed(Box::new(Encoding::Plain), vec![place("place", 7), place("é", 0)]),
            Encoding::Fixed(Box::new(Encoding::Buckets(buckets())), vec![place("place", 7)]),
        ]
    }

    fn bytes(encoding: &Encoding) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoding.encode(&mut bytes);
        bytes
    }

    #[test]
    fn encodings_come_back_and_cut_ones_do_not() {
        for encoding in all() {
            let written = bytes(&encoding);
            let read = Encoding::decode(&written).expect("an encoding");
            // NaN is not NaN, so bytes are compared.
            assert_eq!(bytes(&read), written);
            for length in 0..written.len() {
                assert!(Encoding::decode(&written[..length]).is_err(), "cut at {length}");
            }
            assert!(Encoding::decode(&[&written[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn damaged_ones_are_refused_or_sound() {
        let mut refused = 0;
        for encoding in all() {
            let written = bytes(&encoding);
            for bit in 0..written.len() * 8 {
                let mut damaged = written.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                match Encoding::decode(&damaged) {
                    Ok(read) => assert_eq!(bytes(&read), damaged),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 300, "{refused}");
    }

    #[test]
    fn a_fixed_field_stands_behind_the_candidate_in_every_row() {
        use super::super::Half;
        let [.., plain, buckets] = all();
        let (mut numbers, mut keys) = (Vec::new(), Vec::new());
        plain.row((1, 1), (&[0.5, 0.6], &[1, 2]), &mut numbers, &mut keys);
        assert_eq!((numbers, keys), (vec![0.5, 0.6], vec![1, 2, 7, 0]));
        let mut keys = Vec::new();
        buckets.half(Half::User, (&[0.5], &[], &[1]), &mut Vec::new(), &mut keys);
        assert_eq!(keys.len(), 2, "the user's half has none");
        buckets.half(Half::Own, (&[0.5], &[1], &[2]), &mut Vec::new(), &mut keys);
        assert_eq!((keys.len(), keys[4]), (5, 7));
        let [user, ad, column] = ["user", "ad", "b"].map(|name| [name.to_owned()]);
        let names = buckets.names(Half::Own, (&column, &user, &ad));
        assert_eq!(names.1, ["ad", "b", "place"]);
        // One within another would be read for ever.
        let nested = Encoding::Fixed(Box::new(plain), vec![Fixed { name: "a".into(), key: 1 }]);
        assert!(Encoding::decode(&bytes(&nested)).is_err());
    }

    #[test]
    fn pairs_stand_behind_their_half_and_before_what_is_fixed() {
        use super::super::Half;
        let [.., plain_pairs, _, all, _, _] = all();
        let (mut numbers, mut keys) = (Vec::new(), Vec::new());
        all.row((1, 1), (&[0.5, 0.6], &[1, 2]), &mut numbers, &mut keys);
        // User's key and bucket; candidate's, the pair, the fixed one.
        assert!(numbers.is_empty() && keys.len() == 6 && keys[5] == 7, "{keys:?}");
        assert_eq!((keys[0], keys[2]), (1, 2));
        let pair = keys[4];
        let mut plain = Vec::new();
        plain_pairs.row((0, 1), (&[], &[1, 2]), &mut numbers, &mut plain);
        assert_eq!(plain, [1, 2, pair]);
        let [user, ad] = ["user", "ad"].map(|name| [name.to_owned()]);
        let names = all.names(Half::Own, (&["b".to_owned()], &user, &ad));
        assert_eq!(names.1, ["ad", "b", "user with ad", "place"]);
        let check = |outer: Encoding, wanted: &str| {
            let told = Encoding::decode(&bytes(&outer)).expect_err("refused");
            assert!(told.contains(wanted), "{told:?} has not {wanted:?}");
        };
        let of = |inner: &Encoding, fields| Encoding::Pairs(Box::new(inner.clone()), fields);
        check(of(&plain_pairs, 2), "pairs within pairs");
        check(of(&all, 2), "fixed fields within pairs");
        check(of(&Encoding::Plain, 1), "pairs of 1 fields before 0 encodings");
        check(of(&Encoding::Plain, PAIRED_MAX + 1), "pairs of 33 fields");
    }

    #[test]
    fn what_is_missing_rare_or_unknown_is_told_apart() {
        let [_, _, codes, ..] = all();
        let mut numbers = Vec::new();
        for key in [9, u64::MAX, 77, 0] {
            let row = (&[][..], &[][..], &[key][..]);
            codes.half(super::super::Half::User, row, &mut numbers, &mut Vec::new());
        }
        let nan = f32::NAN;
        let expected = [0.0, -1.0, nan, 2.0, nan, -2.0, nan, nan];
        let same = |(left, right): (&f32, &f32)| left == right || left.is_nan() && right.is_nan();
        assert!(numbers.len() == 8 && numbers.iter().zip(&expected).all(same), "{numbers:?}");
        assert_eq!(codes.categorical((2, 3)), [2, 7]);
        use super::super::Origin::{Column, Field};
        let columns = [Column(0), Column(1), Field(0), Field(0), Column(2), Column(3), Column(4)];
        assert_eq!(codes.origins((2, 3)), [&columns[..], &[Field(1)]].concat());
    }
}
