//! A network comes as a file of somebody else, exported by a tool of somebody else. Its scores must be those
//! that onnxruntime computes (the files beside, made by `fixtures/onnx/make.py`), and whatever else such a
//! file may hold, it must not take the process down, read other files, or ask for more memory than is good.

use reckon_bundle::Net;
use reckon_model::{Random, sigmoid};

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/onnx");
    std::fs::read(format!("{folder}/{name}")).expect("a fixture")
}

/// Rows, their columns, and onnxruntime's probabilities.
fn judged(name: &str) -> (Vec<f32>, usize, Vec<f32>) {
    let bytes = fixture(&format!("{name}.rows"));
    let number =
        |place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four"));
    let (rows, columns) = (number(0) as usize, number(4) as usize);
    let floats =
        bytes[8..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four")));
    let mut floats = floats.collect::<Vec<_>>();
    let probabilities = floats.split_off(rows * columns);
    assert_eq!(probabilities.len(), rows);
    (floats, columns, probabilities)
}

fn net(bytes: &[u8], columns: usize) -> Result<Net, String> {
    Net::new(bytes, vec![0.0; columns]).map_err(|error| error.to_string())
}

fn logits(net: &Net, numeric: &[f32], rows: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows];
    net.score(numeric, &mut out).expect("rows of its width");
    out
}

#[test]
fn scores_are_those_of_onnxruntime() {
    let mut compared = 0;
    for name in ["sigmoid", "logits", "softmax"] {
        let (numeric, columns, expected) = judged(name);
        let net = net(&fixture(&format!("{name}.onnx")), columns).expect(name);
        for rows in [1, 2, 31, 32, 33, 64, expected.len()] {
            let found = logits(&net, &numeric[..rows * columns], rows);
            for (found, expected) in found.into_iter().map(sigmoid).zip(&expected) {
                assert!((found - expected).abs() < 1e-5, "{name}: {found} {expected}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 3 * (1 + 2 + 31 + 32 + 33 + 64 + 200));
}

#[test]
fn missing_numbers_are_the_defaults() {
    let (mut numeric, columns, _) = judged("sigmoid");
    let defaults = (0..columns).map(|column| column as f32 / 10.0).collect::<Vec<_>>();
    let net = Net::new(&fixture("sigmoid.onnx"), defaults.clone()).expect("sound");
    numeric.truncate(columns);
    for column in 0..columns {
        let (mut filled, mut holes) = (numeric.clone(), numeric.clone());
        filled[column] = defaults[column];
        holes[column] = f32::NAN;
        assert_eq!(logits(&net, &filled, 1), logits(&net, &holes, 1));
    }
}

fn refused(bytes: &[u8], columns: usize, expected: &str) {
    let error = net(bytes, columns).expect_err(expected);
    assert!(error.contains(expected), "{error:?} has not {expected:?}");
}

#[test]
fn another_width_is_refused() {
    refused(&fixture("sigmoid.onnx"), 9, "its input has 10 columns, and rows have 9");
    refused(&fixture("sigmoid.onnx"), 0, "its input has 10 columns, and rows have 0");
}

#[test]
fn every_end_is_refused() {
    let bytes = fixture("softmax.onnx");
    let mut refused = 0;
    for end in 0..bytes.len() {
        refused += usize::from(net(&bytes[..end], 10).is_err());
    }
    // A protobuf has no end of its own: without its last fields it may still be a model.
    assert!(refused > bytes.len() - 40, "{refused} of {}", bytes.len());
}

#[test]
fn chance_takes_nothing_down() {
    let mut random = Random::new(7);
    let (mut taken, mut refused) = (0, 0);
    for name in ["sigmoid", "logits", "softmax"] {
        let sound = fixture(&format!("{name}.onnx"));
        for _ in 0..60 {
            let mut bytes = sound.clone();
            for _ in 0..=random.below(4) {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] = random.bits() as u8;
            }
            match net(&bytes, 10) {
                Ok(_) => taken += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // Most bytes are weights, and any weight will do.
    assert!(taken > 10 && refused > 10, "{taken} were taken, {refused} refused");
}

/// What `make_hostile.py` has made, and what is said of it.
#[test]
fn hostile_files_are_refused_with_the_reason() {
    let cases = [
        ("bad_concat", "tract cannot run it"),
        ("bad_split", "tract cannot run it"),
        ("bad_transpose", "tract cannot run it"),
        ("blows_up", "has the shape"),
        ("branches", "a graph within a graph"),
        ("constant", "does not depend on the input"),
        ("cycle", "a cycle, or a part is missing"),
        ("cube", "has 3 dimensions"),
        ("ends_in_relu", "it ends in Relu: neither a probability"),
        ("expands_constants", "computes from constants alone"),
        ("fills", "of the operator ConstantOfShape, which is not taken"),
        ("huge_tensor", "tensor \"w\" has the shape [2147483648, 2147483648]"),
        ("loops", "a graph within a graph"),
        ("many_nodes", "more parts of a kind than 4096"),
        ("many_rows", "has 1073741824 rows; 1 to 1024 are taken"),
        ("missing_part", "needs \"nowhere\" before it is there"),
        ("mixes_rows", "the graph mixes rows"),
        ("negative", "has -4 columns; 1 to 4096 are taken"),
        ("negative_tensor", "tensor \"w\" has the shape [-1, -4]"),
        ("no_graph", "it has no graph"),
        ("no_nodes", "its output is its input"),
        ("no_weights_in_gemm", "tract cannot run it"),
        ("other_file", "in another file (external data)"),
        ("other_place", "lies in another file"),
        ("short_tensor", "is not as long as its shape [1, 4]"),
        ("softmax_over_rows", "goes over another axis than the last"),
        ("strange_domain", "of the operator com.example.Gemm, which is not taken"),
        ("texts", "a tensor of texts"),
        ("twice", "the name \"x\" is there twice"),
        ("two_inputs", "it has 2 inputs; one table of numbers is taken"),
        ("two_numbers", "1 number(s) a row are read"),
        ("whole_numbers", "is of type 7; rows are float (1)"),
        ("wide", "columns; 1 to 4096 are taken"),
        ("wrong_weights", "tract cannot run it"),
    ];
    for (name, expected) in cases {
        refused(&fixture(&format!("hostile/{name}.onnx")), 4, expected);
    }
    assert!(net(&fixture("hostile/sound.onnx"), 4).is_ok(), "what they were made of is sound");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/onnx/hostile");
    let files = std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(files, cases.len() + 1, "each file is compared");
}
