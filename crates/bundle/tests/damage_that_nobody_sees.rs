//! A bundle is copied to every host, and one bit of one copy is wrong: that host answers other prices than
//! the rest, and nobody knows why. So every bit is under a checksum, what is cut off or goes on is refused,
//! and the refusal says where.

mod common;

use common::{contents, written};
use reckon_bundle::{Bundle, BundleError, Container, Section, write_container};

fn refusal(bytes: &[u8]) -> BundleError {
    Bundle::read(bytes).expect_err("a damaged bundle is refused")
}

#[test]
fn every_bit_counts() {
    let bytes = written(&contents());
    let mut damaged = bytes.clone();
    let mut compared = 0;
    for place in 0..bytes.len() {
        for bit in 0..8 {
            damaged[place] ^= 1 << bit;
            let error = Container::read(&damaged).expect_err("one bit is wrong");
            if let BundleError::Damaged { from, to, .. } = error {
                assert!(
                    (from..to).contains(&(place as u64)),
                    "byte {place}: told as {from} to {to}"
                );
            } else {
                assert!(place < 8, "byte {place}: {error}");
            }
            damaged[place] ^= 1 << bit;
            compared += 1;
        }
    }
    assert!(compared > 20_000, "{compared} bits were compared");
    assert!(Bundle::read(&damaged).is_ok(), "and whole again it is read");
}

#[test]
fn every_end_counts() {
    let bytes = written(&contents());
    for end in 0..bytes.len() {
        match refusal(&bytes[..end]) {
            BundleError::Foreign(_) => assert_eq!(end, 0),
            BundleError::Truncated { found, announced } => {
                assert_eq!(found, end as u64);
                assert_eq!(announced, if end < 32 { 32 } else { bytes.len() as u64 });
            }
            error => panic!("cut at {end}: {error}"),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(refusal(&longer), BundleError::Trailing { .. }));
}

#[test]
fn damage_far_inside_is_named_by_its_mebibyte() {
    let large = (0..5u32 << 20)
        .map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect::<Vec<_>>();
    let sections =
        [Section { name: "small", bytes: b"abc" }, Section { name: "large", bytes: &large }];
    let mut bytes = Vec::new();
    let id = write_container(&sections, &mut bytes).expect("two sections");
    let container = Container::read(&bytes).expect("as they were written");
    assert_eq!((container.id, &container.sections[..]), (id, &sections[..]));
    let start = bytes.len() - 32 - large.len().next_multiple_of(64);
    bytes[start + (3 << 20) + 17] ^= 1;
    let error = Container::read(&bytes).expect_err("one bit is wrong").to_string();
    let from = start + (3 << 20);
    let expected =
        format!("section large does not match its checksum (bytes {from} to {})", from + (1 << 20));
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn sealed_again_it_is_another_bundle() {
    let mut contents = contents();
    let before = Bundle::read(&written(&contents)).expect("sound").id;
    assert_eq!(Bundle::read(&written(&contents)).expect("sound").id, before, "the same bytes");
    contents.manifest.created_ms += 1;
    assert_ne!(Bundle::read(&written(&contents)).expect("sound").id, before);
    assert_eq!(before.to_string().len(), 64);
}

#[test]
fn foreign_files_are_called_by_their_names() {
    let cases: [(&[u8], &str); 4] = [
        (
            b"tree\nversion=v4\n",
            "this is a LightGBM text model: import it with `reckon models import`",
        ),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model: import it"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"", "the file is empty"),
    ];
    for (bytes, expected) in cases {
        let error = refusal(bytes).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_is_read_and_a_missing_one_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.bundle");
    let missing = Bundle::open(&path).expect_err("there is none");
    assert!(matches!(missing, BundleError::File(_)));
    std::fs::write(&path, written(&contents())).expect("written");
    assert_eq!(Bundle::open(&path).expect("sound").manifest, contents().manifest);
    let sparse = std::fs::File::create(&path).expect("created");
    sparse.set_len(reckon_bundle::BYTES_MAX + 1).expect("a sparse file");
    let error = Bundle::open(&path).expect_err("too large");
    assert!(matches!(error, BundleError::TooLarge { .. }), "{error}");
}
