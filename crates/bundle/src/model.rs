//! The models that a bundle can hold, and how each wants its rows.

use reckon_event::{Feature, name_key};
use reckon_model::dcn::{self, Precision, Served};
use reckon_model::factor::{self, FactorOptions, Ffm, Fm, Row};
use reckon_model::{Linear, Weights};

use crate::BundleError;
use crate::encoding::Encoded;
use crate::forest::{self, ForestModel};
use crate::manifest::{Kind, Manifest};
use crate::onnx::Net;

/// A linear model's table has at most `2^24` coordinates: its state is sparse, so a short file could
/// ask for a large table.
const LINEAR_BITS_MAX: u8 = 24;
/// Where a linear model's state says the size of its table.
const LINEAR_BITS_PLACE: usize = 6;

/// The table of a factorisation machine has at most this many bytes.
const TABLE_BYTES_MAX: u128 = 4 << 30;

/// What a bundle holds, ready to score.
pub enum Model {
    /// Boosted trees.
    Trees(Box<ForestModel>),
    /// A deep and cross network.
    Dcn(Box<Served>),
    /// Logistic regression.
    Linear(LinearModel),
    /// A factorisation machine.
    Fm(Box<Fm>),
    /// A field-aware factorisation machine.
    Ffm(Box<Ffm>),
    /// A network in ONNX.
    Onnx(Net),
}

/// Some candidates of one request.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The user's columns.
    pub user_numeric: &'a [f32],
    /// The user's fields.
    pub user_keys: &'a [u64],
    /// The candidates' columns, candidate after candidate.
    pub numeric: &'a [f32],
    /// The candidates' fields, candidate after candidate.
    pub keys: &'a [u64],
    /// How many candidates.
    pub count: usize,
}

/// Memory that scoring needs: one for each thread, kept between requests.
#[derive(Default)]
pub struct Scratch {
    /// The user's columns and fields, the candidate's missing.
    shared: (Vec<f32>, Vec<u64>),
    dcn: dcn::Scratch,
    factor: factor::Scratch,
    forest: forest::Scratch,
    pub(crate) numeric: Vec<f32>,
    pub(crate) keys: Vec<u64>,
    pub(crate) features: Vec<Feature>,
    pub(crate) logits: Vec<f32>,
    pub(crate) order: Vec<u32>,
    pub(crate) chosen: Chosen,
    pub(crate) encoded: Encoded,
}

/// The rows of those candidates that a later stage scores.
#[derive(Default)]
pub(crate) struct Chosen {
    pub(crate) numeric: Vec<f32>,
    pub(crate) keys: Vec<u64>,
    pub(crate) logits: Vec<f32>,
}

impl Chosen {
    /// Takes over the rows at these places.
    pub(crate) fn gather(&mut self, rows: Rows<'_>, places: &[u32]) {
        self.numeric.clear();
        self.keys.clear();
        self.logits.clear();
        self.logits.resize(places.len(), 0.0);
        let width = |length: usize| length.checked_div(rows.count).unwrap_or(0);
        let (columns, fields) = (width(rows.numeric.len()), width(rows.keys.len()));
        for place in places.iter().map(|place| *place as usize) {
            self.numeric.extend_from_slice(&rows.numeric[place * columns..(place + 1) * columns]);
            self.keys.extend_from_slice(&rows.keys[place * fields..(place + 1) * fields]);
        }
    }

    /// They as rows, of the same user.
    pub(crate) fn rows<'a>(&'a self, rows: Rows<'a>, count: usize) -> Rows<'a> {
        Rows { numeric: &self.numeric, keys: &self.keys, count, ..rows }
    }
}

impl Model {
    /// Takes up what [`Model::encode`] wrote.
    pub(crate) fn decode(
        kind: Kind,
        section: &str,
        bytes: &[u8],
        manifest: &Manifest,
    ) -> Result<Self, BundleError> {
        match kind {
            Kind::Dcn => served(section, bytes, manifest).map(Box::new).map(Model::Dcn),
            Kind::Fm => {
                check_table(section, bytes, |options| match options.factors {
                    ..8 => 8,
                    8..16 => 16,
                    _ => 32,
                })?;
                let model =
                    Fm::decode(bytes).map_err(|error| BundleError::section(section, error))?;
                check_factors(section, model.options(), manifest)?;
                Ok(Model::Fm(Box::new(model)))
            }
            Kind::Ffm => {
                check_table(section, bytes, |options| {
                    (options.fields + options.columns) * options.factors.next_power_of_two().max(4)
                })?;
                let model =
                    Ffm::decode(bytes).map_err(|error| BundleError::section(section, error))?;
                check_factors(section, model.options(), manifest)?;
                Ok(Model::Ffm(Box::new(model)))
            }
            Kind::Linear => LinearModel::decode(section, bytes, manifest).map(Model::Linear),
            Kind::Onnx => Net::of_manifest(bytes, manifest)
                .map(Model::Onnx)
                .map_err(|error| BundleError::section(section, error)),
            Kind::Trees => ForestModel::of_manifest(bytes, manifest)
                .map(|model| Model::Trees(Box::new(model)))
                .map_err(|error| BundleError::section(section, error)),
        }
    }

    /// Log odds of each candidate. Rows have the widths of the manifest.
    pub(crate) fn score(
        &self,
        rows: Rows<'_>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), BundleError> {
        match self {
            Model::Dcn(model) => {
                let Rows { user_numeric, user_keys, numeric, keys, .. } = rows;
                let scratch = &mut scratch.dcn;
                return model
                    .score(user_numeric, user_keys, numeric, keys, scratch, out)
                    .map_err(|error| BundleError::field("rows", error.to_string()));
            }
            Model::Linear(model) => model.score(rows, scratch, out),
            Model::Fm(model) => {
                let (shared, numeric, keys, scratch) = scratch.share(rows);
                model.score_many(shared, numeric, keys, scratch, out);
            }
            Model::Ffm(model) => {
                let (shared, numeric, keys, scratch) = scratch.share(rows);
                model.score_many(shared, numeric, keys, scratch, out);
            }
            Model::Trees(model) => {
                whole(rows.user_numeric, rows.numeric, rows.count, &mut scratch.numeric);
                model.score(&scratch.numeric, &mut scratch.forest, out);
            }
            Model::Onnx(net) => {
                whole(rows.user_numeric, rows.numeric, rows.count, &mut scratch.numeric);
                return net.score(&scratch.numeric, out);
            }
        }
        Ok(())
    }

    /// How far log odds may be from golden ones, as a share of 1 + their size. Trees and linear models
    /// add the same numbers in another order at most; networks multiply many, with other instructions
    /// on another processor.
    pub fn tolerance(&self) -> f32 {
        match self {
            Model::Trees(_) | Model::Linear(_) => 1e-5,
            Model::Dcn(_) | Model::Fm(_) | Model::Ffm(_) | Model::Onnx(_) => 1e-4,
        }
    }
}

/// Whole rows: the user's part stands before each candidate's.
fn whole<T: Copy>(user: &[T], candidates: &[T], count: usize, out: &mut Vec<T>) {
    out.clear();
    let width = candidates.len().checked_div(count).unwrap_or(0);
    for row in 0..count {
        out.extend_from_slice(user);
        out.extend_from_slice(&candidates[row * width..(row + 1) * width]);
    }
}

impl Scratch {
    /// The user's part as a row of its own, and whole rows, as factorisation machines want them.
    fn share(&mut self, rows: Rows<'_>) -> (Row<'_>, &[f32], &[u64], &mut factor::Scratch) {
        whole(rows.user_numeric, rows.numeric, rows.count, &mut self.numeric);
        whole(rows.user_keys, rows.keys, rows.count, &mut self.keys);
        let width = |user: usize, all: usize| user + all.checked_div(rows.count).unwrap_or(0);
        let (numeric, keys) = &mut self.shared;
        numeric.clear();
        numeric.extend_from_slice(rows.user_numeric);
        numeric.resize(width(rows.user_numeric.len(), rows.numeric.len()), f32::NAN);
        keys.clear();
        keys.extend_from_slice(rows.user_keys);
        keys.resize(width(rows.user_keys.len(), rows.keys.len()), 0);
        (Row { numeric, keys }, &self.numeric, &self.keys, &mut self.factor)
    }
}

fn served(section: &str, bytes: &[u8], manifest: &Manifest) -> Result<Served, BundleError> {
    let weights =
        dcn::Weights::from_bytes(bytes).map_err(|error| BundleError::section(section, error))?;
    let shape = weights.shape();
    let widths = [
        ("columns", shape.columns, manifest.columns.len()),
        ("fields", shape.fields, manifest.fields.len()),
        ("columns of the user", shape.user_columns, manifest.user_columns),
        ("fields of the user", shape.user_fields, manifest.user_fields),
    ];
    check_widths(section, &widths)?;
    Ok(Served::new(&weights, Precision::F32))
}

fn check_factors(
    section: &str,
    options: &FactorOptions,
    manifest: &Manifest,
) -> Result<(), BundleError> {
    let widths = [
        ("columns", options.columns, manifest.columns.len()),
        ("fields", options.fields, manifest.fields.len()),
    ];
    check_widths(section, &widths)
}

fn check_widths(section: &str, widths: &[(&str, usize, usize)]) -> Result<(), BundleError> {
    match widths.iter().find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((what, found, wanted)) => {
            let reason = format!("the model has {found} {what}, the manifest {wanted}");
            Err(BundleError::section(section, reason))
        }
    }
}

/// A factorisation machine's state is sparse, so a short file could ask for a large table: its sizes
/// (fields, columns, factors, bits, behind magic and version) are looked at before it is taken up.
fn check_table(
    section: &str,
    bytes: &[u8],
    width: impl Fn(&FactorOptions) -> usize,
) -> Result<(), BundleError> {
    let Some(sizes) = bytes.get(5..21) else {
        return Err(BundleError::section(section, "it is cut off"));
    };
    let size = |index: usize| {
        let bytes = *sizes[index * 4..].first_chunk().expect("16 bytes are four numbers");
        u32::from_le_bytes(bytes)
    };
    let limit = |size: u32| (size as usize).min(1 << 16);
    let mut options = FactorOptions::new(limit(size(0)), limit(size(1)));
    options.factors = limit(size(2));
    let bytes = (width(&options) as u128 * 8).checked_shl(size(3)).unwrap_or(u128::MAX);
    if size(3) > 28 || bytes > TABLE_BYTES_MAX {
        let reason = format!("a table of {bytes} bytes; at most {TABLE_BYTES_MAX}");
        return Err(BundleError::section(section, reason));
    }
    Ok(())
}

/// Logistic regression over hashed inputs.
#[derive(Debug)]
pub struct LinearModel {
    weights: Weights,
    inputs: LinearInputs,
}

/// How rows become inputs of a linear model; training and scoring share it.
#[derive(Clone, Debug)]
pub struct LinearInputs {
    user_columns: usize,
    columns: Vec<u32>,
}

impl LinearInputs {
    /// For the columns of this manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let columns =
            manifest.columns.iter().map(|column| folded(name_key(&column.name))).collect();
        LinearInputs { user_columns: manifest.user_columns, columns }
    }

    /// Appends the inputs of a whole row. A missing number or key is no input.
    pub fn row(&self, numeric: &[f32], keys: &[u64], out: &mut Vec<Feature>) {
        part(&self.columns, numeric, keys, out);
    }

    fn user(&self, rows: Rows<'_>, out: &mut Vec<Feature>) {
        part(&self.columns[..self.user_columns], rows.user_numeric, rows.user_keys, out);
    }
}

fn part(columns: &[u32], numeric: &[f32], keys: &[u64], out: &mut Vec<Feature>) {
    let numbers = columns.iter().zip(numeric).filter(|(_, value)| !value.is_nan());
    out.extend(numbers.map(|(&hash, &value)| Feature { hash, value }));
    out.extend(keys.iter().filter(|key| **key != 0).map(|key| Feature::flag(folded(*key))));
}

/// The 32 bits of a key that a linear model knows it by; training and scoring share it.
pub fn folded(key: u64) -> u32 {
    (key ^ (key >> 32)) as u32
}

impl LinearModel {
    fn decode(section: &str, bytes: &[u8], manifest: &Manifest) -> Result<Self, BundleError> {
        let bits = bytes.get(LINEAR_BITS_PLACE).copied().unwrap_or(0);
        if bits > LINEAR_BITS_MAX {
            let reason = format!("a table of 2^{bits} coordinates; at most 2^{LINEAR_BITS_MAX}");
            return Err(BundleError::section(section, reason));
        }
        let mut learner =
            Linear::decode_state(bytes).map_err(|error| BundleError::section(section, error))?;
        Ok(LinearModel { weights: learner.publish(), inputs: LinearInputs::of(manifest) })
    }

    fn score(&self, rows: Rows<'_>, scratch: &mut Scratch, out: &mut [f32]) {
        let features = &mut scratch.features;
        features.clear();
        self.inputs.user(rows, features);
        let user = self.weights.bias() + self.weights.partial(features).logit;
        let columns = &self.inputs.columns[self.inputs.user_columns..];
        let fields = rows.keys.len().checked_div(rows.count).unwrap_or(0);
        for (row, out) in out.iter_mut().enumerate() {
            features.clear();
            let numeric = &rows.numeric[row * columns.len()..(row + 1) * columns.len()];
            part(columns, numeric, &rows.keys[row * fields..(row + 1) * fields], features);
            *out = user + self.weights.partial(features).logit;
        }
    }
}
