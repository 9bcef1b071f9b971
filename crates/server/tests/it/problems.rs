//! Whatever goes wrong is a problem: one shape, the right status, named for the request it belongs to.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use reckon_disk::{RealDisk, SimDisk};
use serde_json::json;

use crate::harness::{Answer, House};

/// Method, path, headers, body, and the status of the problem.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

#[track_caller]
fn check(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    for field in ["type", "title", "detail", "request_id"] {
        let text = problem[field].as_str().unwrap_or_else(|| panic!("{field} in {problem}"));
        assert!(!text.is_empty(), "{field} in {problem}");
    }
    assert!(problem["type"].as_str().unwrap().starts_with("urn:reckon:problem:"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_one_shape() {
    let house = House::with(&[("SERVER__BODY_BYTES_MAX", "2000")], Arc::new(RealDisk)).await;
    house.register(&["ad-1"]).await;
    let bearer = format!("Bearer {}", house.key);
    let admin = ("authorization", bearer.as_str());
    let large = "x".repeat(2_001);
    let cases: [Case<'_>; 17] = [
        ("GET", "/nowhere", &[], "", 404),
        ("GET", "/v1/ads/nobody", &[admin], "", 404),
        ("GET", "/v1/ads/%ff", &[admin], "", 400),
        ("PUT", "/v1/ads", &[admin], "", 405),
        ("DELETE", "/v1/ads/ad-1", &[admin], "", 405),
        ("POST", "/click?adId=ad-1", &[], "", 405),
        ("POST", "/healthz", &[], "", 405),
        ("GET", "/click?adId=nobody", &[], "", 404),
        ("GET", "/v1/ads", &[], "", 401),
        ("POST", "/v1/ads", &[admin], "{", 400),
        ("POST", "/v1/ads", &[admin], "", 400),
        ("POST", "/v1/ads", &[admin], "{} {}", 400),
        ("POST", "/v1/ads", &[admin], "\u{0}", 400),
        ("POST", "/v1/ads", &[admin], &large, 413),
        ("POST", "/v1/events", &[admin], &large, 413),
        ("POST", "/v1/ads", &[admin, ("content-encoding", "br")], "{}", 415),
        ("POST", "/v1/ads", &[admin, ("content-encoding", "gzip")], "{}", 400),
    ];
    for (method, path, headers, body, status) in cases {
        let answer = house.ask(method, path, headers, body.to_owned()).await;
        check(&answer, status);
    }
    // The same with an idempotency key, which reads the body earlier.
    let keyed = [admin, ("idempotency-key", "k")];
    check(&house.ask("POST", "/v1/ads", &keyed, large).await, 413);
    check(&house.ask("POST", "/v1/ads", &keyed, "{".to_owned()).await, 400);
}

/// A batch from an address without a key.
async fn ask_openly(house: &House) -> Answer {
    house.ask("POST", "/v1/events", &[], "[]".to_owned()).await
}

/// Each status of the published table, by what really leads to it.
#[tokio::test(flavor = "multi_thread")]
async fn every_status_of_the_table_can_be_had() {
    let disk = SimDisk::new(3);
    let settings =
        [("SERVER__ANONYMOUS_REQUESTS_PER_SECOND", "2"), ("SERVER__BODY_BYTES_MAX", "2000")];
    let mut house = House::with(&settings, Arc::new(disk.clone())).await;
    house.register(&["a"]).await;
    let reader = house
        .post("/v1/keys", &json!({"name": "reader", "kind": "secret", "scopes": ["read"]}))
        .await;
    let reader = format!("Bearer {}", reader.json()["secret"].as_str().expect("a secret"));
    let predict = json!({"user_id": "u", "ad_candidates": ["a"]}).to_string();
    let asked = async |bearer: &str, body: &str| {
        house.ask("POST", "/api/predict", &[("authorization", bearer)], body.to_owned()).await
    };
    let admin = format!("Bearer {}", house.key);
    check(&asked(&admin, "{\"ad_candidates\": 7}").await, 400);
    check(&asked("Bearer nobody", &predict).await, 401);
    check(&asked(&reader, &predict).await, 403);
    check(&house.get("/v1/ads/nobody").await, 404);
    let other =
        json!({"ad_id": "a", "campaign_id": "cmp", "destination_url": "https://other.example"});
    check(&house.post("/v1/ads", &other).await, 409);
    check(&asked(&admin, &"x".repeat(2_001)).await, 413);
    check(&asked(&admin, "{\"ad_candidates\": []}").await, 422);
    let mut refused = ask_openly(&house).await;
    for _ in 0..1_000 {
        if refused.status == 429 {
            break;
        }
        refused = ask_openly(&house).await;
    }
    check(&refused, 429);
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused:?}");
    house.route("/fails", || -> &'static str { panic!("as a handler must not") });
    check(&house.browse("/fails").await, 500);
    disk.fail_all_syncs(true);
    let event = json!([{"type": "click", "ad_id": "a", "event_id": "e"}]);
    let unavailable = house.post("/v1/events", &event).await;
    check(&unavailable, 503);
    assert!(unavailable.header("retry-after").parse::<u32>().is_ok(), "{unavailable:?}");
    disk.fail_all_syncs(false);
    assert_eq!(house.browse("/healthz").await.status, 200, "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_costs_no_more_than_an_honest_body() {
    let house =
        House::with(&[("SERVER__BODY_BYTES_DECOMPRESSED_MAX", "100000")], Arc::new(RealDisk)).await;
    house.register(&[]).await;
    let pack = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bearer = format!("Bearer {}", house.key);
    let headers = [("authorization", bearer.as_str()), ("content-encoding", "gzip")];
    check(&house.ask("POST", "/v1/ads", &headers, pack(&vec![b' '; 10_000_000])).await, 413);
    let ad = json!({"ad_id": "a", "campaign_id": "cmp", "destination_url": "https://shop.example"});
    for (key, status) in [("k", 201), ("k", 201), ("j", 200)] {
        let headers = [headers[0], headers[1], ("idempotency-key", key)];
        let answer = house.ask("POST", "/v1/ads", &headers, pack(ad.to_string().as_bytes())).await;
        assert_eq!(answer.status, status, "packed and keyed: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_name() {
    let house = House::new().await;
    let given = [("x-request-id", "mine-1")];
    for path in ["/nowhere", "/click?adId=nobody", "/v1/ads"] {
        let answer = house.ask("GET", path, &given, Body::empty()).await;
        assert_eq!(answer.json()["request_id"], "mine-1", "{path}");
    }
    assert_eq!(
        house.ask("GET", "/healthz", &given, Body::empty()).await.header("x-request-id"),
        "mine-1"
    );
    let long = "x".repeat(129);
    let bad = [("x-request-id", long.as_str())];
    let (one, two) = (
        house.ask("GET", "/x", &bad, Body::empty()).await,
        house.ask("GET", "/x", &bad, Body::empty()).await,
    );
    assert_eq!(one.json()["request_id"], one.header("x-request-id"));
    assert_eq!(one.header("x-request-id").len(), 16);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}
