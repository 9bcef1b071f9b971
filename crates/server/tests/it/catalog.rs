//! The catalog as people and their tools write it: registered once, changed at once everywhere, and
//! the same after a repetition or a restart.

use axum::body::Body;
use reckon_event::TenantId;
use serde_json::{Value, json};

use crate::harness::{Answer, House};

impl House {
    /// As the admin, with any method, a JSON body and an idempotency key where one is given.
    pub async fn write(&self, method: &str, path: &str, body: &Value, key: Option<&str>) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let mut headers =
            vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.ask(method, path, &headers, body.to_string()).await
    }
}

fn ad(id: &str) -> Value {
    json!({"ad_id": id, "campaign_id": "cmp", "destination_url": format!("https://shop.example/{id}")})
}

fn ids(page: &Value, plural: &str, id: &str) -> Vec<String> {
    let list = page[plural].as_array().unwrap_or_else(|| panic!("no {plural} in {page}"));
    list.iter().map(|item| item[id].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thing_is_registered_once() {
    let house = House::new().await;
    house.register(&[]).await;
    let full = json!({"ad_id": "ad-1", "campaign_id": "cmp", "destination_url": "https://shop.example/A?b={c}#d",
        "category": "shoes", "creative_size": "300x250", "append_click_id": "rid", "status": "paused"});
    for (body, status) in [(&full, 201), (&full, 200)] {
        let answer = house.post("/v1/ads", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        for (name, value) in full.as_object().unwrap() {
            assert_eq!(&answer.json()[name], value, "{name} comes back as registered");
        }
    }
    let mut other = full.clone();
    other["category"] = json!("boots");
    let answer = house.post("/v1/ads", &other).await;
    assert_eq!(answer.status, 409);
    assert!(answer.detail().contains("ad-1"), "{}", answer.detail());
    assert_eq!(house.get("/v1/ads/ad-1").await.json()["category"], "shoes");
    assert_eq!(house.get("/v1/ads/ad-2").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_made_where_none_is_given() {
    let house = House::new().await;
    let advertiser = house.post("/v1/advertisers", &json!({"name": "A", "currency": "USD"})).await;
    assert_eq!(advertiser.status, 201, "{advertiser:?}");
    let advertiser_id = advertiser.json()["advertiser_id"].as_str().unwrap().to_owned();
    assert!(advertiser_id.starts_with("adv_"), "{advertiser_id}");
    let campaign = json!({"advertiser_id": advertiser_id, "name": "C", "cpc_micros": 5});
    let campaign = house.post("/v1/campaigns", &campaign).await.json();
    assert!(campaign["campaign_id"].as_str().unwrap().starts_with("cmp_"), "{campaign}");
    assert_eq!((&campaign["status"], &campaign["targeting"]), (&json!("active"), &json!(null)));
    let ad =
        json!({"campaign_id": campaign["campaign_id"], "destination_url": "https://shop.example"});
    let (first, second) =
        (house.post("/v1/ads", &ad).await.json(), house.post("/v1/ads", &ad).await.json());
    assert!(first["ad_id"].as_str().unwrap().starts_with("ad_"), "{first}");
    assert_ne!(first["ad_id"], second["ad_id"], "two requests, two ads");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_named() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let ad = |url: &str| json!({"campaign_id": "cmp", "destination_url": url});
    let campaign = |more: Value| {
        let mut campaign = json!({"advertiser_id": "adv", "name": "C", "cpc_micros": 5});
        campaign.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        campaign
    };
    let cases = [
        ("/v1/advertisers", json!({"name": "A"}), 400, "currency"),
        ("/v1/advertisers", json!({"name": 5, "currency": "EUR"}), 400, "name"),
        (
            "/v1/advertisers",
            json!({"name": "A", "currency": "EUR", "colour": "red"}),
            400,
            "colour",
        ),
        ("/v1/advertisers", json!({"name": "A", "currency": "euro"}), 422, "currency"),
        ("/v1/advertisers", json!({"name": "", "currency": "EUR"}), 422, "name"),
        (
            "/v1/advertisers",
            json!({"advertiser_id": "a\nb", "name": "A", "currency": "EUR"}),
            422,
            "advertiser_id",
        ),
        ("/v1/campaigns", campaign(json!({"cpc_micros": 1.5})), 400, "cpc_micros"),
        ("/v1/campaigns", campaign(json!({"cpc_micros": -1})), 422, "cpc_micros"),
        ("/v1/campaigns", campaign(json!({"daily_budget_micros": -1})), 422, "daily_budget_micros"),
        ("/v1/campaigns", campaign(json!({"advertiser_id": "nobody"})), 422, "advertiser_id"),
        ("/v1/campaigns", campaign(json!({"status": "sleeping"})), 422, "status"),
        (
            "/v1/campaigns",
            campaign(json!({"targeting": {"weather": ["sun"]}})),
            422,
            "targeting.weather",
        ),
        ("/v1/campaigns", campaign(json!({"targeting": {"geo": "DE"}})), 400, "targeting.geo"),
        ("/v1/campaigns", campaign(json!({"targeting": {"geo": [5]}})), 400, "targeting.geo[0]"),
        (
            "/v1/campaigns",
            campaign(json!({"targeting": {"geo": ["DE", ""]}})),
            422,
            "targeting.geo[1]",
        ),
        ("/v1/ads", json!({"destination_url": "https://shop.example"}), 400, "campaign_id"),
        (
            "/v1/ads",
            json!({"campaign_id": "none", "destination_url": "https://shop.example"}),
            422,
            "campaign_id",
        ),
        ("/v1/ads", ad("shop.example"), 422, "destination_url"),
        ("/v1/ads", ad("javascript:alert(1)"), 422, "destination_url"),
        ("/v1/ads", ad("https://user:secret@shop.example/"), 422, "destination_url"),
        ("/v1/ads", ad("https://shop.example/\r\nSet-Cookie: a=b"), 422, "destination_url"),
        ("/v1/ads", json!("ad-1"), 400, "body"),
    ];
    for (path, body, status, field) in &cases {
        let answer = house.post(path, body).await;
        assert_eq!(answer.status, *status, "{body}: {answer:?}");
        assert!(answer.detail().contains(field), "{body}: {}", answer.detail());
    }
    assert_eq!(
        house.get("/v1/ads").await.json()["ads"].as_array().unwrap().len(),
        1,
        "nothing of it was kept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_come_back_as_registered_or_in_ascii() {
    let house = House::new().await;
    house.register(&[]).await;
    for (id, url, expect) in [
        (
            "a",
            "HTTPS://Shop.Example/x/../y?q=a%20b&z={1}#top",
            "HTTPS://Shop.Example/x/../y?q=a%20b&z={1}#top",
        ),
        (
            "b",
            "https://b\u{fc}cher.example/\u{e4}?q=\u{20ac}",
            "https://xn--bcher-kva.example/%C3%A4?q=%E2%82%AC",
        ),
    ] {
        let body = json!({"ad_id": id, "campaign_id": "cmp", "destination_url": url});
        for status in [201, 200] {
            let answer = house.post("/v1/ads", &body).await;
            assert_eq!(
                (answer.status, &answer.json()["destination_url"]),
                (status, &json!(expect))
            );
        }
        let click = house.browse(&format!("/click?adId={id}")).await;
        assert_eq!((click.status, click.header("location")), (302, expect));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_taken_item_by_item() {
    let house = House::new().await;
    house.register(&[]).await;
    let all: Vec<Value> = (0..10_000).map(|number| ad(&format!("ad-{number:05}"))).collect();
    let first = house.post("/v1/ads", &json!(all)).await;
    assert_eq!(first.status, 201);
    assert_eq!((&first.json()["created"], &first.json()["existing"]), (&json!(10_000), &json!(0)));
    assert_eq!(ids(&first.json(), "ads", "ad_id")[9_999], "ad-09999");
    let mixed = house.post("/v1/ads", &json!([all[5], ad("ad-new")])).await;
    assert_eq!(
        (mixed.status, &mixed.json()["created"], &mixed.json()["existing"]),
        (200, &json!(1), &json!(1))
    );

    let broken = json!([ad("ad-later"), {"ad_id": "ad-x"}, ad("no\nname"), {"ad_id": "ad-00001", "campaign_id": "cmp",
        "destination_url": "https://elsewhere.example"}]);
    let answer = house.post("/v1/ads", &broken).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let told: Vec<(u64, u64)> = errors
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [(1, 400), (2, 422), (3, 409)], "{errors:?}");
    assert_eq!(house.get("/v1/ads/ad-later").await.status, 200, "the good one is kept");
    assert_eq!(house.browse("/click?adId=ad-later").await.status, 302, "and known at the door");

    let twice = house.post("/v1/ads", &json!([ad("ad-twice"), ad("ad-twice")])).await;
    assert_eq!((twice.status, &twice.json()["created"]), (200, &json!(1)));
    let without = house.post("/v1/ads", &json!([{"ad_id": "q"}])).await;
    assert_eq!(without.status, 422, "no conflict: {without:?}");
    assert_eq!(house.post("/v1/ads", &json!([])).await.status, 422);
    assert_eq!(house.post("/v1/ads", &json!(vec![ad("x"); 10_001])).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_walked_page_by_page() {
    let house = House::new().await;
    house.register(&["a", "b", "c", "d"]).await;
    let other =
        json!({"campaign_id": "other", "advertiser_id": "adv", "name": "o", "cpc_micros": 1});
    assert_eq!(house.post("/v1/campaigns", &other).await.status, 201);
    let of_other =
        json!({"ad_id": "e", "campaign_id": "other", "destination_url": "https://shop.example"});
    assert_eq!(house.post("/v1/ads", &of_other).await.status, 201);
    let mut seen = Vec::new();
    let mut path = "/v1/ads?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = house.get(&path).await.json();
        seen.extend(ids(&page, "ads", "ad_id"));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/ads?limit=2&after={next}");
    }
    assert_eq!((seen.join(""), pages), ("abcde".to_owned(), 3));
    let page = house.get("/v1/ads?campaign_id=cmp&limit=4").await.json();
    assert_eq!(
        (ids(&page, "ads", "ad_id").join(""), &page["next"]),
        ("abcd".to_owned(), &Value::Null)
    );
    let page = house.get("/v1/campaigns?advertiser_id=adv").await.json();
    assert_eq!(ids(&page, "campaigns", "campaign_id"), ["cmp", "other"]);
    assert_eq!(
        ids(&house.get("/v1/advertisers").await.json(), "advertisers", "advertiser_id"),
        ["adv"]
    );
    for (query, part) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("colour=red", "colour"),
        ("after=", "after"),
        ("advertiser_id=adv", "advertiser_id"),
    ] {
        let answer = house.get(&format!("/v1/ads?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.detail().starts_with(part), "{query}: {}", answer.detail());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_at_once_and_after_a_restart() {
    let mut house = House::new().await;
    house.register(&["ad-1"]).await;
    let change = json!({"destination_url": "https://new.example/?a=1", "append_click_id": "rid", "category": "x"});
    let changed = house.write("PATCH", "/v1/ads/ad-1", &change, None).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let emptied = house
        .write("PATCH", "/v1/ads/ad-1", &json!({"category": null, "append_click_id": null}), None)
        .await;
    assert_eq!(
        (&emptied.json()["category"], &emptied.json()["append_click_id"]),
        (&Value::Null, &Value::Null)
    );
    let renamed = house.write("PATCH", "/v1/advertisers/adv", &json!({"name": "New"}), None).await;
    assert_eq!(
        (&renamed.json()["name"], &renamed.json()["currency"]),
        (&json!("New"), &json!("EUR"))
    );
    for _ in 0..2 {
        let click = house.browse("/click?adId=ad-1").await;
        assert_eq!(click.header("location"), "https://new.example/?a=1");
        house.restart().await;
    }
    for (path, body, status) in [
        ("/v1/ads/nobody", json!({}), 404),
        ("/v1/ads/ad-1", json!({}), 200),
        ("/v1/ads/ad-1", json!({"campaign_id": "other"}), 400),
        ("/v1/ads/ad-1", json!({"destination_url": "nowhere"}), 422),
        ("/v1/ads/ad-1", json!({"status": 1}), 400),
        ("/v1/campaigns/cmp", json!({"targeting": {"weather": []}}), 422),
        ("/v1/advertisers/adv", json!({"currency": "USD"}), 400),
    ] {
        assert_eq!(house.write("PATCH", path, &body, None).await.status, status, "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_costs_the_price_it_was_minted_at() {
    let mut house = House::new().await;
    house.register(&["ad-1"]).await;
    let old = house.token("ann").await;
    let change = json!({"cpc_micros": 7_000, "daily_budget_micros": 50_000});
    assert_eq!(
        house.write("PATCH", "/v1/campaigns/cmp", &change, None).await.json()["cpc_micros"],
        7_000
    );
    let new = house.token("bob").await;
    house.restart().await;
    let after = house.token("cyn").await;
    for token in [old, new, after] {
        assert_eq!(house.browse(&format!("/click?imp={token}")).await.status, 302);
    }
    let rows = house.rows("metrics=clicks,spend_micros").await;
    assert_eq!(rows, [json!({"clicks": 3, "spend_micros": 1_000 + 7_000 + 7_000})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_active_and_meant_is_served() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let served = async |geo: &str| {
        let asked = json!({"placement": "top", "context": {"geo": geo, "device": "mobile"}});
        house.post("/v1/ads/serve", &asked).await.json()["ads"].as_array().unwrap().len()
    };
    let target = async |targeting: Value| {
        let answer =
            house.write("PATCH", "/v1/campaigns/cmp", &json!({"targeting": targeting}), None).await;
        assert_eq!((answer.status, &answer.json()["targeting"]), (200, &targeting));
    };
    assert_eq!((served("DE").await, served("FR").await), (1, 1));
    target(json!({"geo": ["DE"], "devices": []})).await;
    assert_eq!((served("DE").await, served("FR").await), (1, 0));
    target(Value::Null).await;
    assert_eq!(served("FR").await, 1);
    for (path, status, shown) in [
        ("/v1/ads/ad-1", "paused", 0),
        ("/v1/ads/ad-1", "active", 1),
        ("/v1/campaigns/cmp", "archived", 0),
    ] {
        assert_eq!(house.write("PATCH", path, &json!({"status": status}), None).await.status, 200);
        assert_eq!(served("DE").await, shown, "{path} {status}");
    }
    assert_eq!(
        house.browse("/click?adId=ad-1").await.status,
        302,
        "an archived ad still redirects"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_is_answered_as_the_first() {
    let house = House::new().await;
    house.register(&[]).await;
    let body = json!({"campaign_id": "cmp", "destination_url": "https://shop.example"});
    let first = house.write("POST", "/v1/ads", &body, Some("k-1")).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
    let again = house.write("POST", "/v1/ads", &body, Some("k-1")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!((again.json(), again.header("content-type")), (first.json(), "application/json"));
    assert_eq!(
        house.get("/v1/ads").await.json()["ads"].as_array().unwrap().len(),
        1,
        "one ad was made"
    );

    let other = json!({"campaign_id": "cmp", "destination_url": "https://other.example"});
    for (method, path, body) in [("POST", "/v1/ads", &other), ("POST", "/v1/campaigns", &body)] {
        let refused = house.write(method, path, body, Some("k-1")).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("Idempotency-Key"), "{}", refused.detail());
    }
    let id = first.json()["ad_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/ads/{id}");
    let paused = house.write("PATCH", &path, &json!({"status": "paused"}), Some("k-2")).await;
    assert_eq!(house.write("PATCH", &path, &json!({"status": "active"}), None).await.status, 200);
    let replayed = house.write("PATCH", &path, &json!({"status": "paused"}), Some("k-2")).await;
    assert_eq!((paused.json(), paused.status), (replayed.json(), 200));
    assert_eq!(house.get(&path).await.json()["status"], "active", "a replay changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_error_is_the_same_error_of_another_request() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let clash = json!([ad("ad-1"), ad("ad-2")]);
    let first = house.write("POST", "/v1/ads", &clash, Some("k")).await;
    let again = house.write("POST", "/v1/ads", &clash, Some("k")).await;
    assert_eq!((first.status, again.status), (409, 409));
    assert_eq!(
        (first.detail(), &first.json()["errors"]),
        (again.detail(), &again.json()["errors"])
    );
    assert_eq!(again.json()["errors"].as_array().unwrap().len(), 1);
    assert_ne!(first.json()["request_id"], again.json()["request_id"]);
    assert_eq!(again.json()["request_id"], again.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_it_is_in_progress_comes_back() {
    let house = House::new().await;
    house.register(&[]).await;
    let body = json!({"campaign_id": "cmp", "destination_url": "https://shop.example"});
    let asked = (0..8).map(|_| house.write("POST", "/v1/ads", &body, Some("k")));
    let mut made = std::collections::BTreeSet::new();
    let answers = join(asked.collect()).await;
    for answer in &answers {
        match answer.status {
            201 => {
                made.insert(answer.json()["ad_id"].as_str().unwrap().to_owned());
            }
            409 => assert_eq!(answer.header("retry-after"), "1", "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(made.len(), 1, "one ad was made: {made:?}");
    assert_eq!(house.get("/v1/ads").await.json()["ads"].as_array().unwrap().len(), 1);
}

/// Runs all side by side on this task.
async fn join<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, answer) in &mut futures {
            if answer.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        let all = futures.iter().all(|(_, answer)| answer.is_some());
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().map(|(_, answer)| answer.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_moment_refused_may_be_repeated() {
    let house = House::new().await;
    house.register(&[]).await;
    let body = json!({"campaign_id": "cmp", "destination_url": "https://shop.example"}).to_string();
    let unknown = [("authorization", "Bearer rk_unknown"), ("idempotency-key", "k")];
    assert_eq!(house.ask("POST", "/v1/ads", &unknown, body.clone()).await.status, 401);
    let bearer = format!("Bearer {}", house.key);
    let good = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    assert_eq!(house.ask("POST", "/v1/ads", &good, body.clone()).await.status, 201);
    for key in ["", &"k".repeat(129)] {
        let wrong = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        let answer = house.ask("POST", "/v1/ads", &wrong, body.clone()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.detail().starts_with("Idempotency-Key"), "{}", answer.detail());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_finished_though_its_client_hangs_up() {
    let house = House::new().await;
    house.register(&[]).await;
    let many: Vec<Value> = (0..2_000).map(|number| ad(&format!("ad-{number}"))).collect();
    let body = json!(many);
    {
        let mut asked = Box::pin(house.write("POST", "/v1/ads", &body, None));
        // Polled once, it has begun; then the client is gone.
        std::future::poll_fn(|context| {
            assert!(asked.as_mut().poll(context).is_pending(), "2,000 ads take a while");
            std::task::Poll::Ready(())
        })
        .await;
    }
    let tenant = TenantId::DEFAULT;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while house.app().edge.catalog.ad_by_id(tenant, "ad-1999").is_none() {
        assert!(std::time::Instant::now() < deadline, "the write was given up");
        tokio::task::yield_now().await;
    }
    let last = house.ask("GET", "/click?adId=ad-1999", &[], Body::empty()).await;
    assert_eq!(last.status, 302);
    assert_eq!(house.get("/v1/ads/ad-1999").await.status, 200);
}
