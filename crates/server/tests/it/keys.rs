//! Keys: shown once, good for their scopes only, slowed down at their limit, dead when revoked.

use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{Answer, House};

impl House {
    /// Makes a key; answers id and secret.
    pub async fn make_key(&self, draft: &Value) -> (String, String) {
        let answer = self.post("/v1/keys", draft).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
        (text("key_id"), text("secret"))
    }

    /// Asks with another bearer key than the admin's.
    pub async fn ask_as(&self, secret: &str, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {secret}");
        self.ask(method, path, &[("authorization", &bearer)], body.to_string()).await
    }
}

fn with_scopes(scopes: &[&str]) -> Value {
    json!({"name": "k", "kind": "secret", "scopes": scopes})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once() {
    let house = House::new().await;
    let (id, secret) = house.make_key(&with_scopes(&["read", "collect"])).await;
    assert!(secret.starts_with("rk_") && secret.len() == 46, "{secret}");
    let (_, public) =
        house.make_key(&json!({"name": "page", "kind": "write", "requests_per_second": 9})).await;
    assert!(public.starts_with("wk_") && public.len() == 46, "{public}");
    let page = house.get("/v1/keys").await;
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(
        !text.contains("rk_") && !text.contains("wk_") && !text.contains("secret\":\""),
        "{text}"
    );
    let page = page.json();
    let keys = page["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &page["next"]), (3, &Value::Null), "the admin's, too");
    let of = |id: &str| keys.iter().find(|key| key["key_id"] == id).unwrap();
    assert_eq!(of(&id)["scopes"], json!(["collect", "read"]));
    assert_eq!(
        (&of(&id)["revoked_at"], &of(&id)["requests_per_second"]),
        (&Value::Null, &Value::Null)
    );
    let mut walked = Vec::new();
    let mut path = "/v1/keys?limit=1".to_owned();
    loop {
        let page = house.get(&path).await.json();
        walked.extend(page["keys"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/keys?limit=1&after={next}");
    }
    assert_eq!(&walked, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_for_its_scopes_only() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let event = json!({"type": "click", "ad_id": "ad-1"});
    let ad =
        json!({"ad_id": "ad-2", "campaign_id": "cmp", "destination_url": "https://shop.example"});
    let asked = json!({"placement": "top"});
    let tries: [(&str, &str, &Value, &str); 10] = [
        ("POST", "/v1/events", &event, "collect"),
        ("POST", "/v1/ads/serve", &asked, "predict"),
        ("GET", "/v1/metrics", &Value::Null, "read"),
        ("GET", "/v1/ads/top", &Value::Null, "read"),
        ("GET", "/v1/ads", &Value::Null, "read"),
        ("GET", "/v1/ads/ad-1", &Value::Null, "read"),
        ("GET", "/metrics", &Value::Null, "read"),
        ("POST", "/v1/ads", &ad, "manage"),
        ("PATCH", "/v1/ads/ad-1", &json!({}), "manage"),
        ("GET", "/v1/keys", &Value::Null, "manage"),
    ];
    let mut compared = 0;
    for scope in ["collect", "predict", "read", "manage"] {
        let (_, secret) = house.make_key(&with_scopes(&[scope])).await;
        for (method, path, body, needs) in tries {
            let answer = house.ask_as(&secret, method, path, body).await;
            assert_eq!(answer.status < 300, needs == scope, "{scope}: {method} {path}: {answer:?}");
            if needs != scope {
                assert_eq!(answer.status, 403, "{scope}: {method} {path}");
                assert!(answer.detail().contains(needs), "{}", answer.detail());
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 40);
    for (method, path, body, needs) in tries {
        let mut heads = vec![
            vec![],
            vec![("authorization", "Basic YTpi")],
            vec![("authorization", "Bearer rk_none")],
        ];
        if needs == "collect" {
            heads.remove(0);
        }
        for headers in heads {
            let answer = house.ask(method, path, &headers, body.to_string()).await;
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, "Bearer"),
                "{method} {path} {headers:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_key_sends_events_and_nothing_else() {
    let house = House::new().await;
    house.register(&["ad-1"]).await;
    let (_, public) = house.make_key(&json!({"name": "page", "kind": "write"})).await;
    let event = json!({"type": "click", "ad_id": "ad-1"});
    let sent =
        house.ask("POST", &format!("/v1/events?write_key={public}"), &[], event.to_string()).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    for (method, path) in [("GET", "/v1/metrics"), ("POST", "/v1/events"), ("GET", "/v1/keys")] {
        assert_eq!(
            house.ask_as(&public, method, path, &event).await.status,
            403,
            "{method} {path}"
        );
    }
    let (_, secret) = house.make_key(&with_scopes(&["collect"])).await;
    let in_query =
        house.ask("POST", &format!("/v1/events?write_key={secret}"), &[], event.to_string()).await;
    assert_eq!(in_query.status, 403, "a secret does not belong in a URL: {in_query:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_dead_at_once() {
    let house = House::new().await;
    let (id, secret) = house.make_key(&with_scopes(&["read"])).await;
    assert_eq!(house.ask_as(&secret, "GET", "/v1/ads", &Value::Null).await.status, 200);
    let path = format!("/v1/keys/{id}");
    let revoked = house.write("DELETE", &path, &Value::Null, None).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert!(revoked.json()["revoked_at"].is_string(), "{revoked:?}");
    assert_eq!(house.ask_as(&secret, "GET", "/v1/ads", &Value::Null).await.status, 401);
    let again = house.write("DELETE", &path, &Value::Null, None).await;
    assert_eq!((again.status, again.json()), (200, revoked.json()));
    assert_eq!(house.write("DELETE", "/v1/keys/key_none", &Value::Null, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_slowed_down_at_its_limit() {
    let house = House::new().await;
    let mut draft = with_scopes(&["read", "manage"]);
    draft["requests_per_second"] = json!(2);
    let (_, secret) = house.make_key(&draft).await;
    assert_eq!(house.ask_as(&secret, "GET", "/v1/ads", &Value::Null).await.status, 200);
    let mut refused = None;
    for _ in 0..1_000 {
        let answer = house.ask_as(&secret, "GET", "/v1/ads", &Value::Null).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("1,000 requests are more than two a second");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"), "{refused:?}");
    assert!(!refused.detail().is_empty());
    assert_eq!(house.get("/v1/ads").await.status, 200, "another key is not slowed down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_makes_no_second_key_and_shows_no_secret() {
    let house = House::new().await;
    let draft = with_scopes(&["read"]);
    let first = house.write("POST", "/v1/keys", &draft, Some("k")).await;
    assert_eq!(first.status, 201);
    let again = house.write("POST", "/v1/keys", &draft, Some("k")).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.detail().contains("shown once"), "{}", again.detail());
    assert_eq!(house.get("/v1/keys").await.json()["keys"].as_array().unwrap().len(), 2);
    let secret = first.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(
        house.ask_as(&secret, "GET", "/v1/ads", &Value::Null).await.status,
        200,
        "the first is good"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_drafts_are_named() {
    let house = House::new().await;
    for (draft, status, part) in [
        (json!({"kind": "secret", "scopes": ["read"]}), 400, "name"),
        (json!({"name": "k", "kind": "secret", "scopes": "read"}), 400, "scopes"),
        (json!({"name": "k", "kind": "secret", "scopes": ["read"], "colour": 1}), 400, "colour"),
        (json!({"name": "k", "kind": "public"}), 422, "kind"),
        (json!({"name": "k", "kind": "secret", "scopes": ["fly"]}), 422, "scopes"),
        (json!({"name": "k", "kind": "secret"}), 422, "scopes"),
        (json!({"name": "k", "kind": "write", "scopes": ["read"]}), 422, "scopes"),
        (
            json!({"name": "k", "kind": "write", "requests_per_second": 0}),
            422,
            "requests_per_second",
        ),
        (
            json!({"name": "k", "kind": "write", "requests_per_second": -1}),
            400,
            "requests_per_second",
        ),
    ] {
        let answer = house.post("/v1/keys", &draft).await;
        assert_eq!(answer.status, status, "{draft}: {answer:?}");
        assert!(answer.detail().contains(part), "{draft}: {}", answer.detail());
    }
    let kept = house
        .ask(
            "GET",
            "/v1/keys",
            &[("authorization", &format!("bearer {}", house.key))],
            Body::empty(),
        )
        .await;
    assert_eq!(kept.json()["keys"].as_array().unwrap().len(), 1, "nothing of it was kept");
}
