//! What LightGBM says of its own trees, held against what we make of them.

#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use std::path::Path;
use std::process::Command;

use reckon_model::Random;
use reckon_model::trees::Forest;

use super::*;
use crate::fit::{CodeOptions, FitOptions};
use crate::split::Share;
use crate::{RowRef, Schema, Silent, Table, TableWriter};

/// Numbers, one of them bent, one rare, one never there, one always the same; and codes.
const COLUMNS: usize = 8;
const FEW: usize = 6;
const MANY: usize = 7;

fn schema() -> Schema {
    let names = ["straight", "bent", "rare", "never", "same", "noise", "few", "many"];
    Schema { numeric: names.map(str::to_owned).to_vec(), ..Schema::default() }
}

fn values(random: &mut Random, many: u64) -> [f32; COLUMNS] {
    let missing = random.below(8) == 0;
    let bent = if missing { f32::NAN } else { random.normal() };
    let rare = if random.below(30) == 0 { random.normal() } else { 0.0 };
    let few = if random.below(20) == 0 { f32::NAN } else { random.below(4) as f32 };
    // The smaller a code, the more often it comes.
    let most = random.below(many);
    let code = random.below(1 + most);
    [random.normal(), bent, rare, f32::NAN, 3.0, random.normal(), few, code as f32]
}

fn truth(row: &[f32]) -> f32 {
    let bent = if row[1].is_nan() { 0.9 } else { (row[1] * 2.0).sin() };
    let few = if row[FEW].is_nan() { 0.7 } else { 0.0 };
    let many = if (row[MANY].clamp(0.0, 1e6) as u64 * 37) % 11 < 4 { 1.5 } else { 0.0 };
    row[0] * 0.8 + bent + row[2] * 2.0 + few + many - 2.0
}

/// A table, three quarters for training, in a folder that goes when it is dropped.
struct Made {
    folder: tempfile::TempDir,
    table: Table,
    options: FitOptions,
}

impl Made {
    fn of(rows: usize, many: u64, options: TreeOptions) -> Self {
        Self::by(rows, options, |random| values(random, many))
    }

    fn by(
        rows: usize,
        options: TreeOptions,
        mut values: impl FnMut(&mut Random) -> [f32; COLUMNS],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows");
        let mut writer = TableWriter::create(&path, &schema()).expect("a table begins");
        let mut random = Random::new(rows as u64);
        for row in 0..rows {
            let numeric = values(&mut random);
            let label = random.uniform() < f64::from(reckon_model::sigmoid(truth(&numeric)));
            let weight = 1.0 + random.below(3) as f32;
            let (time, group) = (row as i64, row as u64);
            let numeric = &numeric[..];
            writer
                .push(RowRef {
                    numeric,
                    keys: &[],
                    label,
                    weight,
                    time,
                    group,
                    position: 0,
                    truth: f32::NAN,
                })
                .expect("a row is written");
        }
        let table = writer.finish().expect("a table is finished");
        let epochs = Epochs { most: 40, patience: 40, batch: 777 };
        let codes = CodeOptions::USUAL;
        let options = FitOptions::of(Learner::Trees { options, codes, epochs });
        Made { folder, table, options }
    }

    fn task(&self) -> Task<'_> {
        let cut = self.table.len() * 3 / 4;
        Task {
            table: &self.table,
            train: Share::all(0..cut),
            validation: Share::all(cut..self.table.len()),
            click_rate: 0.2,
            rows: cut,
            kept: 1.0,
            options: &self.options,
        }
    }

    fn trees(&self) -> TreeOptions {
        match self.options.learner {
            Learner::Trees { options, .. } => options,
            _ => unreachable!("trees are made here"),
        }
    }

    /// Gives the booster of so many trees to a judge.
    fn booster<T>(&self, trees: usize, correction: f32, judge: impl Fn(&Booster<'_>) -> T) -> T {
        let task = Task { kept: f64::from(correction).exp(), ..self.task() };
        let encoder = Encoder::plain(self.table.schema());
        let source = Source::new(&task, &encoder, vec![FEW, MANY]).expect("a source");
        let parameters = self.trees().parameters(1, &source.categorical);
        let session = Session::begin().expect("a session");
        let data = load(&source, &task, &session, &parameters, None, &mut Silent);
        let data = data.expect("bins");
        let mut booster = Booster::new([&data[0], &data[1]], &parameters).expect("a booster");
        for tree in 0..trees {
            assert!(booster.grow().expect("a tree"), "tree {tree}");
        }
        judge(&booster)
    }

    fn grown(&self) -> Result<(String, usize, f64), TrainError> {
        let task = self.task();
        let encoder = Encoder::plain(self.table.schema());
        let source = Source::new(&task, &encoder, vec![FEW, MANY])?;
        let Learner::Trees { epochs, options, .. } = self.options.learner else {
            unreachable!("trees are made here")
        };
        grown(&source, &task, &options, epochs, &mut Silent)
    }

    /// All rows of a share.
    fn rows(&self, share: &Share) -> crate::Rows {
        let mut rows = crate::Rows::new(self.table.schema());
        let mut cursor = self.table.read(share, crate::Order::Logged).expect("a cursor");
        cursor.next(&mut rows, self.table.len() as usize).expect("rows are read");
        rows
    }
}

const SMALL: TreeOptions = TreeOptions {
    rate: 0.1,
    leaves: 31,
    leaf_rows: 20,
    column_share: 1.0,
    row_share: 1.0,
    l1: 0.0,
    l2: 0.0,
    bins: 255,
    category_rows: 10.0,
    category_l2: 10.0,
    lone_categories: 4,
    threads: 2,
    is_row_wise: false,
};

fn varied() -> [(u64, TreeOptions); 6] {
    [
        (40, SMALL),
        (40, TreeOptions { is_row_wise: true, l1: 0.1, l2: 2.0, ..SMALL }),
        (3, TreeOptions { lone_categories: 8, bins: 7, ..SMALL }),
        (900, TreeOptions { leaves: 120, category_rows: 1.0, category_l2: 0.0, ..SMALL }),
        (40, TreeOptions { column_share: 0.5, row_share: 0.6, threads: 1, ..SMALL }),
        (20_000, TreeOptions { bins: 5_000, leaves: 7, ..SMALL }),
    ]
}

#[test]
fn our_kernel_says_of_its_trees_what_lightgbm_says() {
    let odd =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-35, 2e-35, -1.0, 1e10, 0.5];
    let (mut compared, mut farthest) = (0, 0.0_f64);
    for (many, options) in varied() {
        let made = Made::of(12_000, many, options);
        let mut rows = made.rows(&Share::all(0..made.table.len())).numeric;
        // Some values that no row had.
        let mut random = Random::new(many);
        for value in rows.iter_mut().skip(2_000 * COLUMNS).step_by(7) {
            *value = odd[random.below(odd.len() as u64) as usize];
        }
        let (text, said) = made.booster(40, 0.0, |booster| {
            (booster.text(40).expect("a text"), booster.margins(&rows, COLUMNS))
        });
        let forest = Forest::parse(&text).expect("a forest");
        let mut own = vec![0.0; said.len()];
        forest.score(&rows, &mut forest.scratch(), &mut own);
        assert_eq!(forest.trees().len(), 40);
        for (row, (own, said)) in own.iter().zip(&said).enumerate() {
            let off = (own - said).abs();
            assert!(off <= 1e-12 * said.abs().max(1.0), "{options:?}, row {row}: {own}, {said}");
            (compared, farthest) = (compared + 1, farthest.max(off));
        }
    }
    println!("{compared} scores compared, at most {farthest:e} apart");
    assert!(compared > 60_000);
}

#[test]
fn the_loss_that_ends_growth_is_weighted_and_corrected() {
    for correction in [0.0_f32, -2.3] {
        let made = Made::of(8_000, 40, SMALL);
        let rows = made.rows(&made.task().validation);
        let (told, margins) = made.booster(20, correction, |booster| {
            (booster.loss().expect("a loss"), booster.margins(&rows.numeric, COLUMNS))
        });
        let (mut sum, mut weight) = (0.0, 0.0);
        for (row, margin) in rows.iter().zip(margins) {
            let logit = margin + f64::from(correction);
            let against = if row.label { -logit } else { logit };
            sum += f64::from(row.weight) * against.exp().ln_1p();
            weight += f64::from(row.weight);
        }
        let own = sum / weight;
        println!("{} rows, correction {correction}: {told} and {own}", rows.len());
        assert!((told - own).abs() < 1e-12, "{told} {own}");
    }
}

#[test]
fn the_kept_trees_are_those_that_did_best() {
    // Trees that learn their few rows by heart.
    let wild = TreeOptions { rate: 0.5, leaf_rows: 1, category_rows: 0.0, ..SMALL };
    let made = Made::of(1_500, 400, wild);
    let (text, best, loss) = made.grown().expect("trees");
    assert!(best < 30, "more trees did harm: {best}");
    assert_eq!(Forest::parse(&text).expect("a forest").trees().len(), best);
    let losses: Vec<_> =
        (1..=40).map(|trees| made.booster(trees, 0.0, |one| one.loss().expect("a loss"))).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!((losses[best - 1], loss), (least, least));
    let alike = made.booster(best, 0.0, |booster| booster.text(best).expect("a text"));
    assert!(text == alike, "the same trees as when growth ends there");
}

#[test]
fn what_lightgbm_refuses_is_told_in_its_words() {
    let made = Made::of(400, 5, SMALL);
    let task = made.task();
    let encoder = Encoder::plain(made.table.schema());
    let source = Source::new(&task, &encoder, Vec::new()).expect("a source");
    let session = Session::begin().expect("a session");
    let good = SMALL.parameters(1, &[]);
    let data = load(&source, &task, &session, &good, None, &mut Silent).expect("bins");
    let bad = "objective=astrology metric=binary_logloss verbosity=-1";
    let refused = Booster::new([&data[0], &data[1]], bad).err().expect("it is refused");
    let reason = refused.to_string();
    assert!(reason.starts_with("LightGBM: ") && reason.contains("astrology"), "{reason}");
    let mut booster = Booster::new([&data[0], &data[1]], &good).expect("a booster");
    let refused = booster.continue_from("no model").err().expect("it is refused");
    assert!(matches!(refused, TrainError::Library(_)), "{refused}");
    let refused = booster.continue_from("tree\0").err().expect("it is refused").to_string();
    assert!(refused.contains("zero byte"), "{refused}");
    assert!(booster.grow().expect("a tree"), "an error leaves the library whole");
}

#[test]
fn a_checkpoint_whose_trees_are_no_text_is_refused_with_its_path() {
    let mut made = Made::of(400, 5, SMALL);
    let path = made.folder.path().join("unfinished");
    made.options.checkpoint = Some(Checkpoint { path: path.clone(), batches: 7 });
    let text = made.booster(2, 0.0, |booster| booster.text(2).expect("a text"));
    for (end, is_refused) in [("", false), ("\n", false), ("\0", true)] {
        let learner = format!("{text}{end}").into_bytes();
        let kept = Kept { epoch: 2, done: 0, learner, best: None };
        kept.write(&path, task_hash(&made.task())).expect("a checkpoint");
        let told = made.grown().err().map(|error| error.to_string());
        let wanted = format!("{}: no whole unfinished fit: remove it", path.display());
        assert_eq!(told, is_refused.then_some(wanted), "{end:?}");
    }
}

#[test]
fn what_is_no_category_is_refused_with_its_column() {
    for wrong in [-1.0, 0.5, f32::INFINITY, 2e9] {
        let made = Made::by(400, SMALL, |random| {
            let mut row = values(random, 9);
            row[MANY] = if random.below(50) == 0 { wrong } else { row[MANY] };
            row
        });
        let refused = made.grown().expect_err("it is refused").to_string();
        assert!(refused.starts_with("many: ") && refused.contains("no category"), "{refused}");
    }
}

#[test]
fn seventy_thousand_categories_are_a_right_model() {
    // Each comes twice and more, so that all have bins of their own: more than two bytes count.
    let mut next = 0;
    let options = TreeOptions { bins: 65_535, category_rows: 1.0, ..SMALL };
    let made = Made::by(200_000, options, |random| {
        let mut row = values(random, 1);
        next += 1;
        row[MANY] = (next % 70_000) as f32;
        row
    });
    let (text, best, loss) = made.grown().expect("trees");
    let forest = Forest::parse(&text).expect("a forest");
    let rows = made.rows(&made.task().validation);
    let said = made.booster(best, 0.0, |booster| booster.margins(&rows.numeric, COLUMNS));
    let mut own = vec![0.0; said.len()];
    forest.score(&rows.numeric, &mut forest.scratch(), &mut own);
    assert!(own.iter().zip(&said).all(|(own, said)| (own - said).abs() < 1e-12), "kernels differ");
    let clicks = rows.labels.iter().filter(|label| **label).count() as f64 / rows.len() as f64;
    let idle = -clicks * clicks.ln() - (1.0 - clicks) * (1.0 - clicks).ln();
    println!("{best} trees, loss {loss:.4}, of the click rate alone {idle:.4}, {} rows", own.len());
    assert!(loss < idle - 0.02, "{loss} {idle}");
}

#[test]
fn columns_that_say_nothing_are_told_as_such() {
    let made = Made::by(2_000, SMALL, |_| {
        let mut row = [f32::NAN; COLUMNS];
        row[4] = 3.0;
        row
    });
    let refused = made.grown().expect_err("it is refused").to_string();
    assert!(refused.contains("no column parts the rows"), "{refused}");
}

/// Everything of a text but its parameters.
fn trees_of(text: &str) -> &str {
    &text[..text.find("end of trees").expect("trees end")]
}

/// `RECKON_PYTHON` names a Python with the same version of LightGBM (`deploy/setup.sh python`, `make
/// test` sets it). With `RECKON_ENGINES=required` it must be there; else it is said that it was left out.
#[test]
fn trees_are_those_of_lightgbms_python_package() {
    let Ok(python) = std::env::var("RECKON_PYTHON") else {
        let is_required = std::env::var("RECKON_ENGINES").is_ok_and(|value| value == "required");
        assert!(!is_required, "RECKON_PYTHON is unset, and RECKON_ENGINES=required");
        println!("RECKON_PYTHON is unset: left out");
        return;
    };
    let mut compared = 0;
    for (many, options) in varied() {
        let made = Made::of(12_000, many, options);
        let rows = made.rows(&made.task().train);
        let labels: Vec<_> = rows.labels.iter().map(|&label| f32::from(u8::from(label))).collect();
        for (name, numbers) in
            [("rows", &rows.numeric), ("labels", &labels), ("weights", &rows.weights)]
        {
            let bytes: Vec<_> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let path = made.folder.path().join(name).with_extension("f32");
            std::fs::write(path, bytes).expect("a file is written");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees/grow.py");
        let parameters = options.parameters(1, &[FEW, MANY]);
        let output = Command::new(&python)
            .arg(script)
            .arg(made.folder.path())
            .args(["15", &format!("{FEW},{MANY}")])
            .args(parameters.split_whitespace())
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let peer = String::from_utf8(output.stdout).expect("a text");
        let own = made.booster(15, 0.0, |booster| booster.text(15).expect("a text"));
        let named = |text: &str| {
            let text = trees_of(text);
            text[text.find("\nTree=0").expect("a tree")..].to_owned()
        };
        let (own, peer) = (named(&own), named(&peer));
        let differs = own.lines().zip(peer.lines()).find(|(own, peer)| own != peer);
        assert_eq!(differs, None, "{options:?}");
        assert_eq!(own.len(), peer.len());
        compared += own.lines().filter(|line| line.starts_with("Tree=")).count();
    }
    println!("{compared} trees compared");
    assert!(compared >= 90);
}
