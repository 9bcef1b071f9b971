//! From a fitted model to the contents of a bundle: calibrated on rows that were not sampled, with golden
//! rows of the data it was trained on.

use std::collections::BTreeMap;

use reckon_bundle::encoding::ODDS;
use reckon_bundle::manifest::{Column, Field, Plan, Stage, Training};
use reckon_bundle::{Contents, Golden, Kind, Manifest};
use reckon_model::calibration::{Curve, Isotonic, Observation, Platt, Segmented};

use crate::fit::Model;
use crate::split::for_each_batch;
use crate::{Fitted, Order, Parts, Position, Rows, Share, Table, TrainError};

/// Golden rows, from all over the validation rows.
const GOLDEN_ROWS: usize = 256;
/// Below so many clicks there are too few for a free curve: a line in log odds is fitted.
const CLICKS_FOR_CURVE: u64 = 1_000;

/// What no table says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The plan of features that the columns are of; 0 where they are of none.
    pub plan: u64,
    /// When it is made, in ms since 1970.
    pub created_ms: i64,
}

/// Makes the contents of a bundle of a model that was fitted on these parts of a table.
pub fn contents(
    fitted: &Fitted,
    table: &Table,
    parts: &Parts,
    about: &About,
) -> Result<Contents, TrainError> {
    of_stages(&[(fitted, None)], table, parts, about)
}

/// Makes those of a bundle whose first model scores all candidates, and whose second scores the best `top` of
/// them again. Both were fitted on these parts of a table, and each is calibrated by itself.
pub fn two_stages(
    first: &Fitted,
    (second, top): (&Fitted, u32),
    table: &Table,
    parts: &Parts,
    about: &About,
) -> Result<Contents, TrainError> {
    if first.schema != second.schema {
        let problem = "both stages are fitted on rows of the same columns";
        return Err(TrainError::option("stages", problem));
    }
    of_stages(&[(first, None), (second, Some(top))], table, parts, about)
}

fn of_stages(
    fitted: &[(&Fitted, Option<u32>)],
    table: &Table,
    parts: &Parts,
    about: &About,
) -> Result<Contents, TrainError> {
    if fitted.iter().any(|(fitted, _)| fitted.position == Position::Feature) {
        let problem = "a bundle has no place for a position that is a field; take tower or weights";
        return Err(TrainError::option("position", problem));
    }
    let validation = Share::all(parts.validation.clone());
    let curve = |&(fitted, _): &(&Fitted, _)| curve(fitted, table, &validation).map(Segmented::of);
    Ok(Contents {
        manifest: manifest(fitted, about),
        models: fitted.iter().map(|(fitted, _)| fitted.model.bytes().to_vec()).collect(),
        encodings: fitted.iter().map(|(fitted, _)| fitted.encoding.encoding.clone()).collect(),
        curves: fitted.iter().map(curve).collect::<Result<_, _>>()?,
        golden: golden(table, &validation)?,
    })
}

fn kind(model: &Model) -> Kind {
    match model {
        Model::Linear(..) => Kind::Linear,
        Model::Fm(..) => Kind::Fm,
        Model::Ffm(..) => Kind::Ffm,
        Model::Dcn(..) => Kind::Dcn,
        Model::Trees(..) => Kind::Trees,
    }
}

fn manifest(stages: &[(&Fitted, Option<u32>)], about: &About) -> Manifest {
    let (first, _) = stages[0];
    let schema = &first.schema;
    let gains = gains(first);
    let gain = |name: &String| gains.get(name).copied().unwrap_or(0.0) as f32;
    let column =
        |name: &String| Column { name: name.clone(), default: None, importance: gain(name) };
    let field = |name: &String| Field { name: name.clone(), importance: gain(name) };
    let training = Training {
        from_ms: first.training.from_ms,
        to_ms: first.training.to_ms,
        rows: first.training.rows,
        clicks: first.training.clicks,
    };
    let stage = |&(fitted, top): &(&Fitted, Option<u32>)| Stage {
        kind: kind(&fitted.model),
        sampling: fitted.sampling_w,
        top,
    };
    let metric = |(number, (fitted, _)): (usize, &(&Fitted, _))| {
        let name = match number {
            0 => "validation_log_loss".to_owned(),
            number => format!("validation_log_loss_{}", number + 1),
        };
        (name, fitted.validation_loss)
    };
    Manifest {
        stages: stages.iter().map(stage).collect(),
        plan: match about.plan {
            0 => Plan::default(),
            version => Plan { version: 1, schema: format!("{version:016x}") },
        },
        user_columns: schema.user_numeric,
        user_fields: schema.user_fields,
        training: Some(training),
        metrics: stages.iter().enumerate().map(metric).collect(),
        created_ms: about.created_ms,
        ..Manifest::of(
            kind(&first.model),
            schema.numeric.iter().map(column).collect(),
            schema.fields.iter().map(field).collect(),
        )
    }
}

/// How much each column or field has lowered the loss, as shares of all that did; of trees alone.
fn gains(fitted: &Fitted) -> BTreeMap<String, f64> {
    let mut gains = BTreeMap::new();
    let Model::Trees(forest, _) = &fitted.model else { return gains };
    let names = fitted.encoding.schema().numeric;
    let mut sum = 0.0;
    for node in forest.trees().iter().flat_map(|tree| &tree.nodes) {
        let name = &names[node.column as usize];
        let name = name.strip_suffix(ODDS).unwrap_or(name);
        *gains.entry(name.to_owned()).or_default() += node.gain;
        sum += node.gain;
    }
    gains.values_mut().for_each(|gain| *gain /= if sum > 0.0 { sum } else { 1.0 });
    gains
}

/// Calibrated on all validation rows, after the sampling correction.
fn curve(fitted: &Fitted, table: &Table, share: &Share) -> Result<Curve, TrainError> {
    let mut observed = Vec::new();
    let mut logits = Vec::new();
    for_each_batch(table, share, Order::Logged, |batch| {
        logits.clear();
        fitted.logits_as_shown(batch, &mut logits)?;
        observed.extend(batch.iter().zip(&logits).map(|(row, &logit)| Observation {
            logit,
            label: row.label,
            weight: row.weight * fitted.looked_at(row, logit),
        }));
        Ok(())
    })?;
    let clicks = observed.iter().filter(|one| one.label).count() as u64;
    let failed = |error| TrainError::Data(format!("calibration: {error}"));
    if clicks < CLICKS_FOR_CURVE {
        return Platt::fit(&observed).map(Curve::Platt).map_err(failed);
    }
    Isotonic::fit(&observed).map(Curve::Isotonic).map_err(failed)
}

fn golden(table: &Table, share: &Share) -> Result<Golden, TrainError> {
    let every = ((share.rows.end - share.rows.start) / GOLDEN_ROWS as u64).max(1);
    let mut golden = Golden::default();
    let mut number = 0;
    for_each_batch(table, share, Order::Logged, |batch: &Rows| {
        for row in batch.iter() {
            if number % every == 0 && golden.rows() < GOLDEN_ROWS {
                golden.numeric.extend_from_slice(row.numeric);
                golden.keys.extend_from_slice(row.keys);
                golden.segments.push(0);
            }
            number += 1;
        }
        Ok(())
    })?;
    Ok(golden)
}
