//! A tree that takes one wrong turn at a missing value still gives a number, and nobody sees it. So
//! every score is held against LightGBM's own: on frozen models, and on random ones made on the spot.
//!
//! `tests/trees/make_models.py` makes both. `RECKON_PYTHON` names a Python that has LightGBM
//! (`deploy/setup.sh python` makes one, and `make test` sets it). With `RECKON_ENGINES=required` the
//! random models fail where there is none; else they say that they were left out.

#![expect(clippy::print_stdout, reason = "a test says how much it compared")]

use std::path::Path;
use std::process::Command;

use reckon_model::trees::Forest;

/// How far a sum of leaves may be off, for each unit of its size.
const MARGIN: f64 = 1e-12;

fn numbers<T: std::str::FromStr>(path: &Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).expect("a file of numbers");
    let number = |field: &str| field.parse().unwrap_or_else(|_| panic!("{field} is no number"));
    text.split(['\n', ',']).filter(|field| !field.is_empty()).map(number).collect()
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= MARGIN * right.abs().max(1.0)
}

/// Compares a model with its scores; says how many rows, and the leaves of its largest tree.
fn check(model: &Path) -> (usize, usize) {
    let text = std::fs::read_to_string(model).expect("a model");
    let forest =
        Forest::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    let rows: Vec<f32> = numbers(&model.with_extension("rows.csv"));
    let scores: Vec<f64> = numbers(&model.with_extension("scores.csv"));
    let (mut plain, mut fast) = (vec![0.0; scores.len() / 2], vec![0.0; scores.len() / 2]);
    forest.score_plain(&rows, &mut plain);
    forest.score(&rows, &mut forest.scratch(), &mut fast);
    for (row, score) in scores.as_chunks::<2>().0.iter().enumerate() {
        let at = format!("{}, row {row}: {:?}", model.display(), &rows[row * 8..][..8]);
        assert!(close(plain[row], score[0]), "{at}: {} and {}", plain[row], score[0]);
        assert_eq!(plain[row].to_bits(), fast[row].to_bits(), "{at}: the kernel differs");
        let said = forest.probability(plain[row]);
        assert!(close(said, score[1]), "{at}: prediction {said} and {}", score[1]);
    }
    (plain.len(), forest.leaves_max())
}

/// Compares all models of a folder.
fn check_all(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut models: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    models.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    models.sort();
    let compared: Vec<_> = models.iter().map(|model| check(model)).collect();
    let rows: usize = compared.iter().map(|(rows, _)| rows).sum();
    let leaves: Vec<_> = compared.iter().map(|(_, leaves)| leaves).collect();
    println!("{} models, {rows} rows, leaves {leaves:?}", models.len());
    assert!(rows > 0, "nothing was compared");
    models.len()
}

#[test]
fn frozen_models_score_as_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    assert_eq!(check_all(&folder), 16, "all frozen models are there");
}

#[test]
fn random_models_score_as_in_lightgbm() {
    let Some(python) = std::env::var_os("RECKON_PYTHON") else {
        let required = std::env::var("RECKON_ENGINES").is_ok_and(|value| value == "required");
        assert!(!required, "RECKON_ENGINES=required, and RECKON_PYTHON names no Python");
        println!("LEFT OUT: no RECKON_PYTHON, so no random model was compared with LightGBM");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random_models");
    std::fs::create_dir_all(&folder).expect("a folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trees/make_models.py");
    let output = Command::new(python).arg(script).arg(&folder).args(["11", "40"]).output();
    let output = output.expect("RECKON_PYTHON can be run");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    assert_eq!(check_all(&folder), 40, "all random models were made");
}
