//! A prediction knew nothing of what a user had said of themselves, or knew it of somebody who had refused
//! or was erased.
//!
//! Profiles are set through the front door; what a prediction made of them is read from the row it logged.

use reckon_event::{Record, ServedRows};
use reckon_feature::Plan;
use serde_json::{Value, json};

use crate::harness::House;
use crate::predict::records;

/// Columns that a profile and the catalog say, as they were logged with a row.
#[derive(Debug, PartialEq)]
struct Known {
    interest_count: f32,
    interest_match: Option<f32>,
    locale_match: Option<f32>,
    quality: Option<f32>,
    is_age_known: bool,
    has_locale: bool,
}

async fn house() -> House {
    house_with(&[]).await
}

async fn house_with(settings: &[(&str, &str)]) -> House {
    let house = House::with(settings, std::sync::Arc::new(reckon_disk::RealDisk)).await;
    house.register(&[]).await;
    for (ad, category, locale, quality) in
        [("tea", "tea", json!("de-AT"), json!(0.25)), ("books", "books", Value::Null, Value::Null)]
    {
        let ad = json!({"ad_id": ad, "campaign_id": "cmp", "status": "active", "category": category,
            "destination_url": "https://shop.example/", "locale": locale, "quality": quality});
        let answer = house.post("/v1/ads", &ad).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    house
}

async fn set(house: &House, profile: &Value) {
    let answer = house.post("/v1/users", profile).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"users": 1})), "{answer:?}");
}

/// What a prediction for both ads logs, the one for tea first.
async fn predicted(house: &House, more: &Value) -> (Known, Known) {
    let mut asked = json!({"ad_candidates": ["tea", "books"], "user_id": "u"});
    for (name, value) in more.as_object().expect("an object") {
        asked[name] = value.clone();
    }
    let answer = house.post("/api/predict", &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Nobody waits for rows; a click that is durable stands behind them.
    house.browse("/click?adId=tea").await;
    house.settle().await;
    let rows = records(house, |_, record: &Record<'_>| ServedRows::decode(record.payload).ok());
    let rows = rows.into_iter().max_by_key(|rows| rows.request).expect("a row was logged");
    let plan = Plan::default();
    let number = |index: u16, name: &str| {
        let at = plan.columns().iter().position(|column| column.name == name).expect("a column");
        let own = rows.candidates.iter().find(|one| one.index == index).expect("a row of it");
        let all = rows.shared_columns.numeric.iter().chain(&own.columns.numeric);
        Some(*all.collect::<Vec<_>>()[at]).filter(|number| !number.is_nan())
    };
    let field = plan.fields().iter().position(|field| field.name == "locale").expect("a field");
    let known = |index| Known {
        interest_count: number(index, "interest_count").expect("always there"),
        interest_match: number(index, "interest_match"),
        locale_match: number(index, "locale_match"),
        quality: number(index, "quality_score"),
        is_age_known: number(index, "ad_age_hours").is_some(),
        has_locale: rows.shared_columns.keys[field] != 0,
    };
    (known(0), known(1))
}

/// Of somebody who has said nothing.
const NOTHING: Known = Known {
    interest_count: 0.0,
    interest_match: None,
    locale_match: None,
    quality: None,
    is_age_known: true,
    has_locale: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_knows_what_a_user_said_and_forgets_it_with_them() {
    let mut house = house().await;
    let (tea, books) = predicted(&house, &json!({})).await;
    assert_eq!((tea, books), (Known { quality: Some(0.25), ..NOTHING }, NOTHING));

    set(&house, &json!({"user_id": "u", "locale": "de-AT", "interests": ["books", "shoes"]})).await;
    let said =
        Known { interest_count: 2.0, interest_match: Some(1.0), has_locale: true, ..NOTHING };
    let of_tea =
        Known { interest_match: Some(0.0), locale_match: Some(1.0), quality: Some(0.25), ..said };
    assert_eq!(predicted(&house, &json!({})).await, (of_tea, said));

    // What was acknowledged is there after a restart, and another one says nothing of it.
    house.restart().await;
    let (tea, books) = predicted(&house, &json!({})).await;
    assert_eq!((tea.interest_count, books.interest_match), (2.0, Some(1.0)));
    let (tea, _) = predicted(&house, &json!({"user_id": "v"})).await;
    assert_eq!((tea.interest_count, tea.has_locale), (0.0, false));

    // The request knows better; who refuses is nobody in particular.
    let (tea, _) = predicted(&house, &json!({"context": {"locale": "fr"}})).await;
    assert_eq!((tea.locale_match, tea.interest_count), (Some(0.0), 2.0));
    let (tea, books) = predicted(&house, &json!({"consent": false})).await;
    assert_eq!((tea.locale_match, tea.interest_count, books), (None, 0.0, NOTHING));

    // What is said later stands in place of all that was said.
    set(&house, &json!({"user_id": "u", "interests": ["tea"]})).await;
    let (tea, _) = predicted(&house, &json!({})).await;
    assert_eq!((tea.interest_match, tea.has_locale), (Some(1.0), false));

    assert_eq!(house.write("DELETE", "/v1/users/u", &json!({}), None).await.status, 200);
    let (tea, books) = predicted(&house, &json!({})).await;
    assert_eq!((tea.interest_count, tea.interest_match, books), (0.0, None, NOTHING));
    let again = house.post("/v1/users", &json!({"user_id": "u", "interests": ["tea"]})).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert_eq!(house.get("/v1/users/u").await.status, 404);
    house.restart().await;
    assert_eq!(predicted(&house, &json!({})).await.1, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_read_again_and_no_id_is_kept() {
    let house = house().await;
    let user = "somebody-with-a-name";
    let said = json!({"user_id": user, "locale": "de", "interests": ["tea", "books"]});
    let lines = format!("{said}\n{}\n", json!({"user_id": "v"}));
    let bearer = format!("Bearer {}", house.key);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let answer = house.ask("POST", "/v1/users", &headers, lines).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"users": 2})));
    let read = house.get(&format!("/v1/users/{user}")).await.json();
    let updated_at = read["updated_at"].clone();
    assert_eq!(
        read,
        json!({"user_id": user, "locale": "de", "interests": ["tea", "books"], "updated_at": updated_at})
    );
    let data = house.get(&format!("/v1/users/{user}/data")).await.json();
    assert_eq!(
        data["profile"],
        json!({"locale": "de", "interests": ["tea", "books"], "updated_at": updated_at})
    );
    let nothing = house.get("/v1/users/v").await.json();
    assert_eq!((&nothing["locale"], &nothing["interests"]), (&Value::Null, &json!([])));
    assert_eq!(house.get("/v1/users/w/data").await.json()["profile"], Value::Null);

    let dir = house.stop().await;
    let mut folders = vec![dir.path().to_path_buf()];
    let mut bytes_read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("our folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("our file");
            bytes_read += bytes.len();
            let found = bytes.windows(user.len()).any(|window| window == user.as_bytes());
            assert!(!found, "{user} stands in {}", path.display());
        }
    }
    assert!(bytes_read > 10_000, "{bytes_read} bytes were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_does_not_spoil_the_others() {
    let house = house_with(&[("FEATURE__PERSONS_MAX", "3")]).await;
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let cases = [
        (json!({}), 400, "user_id"),
        (json!({"user_id": "u", "colour": 1}), 400, "colour"),
        (json!({"user_id": ""}), 422, "user_id: must not be empty"),
        (json!({"user_id": "u", "locale": ""}), 422, "locale"),
        (json!({"user_id": "u", "interests": many}), 422, "interests must be at most 64"),
        (json!({"user_id": "u", "interests": ["a", "a"]}), 422, "interests must be named once"),
        (json!([]), 422, "the list is empty"),
        (json!(["u"]), 422, "1 of 1 users were refused"),
    ];
    for (body, status, detail) in cases {
        let answer = house.post("/v1/users", &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.detail().contains(detail), "{body}: {}", answer.detail());
    }
    let some = json!([{"user_id": "a"}, {"user_id": "b", "locale": ""}, {"user_id": "c"}]);
    let answer = house.post("/v1/users", &some).await;
    assert_eq!((answer.status, &answer.json()["errors"][0]["index"]), (422, &json!(1)));
    for (user, status) in [("a", 200), ("b", 404), ("c", 200)] {
        assert_eq!(house.get(&format!("/v1/users/{user}")).await.status, status, "{user}");
    }
    // Memory is bounded; whoever is there may say something else all the same.
    let two = json!([{"user_id": "d"}, {"user_id": "e"}]);
    let answer = house.post("/v1/users", &two).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.detail().contains("feature.persons_max"), "{}", answer.detail());
    assert_eq!(house.get("/v1/users/d").await.status, 404);
    set(&house, &json!({"user_id": "d"})).await;
    set(&house, &json!({"user_id": "a", "locale": "de"})).await;
    for (ad, wrong) in [(json!({"quality": 1.5}), "quality"), (json!({"locale": ""}), "locale")] {
        let answer = house.write("PATCH", "/v1/ads/tea", &ad, None).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.detail().contains(wrong), "{}", answer.detail());
    }
    let patched = json!({"quality": null, "locale": "fr"});
    let answer = house.write("PATCH", "/v1/ads/tea", &patched, None).await.json();
    assert_eq!((&answer["quality"], &answer["locale"]), (&Value::Null, &json!("fr")));
    let bare = house.ask("GET", "/v1/users/a", &[], axum::body::Body::empty()).await;
    assert_eq!(bare.status, 401);
}
