//! Many histories, on several threads.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::feeds::lock;
use crate::{Breach, Tally, run};

/// So many breaches are enough to look at.
const BREACHES_MAX: usize = 20;

/// Lives through the histories of all `seeds` on so many threads. Gives what they have gone through,
/// and every breach, by seed; it stops early where there are many. `progress` is told after each.
pub fn sweep(
    seeds: Range<u64>,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> (Tally, Vec<Breach>) {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new((Tally::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || lock(&found).1.len() >= BREACHES_MAX {
                return;
            }
            let outcome = run_caught(seed);
            let mut found = lock(&found);
            match outcome {
                Ok(tally) => found.0.merge(&tally),
                Err(breach) => found.1.push(breach),
            }
            let done = found.0.histories + found.1.len() as u64;
            drop(found);
            progress(done);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let (tally, mut breaches) = found.into_inner().unwrap_or_else(|error| error.into_inner());
    breaches.sort_by_key(|breach| breach.seed);
    (tally, breaches)
}

/// An assertion of the house that does not hold is a breach like any other.
fn run_caught(seed: u64) -> Result<Tally, Breach> {
    catch_unwind(AssertUnwindSafe(|| run(seed, None, None))).unwrap_or_else(|panic| {
        let what = format!("it panicked: {}", words_of(&*panic));
        Err(Breach { seed, what })
    })
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
