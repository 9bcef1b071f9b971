//! A model was fitted on buckets and codes, and the bundle hands it other ones: a column more or less, the
//! candidate's half before the user's, a key that nobody has seen taken for one that was. Here each row is
//! encoded a second time, by the drawing in `docs/bundle-format.md` and nothing else; and what a section
//! says of its own lengths is made untrue in every way that is at hand.

mod common;

use std::collections::HashMap;

use common::{contents, curves, golden, manifest, rows, written};
use reckon_bundle::encoding::{Buckets, Code, Codes, Halves};
use reckon_bundle::manifest::{Column, Field, Stage};
use reckon_bundle::{
    Bundle, Container, Contents, Encoding, Kind, LinearInputs, Manifest, Rows, Scratch, Section,
    write_container,
};
use reckon_event::name_key;
use reckon_model::{Linear, LinearOptions, Random};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Of the user 2 columns and 1 field, of a candidate 2 and 2.
const SHAPE: (usize, usize, usize, usize) = (2, 1, 4, 3);
const EDGES: [&[f32]; 4] = [&[-1.0, 0.0, 0.5], &[0.25], &[], &[-0.5, -0.25, 1.5]];
/// What a field's first number is: its log odds where it knows nothing, none where they are no column.
const BASES: [f32; 3] = [-2.0, f32::NAN, -1.5];

/// Four of the six keys of `rows`: the first two have a rank.
fn known() -> Vec<Code> {
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let code = |(at, number): (usize, u64)| Code {
        key: key(number),
        rank: if at < 2 { at as f32 } else { f32::NAN },
        odds: number as f32 / 3.0 - 1.0,
    };
    [5, 2, 6, 1].into_iter().enumerate().map(code).collect()
}

fn buckets() -> Encoding {
    let column =
        |(at, edges): (usize, &&[f32])| Buckets::new(&format!("number_{at}"), edges.to_vec());
    Encoding::Buckets(Halves::cut(EDGES.iter().enumerate().map(column).collect(), SHAPE.0))
}

/// The same, and each two fields as one more.
fn pairs() -> Encoding {
    Encoding::Pairs(Box::new(buckets()), SHAPE.3)
}

fn codes() -> Encoding {
    Encoding::Codes(Halves::cut(BASES.map(|base| Codes::new(known(), base)).to_vec(), SHAPE.1))
}

/// "pairs", as the drawing has it.
const PAIRS: u64 = 0x70_6169_7273;
/// Encoded rows of neither stage of `two`: buckets and pairs.
const PAIRED: usize = 2;

fn pair(keys: &[u64], earlier: usize, later: usize) -> u64 {
    if keys[earlier] == 0 || keys[later] == 0 {
        return 0;
    }
    let bytes = [keys[earlier].to_le_bytes(), keys[later].to_le_bytes()].concat();
    xxh3_64_with_seed(&bytes, PAIRS)
}

/// A row as the drawing has it.
fn by_hand(stage: usize, numeric: &[f32], keys: &[u64]) -> (Vec<f32>, Vec<u64>) {
    let (mut numbers, mut categories) = (Vec::new(), Vec::new());
    let known: HashMap<u64, Code> = known().into_iter().map(|code| (code.key, code)).collect();
    for (columns, fields) in [(0..SHAPE.0, 0..SHAPE.1), (SHAPE.0..SHAPE.2, SHAPE.1..SHAPE.3)] {
        if stage != 1 {
            categories.extend_from_slice(&keys[fields.clone()]);
            for at in columns {
                let reached = EDGES[at].iter().filter(|edge| **edge <= numeric[at]).count() as u64;
                let bucket = if numeric[at].is_nan() { u64::MAX } else { reached };
                let name = name_key(&format!("number_{at}"));
                categories.push(xxh3_64_with_seed(&bucket.to_le_bytes(), name));
            }
            let later = if stage == PAIRED { fields } else { 0..0 };
            for later in later {
                categories.extend((0..later).map(|earlier| pair(keys, earlier, later)));
            }
            continue;
        }
        numbers.extend_from_slice(&numeric[columns]);
        for at in fields {
            let code = known.get(&keys[at]);
            numbers.push(code.map_or(f32::NAN, |code| code.rank));
            if !BASES[at].is_nan() {
                let unknown = if keys[at] == 0 { f32::NAN } else { BASES[at] };
                numbers.push(code.map_or(unknown, |code| code.odds));
            }
        }
    }
    (numbers, categories)
}

/// What the model of a stage sees.
fn inputs(stage: usize) -> LinearInputs {
    let columns: &[&str] = match stage {
        0 | PAIRED => &[],
        _ => &[
            "number_0",
            "number_1",
            "category_0",
            "category_0 odds",
            "number_2",
            "number_3",
            "category_1",
            "category_2",
            "category_2 odds",
        ],
    };
    let column = |name: &&str| Column { name: (*name).to_owned(), default: None, importance: 0.0 };
    let fields: Vec<Field> = Vec::new();
    LinearInputs::of(&Manifest::of(Kind::Linear, columns.iter().map(column).collect(), fields))
}

/// A linear model that has learned rows encoded by hand.
fn learned(stage: usize) -> Linear {
    let mut model = Linear::new(LinearOptions { bits: 10, ..LinearOptions::default() });
    let (inputs, mut random, mut features) = (inputs(stage), Random::new(3), Vec::new());
    for _ in 0..600 {
        let (numeric, keys) = rows(&mut random, 1, SHAPE.2, SHAPE.3);
        let (numbers, categories) = by_hand(stage, &numeric, &keys);
        features.clear();
        inputs.row(&numbers, &categories, &mut features);
        model.learn(&features, numeric[0] > 0.3 || keys[1] < 1 << 63, 1.0);
    }
    model
}

/// Two stages: one of buckets, one of codes.
fn two() -> Contents {
    let mut manifest = manifest(Kind::Linear, SHAPE.2, SHAPE.3);
    manifest.stages.push(Stage { kind: Kind::Linear, sampling: 0.5, top: Some(3) });
    let model = |stage| {
        let mut bytes = Vec::new();
        learned(stage).encode_state(&mut bytes);
        bytes
    };
    Contents {
        models: vec![model(0), model(1)],
        encodings: vec![buckets(), codes()],
        curves: vec![curves(1), curves(2)],
        golden: golden(&manifest, 8),
        manifest,
    }
}

#[test]
fn each_stage_takes_rows_as_they_were_learned() {
    compare(&two(), &[0, 1]);
}

#[test]
fn pairs_are_of_users_and_candidates_alike() {
    let mut contents = two();
    contents.encodings[1] = pairs();
    contents.models[1].clear();
    learned(PAIRED).encode_state(&mut contents.models[1]);
    compare(&contents, &[0, PAIRED]);
    contents.encodings[1] = Encoding::Pairs(Box::new(buckets()), SHAPE.3 - 1);
    let told = contents.write(&mut std::io::sink()).expect_err("refused").to_string();
    assert!(told.contains("it pairs 2 fields; the manifest has 3"), "{told}");
}

/// Each stage of a bundle with a model of rows that were encoded by hand.
fn compare(contents: &Contents, stages: &[usize]) {
    let bundle = Bundle::read(&written(contents)).expect("sound");
    let models: Vec<_> = stages.iter().map(|&stage| learned(stage).publish()).collect();
    let (mut random, mut scratch) = (Random::new(91), Scratch::default());
    let (mut compared, mut distinct) = (0, std::collections::HashSet::new());
    for _ in 0..100 {
        let count = 1 + random.below(9) as usize;
        let (user_numeric, user_keys) = rows(&mut random, 1, SHAPE.0, SHAPE.1);
        let own = (SHAPE.2 - SHAPE.0, SHAPE.3 - SHAPE.1);
        let (numeric, keys) = rows(&mut random, count, own.0, own.1);
        let request = Rows {
            user_numeric: &user_numeric,
            user_keys: &user_keys,
            numeric: &numeric,
            keys: &keys,
            count,
        };
        for (at, (&stage, model)) in stages.iter().zip(&models).enumerate() {
            let mut logits = vec![0.0; count];
            bundle.score_stage(at, request, &mut scratch, &mut logits).expect("it scores");
            for (row, logit) in logits.iter().enumerate() {
                let numeric = [&user_numeric[..], &numeric[row * own.0..][..own.0]].concat();
                let keys = [&user_keys[..], &keys[row * own.1..][..own.1]].concat();
                let (numbers, categories) = by_hand(stage, &numeric, &keys);
                let mut features = Vec::new();
                inputs(stage).row(&numbers, &categories, &mut features);
                let wanted = model.logit(&features);
                assert!(
                    (logit - wanted).abs() <= 1e-5 * (1.0 + wanted.abs()),
                    "stage {stage}: {logit}, by hand {wanted}, of {numeric:?} {keys:?}"
                );
                distinct.insert(wanted.to_bits());
                compared += 1;
            }
        }
    }
    assert!(compared > 600 && distinct.len() > 400, "{compared} compared, {}", distinct.len());
}

/// Replaces sections, and seals it all again; what is `None` is left out.
fn changed(
    bytes: &[u8],
    change: impl Fn(&Section<'_>) -> Option<Vec<u8>>,
    more: &[Section<'_>],
) -> Vec<u8> {
    let container = Container::read(bytes).expect("sound");
    let parts: Vec<_> = container
        .sections
        .iter()
        .filter_map(|section| Some((section.name, change(section)?)))
        .collect();
    let sections = parts.iter().map(|(name, bytes)| Section { name, bytes });
    let sections: Vec<_> = sections.chain(more.iter().copied()).collect();
    let mut out = Vec::new();
    write_container(&sections, &mut out).expect("sound sections");
    out
}

/// Replaces one section.
fn with(bytes: &[u8], name: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let change = |section: &Section<'_>| {
        let mut bytes = section.bytes.to_vec();
        if section.name == name {
            change(&mut bytes);
        }
        Some(bytes)
    };
    changed(bytes, change, &[])
}

fn refusal(bytes: &[u8]) -> String {
    Bundle::read(bytes).expect_err("a lie is refused").to_string()
}

fn check(bytes: &[u8], expected: &str) {
    let told = refusal(bytes);
    assert!(told.contains(expected), "{told:?} has not {expected:?}");
}

#[test]
fn lengths_of_encodings_that_lie() {
    let bytes = written(&two());
    let first = |change: fn(&mut Vec<u8>)| with(&bytes, "encoding-0", change);
    let second = |change: fn(&mut Vec<u8>)| with(&bytes, "encoding-1", change);
    check(&first(|section| section[0] = b'X'), "section encoding-0");
    check(&first(|section| section[5] = 9), "form 9 is none");
    check(&first(|section| section[5] = 4), "fixed fields before 2 encodings");
    check(&first(|section| section[6..10].fill(255)), "4294967295 columns or fields of the user");
    check(
        &first(|section| section[10..14].fill(255)),
        "4294967295 columns or fields of a candidate",
    );
    check(&first(|section| section[22..26].fill(255)), "4294967295 edges");
    check(&first(|section| section[26..30].copy_from_slice(&f32::NAN.to_le_bytes())), "rise");
    check(&first(|section| section[26..30].copy_from_slice(&9.0_f32.to_le_bytes())), "rise");
    check(&first(|section| section.push(0)), "1 bytes belong to nothing");
    check(&first(Vec::clear), "section encoding-0");
    check(&second(|section| section[18..22].fill(255)), "4294967295 keys");
    check(&second(|section| section[22..30].fill(0)), "keys are not 0, and rise");
    check(&second(|section| section[30..34].fill(0x3f)), "ranks are whole numbers");
    check(
        &second(|section| section[14..18].copy_from_slice(&[0, 0, 0x80, 0x7f])),
        "log odds finite",
    );
    // The same columns, of which another number is the user's.
    let shifted = first(|section| {
        section[6] = 1;
        section[10] = 3;
    });
    check(&shifted, "encodes 1 columns of the user and 3 of a candidate; the manifest has 2 and 2");
}

#[test]
fn encodings_of_others_are_refused_with_the_reason() {
    let bytes = written(&two());
    let lost = |name: &str| {
        let keep = |section: &Section<'_>| (section.name != name).then(|| section.bytes.to_vec());
        changed(&bytes, keep, &[])
    };
    // A linear model takes any keys and numbers, so it is its golden rows that tell.
    check(&lost("encoding-0"), "golden row");
    check(&lost("encoding-1"), "golden row");
    let mut encoding = Vec::new();
    codes().encode(&mut encoding);
    let keep = |section: &Section<'_>| Some(section.bytes.to_vec());
    let third = [Section { name: "encoding-2", bytes: &encoding }];
    check(&changed(&bytes, keep, &third), "9 sections for 2 stages");

    let refused = |change: fn(&mut Contents)| {
        let mut contents = two();
        change(&mut contents);
        contents.write(&mut std::io::sink()).expect_err("refused").to_string()
    };
    let told = refused(|contents| contents.encodings.push(codes()));
    assert!(told.contains("3, for 2 stages"), "{told}");
    let told = refused(|contents| {
        let one = vec![Codes::new(known(), -1.0)];
        contents.encodings[1] = Encoding::Codes(Halves::cut(one, 1));
    });
    let wanted = "1 fields of the user and 0 of a candidate; the manifest has 1 and 2";
    assert!(told.contains("section encoding-1") && told.contains(wanted), "{told}");
}

#[test]
fn a_bundle_without_encodings_has_no_section_of_them() {
    let mut plain = contents();
    let before = written(&plain);
    let container = Container::read(&before).expect("sound");
    assert!(container.sections.iter().all(|section| !section.name.starts_with("encoding")));
    plain.encodings = vec![Encoding::Plain];
    assert_eq!(written(&plain), before, "the same bytes");
}

#[test]
fn every_bit_and_every_end_of_an_encoding_counts() {
    let bytes = written(&two());
    let container = Container::read(&bytes).expect("sound");
    let mut compared = 0;
    for name in ["encoding-0", "encoding-1"] {
        let section = container.section(name).expect("there");
        let start = bytes.windows(section.len()).position(|some| some == section).expect("there");
        let mut damaged = bytes.clone();
        for place in start..start + section.len() {
            for bit in 0..8 {
                damaged[place] ^= 1 << bit;
                let told = refusal(&damaged);
                assert!(told.contains(&format!("section {name}")), "byte {place}: {told}");
                damaged[place] ^= 1 << bit;
                compared += 1;
            }
        }
        for end in 0..section.len() {
            let cut = with(&bytes, name, |section| section.truncate(end));
            check(&cut, &format!("section {name}"));
            compared += 1;
        }
    }
    assert!(compared > 2_000, "{compared} were compared");
}

/// Bytes replaced by chance with all checksums made right again: refused or a bundle, never a panic.
#[test]
fn chance_finds_no_panic_in_encodings() {
    let bytes = written(&two());
    let mut random = Random::new(17);
    let (mut refused, mut read) = (0, 0);
    for round in 0..2_000 {
        let (count, seed) = (1 + random.below(3), random.bits());
        let name = ["encoding-0", "encoding-1"][round % 2];
        let broken = with(&bytes, name, |section| {
            let mut random = Random::new(seed);
            for _ in 0..count {
                let place = random.below(section.len() as u64) as usize;
                section[place] = random.bits() as u8;
            }
        });
        match Bundle::read(&broken) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 800 && read > 0, "{refused} were refused, {read} read");
}
