//! Weights that PyTorch has learned must score here as they do there.
//!
//! A network imported with one matrix transposed, or one bias forgotten, still gives numbers that look
//! like log odds. `fixtures/dcn_pytorch.txt` holds weights, inputs and the scores PyTorch gave them,
//! written by `bench/dcn_peer.py fixture`, for both structures.

use std::collections::HashMap;

use reckon_model::dcn::{Precision, Scratch, Served, Shape, Structure, Weights};

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

fn read(text: &str) -> Vec<(Structure, Tensors)> {
    let mut networks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_owned();
        if name == "network" {
            let structure = match words.next() {
                Some("parallel") => Structure::Parallel,
                _ => Structure::Stacked,
            };
            networks.push((structure, Tensors::new()));
            continue;
        }
        let shape = words.map(|word| word.parse().expect("a size")).collect();
        let numbers = lines.next().expect("numbers").split(' ');
        let numbers = numbers.map(|word| word.parse().expect("a number")).collect();
        networks.last_mut().expect("a network first").1.insert(name, (shape, numbers));
    }
    networks
}

#[test]
fn scores_are_those_of_pytorch() {
    let mut compared = 0;
    for (structure, mut tensors) in read(include_str!("fixtures/dcn_pytorch.txt")) {
        let shape = Shape {
            columns: 3,
            fields: 5,
            user_columns: 0,
            user_fields: 0,
            embedding: 4,
            buckets: 1,
            cross_layers: 2,
            rank: 6,
            hidden: vec![12, 8],
            structure,
        };
        let [numeric, rows, scores] =
            ["numeric", "rows", "scores"].map(|name| tensors.remove(name).expect("inputs").1);
        // Key and row differ by one: 0 is missing. The last row is the one bucket.
        let keys: Vec<u64> = rows.iter().map(|row| *row as u64 + 1).collect();
        let given =
            tensors.iter().map(|(name, (shape, numbers))| (&name[..], &shape[..], &numbers[..]));
        let weights = Weights::from_tensors(&shape, (1..64).collect(), given).expect("a network");
        let mut plain = vec![0.0; scores.len()];
        weights.score(&numeric, &keys, &mut plain).expect("rows");
        let mut served = vec![0.0; scores.len()];
        let mut scratch = Scratch::default();
        Served::new(&weights, Precision::F32)
            .score(&[], &[], &numeric, &keys, &mut scratch, &mut served)
            .expect("a request");
        for ((theirs, plain), served) in scores.iter().zip(&plain).zip(&served) {
            assert!((theirs - plain).abs() < 1e-5, "{structure:?}: {theirs} {plain}");
            assert!((theirs - served).abs() < 1e-5, "{structure:?}: {theirs} {served}");
            compared += 1;
        }
    }
    assert_eq!(compared, 48);
}
