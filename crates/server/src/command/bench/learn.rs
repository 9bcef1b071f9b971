//! `reckon bench learn`: how well and how fast the online model learns a file.
//!
//! Progressive validation: each row is predicted before it is learned, so every prediction is of a row
//! the model had not seen. Lines are read and hashed first; the clock runs over learning alone, with
//! the next row fetched ahead. Each round begins with an empty model and learns the same rows, so the
//! scores are those of every round. Two times are told: the middle round's as a whole, and the middle
//! one of all stretches of some hundred rows, which is what learning takes while nothing else has the
//! core.
//!
//! With the scores of another learner on the same lines, both are judged by the same code, and the
//! difference of their AUC comes with its paired bootstrap interval: where that holds 0, the lines
//! do not tell the two apart.

mod lines;

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reckon_model::{
    Interval, Linear, LinearOptions, auc, auc_difference, calibration_ratio, log_loss, sigmoid,
};
use serde_json::{Value, json};

use super::machine::Machine;
use crate::args::Learn;
use lines::Rows;

/// Rows timed together.
const STRETCH: usize = 256;
/// Draws of the bootstrap.
const RESAMPLES: usize = 200;
const SEED: u64 = 1;

/// What a learner's log odds were worth.
struct Quality {
    auc: f64,
    log_loss: f64,
    calibration_ratio: f64,
}

/// How long learning took, in nanoseconds a feature.
struct Time {
    whole_round: f64,
    stretch: f64,
}

/// What a run has shown.
struct Outcome {
    rows: usize,
    clicks: usize,
    features_per_row: f64,
    rounds: usize,
    time: Time,
    ours: Quality,
    other: Option<(Quality, Interval)>,
}

/// Learns the file, judges, prints.
pub fn run(arguments: &Learn, out: &mut impl Write) -> Result<()> {
    let rows = Rows::read(&arguments.file)?;
    let other = match &arguments.against {
        Some(path) => Some(read_scores(path, rows.len())?),
        None => None,
    };
    let options = LinearOptions { bits: arguments.bits, ..LinearOptions::default() };
    options.check()?;
    let mut scores = vec![0.0; rows.len()];
    let (mut rounds, mut stretches) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        rounds.push(learn(&rows, &options, &mut scores, &mut stretches));
    }
    if let Some(path) = &arguments.scores {
        write_scores(path, &scores)?;
    }
    let labels: Vec<_> = (0..rows.len()).map(|index| rows.label(index)).collect();
    let judged = other.map(|other| {
        let interval = auc_difference(&scores, &other, &labels, RESAMPLES, SEED);
        anyhow::Ok((Quality::of(&other, &labels)?, interval.context("both kinds of labels")?))
    });
    let outcome = Outcome {
        rows: rows.len(),
        clicks: labels.iter().filter(|&&label| label).count(),
        features_per_row: rows.features() as f64 / rows.len() as f64,
        rounds: rounds.len(),
        time: Time { whole_round: middle(rounds), stretch: middle(stretches) },
        ours: Quality::of(&scores, &labels)?,
        other: judged.transpose()?,
    };
    outcome.print(arguments, out)
}

/// One round: its nanoseconds a feature; those of each stretch are added to `stretches`, and the log
/// odds from before each row was learned are put into `scores`.
fn learn(
    rows: &Rows,
    options: &LinearOptions,
    scores: &mut [f32],
    stretches: &mut Vec<f64>,
) -> f64 {
    let mut model = Linear::new(*options);
    let began = Instant::now();
    let mut stretch_began = began;
    for (stretch, scores) in scores.chunks_mut(STRETCH).enumerate() {
        let first = stretch * STRETCH;
        for (index, score) in (first..).zip(scores.iter_mut()) {
            if index + 1 < rows.len() {
                model.prefetch(rows.row(index + 1));
            }
            *score = model.learn(rows.row(index), rows.label(index), rows.weight(index));
        }
        let now = Instant::now();
        let features = rows.features_of(first..first + scores.len());
        stretches.push(per_feature(now - stretch_began, features));
        stretch_began = now;
    }
    per_feature(began.elapsed(), rows.features())
}

fn per_feature(time: Duration, features: usize) -> f64 {
    time.as_nanos() as f64 / features.max(1) as f64
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() - 1) / 2]
}

impl Quality {
    fn of(logits: &[f32], labels: &[bool]) -> Result<Self> {
        let probabilities: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        let both = "the file needs rows with the label 1 and rows with -1";
        Ok(Quality {
            auc: auc(logits, labels).context(both)?,
            log_loss: log_loss(logits, labels),
            calibration_ratio: calibration_ratio(&probabilities, labels).context(both)?,
        })
    }

    fn json(&self) -> Value {
        json!({
            "auc": self.auc,
            "log_loss": self.log_loss,
            "calibration_ratio": self.calibration_ratio,
        })
    }
}

impl std::fmt::Display for Quality {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Quality { auc, log_loss, calibration_ratio } = self;
        write!(out, "AUC {auc:.4}, log loss {log_loss:.4}, calibration {calibration_ratio:.3}")
    }
}

impl Outcome {
    fn print(&self, arguments: &Learn, out: &mut impl Write) -> Result<()> {
        if arguments.json {
            writeln!(out, "{}", self.json(arguments))?;
            return Ok(());
        }
        writeln!(out, "rows        {}, {} of them clicked", self.rows, self.clicks)?;
        writeln!(out, "row         {:.1} features", self.features_per_row)?;
        writeln!(out, "prediction  {}", self.ours)?;
        if let Some((other, Interval { low, middle, high })) = &self.other {
            writeln!(out, "the other   {other}")?;
            writeln!(out, "difference  AUC {middle:+.4}, 95 of 100 in {low:+.4} to {high:+.4}")?;
        }
        let Time { whole_round, stretch } = self.time;
        writeln!(
            out,
            "learning    {stretch:.1} ns a feature, {:.0} ns a row ({whole_round:.1} ns a feature over \
             the middle of {} rounds); 2^{} weights, reading and hashing left out",
            stretch * self.features_per_row,
            self.rounds,
            arguments.bits
        )?;
        Ok(())
    }

    fn json(&self, arguments: &Learn) -> Value {
        let mut json = json!({
            "rows": self.rows,
            "clicks": self.clicks,
            "features_per_row": self.features_per_row,
            "bits": arguments.bits,
            "rounds": self.rounds,
            "ns_per_feature": self.time.stretch,
            "ns_per_feature_whole_round": self.time.whole_round,
            "prediction": self.ours.json(),
            "machine": Machine::here().json(),
        });
        if let Some((other, interval)) = &self.other {
            json["other"] = other.json();
            json["auc_difference"] = json!({
                "low": interval.low, "middle": interval.middle, "high": interval.high,
            });
        }
        json
    }
}

fn write_scores(path: &Path, scores: &[f32]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = BufWriter::new(file);
    for score in scores {
        writeln!(out, "{score}")?;
    }
    out.flush().with_context(|| format!("cannot write {}", path.display()))
}

/// Log odds, one a line, as many as there are rows. What follows the first space of a line is a tag.
fn read_scores(path: &Path, rows: usize) -> Result<Vec<f32>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut scores = Vec::with_capacity(rows);
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        let first = line.split(' ').next().unwrap_or_default();
        let score: f32 =
            first.parse().with_context(|| format!("{name}, line {number}: not a number"))?;
        ensure!(score.is_finite(), "{name}, line {number}: not a finite number");
        ensure!(scores.len() < rows, "{name} has more scores than the file has rows ({rows})");
        scores.push(score);
    }
    ensure!(scores.len() == rows, "{name} has {} scores for {rows} rows", scores.len());
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: &Path, lines: &str) -> Learn {
        let file = folder.join("lines");
        std::fs::write(&file, lines).expect("a file");
        Learn { file, bits: 12, rounds: 3, scores: None, against: None, json: true }
    }

    fn outcome(arguments: &Learn) -> Result<Value> {
        let mut out = Vec::new();
        run(arguments, &mut out)?;
        Ok(serde_json::from_slice(&out)?)
    }

    /// Every third row of `a` is clicked and no other.
    fn lines(rows: usize) -> String {
        let line = |row: usize| match row % 6 {
            0 | 3 => "1 |ad a |user u\n",
            1 | 4 => "-1 |ad b |user u\n",
            _ => "-1 |ad c |user u v:0.5\n",
        };
        (0..rows).map(line).collect()
    }

    #[test]
    fn a_file_is_learned_and_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut arguments = arguments(folder.path(), &lines(3_000));
        arguments.scores = Some(folder.path().join("scores"));
        let first = outcome(&arguments).expect("it is learned");
        assert_eq!((&first["rows"], &first["clicks"]), (&json!(3_000), &json!(1_000)));
        assert!((first["features_per_row"].as_f64().expect("a number") - 7.0 / 3.0).abs() < 1e-9);
        assert!(first["prediction"]["auc"].as_f64() > Some(0.99), "{first}");
        // Against its own scores there is no difference.
        arguments.against = arguments.scores.take();
        let second = outcome(&arguments).expect("it is learned");
        assert_eq!(second["other"]["auc"], first["prediction"]["auc"]);
        assert_eq!(second["auc_difference"]["middle"], json!(0.0));
        assert_eq!(second["auc_difference"]["high"], json!(0.0));
        arguments.json = false;
        let mut text = Vec::new();
        run(&arguments, &mut text).expect("it is learned");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("difference  AUC +0.0000") && text.contains("ns a feature"),
            "{text}"
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |lines: &str, scores: Option<&str>| {
            let mut arguments = arguments(folder.path(), lines);
            if let Some(scores) = scores {
                let path = folder.path().join("scores");
                std::fs::write(&path, scores).expect("a file");
                arguments.against = Some(path);
            }
            format!("{:#}", outcome(&arguments).expect_err("it is wrong"))
        };
        assert!(told("1 |a b\n", None).contains("rows with -1"));
        assert!(told("", None).contains("no rows"));
        assert!(told("1 |a b\n2 |a b\n", None).contains("line 2"));
        assert!(told(&lines(3), Some("0\n0\n")).contains("2 scores for 3 rows"));
        assert!(told(&lines(1), Some("0\n0\n")).contains("more scores"));
        assert!(told(&lines(3), Some("0\nx\n0\n")).contains("line 2: not a number"));
    }
}
