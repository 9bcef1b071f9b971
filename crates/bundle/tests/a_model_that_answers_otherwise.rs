//! The file is whole, and the model in it answers something else than where it was made: another build,
//! another processor, a bug. Golden rows find that before anybody is answered. And what a bundle answers is
//! what its parts say: log odds, sampling correction, calibration, in this order and once each.

mod common;

use common::{contents, curves, golden, linear, manifest, rows, written};
use reckon_bundle::manifest::Stage;
use reckon_bundle::{
    Bundle, BundleError, Container, Contents, Kind, LinearInputs, Rows, Scored, Scratch, Section,
    write_container,
};
use reckon_event::Feature;
use reckon_model::{Linear, Random};

/// The same bundle with another model in it, sealed.
fn swapped(bytes: &[u8], model: &[u8]) -> Vec<u8> {
    let container = Container::read(bytes).expect("sound");
    let sections = container.sections.iter().map(|section| Section {
        name: section.name,
        bytes: if section.name == "model-0" { model } else { section.bytes },
    });
    let sections = sections.collect::<Vec<_>>();
    let mut out = Vec::new();
    write_container(&sections, &mut out).expect("sections");
    out
}

#[test]
fn another_model_is_refused_by_its_golden_rows() {
    let contents = contents();
    let bytes = written(&contents);
    assert!(Bundle::read(&swapped(&bytes, &contents.models[0])).is_ok(), "the same model");
    let other = linear(&contents.manifest, 2);
    let error = Bundle::read(&swapped(&bytes, &other)).expect_err("another model");
    assert!(matches!(error, BundleError::Golden { row: 0, stage: 0, .. }), "{error}");
    assert!(
        error.to_string().starts_with("golden row 0 is not reproduced: stage 0 gives log odds of")
    );
}

#[test]
fn golden_rows_are_needed_and_fit() {
    let mut none = contents();
    none.golden = golden(&none.manifest, 0);
    let error = none.write(&mut Vec::new()).expect_err("no golden rows").to_string();
    assert!(error.contains("1 to 4096 rows"), "{error}");
    let mut narrow = contents();
    narrow.golden.numeric.pop();
    let error = narrow.write(&mut Vec::new()).expect_err("a number is missing").to_string();
    assert!(error.contains("31 numbers"), "{error}");
    let mut two = contents();
    two.curves.push(curves(1));
    let error = two.write(&mut Vec::new()).expect_err("calibrations of nothing").to_string();
    assert!(error.contains("stages: 1, for 1 models and 2 calibrations"), "{error}");
}

/// Log odds by the learner itself, row by row.
fn naive(contents: &Contents, model: usize, numeric: &[f32], keys: &[u64]) -> f32 {
    let learner = Linear::decode_state(&contents.models[model]).expect("a state");
    let mut features = Vec::<Feature>::new();
    LinearInputs::of(&contents.manifest).row(numeric, keys, &mut features);
    learner.logit(&features)
}

/// A request of one user, from whole rows: its part is the first row's.
struct Request {
    user: (Vec<f32>, Vec<u64>),
    numeric: Vec<f32>,
    keys: Vec<u64>,
    count: usize,
}

impl Request {
    fn random(contents: &Contents, count: usize, seed: u64) -> Self {
        let manifest = &contents.manifest;
        let mut random = Random::new(seed);
        let (columns, fields) = (manifest.columns.len(), manifest.fields.len());
        let user = rows(&mut random, 1, manifest.user_columns, manifest.user_fields);
        let (numeric, keys) = rows(
            &mut random,
            count,
            columns - manifest.user_columns,
            fields - manifest.user_fields,
        );
        Request { user, numeric, keys, count }
    }

    fn rows(&self) -> Rows<'_> {
        let Request { user: (user_numeric, user_keys), numeric, keys, count } = self;
        Rows { user_numeric, user_keys, numeric, keys, count: *count }
    }

    fn whole(&self, row: usize) -> (Vec<f32>, Vec<u64>) {
        let (columns, fields) = (self.numeric.len() / self.count, self.keys.len() / self.count);
        let numeric = &self.numeric[row * columns..(row + 1) * columns];
        let keys = &self.keys[row * fields..(row + 1) * fields];
        ([&self.user.0[..], numeric].concat(), [&self.user.1[..], keys].concat())
    }
}

#[test]
fn a_bundle_answers_what_its_parts_say() {
    let contents = contents();
    let bundle = Bundle::read(&written(&contents)).expect("sound");
    let mut scratch = Scratch::default();
    let mut compared = 0;
    for seed in 0..20 {
        let request = Request::random(&contents, 1 + seed as usize * 3, seed);
        let mut scored = vec![Scored::default(); request.count];
        bundle.score(request.rows(), &mut scratch, &mut scored).expect("rows of its widths");
        for (row, scored) in scored.iter().enumerate() {
            let (numeric, keys) = request.whole(row);
            let logit = naive(&contents, 0, &numeric, &keys);
            assert!((scored.logit - logit).abs() < 1e-5, "{} {logit}", scored.logit);
            for segment in [0, 5, 9, 6] {
                let expected = contents.curves[0].probability(segment, scored.logit + 0.1f32.ln());
                let found = bundle.probability(*scored, segment);
                assert!((found - expected).abs() < 1e-7, "{found} {expected}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2000, "{compared} probabilities were compared");
}

#[test]
fn rows_of_other_widths_are_told() {
    let contents = contents();
    let bundle = Bundle::read(&written(&contents)).expect("sound");
    let request = Request::random(&contents, 3, 1);
    let mut out = [Scored::default(); 3];
    let mut refused = |rows: Rows<'_>, expected: &str| {
        let error = bundle.score(rows, &mut Scratch::default(), &mut out).expect_err("refused");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let rows = request.rows();
    refused(
        Rows { numeric: &rows.numeric[1..], ..rows },
        "candidates' columns: there are 5, the bundle wants 6",
    );
    refused(Rows { keys: &[], ..rows }, "candidates' fields: there are 0, the bundle wants 6");
    refused(
        Rows { user_numeric: &[], ..rows },
        "the user's columns: there are 0, the bundle wants 2",
    );
    refused(
        Rows { user_keys: &[1, 2], ..rows },
        "the user's fields: there are 2, the bundle wants 1",
    );
    refused(Rows { count: 2, ..rows }, "logits to be filled: there are 3, the bundle wants 2");
}

fn two_stages(top: u32) -> Contents {
    let mut contents = contents();
    contents.manifest.stages.push(Stage { kind: Kind::Linear, sampling: 0.5, top: Some(top) });
    contents.models.push(linear(&manifest(Kind::Linear, 4, 3), 2));
    contents.curves.push(curves(4));
    contents
}

#[test]
fn the_second_stage_scores_the_best_and_nobody_else() {
    let contents = two_stages(5);
    let bundle = Bundle::read(&written(&contents)).expect("sound");
    let mut scratch = Scratch::default();
    for (seed, count) in (0..).zip([1, 4, 5, 6, 50, 200]) {
        let request = Request::random(&contents, count, seed);
        let mut first = vec![Scored::default(); count];
        bundle.score_first(request.rows(), &mut scratch, &mut first).expect("sound rows");
        let mut order = (0..count).collect::<Vec<_>>();
        order.sort_by(|left, right| {
            first[*right].logit.total_cmp(&first[*left].logit).then(left.cmp(right))
        });
        let mut scored = vec![Scored::default(); count];
        bundle.score(request.rows(), &mut scratch, &mut scored).expect("sound rows");
        for (rank, row) in order.into_iter().enumerate() {
            let stage = u8::from(rank < 5);
            let (numeric, keys) = request.whole(row);
            let logit = naive(&contents, stage.into(), &numeric, &keys);
            assert_eq!(scored[row].stage, stage, "rank {rank} of {count}");
            assert!((scored[row].logit - logit).abs() < 1e-5);
            let (curves, sampling) =
                (&contents.curves[usize::from(stage)], [0.1f32, 0.5][usize::from(stage)]);
            let expected = curves.probability(0, scored[row].logit + sampling.ln());
            assert_eq!(bundle.probability(scored[row], 0), expected);
        }
    }
}
