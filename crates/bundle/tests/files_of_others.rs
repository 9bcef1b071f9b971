//! Somebody imports a file: what comes out must answer as the file's own tool, hold golden rows that tell two
//! models apart, and be the same bytes again tomorrow. And a file that does not fit must say what does not.

use std::collections::HashMap;

use reckon_bundle::import::{Format, ImportOptions, dcn, detect, import};
use reckon_bundle::manifest::Column;
use reckon_bundle::{Bundle, Kind, Rows, Scratch};
use reckon_model::Random;
use reckon_model::dcn::{Shape, Trainer, TrainerOptions, Weights};
use safetensors::tensor::{Dtype, TensorView};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a fixture")
}

fn written(bytes: &[u8]) -> Vec<u8> {
    let contents = import(bytes, &ImportOptions::default()).expect("sound");
    let mut out = Vec::new();
    contents.write(&mut out).expect("sound contents");
    out
}

#[test]
fn files_become_bundles() {
    let cases = [
        ("../model/tests/trees/binary.txt", Format::LightGbm, Kind::Trees, 8),
        ("../model/tests/trees/categories.txt", Format::LightGbm, Kind::Trees, 8),
        ("tests/fixtures/onnx/xgboost.onnx", Format::Onnx, Kind::Trees, 12),
        ("tests/fixtures/onnx/lightgbm.onnx", Format::Onnx, Kind::Trees, 12),
        ("tests/fixtures/onnx/sigmoid.onnx", Format::Onnx, Kind::Onnx, 10),
        ("tests/fixtures/onnx/softmax.onnx", Format::Onnx, Kind::Onnx, 10),
    ];
    for (name, format, kind, columns) in cases {
        let bytes = file(name);
        assert_eq!(detect(&bytes).expect(name), format, "{name}");
        let bundle = Bundle::read(&written(&bytes)).expect(name);
        assert_eq!(bundle.manifest.stages[0].kind, kind, "{name}");
        assert_eq!(bundle.manifest.columns.len(), columns, "{name}");
        assert_eq!(bundle.golden.rows(), 64);
        let logits = bundle.golden.expected.iter().map(|one| one.logit.to_bits());
        let distinct = logits.collect::<std::collections::HashSet<_>>().len();
        assert!(distinct > 30, "{name}: golden rows score {distinct} numbers");
        assert!(written(&bytes) == written(&bytes), "{name}: the same file, the same bytes");
    }
}

#[test]
fn a_file_keeps_its_names_unless_others_are_given() {
    let bytes = file("../model/tests/trees/binary.txt");
    let contents = import(&bytes, &ImportOptions::default()).expect("sound");
    assert_eq!(contents.manifest.columns[3].name, "Column_3");
    let shares = contents.manifest.columns.iter().map(|column| column.importance).sum::<f32>();
    assert!((shares - 1.0).abs() < 1e-4, "{shares}");
    let column = |at| Column { name: format!("mine_{at}"), default: Some(1.0), importance: 0.0 };
    let columns = (0..8).map(column).collect::<Vec<_>>();
    let options = ImportOptions { columns, sampling: 0.1, ..ImportOptions::default() };
    let contents = import(&bytes, &options).expect("sound");
    assert_eq!(contents.manifest.columns, options.columns);
    assert_eq!(contents.manifest.stages[0].sampling, 0.1);
    let options = ImportOptions { columns: vec![column(0)], ..ImportOptions::default() };
    let error = import(&bytes, &options).expect_err("one of eight").to_string();
    assert!(error.contains("columns: 1 are named, and the model takes 8"), "{error}");
}

#[test]
fn other_files_say_what_to_do() {
    for (bytes, expected) in [
        (&b"{\"learner\":{}}"[..], "convert it to ONNX with onnxmltools"),
        (b"", "the file is empty"),
        (b"\x80\x04\x95", "a Python pickle"),
    ] {
        let error = import(bytes, &ImportOptions::default()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let poisson = file("../model/tests/trees/poisson.txt");
    let error = import(&poisson, &ImportOptions::default()).expect_err("counts").to_string();
    assert!(error.contains("objective=binary"), "{error}");
}

fn shape() -> Shape {
    Shape {
        columns: 3,
        fields: 2,
        user_columns: 1,
        user_fields: 1,
        embedding: 4,
        buckets: 8,
        cross_layers: 2,
        rank: 2,
        hidden: vec![6, 5],
        ..Shape::default()
    }
}

const SHAPE: &str = r#"{"columns":3,"fields":2,"user_columns":1,"user_fields":1,"embedding":4,
    "buckets":8,"cross_layers":2,"rank":2,"hidden":[6,5],"structure":"stacked"}"#;

struct Part {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A network's tensors, with keys 101 and 102 as head.
fn parts() -> (Weights, Vec<Part>) {
    let plain = Trainer::new(&shape(), TrainerOptions::default(), 3).expect("a shape").weights();
    let mut random = Random::new(4);
    let tensors = plain.tensors().map(|mut tensor| {
        if tensor.name == "embedding" || tensor.name == "linear.keys" {
            tensor.shape[0] += 2;
            let count = tensor.shape.iter().product();
            tensor.numbers = (0..count).map(|_| random.normal()).collect();
        }
        tensor
    });
    let tensors = tensors.collect::<Vec<_>>();
    let given = tensors.iter().map(|one| (&one.name[..], &one.shape[..], &one.numbers[..]));
    let weights = Weights::from_tensors(&shape(), vec![101, 102], given).expect("its tensors");
    let part = |one: &reckon_model::dcn::Tensor| Part {
        name: one.name.clone(),
        dtype: Dtype::F32,
        shape: one.shape.clone(),
        bytes: one.numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    };
    let mut parts = tensors.iter().map(part).collect::<Vec<_>>();
    let bytes = [101u64, 102].iter().flat_map(|key| key.to_le_bytes()).collect();
    parts.push(Part { name: "head".to_owned(), dtype: Dtype::U64, shape: vec![2], bytes });
    (weights, parts)
}

fn saved(parts: &[Part], metadata: &[(&str, &str)]) -> Vec<u8> {
    let views = parts.iter().map(|part| {
        let view = TensorView::new(part.dtype, part.shape.clone(), &part.bytes);
        (part.name.clone(), view.expect("a tensor"))
    });
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let metadata = Some(metadata.collect::<HashMap<_, _>>());
    safetensors::serialize(views, metadata).expect("tensors")
}

#[test]
fn weights_score_as_before() {
    let (weights, parts) = parts();
    let names = r#"["price","age","size"]"#;
    let bytes = saved(&parts, &[("reckon.shape", SHAPE), ("reckon.columns", names)]);
    assert_eq!(detect(&bytes).expect("known"), Format::Safetensors);
    let bundle = Bundle::read(&written(&bytes)).expect("sound");
    assert_eq!(bundle.manifest.columns[0].name, "price");
    assert_eq!((bundle.manifest.user_columns, bundle.manifest.user_fields), (1, 1));
    let (numeric, keys) = ([0.5, -1.0, f32::NAN, 2.0, 0.25], [101, 102, 7]);
    let rows = Rows {
        user_numeric: &numeric[..1],
        user_keys: &keys[..1],
        numeric: &numeric[1..],
        keys: &keys[1..],
        count: 2,
    };
    let mut found = [0.0; 2];
    bundle.score_stage(0, rows, &mut Scratch::default(), &mut found).expect("rows");
    let mut expected = [0.0; 2];
    let whole = [0.5, -1.0, f32::NAN, 0.5, 2.0, 0.25];
    weights.score(&whole, &[101, 102, 101, 7], &mut expected).expect("rows");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    assert!((found[0] - found[1]).abs() > 1e-3, "{found:?}");
}

fn refused(bytes: &[u8], expected: &str) {
    let error = dcn(bytes, &ImportOptions::default()).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error:?} has not {expected:?}");
}

#[test]
fn weights_that_do_not_fit() {
    let said = |parts: &[Part], shape: &str| saved(parts, &[("reckon.shape", shape)]);
    let broken = |change: fn(&mut Vec<Part>)| {
        let (_, mut parts) = parts();
        change(&mut parts);
        said(&parts, SHAPE)
    };
    let (_, sound) = parts();
    refused(&saved(&sound, &[]), "the metadata has no \"reckon.shape\"");
    refused(&said(&sound, "{}"), "\"reckon.shape\" of the metadata: missing field");
    refused(&said(&sound, &SHAPE.replace("\"rank\"", "\"ranks\"")), "unknown field `ranks`");
    refused(&said(&sound, &SHAPE.replace("\"buckets\":8", "\"buckets\":9")), "buckets must be");
    refused(
        &said(&sound, &SHAPE.replace("\"buckets\":8", "\"buckets\":268435456")),
        "asks for 10737",
    );
    refused(&said(&sound, &SHAPE.replace("\"fields\":2", "\"fields\":4096")), "at least: is the");
    refused(&said(&sound, &SHAPE.replace("[6,5]", "[5,6]")), "but must be");
    let names = [("reckon.shape", SHAPE), ("reckon.fields", "[\"site\"]")];
    refused(&saved(&sound, &names), "\"reckon.fields\" has 1 names, the shape 2");
    refused(&broken(|parts| parts[0].name = "other".to_owned()), "has no tensor \"other\"");
    refused(
        &broken(|parts| parts.retain(|part| part.name != "output.weight")),
        "the tensor \"output.weight\" is missing",
    );
    refused(&broken(|parts| parts[0].dtype = Dtype::I32), "save it as F32");
    refused(&broken(|parts| parts.last_mut().expect("the head").dtype = Dtype::F64), "head is F64");
    refused(
        &broken(|parts| {
            let head = parts.last_mut().expect("the head");
            head.bytes.fill(1);
        }),
        "the head's keys must be different",
    );
    let mut cut = said(&sound, SHAPE);
    cut.pop();
    refused(&cut, "no sound safetensors");
}
