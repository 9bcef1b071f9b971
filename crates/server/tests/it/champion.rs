//! A bundle was deployed, and the answers were another model's; or were its own, of other rows than the
//! ones that were logged.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reckon_bundle::manifest::{Column, Field};
use reckon_bundle::{Bundle, Contents, Golden, Kind, Manifest, Scored, Scratch};
use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Kind as RecordKind, ServedRows, Timestamp};
use reckon_feature::Plan;
use reckon_model::calibration::{Curve, Platt, Segmented};
use reckon_model::dcn::{Shape, Structure, Trainer, TrainerOptions};
use reckon_predict::Champion;
use reckon_server::freshness::Watch;
use serde_json::json;

use crate::harness::House;
use crate::predict::records;

/// A network nobody has trained, of the plan's columns: it ranks, and surely not as the online model.
fn write_bundle(plan: &Plan, more: Option<&str>, path: &Path) {
    write_weighed(plan, more, |_| 0.0, path);
}

/// The same, to whose columns something is told to be of importance.
fn write_weighed(plan: &Plan, more: Option<&str>, importance: fn(&str) -> f32, path: &Path) {
    let columns = plan.columns().iter().map(|column| column.name.as_str()).chain(more);
    let columns: Vec<Column> = columns
        .map(|name| Column { name: name.to_owned(), default: None, importance: importance(name) })
        .collect();
    let fields: Vec<Field> = plan
        .fields()
        .iter()
        .map(|field| Field { name: field.name.clone(), importance: 0.0 })
        .collect();
    let shape = Shape {
        columns: columns.len(),
        fields: fields.len(),
        user_columns: plan.user_columns(),
        user_fields: plan.user_fields(),
        embedding: 4,
        buckets: 64,
        cross_layers: 1,
        rank: 4,
        hidden: vec![8],
        structure: Structure::Parallel,
    };
    let trainer = Trainer::new(&shape, TrainerOptions::default(), 7).expect("a network");
    let rows = 3;
    let golden = Golden {
        numeric: (0..rows * columns.len()).map(|at| (at % 7) as f32 - 3.0).collect(),
        keys: (0..rows * fields.len()).map(|at| at as u64).collect(),
        segments: vec![0; rows],
        expected: Vec::new(),
    };
    let manifest = Manifest {
        user_columns: plan.user_columns(),
        user_fields: plan.user_fields(),
        ..Manifest::of(Kind::Dcn, columns, fields)
    };
    let line = Curve::Platt(Platt { slope: 0.5, shift: -1.0 });
    let mut weights = Vec::new();
    trainer.weights().to_bytes(&mut weights);
    let contents = Contents {
        manifest,
        models: vec![weights],
        encodings: Vec::new(),
        curves: vec![Segmented::of(line)],
        golden,
    };
    let mut file = std::fs::File::create(path).expect("a file");
    contents.write(&mut file).expect("a bundle");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bundle_answers_is_what_it_says_of_the_logged_row() {
    let folder = TempDir::new("champion");
    let path = folder.path().join("model.bundle");
    let plan = Plan::default();
    write_bundle(&plan, None, &path);
    let bundle = Bundle::open(&path).expect("it opens");
    let champion = Champion::new(Bundle::open(&path).expect("it opens"), &plan).expect("it fits");
    let settings = [("MODEL__BUNDLE", path.to_str().expect("a path"))];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["a", "b", "c", "d"]).await;
    for round in 0..5 {
        let token = house.token(&format!("user-{}", round % 2)).await;
        house.browse(&format!("/v1/impression?imp={token}")).await;
        house.browse(&format!("/click?imp={token}")).await;
        house.settle().await;
    }
    let asked = json!({"user_id": "user-1", "ad_candidates": ["a", "b", "c", "d"], "mint": 4,
        "context": {"geo": "DE", "device": "mobile"}, "placement": "top"});
    let answer = house.post("/api/predict", &asked).await.json();
    assert_eq!(answer["model_version"], json!(champion.name()), "{answer}");
    assert_eq!(answer["degraded"], json!(false), "{answer}");
    let answered: Vec<f64> = answer["predictions"]
        .as_array()
        .expect("predictions")
        .iter()
        .map(|one| {
            assert_eq!((&one["stage"], &one["calibrated"]), (&json!(1), &json!(true)), "{one}");
            one["p_click"].as_f64().expect("a probability")
        })
        .collect();
    // Nobody waits for rows; a click that is durable stands behind them.
    house.browse("/click?adId=a").await;
    house.settle().await;
    let rows = records(&house, |_, record| {
        let is_row = record.kind == RecordKind::Prediction;
        is_row.then(|| ServedRows::decode(record.payload).expect("a row"))
    });
    let last = rows.iter().max_by_key(|rows| rows.request).expect("rows were logged");
    assert_eq!((last.model_version, last.candidates.len()), (champion.version(), 4));
    let (mut scratch, mut compared) = (Scratch::default(), 0);
    for candidate in &last.candidates {
        let rows = reckon_bundle::Rows {
            user_numeric: &last.shared_columns.numeric,
            user_keys: &last.shared_columns.keys,
            numeric: &candidate.columns.numeric,
            keys: &candidate.columns.keys,
            count: 1,
        };
        let mut scored = [Scored::default()];
        bundle.score(rows, &mut scratch, &mut scored).expect("a score");
        let said = bundle.probability(scored[0], 0);
        let answered = answered[usize::from(candidate.index)];
        assert!((f64::from(said) - answered).abs() < 1e-5, "{said} and {answered}");
        assert!((candidate.probability - said).abs() < 1e-5);
        compared += 1;
    }
    assert_eq!(compared, 4);
    let active = house.get("/api/models/active").await.json();
    assert_eq!(active["active"]["model_version"], json!(champion.name()), "{active}");
    assert_eq!(active["active"]["kind"], "bundle");
}

/// Asks while counting stands still and the log goes on, and again when it has caught up.
async fn confidence_of_stale_and_fresh(house: &House) -> (f64, f64) {
    let asked = json!({"user_id": "u", "ad_candidates": ["a"], "context": {"device": "mobile"}});
    let confidence = async || {
        let answer = house.post("/api/predict", &asked).await.json();
        assert_eq!(answer["degraded"], json!(false), "stale is not degraded: {answer}");
        answer["confidence"].as_f64().expect("a share")
    };
    let mut watch = Watch::default();
    watch.look(house.app());
    house.settle().await;
    watch.look(house.app());
    assert_eq!(confidence().await, 1.0, "everything is counted");
    let progress = Arc::clone(&house.app().progress);
    let hold = tokio::task::spawn_blocking(move || progress.hold(Duration::from_secs(60)));
    let hold = hold.await.expect("no panic").ok().expect("counting stands still");
    house.browse("/click?adId=a").await;
    house.clock.step(house.app().config.feature.age_s_max * Timestamp::SECOND + 1);
    watch.look(house.app());
    let stale = confidence().await;
    drop(hold);
    watch.look(house.app());
    house.settle().await;
    watch.look(house.app());
    (stale, confidence().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_how_much_of_its_model_was_fresh() {
    let folder = TempDir::new("champion");
    let path = folder.path().join("model.bundle");
    let plan = Plan::default();
    // One column that needs no past, and one that does.
    let importance = |name: &str| match name {
        "price_log" => 1.0,
        "click_count_7d" => 3.0,
        _ => 0.0,
    };
    write_weighed(&plan, None, importance, &path);
    let settings = [("MODEL__BUNDLE", path.to_str().expect("a path"))];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["a"]).await;
    assert_eq!(confidence_of_stale_and_fresh(&house).await, (0.25, 1.0));
    drop(house);

    // Of the online model nobody knows what is of importance, so what is left counts.
    let house = House::new().await;
    house.register(&["a"]).await;
    let (stale, fresh) = confidence_of_stale_and_fresh(&house).await;
    assert!(stale > 0.2 && stale < 0.8 && fresh == 1.0, "{stale}, {fresh}");
    let metrics = String::from_utf8(house.get("/metrics").await.body).expect("text");
    assert!(metrics.contains("reckon_features_age_seconds "), "{metrics}");
}

#[test]
fn a_bundle_of_other_columns_is_refused_by_their_name() {
    let folder = TempDir::new("champion");
    let path = folder.path().join("model.bundle");
    let plan = Plan::default();
    write_bundle(&plan, Some("moon_phase"), &path);
    let told = Champion::new(Bundle::open(&path).expect("it opens"), &plan).err().expect("refused");
    assert!(told.to_string().contains("the column \"moon_phase\""), "{told}");
}
