//! Trees find the best of thousands, a network ranks those: two models of two tools in one bundle. Where one
//! is fed the other's rows, or a converted tree takes another branch at a missing number, a plausible number
//! comes out all the same. So each kind's scores are held against who made it: LightGBM's own margins,
//! onnxruntime's probabilities, and each of our models asked directly, row by row.

#[expect(dead_code, reason = "the linear model is for other tests")]
mod common;

use common::{curves, golden, manifest, rows, written};
use reckon_bundle::manifest::Stage;
use reckon_bundle::{Bundle, Contents, Kind, Manifest, Rows, Scored, Scratch};
use reckon_model::dcn::{Batch, Shape, Trainer, TrainerOptions};
use reckon_model::factor::{FactorOptions, Ffm, Fm, Row};
use reckon_model::{Random, sigmoid};

fn path(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("a fixture")
}

fn lightgbm(name: &str) -> Vec<u8> {
    file(&format!("../model/tests/trees/{name}.txt"))
}

fn numbers<T: std::str::FromStr>(name: &str) -> Vec<T> {
    let text = String::from_utf8(file(name)).expect("text");
    let number = |field: &str| field.parse().unwrap_or_else(|_| panic!("{field} is no number"));
    text.split(['\n', ',']).filter(|field| !field.is_empty()).map(number).collect()
}

fn one(kind: Kind, model: Vec<u8>, columns: usize, fields: usize) -> Contents {
    let manifest = manifest(kind, columns, fields);
    let golden = golden(&manifest, 8);
    Contents {
        models: vec![model],
        encodings: Vec::new(),
        curves: vec![curves(1)],
        golden,
        manifest,
    }
}

/// Log odds of whole rows, each a request of its own.
fn alone(bundle: &Bundle, stage: usize, numeric: &[f32], keys: &[u64], count: usize) -> Vec<f32> {
    let Manifest { user_columns, user_fields, .. } = bundle.manifest;
    let (columns, fields) = (bundle.manifest.columns.len(), bundle.manifest.fields.len());
    let mut scratch = Scratch::default();
    let score = |row: usize| {
        let (user_numeric, numeric) =
            numeric[row * columns..(row + 1) * columns].split_at(user_columns);
        let (user_keys, keys) = keys[row * fields..(row + 1) * fields].split_at(user_fields);
        let mut out = [0.0];
        let rows = Rows { user_numeric, user_keys, numeric, keys, count: 1 };
        bundle.score_stage(stage, rows, &mut scratch, &mut out).expect("rows of its widths");
        out[0]
    };
    (0..count).map(score).collect()
}

#[test]
fn trees_say_what_lightgbm_says() {
    let mut compared = 0;
    for (name, steepness) in [
        ("binary", 0.7),
        ("categories", 1.0),
        ("cross_entropy", 1.0),
        ("zero_missing", 1.0),
        ("forest", 1.0),
    ] {
        let contents = one(Kind::Trees, lightgbm(name), 8, 0);
        let bundle = Bundle::read(&written(&contents)).expect(name);
        let numeric: Vec<f32> = numbers(&format!("../model/tests/trees/{name}.rows.csv"));
        let scores: Vec<f64> = numbers(&format!("../model/tests/trees/{name}.scores.csv"));
        let found = alone(&bundle, 0, &numeric, &[], scores.len() / 2);
        for (found, score) in found.iter().zip(scores.chunks_exact(2)) {
            let expected = score[0] * steepness;
            let is_near = (f64::from(*found) - expected).abs() <= 1e-6 * (1.0 + expected.abs());
            assert!(is_near, "{name}: {found} {expected}");
            assert!((f64::from(sigmoid(*found)) - score[1]).abs() < 1e-6, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 5 * 60);
}

#[test]
fn trees_that_add_up_something_else_are_refused() {
    for (name, expected) in [("poisson", "Exponential"), ("ranking", "Identity")] {
        let contents = one(Kind::Trees, lightgbm(name), 8, 0);
        let error = contents.write(&mut Vec::new()).expect_err(name).to_string();
        assert!(error.contains(expected) && error.contains("objective=binary"), "{error}");
    }
    let refused = |contents: Contents, expected: &str| {
        let error = contents.write(&mut Vec::new()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(one(Kind::Trees, lightgbm("binary"), 7, 0), "the model has 8 columns, the manifest 7");
    refused(one(Kind::Trees, lightgbm("binary"), 8, 1), "the manifest names fields as well");
    refused(
        one(Kind::Trees, file("tests/fixtures/onnx/sigmoid.onnx"), 10, 0),
        "has no tree ensemble",
    );
    let mut cut = lightgbm("binary");
    cut.truncate(cut.len() / 2);
    refused(one(Kind::Trees, cut, 8, 0), "section model-0 of the bundle: the trees are refused");
}

/// Rows, their columns, and onnxruntime's probabilities.
fn judged(name: &str) -> (Vec<f32>, usize, Vec<f32>) {
    let bytes = file(&format!("tests/fixtures/onnx/{name}.rows"));
    let number =
        |place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four"));
    let (rows, columns) = (number(0) as usize, number(4) as usize);
    let floats =
        bytes[8..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four")));
    let mut floats = floats.collect::<Vec<_>>();
    let probabilities = floats.split_off(rows * columns);
    (floats, columns, probabilities)
}

#[test]
fn ensembles_in_onnx_say_what_onnxruntime_says() {
    for name in ["xgboost", "lightgbm"] {
        let (numeric, columns, expected) = judged(name);
        assert!(numeric.iter().filter(|number| number.is_nan()).count() > 100, "missing numbers");
        let model = file(&format!("tests/fixtures/onnx/{name}.onnx"));
        let bundle = Bundle::read(&written(&one(Kind::Trees, model, columns, 0))).expect(name);
        let found = alone(&bundle, 0, &numeric, &[], expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let found = sigmoid(*found);
            assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
        }
        assert_eq!(found.len(), 200);
    }
}

/// A network that has learned something.
fn dcn(manifest: &Manifest) -> (Vec<u8>, reckon_model::dcn::Weights) {
    let (columns, fields) = (manifest.columns.len(), manifest.fields.len());
    let shape = Shape {
        columns,
        fields,
        user_columns: manifest.user_columns,
        user_fields: manifest.user_fields,
        embedding: 4,
        buckets: 64,
        cross_layers: 2,
        rank: 3,
        hidden: vec![12, 8],
        ..Shape::default()
    };
    let mut trainer = Trainer::new(&shape, TrainerOptions::default(), 5).expect("a shape");
    let mut random = Random::new(9);
    for _ in 0..20 {
        let (numeric, keys) = rows(&mut random, 64, columns, fields);
        let labels =
            (0..64).map(|row| f32::from(u8::from(numeric[row * columns + 2] > 0.2))).collect();
        let labels: Vec<f32> = labels;
        let batch = Batch { numeric: &numeric, keys: &keys, labels: &labels, weights: &[] };
        trainer.step(&batch).expect("a batch");
    }
    let weights = trainer.weights();
    let mut bytes = Vec::new();
    weights.to_bytes(&mut bytes);
    (bytes, weights)
}

fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{found} {expected}");
    }
    assert!(found.iter().any(|logit| (logit - found[0]).abs() > 1e-3), "all rows score the same");
}

#[test]
fn a_network_scores_as_its_weights() {
    let manifest = manifest(Kind::Dcn, 5, 4);
    let (bytes, weights) = dcn(&manifest);
    let bundle = Bundle::read(&written(&one(Kind::Dcn, bytes.clone(), 5, 4))).expect("sound");
    let (numeric, keys) = rows(&mut Random::new(21), 100, 5, 4);
    let mut expected = vec![0.0; 100];
    weights.score(&numeric, &keys, &mut expected).expect("rows");
    near(&alone(&bundle, 0, &numeric, &keys, 100), &expected);
    let error = one(Kind::Dcn, bytes, 5, 3).write(&mut Vec::new()).expect_err("other fields");
    assert!(error.to_string().contains("the model has 4 fields, the manifest 3"), "{error}");
}

#[test]
fn factorisation_machines_score_as_themselves() {
    let options = FactorOptions { bits: 8, ..FactorOptions::new(4, 5) };
    let mut fm = Fm::new(options).expect("options");
    let mut ffm = Ffm::new(options).expect("options");
    let mut random = Random::new(2);
    for _ in 0..500 {
        let (numeric, keys) = rows(&mut random, 1, 5, 4);
        let (row, label) = (Row { numeric: &numeric, keys: &keys }, keys[0] == keys[1]);
        fm.learn(row, label, 1.0);
        ffm.learn(row, label, 1.0);
    }
    let (mut states, (numeric, keys)) = ([Vec::new(), Vec::new()], rows(&mut random, 100, 5, 4));
    fm.encode(&mut states[0]);
    ffm.encode(&mut states[1]);
    let expect = |score: &dyn Fn(Row<'_>) -> f32| {
        let rows = numeric.chunks_exact(5).zip(keys.chunks_exact(4));
        rows.map(|(numeric, keys)| score(Row { numeric, keys })).collect::<Vec<_>>()
    };
    let expected = [expect(&|row| fm.score(row)), expect(&|row| ffm.score(row))];
    for ((kind, state), expected) in [Kind::Fm, Kind::Ffm].into_iter().zip(states).zip(expected) {
        let bundle = Bundle::read(&written(&one(kind, state, 5, 4))).expect("sound");
        near(&alone(&bundle, 0, &numeric, &keys, 100), &expected);
    }
}

/// Trees score all, the network the best seven; and one caller's memory serves bundle after bundle.
#[test]
fn trees_then_a_network() {
    let fields = 3;
    let mut mixed = one(Kind::Trees, lightgbm("zero_missing"), 8, fields);
    let stage = Stage { kind: Kind::Dcn, sampling: 0.25, top: Some(7) };
    mixed.manifest.stages.push(stage);
    let (bytes, weights) = dcn(&mixed.manifest);
    mixed.models.push(bytes);
    mixed.curves.push(curves(2));
    let mixed_bundle = Bundle::read(&written(&mixed)).expect("sound");
    let names = ["binary", "categories", "cross_entropy", "forest", "constant"];
    let others = names.map(|name| {
        let contents = one(Kind::Trees, lightgbm(name), 8, 0);
        Bundle::read(&written(&contents)).expect(name)
    });
    let mut scratch = Scratch::default();
    for (seed, count) in (0..).zip([1, 7, 8, 33, 150]) {
        let (user_numeric, user_keys) = rows(&mut Random::new(seed), 1, 2, 1);
        let (numeric, keys) = rows(&mut Random::new(seed + 50), count, 6, 2);
        let request = Rows {
            user_numeric: &user_numeric,
            user_keys: &user_keys,
            numeric: &numeric,
            keys: &keys,
            count,
        };
        for other in &others {
            let (request, mut out) =
                (Rows { user_keys: &[], keys: &[], ..request }, vec![0.0; count]);
            other.score_stage(0, request, &mut scratch, &mut out).expect("rows of its widths");
            let mut fresh = vec![0.0; count];
            other.score_stage(0, request, &mut Scratch::default(), &mut fresh).expect("rows");
            assert_eq!(out, fresh, "another forest's memory is not taken");
        }
        let mut scored = vec![Scored::default(); count];
        mixed_bundle.score(request, &mut scratch, &mut scored).expect("rows of its widths");
        let whole = |user: &[f32], all: &[f32]| {
            all.chunks_exact(6).flat_map(|row| [user, row].concat()).collect::<Vec<_>>()
        };
        let all_numeric = whole(&user_numeric, &numeric);
        let all_keys =
            keys.chunks_exact(2).flat_map(|row| [&user_keys[..], row].concat()).collect::<Vec<_>>();
        let first = alone(&mixed_bundle, 0, &all_numeric, &all_keys, count);
        let mut second = vec![0.0; count];
        weights.score(&all_numeric, &all_keys, &mut second).expect("rows");
        let mut order = (0..count).collect::<Vec<_>>();
        order.sort_by(|left, right| first[*right].total_cmp(&first[*left]).then(left.cmp(right)));
        for (rank, row) in order.into_iter().enumerate() {
            let stage = u8::from(rank < 7);
            let expected = if stage == 1 { second[row] } else { first[row] };
            assert_eq!(scored[row].stage, stage, "rank {rank} of {count}");
            assert!((scored[row].logit - expected).abs() <= 1e-5 * (1.0 + expected.abs()));
        }
    }
}
