//! Models of others become bundles: what they say of themselves, golden rows, and no calibration.
//!
//! A file's own words are taken for columns and shapes; [`ImportOptions`] add what no file says. Golden
//! rows are random, by seed, and lie where the model branches: at the thresholds of trees, among the keys
//! that a network knows. They prove that a bundle goes on scoring as on the day of its import.

mod weights;

use reckon_model::Random;
use reckon_model::calibration::{Curve, Platt, Segmented};
use reckon_model::trees::{Forest, Split};

use crate::forest::ForestModel;
use crate::manifest::{Column, Field};
use crate::{Contents, Foreign, Golden, ImportError, Kind, Manifest};

pub use weights::dcn;

const GOLDEN_ROWS: usize = 64;

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// LightGBM's text.
    LightGbm,
    /// ONNX: a network, or a tree ensemble.
    Onnx,
    /// Weights of a DCN-v2 in safetensors.
    Safetensors,
}

/// What no file says of itself.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The columns in the model's order; empty: as the file names them, or `column_0` and so on.
    pub columns: Vec<Column>,
    /// The categorical fields; empty: as the file names them, or `field_0` and so on.
    pub fields: Vec<Field>,
    /// The share of unclicked rows that were kept in training, above 0 and at most 1.
    pub sampling: f64,
    /// When it is imported, in ms since 1970.
    pub created_ms: i64,
    /// Of the golden rows.
    pub seed: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            columns: Vec::new(),
            fields: Vec::new(),
            sampling: 1.0,
            created_ms: 0,
            seed: 1,
        }
    }
}

/// What a file is, or what to do with it instead.
pub fn detect(bytes: &[u8]) -> Result<Format, ImportError> {
    match Foreign::detect(bytes) {
        Foreign::LightGbm => Ok(Format::LightGbm),
        Foreign::Onnx => Ok(Format::Onnx),
        Foreign::Safetensors => Ok(Format::Safetensors),
        other => Err(ImportError::Foreign(other)),
    }
}

/// Imports a file of any known format.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Contents, ImportError> {
    match detect(bytes)? {
        Format::LightGbm => lightgbm(bytes, options),
        Format::Onnx => onnx(bytes, options),
        Format::Safetensors => dcn(bytes, options),
    }
}

/// Imports LightGBM's text.
pub fn lightgbm(bytes: &[u8], options: &ImportOptions) -> Result<Contents, ImportError> {
    trees(bytes, options)
}

/// Imports an ONNX file: a tree ensemble becomes trees of ours, anything else is a network.
pub fn onnx(bytes: &[u8], options: &ImportOptions) -> Result<Contents, ImportError> {
    if crate::onnx::has_trees(bytes)? {
        return trees(bytes, options);
    }
    let width = match (crate::onnx::columns(bytes)?, options.columns.len()) {
        (Some(width), _) => width,
        (None, 0) => {
            return Err(ImportError::onnx("it does not say how many columns it takes: name them"));
        }
        (None, width) => width,
    };
    let names = (0..width).map(|column| format!("column_{column}"));
    let columns = names.map(|name| Column { name, default: Some(0.0), importance: 0.0 }).collect();
    let columns = chosen(columns, &options.columns)?;
    let mut random = Random::new(options.seed);
    let numeric = normals(&mut random, GOLDEN_ROWS * width);
    let manifest = manifest(Kind::Onnx, columns, Vec::new(), options);
    contents(manifest, bytes.to_vec(), numeric, Vec::new())
}

fn trees(bytes: &[u8], options: &ImportOptions) -> Result<Contents, ImportError> {
    let model = ForestModel::read(bytes)?;
    let forest = model.forest();
    let gains = forest.importance_gain();
    let total = gains.iter().sum::<f64>();
    let share = |gain: f64| if total > 0.0 { (gain / total) as f32 } else { 0.0 };
    let named = forest.column_names().iter().zip(&gains);
    let columns = named.map(|(name, &gain)| Column {
        name: name.clone(),
        default: None,
        importance: share(gain),
    });
    let columns = chosen(columns.collect(), &options.columns)?;
    let numeric = at_thresholds(forest, &mut Random::new(options.seed));
    let manifest = manifest(Kind::Trees, columns, Vec::new(), options);
    contents(manifest, bytes.to_vec(), numeric, Vec::new())
}

/// The caller's columns in place of the file's, if there are as many.
fn chosen(of_file: Vec<Column>, of_caller: &[Column]) -> Result<Vec<Column>, ImportError> {
    match (of_caller.len(), of_file.len()) {
        (0, _) => Ok(of_file),
        (named, wanted) if named == wanted => Ok(of_caller.to_vec()),
        (named, wanted) => {
            let reason = format!("{named} are named, and the model takes {wanted}");
            Err(crate::BundleError::field("columns", reason).into())
        }
    }
}

fn manifest(
    kind: Kind,
    columns: Vec<Column>,
    fields: Vec<Field>,
    options: &ImportOptions,
) -> Manifest {
    let mut manifest = Manifest::of(kind, columns, fields);
    manifest.stages[0].sampling = options.sampling;
    manifest.created_ms = options.created_ms;
    manifest
}

/// Contents with golden rows of no segment, checked by writing them once.
fn contents(
    manifest: Manifest,
    model: Vec<u8>,
    numeric: Vec<f32>,
    keys: Vec<u64>,
) -> Result<Contents, ImportError> {
    let line = Curve::Platt(Platt { slope: 1.0, shift: 0.0 });
    let segments = vec![0; GOLDEN_ROWS];
    let golden = Golden { numeric, keys, segments, expected: Vec::new() };
    let contents = Contents {
        manifest,
        models: vec![model],
        encodings: Vec::new(),
        curves: vec![Segmented::of(line)],
        golden,
    };
    contents.write(&mut std::io::sink())?;
    Ok(contents)
}

/// Normal numbers, one in ten missing.
fn normals(random: &mut Random, count: usize) -> Vec<f32> {
    let number =
        |random: &mut Random| if random.below(10) == 0 { f32::NAN } else { random.normal() };
    (0..count).map(|_| number(random)).collect()
}

/// Rows of numbers at thresholds of their columns, or just above; one in ten missing.
fn at_thresholds(forest: &Forest, random: &mut Random) -> Vec<f32> {
    let mut known = vec![Vec::new(); forest.columns()];
    for node in forest.trees().iter().flat_map(|tree| &tree.nodes) {
        let number = match node.split {
            Split::AtMost { threshold, .. } | Split::Below { threshold, .. } => threshold as f32,
            Split::In { ref words } => random.below(words.len() as u64 * 32 + 1) as f32,
        };
        known[node.column as usize].push(number);
    }
    let mut number = |known: &Vec<f32>| match (random.below(10), known.len() as u64) {
        (0, _) => f32::NAN,
        (_, 0) => random.normal(),
        (1..5, count) => known[random.below(count) as usize].next_up(),
        (_, count) => known[random.below(count) as usize],
    };
    (0..GOLDEN_ROWS).flat_map(|_| known.iter().map(&mut number).collect::<Vec<_>>()).collect()
}
