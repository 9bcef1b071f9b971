//! Bundles for tests: small, of a linear model, always the same bytes.

use std::collections::BTreeMap;

use reckon_bundle::manifest::{Column, Field, Plan, Training};
use reckon_bundle::{Contents, Golden, Kind, LinearInputs, Manifest};
use reckon_model::calibration::{Observation, SegmentOptions, Segmented};
use reckon_model::{Linear, LinearOptions, Random};

/// A manifest of this kind: two of the user's columns and one of its fields stand first.
pub fn manifest(kind: Kind, columns: usize, fields: usize) -> Manifest {
    let column = |index| Column {
        name: format!("number_{index}"),
        default: Some(index as f32 / 4.0),
        importance: 1.0 / columns as f32,
    };
    let field = |index| Field { name: format!("category_{index}"), importance: 0.0 };
    Manifest {
        plan: Plan { version: 3, schema: "5d41402abc4b2a76".to_owned() },
        user_columns: 2.min(columns),
        user_fields: 1.min(fields),
        training: Some(Training {
            from_ms: 1_700_000_000_000,
            to_ms: 1_700_086_400_000,
            rows: 1000,
            clicks: 40,
        }),
        metrics: BTreeMap::from([("auc".to_owned(), 0.7812), ("log_loss".to_owned(), 0.1429)]),
        parent: Some("ab".repeat(32)),
        created_ms: 1_700_090_000_000,
        ..Manifest::of(kind, (0..columns).map(column).collect(), (0..fields).map(field).collect())
    }
}

/// Rows with holes, and their keys.
pub fn rows(
    random: &mut Random,
    count: usize,
    columns: usize,
    fields: usize,
) -> (Vec<f32>, Vec<u64>) {
    let number =
        |random: &mut Random| if random.below(10) == 0 { f32::NAN } else { random.normal() };
    let numeric = (0..count * columns).map(|_| number(random)).collect();
    let keys =
        (0..count * fields).map(|_| random.below(7).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    (numeric, keys)
}

/// A logistic regression that has learned something of such rows.
pub fn linear(manifest: &Manifest, seed: u64) -> Vec<u8> {
    let (columns, fields) = (manifest.columns.len(), manifest.fields.len());
    let mut model = Linear::new(LinearOptions { bits: 8, ..LinearOptions::default() });
    let (inputs, mut random) = (LinearInputs::of(manifest), Random::new(seed));
    let mut features = Vec::new();
    for _ in 0..300 {
        let (numeric, keys) = rows(&mut random, 1, columns, fields);
        features.clear();
        inputs.row(&numeric, &keys, &mut features);
        model.learn(&features, numeric[0] > 0.5, 1.0);
    }
    let mut bytes = Vec::new();
    model.encode_state(&mut bytes);
    bytes
}

/// Curves that change something, for all and for segments 5 and 9.
pub fn curves(seed: u64) -> Segmented {
    let mut random = Random::new(seed);
    let (mut batch, mut segments) = (Vec::new(), Vec::new());
    for row in 0..6000 {
        let (segment, shift) = [(5, -1.5), (9, 0.5), (0, -0.5)][row % 3];
        let logit = random.normal();
        let clicked = random.uniform() < f64::from(reckon_model::sigmoid(logit + shift));
        batch.push(Observation { logit, label: clicked, weight: 1.0 });
        segments.push(segment);
    }
    let options =
        SegmentOptions { rows_min: 1000.0, clicks_min: 10.0, ..SegmentOptions::default() };
    Segmented::fit(&batch, &segments, &options).expect("clicks and others")
}

/// Golden rows without what comes out of them.
pub fn golden(manifest: &Manifest, count: usize) -> Golden {
    let (columns, fields) = (manifest.columns.len(), manifest.fields.len());
    let (numeric, keys) = rows(&mut Random::new(11), count, columns, fields);
    let segments = (0..count).map(|row| [0, 5, 9, 77][row % 4]).collect();
    Golden { numeric, keys, segments, expected: Vec::new() }
}

/// One linear model.
pub fn contents() -> Contents {
    let mut manifest = manifest(Kind::Linear, 4, 3);
    manifest.stages[0].sampling = 0.1;
    let models = vec![linear(&manifest, 1)];
    Contents {
        models,
        encodings: Vec::new(),
        curves: vec![curves(1)],
        golden: golden(&manifest, 8),
        manifest,
    }
}

/// Its bytes.
pub fn written(contents: &Contents) -> Vec<u8> {
    let mut bytes = Vec::new();
    contents.write(&mut bytes).expect("sound contents");
    bytes
}
