//! The live stream: every second once, until the key is revoked or the server stops.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use reckon_server::http;
use serde_json::{Value, json};

use crate::harness::House;

/// A live stream, read event by event.
struct Live(Body);

impl Live {
    async fn open(house: &House, query: &str) -> Self {
        let router = http::router(Arc::clone(house.app()));
        let request = Request::get(format!("/v1/live?{query}")).body(Body::empty()).unwrap();
        let response =
            http::handle(house.app(), &router, request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Live(response.into_body())
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let data = self.0.frame().await?.unwrap().into_data().unwrap();
            let text = String::from_utf8(data.to_vec()).unwrap();
            assert!(text.ends_with("\n\n"), "{text:?}");
            if let Some(json) = text.strip_prefix("data: ") {
                return Some(serde_json::from_str(json).unwrap());
            }
            assert!(text.starts_with(':'), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_tells_each_second_until_the_server_stops() {
    let house = House::new().await;
    house.register(&["ad-1", "ad-2"]).await;
    let token = format!("access_token={}", house.key);
    let (mut all, mut one) = (
        Live::open(&house, &token).await,
        Live::open(&house, &format!("{token}&ad_id=ad-1")).await,
    );
    let clicks = ["ad-1", "ad-1", "ad-2"].map(|ad| json!({"type": "click", "ad_id": ad}));
    house.send_events(&clicks).await;
    for (stream, expect) in [(&mut all, 3), (&mut one, 2)] {
        let mut told = (0, 0);
        let mut until = None;
        while told.0 < expect {
            let event = stream.next().await.expect("it goes on");
            assert!(
                until.is_none_or(|until: Value| until == event["at"]),
                "no second is left out: {event}"
            );
            until = Some(event["until"].clone());
            told.0 += event["clicks"].as_i64().unwrap();
            told.1 += event["spend_micros"].as_i64().unwrap();
        }
        assert_eq!(told, (expect, expect * 1_000));
    }
    house.app().stopping.send_replace(true);
    while one.next().await.is_some() {}
    while all.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn live_ends_when_its_key_is_revoked() {
    let house = House::new().await;
    let (id, secret) =
        house.make_key(&json!({"name": "k", "kind": "secret", "scopes": ["read"]})).await;
    let mut stream = Live::open(&house, &format!("access_token={secret}")).await;
    assert!(stream.next().await.is_some());
    assert_eq!(
        house.write("DELETE", &format!("/v1/keys/{id}"), &Value::Null, None).await.status,
        200
    );
    while stream.next().await.is_some() {}
    let bearer = format!("Bearer {secret}");
    assert_eq!(
        house.ask("GET", "/v1/live", &[("authorization", &bearer)], Body::empty()).await.status,
        401
    );
    assert_eq!(house.ask("GET", "/v1/live", &[], Body::empty()).await.status, 401);
    assert_eq!(house.get("/v1/live?colour=red").await.status, 400);
    let elsewhere = format!("/v1/metrics?access_token={}", house.key);
    assert_eq!(
        house.ask("GET", &elsewhere, &[], Body::empty()).await.status,
        401,
        "a key in a URL is for this path only"
    );
}
