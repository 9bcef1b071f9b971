//! What persons say of themselves.

use reckon_event::{Pseudonym, TenantId, Timestamp};

use super::tombstones::tombstone;
use super::{Bench, NOON, TENANT, expect_kind};
use crate::error::ErrorKind;
use crate::person::Person;

fn person(person: u128, interests: &[&str], updated_at: Timestamp) -> Person {
    Person {
        person: Pseudonym(person),
        locale: Some("de-AT".to_owned()),
        interests: interests.iter().map(|&interest| interest.to_owned()).collect(),
        updated_at,
    }
}

/// The last one set stands, also after a restart, and only for its tenant.
pub async fn a_person_is_what_was_set_last(bench: &dyn Bench) {
    let books = bench.open().await;
    let first = person(u128::MAX, &["shoes", "sn\"ow\\"], NOON);
    let last = Person { locale: None, ..person(u128::MAX, &["books"], NOON.plus(1)) };
    for person in [&first, &last] {
        let set = books.set_persons(TENANT, vec![person.clone()]).await.expect("set");
        assert!(matches!(set.as_slice(), [Ok(())]), "{set:?}");
        let stands = books.person(TENANT, Pseudonym(u128::MAX)).await.expect("it reads");
        assert_eq!(stands.as_ref(), Some(person));
    }
    let of_nobody = books.set_persons(TenantId(7), vec![first]).await;
    expect_kind(of_nobody, ErrorKind::NotFound);
    books.close().await;
    let books = bench.open().await;
    let stands = books.person(TENANT, Pseudonym(u128::MAX)).await.expect("it reads");
    assert_eq!(stands, Some(last));
    assert_eq!(books.person(TenantId(7), Pseudonym(u128::MAX)).await.expect("it reads"), None);
}

/// Each bad one is refused by the field that will not do.
pub async fn a_bad_person_does_not_spoil_the_others(bench: &dyn Bench) {
    let books = bench.open().await;
    let many: Vec<String> = (0..=crate::INTERESTS_MAX).map(|number| number.to_string()).collect();
    let persons = vec![
        person(1, &["shoes"], NOON),
        person(0, &["shoes"], NOON),
        Person { locale: Some("d\u{0}".to_owned()), ..person(2, &[], NOON) },
        Person { interests: many, ..person(3, &[], NOON) },
        person(4, &["shoes", "shoes"], NOON),
        person(5, &[""], NOON),
        person(6, &[], NOON),
    ];
    let set = books.set_persons(TENANT, persons).await.expect("the engine works");
    let fields: Vec<Option<&str>> = set
        .iter()
        .map(|outcome| match outcome.as_ref().map_err(|error| error.kind) {
            Err(ErrorKind::Invalid { field }) => Some(field),
            Err(kind) => panic!("{kind:?}"),
            Ok(()) => None,
        })
        .collect();
    let of_interests = Some("interests");
    let expected =
        [None, Some("user_id"), Some("locale"), of_interests, of_interests, of_interests, None];
    assert_eq!(fields, expected);
    let listed = books.persons(None).await.expect("it reads");
    assert_eq!(listed.iter().map(|(_, person)| person.person.0).collect::<Vec<_>>(), [1, 6]);
}

/// With a tombstone a person is gone, and nothing of them is taken again.
pub async fn who_is_erased_is_gone_and_stays_so(bench: &dyn Bench) {
    let books = bench.open().await;
    let both = vec![person(1, &["shoes"], NOON), person(2, &["shoes"], NOON)];
    books.set_persons(TENANT, both.clone()).await.expect("set");
    books.set_tombstone(tombstone(1, NOON)).await.expect("set");
    assert_eq!(books.person(TENANT, Pseudonym(1)).await.expect("it reads"), None);
    let mut set = books.set_persons(TENANT, both).await.expect("the engine works");
    assert!(matches!(set.pop(), Some(Ok(()))), "the other one is set");
    expect_kind(set.remove(0), ErrorKind::Conflict);
    let listed = books.persons(None).await.expect("it reads");
    assert_eq!(listed.iter().map(|(_, person)| person.person.0).collect::<Vec<_>>(), [2]);
}

/// Everyone is listed, page by page.
pub async fn persons_are_listed_whole(bench: &dyn Bench) {
    let books = bench.open().await;
    let mut all: Vec<Person> =
        (1..=40).map(|number| person(number << 88 | (41 - number), &["shoes"], NOON)).collect();
    books.set_persons(TENANT, all.clone()).await.expect("set");
    all.sort_unstable_by_key(|person| person.person);
    let all: Vec<(TenantId, Person)> = all.into_iter().map(|person| (TENANT, person)).collect();
    assert_eq!(books.persons(None).await.expect("it reads"), all);
    let (tenant, Person { person, .. }) = all[20];
    assert_eq!(books.persons(Some((tenant, person))).await.expect("it reads"), all[21..]);
}
