//! What rows cost: 200 ads and one user, all columns of the default plan, out of a warm store; and what
//! an event costs that the store takes. Beside it the naive way: one candidate after the other. Then the
//! first stage whole: the same rows, scored by 100 invented trees of 31 leaves, in one thread and on all
//! cores.
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
use reckon_model::sigmoid;
use reckon_model::trees::{Child, Forest, Missing, Node, Options, Split, Transform, Tree};

const CANDIDATES: usize = 200;
const REQUESTS: usize = 3_000;
const EVENTS_AN_EPOCH: usize = 1_000;
const TREES: usize = 100;
const LEAVES: usize = 31;
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

    /// A request of somebody; one in ten was never seen.
    fn request(&mut self, number: usize, now: Timestamp) -> Request<'static> {
        let mut parts = self.parts();
        if number.is_multiple_of(10) {
            parts.user = Pseudonym(u128::from(self.random.next()) << 64 | 1);
        }
        Request { parts, now, ..Request::default() }
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let forest = forest(&pasts, &mut world, second);
    for threads in [1, cores] {
        stage_one(&pasts, &forest, &world, second, threads);
    }
}

/// Trees that ask any column for a number which some row has there: each level parts rows.
fn forest(pasts: &Pasts, world: &mut World, second: u32) -> Forest {
    let plan = pasts.plan();
    let (mut views, mut rows) = (Views::default(), Rows::default());
    let now = Timestamp::from_seconds(i64::from(second) + 20);
    let request = Request { parts: world.parts(), now, ..Request::default() };
    let candidates = world.candidates();
    pasts.look(&request, &candidates, &mut views);
    plan.rows(&request, &candidates, &mut views, &mut rows);
    let width = plan.columns().len();
    let trees = (0..TREES).map(|_| tree(&mut world.random, &rows.numeric, width)).collect();
    let options = Options {
        column_names: plan.columns().iter().map(|column| column.name.clone()).collect(),
        transform: Transform::Sigmoid { steepness: 1.0 },
        average: false,
        base: -3.0,
        tiny_is_zero: false,
    };
    Forest::from_trees(trees, options).expect("sound trees")
}

/// A tree grown at random places.
fn tree(random: &mut Random, numbers: &[f32], width: usize) -> Tree {
    let mut tree = Tree { nodes: Vec::<Node>::new(), leaves: vec![0.0] };
    // Where each leaf hangs: its node, and whether to the left.
    let mut hangs: Vec<Option<(usize, bool)>> = vec![None];
    while tree.leaves.len() < LEAVES {
        let leaf = (random.next() % tree.leaves.len() as u64) as usize;
        let (node, new) = (tree.nodes.len(), tree.leaves.len());
        if let Some((above, is_left)) = hangs[leaf] {
            let child = Child::Node(node as u32);
            if is_left { tree.nodes[above].left = child } else { tree.nodes[above].right = child }
        }
        let column = (random.next() % width as u64) as usize;
        let row = (random.next() % (numbers.len() / width) as u64) as usize;
        let value = numbers[row * width + column];
        let threshold = if value.is_nan() { 0.0 } else { f64::from(value) };
        let missing = Missing::Nan { left: random.next().is_multiple_of(2) };
        tree.nodes.push(Node {
            column: column as u32,
            split: Split::AtMost { threshold, missing },
            left: Child::Leaf(leaf as u32),
            right: Child::Leaf(new as u32),
            gain: 0.0,
        });
        hangs[leaf] = Some((node, true));
        hangs.push(Some((node, false)));
        tree.leaves.push(0.0);
    }
    tree.leaves.iter_mut().for_each(|leaf| *leaf = (random.next() % 1_000) as f64 / 1e4 - 0.05);
    tree
}

/// Requests as fast as so many threads answer them: columns out of the store, trees, probabilities.
fn stage_one(pasts: &Pasts, forest: &Forest, world: &World, second: u32, threads: usize) {
    let began = Instant::now();
    let sums: Vec<f64> = std::thread::scope(|scope| {
        let works: Vec<_> = (0..threads)
            .map(|thread| {
                let random = Random(thread as u64 + 100);
                let mut world = World { random, ..*world };
                scope.spawn(move || answer(pasts, forest, &mut world, second))
            })
            .collect();
        works.into_iter().map(|work| work.join().expect("no panic")).collect()
    });
    let rows = (threads * REQUESTS * CANDIDATES) as f64;
    let rate = rows / began.elapsed().as_secs_f64();
    let mean = sums.iter().sum::<f64>() / rows;
    println!(
        "stage one, {TREES} trees of {LEAVES} leaves, threads {threads}: {rate:.0} predictions/s, mean {mean:.4}"
    );
}

fn answer(pasts: &Pasts, forest: &Forest, world: &mut World, second: u32) -> f64 {
    let plan = pasts.plan();
    let (mut views, mut rows) = (Views::default(), Rows::default());
    let (mut scratch, mut margins, mut sum) = (forest.scratch(), vec![0.0; CANDIDATES], 0.0);
    let now = Timestamp::from_seconds(i64::from(second) + 20);
    for number in 0..REQUESTS {
        let request = world.request(number, now);
        let candidates = world.candidates();
        pasts.look(&request, &candidates, &mut views);
        plan.rows(&request, &candidates, &mut views, &mut rows);
        forest.score(&rows.numeric, &mut scratch, &mut margins);
        sum += margins.iter().map(|&margin| f64::from(sigmoid(margin as f32))).sum::<f64>();
    }
    sum
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
        let request = world.request(number, now);
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
