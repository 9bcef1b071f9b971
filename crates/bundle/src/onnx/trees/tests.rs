//! Ensembles that are none: each is a sound export with one thing broken.

use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

use super::forest;
use crate::onnx::decode;

const XGBOOST: &[u8] = include_bytes!("../../../tests/fixtures/onnx/xgboost.onnx");

fn ensemble(model: &mut ModelProto) -> &mut NodeProto {
    let nodes = &mut model.graph.as_mut().expect("a graph").node;
    nodes.iter_mut().find(|node| node.op_type.starts_with("TreeEnsemble")).expect("an ensemble")
}

fn attribute<'a>(model: &'a mut ModelProto, name: &str) -> &'a mut AttributeProto {
    let attributes = &mut ensemble(model).attribute;
    attributes.iter_mut().find(|one| one.name == name).expect("an attribute")
}

fn refused(expected: &str, change: impl FnOnce(&mut ModelProto)) {
    let mut model = decode(XGBOOST).expect("a model");
    change(&mut model);
    let error = forest(&model).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error:?} has not {expected:?}");
}

/// Adds a split whose children are both `child`.
fn add(model: &mut ModelProto, tree: i64, node: i64, child: i64) {
    for (name, value) in [
        ("nodes_treeids", tree),
        ("nodes_nodeids", node),
        ("nodes_featureids", 0),
        ("nodes_truenodeids", child),
        ("nodes_falsenodeids", child),
        ("nodes_missing_value_tracks_true", 0),
    ] {
        attribute(model, name).ints.push(value);
    }
    attribute(model, "nodes_values").floats.push(0.5);
    attribute(model, "nodes_modes").strings.push(b"BRANCH_LT".to_vec());
}

#[test]
fn what_is_broken_here_is_sound() {
    let model = decode(XGBOOST).expect("a model");
    let found = forest(&model).expect("sound").expect("an ensemble");
    assert_eq!((found.columns(), found.trees().len()), (12, 30));
}

#[test]
fn nodes_that_are_no_tree() {
    // The child that was there is then the one node without a parent.
    refused("tree 0 has nodes that nothing leads to", |model| {
        attribute(model, "nodes_truenodeids").ints[0] = 0;
    });
    refused("tree 0 has not one root", |model| {
        attribute(model, "nodes_truenodeids").ints[0] = 70_000;
    });
    refused("tree 99 has no node 70000, and a split leads there", |model| {
        add(model, 99, 0, 70_000)
    });
    refused("tree 0 has node 0 twice", |model| attribute(model, "nodes_nodeids").ints[1] = 0);
    refused("nodes_*: lists of one length", |model| {
        attribute(model, "nodes_modes").strings.pop();
    });
    refused("nodes_*: lists of one length", |model| {
        attribute(model, "nodes_missing_value_tracks_true").ints.pop();
    });
}

#[test]
fn a_cycle_below_the_root() {
    refused("has not one root", |model| {
        let child = attribute(model, "nodes_truenodeids").ints[0] as usize;
        attribute(model, "nodes_truenodeids").ints[child] = child as i64;
    });
    // A cycle beside a sound tree: its nodes hang on nothing but themselves.
    refused("tree 0 has nodes that nothing leads to", |model| {
        add(model, 0, 90_000, 90_000);
    });
}

#[test]
fn columns_that_are_none() {
    refused("its trees ask for 13 columns, its input has 12", |model| {
        attribute(model, "nodes_featureids").ints[0] = 12;
    });
    refused("columns, its input has 12", |model| {
        attribute(model, "nodes_featureids").ints[0] = i64::MAX;
    });
    refused("nodes_featureids: no column", |model| {
        attribute(model, "nodes_featureids").ints[0] = -1;
    });
}

#[test]
fn numbers_and_questions_that_are_not_taken() {
    refused("no finite threshold", |model| attribute(model, "nodes_values").floats[0] = f32::NAN);
    refused("nodes_modes: BRANCH_NEQ is not taken", |model| {
        attribute(model, "nodes_modes").strings[0] = b"BRANCH_NEQ".to_vec();
    });
    refused("class_weights: one finite number", |model| {
        attribute(model, "class_weights").floats[0] = f32::INFINITY;
    });
    refused("class_weights: one finite number", |model| {
        attribute(model, "class_ids").ints.pop();
    });
    refused("the weight of a leaf", |model| attribute(model, "class_nodeids").ints[0] = 0);
    refused("has no leaf 80000", |model| attribute(model, "class_nodeids").ints[0] = 80_000);
}

#[test]
fn sums_that_are_no_log_odds() {
    refused("post_transform is NONE", |model| {
        attribute(model, "post_transform").s = b"NONE".to_vec();
    });
    refused("all its weights are positive", |model| {
        let weights = &mut attribute(model, "class_weights").floats;
        weights.iter_mut().for_each(|weight| *weight = weight.abs());
    });
    refused("it has 3 classes", |model| {
        attribute(model, "classlabels_int64s").ints.push(2);
    });
    refused("it has 2 tree ensembles", |model| {
        let twin = ensemble(model).clone();
        model.graph.as_mut().expect("a graph").node.push(twin);
    });
    refused("a Neg beside a tree ensemble is not taken", |model| {
        let node = NodeProto { op_type: "Neg".to_owned(), ..NodeProto::default() };
        model.graph.as_mut().expect("a graph").node.push(node);
    });
    refused("does not read the input itself", |model| {
        ensemble(model).input[0] = "other".to_owned();
    });
}

/// `x < t` and `x >= t` with the children changed over are the same question, missing numbers included.
#[test]
fn every_comparison_says_the_same() {
    let mut sound = decode(XGBOOST).expect("a model");
    let plain = forest(&sound).expect("sound").expect("an ensemble");
    let mut changed = sound.clone();
    let count = attribute(&mut changed, "nodes_modes").strings.len();
    let yes = attribute(&mut changed, "nodes_truenodeids").ints.clone();
    let no = attribute(&mut changed, "nodes_falsenodeids").ints.clone();
    for place in (0..count).step_by(2) {
        let mode = &mut attribute(&mut changed, "nodes_modes").strings[place];
        if mode == b"LEAF" {
            continue;
        }
        *mode = b"BRANCH_GTE".to_vec();
        attribute(&mut changed, "nodes_truenodeids").ints[place] = no[place];
        attribute(&mut changed, "nodes_falsenodeids").ints[place] = yes[place];
        let missing = &mut attribute(&mut changed, "nodes_missing_value_tracks_true").ints[place];
        *missing = 1 - *missing;
    }
    let changed = forest(&changed).expect("sound").expect("an ensemble");
    let thresholds = attribute(&mut sound, "nodes_values").floats.clone();
    let mut random = reckon_model::Random::new(5);
    let mut number = || match random.below(8) {
        0 => f32::NAN,
        _ => thresholds[random.below(thresholds.len() as u64) as usize],
    };
    let rows = (0..500 * 12).map(|_| number()).collect::<Vec<_>>();
    let scores = [&plain, &changed].map(|forest| {
        let mut out = vec![0.0; 500];
        forest.score(&rows, &mut forest.scratch(), &mut out);
        out
    });
    assert!(scores[0] == scores[1]);
    assert!(scores[0].iter().any(|score| *score != scores[0][0]));
}
