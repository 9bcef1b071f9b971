//! What rows cost: 200 ads and one user, all columns of the default plan, out of a warm store; and what
//! an event costs that the store takes. Beside it the naive way: one candidate after the other.
//!
//!     cargo run --release -p reckon-feature --example feature_speed -- 1000000 100000 2000000
//!
//! Users, ads and events, by default a million, a hundred thousand and two million.

#![expect(clippy::print_stdout, reason = "an example prints its figures")]

use std::sync::Arc;
use std::time::Instant;

use reckon_event::{Bound, Epoch, Kind, Position, Pseudonym, TenantId, Timestamp};
use reckon_feature::{
    Ad, Candidate, Change, Happened, Parts, Pasts, PastsOptions, Plan, Request, Rows, Views,
};

const CANDIDATES: usize = 200;
const REQUESTS: usize = 3_000;
const EVENTS_AN_EPOCH: usize = 1_000;
/// So many numbers are made one by one as well.
const COMPARED_MIN: usize = 300 * CANDIDATES * 150;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// By Zipf with exponent 1, nearly: the logarithm of a rank is even.
    fn rank(&mut self, count: u64) -> u64 {
        let even = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((count as f64).powf(even) as u64).min(count - 1)
    }
}

struct World {
    random: Random,
    users: u64,
    ads: u64,
}

fn ad(number: u64) -> Ad {
    Ad { ad: 1 + number, campaign: 1 + number / 20, category: 1 + number % 40, ..Ad::default() }
}

impl World {
    fn parts(&mut self) -> Parts {
        Parts {
            tenant: TenantId(1),
            user: Pseudonym(u128::from(1 + self.random.rank(self.users)) << 64),
            page: 1 + self.random.rank(1_000),
            geo: 1 + self.random.rank(50),
            device: 1 + self.random.next() % 3,
            placement: 1 + self.random.next() % 8,
            ..Parts::default()
        }
    }

    fn event(&mut self, second: u32) -> Happened {
        let Ad { ad, campaign, category, .. } = ad(self.random.rank(self.ads));
        let parts = Parts { ad, campaign, category, ..self.parts() };
        let is_click = self.random.next().is_multiple_of(30);
        let kind = if is_click { Kind::Click } else { Kind::Impression };
        Happened { parts, kind, amount: 0, second }
    }

    /// Half of them by Zipf, half any: cold ones are among them.
    fn candidates(&mut self) -> Vec<Candidate> {
        let mut number = |at| {
            if at % 2 == 0 { self.random.rank(self.ads) } else { self.random.next() % self.ads }
        };
        let candidate = |ad| Candidate { ad, price: 50_000, position: 1 };
        (0..CANDIDATES).map(|at| candidate(ad(number(at)))).collect()
    }
}

fn percentile(times: &mut [f64], part: f64) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

fn main() {
    let number =
        |at, usual| std::env::args().nth(at).and_then(|it| it.parse().ok()).unwrap_or(usual);
    let mut world =
        World { random: Random(7), users: number(1, 1_000_000), ads: number(2, 100_000) };
    let pasts = Pasts::new(Arc::new(Plan::default()), PastsOptions::default());
    let second = fill(&pasts, &mut world, number(3, 2_000_000) as usize);
    look(&pasts, &mut world, second);
}

/// Feeds events of two days, so that hours and days roll; says when the last one was.
fn fill(pasts: &Pasts, world: &mut World, events: usize) -> u32 {
    let epochs = events.div_ceil(EVENTS_AN_EPOCH);
    let second = |at: usize| 1_790_000_000 + (at * 172_800 / epochs) as u32;
    let mut times = Vec::with_capacity(epochs);
    for at in 0..epochs {
        let change = |offset| {
            let offset = (at * EVENTS_AN_EPOCH + offset) as u64;
            Change::Counted(Position { partition: 0, offset }, world.event(second(at)))
        };
        let changes: Vec<Change> = (0..EVENTS_AN_EPOCH).map(change).collect();
        let number = at as u64 + 1;
        let bounds = vec![Bound { partition: 0, from: at as u64, to: number }];
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds };
        let began = Instant::now();
        pasts.apply(&epoch, &changes).expect("in order");
        times.push(began.elapsed().as_secs_f64() * 1e9 / EVENTS_AN_EPOCH as f64);
    }
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len().max(1) as f64;
    let (all, last) = (mean(&times), mean(&times[times.len() - times.len() / 10..]));
    let (count, bytes) = pasts.size();
    println!("entities an event touches: up to {}", pasts.plan().entities().len());
    println!("apply ns an event: {all:.0} (last tenth {last:.0})");
    let (taken, gone) = (bytes >> 20, pasts.evicted());
    println!("pasts: {count}, {taken} MB, {} bytes each, {gone} let go", bytes / count.max(1));
    second(epochs)
}

fn look(pasts: &Pasts, world: &mut World, second: u32) {
    let plan = pasts.plan();
    let (mut views, mut rows) = (Views::default(), Rows::default());
    let (mut all, mut looks, mut naive) = (Vec::new(), Vec::new(), Vec::new());
    let now = Timestamp::from_seconds(i64::from(second) + 20);
    let mut compared = 0;
    for number in 0..REQUESTS {
        let mut parts = world.parts();
        if number % 10 == 0 {
            // Somebody who was never seen.
            parts.user = Pseudonym(u128::from(world.random.next()) << 64 | 1);
        }
        let request = Request { parts, now, ..Request::default() };
        let candidates = world.candidates();
        let began = Instant::now();
        pasts.look(&request, &candidates, &mut views);
        looks.push(began.elapsed().as_secs_f64() * 1e6);
        plan.rows(&request, &candidates, &mut views, &mut rows);
        all.push(began.elapsed().as_secs_f64() * 1e6);
        if compared < COMPARED_MIN {
            let (numbers, took) = one_by_one(pasts, &request, &candidates);
            naive.push(took);
            let same =
                |(one, other): (&f32, &f32)| one.to_bits() == other.to_bits() || one.is_nan();
            assert!(numbers.iter().zip(&rows.numeric).all(same), "the same rows");
            compared += numbers.len();
        }
    }
    let columns = plan.columns().len();
    for (what, times) in
        [("rows", &mut all), ("look alone", &mut looks), ("one by one", &mut naive)]
    {
        let (half, tail) = (percentile(times, 0.5), percentile(times, 0.99));
        println!("{what} us, {CANDIDATES} ads x {columns} columns: p50 {half:.0} p99 {tail:.0}");
    }
    println!("compared with one by one: {compared} numbers, all equal");
}

/// The naive way: nothing is shared between candidates.
fn one_by_one(pasts: &Pasts, request: &Request<'_>, candidates: &[Candidate]) -> (Vec<f32>, f64) {
    let (mut views, mut rows, mut numbers) = (Views::default(), Rows::default(), Vec::new());
    let began = Instant::now();
    for candidate in candidates {
        let candidate = std::slice::from_ref(candidate);
        pasts.look(request, candidate, &mut views);
        pasts.plan().rows(request, candidate, &mut views, &mut rows);
        numbers.extend_from_slice(&rows.numeric);
    }
    (numbers, began.elapsed().as_secs_f64() * 1e6)
}
