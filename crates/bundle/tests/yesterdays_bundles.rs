//! A bundle of version 1 lies in somebody's archive: every later build must read it, and answer the same.
//!
//! The file was written once, by [`common::contents`] of that day. Where this fails the format has changed:
//! then it needs another version, and this file stays.

mod common;

use common::{contents, written};
use reckon_bundle::Bundle;

const V1: &[u8] = include_bytes!("fixtures/v1/linear.bundle");
const ID: &str = "d1d39d2a9d35d657efe0d0b4bc7a08acd835ac486152b63715789cf57e33eaa2";

#[test]
fn version_1_is_read() {
    let bundle = Bundle::read(V1).expect("version 1");
    assert_eq!(bundle.id.to_string(), ID);
    assert_eq!(bundle.manifest, contents().manifest);
    assert_eq!(bundle.golden.rows(), 8);
    assert_eq!(bundle.models().len(), 1);
}

#[test]
fn version_1_is_written() {
    assert!(written(&contents()) == V1, "the same contents are no longer the same bytes");
}
