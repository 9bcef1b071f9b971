//! Models that learn row by row, as the loop over batches sees them.

use reckon_event::Feature;
use reckon_model::dcn::{Batch, Shape, Survey, SurveyOptions, Trainer};
use reckon_model::factor::{FactorOptions, Ffm, Fm};
use reckon_model::{Linear, LinearOptions};

use super::batches::Task;
use super::encoding::Encoder;
use super::mean::Mean;
use super::model::{Model, factor, features};
use super::options::Learner;
use crate::split::for_each_batch;
use crate::{Order, Rows, TrainError};

/// Why there are none here.
const TREES: &str = "trees are grown by LightGBM and do not learn by batches";

/// A model that is learning.
pub(super) enum Learning {
    Linear(Box<Linear>, Vec<Feature>),
    Fm(Box<Fm>),
    Ffm(Box<Ffm>),
    /// With the mean of what it was after each epoch.
    Dcn(Box<Trainer>, Mean),
}

impl Learning {
    /// A model that has seen nothing, for encoded rows of this shape.
    pub fn new(task: &Task<'_>, encoding: &Encoder) -> Result<Self, TrainError> {
        let schema = task.options.position.schema(encoding.schema().clone());
        let start = task.click_rate.clamp(1e-4, 0.5) as f32;
        match &task.options.learner {
            Learner::Linear { options, .. } => {
                let options = LinearOptions { start, ..*options };
                options.check().map_err(|error| TrainError::option("linear", error.to_string()))?;
                Ok(Learning::Linear(Box::new(Linear::new(options)), Vec::new()))
            }
            Learner::Factor {
                is_field_aware,
                factors,
                bits,
                alpha,
                linear_alpha,
                beta,
                spread,
                l2,
                ..
            } => {
                let options = FactorOptions {
                    factors: *factors,
                    bits: *bits,
                    alpha: *alpha,
                    linear_alpha: *linear_alpha,
                    beta: *beta,
                    spread: *spread,
                    l2: *l2,
                    start,
                    seed: task.options.seed,
                    ..FactorOptions::new(schema.fields.len(), schema.numeric.len())
                };
                let refused = |error: reckon_model::factor::FactorError| {
                    TrainError::option("factor", error.to_string())
                };
                match is_field_aware {
                    true => Ok(Learning::Ffm(Box::new(Ffm::new(options).map_err(refused)?))),
                    false => Ok(Learning::Fm(Box::new(Fm::new(options).map_err(refused)?))),
                }
            }
            Learner::Dcn {
                embedding,
                buckets,
                seen_min,
                cross_layers,
                rank,
                hidden,
                structure,
                options,
                average,
                ..
            } => {
                let shape = Shape {
                    columns: schema.numeric.len(),
                    fields: schema.fields.len(),
                    user_columns: schema.user_numeric,
                    user_fields: schema.user_fields,
                    embedding: *embedding,
                    buckets: *buckets,
                    cross_layers: *cross_layers,
                    rank: *rank,
                    hidden: hidden.clone(),
                    structure: *structure,
                };
                options.check().map_err(|error| TrainError::option("dcn", error.to_string()))?;
                let survey = SurveyOptions { seen_min: *seen_min, ..SurveyOptions::default() };
                let inputs = survey_of(task, encoding, &shape, survey)?;
                let seed = task.options.seed;
                let trainer = Trainer::with_inputs(&shape, *options, inputs, seed);
                Ok(Learning::Dcn(Box::new(trainer), Mean::new(*average)))
            }
            Learner::Trees { .. } => unreachable!("{TREES}"),
        }
    }

    /// Learns encoded rows; `labels` is 1 for clicked ones.
    pub fn learn(&mut self, rows: &Rows, labels: &[f32]) -> Result<(), TrainError> {
        match self {
            Learning::Linear(model, inputs) => rows.iter().for_each(|row| {
                features(row.keys, inputs);
                model.learn(inputs, row.label, row.weight);
            }),
            Learning::Fm(model) => rows.iter().for_each(|row| {
                model.learn(factor(row), row.label, row.weight);
            }),
            Learning::Ffm(model) => rows.iter().for_each(|row| {
                model.learn(factor(row), row.label, row.weight);
            }),
            Learning::Dcn(trainer, _) => {
                let batch = Batch {
                    numeric: &rows.numeric,
                    keys: &rows.keys,
                    labels,
                    weights: &rows.weights,
                };
                let learned = trainer.step(&batch);
                learned.map_err(|error| TrainError::Data(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Appends the log odds that it gives encoded rows now.
    pub fn score(&mut self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError> {
        match self {
            Learning::Linear(model, inputs) => out.extend(rows.iter().map(|row| {
                features(row.keys, inputs);
                model.logit(inputs)
            })),
            Learning::Fm(model) => out.extend(rows.iter().map(|row| model.score(factor(row)))),
            Learning::Ffm(model) => out.extend(rows.iter().map(|row| model.score(factor(row)))),
            Learning::Dcn(trainer, _) => {
                let start = out.len();
                out.resize(start + rows.len(), 0.0);
                let scored = trainer.score(&rows.numeric, &rows.keys, &mut out[start..]);
                scored.map_err(|error| TrainError::Data(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// The model at the end of an epoch.
    pub fn end_epoch(&mut self) -> Result<Model, TrainError> {
        let mut bytes = Vec::new();
        match self {
            Learning::Linear(model, _) => {
                model.encode_state(&mut bytes);
                Model::linear(bytes)
            }
            Learning::Fm(model) => {
                model.encode(&mut bytes);
                Model::fm(bytes)
            }
            Learning::Ffm(model) => {
                model.encode(&mut bytes);
                Model::ffm(bytes)
            }
            Learning::Dcn(trainer, mean) => {
                mean.add(trainer.weights()).to_bytes(&mut bytes);
                Model::dcn(bytes)
            }
        }
    }

    /// Appends everything that it goes on from.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Learning::Linear(model, _) => model.encode_state(out),
            Learning::Fm(model) => model.encode(out),
            Learning::Ffm(model) => model.encode(out),
            Learning::Dcn(trainer, mean) => mean.encode(trainer, out),
        }
    }

    /// Goes on from there.
    pub fn decode(learner: &Learner, bytes: &[u8]) -> Result<Self, TrainError> {
        Ok(match learner {
            Learner::Linear { .. } => {
                Learning::Linear(Box::new(Linear::decode_state(bytes)?), Vec::new())
            }
            Learner::Factor { is_field_aware: false, .. } => {
                Learning::Fm(Box::new(Fm::decode(bytes)?))
            }
            Learner::Factor { .. } => Learning::Ffm(Box::new(Ffm::decode(bytes)?)),
            Learner::Dcn { average, .. } => {
                let (trainer, mean) = Mean::decode(*average, bytes)?;
                Learning::Dcn(Box::new(trainer), mean)
            }
            Learner::Trees { .. } => unreachable!("{TREES}"),
        })
    }

    /// The model from the bytes of [`Model::bytes`].
    pub fn model_of(learner: &Learner, bytes: Vec<u8>) -> Result<Model, TrainError> {
        match learner {
            Learner::Linear { .. } => Model::linear(bytes),
            Learner::Factor { is_field_aware: false, .. } => Model::fm(bytes),
            Learner::Factor { .. } => Model::ffm(bytes),
            Learner::Dcn { .. } => Model::dcn(bytes),
            Learner::Trees { .. } => unreachable!("{TREES}"),
        }
    }
}

/// How each column's numbers lie, and which keys are frequent.
fn survey_of(
    task: &Task<'_>,
    encoding: &Encoder,
    shape: &Shape,
    options: SurveyOptions,
) -> Result<reckon_model::dcn::Inputs, TrainError> {
    let refused =
        |error: reckon_model::dcn::TensorError| TrainError::option("dcn", error.to_string());
    let mut survey = Survey::new(shape, options).map_err(refused)?;
    let mut shown = Rows::default();
    for_each_batch(task.table, &task.train, Order::Logged, |batch| {
        encoding.encode(batch, &mut shown);
        task.options.position.shape(&mut shown, None);
        survey.see(&shown.numeric, &shown.keys);
        Ok(())
    })?;
    survey.inputs().map_err(refused)
}
