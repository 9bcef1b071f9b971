//! A bundle that answers: its columns found in the plan of features, its memory used again.
//!
//! A bundle names its columns; where each stands in a row is found once, when it is taken up. One that
//! wants what the plan does not compute is refused then, and not when somebody asks.

use parking_lot::Mutex;
use reckon_bundle::{Bundle, BundleError, Scored, Scratch};
use reckon_feature::{Plan, Rows, skew};

/// A bundle, ready to score rows of a plan.
pub struct Champion {
    bundle: Bundle,
    version: u32,
    /// Where each of its numeric columns stands in a row of the plan.
    columns: Vec<usize>,
    /// Where each of its fields does.
    fields: Vec<usize>,
    /// The share of its importance that lies on what needs no past.
    confidence_without_pasts: f32,
    /// As many as requests were ever scored at a time.
    memory: Mutex<Vec<Memory>>,
}

/// What one request needs.
#[derive(Default)]
struct Memory {
    scratch: Scratch,
    user_numeric: Vec<f32>,
    user_keys: Vec<u64>,
    numeric: Vec<f32>,
    keys: Vec<u64>,
    scored: Vec<Scored>,
}

/// Why a bundle cannot answer here.
#[derive(Debug, thiserror::Error)]
pub enum ChampionError {
    /// It wants what is not computed.
    #[error(
        "the bundle wants {what} {name:?}, which the plan of features does not compute: train it on \
         this plan, or name the plan that it was trained on in feature.plan"
    )]
    Missing {
        /// A column or a field.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It takes for the user's what differs from candidate to candidate.
    #[error(
        "the bundle takes {what} {name:?} for the user's, but it is a candidate's in this plan"
    )]
    NotTheUsers {
        /// A column or a field.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

/// What a bundle says of one candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Said {
    /// The calibrated probability of a click at place 1.
    pub probability: f32,
    /// The stage that said it, from 1.
    pub stage: u8,
}

impl Champion {
    /// Takes up a bundle for rows of a plan.
    pub fn new(bundle: Bundle, plan: &Plan) -> Result<Self, ChampionError> {
        let manifest = &bundle.manifest;
        let columns = places(
            "the column",
            manifest.columns.iter().map(|column| column.name.as_str()),
            plan.columns().iter().map(|column| column.name.as_str()),
            (manifest.user_columns, plan.user_columns()),
        )?;
        let fields = places(
            "the field",
            manifest.fields.iter().map(|field| field.name.as_str()),
            plan.fields().iter().map(|field| field.name.as_str()),
            (manifest.user_fields, plan.user_fields()),
        )?;
        let digits = bundle.id.to_string();
        let version = u32::from_str_radix(&digits[..8], 16).expect("an id is hexadecimal").max(1);
        let of_columns = columns.iter().zip(&manifest.columns).map(|(&place, column)| {
            (column.importance, plan.columns()[place].source.rests_on_pasts())
        });
        let of_fields = fields
            .iter()
            .zip(&manifest.fields)
            .map(|(&place, field)| (field.importance, plan.fields()[place].rests_on_pasts()));
        let confidence_without_pasts = skew::share_without_pasts(of_columns.chain(of_fields));
        let memory = Mutex::default();
        Ok(Champion { bundle, version, columns, fields, confidence_without_pasts, memory })
    }

    /// The bundle.
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The share of its importance that is left where pasts are too old to be relied on.
    pub const fn confidence_without_pasts(&self) -> f32 {
        self.confidence_without_pasts
    }

    /// A number for it, as tokens and rows have room for: the first bytes of its id, never 0.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What it is called.
    pub fn name(&self) -> String {
        format!("bundle-{}", &self.bundle.id.to_string()[..8])
    }

    /// Scores rows of the plan, one a candidate.
    pub(crate) fn score(&self, plan: &Plan, rows: &Rows) -> Result<Vec<Said>, BundleError> {
        let mut memory = self.memory.lock().pop().unwrap_or_default();
        let said = self.score_with(&mut memory, plan, rows);
        self.memory.lock().push(memory);
        said
    }

    fn score_with(
        &self,
        memory: &mut Memory,
        plan: &Plan,
        rows: &Rows,
    ) -> Result<Vec<Said>, BundleError> {
        let manifest = &self.bundle.manifest;
        let (width, fields) = (plan.columns().len(), plan.fields().len());
        let (user_columns, own_columns) = self.columns.split_at(manifest.user_columns);
        let (user_fields, own_fields) = self.fields.split_at(manifest.user_fields);
        let Memory { scratch, user_numeric, user_keys, numeric, keys, scored } = memory;
        user_numeric.clear();
        user_keys.clear();
        numeric.clear();
        keys.clear();
        // All rows have the user's half; the first is as good as any.
        user_numeric.extend(user_columns.iter().map(|&place| rows.numeric[place]));
        user_keys.extend(user_fields.iter().map(|&place| rows.keys[place]));
        let mut count = 0;
        for (row, row_keys) in rows.numeric.chunks_exact(width).zip(rows.keys.chunks_exact(fields))
        {
            numeric.extend(own_columns.iter().map(|&place| row[place]));
            keys.extend(own_fields.iter().map(|&place| row_keys[place]));
            count += 1;
        }
        scored.clear();
        scored.resize(count, Scored::default());
        let rows = reckon_bundle::Rows { user_numeric, user_keys, numeric, keys, count };
        self.bundle.score(rows, scratch, scored)?;
        let said = |one: &Scored| Said {
            probability: self.bundle.probability(*one, 0),
            stage: one.stage + 1,
        };
        Ok(scored.iter().map(said).collect())
    }
}

/// Where names stand among those of the plan. So many of the first are the user's in each.
fn places<'a>(
    what: &'static str,
    wanted: impl Iterator<Item = &'a str>,
    there: impl Iterator<Item = &'a str>,
    (users, plan_users): (usize, usize),
) -> Result<Vec<usize>, ChampionError> {
    let there: std::collections::HashMap<&str, usize> = there.zip(0..).collect();
    let mut places = Vec::new();
    for name in wanted {
        let Some(&place) = there.get(name) else {
            return Err(ChampionError::Missing { what, name: name.to_owned() });
        };
        if places.len() < users && place >= plan_users {
            return Err(ChampionError::NotTheUsers { what, name: name.to_owned() });
        }
        places.push(place);
    }
    Ok(places)
}
