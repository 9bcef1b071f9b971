//! The disk fails, fills up, or the clock steps back, while people click. They are redirected all the
//! same, and when the fault is over the figures are right: what was acknowledged counts, what was
//! answered `Reckon-Degraded: unlogged` waits in the spool and counts once, too.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use reckon_disk::SimDisk;
use reckon_event::Timestamp;
use serde_json::json;

use crate::harness::House;

const USERS: usize = 40;

/// Clicks with these tokens; returns how many were acknowledged. All are redirected.
async fn click_all(house: &House, tokens: &[String]) -> usize {
    let mut acknowledged = 0;
    for token in tokens {
        let answer = house.browse(&format!("/click?imp={token}")).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, "https://shop.example/ad-1?a=1#top")
        );
        match answer.header("reckon-degraded") {
            "" => acknowledged += 1,
            reason => assert_eq!(reason, "unlogged"),
        }
    }
    acknowledged
}

async fn tokens(house: &House, label: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for user in 0..USERS {
        tokens.push(house.token(&format!("{label}-{user}")).await);
    }
    tokens
}

/// Waits until the log takes records again and the spool is empty.
async fn healed(house: &House) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while house.app().edge.spool.waiting_count() > 0 || !house.app().not_ready().is_empty() {
        assert!(Instant::now() < deadline, "the log does not heal: {:?}", house.app().not_ready());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Breaks the disk, clicks and sends a batch, heals it, and compares.
async fn through(break_it: impl Fn(&SimDisk), heal_it: impl Fn(&SimDisk)) {
    let disk = SimDisk::new(7);
    // Room that is allocated ahead would hide a full disk for a while.
    let settings = [("CLICK__WAIT_MS_MAX", "500"), ("LOG__PREALLOCATE_BYTES", "0")];
    let house = House::with(&settings, Arc::new(disk.clone())).await;
    house.register(&["ad-1"]).await;
    let (before, during, after) = (
        tokens(&house, "before").await,
        tokens(&house, "during").await,
        tokens(&house, "after").await,
    );
    assert_eq!(click_all(&house, &before).await, USERS);
    break_it(&disk);
    let acknowledged = click_all(&house, &during).await;
    assert!(acknowledged < USERS, "the fault was felt");
    let batch = json!([{"type": "click", "ad_id": "ad-1", "event_id": "e"}]);
    let refused = house.post("/v1/events", &batch).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, "1"),
        "the sender keeps its events"
    );
    assert!(house.app().edge.meters.degraded.load(Relaxed) > 0);
    heal_it(&disk);
    healed(&house).await;
    assert_eq!(click_all(&house, &after).await, USERS);
    assert_eq!(house.post("/v1/events", &batch).await.status, 200);
    // Everyone clicks again: nobody's first click was lost or counted twice.
    for tokens in [&before, &during, &after] {
        click_all(&house, tokens).await;
    }
    let counted = house.clicks_by_reason().await;
    assert_eq!(counted["counted"], 3 * USERS as u64 + 1, "{counted:?}");
    assert_eq!(counted["duplicate"], 3 * USERS as u64, "{counted:?}");
    assert_eq!(house.app().edge.meters.unlogged.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_sync_leaves_clicks_redirected_and_figures_right() {
    through(|disk| disk.fail_all_syncs(true), |disk| disk.fail_all_syncs(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_clicks_redirected_and_figures_right() {
    through(|disk| disk.set_capacity(Some(disk.used_bytes())), |disk| disk.set_capacity(None))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_back_mints_no_id_twice_and_loses_no_click() {
    let mut house = House::new().await;
    house.register(&["ad-1"]).await;
    let mut all = Vec::new();
    for (round, step) in [0, -3, 1, -49, 0, 49].into_iter().enumerate() {
        house.clock.step(step * Timestamp::HOUR);
        let tokens = tokens(&house, "same users").await;
        assert_eq!(click_all(&house, &tokens).await, USERS, "round {round}");
        all.extend(tokens);
        if round == 3 {
            house.restart().await;
        }
    }
    let ids: std::collections::HashSet<_> = all
        .iter()
        .map(|token| house.app().edge.secrets.ring.open(token).unwrap().impression)
        .collect();
    assert_eq!(ids.len(), all.len(), "no id was minted twice");
    assert_eq!(house.clicks_by_reason().await["counted"], all.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_hangs_up_while_the_log_fails_is_counted_all_the_same() {
    let disk = SimDisk::new(7);
    let house = House::with(&[("LOG__PREALLOCATE_BYTES", "0")], Arc::new(disk.clone())).await;
    house.register(&["ad-1"]).await;
    let token = house.token("ann").await;
    disk.pause_syncs();
    let path = format!("/click?imp={token}");
    let mut click = Box::pin(house.browse(&path));
    tokio::select! {
        biased;
        answer = &mut click => panic!("answered before it is durable: {answer:?}"),
        () = tokio::task::yield_now() => {}
    }
    drop(click);
    disk.fail_all_syncs(true);
    disk.resume_syncs();
    let deadline = Instant::now() + Duration::from_secs(60);
    while house.app().not_ready().is_empty() {
        assert!(Instant::now() < deadline, "the fault is not felt");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    disk.fail_all_syncs(false);
    while house.app().edge.meters.logged.load(Relaxed) == 0 {
        assert!(Instant::now() < deadline, "the click is lost");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(click_all(&house, &[token]).await, 1);
    let counted = house.clicks_by_reason().await;
    assert_eq!((counted["counted"], counted["duplicate"]), (1, 1), "{counted:?}");
}
