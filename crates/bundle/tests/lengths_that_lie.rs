//! Whoever can place a file can write any number into it, checksums included. A length of four thousand
//! million must not become four thousand million bytes of memory, and parts that do not fit together must
//! not become a model. So bundles are broken here and sealed again, as an attacker would.

mod common;

use common::{contents, written};
use reckon_bundle::{Bundle, BundleError, Container, Section, write_container};
use reckon_model::Random;

/// Replaces a section and seals it all again.
fn with(bytes: &[u8], name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let container = Container::read(bytes).expect("sound");
    let mut changed = container.section(name).expect("there").to_vec();
    change(&mut changed);
    let replace = |section: &Section<'_>| match section.name == name {
        true => changed.clone(),
        false => section.bytes.to_vec(),
    };
    let parts = container.sections.iter().map(replace).collect::<Vec<_>>();
    let sections = container.sections.iter().zip(&parts);
    let sections =
        sections.map(|(section, bytes)| Section { name: section.name, bytes }).collect::<Vec<_>>();
    let mut out = Vec::new();
    write_container(&sections, &mut out).expect("sound sections");
    out
}

/// Replaces bytes of the header or directory and makes their checksums right.
fn sealed(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    let directory = u32::from_le_bytes(bytes[24..28].try_into().expect("four")) as usize;
    if let Some(checksum) = bytes.get(32..32 + directory).map(crc32c::crc32c) {
        if let Some(place) = bytes.get_mut(32 + directory..36 + directory) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
    }
    let header = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&header.to_le_bytes());
    let body = bytes.len() - 32;
    let digest = *blake3::hash(&bytes[..body]).as_bytes();
    bytes[body..].copy_from_slice(&digest);
    bytes
}

fn check(bytes: &[u8], expected: &str) {
    let error = Bundle::read(bytes).expect_err("a lie is refused").to_string();
    assert!(error.contains(expected), "{error:?} has not {expected:?}");
}

#[test]
fn a_header_that_lies() {
    let bytes = written(&contents());
    check(&sealed(&bytes, |bytes| bytes[8] = 2), "version 2 of the bundle format is not known");
    check(&sealed(&bytes, |bytes| bytes[12..16].fill(255)), "4294967295 sections");
    check(&sealed(&bytes, |bytes| bytes[24..28].fill(255)), "in a directory of 4294967295 bytes");
    check(&sealed(&bytes, |bytes| bytes[16..24].fill(255)), "a bundle holds at most 2147483648");
    check(&sealed(&bytes, |bytes| bytes[19] = 0x7f), "truncated");
    check(&sealed(&bytes, |bytes| bytes[12] = 3), "nobody's");
    check(&sealed(&bytes, |bytes| bytes[12] = 0), "nobody's");
}

#[test]
fn a_directory_that_lies() {
    let bytes = written(&contents());
    check(&sealed(&bytes, |bytes| bytes[32 + 40..32 + 48].fill(255)), "section manifest has no");
    check(&sealed(&bytes, |bytes| bytes[32 + 32] = 7), "section manifest has no");
    check(&sealed(&bytes, |bytes| bytes[32] = b'/'), "cannot be a section's name");
    check(&sealed(&bytes, |bytes| bytes[32] = 0), "cannot be a section's name");
    check(&sealed(&bytes, |bytes| bytes[32 + 31] = b'x'), "cannot be a section's name");
    check(
        &sealed(&bytes, |bytes| bytes[32..40].copy_from_slice(b"golden\0\0")),
        "each of another name",
    );
    check(
        &sealed(&bytes, |bytes| bytes[32..34].copy_from_slice(b"xx")),
        "section manifest is missing",
    );
}

#[test]
fn sections_that_lie() {
    let bytes = written(&contents());
    let golden = |change: fn(&mut Vec<u8>)| with(&bytes, "golden", change);
    check(&golden(|section| section[0..4].fill(255)), "4294967295 rows");
    check(&golden(|section| section[4] = 5), "5 columns");
    check(&golden(|section| section.truncate(90)), "its rows need");
    check(&golden(Vec::clear), "cut off");
    check(&with(&bytes, "calibration-0", |section| section[20] ^= 1), "section calibration-0");
    check(&with(&bytes, "calibration-0", Vec::clear), "section calibration-0");
    check(&with(&bytes, "model-0", |section| section.truncate(100)), "section model-0");
    check(&with(&bytes, "model-0", |section| section[6] = 28), "a table of 2^28 coordinates");
}

#[test]
fn a_manifest_that_lies() {
    let bytes = written(&contents());
    let said = |from: &str, to: &str| {
        with(&bytes, "manifest", |section| {
            let text = String::from_utf8(section.clone()).expect("JSON");
            assert!(text.contains(from), "{text}");
            *section = text.replacen(from, to, 1).into_bytes();
        })
    };
    check(&said("\"sampling\":0.1", "\"sampling\":0"), "stages[0].sampling: 0 is not a share");
    check(&said("\"sampling\":0.1", "\"sampling\":1e999"), "section manifest");
    check(&said("\"top\":null", "\"top\":50"), "stages[0].top");
    check(&said("\"user_columns\":2", "\"user_columns\":5"), "columns: 4, of them 5 the user's");
    check(&said("number_1", "number_0"), "columns: number_0 is there twice");
    check(&said("category_1", ""), "fields: \"\": a name has 1 to 256 bytes");
    check(&said("\"parent\"", "\"owner\""), "unknown field `owner`");
    check(&said("\"linear\"", "\"trees\""), "section model-0");
    check(&said("abab", "xyxy"), "parent: a bundle's id is 64 hexadecimal digits");
    check(&said("\"clicks\":40", "\"clicks\":4000"), "training");
}

/// Bytes of any section replaced by chance, with every checksum of the file made right again: whatever
/// comes of it is refused or a bundle, and never a panic.
#[test]
fn chance_finds_no_panic() {
    let bytes = written(&contents());
    let names = ["manifest", "golden", "calibration-0", "model-0"];
    let mut random = Random::new(3);
    let (mut refused, mut read) = (0, 0);
    for round in 0..4000 {
        let broken = with(&bytes, names[round % 4], |section| {
            for _ in 0..=random.below(3) {
                let place = random.below(section.len() as u64) as usize;
                section[place] = random.bits() as u8;
            }
            if random.below(4) == 0 {
                section.truncate(random.below(section.len() as u64) as usize);
            }
        });
        match Bundle::read(&broken) {
            Ok(_) => read += 1,
            Err(BundleError::Damaged { .. }) => panic!("it was sealed"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 3000 && read > 0, "{refused} were refused, {read} read");
}
