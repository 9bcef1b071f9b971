//! Models as they score, and their bytes.

use reckon_event::Feature;
use reckon_model::dcn;
use reckon_model::factor::{Ffm, Fm, Row};
use reckon_model::trees::Forest;
use reckon_model::{Linear, Weights};

use crate::{Rows, TrainError};

/// A fitted model. It takes encoded rows.
#[derive(Debug)]
pub enum Model {
    /// Logistic regression.
    Linear(Weights, Vec<u8>),
    /// A factorisation machine.
    Fm(Fm, Vec<u8>),
    /// A field-aware one.
    Ffm(Ffm, Vec<u8>),
    /// DCN-v2.
    Dcn(dcn::Weights, Vec<u8>),
    /// Trees, and their text.
    Trees(Box<Forest>, Vec<u8>),
}

/// The input of a key; 0 is missing, and no input.
pub(super) fn features(keys: &[u64], out: &mut Vec<Feature>) {
    out.clear();
    let known = keys.iter().filter(|key| **key != 0);
    out.extend(known.map(|&key| Feature::flag(reckon_bundle::folded(key))));
}

impl Model {
    /// A linear model from its learner's bytes.
    pub(super) fn linear(bytes: Vec<u8>) -> Result<Self, TrainError> {
        Ok(Model::Linear(Linear::decode_state(&bytes)?.publish(), bytes))
    }

    /// A factorisation machine from its bytes.
    pub(super) fn fm(bytes: Vec<u8>) -> Result<Self, TrainError> {
        Ok(Model::Fm(Fm::decode(&bytes)?, bytes))
    }

    /// A field-aware one from its bytes.
    pub(super) fn ffm(bytes: Vec<u8>) -> Result<Self, TrainError> {
        Ok(Model::Ffm(Ffm::decode(&bytes)?, bytes))
    }

    /// A network from its weights' bytes.
    pub(super) fn dcn(bytes: Vec<u8>) -> Result<Self, TrainError> {
        Ok(Model::Dcn(dcn::Weights::from_bytes(&bytes)?, bytes))
    }

    /// Trees from LightGBM's text.
    #[cfg(feature = "lightgbm")]
    pub(super) fn trees(text: String) -> Result<Self, TrainError> {
        Ok(Model::Trees(Box::new(Self::forest(&text)?), text.into_bytes()))
    }

    /// The forest of LightGBM's text.
    #[cfg(feature = "lightgbm")]
    pub(super) fn forest(text: &str) -> Result<Forest, TrainError> {
        Forest::parse(text).map_err(|error| TrainError::Library(error.to_string()))
    }

    /// Its bytes, as a bundle keeps them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Model::Linear(_, bytes)
            | Model::Fm(_, bytes)
            | Model::Ffm(_, bytes)
            | Model::Dcn(_, bytes)
            | Model::Trees(_, bytes) => bytes,
        }
    }

    /// What kind it is, as a bundle names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Model::Linear(..) => "linear",
            Model::Fm(..) => "fm",
            Model::Ffm(..) => "ffm",
            Model::Dcn(..) => "dcn",
            Model::Trees(..) => "trees",
        }
    }

    /// Appends log odds of encoded rows.
    pub fn score(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError> {
        match self {
            Model::Linear(weights, _) => {
                let mut row = Vec::new();
                for index in 0..rows.len() {
                    features(rows.row(index).keys, &mut row);
                    out.push(weights.logit(&row));
                }
            }
            Model::Fm(model, _) => out.extend(rows.iter().map(|row| model.score(factor(row)))),
            Model::Ffm(model, _) => out.extend(rows.iter().map(|row| model.score(factor(row)))),
            Model::Dcn(weights, _) => {
                let start = out.len();
                out.resize(start + rows.len(), 0.0);
                let scored = weights.score(&rows.numeric, &rows.keys, &mut out[start..]);
                scored.map_err(|error| TrainError::Data(error.to_string()))?;
            }
            Model::Trees(forest, _) => {
                let (columns, wanted) = (rows.columns, forest.columns());
                if columns != wanted {
                    let problem = format!("rows have {columns} numbers, the trees want {wanted}");
                    return Err(TrainError::Data(problem));
                }
                let mut margins = vec![0.0; rows.len()];
                forest.score(&rows.numeric, &mut forest.scratch(), &mut margins);
                out.extend(margins.into_iter().map(|margin| margin as f32));
            }
        }
        Ok(())
    }
}

pub(super) fn factor(row: crate::RowRef<'_>) -> Row<'_> {
    Row { numeric: row.numeric, keys: row.keys }
}
