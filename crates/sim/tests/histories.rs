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
        let seeds = 1_000..1_008;
        let noticed: Vec<String> = seeds
            .clone()
            .filter_map(|seed| run(seed, Some(mutation), None).err())
            .map(|b| b.what)
            .collect();
        println!("{mutation:?}: {} of 8, such as: {}", noticed.len(), noticed[0]);
        assert_eq!(noticed.len() as u64, seeds.end - seeds.start, "{mutation:?}");
    }
}
