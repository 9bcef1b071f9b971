//! What a DCN-v2 costs: to score the candidates of a request, and to learn.
//!
//! ```sh
//! cargo run --release -p reckon-model --example dcn_speed -- serve FOLDER
//! cargo run --release -p reckon-model --example dcn_speed -- train FOLDER
//! ```
//!
//! Both write what a peer needs to do the same into the folder: weights, requests and scores, or the
//! rows of a stream and the scores of its last fifth. `bench/dcn.sh` runs them beside their peers.

#![expect(clippy::print_stdout, reason = "this prints figures")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use reckon_model::dcn::{
    Batch, Inputs, Precision, Scratch, Served, Shape, Structure, Trainer, TrainerOptions, Weights,
};
use reckon_model::{Random, auc, sigmoid};

const FIELDS: usize = 39;
const USER_FIELDS: usize = 19;
const CANDIDATES: usize = 50;
const REQUESTS: usize = 200;
const SERVED_KEYS: u64 = 100_000;
const LEARNED_KEYS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", folder] => serve(Path::new(folder)),
        ["train", folder] => train(Path::new(folder)),
        _ => Err("serve FOLDER, or train FOLDER".into()),
    }
}

fn shape(structure: Structure) -> Shape {
    Shape {
        fields: FIELDS,
        user_fields: USER_FIELDS,
        embedding: 16,
        buckets: 1,
        cross_layers: 3,
        rank: 64,
        hidden: vec![256, 256],
        structure,
        ..Shape::default()
    }
}

fn put(path: &Path, numbers: &[f32]) -> std::io::Result<()> {
    fs::write(path, numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
}

fn put_keys(path: &Path, keys: &[u64]) -> std::io::Result<()> {
    fs::write(path, keys.iter().flat_map(|key| key.to_le_bytes()).collect::<Vec<_>>())
}

/// Keys are 1 and up, and each has its own row, the key less 1: so a peer finds rows without hashing.
fn inputs(shape: &Shape, keys: u64) -> Result<Inputs, Box<dyn Error>> {
    Ok(Inputs::new(shape, Vec::new(), (1..=keys).collect())?)
}

/// Keys of each field are of its own range, small ones more often.
fn key(random: &mut Random, field: usize, all: u64) -> u64 {
    let range = all / FIELDS as u64;
    field as u64 * range + (range as f64).powf(random.uniform()) as u64
}

fn serve(folder: &Path) -> Result<(), Box<dyn Error>> {
    for structure in [Structure::Stacked, Structure::Parallel] {
        let name = format!("{structure:?}").to_lowercase();
        let folder = folder.join(&name);
        fs::create_dir_all(&folder)?;
        let shape = shape(structure);
        let options = TrainerOptions { spread: 0.3, ..TrainerOptions::default() };
        let inputs = inputs(&shape, SERVED_KEYS)?;
        let weights = Trainer::with_inputs(&shape, options, inputs, 1).weights();
        for tensor in weights.tensors() {
            put(&folder.join(format!("{}.f32", tensor.name)), &tensor.numbers)?;
        }
        let mut random = Random::new(2);
        let mut draw = |fields: std::ops::Range<usize>| -> Vec<u64> {
            fields.map(|field| key(&mut random, field, SERVED_KEYS)).collect()
        };
        let requests: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let user = draw(0..USER_FIELDS);
                let candidates = (0..CANDIDATES).flat_map(|_| draw(USER_FIELDS..FIELDS)).collect();
                (user, candidates)
            })
            .collect();
        put_keys(&folder.join("keys.u64"), &requests.iter().flat_map(rows).collect::<Vec<_>>())?;
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let scores = time(&weights, precision, &requests, &name)?;
            if precision == Precision::F32 {
                put(&folder.join("scores.f32"), &scores)?;
            }
        }
    }
    Ok(())
}

type Request = (Vec<u64>, Vec<u64>);

/// A request's rows whole, the user's keys in each.
fn rows((user, candidates): &Request) -> Vec<u64> {
    let rows = candidates.chunks_exact(FIELDS - USER_FIELDS);
    rows.flat_map(|row| user.iter().chain(row)).copied().collect()
}

fn time(
    weights: &Weights,
    precision: Precision,
    requests: &[Request],
    name: &str,
) -> Result<Vec<f32>, Box<dyn Error>> {
    let served = Served::new(weights, precision);
    let mut scratch = Scratch::default();
    let (mut scores, mut times) = (Vec::new(), Vec::new());
    for round in 0..20 {
        for (user, candidates) in requests {
            let mut out = [0.0; CANDIDATES];
            let began = Instant::now();
            served.score(&[], user, &[], candidates, &mut scratch, &mut out)?;
            times.push(began.elapsed().as_nanos() as f64 / 1e3);
            if round == 0 {
                scores.extend(out);
            }
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[times.len() * share / 100];
    println!("serve {name} reckon-{precision:?} p50 {:.1} us p99 {:.1} us", at(50), at(99));
    Ok(scores)
}

/// A normal number that belongs to these two for ever.
fn effect(left: u64, right: u64) -> f32 {
    Random::new(left.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ right).normal()
}

fn train(folder: &Path) -> Result<(), Box<dyn Error>> {
    let number = |name, default| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (rows, batch): (usize, usize) = (number("ROWS", 300_000), number("BATCH", 1_024));
    fs::create_dir_all(folder)?;
    let mut random = Random::new(3);
    let (mut keys, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let row: Vec<u64> =
            (0..FIELDS).map(|field| key(&mut random, field, LEARNED_KEYS)).collect();
        let single: f32 = row.iter().map(|&key| effect(key, 0) * 0.2).sum();
        let pair = |pair: usize| effect(row[pair] % 8, 100 + row[pair + 20] % 8);
        let logit = -1.0 + single + (0..4).map(|index| pair(index) * 0.5).sum::<f32>();
        labels.push(f32::from(u8::from(random.uniform() < f64::from(sigmoid(logit)))));
        keys.extend(row);
    }
    put_keys(&folder.join("keys.u64"), &keys)?;
    put(&folder.join("labels.f32"), &labels)?;
    let shape = shape(Structure::Parallel);
    let inputs = inputs(&shape, LEARNED_KEYS)?;
    let mut trainer = Trainer::with_inputs(&shape, TrainerOptions::ONCE, inputs, 1);
    let learned = rows / 5 * 4;
    let began = Instant::now();
    for start in (0..learned).step_by(batch) {
        let end = learned.min(start + batch);
        trainer.step(&Batch {
            numeric: &[],
            keys: &keys[start * FIELDS..end * FIELDS],
            labels: &labels[start..end],
            weights: &[],
        })?;
    }
    let rate = learned as f64 / began.elapsed().as_secs_f64();
    let mut scores = vec![0.0; rows - learned];
    trainer.weights().score(&[], &keys[learned * FIELDS..], &mut scores)?;
    put(&folder.join("scores.f32"), &scores)?;
    let labels: Vec<_> = labels[learned..].iter().map(|&label| label == 1.0).collect();
    let quality = auc(&scores, &labels).ok_or("the stream has no clicks")?;
    println!("train batch {batch} reckon {rate:.0} rows/s AUC {quality:.4}");
    Ok(())
}
