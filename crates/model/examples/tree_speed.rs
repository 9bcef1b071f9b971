//! What it costs to score rows with a model of LightGBM, in one thread.
//!
//! ```sh
//! cargo run --release -p reckon-model --example tree_speed -- model.txt rows.f32 ...
//! ```
//!
//! Models and rows come in pairs; rows are f32 of this machine's byte order, row after row. Prints for
//! each model the middle and the least of 101 windows, each of which scores all rows, in nanoseconds a row
//! and a node, and the sum of all margins, which a peer must have too (`bench/trees.sh`).

#![expect(clippy::print_stdout, reason = "this prints figures")]

use std::time::Instant;

use reckon_model::trees::Forest;

const WINDOWS: usize = 101;

fn measure(model: &str, rows: &str) {
    let text = std::fs::read_to_string(model).expect("the model can be read");
    let forest = Forest::parse(&text).expect("a model of LightGBM");
    let bytes = std::fs::read(rows).expect("the rows can be read");
    let rows: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|&f32| f32::from_ne_bytes(f32)).collect();
    let mut out = vec![0.0; rows.len() / forest.columns()];
    let mut scratch = forest.scratch();
    let mut times: Vec<f64> = (0..WINDOWS)
        .map(|_| {
            let began = Instant::now();
            forest.score(&rows, &mut scratch, &mut out);
            began.elapsed().as_nanos() as f64 / out.len() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let nodes: usize = forest.trees().iter().map(|tree| tree.nodes.len()).sum();
    let middle = times[WINDOWS / 2];
    println!(
        "reckon {model} ns_per_row {middle:.1} least {:.1} ns_per_node {:.4} trees {} leaves_max {} sum {:.9}",
        times[0],
        middle / nodes.max(1) as f64,
        forest.trees().len(),
        forest.leaves_max(),
        out.iter().sum::<f64>()
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.as_chunks::<2>().0 {
        measure(&pair[0], &pair[1]);
    }
}
