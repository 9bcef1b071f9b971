//! Histories on disks that fail come out as plain sets have them; and what is tampered with does not.

#![expect(clippy::print_stdout, reason = "the test tells how much it compared")]

use reckon_sim::{Mutation, run, sweep};

const SEEDS: u64 = 500;
const THREADS: usize = 2;

#[test]
fn every_history_counts_as_plain_sets_do() {
    let (tally, breaches) = sweep(0..SEEDS, THREADS, &|_| {});
    println!("{tally}");
    assert_eq!(breaches, []);
    assert_eq!(tally.histories, SEEDS);
    assert_eq!(tally.missing(), Vec::<&str>::new(), "these never occurred");
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 4, 5] {
        let told = || {
            let mut told = Vec::new();
            let mut tell = |words: &str| told.push(words.to_owned());
            run(seed, None, Some(&mut tell)).expect("it holds");
            told
        };
        let first = told();
        assert!(first.len() > 20, "a story has some steps: {}", first.len());
        assert_eq!(first, told(), "seed {seed}");
    }
}

/// The judge is no rubber stamp: one epoch tampered with is enough.
#[test]
fn what_is_tampered_with_is_noticed() {
    for mutation in Mutation::ALL {
        let mut noticed = Vec::new();
        for seed in 1_000..1_008 {
            match run(seed, Some(mutation), None) {
                // No epoch had what it would have been done to.
                Ok(tally) => assert_eq!(tally.tampered, 0, "seed {seed}: {mutation:?} unnoticed"),
                Err(breach) => noticed.push(breach.what),
            }
        }
        println!("{mutation:?}: noticed {} times, such as: {}", noticed.len(), noticed[0]);
        assert!(noticed.len() >= 4, "{mutation:?} is hardly ever done: {}", noticed.len());
    }
}
