//! A click from the front door to its figure: redirected where the ad was registered to go, logged,
//! counted once, and never counted for a robot, a forger or a latecomer.

use std::collections::BTreeMap;
use std::io::Write;

use axum::body::Body;
use reckon_event::{TenantId, Timestamp};
use serde_json::{Value, json};

use crate::harness::{BROWSER, House};

/// `&[("counted", 1)]` as the map that the house answers.
fn reasons(expect: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expect.iter().map(|&(reason, clicks)| (reason.to_owned(), clicks)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_ad_is_shown_viewed_and_clicked_once() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let ad = house.serve("ann").await;
    let path = |url: &str| {
        ad[url].as_str().unwrap().strip_prefix("http://reckon.test").unwrap().to_owned()
    };
    for url in ["impression_url", "view_url"] {
        let pixel = house.browse(&path(url)).await;
        assert_eq!((pixel.status, pixel.header("content-type")), (200, "image/gif"));
        assert!(pixel.body.starts_with(b"GIF89a"));
    }
    for _ in 0..3 {
        let click = house.browse(&path("click_url")).await;
        assert_eq!(click.status, 302);
        assert_eq!(click.header("location"), "https://shop.example/ad-1?a=1#top");
        assert_eq!(
            (click.header("cache-control"), click.header("reckon-degraded")),
            ("no-store", "")
        );
    }
    let rows = house
        .rows("granularity=total&group_by=ad_id,campaign_id,region,device,placement,position")
        .await;
    let expect = json!({"ad_id": "ad-1", "campaign_id": "cmp", "region": "DE", "device": "mobile", "placement": "top",
        "position": 1, "impressions": 1, "views": 1, "clicks": 1, "clicks_gross": 3, "duplicates": 2, "invalid": 0,
        "spend_micros": 1000});
    assert_eq!(rows.len(), 1, "{rows:?}");
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&rows[0][name], value, "{name} in {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_that_comes_first_does_not_burn_the_persons_click() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    let click = format!("/click?adId=ad-1&imp={token}");
    let browser = ("user-agent", BROWSER);
    for (method, headers) in [
        ("HEAD", vec![browser]),
        ("GET", vec![browser, ("sec-purpose", "prefetch;prerender")]),
        ("GET", vec![browser, ("purpose", "prefetch")]),
        ("GET", vec![("user-agent", "Googlebot/2.1 (+http://www.google.com/bot.html)")]),
    ] {
        let answer = house.ask(method, &click, &headers, Body::empty()).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, "https://shop.example/ad-1?a=1#top")
        );
    }
    assert_eq!(house.browse(&click).await.status, 302);
    let expect = [("counted", 1), ("declared_robot", 1), ("not_get", 1), ("prefetch", 2)];
    assert_eq!(house.clicks_by_reason().await, reasons(&expect));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_click_goes_to_the_registered_url_and_is_not_billable() {
    let house = House::new().await;
    house.register(&["ad-1", "ad-2"]).await;
    let token = house.token("ann").await;
    let mut edited = token.clone().into_bytes();
    edited[100] = if edited[100] == b'A' { b'B' } else { b'A' };
    let edited = String::from_utf8(edited).unwrap();
    let to_ad_2 = "https://shop.example/ad-2?a=1#top";
    for forged in [edited.as_str(), &token[..90], "x", "%00%00", &format!("{token}A")] {
        let answer =
            house.browse(&format!("/click?adId=ad-2&imp={forged}&url=https://evil.example/")).await;
        assert_eq!((answer.status, answer.header("location")), (302, to_ad_2), "{forged}");
    }
    // Nothing that is not registered can be reached, whatever is asked for.
    for path in [
        "/click?adId=https://evil.example/",
        "/click?adId=nobody&url=https://evil.example/",
        "/click",
        &format!("/click?imp={edited}"),
    ] {
        let answer = house.browse(path).await;
        assert_eq!((answer.status, answer.header("location")), (404, ""), "{path}");
        assert!(answer.detail().starts_with("adId: no such ad"));
    }
    assert_eq!(house.clicks_by_reason().await, reasons(&[("forged", 6), ("unknown_ad", 3)]));
    let rows = house.rows("granularity=total&group_by=ad_id").await;
    let spend: Vec<_> = rows
        .iter()
        .map(|row| (row["ad_id"].as_str().unwrap(), row["spend_micros"].as_i64()))
        .collect();
    assert_eq!(spend, [("(unknown)", Some(0)), ("ad-2", Some(0))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_ad_wins_over_the_one_in_the_url() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    let answer = house.browse(&format!("/click?adId=ad-2&imp={token}")).await;
    assert_eq!(answer.header("location"), "https://shop.example/ad-1?a=1#top");
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_click_is_redirected_and_expired() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let (redirected, batched) = (house.token("ann").await, house.token("bob").await);
    house.clock.step(25 * Timestamp::HOUR);
    assert_eq!(house.browse(&format!("/click?imp={redirected}")).await.status, 302);
    // A phone may take longer than a redirect.
    let batch = house.post("/v1/events", &json!([{"type": "click", "imp": batched}])).await;
    assert_eq!((batch.status, batch.json()["accepted"].as_u64()), (200, Some(1)));
    house.clock.step(48 * Timestamp::HOUR);
    let batch = house.post("/v1/events", &json!([{"type": "click", "imp": batched}])).await;
    assert_eq!(batch.status, 200);
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 1), ("expired", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_too_fast_for_a_person_is_invalid() {
    let house = House::with(
        &[("RULES__ENABLED", "true"), ("RULES__TOO_FAST_MS", "60000")],
        std::sync::Arc::new(reckon_disk::RealDisk),
    )
    .await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    house.browse(&format!("/click?imp={token}")).await;
    house.clock.step(2 * Timestamp::MINUTE);
    house.browse(&format!("/click?imp={token}")).await;
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 1), ("too_fast", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_ad_is_not_served_and_its_clicks_still_count() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    let bearer = format!("Bearer {}", house.key);
    let headers = [("authorization", bearer.as_str())];
    let patched = house.ask("PATCH", "/v1/ads/ad-1", &headers, r#"{"status":"paused"}"#).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let served = house
        .post("/v1/ads/serve", &json!({"placement": "top", "count": 3, "context": {}}))
        .await
        .json();
    assert_eq!(served["ads"], json!([]));
    assert_eq!(house.browse(&format!("/click?imp={token}")).await.status, 302);
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_clicks_are_gross_only_unless_the_network_says_so() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    assert_eq!(house.browse("/click?adId=ad-1").await.status, 302);
    assert_eq!(house.clicks_by_reason().await, reasons(&[("unsigned", 1)]));

    let house =
        House::with(&[("CLICK__UNSIGNED", "count")], std::sync::Arc::new(reckon_disk::RealDisk))
            .await;
    house.register(&["ad-1", "ad-2"]).await;
    for path in ["/click?adId=ad-1", "/click?adId=ad-1", "/click?adId=ad-2"] {
        assert_eq!(house.browse(path).await.status, 302);
    }
    house.clock.step(Timestamp::MINUTE);
    house.browse("/click?adId=ad-1").await;
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 3), ("double_click", 1)]));
    let rows = house.rows("granularity=total").await;
    assert_eq!(rows[0]["spend_micros"], 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_good_events_and_names_the_bad_ones() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let good = |id: &str| json!({"type": "click", "ad_id": "ad-1", "event_id": id, "user_id": "u"});
    let batch = json!([
        good("e1"),
        {"type": "click"},
        {"type": "click", "ad_id": 7},
        {"type": "click", "ad_id": "ad-1", "occurred_at": "not a time"},
        good("e1"),
        {"type": "click", "ad_id": "ad-1", "event_id": "e1", "user_id": "u", "position": 3},
        {"type": "click", "ad_id": "nobody", "event_id": "e2"},
        7,
    ]);
    let answer = house.post("/v1/events", &batch).await;
    assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (200, Some(4)));
    let rejected: Vec<(u64, String)> = answer.json()["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["index"].as_u64().unwrap(),
                one["reason"].as_str().unwrap().split(':').next().unwrap().to_owned(),
            )
        })
        .collect();
    let expect = [(1, "ad_id"), (2, "ad_id"), (3, "occurred_at"), (7, "invalid type")];
    assert_eq!(rejected, expect.map(|(index, field)| (index, field.to_owned())));
    let expect = [("conflict", 1), ("counted", 1), ("duplicate", 1), ("unknown_ad", 1)];
    assert_eq!(house.clicks_by_reason().await, reasons(&expect));
    let nothing = house.post("/v1/events", &json!([{"type": "click"}])).await;
    assert_eq!((nothing.status, nothing.json()["accepted"].as_u64()), (422, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_as_lines_and_compressed_and_bombs_do_not_go_off() {
    let settings = [
        ("SERVER__BODY_BYTES_DECOMPRESSED_MAX", "100000"),
        ("SERVER__BODY_BYTES_MAX", "50000"),
        ("SERVER__BATCH_EVENTS_MAX", "100"),
    ];
    let house = House::with(&settings, std::sync::Arc::new(reckon_disk::RealDisk)).await;
    house.register(&["ad-1"]).await;
    let bearer = format!("Bearer {}", house.key);
    let line =
        |id: u32| format!("{{\"type\":\"click\",\"ad_id\":\"ad-1\",\"event_id\":\"{id}\"}}\n");
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |text: &[u8]| zstd::encode_all(text, 19).unwrap();
    let send = async |encoding: &str, body: Vec<u8>| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-ndjson"),
            ("content-encoding", encoding),
        ];
        house.ask("POST", "/v1/events", &headers, body).await
    };
    assert_eq!(send("identity", (line(1) + &line(2)).into_bytes()).await.json()["accepted"], 2);
    assert_eq!(
        send("gzip", gzip((line(3) + "nonsense\n" + &line(4)).as_bytes())).await.json()["accepted"],
        2
    );
    assert_eq!(send("zstd", zstd(line(5).as_bytes())).await.json()["accepted"], 1);
    let bomb = vec![b' '; 10_000_000];
    for (encoding, body) in
        [("gzip", gzip(&bomb)), ("zstd", zstd(&bomb)), ("identity", bomb[..60_000].to_vec())]
    {
        let answer = send(encoding, body).await;
        assert_eq!(answer.status, 413, "{encoding}");
        assert!(answer.detail().contains("server.body_bytes"), "{answer:?}");
    }
    let many: String = (0..101).map(|id| line(1_000 + id)).collect();
    assert_eq!(send("identity", many.into_bytes()).await.status, 413);
    assert_eq!(send("gzip", b"not gzip".to_vec()).await.status, 400);
    assert_eq!(send("br", b"x".to_vec()).await.status, 415);
    let malformed =
        house.ask("POST", "/v1/events", &[("authorization", &bearer)], "[{\"type\":").await;
    assert_eq!(malformed.status, 400);
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 5)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_from_the_future_are_clamped_and_times_of_the_past_keep_their_minute() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let event = |id: &str, at: &str| json!({"type": "click", "ad_id": "ad-1", "event_id": id, "occurred_at": at});
    let batch =
        json!([event("past", "2017-11-07T09:30:38Z"), event("future", "2199-01-01T00:00:00Z")]);
    assert_eq!(house.post("/v1/events", &batch).await.status, 200);
    let rows = house.rows("granularity=1m").await;
    let buckets: Vec<&str> = rows.iter().map(|row| row["bucket"].as_str().unwrap()).collect();
    assert_eq!(buckets[0], "2017-11-07T09:30:00Z");
    let received = Timestamp::parse(buckets[1]).unwrap();
    assert!(house.clock.now().since(received).abs() < Timestamp::HOUR, "{buckets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_send_with_a_write_key_and_are_believed_only_with_a_token() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let made = house.post("/v1/keys", &json!({"name": "page", "kind": "write"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let write_key = made.json()["secret"].as_str().unwrap().to_owned();
    let token = house.token("ann").await;
    let untold = json!({"type": "click", "ad_id": "ad-1"});
    let told = json!({"type": "click", "imp": token});
    let beacon = [
        ("content-type", "text/plain;charset=UTF-8"),
        ("origin", "https://page.example"),
        ("user-agent", BROWSER),
    ];
    let in_query = house
        .ask(
            "POST",
            &format!("/v1/events?write_key={write_key}"),
            &beacon,
            json!([untold]).to_string(),
        )
        .await;
    assert_eq!((in_query.status, in_query.header("access-control-allow-origin")), (200, "*"));
    let in_body = json!({"write_key": write_key, "events": [told, untold]}).to_string();
    assert_eq!(house.ask("POST", "/v1/events", &beacon, in_body).await.json()["accepted"], 2);
    // Without any key a valid token is its own authority, and nothing else is.
    let bare = house.ask("POST", "/v1/events", &beacon, json!([told, untold]).to_string()).await;
    assert_eq!((bare.status, bare.json()["accepted"].as_u64()), (200, Some(1)));
    let nothing = house.ask("POST", "/v1/events", &beacon, json!([untold]).to_string()).await;
    assert_eq!(nothing.status, 401);
    let preflight = house.ask("OPTIONS", "/v1/events", &beacon, Body::empty()).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, "POST"));
    let expect = [("counted", 1), ("duplicate", 1), ("unsigned", 2)];
    assert_eq!(house.clicks_by_reason().await, reasons(&expect));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_token_is_worth_nothing_in_a_batch() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let app = house.app();
    let token = house.token("ann").await;
    let mut claims = app.edge.secrets.ring.open(&token).unwrap();
    claims.tenant = TenantId(2);
    let foreign = app.edge.secrets.ring.seal(&claims, [1; 12]);
    let answer =
        house.post("/v1/events", &json!([{"type": "click", "imp": foreign.as_str()}])).await;
    assert_eq!(answer.json()["accepted"], 1);
    assert_eq!(house.clicks_by_reason().await, reasons(&[("forged", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_survives_a_restart_and_stays_a_duplicate() {
    let mut house = House::new().await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    let click = format!("/click?imp={token}");
    let event = json!([{"type": "click", "ad_id": "ad-1", "event_id": "e1"}]);
    house.browse(&click).await;
    house.post("/v1/events", &event).await;
    for _ in 0..3 {
        house.restart().await;
        assert_eq!(house.browse(&click).await.status, 302, "the token still opens");
        house.post("/v1/events", &event).await;
    }
    assert_eq!(house.clicks_by_reason().await, reasons(&[("counted", 2), ("duplicate", 6)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_click_id_goes_where_the_advertiser_wants_it() {
    let house = House::new().await;
    house.register(&[]).await;
    let ad = json!({"ad_id": "ad-1", "campaign_id": "cmp", "destination_url": "https://shop.example/?a=1#top",
                    "append_click_id": "rid", "status": "active"});
    assert_eq!(house.post("/v1/ads", &ad).await.status, 201);
    let token = house.token("ann").await;
    let locations: Vec<String> = [
        house.browse(&format!("/click?imp={token}")).await,
        house.browse(&format!("/click?imp={token}")).await,
    ]
    .iter()
    .map(|answer| answer.header("location").to_owned())
    .collect();
    assert_eq!(locations[0], locations[1], "the id names the impression");
    let id = locations[0]
        .strip_prefix("https://shop.example/?a=1&rid=")
        .and_then(|rest| rest.strip_suffix("#top"))
        .expect("query and fragment stay");
    assert_eq!(id.len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_sum_to_the_records_received() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    for path in [
        format!("/click?imp={token}"),
        format!("/click?imp={token}"),
        "/click?adId=ad-1".to_owned(),
        "/click?adId=x".to_owned(),
        format!("/v1/impression?imp={token}"),
        format!("/v1/view?imp={token}"),
        "/v1/view?imp=forged".to_owned(),
    ] {
        house.browse(&path).await;
    }
    house.settle().await;
    let snapshot = house.app().progress.snapshot();
    let verdicts: u64 = snapshot.totals.iter().map(|(_, _, count)| count).sum();
    assert_eq!((verdicts, snapshot.totals.judged()), (7, 7));
    // The others are the row that the ad was served with, and ticks: no events, and without a verdict.
    assert!(snapshot.totals.skipped >= 1);
    assert_eq!(snapshot.position[0], snapshot.totals.seen());
    let scraped = house.get("/metrics").await;
    let text = String::from_utf8(scraped.body).unwrap();
    let sum: f64 = text
        .lines()
        .filter(|line| line.starts_with("reckon_records{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(sum, 7.0, "{text}");
    let _: Value = house.get("/healthz").await.json();
}
