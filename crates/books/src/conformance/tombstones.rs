//! What must never be forgotten: who was erased.

use reckon_event::{Pseudonym, TenantId, Timestamp};

use super::{Bench, NOON, TENANT, expect_kind};
use crate::books::Created;
use crate::error::ErrorKind;
use crate::tombstone::{ErasureState, ErasureWork, Tombstone};

pub(super) fn tombstone(person: u128, asked_at: Timestamp) -> Tombstone {
    let (surrogate, traces) = (Pseudonym(person << 64 | 1), "{\"a\":[1]}".to_owned());
    Tombstone {
        tenant: TENANT,
        person: Pseudonym(person),
        asked_at,
        quiet_at: asked_at.plus(Timestamp::DAY),
        work: Some(ErasureWork { surrogate, key: [7; 32], traces, swept_epoch: 0 }),
        proof: None,
    }
}

/// The first tombstone of a person stands, and a restart does not raise anybody.
pub async fn a_tombstone_is_set_once(bench: &dyn Bench) {
    let books = bench.open().await;
    let first = tombstone(u128::MAX, NOON);
    let set = books.set_tombstone(first.clone()).await.expect("set");
    assert_eq!(set, Created::New(first.clone()));
    let later = tombstone(u128::MAX, NOON.plus(5));
    let again = books.set_tombstone(later).await.expect("it stands");
    assert_eq!(again, Created::Same(first.clone()));
    let nobody = tombstone(0, NOON);
    expect_kind(books.set_tombstone(nobody).await, ErrorKind::Invalid { field: "person" });
    let other = books.tombstone(TENANT, Pseudonym(1)).await.expect("it reads");
    assert_eq!(other, None, "an unknown person has none");
    books.close().await;
    let books = bench.open().await;
    let stands = books.tombstone(TENANT, Pseudonym(u128::MAX)).await.expect("it reads");
    assert_eq!(stands, Some(first));
}

/// An erasure goes on from what was kept of it; once it is settled, its secrets are gone for good.
pub async fn an_erasure_is_settled_for_good(bench: &dyn Bench) {
    let books = bench.open().await;
    let mut stone = tombstone(5, NOON);
    expect_kind(books.keep_erasure(&stone).await, ErrorKind::NotFound);
    books.set_tombstone(stone.clone()).await.expect("set");
    assert_eq!(stone.state(), ErasureState::Asked);
    stone.proof = Some("{}".to_owned());
    stone.work.as_mut().expect("at work").swept_epoch = u64::MAX >> 1;
    books.keep_erasure(&stone).await.expect("kept");
    let kept = books.tombstone(TENANT, Pseudonym(5)).await.expect("it reads").expect("there");
    assert_eq!((kept.state(), &kept), (ErasureState::Erased, &stone));
    let work = stone.work.take();
    books.keep_erasure(&stone).await.expect("settled");
    let kept = books.tombstone(TENANT, Pseudonym(5)).await.expect("it reads").expect("there");
    assert_eq!((kept.state(), kept.work), (ErasureState::Settled, None));
    stone.work = work;
    expect_kind(books.keep_erasure(&stone).await, ErrorKind::Conflict);
    assert_eq!(books.erasures_at_work(10).await.expect("it reads"), []);
}

/// Everyone is listed, page by page, and what is at work in the order it was asked for.
pub async fn tombstones_are_listed_whole(bench: &dyn Bench) {
    let books = bench.open().await;
    let mut persons: Vec<u128> = (1..=40).map(|n| n << 88 | (41 - n)).collect();
    for (at, &person) in (0..).zip(&persons) {
        let stone = tombstone(person, NOON.plus(-at));
        books.set_tombstone(stone).await.expect("set");
    }
    persons.sort_unstable();
    let listed = books.tombstones(None).await.expect("it reads");
    assert_eq!(listed.iter().map(|(_, person, _)| person.0).collect::<Vec<_>>(), persons);
    let (tenant, person, _) = listed[20];
    assert_eq!(books.tombstones(Some((tenant, person))).await.expect("it reads"), listed[21..]);
    let beyond = books.tombstones(Some((TenantId(2), Pseudonym::NONE))).await.expect("it reads");
    assert_eq!(beyond, []);
    let work = books.erasures_at_work(30).await.expect("it reads");
    assert_eq!(work.len(), 30);
    assert!(work.is_sorted_by_key(|stone| stone.asked_at));
}
