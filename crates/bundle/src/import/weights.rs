//! Weights of a DCN-v2 in safetensors.
//!
//! The tensors are named as [`Weights`] says. The file's metadata has:
//!
//! | key | |
//! |---|---|
//! | `reckon.shape` | JSON: `columns`, `fields`, `embedding`, `buckets`, `cross_layers`, `rank`, `hidden`, and if wanted `user_columns`, `user_fields`, `structure` (`stacked` or `parallel`) |
//! | `reckon.columns`, `reckon.fields` | JSON lists of names; may be left out |
//!
//! All tensors are F32, but `head`, which may be left out: U64 or I64, the keys that have rows of their own.

use reckon_model::Random;
use reckon_model::dcn::{Shape, Structure, Weights};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{GOLDEN_ROWS, ImportOptions, chosen, contents, manifest, normals};
use crate::manifest::{Column, Field};
use crate::{Contents, ImportError, Kind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    columns: usize,
    fields: usize,
    #[serde(default)]
    user_columns: usize,
    #[serde(default)]
    user_fields: usize,
    embedding: usize,
    buckets: usize,
    cross_layers: usize,
    rank: usize,
    hidden: Vec<usize>,
    #[serde(default)]
    structure: Layers,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Layers {
    #[default]
    Stacked,
    Parallel,
}

impl From<Said> for Shape {
    fn from(said: Said) -> Self {
        Shape {
            columns: said.columns,
            fields: said.fields,
            user_columns: said.user_columns,
            user_fields: said.user_fields,
            embedding: said.embedding,
            buckets: said.buckets,
            cross_layers: said.cross_layers,
            rank: said.rank,
            hidden: said.hidden,
            structure: match said.structure {
                Layers::Stacked => Structure::Stacked,
                Layers::Parallel => Structure::Parallel,
            },
        }
    }
}

/// Imports weights of a DCN-v2.
pub fn dcn(bytes: &[u8], options: &ImportOptions) -> Result<Contents, ImportError> {
    let file = File::read(bytes)?;
    let shape: Shape = file.said::<Said>("reckon.shape")?.ok_or_else(no_shape)?.into();
    let head = file.head()?;
    let weights = file.weights(&shape, head)?;
    let (columns, fields) = (file.columns(&shape, options)?, file.fields(&shape, options)?);
    let mut manifest = manifest(Kind::Dcn, columns, fields, options);
    (manifest.user_columns, manifest.user_fields) = (shape.user_columns, shape.user_fields);
    let mut random = Random::new(options.seed);
    let numeric = normals(&mut random, GOLDEN_ROWS * shape.columns);
    let known = weights.inputs().head();
    let mut key = || match (random.below(10), known.len() as u64) {
        (0, _) => 0,
        (1..6, count @ 1..) => known[random.below(count) as usize],
        _ => random.bits(),
    };
    let keys = (0..GOLDEN_ROWS * shape.fields).map(|_| key()).collect();
    let mut model = Vec::new();
    weights.to_bytes(&mut model);
    contents(manifest, model, numeric, keys)
}

fn no_shape() -> ImportError {
    ImportError::weights(
        "the metadata has no \"reckon.shape\": save_file(tensors, path, metadata={\"reckon.shape\": \
         json.dumps({\"columns\": 3, \"fields\": 5, \"embedding\": 16, \"buckets\": 1024, \
         \"cross_layers\": 3, \"rank\": 64, \"hidden\": [256, 256]})})",
    )
}

struct File<'a> {
    tensors: SafeTensors<'a>,
    metadata: std::collections::HashMap<String, String>,
}

impl<'a> File<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let refused = |error| ImportError::weights(format!("no sound safetensors: {error}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(refused)?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        Ok(File { tensors: SafeTensors::deserialize(bytes).map_err(refused)?, metadata })
    }

    fn said<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ImportError> {
        let text = self.metadata.get(key).map(|text| serde_json::from_str(text)).transpose();
        text.map_err(|error| ImportError::weights(format!("{key:?} of the metadata: {error}")))
    }

    /// Names of the file, or made ones.
    fn names(&self, key: &str, count: usize, prefix: &str) -> Result<Vec<String>, ImportError> {
        let names = self.said::<Vec<String>>(key)?;
        let names =
            names.unwrap_or_else(|| (0..count).map(|at| format!("{prefix}_{at}")).collect());
        match names.len() == count {
            true => Ok(names),
            false => {
                let reason = format!("{key:?} has {} names, the shape {count}", names.len());
                Err(ImportError::weights(reason))
            }
        }
    }

    fn columns(&self, shape: &Shape, options: &ImportOptions) -> Result<Vec<Column>, ImportError> {
        let names = self.names("reckon.columns", shape.columns, "column")?;
        let column = |name| Column { name, default: None, importance: 0.0 };
        chosen(names.into_iter().map(column).collect(), &options.columns)
    }

    fn fields(&self, shape: &Shape, options: &ImportOptions) -> Result<Vec<Field>, ImportError> {
        let names = self.names("reckon.fields", shape.fields, "field")?;
        if ![0, names.len()].contains(&options.fields.len()) {
            let reason =
                format!("{} are named, and the model takes {}", options.fields.len(), names.len());
            return Err(crate::BundleError::field("fields", reason).into());
        }
        match options.fields.is_empty() {
            true => Ok(names.into_iter().map(|name| Field { name, importance: 0.0 }).collect()),
            false => Ok(options.fields.clone()),
        }
    }

    fn head(&self) -> Result<Vec<u64>, ImportError> {
        let Ok(tensor) = self.tensors.tensor("head") else { return Ok(Vec::new()) };
        if !matches!(tensor.dtype(), Dtype::U64 | Dtype::I64) || tensor.shape().len() != 1 {
            let reason = format!(
                "head is {:?} of shape {:?}; keys are U64 or I64, one after the other",
                tensor.dtype(),
                tensor.shape()
            );
            return Err(ImportError::weights(reason));
        }
        Ok(tensor.data().as_chunks::<8>().0.iter().map(|key| u64::from_le_bytes(*key)).collect())
    }

    fn weights(&self, shape: &Shape, head: Vec<u64>) -> Result<Weights, ImportError> {
        let tensors = self.tensors.iter().filter(|(name, _)| *name != "head");
        let tensors = tensors.map(|(name, tensor)| {
            numbers(name, &tensor).map(|numbers| (name, tensor.shape().to_vec(), numbers))
        });
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        let there = tensors.iter().map(|(.., numbers)| numbers.len() as u128).sum();
        check_size(shape, head.len(), there)?;
        let tensors =
            tensors.iter().map(|(name, shape, numbers)| (*name, &shape[..], &numbers[..]));
        Weights::from_tensors(shape, head, tensors)
            .map_err(|error| ImportError::weights(error.to_string()))
    }
}

fn numbers(name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, ImportError> {
    if tensor.dtype() != Dtype::F32 {
        let reason = format!("{name:?} is {:?}: save it as F32 (tensor.float())", tensor.dtype());
        return Err(ImportError::weights(reason));
    }
    Ok(tensor.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

/// A few bytes of shape could ask for terabytes: the file must have about as many numbers.
fn check_size(shape: &Shape, head: usize, there: u128) -> Result<(), ImportError> {
    shape.check().map_err(|error| ImportError::weights(format!("\"reckon.shape\": {error}")))?;
    let width = shape.width() as u128;
    let cross = if shape.rank == 0 { width * width } else { 2 * width * shape.rank as u128 };
    let (mut before, mut deep) = (width, 0);
    for &layer in &shape.hidden {
        deep += before * layer as u128;
        before = layer as u128;
    }
    let rows = (head + shape.buckets) as u128 * shape.embedding as u128;
    let wanted = rows + cross * shape.cross_layers as u128 + deep;
    match there >= wanted {
        true => Ok(()),
        false => {
            let reason = format!(
                "the file has {there} numbers, and \"reckon.shape\" asks for {wanted} at least: is the \
                 shape the network's, and head complete?"
            );
            Err(ImportError::weights(reason))
        }
    }
}
