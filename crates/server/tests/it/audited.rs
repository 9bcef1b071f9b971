//! Figures go wrong behind everyone's back: a recount finds it, says which figure and why, and mends
//! what the records can mend.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reckon_audit::{AuditOptions, Auditor, RecountRange};
use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Deltas, TenantId, Timestamp};
use reckon_server::{audit, beat, retention};
use serde_json::{Value, json};

use crate::harness::House;
use crate::process::{Process, reckon};

const TENANT: TenantId = TenantId::DEFAULT;
const EVERYTHING: &str = "granularity=1m&group_by=ad_id,campaign_id,region,device,placement,reason\
    &metrics=impressions,clicks,clicks_gross,duplicates,invalid,spend_micros";

/// Clicks and impressions on two ads, in the ten minutes behind `from`; every fifth comes twice.
fn events(name: &str, from: Timestamp, count: usize) -> Value {
    let event = |at: usize| {
        json!({
            "type": if at.is_multiple_of(3) { "impression" } else { "click" },
            "ad_id": format!("ad-{}", at % 2),
            "user_id": format!("user-{}", at % 17),
            "event_id": format!("{name}-{}", at - usize::from(at % 5 == 4)),
            "occurred_at": from.plus(at as i64 * 10 * Timestamp::MINUTE / count as i64).to_string(),
            "region": (["DE", "FR", ""][at % 3]),
            "device_type": "mobile",
        })
    };
    (0..count).map(event).collect()
}

async fn send(house: &House, events: &Value) {
    let answer = house.post("/v1/events", events).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    beat::tick(house.app()).await;
    house.settle().await;
}

async fn reconcile(house: &House) -> Value {
    let answer = house.post("/v1/reconciliations", &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What the records of a minute add up to now.
async fn sums(house: &House, minute: Timestamp) -> Deltas {
    let app = house.app();
    let cut = beat::settle(app).await.expect("counting goes on").epoch;
    audit::cover(app, cut).await.expect("the lake follows");
    let _lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, AuditOptions::default()).await.expect("a lake");
    let to = minute.plus(Timestamp::MINUTE);
    let range = RecountRange { cut, from: minute, to, received_from: None, judged_before: None };
    auditor.sums(TENANT, &range).await.expect("sums")
}

fn plant(house: &House, minute: Timestamp, sums: &Deltas) {
    let to = minute.plus(Timestamp::MINUTE);
    let wrong = house.app().rollup.rebuild(TENANT, minute, to, sums).expect("planted");
    assert!(wrong > 0, "something has changed");
}

/// Adds one set of sums to another so many times.
fn plus(sums: &Deltas, more: &Deltas, times: i64) -> Deltas {
    let mut sums = sums.clone();
    for (cell, measure) in &more.cells {
        let (count, spend) = (measure.count * times, measure.spend * times);
        sums.add(*cell, reckon_event::Measure { count, spend });
    }
    sums.cells.retain(|_, measure| measure.count != 0 || measure.spend != 0);
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found_explained_and_mended() {
    let house = House::new().await;
    house.register(&["ad-0", "ad-1"]).await;
    let minute = house.clock.now().plus(-2 * Timestamp::HOUR).floor(Timestamp::MINUTE);
    send(&house, &events("first", minute, 200)).await;
    let first = sums(&house, minute).await;
    send(&house, &events("second", minute, 150)).await;
    let whole = sums(&house, minute).await;
    assert!(first.cells.len() > 3 && whole.cells.len() > first.cells.len());
    let truth = house.rows(EVERYTHING).await;
    let report = reconcile(&house).await;
    assert_eq!((&report["equal"], &report["mended"]), (&json!(true), &json!(0)), "{report}");
    assert!(report["records"] == 350 && report["figures"].as_u64() >= Some(40), "{report}");

    let second = plus(&whole, &first, -1);
    let mut odd = whole.clone();
    odd.cells.values_mut().next().expect("a cell").count += 1_000_003;
    for (cause, planted) in [
        ("lost_delta", first.clone()),
        ("doubled_delta", plus(&whole, &second, 1)),
        ("damaged_rollup", odd),
        ("damaged_rollup", Deltas::default()),
    ] {
        plant(&house, minute, &planted);
        assert_ne!(house.rows(EVERYTHING).await, truth, "{cause}: the figures are wrong");
        let report = reconcile(&house).await;
        assert_eq!(report["equal"], true, "{cause}: {report}");
        assert!(report["mended"].as_u64() > Some(0), "{cause}: {report}");
        assert_eq!(house.rows(EVERYTHING).await, truth, "{cause}: mended");
        let kept = house.get("/v1/reconciliations?limit=2").await.json()["reconciliations"].clone();
        assert_eq!(kept[0], report, "the newest stands first");
        let differences = kept[1]["differences"].as_array().expect("a list");
        assert!(!differences.is_empty() && kept[1]["equal"] == false, "{}", kept[1]);
        for one in differences {
            assert_eq!(
                (&one["cause"]["kind"], &one["minute"]),
                (&json!(cause), &json!(minute.to_string())),
                "{one}"
            );
            assert_eq!(one["recounted"], one["in_lake"], "{one}");
            let behind = explained(&house, one).await;
            assert_eq!(one["recounted"]["count"], behind, "{one}");
        }
    }
}

/// How many records are behind a figure, says `/v1/explain`.
async fn explained(house: &House, figure: &Value) -> usize {
    let (ad, minute) = (figure["ad_id"].as_str().unwrap(), figure["minute"].as_str().unwrap());
    let answer = house.get(&format!("/v1/explain?ad_id={ad}&minute={minute}")).await.json();
    let records = answer["records"].as_array().expect("records");
    let is_behind = |record: &&Value| {
        record["kind"] == figure["kind"] && record["verdict"] == figure["verdict"]
    };
    records.iter().filter(is_behind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lets_go_of_what_the_lake_has() {
    let settings = [("LOG__SEGMENT_BYTES", "65536")];
    let mut house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["ad-0", "ad-1"]).await;
    let from = house.clock.now().plus(-Timestamp::HOUR).floor(Timestamp::MINUTE);
    for batch in 0..6 {
        send(&house, &events(&format!("batch-{batch}"), from, 400)).await;
    }
    let truth = house.rows(EVERYTHING).await;
    checkpoint(&house).await;
    let young = retention::retire(house.app()).expect("it looks");
    assert!(young.iter().all(|start| *start == 0), "nothing is old enough: {young:?}");

    house.clock.step(8 * Timestamp::DAY);
    for _ in 0..2 {
        beat::tick(house.app()).await;
        house.settle().await;
        checkpoint(&house).await;
    }
    let starts = retention::retire(house.app()).expect("it looks");
    assert!(starts.iter().any(|start| *start > 0), "{starts:?}");
    let report = reconcile(&house).await;
    assert!(report["equal"] == true && report["records"] == 2_400, "{report}");
    house.restart().await;
    assert_eq!(house.rows(EVERYTHING).await, truth);
    let report = reconcile(&house).await;
    assert!(report["equal"] == true && report["records"] == 2_400, "{report}");
}

async fn checkpoint(house: &House) {
    let app = house.app();
    let epoch = app.progress.snapshot().epoch;
    audit::cover(app, epoch).await.expect("a checkpoint");
}

/// What became final while nobody looked is recounted by the server that starts next.
#[tokio::test(flavor = "multi_thread")]
async fn hours_that_became_final_in_the_meantime_are_recounted() {
    let mut house = House::with(&[("AUDIT__HOURLY", "true")], Arc::new(RealDisk)).await;
    house.register(&["ad-0"]).await;
    let hour = house.clock.now().plus(-Timestamp::HOUR).floor(Timestamp::HOUR);
    send(&house, &events("early", hour, 50)).await;
    house.clock.step(house.app().config.time.server_lateness_s * Timestamp::SECOND);
    house.clock.step(2 * Timestamp::HOUR);
    send(&house, &events("late", house.clock.now().floor(Timestamp::MINUTE), 10)).await;
    house.settle().await;
    house.restart().await;
    let (from, to) = (hour.to_string(), hour.plus(Timestamp::HOUR).to_string());
    let is_of_hour = |report: &Value| {
        report["from"].as_str() <= Some(&from) && report["to"].as_str() >= Some(&to)
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let report = loop {
        let reports = house.get("/v1/reconciliations").await.json();
        if let Some(report) = reports["reconciliations"]
            .as_array()
            .and_then(|all| all.iter().find(|one| is_of_hour(one)))
        {
            break report.clone();
        }
        assert!(Instant::now() < deadline, "{reports:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(report["equal"], true, "{report:#}");
    assert!(report["records"].as_u64() >= Some(50), "{report:#}");
    assert!(report["figures"].as_u64() >= Some(10), "{report:#}");
}

/// The largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    let entries =
        std::fs::read_dir(folder).expect("our folder").map(|e| e.expect("readable").path());
    let files = entries.map(|path| if path.is_dir() { largest(&path) } else { path });
    files.max_by_key(|path| std::fs::metadata(path).map_or(0, |it| it.len())).expect("a file")
}

#[test]
fn a_corrupt_file_is_named_and_everything_derived_is_counted_again() {
    let dir = TempDir::new("rebuilt");
    let data = dir.path().join("data");
    let server = Process::start(&data);
    let key = std::fs::read_to_string(data.join("admin.key")).expect("kept");
    let mut client = server.connect().with_key(key.trim());
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros() as i64;
    let from = Timestamp(now).plus(-2 * Timestamp::HOUR).floor(Timestamp::MINUTE);
    for (path, body) in [
        ("/v1/advertisers", json!({"advertiser_id": "a", "name": "a", "currency": "EUR"})),
        (
            "/v1/campaigns",
            json!({"campaign_id": "c", "advertiser_id": "a", "name": "c", "cpc_micros": 5, "status": "active"}),
        ),
        (
            "/v1/ads",
            json!([{"ad_id": "ad-0", "campaign_id": "c", "destination_url": "https://a.example/", "status": "active"},
                           {"ad_id": "ad-1", "campaign_id": "c", "destination_url": "https://b.example/", "status": "active"}]),
        ),
        ("/v1/events", events("one", from, 2_000)),
    ] {
        let answer = client.post(path, &body);
        assert!(answer.status < 300, "{path}: {answer:?}");
    }
    let report = client.post("/v1/reconciliations", &json!({})).json();
    assert_eq!((&report["equal"], &report["records"]), (&json!(true), &json!(2_000)), "{report}");
    let to = from.plus(Timestamp::HOUR);
    let question = format!("/v1/metrics?from={from}&to={to}&{EVERYTHING}");
    let truth = client.get(&question).expect("it answers").json()["rows"].clone();
    assert!(truth.as_array().is_some_and(|rows| rows.len() > 20), "{truth}");
    server.kill();

    let damaged = largest(&data.join("rollup"));
    let mut bytes = std::fs::read(&damaged).expect("it reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).expect("it writes");
    let verified = reckon(&["verify"], &data);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{said}");
    let name = damaged.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(said.contains(&name), "{name}: {said}");

    let rebuilt = reckon(&["rebuild"], &data);
    let said = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
    assert!(rebuilt.status.success(), "{said}{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert!(said.starts_with("counted "), "{said}");
    assert_eq!(reckon(&["verify"], &data).status.code(), Some(0));
    let server = Process::start(&data);
    let mut client = server.connect().with_key(key.trim());
    let report = client.post("/v1/reconciliations", &json!({})).json();
    assert_eq!((&report["equal"], &report["records"]), (&json!(true), &json!(2_000)), "{report}");
    assert_eq!(client.get(&question).expect("it answers").json()["rows"], truth);
}

/// A click on an impression that nobody reported, and one whose first copy is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_light_after_a_close_is_adjusted() {
    let settings = [("COUNTER__OPAQUE_HORIZON_S", "3600")];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["ad-0"]).await;
    let bearer = format!("Bearer {}", house.key);
    let change = json!({"time_zone": "Europe/Berlin", "unseen_clicks": "credit"}).to_string();
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let account = "/v1/billing/accounts/adv";
    let wrong = json!({"time_zone": "Moon/Tycho"}).to_string();
    assert_eq!(house.ask("PATCH", account, &headers, wrong).await.status, 422);
    let changed = house.ask("PATCH", account, &headers, change).await.json();
    assert_eq!(changed["time_zone"], "Europe/Berlin", "{changed}");
    assert_eq!(changed["unseen_clicks"], "credit");

    // A fresh day, so that all of it happens on one.
    let morning = house.clock.now().plus(Timestamp::DAY).floor(Timestamp::DAY);
    house.clock.step(morning.since(house.clock.now()) + Timestamp::HOUR);
    let day = reckon_event::Day::of(house.clock.now());
    let seen = house.serve("ann").await;
    let unseen = house.serve("bob").await;
    for url in [&seen["impression_url"], &seen["click_url"], &unseen["click_url"]] {
        let url = url.as_str().expect("a URL");
        let path = url.find("/v1").or(url.find("/click")).expect("a path");
        house.browse(&url[path..]).await;
    }
    let copy = json!([{"type": "click", "ad_id": "ad-0", "user_id": "eve", "event_id": "same"}]);
    send(&house, &copy).await;
    house.clock.step(2 * Timestamp::HOUR);
    send(&house, &copy).await;
    let counted = house.rows("granularity=total&metrics=clicks").await;
    assert_eq!(
        counted[0]["clicks"], 4,
        "the horizon has passed, so both copies count: {counted:?}"
    );

    house.clock.step(3 * Timestamp::DAY);
    beat::tick(house.app()).await;
    let period = format!("/v1/billing/periods/{day}");
    let closed = house.post(&format!("{period}/close"), &json!({})).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    assert_eq!(closed.json()["totals"][0]["charge_micros"], 4_000);
    let adjusted = house.post(&format!("{period}/adjust"), &json!({})).await.json();
    assert_eq!(adjusted["adjustments"], 2, "{adjusted}");
    let adjusted = house.post(&format!("{period}/adjust"), &json!({})).await.json();
    assert_eq!(adjusted["adjustments"], 0, "nothing is adjusted twice");
    let period = house.get(&period).await.json();
    let mut reasons: Vec<&str> = period["adjustments"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["reason"].as_str().expect("a text"))
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["click_without_impression", "duplicate_beyond_horizon"], "{period}");
    assert_eq!(period["totals"][0]["total_micros"], 2_000, "{period}");
    assert_eq!(period["totals"][0]["adjusted_clicks"], -2, "{period}");
}
