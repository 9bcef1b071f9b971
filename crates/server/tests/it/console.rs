//! The page is served to everyone, runs nothing but its own scripts, and is fetched once a build.
//!
//! What is asked here is what this binary holds: the whole console after `make build`, or the words
//! that it is missing after a plain `cargo build`. Where the console must be there, as in `make test`,
//! `RECKON_CONSOLE=required` says so, and its absence fails.

use std::io::Read;

use axum::body::Body;
use flate2::read::GzDecoder;
use reckon_server::http::console;

use crate::harness::{Answer, House};

async fn open(house: &House, path: &str, headers: &[(&str, &str)]) -> Answer {
    house.ask("GET", path, headers, Body::empty()).await
}

/// The names of files that the page refers to.
fn references(page: &str) -> Vec<String> {
    let quoted = regex::Regex::new(r#"(?:src|href)="(?:\./|/console/)?([^"]+)""#).unwrap();
    quoted.captures_iter(page).map(|found| found[1].to_owned()).collect()
}

#[track_caller]
fn assert_guarded(path: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy");
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    for directive in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(directives.contains(&directive), "{path}: {directive} is not in {policy:?}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
}

#[test]
fn it_is_built_in_where_it_must_be() {
    let required = std::env::var("RECKON_CONSOLE").is_ok_and(|value| value == "required");
    println!("console built in: {}, required: {required}", console::is_built_in());
    assert!(console::is_built_in() || !required, "run `make test`, which builds the console first");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_without_its_slash_leads_to_the_page() {
    let house = House::new().await;
    let answer = open(&house, "/console", &[]).await;
    assert_eq!((answer.status, answer.header("location")), (308, "/console/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_open_and_guarded() {
    let house = House::new().await;
    let answer = open(&house, "/console/", &[]).await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_guarded("/console/", &answer);
    assert!(
        !text.contains("<script>") && !text.contains("style="),
        "nothing stands inline: {text}"
    );
    if console::is_built_in() {
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-cache"));
    } else {
        assert_eq!((answer.status, answer.header("cache-control")), (404, "no-store"));
        assert!(text.contains("no console") && text.contains("make build"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_page_is_there_in_both_codings() {
    let house = House::new().await;
    let page = open(&house, "/console/", &[]).await;
    let mut kinds = std::collections::BTreeMap::new();
    for name in references(&String::from_utf8(page.body).unwrap()) {
        if !console::is_built_in() {
            break;
        }
        let path = format!("/console/{name}");
        let plain = open(&house, &path, &[]).await;
        assert_eq!(plain.status, 200, "{path}: {plain:?}");
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        assert_eq!(plain.header("vary"), "Accept-Encoding", "{path}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable", "{path}");
        assert_guarded(&path, &plain);
        let packed = open(&house, &path, &[("accept-encoding", "gzip, br")]).await;
        let mut unpacked = Vec::new();
        if packed.header("content-encoding") == "gzip" {
            GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
            assert!(packed.body.len() < plain.body.len(), "{path}");
        } else {
            unpacked.clone_from(&packed.body);
        }
        assert!(unpacked == plain.body, "{path}: both codings hold the same");
        let kind = plain.header("content-type").split(';').next().unwrap().to_owned();
        *kinds.entry(kind).or_insert(0) += plain.body.len();
    }
    println!("files of the console, bytes by type: {kinds:?}");
    if console::is_built_in() {
        for kind in ["text/javascript", "text/css", "image/svg+xml"] {
            assert!(kinds.get(kind).is_some_and(|&bytes| bytes > 100), "{kind}: {kinds:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let house = House::new().await;
    let first = open(&house, "/console/", &[]).await;
    let tag = first.header("etag").to_owned();
    assert_eq!(tag.is_empty(), !console::is_built_in());
    if tag.is_empty() {
        println!("no console in this build: nothing to keep");
        return;
    }
    let again = open(&house, "/console/", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    assert_eq!(again.header("cache-control"), "no-cache");
    assert_guarded("/console/", &again);
    let other = open(&house, "/console/", &[("if-none-match", "W/\"0\"")]).await;
    assert_eq!((other.status, other.body), (200, first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_404_and_writes_are_refused() {
    let house = House::new().await;
    let nowhere = [
        "/console/nothing",
        "/console/assets/none-00000000.js",
        "/console/..%2fCargo.toml",
        "/console/../../Cargo.toml",
        "/console/%ff",
    ];
    for path in nowhere {
        let answer = open(&house, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.detail().contains("no such"), "{path}");
    }
    let answer = house.ask("POST", "/console/", &[], Body::empty()).await;
    assert_eq!(answer.status, 405);
}
