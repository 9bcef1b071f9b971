//! How fast trees grow, and in how much memory.
//!
//!     cargo run --release -p reckon-train --features lightgbm --example tree_speed -- ROWS COLUMNS TREES [FOLDER]
//!
//! Invented rows, half of whose columns say something. Prints values that became bins a second, values
//! that trees were grown from a second, and the most memory there was beside the bins' own bytes. With a
//! folder, the training rows are left there as `tests/trees/grow.py` takes them.

#![expect(clippy::print_stdout, reason = "figures are its data")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use reckon_model::{Random, sigmoid};
use reckon_train::fit::{CodeOptions, Epochs, FitOptions, Learner, TreeOptions};
use reckon_train::{Parts, Progress, RowRef, Schema, Table, TableWriter, fit};

/// When each step began.
#[derive(Default)]
struct Steps(Vec<(String, Instant)>);

impl Progress for Steps {
    fn advance(&mut self, step: &str, _done: u64, _total: u64) {
        if self.0.last().is_none_or(|(last, _)| last != step) {
            self.0.push((step.to_owned(), Instant::now()));
        }
    }
}

fn write(path: &Path, rows: usize, columns: usize) -> Table {
    let numeric = (0..columns).map(|column| format!("column_{column}")).collect();
    let schema = Schema { numeric, ..Schema::default() };
    let mut writer = TableWriter::create(path, &schema).expect("a table begins");
    let (mut random, mut numeric) = (Random::new(1), vec![0.0; columns]);
    for row in 0..rows {
        numeric.iter_mut().for_each(|value| *value = random.normal());
        let sum: f32 = numeric.iter().step_by(2).map(|value| (value * 1.5).sin()).sum();
        let truth = sigmoid(sum * 0.5 - 2.0);
        let label = random.uniform() < f64::from(truth);
        let (time, group) = (row as i64, row as u64);
        let (numeric, weight) = (&numeric[..], 1.0);
        writer
            .push(RowRef { numeric, keys: &[], label, weight, time, group, position: 0, truth })
            .expect("a row is written");
    }
    writer.finish().expect("a table is finished")
}

fn leave(table: &Table, parts: &Parts, folder: &Path) {
    let file = |name: &str| BufWriter::new(File::create(folder.join(name)).expect("a file"));
    let (mut rows, mut labels, mut weights) =
        (file("rows.f32"), file("labels.f32"), file("weights.f32"));
    let share = reckon_train::Share::all(parts.train.clone());
    reckon_train::split::for_each_batch(table, &share, reckon_train::Order::Logged, |batch| {
        let write = |out: &mut BufWriter<File>, value: f32| {
            out.write_all(&value.to_le_bytes()).expect("a number is written");
        };
        batch.numeric.iter().for_each(|&value| write(&mut rows, value));
        batch.labels.iter().for_each(|&label| write(&mut labels, f32::from(u8::from(label))));
        batch.weights.iter().for_each(|&weight| write(&mut weights, weight));
        Ok(())
    })
    .expect("rows are read");
}

/// The most memory that this process has had, in MB.
fn memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |place: usize, usual| {
        arguments.get(place).map_or(usual, |text| text.parse().expect("a whole number"))
    };
    let (rows, columns, trees) = (number(0, 200_000), number(1, 50), number(2, 50));
    let folder = tempfile::tempdir().expect("a folder");
    let table = write(&folder.path().join("rows"), rows, columns);
    let parts = Parts::usual(&table).expect("parts");
    if let Some(folder) = arguments.get(3) {
        leave(&table, &parts, Path::new(folder));
    }
    let before = memory_mb();
    let epochs = Epochs { most: trees, patience: trees, batch: 4_096 };
    let is_row_wise = std::env::var_os("ROW_WISE").is_some();
    let options = TreeOptions { is_row_wise, ..TreeOptions::USUAL };
    let options = FitOptions::of(Learner::Trees { options, codes: CodeOptions::USUAL, epochs });
    let mut steps = Steps::default();
    let begin = Instant::now();
    let fitted = fit(&table, &parts, &options, &mut steps).expect("a model");
    let began = |name: &str| steps.0.iter().find(|(step, _)| step == name).expect("a step").1;
    let (bins, grown) = (began("bins"), began("trees"));
    let values = (parts.validation.end * columns as u64) as f64;
    let trained = (parts.train.end * columns as u64) as f64 * trees as f64;
    println!("sample {:.2} s", (bins - begin).as_secs_f64());
    println!("bins   {:.1} million values/s", values / (grown - bins).as_secs_f64() / 1e6);
    let seconds = grown.elapsed().as_secs_f64();
    println!("trees  {trees} in {seconds:.2} s, {:.1} million values/s", trained / seconds / 1e6);
    println!("best   {} trees, loss {:.5}", fitted.epochs, fitted.validation_loss);
    if let (Some(before), Some(most)) = (before, memory_mb()) {
        println!("memory {most:.0} MB, {before:.0} MB before; bins {:.0} MB", values / 1e6);
    }
}
