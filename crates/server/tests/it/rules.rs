//! Rules on closed minutes, from the front door to the figures: a crowd from one address is taken back
//! once its minute is over, late clicks change a minute that was judged, and other rules apply from
//! the minute they name.

use std::path::PathBuf;
use std::sync::Arc;

use reckon_disk::{RealDisk, TempDir};
use reckon_event::Timestamp;
use reckon_server::beat;
use serde_json::{Value, json};

use crate::harness::House;

const RULES: &str = "version = 1\n[[rule]]\nreason = \"rapid_ip\"\nmost = 3\n";

/// A house with the rules in a file of its own, in the middle of a minute.
async fn house(folder: &TempDir) -> (House, PathBuf) {
    let path = folder.path().join("rules.toml");
    std::fs::write(&path, RULES).expect("a folder of our own");
    let file = path.to_str().expect("a plain path");
    let settings = [("RULES__ENABLED", "true"), ("RULES__TOO_FAST_MS", "0"), ("RULES__FILE", file)];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["a", "b"]).await;
    let within = house.clock.now().0.rem_euclid(Timestamp::MINUTE);
    house.clock.step(Timestamp::MINUTE - within + 5 * Timestamp::SECOND);
    (house, path)
}

async fn click(house: &House, user: &str) {
    let served = house.serve(user).await;
    let url = served["click_url"].as_str().expect("a URL").to_owned();
    let answer = house.browse(&url[url.find("/click").expect("a path")..]).await;
    assert_eq!(answer.status, 302, "{answer:?}");
}

/// Clicks by reason, over all time.
async fn by_reason(house: &House) -> Value {
    json!(house.clicks_by_reason().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_taken_back_when_its_minute_is_over() {
    let folder = TempDir::new("rules");
    let (house, _) = house(&folder).await;
    for user in ["u", "v", "w", "x", "y"] {
        click(&house, user).await;
    }
    assert_eq!(by_reason(&house).await, json!({"counted": 5}), "nothing is judged before its time");
    let now = house.clock.now();
    let ask = format!(
        "/v1/metrics?from={}&to={}&granularity=1m&metrics=clicks",
        now.floor(Timestamp::MINUTE),
        now.ceil(Timestamp::MINUTE)
    );
    assert_eq!(house.get(&ask).await.json()["final"], false);
    house.clock.step(3 * Timestamp::MINUTE);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(by_reason(&house).await, json!({"rapid_ip": 5}));
    let answer = house.get(&ask).await.json();
    assert_eq!(answer["final"], "server");
    // The next minute has a crowd of its own.
    click(&house, "u").await;
    house.clock.step(3 * Timestamp::MINUTE);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(by_reason(&house).await, json!({"counted": 1, "rapid_ip": 5}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_click_changes_a_minute_that_was_judged_and_a_restart_nothing() {
    let folder = TempDir::new("rules");
    let (mut house, _) = house(&folder).await;
    let at = house.clock.now().plus(-Timestamp::HOUR).floor(Timestamp::MINUTE);
    let event = |number: u32| {
        json!({"type": "click", "ad_id": "a", "event_id": format!("e{number}"),
               "occurred_at": at.plus(i64::from(number) * 1_000).to_string(), "ip": "192.0.2.7"})
    };
    let first: Vec<Value> = (0..3).map(event).collect();
    assert_eq!(house.post("/v1/events", &json!(first)).await.status, 200);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(by_reason(&house).await, json!({"counted": 3}));
    house.restart().await;
    assert_eq!(house.post("/v1/events", &json!([event(3)])).await.status, 200);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(by_reason(&house).await, json!({"rapid_ip": 4}));
    house.restart().await;
    // A copy of one of them is a duplicate, whatever its first copy has become.
    assert_eq!(house.post("/v1/events", &json!([event(1)])).await.status, 200);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(by_reason(&house).await, json!({"duplicate": 1, "rapid_ip": 4}));
    let scrape = String::from_utf8(house.get("/metrics").await.body).expect("text");
    assert!(scrape.contains("reckon_records{kind=\"click\",verdict=\"rapid_ip\"} 4"), "{scrape}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_apply_from_the_minute_they_name() {
    let folder = TempDir::new("rules");
    let (house, path) = house(&folder).await;
    for user in ["u", "v", "w", "x", "y"] {
        click(&house, user).await;
    }
    let looser = RULES.replace("version = 1", "version = 7").replace("most = 3", "most = 30");
    std::fs::write(&path, looser).expect("a folder of our own");
    beat::tell_rules(house.app()).await.expect("good rules");
    house.clock.step(3 * Timestamp::MINUTE);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(
        by_reason(&house).await,
        json!({"rapid_ip": 5}),
        "the old rules judge their minutes"
    );
    for user in ["u", "v", "w", "x", "y"] {
        click(&house, user).await;
    }
    house.clock.step(3 * Timestamp::MINUTE);
    beat::settle(house.app()).await.expect("counting goes on");
    assert_eq!(by_reason(&house).await, json!({"counted": 5, "rapid_ip": 5}));
    let rules = house.get("/v1/rules").await.json();
    assert_eq!(rules["version"], 7);
    assert_eq!(rules["sets"][0]["from"], "1970-01-01T00:00:00Z");
    assert_eq!(rules["sets"][1]["rules"], json!([{"reason": "rapid_ip", "most": 30}]));
    std::fs::write(&path, "version = 8\n[[rule]]\nreason = \"slow\"\n").expect("ours");
    let error = beat::tell_rules(house.app()).await.expect_err("no such rule");
    assert!(format!("{error:#}").contains("slow"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_networks_is_swapped_while_clicks_come() {
    let folder = TempDir::new("rules");
    let path = folder.path().join("networks.txt");
    std::fs::write(&path, "# none of ours\n192.0.2.0/24\n").expect("a folder of our own");
    let settings = [("RULES__NETWORKS_FILE", path.to_str().expect("a plain path"))];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["a"]).await;
    click(&house, "u").await;
    assert_eq!(by_reason(&house).await, json!({"counted": 1}));
    let before = house.app().edge.lists.load().version;
    let large: String =
        (0..200_000).map(|at| format!("2001:db8:{at:x}::/64\n", at = at % 65_536)).collect();
    std::fs::write(&path, large + "127.0.0.0/8\n").expect("a folder of our own");
    while house.app().edge.lists.load().version == before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    click(&house, "v").await;
    assert_eq!(by_reason(&house).await, json!({"counted": 1, "data_centre": 1}));
}
