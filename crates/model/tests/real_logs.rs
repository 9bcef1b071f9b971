//! A learner that is fine on invented rows may still be lost on real ones. Criteo's log, in its order:
//! each row is predicted before it is learned.
//!
//! The folder of the logs is `RECKON_DATA`; where it is unset nothing is compared, and the test says
//! so. The figures to hold are Vowpal Wabbit's on the same lines (`bench/learn.sh`).

#![expect(clippy::print_stdout, reason = "a test says how much it compared")]

use reckon_event::{Feature, name_key};
use reckon_model::{
    Calibrator, CalibratorOptions, Linear, LinearOptions, auc, calibration_ratio,
    expected_calibration_error, log_loss, sigmoid,
};

/// Vowpal Wabbit 9.11.9, `--loss_function logistic -b 22`.
const PEER_AUC: f64 = 0.7121;
const PEER_LOG_LOSS: f64 = 0.4739;

/// A line of the log: a label, 13 integers, 26 categories, any of them missing.
fn parse(line: &str) -> (bool, Vec<Feature>) {
    let mut fields = line.split('\t');
    let label = fields.next() == Some("1");
    let feature = |(column, field): (usize, &str)| {
        let value = if column < 13 { bin(field) } else { field.to_owned() };
        Feature::flag(name_key(&format!("{column} {value}")) as u32)
    };
    (label, fields.enumerate().filter(|(_, field)| !field.is_empty()).map(feature).collect())
}

/// The usual bins of Criteo's integers: the squared logarithm, rounded down.
fn bin(field: &str) -> String {
    match field.parse::<f64>() {
        Ok(number) if number >= 2.0 => format!("s{}", number.ln().powi(2).floor()),
        _ => field.to_owned(),
    }
}

#[test]
fn criteo_is_predicted_as_well_as_by_others() {
    let Some(folder) = std::env::var_os("RECKON_DATA") else {
        println!("RECKON_DATA is unset: Criteo's log was left out, nothing was compared");
        return;
    };
    let path = std::path::Path::new(&folder).join("criteo/train.tsv");
    let text = std::fs::read_to_string(&path).expect("the folder has Criteo's log");
    let rows: Vec<_> = text.lines().map(parse).collect();
    let mut model = Linear::new(LinearOptions::default());
    let logits: Vec<_> = rows.iter().map(|(label, row)| model.learn(row, *label, 1.0)).collect();
    let labels: Vec<_> = rows.iter().map(|(label, _)| *label).collect();
    let probabilities: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();

    let auc = auc(&logits, &labels).expect("both kinds");
    let loss = log_loss(&logits, &labels);
    let ratio = calibration_ratio(&probabilities, &labels).expect("clicks");
    println!("{} rows: AUC {auc:.4}, log loss {loss:.4}, calibration {ratio:.3}", rows.len());
    assert!(rows.len() >= 8_000, "compared {} rows", rows.len());
    assert!(auc >= PEER_AUC, "AUC {auc}");
    assert!(loss <= PEER_LOG_LOSS, "log loss {loss}");
    assert!((0.95..1.05).contains(&ratio), "calibration ratio {ratio}");
    calibrated_beside_it(&logits, &labels);
}

/// A calibrator that learns beside the model, refitted as it goes, must not make it worse.
fn calibrated_beside_it(logits: &[f32], labels: &[bool]) {
    let mut calibrator = Calibrator::new(CalibratorOptions::default());
    let mut curve = calibrator.fit();
    let mut calibrated = Vec::with_capacity(logits.len());
    for (index, (&logit, &label)) in logits.iter().zip(labels).enumerate() {
        if index % 100 == 0 {
            curve = calibrator.fit();
        }
        calibrated.push(curve.logit(logit));
        calibrator.observe(logit, 1.0);
        if label {
            calibrator.click(logit, 1.0);
        }
    }
    let error = |logits: &[f32]| {
        let probabilities: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        expected_calibration_error(&probabilities, labels, 20)
    };
    let (before, after) = (error(logits), error(&calibrated));
    let (loss_before, loss_after) = (log_loss(logits, labels), log_loss(&calibrated, labels));
    println!(
        "calibrated: error {before:.4} -> {after:.4}, loss {loss_before:.4} -> {loss_after:.4}"
    );
    assert!(after <= before + 0.002, "{before} {after}");
    assert!(loss_after <= loss_before + 0.001, "{loss_before} {loss_after}");
}
