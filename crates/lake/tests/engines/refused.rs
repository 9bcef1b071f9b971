//! What a lake cannot be in is found when it is opened, and said with what to do about it.

use std::mem::discriminant;
use std::time::Duration;

use reckon_lake::conformance::history::{handed_over, history, in_lake};
use reckon_lake::conformance::{keep, open};
use reckon_lake::{LakeError, LakeOptions, LakeSubscriber, S3Options, S3Versions, clear, verify};

use crate::place;
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

/// Opens a lake twice; tells why it does not open.
fn refusal(options: &S3Options) -> LakeError {
    let refused = || LakeSubscriber::open(place(options), LakeOptions::new(1)).err();
    let first = refused().expect("it is refused");
    let second = refused().expect("it is refused again");
    assert_eq!(discriminant(&first), discriminant(&second), "{first}, then {second}");
    second
}

#[test]
fn a_server_that_replaces_is_refused() {
    let server = Server::shared();
    let proxy = Proxy::before(&server.endpoint, |_| Fault::Unconditional);
    let error = refusal(&server.options_by(&proxy.endpoint()));
    assert!(matches!(error, LakeError::Replaces { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("If-None-Match") && told.contains(&proxy.endpoint()), "{told}");
}

#[test]
fn a_bucket_that_keeps_versions_is_refused_unless_somebody_answers_for_it() {
    let server = Server::shared();
    let options = S3Options { bucket: "versioned".to_owned(), ..server.options() };
    let error = refusal(&options);
    assert!(matches!(error, LakeError::KeepsVersions { .. }), "{error}");
    assert!(error.to_string().contains("suspend versioning"), "{error}");
    let options = S3Options { versions: S3Versions::Expire, ..options };
    let place = place(&options);
    let steps = history(1, 3, 20, 1);
    keep(&mut open(&place, 1), &steps, 1..=3, 1);
    assert_eq!(in_lake(&place), handed_over(&steps, 3));
}

#[test]
fn who_may_not_or_cannot_be_reached_is_told_what_to_check() {
    let server = Server::shared();
    let hasty = S3Options {
        request: Duration::from_secs(1),
        deadline: Duration::from_secs(2),
        ..server.options()
    };
    let mut keys = hasty.keys.clone().expect("keys");
    keys.secret_access_key.push('x');
    let nobody = "http://127.0.0.1:1".to_owned();
    for (options, expect) in [
        (S3Options { keys: Some(keys), ..hasty.clone() }, "check the keys"),
        (S3Options { bucket: "nowhere".to_owned(), ..hasty.clone() }, "make the bucket"),
        (S3Options { endpoint: Some(nobody), ..hasty.clone() }, "that the server is up"),
    ] {
        let told = refusal(&options).to_string();
        let address = options.endpoint.clone().expect("an address");
        assert!(told.contains(expect) && told.contains(&address), "{told}");
        assert!(verify(&place(&options)).is_err(), "{expect}");
    }
}

#[test]
fn lakes_in_one_bucket_do_not_meet() {
    let server = Server::shared();
    let one = server.options();
    // One's prefix is the beginning of the other's.
    let other = S3Options { prefix: format!("{}-b", one.prefix), ..one.clone() };
    let within = S3Options { prefix: format!("{}/b", one.prefix), ..one.clone() };
    let steps = history(2, 4, 20, 1);
    for options in [&one, &other, &within] {
        keep(&mut open(&place(options), 1), &steps, 1..=4, 1);
    }
    clear(&place(&one), LakeOptions::new(2)).expect("it is emptied");
    for options in [&other, &within] {
        assert_eq!(in_lake(&place(options)), handed_over(&steps, 4));
        assert_eq!(verify(&place(options)).expect("it reads").damage, []);
    }
}

#[test]
fn files_that_the_server_has_lost_bytes_of_are_found() {
    let server = Server::shared();
    let options = server.options();
    let place = place(&options);
    let mut lake = open(&place, 1);
    keep(&mut lake, &history(3, 10, 60, 2), 1..=10, 1);
    drop(lake);
    let whole = verify(&place).expect("it reads");
    let paths = reckon_lake::conformance::history::batches(&place, reckon_lake::Table::Records);
    let folder = server.files.join(&options.bucket).join(&options.prefix);
    for (at, path) in paths.keys().enumerate() {
        let file = folder.join(path);
        let bytes = std::fs::read(&file).expect("each object is a file");
        let mut changed = bytes.clone();
        match at % 3 {
            0 => changed.truncate(bytes.len() / 2),
            1 => changed[bytes.len() / 3] ^= 1,
            _ => changed.extend_from_slice(b"more"),
        }
        rewrite(&file, &changed);
        let found = verify(&place).expect("it reads");
        assert_eq!(found.damage.iter().map(|one| &one.path).collect::<Vec<_>>(), [path]);
        rewrite(&file, &bytes);
    }
    assert!(paths.len() > 2, "{} files", paths.len());
    assert_eq!(verify(&place).expect("it reads"), whole);
}

/// In place: the server keeps what it knows of an object with its file.
fn rewrite(file: &std::path::Path, bytes: &[u8]) {
    use std::io::Write;
    let mut file =
        std::fs::OpenOptions::new().write(true).truncate(true).open(file).expect("a file");
    file.write_all(bytes).expect("it writes");
}
