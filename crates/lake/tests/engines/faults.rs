//! The network and the server fail on a seeded schedule: they refuse, delay, cut off, answer twice and
//! not at all. Every call gets through within its deadline, and every record is in exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use reckon_event::{Pseudonym, Subscriber};
use reckon_lake::conformance::history::{Random, hand, handed_over, history, in_lake};
use reckon_lake::conformance::{keep, open};
use reckon_lake::{
    Erasure, ErasureRequest, LakeOptions, LakePlace, LakeSubscriber, S3Options, verify,
};

use crate::place;
use crate::proxy::{Fault, Proxy, Request};
use crate::server::Server;

/// Fails about every sixth request.
fn schedule(seed: u64) -> impl FnMut(&Request) -> Fault + Send {
    let mut random = Random(seed);
    move |request| match random.below(120) {
        0..3 => Fault::SlowDown,
        3..6 => Fault::CutBefore,
        6..10 => Fault::CutAfter,
        10..13 => Fault::CutWithin,
        13..16 => Fault::FailsAfter,
        16..19 => Fault::Twice,
        19..20 => Fault::Silent,
        20..24 if request.method() == "PUT" => Fault::Conflict,
        _ => Fault::None,
    }
}

fn erase(lake: &LakeSubscriber, requests: &mut [ErasureRequest]) -> u64 {
    for _ in 0..20 {
        match lake.handle().erase(requests.to_vec()).expect("it is erased") {
            Erasure::Done(erased) => return erased.persons[0].found,
            Erasure::Traced(traced) => {
                for (at, traces) in traced {
                    requests[at].known.merge(traces);
                }
            }
        }
    }
    panic!("it is never done");
}

const EPOCHS: u64 = 14;

/// A life of a lake behind a network that fails: epochs, merges, an erasure, a second opening.
fn live(place: &LakePlace, seed: u64) -> usize {
    let steps = history(seed, EPOCHS, 40, 1);
    let options = |writer| LakeOptions { states_kept: 1, ..LakeOptions::new(writer) };
    let mut lake = LakeSubscriber::open(place.clone(), options(1)).expect("it opens");
    for number in 1..=EPOCHS {
        if number == EPOCHS / 2 {
            lake = LakeSubscriber::open(place.clone(), options(2)).expect("it opens again");
        }
        hand(&mut lake, &steps, number, 1).expect("taken");
        lake.persist().expect("durable");
    }
    let mut request = [ErasureRequest::new(Pseudonym(2), Pseudonym(0xdead_beef), [9; 32])];
    assert!(erase(&lake, &mut request) > 0);
    assert_eq!(erase(&lake, &mut request), 0, "nothing is left of the person");
    lake.handle().merge().expect("merged");
    assert_eq!(lake.handle().verify().expect("it answers").damage, []);
    let all = handed_over(&steps, EPOCHS);
    assert_eq!(in_lake(place), all, "seed {seed}");
    all.0.len() + all.1.len()
}

#[test]
fn every_record_is_in_once_whatever_the_network_does() {
    let server = Server::shared();
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    let mut compared = 0;
    for seed in 1..=8 {
        let proxy = Proxy::before(&server.endpoint, schedule(seed));
        let options = server.options_by(&proxy.endpoint());
        let behind = S3Options { request: Duration::from_secs(2), ..options.clone() };
        compared += live(&place(&behind), seed);
        // And without the proxy: what it looks like to everyone else.
        let plain = place(&S3Options { endpoint: Some(server.endpoint.clone()), ..options });
        assert_eq!(in_lake(&plain), handed_over(&history(seed, EPOCHS, 40, 1), EPOCHS));
        assert_eq!(verify(&plain).expect("it reads").damage, []);
        proxy.counts().into_iter().for_each(|(name, count)| *met.entry(name).or_default() += count);
    }
    for name in [
        "slow down",
        "conflict",
        "fails after",
        "cut before",
        "cut after",
        "cut within",
        "twice",
        "silent",
    ] {
        assert!(met.get(name).is_some_and(|count| *count > 0), "{name} was never met: {met:?}");
    }
    println!("{met:?}: {compared} rows compared");
}

#[test]
fn a_server_that_is_overrun_is_waited_for() {
    let server = Server::shared();
    // Each request is refused thirty times before it gets through.
    let mut refused = 0;
    let proxy = Proxy::before(&server.endpoint, move |_| {
        refused = (refused + 1) % 31;
        if refused == 0 { Fault::None } else { Fault::SlowDown }
    });
    let options = server.options_by(&proxy.endpoint());
    let place = place(&S3Options { pause: Duration::from_millis(1), ..options });
    let steps = history(20, 3, 20, 1);
    keep(&mut open(&place, 1), &steps, 1..=3, 1);
    assert_eq!(in_lake(&place), handed_over(&steps, 3));
    let counts = proxy.counts();
    assert!(counts["slow down"] >= 30 * counts["none"], "{counts:?}");
}

#[test]
fn a_server_that_stays_overrun_is_told_of_and_nothing_is_lost() {
    let server = Server::shared();
    let proxy = Proxy::before(&server.endpoint, |_| Fault::None);
    let options = S3Options {
        request: Duration::from_secs(1),
        deadline: Duration::from_millis(1_500),
        ..server.options_by(&proxy.endpoint())
    };
    let place = place(&options);
    let steps = history(21, 6, 20, 1);
    let mut lake = open(&place, 1);
    keep(&mut lake, &steps, 1..=2, 1);
    for fault in [Fault::SlowDown, Fault::CutAfter, Fault::Silent] {
        let number = lake.persisted().expect("a lake is durable") + 1;
        hand(&mut lake, &steps, number, 1).expect("taken");
        let name = fault.clone();
        proxy.set_plan(move |_| fault.clone());
        let told = lake.persist().expect_err("it cannot").to_string();
        assert!(told.contains(&proxy.endpoint()), "{told}");
        if matches!(name, Fault::SlowDown) {
            assert!(told.contains("SlowDown"), "{told}");
        }
        proxy.set_plan(|_| Fault::None);
        lake.persist().expect("it gets through now");
        assert_eq!(in_lake(&place), handed_over(&steps, number));
        assert_eq!(lake.handle().verify().expect("it answers").damage, []);
    }
    assert_eq!(lake.persisted(), Some(5));
}
