//! What must happen once: a number given out, a request done.

use std::sync::Arc;

use reckon_event::Timestamp;

use super::{Bench, NOON, TENANT, expect_kind};
use crate::books::Books;
use crate::error::ErrorKind;
use crate::replay::{
    CLAIM_MICROS_MAX, Claim, RESPONSE_BYTES_MAX, RESPONSE_KEPT_MICROS, RequestDigest,
    StoredResponse,
};

const ONE: RequestDigest = RequestDigest([1; 32]);
const TWO: RequestDigest = RequestDigest([2; 32]);

/// Clients that race for numbers get them all, each once, and none comes again after a restart.
pub async fn a_lease_is_never_given_twice(bench: &dyn Bench) {
    const EACH: u32 = 50;
    let clients = [bench.open().await, bench.open().await, bench.open().await];
    let racers = clients.clone().map(|books| {
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..EACH {
                numbers.push(books.lease("minter", NOON).await.expect("works"));
            }
            assert!(numbers.is_sorted(), "each client sees them rise");
            numbers
        })
    });
    let mut numbers = Vec::new();
    for racer in racers {
        numbers.extend(racer.await.expect("no panic"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=3 * EACH).collect::<Vec<_>>());

    for books in &clients {
        books.close().await;
    }
    let books = bench.open().await;
    assert_eq!(books.lease("counter", NOON).await.expect("works"), 1, "names do not meet");
    let earlier = NOON.plus(-Timestamp::DAY);
    let next = books.lease("minter", earlier).await.expect("works");
    assert_eq!(next, 3 * EACH + 1, "whatever the clock says");
    expect_kind(books.lease("", NOON).await, ErrorKind::Invalid { field: "name" });
}

async fn begin(books: &dyn Books, key: &str, digest: RequestDigest, now: Timestamp) -> Claim {
    books.begin(TENANT, key, digest, now).await.expect("the engine works")
}

fn answer(body: &[u8]) -> StoredResponse {
    StoredResponse { status: 201, body: body.to_vec() }
}

/// Once answered, the same request is answered so again and another under its key is refused.
pub async fn a_repeated_request_gets_the_first_answer(bench: &dyn Bench) {
    let books = bench.open().await;
    assert_eq!(begin(&*books, "k", ONE, NOON).await, Claim::Fresh);
    assert_eq!(begin(&*books, "k", ONE, NOON.plus(1)).await, Claim::InProgress);
    assert_eq!(begin(&*books, "k", TWO, NOON.plus(1)).await, Claim::Mismatch);
    assert_eq!(begin(&*books, "l", TWO, NOON.plus(1)).await, Claim::Fresh);

    let stranger = books.complete(TENANT, "k", TWO, answer(b"stranger")).await;
    stranger.expect("dropped without a word");
    books.complete(TENANT, "k", ONE, answer(b"first")).await.expect("works");
    books.complete(TENANT, "k", ONE, answer(b"second")).await.expect("dropped without a word");
    books.abandon(TENANT, "k", ONE).await.expect("an answer stays");
    books.close().await;

    let books = bench.open().await;
    let replay = Claim::Replay(answer(b"first"));
    assert_eq!(begin(&*books, "k", ONE, NOON.plus(2)).await, replay);
    assert_eq!(begin(&*books, "k", TWO, NOON.plus(2)).await, Claim::Mismatch);

    let longest = answer(&vec![b'x'; RESPONSE_BYTES_MAX]);
    let longer = answer(&vec![b'x'; RESPONSE_BYTES_MAX + 1]);
    let refused = books.complete(TENANT, "l", TWO, longer).await;
    expect_kind(refused, ErrorKind::Invalid { field: "body" });
    books.complete(TENANT, "l", TWO, longest.clone()).await.expect("fits");
    assert_eq!(begin(&*books, "l", TWO, NOON.plus(2)).await, Claim::Replay(longest));
}

/// A request that was given up may be done at once; one whose holder died, after a minute.
pub async fn an_unanswered_request_may_be_taken_over(bench: &dyn Bench) {
    let books = bench.open().await;
    assert_eq!(begin(&*books, "k", ONE, NOON).await, Claim::Fresh);
    books.abandon(TENANT, "k", TWO).await.expect("another request's is left alone");
    assert_eq!(begin(&*books, "k", ONE, NOON).await, Claim::InProgress);
    books.abandon(TENANT, "k", ONE).await.expect("works");
    assert_eq!(begin(&*books, "k", TWO, NOON).await, Claim::Fresh, "nothing is left of it");

    let just_before = NOON.plus(CLAIM_MICROS_MAX - 1);
    let after = NOON.plus(CLAIM_MICROS_MAX);
    assert_eq!(begin(&*books, "k", TWO, just_before).await, Claim::InProgress);
    assert_eq!(begin(&*books, "k", TWO, after).await, Claim::Fresh);
    assert_eq!(begin(&*books, "k", TWO, after).await, Claim::InProgress, "its time began anew");
}

/// An answer is given for exactly a day, whether or not anybody sweeps.
pub async fn an_answer_is_kept_for_a_day(bench: &dyn Bench) {
    let books = bench.open().await;
    for key in ["swept", "unswept", "young"] {
        let at = if key == "young" { NOON.plus(1) } else { NOON };
        assert_eq!(begin(&*books, key, ONE, at).await, Claim::Fresh);
        books.complete(TENANT, key, ONE, answer(b"kept")).await.expect("works");
    }
    let last_moment = NOON.plus(RESPONSE_KEPT_MICROS - 1);
    let replay = Claim::Replay(answer(b"kept"));
    assert_eq!(books.expire(last_moment).await.expect("works"), 0);
    assert_eq!(begin(&*books, "swept", ONE, last_moment).await, replay);

    let over = NOON.plus(RESPONSE_KEPT_MICROS);
    assert_eq!(begin(&*books, "unswept", TWO, over).await, Claim::Fresh);
    assert_eq!(books.expire(over).await.expect("works"), 1);
    assert_eq!(begin(&*books, "swept", TWO, over).await, Claim::Fresh);
    assert_eq!(begin(&*books, "young", ONE, over).await, replay);
}

/// However many copies of a request arrive at once, one is done.
pub async fn of_racing_requests_one_is_fresh(bench: &dyn Bench) {
    const KEYS: usize = 20;
    let clients = [bench.open().await, bench.open().await];
    let racers = clients.map(|books: Arc<dyn Books>| {
        tokio::spawn(async move {
            let mut fresh = [0_usize; KEYS];
            for (key, count) in fresh.iter_mut().enumerate() {
                match begin(&*books, &format!("k-{key}"), ONE, NOON).await {
                    Claim::Fresh => *count += 1,
                    other => assert_eq!(other, Claim::InProgress),
                }
            }
            fresh
        })
    });
    let mut fresh = [0_usize; KEYS];
    for racer in racers {
        for (sum, count) in fresh.iter_mut().zip(racer.await.expect("no panic")) {
            *sum += count;
        }
    }
    assert_eq!(fresh, [1; KEYS]);
}
