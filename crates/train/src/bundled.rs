//! From a fitted model to the contents of a bundle: calibrated on rows that were not sampled, with golden
//! rows of the data it was trained on.

use reckon_bundle::encoding::{Fixed, Origin};
use reckon_bundle::manifest::{Column, Field, Plan, Stage, Training};
use reckon_bundle::{Contents, Encoding, Golden, Kind, Manifest};
use reckon_model::calibration::{Curve, Isotonic, Observation, Platt, Segmented};

use crate::fit::Model;
use crate::split::for_each_batch;
use crate::{Fitted, Order, Parts, Position, Rows, Schema, Share, Table, TrainError, position};

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
    let validation = Share::all(parts.validation.clone());
    let curve = |&(fitted, _): &(&Fitted, _)| curve(fitted, table, &validation).map(Segmented::of);
    Ok(Contents {
        manifest: manifest(fitted, about),
        models: fitted.iter().map(|(fitted, _)| fitted.model.bytes().to_vec()).collect(),
        encodings: fitted.iter().map(|(fitted, _)| served(fitted)).collect(),
        curves: fitted.iter().map(curve).collect::<Result<_, _>>()?,
        golden: golden(table, &validation)?,
    })
}

/// How rows become the model's where they are scored: the place that was a field is place 1.
fn served(fitted: &Fitted) -> Encoding {
    let encoding = fitted.encoding.encoding().clone();
    match fitted.position {
        Position::Feature => {
            let place = Fixed { name: position::FIELD.to_owned(), key: position::key(1) };
            Encoding::Fixed(Box::new(encoding), vec![place])
        }
        _ => encoding,
    }
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
    let (columns, fields) = importance(first);
    let column = |(name, &importance): (&String, &f32)| {
        let name = name.clone();
        Column { name, default: None, importance }
    };
    let field = |(name, &importance): (&String, &f32)| Field { name: name.clone(), importance };
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
            schema.numeric.iter().zip(&columns).map(column).collect(),
            schema.fields.iter().zip(&fields).map(field).collect(),
        )
    }
}

/// How much each column, and each field, has lowered the loss, as shares of all that did; of trees alone.
fn importance(fitted: &Fitted) -> (Vec<f32>, Vec<f32>) {
    let Schema { numeric, fields, user_numeric, .. } = &fitted.schema;
    let widths = (numeric.len(), fields.len());
    let Model::Trees(forest, _) = &fitted.model else { return shares(&[], &[], widths) };
    let own = numeric.len() - *user_numeric;
    let origins = fitted.encoding.encoding().origins((*user_numeric, own));
    shares(&forest.importance_gain(), &origins, widths)
}

/// Shares of columns and fields in what was gained by encoded columns.
fn shares(
    gains: &[f64],
    origins: &[Origin],
    (columns, fields): (usize, usize),
) -> (Vec<f32>, Vec<f32>) {
    let (mut columns, mut fields) = (vec![0.0; columns], vec![0.0; fields]);
    let sum: f64 = gains.iter().sum();
    for (gain, origin) in gains.iter().zip(origins).filter(|(gain, _)| **gain > 0.0) {
        let share = (gain / sum) as f32;
        match *origin {
            Origin::Column(at) => columns[at] += share,
            Origin::Field(at) => fields[at] += share,
        }
    }
    (columns, fields)
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

#[cfg(test)]
mod tests {
    use reckon_bundle::encoding::{Code, Codes, Halves};

    use super::*;

    #[test]
    fn a_field_has_the_gain_of_all_its_columns_and_none_of_a_column_of_its_name() {
        let codes = |base| Codes::new(vec![Code { key: 1, rank: 0.0, odds: 0.0 }], base);
        // Of the user one column and a field; of a candidate two columns, one of the field's name.
        let encoding = Encoding::Codes(Halves::cut(vec![codes(-1.0), codes(f32::NAN)], 1));
        let gains = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let (columns, fields) = shares(&gains, &encoding.origins((1, 2)), (3, 2));
        assert_eq!(columns, [1.0, 8.0, 16.0].map(|gain| gain / 63.0));
        assert_eq!(fields, [(2.0 / 63.0) + (4.0 / 63.0), 32.0 / 63.0]);
        let (columns, fields) = shares(&[0.0; 6], &encoding.origins((1, 2)), (3, 2));
        assert_eq!((columns, fields), (vec![0.0; 3], vec![0.0; 2]), "trees without a split");
    }
}
