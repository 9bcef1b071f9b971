//! The books on a real server: every promise of the suite, and what only a database that many use at
//! once can get wrong. `deploy/engines/postgres.sh` starts the server; `RECKON_TEST_POSTGRES` names it.

#![expect(clippy::print_stdout, reason = "how much was checked is what the tests tell")]

mod differential;
mod edited;
mod killed;
mod limits;
mod moved;
mod place;
mod races;
mod refusals;
mod silent;
mod things;
mod waits;

use place::Place;
use reckon_books::conformance::promises;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_every_promise() {
    let promises = promises();
    let mut broken = Vec::new();
    for promise in promises.iter().copied() {
        let place = Place::new().await;
        let kept = tokio::spawn(async move { (promise.check)(&place).await }).await;
        if kept.is_err() {
            broken.push(promise.name);
        }
    }
    assert!(broken.is_empty(), "broken: {broken:?}");
    println!("postgres: {} promises checked", promises.len());
}
