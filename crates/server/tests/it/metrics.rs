//! Figures as they are asked for: every shape of question, every way to be wrong, and the same truth
//! in JSON, CSV, the live stream and the operators' page.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use reckon_event::Timestamp;
use reckon_server::http;
use reckon_server::http::scrape;
use serde_json::{Value, json};

use crate::harness::{Answer, House};

/// A day long ago, in UTC.
const DAY: &str = "2024-03-01";

/// An event of a trusted source at a time of [`DAY`].
fn event(kind: &str, ad: &str, time: &str, region: &str) -> Value {
    json!({"type": kind, "ad_id": ad, "occurred_at": format!("{DAY}T{time}Z"), "region": region,
        "device_type": "mobile", "placement": "top", "position": 1})
}

impl House {
    /// Sends events as a trusted source, and waits until they are counted.
    pub async fn send_events(&self, events: &[Value]) {
        let answer = self.post("/v1/events", &json!(events)).await;
        assert_eq!(
            (answer.status, &answer.json()["accepted"]),
            (200, &json!(events.len())),
            "{answer:?}"
        );
        self.settle().await;
    }

    /// A question about [`DAY`].
    async fn day(&self, question: &str) -> Vec<Value> {
        let answer = self
            .get(&format!("/v1/metrics?from={DAY}T00:00:00Z&to=2024-03-02T00:00:00Z&{question}"))
            .await;
        assert_eq!(answer.status, 200, "{question}: {answer:?}");
        answer.json()["rows"].as_array().unwrap().clone()
    }

    /// Two ads, two regions, over three minutes and into another hour.
    async fn with_a_day() -> Self {
        let house = House::new().await;
        house.register(&["ad-1", "ad-2"]).await;
        let mut events = Vec::new();
        for (ad, time, region, impressions, clicks) in [
            ("ad-1", "10:00:10", "DE", 10, 1),
            ("ad-1", "10:01:59", "FR", 4, 2),
            ("ad-2", "10:02:00", "DE", 5, 5),
            ("ad-1", "11:30:00", "", 0, 3),
        ] {
            events.extend((0..impressions).map(|_| event("impression", ad, time, region)));
            events.extend((0..clicks).map(|_| event("click", ad, time, region)));
        }
        let mut twice = event("click", "ad-2", "10:02:30", "DE");
        twice["event_id"] = json!("e-1");
        events.extend([twice.clone(), twice, event("click", "nobody", "10:02:30", "DE")]);
        house.send_events(&events).await;
        house
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_by_time_and_dimension() {
    let house = House::with_a_day().await;
    let all = house.day("").await;
    let expect = json!({"impressions": 19, "views": 0, "clicks": 12, "clicks_gross": 14, "invalid": 1, "duplicates": 1,
        "ctr": 12.0 / 19.0, "viewable_ctr": null, "spend_micros": 12_000});
    assert_eq!(all, [expect]);

    let by_minute = house.day("granularity=1m&metrics=clicks&ad_id=ad-1").await;
    let expect = [("10:00", 1), ("10:01", 2), ("11:30", 3)]
        .map(|(minute, clicks)| json!({"bucket": format!("{DAY}T{minute}:00Z"), "clicks": clicks}));
    assert_eq!(by_minute, expect);
    for (granularity, buckets) in [("5m", 2), ("1h", 2), ("1d", 1)] {
        let rows = house.day(&format!("granularity={granularity}&metrics=clicks")).await;
        assert_eq!(rows.len(), buckets, "{granularity}: {rows:?}");
        assert_eq!(
            rows.iter().map(|row| row["clicks"].as_i64().unwrap()).sum::<i64>(),
            12,
            "{granularity}"
        );
    }

    let by_ad = house.day("group_by=ad_id&metrics=clicks,clicks_gross").await;
    let of = |rows: &[Value], name: &str| -> BTreeMap<String, (i64, i64)> {
        let figure = |row: &Value, figure: &str| row[figure].as_i64().unwrap();
        let entry = |row: &Value| {
            (
                row[name].as_str().unwrap().to_owned(),
                (figure(row, "clicks"), figure(row, "clicks_gross")),
            )
        };
        rows.iter().map(entry).collect()
    };
    let expect = [("(unknown)", (0, 1)), ("ad-1", (6, 6)), ("ad-2", (6, 7))]
        .map(|(ad, clicks)| (ad.to_owned(), clicks));
    assert_eq!(of(&by_ad, "ad_id"), BTreeMap::from(expect));
    let by_region = house.day("group_by=region&metrics=clicks,clicks_gross").await;
    let expect = [("", (3, 3)), ("DE", (7, 9)), ("FR", (2, 2))]
        .map(|(region, clicks)| (region.to_owned(), clicks));
    assert_eq!(of(&by_region, "region"), BTreeMap::from(expect));
    let by_reason = house.day("group_by=reason&metrics=clicks,clicks_gross").await;
    let expect = [("counted", (12, 12)), ("duplicate", (0, 1)), ("unknown_ad", (0, 1))]
        .map(|(reason, clicks)| (reason.to_owned(), clicks));
    assert_eq!(of(&by_reason, "reason"), BTreeMap::from(expect));

    let one =
        house.day("group_by=campaign_id,position,device,placement&metrics=ctr&region=FR").await;
    assert_eq!(
        one,
        [
            json!({"campaign_id": "cmp", "position": 1, "device": "mobile", "placement": "top", "ctr": 0.5})
        ]
    );
    let filters = [
        ("ad_id=ad-2", 6),
        ("ad_id=(unknown)", 0),
        ("campaign_id=cmp", 12),
        ("region=", 3),
        ("device=mobile", 12),
        ("device=tablet", 0),
        ("placement=top", 12),
        ("position=1", 12),
        ("position=2", 0),
        ("ad_id=never", 0),
    ];
    for (filter, clicks) in filters {
        let rows = house.day(&format!("metrics=clicks&{filter}")).await;
        assert_eq!(
            rows.first().map_or(0, |row| row["clicks"].as_i64().unwrap()),
            clicks,
            "{filter}: {rows:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_slide_and_are_whole() {
    let house = House::with_a_day().await;
    let path = format!(
        "/v1/metrics?from={DAY}T10:00:00Z&to={DAY}T10:04:00Z&window=2m&step=1m&metrics=clicks&campaign_id=cmp"
    );
    let rows = house.get(&path).await.json()["rows"].clone();
    let expect = [("10:01", 1), ("10:02", 3), ("10:03", 8), ("10:04", 6)]
        .map(|(end, clicks)| json!({"bucket": format!("{DAY}T{end}:00Z"), "clicks": clicks}));
    assert_eq!(rows, json!(expect));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_ordered_and_limited() {
    let house = House::with_a_day().await;
    let ads = async |question: &str| {
        let rows = house.day(&format!("group_by=ad_id,region&metrics=clicks&{question}")).await;
        rows.iter().map(|row| row["clicks"].as_i64().unwrap()).collect::<Vec<i64>>()
    };
    assert_eq!(ads("order_by=-clicks").await, [6, 3, 2, 1, 0]);
    assert_eq!(ads("order_by=clicks:desc&limit=2").await, [6, 3]);
    assert_eq!(ads("order_by=clicks:asc").await, [0, 1, 2, 3, 6]);
    assert_eq!(ads("order_by=clicks&limit=1").await, [0]);
    let by_region = house.day("group_by=region&metrics=clicks&order_by=region:desc").await;
    let regions: Vec<&str> = by_region.iter().map(|row| row["region"].as_str().unwrap()).collect();
    assert_eq!(regions, ["FR", "DE", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_what_they_hold_and_whether_it_can_change() {
    let house = House::with_a_day().await;
    let now = house.clock.now();
    assert_eq!(house.app().log().partitions(), 1);
    let before = house.app().log().range(0).end;
    for (age_s, expect) in [(0, json!(false)), (300, json!("server")), (86_400 + 300, json!("all"))]
    {
        let to = now.plus(-age_s * Timestamp::SECOND);
        let answer = house.get(&format!("/v1/metrics?from=2020-01-01T00:00:00Z&to={to}")).await;
        let body = answer.json();
        assert_eq!(body["final"], expect, "{age_s} s ago");
        let as_of = body["as_of"].as_str().expect("a text");
        assert_eq!(answer.header("reckon-as-of"), as_of);
        // Ticks go on beside the question.
        let position = as_of.strip_prefix("0-").and_then(|n| n.parse::<u64>().ok());
        let after = house.app().log().range(0).end;
        assert!(position.is_some_and(|n| (before..=after).contains(&n)), "{as_of}");
        assert_eq!(answer.header("reckon-final"), expect.as_str().unwrap_or("false"));
    }
    let rounded = house
        .get(&format!(
            "/v1/metrics?granularity=1h&from={DAY}T10:20:00Z&to={DAY}T10:40:00Z&metrics=clicks"
        ))
        .await;
    let expect = (json!(format!("{DAY}T10:00:00Z")), json!(format!("{DAY}T11:00:00Z")));
    assert_eq!((rounded.json()["from"].clone(), rounded.json()["to"].clone()), expect);
    assert_eq!(rounded.json()["rows"][0]["clicks"], 9, "from is rounded down and to up");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_told_apart() {
    let house = House::new().await;
    for (question, status, name) in [
        ("from=yesterday", 400, "from"),
        ("to=5", 400, "to"),
        ("granularity=1w", 400, "granularity"),
        ("window=1x", 400, "window"),
        ("group_by=colour", 400, "group_by"),
        ("metrics=luck", 400, "metrics"),
        ("order_by=luck", 400, "order_by"),
        ("limit=many", 400, "limit"),
        ("colour=red", 400, "colour"),
        ("limit=1&limit=2", 400, "limit"),
        ("limit=0", 422, "limit"),
        ("order_by=region", 422, "order_by"),
        ("order_by=bucket", 422, "order_by"),
        ("window=1m&step=5m", 422, "step"),
        ("from=2024-03-02T00:00:00Z&to=2024-03-01T00:00:00Z", 422, "to"),
        ("granularity=1s&from=2024-03-02T00:00:00Z&to=2024-03-02T00:01:00Z", 422, "from"),
    ] {
        let answer = house.get(&format!("/v1/metrics?{question}")).await;
        assert_eq!(answer.status, status, "{question}: {answer:?}");
        assert!(
            answer.detail().starts_with(&format!("{name}: ")),
            "{question}: {}",
            answer.detail()
        );
    }
    for (question, status) in
        [("k=0", 422), ("k=1001", 422), ("window=1s", 422), ("by=luck", 400), ("x=1", 400)]
    {
        assert_eq!(
            house.get(&format!("/v1/ads/top?{question}")).await.status,
            status,
            "{question}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_system_answers_with_nothing() {
    let house = House::new().await;
    let answer = house.get("/v1/metrics").await;
    assert_eq!((answer.status, &answer.json()["rows"]), (200, &json!([])));
    assert_eq!(answer.json()["final"], false);
    let csv = house.csv("/v1/metrics?granularity=1m&group_by=ad_id&metrics=clicks").await;
    assert_eq!(csv, "bucket,ad_id,clicks\r\n");
    assert_eq!(house.get("/v1/metrics?granularity=1s").await.status, 200);
    assert_eq!(house.get("/v1/ads/top").await.json()["rows"], json!([]));
}

impl House {
    async fn csv(&self, path: &str) -> String {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("accept", "text/csv;q=1.0, */*")];
        let answer = self.ask("GET", path, &headers, Body::empty()).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/csv; charset=utf-8"),
            "{answer:?}"
        );
        String::from_utf8(answer.body).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_holds_the_same_as_json() {
    let house = House::with_a_day().await;
    let path = format!(
        "/v1/metrics?from={DAY}T00:00:00Z&to=2024-03-02T00:00:00Z&granularity=1m&group_by=ad_id,region"
    );
    let rows = house.get(&path).await.json()["rows"].as_array().unwrap().clone();
    let csv = house.csv(&path).await;
    let mut lines = csv.lines();
    let titles: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(titles[..3], ["bucket", "ad_id", "region"]);
    let mut compared = 0;
    for (line, row) in lines.zip(&rows) {
        for (cell, title) in line.split(',').zip(&titles) {
            let expect = match &row[title] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            assert_eq!(cell, expect, "{title} in {row}");
            compared += 1;
        }
    }
    assert_eq!((rows.len(), compared), (5, 5 * titles.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn currencies_are_never_added() {
    let house = House::new().await;
    house.register(&["euro"]).await;
    for (path, body) in [
        ("/v1/advertisers", json!({"advertiser_id": "us", "name": "us", "currency": "USD"})),
        (
            "/v1/campaigns",
            json!({"campaign_id": "usc", "advertiser_id": "us", "name": "c", "cpc_micros": 30}),
        ),
        (
            "/v1/ads",
            json!({"ad_id": "dollar", "campaign_id": "usc", "destination_url": "https://shop.example"}),
        ),
    ] {
        assert_eq!(house.post(path, &body).await.status, 201);
    }
    let clicks = ["euro", "dollar", "dollar"].map(|ad| event("click", ad, "10:00:00", "DE"));
    house.send_events(&clicks).await;
    let rows = house.day("metrics=clicks,spend_micros").await;
    let expect =
        json!({"clicks": 3, "spend_micros": null, "spend_by_currency": {"EUR": 1000, "USD": 60}});
    assert_eq!(rows, [expect]);
    let rows = house.day("group_by=ad_id&metrics=spend_micros&order_by=ad_id").await;
    let mut spend: Vec<i64> =
        rows.iter().map(|row| row["spend_micros"].as_i64().unwrap()).collect();
    spend.sort_unstable();
    assert_eq!(spend, [60, 1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_is_whole() {
    const ADS: usize = 3_500;
    let house = House::new().await;
    house.register(&[]).await;
    let id = |number: usize| format!("ad-{number:04}");
    let ads: Vec<Value> = (0..ADS)
        .map(|number| json!({"ad_id": id(number), "campaign_id": "cmp", "destination_url": "https://shop.example"}))
        .collect();
    assert_eq!(house.post("/v1/ads", &json!(ads)).await.status, 201);
    let clicks: Vec<Value> =
        (0..ADS).map(|number| event("click", &id(number), "10:00:00", "DE")).collect();
    house.send_events(&clicks).await;
    let mut seen: Vec<String> = house
        .day("group_by=ad_id&metrics=clicks")
        .await
        .iter()
        .map(|row| {
            assert_eq!(row["clicks"], 1);
            row["ad_id"].as_str().unwrap().to_owned()
        })
        .collect();
    seen.sort();
    assert_eq!(seen, (0..ADS).map(id).collect::<Vec<String>>());
    let csv = house
        .csv(&format!("/v1/metrics?from={DAY}T00:00:00Z&to=2024-03-02T00:00:00Z&group_by=ad_id"))
        .await;
    assert_eq!(csv.lines().count(), ADS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_top_is_of_the_running_window() {
    let house = House::new().await;
    house.register(&["ad-1", "ad-2", "ad-3"]).await;
    let mut clicks = vec![event("click", "ad-3", "10:00:00", "DE")];
    for (ad, count) in [("ad-1", 2), ("ad-2", 5)] {
        clicks.extend((0..count).map(|_| json!({"type": "click", "ad_id": ad})));
    }
    house.send_events(&clicks).await;
    let top = async |question: &str| {
        let rows = house.get(&format!("/v1/ads/top?{question}")).await.json()["rows"]
            .as_array()
            .unwrap()
            .clone();
        rows.iter()
            .map(|row| (row["ad_id"].as_str().unwrap().to_owned(), row["clicks"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    let expect = [("ad-2".to_owned(), 5), ("ad-1".to_owned(), 2)];
    assert_eq!(top("window=10m").await, expect);
    assert_eq!(top("window=10m&k=1&by=clicks_gross").await, expect[..1]);
}

/// Every sample of a scrape: name with labels, and value.
fn samples(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?}")))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_sum_to_the_records_at_every_scrape() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let mut scraped = 0;
    for round in 0..20_usize {
        let mut twice = event("click", "ad-1", "10:00:00", "DE");
        twice["event_id"] = json!(format!("e-{}", round / 2));
        let events: Vec<Value> = std::iter::repeat_n(twice, 3)
            .chain([event("click", "nobody", "10:00:00", "DE")])
            .collect();
        assert_eq!(house.post("/v1/events", &json!(events)).await.status, 200);
        let answer = house.get("/metrics").await;
        let samples = samples(&String::from_utf8(answer.body).unwrap());
        let sum: f64 = samples
            .iter()
            .filter(|(name, _)| name.starts_with("reckon_records{"))
            .map(|(_, value)| value)
            .sum();
        let received =
            samples.iter().find(|(name, _)| name == "reckon_records_received_total").unwrap().1;
        assert_eq!(sum, received);
        scraped += 1;
    }
    assert_eq!(scraped, 20);
    house.settle().await;
    let answer = house.get("/metrics").await;
    assert!(
        answer.header("content-type").starts_with("application/openmetrics-text"),
        "{answer:?}"
    );
    let text = String::from_utf8(answer.body).unwrap();
    let samples: BTreeMap<String, f64> = samples(&text).into_iter().collect();
    for (name, value) in [
        ("reckon_records_received_total", 80.0),
        ("reckon_records{kind=\"click\",verdict=\"counted\"}", 10.0),
        ("reckon_records{kind=\"click\",verdict=\"duplicate\"}", 50.0),
        ("reckon_records{kind=\"click\",verdict=\"unknown_ad\"}", 20.0),
        ("reckon_events_logged_total", 80.0),
        ("reckon_events_unlogged_total", 0.0),
        ("reckon_count_lag_records", 0.0),
        ("reckon_count_lag_seconds", 0.0),
        ("reckon_pipeline_failed", 0.0),
        ("reckon_spool_waiting", 0.0),
        ("reckon_ready", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
    }
    for name in [
        "reckon_resident_memory_bytes",
        "reckon_uptime_seconds",
        "reckon_epochs_total",
        "reckon_log_end{partition=\"0\"}",
    ] {
        assert!(samples.get(name).is_some_and(|&value| value > 0.0), "{name} in\n{text}");
    }
    assert!(text.contains("reckon_build{version=\"") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_need_no_key_on_their_own_listener() {
    let house = House::new().await;
    let router = scrape::admin_router(Arc::clone(house.app()));
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response =
            http::handle(house.app(), &router, request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    };
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    assert_eq!(ask("/v1/metrics").await.status, 404, "nothing else is open there");
    assert_eq!(
        house.ask("GET", "/metrics", &[], Body::empty()).await.status,
        401,
        "the public listener asks for a key"
    );
}
