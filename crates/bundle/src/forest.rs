//! Trees of a bundle: the file as it came, LightGBM's text or a tree ensemble in ONNX, and its forest.

use std::sync::atomic::{AtomicU64, Ordering};

use reckon_model::trees::{self, Forest, Transform};

use crate::ImportError;
use crate::manifest::Manifest;

/// A model's file has at most this many bytes.
const FILE_BYTES_MAX: usize = 256 << 20;
/// A caller keeps the memory of so many forests: two stages of the bundle before, and of the next.
const KEPT: usize = 4;

/// Forests are told apart by a number, so that a caller's memory is never another forest's.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Trees that say log odds.
#[derive(Debug)]
pub struct ForestModel {
    forest: Forest,
    /// Log odds are the margin by so much.
    steepness: f64,
    number: u64,
}

/// Memory of a caller.
#[derive(Default)]
pub(crate) struct Scratch {
    forests: Vec<(u64, trees::Scratch)>,
    margins: Vec<f64>,
}

impl ForestModel {
    /// From a file as it came.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ImportError> {
        if bytes.len() > FILE_BYTES_MAX {
            let reason = format!("it has {} bytes; at most {FILE_BYTES_MAX}", bytes.len());
            return Err(ImportError::trees(reason));
        }
        let forest = match std::str::from_utf8(bytes) {
            Ok(text) if text.trim_ascii_start().starts_with("tree") => {
                Forest::parse(text).map_err(|error| ImportError::trees(error.to_string()))?
            }
            _ => crate::onnx::forest(bytes)?
                .ok_or_else(|| ImportError::trees("the ONNX file has no tree ensemble"))?,
        };
        let steepness = match forest.options().transform {
            Transform::Sigmoid { steepness } => steepness,
            other => {
                let reason = format!(
                    "its trees add up to {other:?} and not to log odds: train them with \
                     objective=binary or cross_entropy"
                );
                return Err(ImportError::trees(reason));
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(ForestModel { forest, steepness, number })
    }

    pub(crate) fn of_manifest(bytes: &[u8], manifest: &Manifest) -> Result<Self, ImportError> {
        if !manifest.fields.is_empty() && manifest.stages.len() == 1 {
            return Err(ImportError::trees(
                "trees take columns; the manifest names fields as well",
            ));
        }
        let model = ForestModel::read(bytes)?;
        match (model.forest.columns(), manifest.columns.len()) {
            (found, wanted) if found == wanted => Ok(model),
            (found, wanted) => {
                let reason = format!("the model has {found} columns, the manifest {wanted}");
                Err(ImportError::trees(reason))
            }
        }
    }

    /// The trees.
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// Log odds of whole rows.
    pub(crate) fn score(&self, numeric: &[f32], scratch: &mut Scratch, out: &mut [f32]) {
        let Scratch { forests, margins } = scratch;
        margins.clear();
        margins.resize(out.len(), 0.0);
        let place = forests.iter().position(|(number, _)| *number == self.number);
        let place = place.unwrap_or_else(|| {
            if forests.len() == KEPT {
                forests.remove(0);
            }
            forests.push((self.number, self.forest.scratch()));
            forests.len() - 1
        });
        self.forest.score(numeric, &mut forests[place].1, margins);
        for (out, margin) in out.iter_mut().zip(margins) {
            *out = (*margin * self.steepness) as f32;
        }
    }
}
