//! A server that does not come to an answer, and connections that are cut: nobody waits for ever, and
//! what comes after is answered again.

use std::sync::Arc;
use std::time::Duration;

use reckon_books::{Ads, Books, ErrorKind, Ledger, Periods, PostgresOptions, Slice, all_entries};
use sqlx::Row;

use crate::place::{CONNECTIONS, Place, options, run};
use crate::things::{HOUR, TENANT, ad, charge, day, only, register};

/// Long enough for whatever works on a busy machine, and short enough to be waited for.
const SHORT: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_held_up_is_given_up() {
    let place = Place::new().await;
    let books = place.postgres_with(PostgresOptions { call_timeout: SHORT, ..options() }).await;
    register(&books).await;
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE ads IN ACCESS EXCLUSIVE MODE").await;
    // More calls than there are connections.
    for _ in 0..=CONNECTIONS / 2 {
        let error = books.ad(TENANT, "shoe").await.expect_err("it is held up");
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        let error =
            books.create_ads(TENANT, vec![ad("boot", "spring")]).await.expect_err("as well");
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
    run(&mut beside, "ROLLBACK").await;
    assert_eq!(books.ad(TENANT, "shoe").await.expect("there"), ad("shoe", "spring"));
    let made = only(books.create_ads(TENANT, vec![ad("boot", "spring")]).await);
    assert!(made.expect("sound").is_new(), "nothing is left of what was given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_taken_than_are_granted() {
    let place = Place::new().await;
    let granted = PostgresOptions { connections_max: 2, acquire_timeout: SHORT, ..options() };
    let books = Arc::new(place.postgres_with(granted).await);
    register(&*books).await;
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE ads IN ACCESS EXCLUSIVE MODE").await;
    let held = || {
        let books = Arc::clone(&books);
        tokio::spawn(async move { books.ad(TENANT, "shoe").await })
    };
    let waiting = [held(), held()];
    place.until_waiting(2).await;
    let error = books.load_catalog().await.expect_err("all connections are taken");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("all connections are taken"), "{error}");
    let schema = &place.schema;
    let count = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = '{schema}' \
         AND pid <> pg_backend_pid()"
    );
    let rows = place.ask(&count).await;
    assert_eq!(rows[0].get::<i64, _>(0), 3, "two of the books, and the one beside them");
    run(&mut beside, "ROLLBACK").await;
    for waited in waiting {
        assert!(waited.await.expect("no panic").is_ok());
    }
}

/// Every connection is cut again and again while entries are posted: each answer tells the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_nothing_that_was_answered() {
    const BATCHES: usize = 60;
    let place = Arc::new(Place::new().await);
    let books = place.postgres().await;
    register(&books).await;
    books.freeze(day(), 9, Vec::new(), HOUR).await.expect("freezes");
    let cutting = tokio::spawn({
        let place = Arc::clone(&place);
        async move {
            let cut = format!(
                "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE application_name = '{}' AND pid <> pg_backend_pid()",
                place.schema
            );
            let mut cuts = 0;
            loop {
                cuts += place.ask(&cut).await[0].get::<i64, _>(0);
                if cuts > 40 {
                    return cuts;
                }
            }
        }
    });
    let (mut answered, mut broken) = (Vec::new(), 0);
    let mut batch = 0;
    while batch < BATCHES || !cutting.is_finished() {
        let entries: Vec<_> = (0..3).map(|n| charge(&format!("{batch:06}/{n}"), 0, 1)).collect();
        match books.post(entries.clone()).await {
            Ok(posted) => {
                assert_eq!(posted.new + posted.same, 3);
                answered.extend(entries);
                batch += 1;
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                broken += 1;
            }
        }
    }
    let cuts = cutting.await.expect("no panic");
    let there = all_entries(&books, &Slice::of_day(day())).await.expect("reads");
    assert_eq!(there, answered);
    println!("{cuts} connections cut, {broken} calls broken, {} entries answered", answered.len());
}

/// A caller that goes away in the middle of a call leaves no lock and no half of it behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_nothing() {
    let place = Place::new().await;
    let books = Arc::new(place.postgres().await);
    register(&*books).await;
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE ads IN SHARE MODE").await;
    let gone = Arc::clone(&books);
    let call =
        tokio::spawn(async move { gone.create_ads(TENANT, vec![ad("boot", "spring")]).await });
    place.until_waiting(1).await;
    call.abort();
    assert!(call.await.expect_err("it was given up").is_cancelled());
    run(&mut beside, "ROLLBACK").await;
    // Its session is closed on the server as well, and with it the lock on `turns`.
    run(&mut beside, "BEGIN; LOCK TABLE turns IN EXCLUSIVE MODE; ROLLBACK").await;
    let made = only(books.create_ads(TENANT, vec![ad("boot", "spring")]).await);
    made.expect("made, or found as it was");
}
