//! Pasts had lost what they knew of somebody, or knew it twice; rows were served all the same, and models
//! were trained on numbers that nobody would ever be served again.
//!
//! Requests, impressions and clicks go through the front door, over a restart and past rules that take
//! clicks back. Then the rows in the lake are computed again from its records. They must be the same bits;
//! and where the pasts were made to forget somebody behind everybody's back, that must be found.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Pseudonym, TenantId, Timestamp};
use reckon_feature::{PastsOptions, Plan};
use reckon_lake::{LakePlace, LakeReader};
use reckon_server::skew::{Compared, compare};
use serde_json::json;

use crate::harness::House;
use crate::process::reckon;

const RULES: &str = "version = 1\n[[rule]]\nreason = \"double_click\"\nwithin_ms = 30000\n";

async fn house(folder: &TempDir) -> House {
    let path = folder.path().join("rules.toml");
    std::fs::write(&path, RULES).expect("a folder of our own");
    let file = path.to_str().expect("a plain path");
    let settings = [("RULES__ENABLED", "true"), ("RULES__TOO_FAST_MS", "0"), ("RULES__FILE", file)];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&[]).await;
    for number in 0..4 {
        let ad = json!({"ad_id": format!("ad-{number}"), "campaign_id": "cmp", "status": "active",
            "category": (["tea", "books"][number % 2]), "destination_url": "https://shop.example/"});
        assert_eq!(house.post("/v1/ads", &ad).await.status, 201);
    }
    house
}

/// Three users are served twice in a row, shown and click; where both times it is one ad, a rule takes the
/// second click back once its minute has closed.
async fn rounds(house: &House, rounds: usize) {
    for round in 0..rounds {
        for user in [0, 0, 1, 1, 2, 2] {
            let body = json!({"placement": "top", "user_id": format!("user-{user}"), "count": 2,
                "context": {"geo": (["DE", "FR"][(round + user) % 2]), "device": "mobile"}});
            let served = house.post("/v1/ads/serve", &body).await;
            assert_eq!(served.status, 200, "{served:?}");
            for (place, ad) in served.json()["ads"].as_array().expect("ads").iter().enumerate() {
                let path = |name: &str| {
                    let url = ad[name].as_str().expect("a URL");
                    url.strip_prefix("http://reckon.test").expect("of this server").to_owned()
                };
                house.browse(&path("impression_url")).await;
                for _ in 0..(round + user + place) % 3 {
                    house.browse(&path("click_url")).await;
                }
            }
        }
        house.settle().await;
        house.clock.step(7 * Timestamp::MINUTE);
    }
}

async fn computed_again(dir: &TempDir, requests_max: usize) -> Compared {
    let place = LakePlace::folder(&Path::new(dir.path()).join("lake")).expect("a lake");
    let compared = tokio::task::spawn_blocking(move || {
        let lake = LakeReader::open(place).expect("it opens").expect("a lake");
        let plan = Arc::new(Plan::default());
        compare(&lake, &plan, PastsOptions::default(), requests_max).expect("it reads")
    });
    compared.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_served_come_out_again() {
    let folder = TempDir::new("recomputed");
    let mut house = house(&folder).await;
    rounds(&house, 4).await;
    house.restart().await;
    rounds(&house, 4).await;
    let revisions = house.app().progress.snapshot().revisions;
    let dir = house.stop().await;
    let compared = computed_again(&dir, 1_000).await;
    assert!(revisions > 0, "no click was taken back");
    println!("{} rows again, {revisions} clicks were taken back between", compared.skew.rows);
    assert_eq!(compared.findings(), Vec::<String>::new());
    assert_eq!((compared.skew.rows_apart, compared.unlike, compared.evicted), (0, 0, 0));
    assert_eq!((compared.requests, compared.skew.rows), (48, 96));
    assert!(compared.names.len() > 100, "{:?}", compared.names);
    let some = computed_again(&dir, 5).await;
    assert_eq!((some.requests, some.skew.rows, some.skew.rows_apart), (5, 10, 0));
    let verified = reckon(&["verify", "--rows", "1000"], dir.path());
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{told}{}", String::from_utf8_lossy(&verified.stderr));
    assert!(told.contains("96 rows of 48 requests"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pasts_that_forgot_somebody_are_found() {
    let folder = TempDir::new("recomputed");
    let house = house(&folder).await;
    rounds(&house, 3).await;
    let data = house.get("/v1/users/user-1/data").await.json();
    let digits = data["pseudonym"].as_str().expect("digits");
    let person = Pseudonym(u128::from_str_radix(digits, 16).expect("digits"));
    let pasts = house.app().edge.scorer.predictor.pasts().cloned().expect("columns are computed");
    assert!(pasts.forget(TenantId::DEFAULT, person) > 0, "something was known");
    rounds(&house, 1).await;
    let dir = house.stop().await;
    let compared = computed_again(&dir, 1_000).await;
    assert_eq!((compared.skew.rows, compared.skew.rows_apart), (48, 4), "of one user alone");
    let findings = compared.findings();
    assert!(findings.contains(&"click_count_1d differs in 4 rows".to_owned()), "{findings:?}");
    let verified = reckon(&["verify", "--rows", "1000"], dir.path());
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{told}");
    assert!(told.contains("click_count_1d differs in 4 rows"), "{told}");
}
