//! The other half of the loop: what is predicted, what is served and with which probability, what is
//! logged of it, and that the next prediction knows of the click.

use reckon_event::{Kind, Position, Record, ServedRows, prediction_index, prediction_request};
use serde_json::{Value, json};

use crate::harness::{Answer, House};

/// The seed's example, word for word.
const SEED: &str = r#"{
"user_id": "u_abc123",
"ad_candidates": ["ad_001", "ad_002", "ad_003"],
"context": { "page_url": "...", "device": "mobile", "geo": "US" }
}"#;

async fn ask(house: &House, body: &str) -> Answer {
    let bearer = format!("Bearer {}", house.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    house.ask("POST", "/api/predict", &headers, body.to_owned()).await
}

/// The probability of a click of one user on one ad.
async fn p_click(house: &House, user: &str, ad: &str) -> f64 {
    let asked = json!({"user_id": user, "ad_candidates": [ad], "mint": 0});
    let answer = house.post("/api/predict", &asked).await;
    answer.json()["predictions"][0]["p_click"].as_f64().expect("a probability")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_in_the_order_of_the_candidates() {
    let house = House::new().await;
    let fresh = ask(&house, SEED).await;
    assert_eq!(fresh.status, 200, "{fresh:?}");
    assert_eq!(fresh.json()["unknown_ads"], json!(["ad_001", "ad_002", "ad_003"]));
    assert_eq!(fresh.json()["predictions"], json!([]));

    house.register(&["ad_003", "ad_001"]).await;
    let answer = ask(&house, SEED).await.json();
    let ads: Vec<&str> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["ad_id"].as_str().unwrap())
        .collect();
    assert_eq!(ads, ["ad_001", "ad_003"]);
    assert_eq!(answer["unknown_ads"], json!(["ad_002"]));
    assert_eq!(answer["degraded"], false);
    for one in answer["predictions"].as_array().unwrap() {
        let p = one["p_click"].as_f64().unwrap();
        assert!(p > 0.0 && p < 1.0 && one["calibrated"] == true && one["stage"] == 1, "{one}");
        assert_eq!(one["bid_micros"], (1_000.0 * p).round() as i64);
        assert!(one["impression"].is_string() && one["click_url"].is_string());
        assert!(one.get("propensity").is_none(), "nobody has told one");
    }
    assert!(answer["latency_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_so_many_get_a_token_that_counts() {
    let house = House::new().await;
    house.register(&["a", "b", "c", "d"]).await;
    let asked = json!({"user_id": "u", "ad_candidates": ["a", "b", "c", "d"], "mint": 2});
    let answer = house.post("/api/predict", &asked).await.json();
    let minted: Vec<&Value> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["impression"].is_string())
        .collect();
    assert_eq!(minted.len(), 2);
    let url = minted[0]["click_url"].as_str().unwrap();
    let click = house.browse(url.strip_prefix("http://reckon.test").unwrap()).await;
    assert_eq!(click.status, 302);
    assert_eq!(house.clicks_by_reason().await, [("counted".to_owned(), 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let house = House::new().await;
    house.register(&["a"]).await;
    let many: Vec<String> = (0..1_001).map(|ad| format!("ad-{ad}")).collect();
    let cases = [
        (json!({}), 400, "ad_candidates"),
        (json!({"ad_candidates": "a"}), 400, "ad_candidates"),
        (json!({"ad_candidates": ["a"], "colour": 1}), 400, "colour"),
        (json!({"ad_candidates": []}), 422, "ad_candidates: must hold 1 to 1000 ids"),
        (json!({"ad_candidates": many}), 422, "ad_candidates: must hold 1 to 1000 ids"),
        (json!({"ad_candidates": ["a", ""]}), 422, "ad_candidates[1]: must not be empty"),
        (json!({"ad_candidates": ["a"], "user_id": ""}), 422, "user_id: must not be empty"),
        (json!({"ad_candidates": ["a"], "mint": 1_001}), 422, "mint: must be 0 to 1000"),
        (json!({"ad_candidates": ["a"], "deadline_ms": 0}), 422, "deadline_ms: must be 1 to"),
        (
            json!({"ad_candidates": ["a"], "positions": [1, 2]}),
            422,
            "positions: must hold one value",
        ),
        (json!({"ad_candidates": ["a"], "positions": [0]}), 422, "positions[0]: must be 1 to"),
        (
            json!({"ad_candidates": ["a"], "propensities": [0.0]}),
            422,
            "propensities[0]: must be above 0",
        ),
        (json!({"ad_candidates": ["a"], "context": {"x": [1]}}), 422, "context.x: must be a text"),
        (
            json!({"ad_candidates": ["a"], "context": {"geo": "x".repeat(200)}}),
            422,
            "context.geo: must be at most",
        ),
        (
            json!({"ad_candidates": ["a"], "context": {"page_url": "x".repeat(3_000)}}),
            422,
            "context.page_url: must be at most",
        ),
    ];
    for (body, status, says) in cases {
        let answer = house.post("/api/predict", &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let detail = answer.detail();
        assert!(detail.contains(says), "{detail:?} does not say {says:?}");
    }
    let broken = ask(&house, "{\"ad_candidates\": [").await;
    assert_eq!((broken.status, broken.detail().starts_with("body:")), (400, true));
    let without_key = house.ask("POST", "/api/predict", &[], SEED).await;
    assert_eq!(without_key.status, 401);
}

/// Rows of the log: request, index and inputs of each prediction, with its record.
fn rows(house: &House) -> Vec<ServedRows> {
    records(house, |_, record| {
        (record.kind == Kind::Prediction)
            .then(|| ServedRows::decode(record.payload).expect("it is a row"))
    })
}

/// What is looked for in the records of the log.
pub fn records<T>(
    house: &House,
    mut look: impl FnMut(Position, &Record<'_>) -> Option<T>,
) -> Vec<T> {
    let log = house.app().log();
    let mut found = Vec::new();
    for partition in 0..log.partitions() {
        let mut from = 0;
        loop {
            let chunk = log.read(partition, from, 1 << 20).expect("it reads");
            if chunk.entries.is_empty() {
                break;
            }
            for entry in &chunk.entries {
                let (record, _) =
                    Record::decode(&chunk.bytes[entry.bytes.clone()]).expect("a record");
                found.extend(look(Position { partition, offset: entry.offset }, &record));
            }
            from = chunk.next;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_row_is_logged_before_what_refers_to_it() {
    let house = House::new().await;
    house.register(&["a", "b", "c"]).await;
    // Before anything is counted there is no cut to name.
    house.browse("/click?adId=a").await;
    house.settle().await;
    let asked =
        json!({"placement": "top", "user_id": "u", "context": {"device": "mobile"}, "count": 2});
    let served = house.post("/v1/ads/serve", &asked).await.json();
    for ad in served["ads"].as_array().unwrap() {
        house
            .browse(
                ad["impression_url"].as_str().unwrap().strip_prefix("http://reckon.test").unwrap(),
            )
            .await;
    }
    house.settle().await;
    let rows = rows(&house);
    assert_eq!(rows.len(), 1, "one record a request");
    assert_eq!(rows[0].candidates.len(), 2);
    assert_eq!(rows[0].cut.len(), usize::from(house.app().log().partitions()));
    assert!(!rows[0].shared.is_empty());
    let mut order = Vec::new();
    let claims = records(&house, |_, record| {
        order.push(record.kind);
        record.claims.filter(|_| record.kind == Kind::Impression)
    });
    order.retain(|kind| *kind != Kind::Control);
    assert_eq!(order, [Kind::Click, Kind::Prediction, Kind::Impression, Kind::Impression]);
    for claims in claims {
        assert_eq!(prediction_request(claims.prediction_id), rows[0].request);
        let index = prediction_index(claims.prediction_id);
        let row = rows[0].candidates.iter().find(|one| one.index == index).expect("its row");
        assert_eq!((row.ad_key, row.propensity), (claims.ad_key, claims.propensity));
        assert!(!row.features.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_positions_and_propensities_are_in_the_token() {
    let house = House::new().await;
    house.register(&["a", "b"]).await;
    let asked = json!({"user_id": "u", "ad_candidates": ["x", "a", "b"], "positions": [9, 3, 2], "propensities": [1.0, 0.25, 0.5]});
    let answer = house.post("/api/predict", &asked).await.json();
    for one in answer["predictions"].as_array().unwrap() {
        let token = one["impression"].as_str().unwrap();
        house.browse(&format!("/v1/impression?imp={token}")).await;
    }
    house.settle().await;
    let mut told = records(&house, |_, record| {
        let claims = record.claims.filter(|_| record.kind == Kind::Impression)?;
        Some((claims.position, claims.propensity))
    });
    told.sort_by_key(|&(position, _)| position);
    assert_eq!(told, [(2, 0.5), (3, 0.25)]);
    assert_eq!(answer["predictions"][0]["propensity"], 0.25);
}

/// Shows an ad to a user, and clicks it or not.
async fn show(house: &House, user: &str, ad: &str, is_clicked: bool) {
    let asked = json!({"user_id": user, "ad_candidates": [ad], "context": {"device": "mobile"}, "positions": [1]});
    let answer = house.post("/api/predict", &asked).await.json();
    let token = answer["predictions"][0]["impression"].as_str().unwrap().to_owned();
    assert_eq!(house.browse(&format!("/v1/impression?imp={token}")).await.status, 200);
    if is_clicked {
        assert_eq!(house.browse(&format!("/click?imp={token}")).await.status, 302);
    }
}

async fn teach(house: &House, from: usize) {
    for round in from..from + 60 {
        let user = format!("u-{round}");
        show(house, &user, "liked", round % 3 == 0).await;
        show(house, &user, "ignored", false).await;
    }
    house.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_prediction_knows_of_the_click() {
    let house = House::new().await;
    house.register(&["liked", "ignored"]).await;
    let before = [p_click(&house, "new", "liked").await, p_click(&house, "new", "ignored").await];
    assert_eq!(before[0], before[1], "nothing is known of either");
    teach(&house, 0).await;
    let after = [p_click(&house, "new", "liked").await, p_click(&house, "new", "ignored").await];
    assert!(after[0] > 1.5 * after[1], "{after:?}");
    let active = house.get("/api/models/active").await.json();
    assert_eq!(active["metrics"]["impressions"], 120);
    assert_eq!(active["metrics"]["clicks"], 20);
    assert_eq!(active["active"]["trained_rows"], 120);
    assert_eq!(active["rows"]["orphans"], 0);
    let log_loss = active["metrics"]["log_loss"].as_f64().unwrap();
    assert!(log_loss > 0.0 && log_loss < 1.0, "{log_loss}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_counts_once_for_the_model_too() {
    let house = House::new().await;
    house.register(&["a"]).await;
    let token = house.token("u").await;
    for _ in 0..3 {
        house.browse(&format!("/v1/impression?imp={token}")).await;
        house.browse(&format!("/click?imp={token}")).await;
    }
    house.settle().await;
    let active = house.get("/api/models/active").await.json();
    assert_eq!(
        (&active["active"]["trained_rows"], &active["active"]["trained_clicks"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing() {
    let mut house = House::new().await;
    house.register(&["liked", "ignored"]).await;
    teach(&house, 0).await;
    // Served and shown before the restart, clicked after it: the row stands in the log.
    let token = house.token("late").await;
    house.browse(&format!("/v1/impression?imp={token}")).await;
    house.settle().await;
    let before = p_click(&house, "new", "liked").await;
    house.restart().await;
    let after = p_click(&house, "new", "liked").await;
    assert!((before - after).abs() < 0.02 * before, "{before} {after}");
    house.browse(&format!("/click?imp={token}")).await;
    house.settle().await;
    let active = house.get("/api/models/active").await.json();
    assert_eq!(active["active"]["trained_clicks"], 21);
    assert_eq!(active["rows"]["orphans"], 0);
    assert_eq!(active["metrics"]["impressions"], 121);
}

#[tokio::test(flavor = "multi_thread")]
async fn ads_are_served_by_what_they_are_worth_and_some_to_try() {
    let house = House::new().await;
    house.register(&["liked", "ignored"]).await;
    teach(&house, 0).await;
    let mut first = std::collections::BTreeMap::<String, u32>::new();
    for user in 0..200 {
        let asked = json!({"placement": "top", "user_id": format!("new-{user}"), "context": {"device": "mobile"}, "count": 2});
        let ads = house.post("/v1/ads/serve", &asked).await.json()["ads"].clone();
        let ads = ads.as_array().unwrap();
        assert_eq!(ads.len(), 2);
        assert_ne!(ads[0]["ad_id"], ads[1]["ad_id"]);
        for ad in ads {
            let propensity = ad["propensity"].as_f64().unwrap();
            assert!((0.01 / 2.0 - 1e-6..=1.0).contains(&propensity), "{ad}");
            assert!(
                ad["p_click"].as_f64().unwrap() > 0.0 && ad["p_click_here"].as_f64().unwrap() > 0.0
            );
        }
        *first.entry(ads[0]["ad_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(first["liked"] > 120, "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_is_nobody_in_particular() {
    let house = House::new().await;
    house.register(&["a"]).await;
    for round in 0..40 {
        show(&house, "fan", "a", true).await;
        show(&house, &format!("other-{round}"), "a", false).await;
    }
    house.settle().await;
    let p = async |user: &str, consent: Value| {
        let asked = json!({"user_id": user, "ad_candidates": ["a"], "consent": consent, "mint": 0});
        house.post("/api/predict", &asked).await.json()["predictions"][0]["p_click"]
            .as_f64()
            .unwrap()
    };
    let (known, refused) = (p("fan", json!(true)).await, p("fan", json!(false)).await);
    assert!(known > 1.2 * refused, "{known} {refused}");
    assert_eq!(refused, p("nobody", json!(false)).await);
}
