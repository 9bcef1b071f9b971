//! What a bundle says of its model, as JSON: which columns it wants, how it was trained, how it did.
//!
//! An unknown key is refused: whoever adds one raises the version of the format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::BundleError;

/// Columns, and fields, a model has at most.
pub const COLUMNS_MAX: usize = 4096;
/// Candidates that a later stage re-scores, at most.
pub const TOP_MAX: u32 = 65_536;

const NAME_BYTES_MAX: usize = 256;
const METRICS_MAX: usize = 1024;

/// What a bundle says of its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The models, in the order in which they score: one, or a first for all candidates and a second
    /// for the best of them.
    pub stages: Vec<Stage>,
    /// Which computation of features the columns are of.
    pub plan: Plan,
    /// Numeric columns: first those of the user, then those of a candidate.
    pub columns: Vec<Column>,
    /// How many of the columns are the user's, the same for all candidates of a request.
    pub user_columns: usize,
    /// Names of the categorical fields: first those of the user, then those of a candidate.
    pub fields: Vec<Field>,
    /// How many of the fields are the user's.
    pub user_fields: usize,
    /// What it was trained on; nothing where others trained it.
    pub training: Option<Training>,
    /// How it did on rows it was not trained on, by name.
    pub metrics: BTreeMap<String, f64>,
    /// The bundle it was made from or replaces: its id in hexadecimal.
    pub parent: Option<String>,
    /// When it was made, in ms since 1970; the caller's clock.
    pub created_ms: i64,
}

/// One model of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What it is.
    pub kind: Kind,
    /// The share of unclicked rows that were kept for training, above 0 and at most 1: its logarithm is
    /// added to the log odds before calibration.
    pub sampling: f64,
    /// How many of the best candidates it scores; nothing means all. The first stage scores all.
    pub top: Option<u32>,
}

/// What a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Boosted trees.
    Trees,
    /// A deep and cross network.
    Dcn,
    /// Logistic regression.
    Linear,
    /// A factorisation machine.
    Fm,
    /// A field-aware factorisation machine.
    Ffm,
    /// A network in ONNX.
    Onnx,
}

/// Which features the columns are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the feature plan; 0 where the columns are not of a plan of ours.
    pub version: u32,
    /// The hash of its schema, as the feature plan writes it; empty where there is none.
    pub schema: String,
}

/// A numeric column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name, once in a bundle.
    pub name: String,
    /// What stands for it where it cannot be had: the median of the training rows. Nothing means "missing",
    /// for models that know missing values.
    pub default: Option<f32>,
    /// Its share of what the model knows, 0 where that is not known.
    pub importance: f32,
}

/// A categorical field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name, once in a bundle.
    pub name: String,
    /// Its share of what the model knows, 0 where that is not known.
    pub importance: f32,
}

/// The rows a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The first moment, in ms since 1970.
    pub from_ms: i64,
    /// The moment behind the last, in ms since 1970.
    pub to_ms: i64,
    /// Rows before sampling.
    pub rows: u64,
    /// Clicks among them.
    pub clicks: u64,
}

impl Manifest {
    /// A manifest of one model that scores all candidates, of columns that are all a candidate's.
    pub fn of(kind: Kind, columns: Vec<Column>, fields: Vec<Field>) -> Self {
        Manifest {
            stages: vec![Stage { kind, sampling: 1.0, top: None }],
            plan: Plan::default(),
            columns,
            user_columns: 0,
            fields,
            user_fields: 0,
            training: None,
            metrics: BTreeMap::new(),
            parent: None,
            created_ms: 0,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and checked numbers are JSON")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| BundleError::section("manifest", error))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Everything a manifest says can be.
    pub fn check(&self) -> Result<(), BundleError> {
        self.check_stages()?;
        self.check_inputs()?;
        if self.training.is_some_and(|one| one.from_ms > one.to_ms || one.clicks > one.rows) {
            return Err(BundleError::field(
                "training",
                "it ends before it begins, or has more clicks than rows",
            ));
        }
        if self.metrics.len() > METRICS_MAX || !self.metrics.values().all(|value| value.is_finite())
        {
            let reason = format!("at most {METRICS_MAX}, each a finite number");
            return Err(BundleError::field("metrics", reason));
        }
        let is_hex =
            |id: &String| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.parent.as_ref().is_none_or(is_hex) {
            true => Ok(()),
            false => Err(BundleError::field("parent", "a bundle's id is 64 hexadecimal digits")),
        }
    }

    fn check_stages(&self) -> Result<(), BundleError> {
        if !(1..=2).contains(&self.stages.len()) {
            let reason = format!("there are {}; a bundle has one or two", self.stages.len());
            return Err(BundleError::field("stages", reason));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            if !(stage.sampling > 0.0 && stage.sampling <= 1.0) {
                let reason = format!("{} is not a share above 0 and at most 1", stage.sampling);
                return Err(BundleError::field(format!("stages[{index}].sampling"), reason));
            }
            let is_sound = match (index, stage.top) {
                (0, top) => top.is_none(),
                (_, top) => top.is_some_and(|top| (1..=TOP_MAX).contains(&top)),
            };
            if !is_sound {
                let reason = format!("the first stage has none, the second one of 1 to {TOP_MAX}");
                return Err(BundleError::field(format!("stages[{index}].top"), reason));
            }
        }
        Ok(())
    }

    fn check_inputs(&self) -> Result<(), BundleError> {
        let columns = self.columns.iter().map(|column| (&*column.name, column.importance));
        check_names("columns", columns, self.user_columns)?;
        let fields = self.fields.iter().map(|field| (&*field.name, field.importance));
        check_names("fields", fields, self.user_fields)?;
        let is_finite = |column: &&Column| column.default.is_none_or(f32::is_finite);
        match self.columns.iter().find(|column| !is_finite(column)) {
            None => Ok(()),
            Some(column) => {
                let reason = "a default is a finite number, or nothing where it is missing";
                Err(BundleError::field(format!("columns: default of {}", column.name), reason))
            }
        }
    }
}

fn check_names<'a>(
    what: &str,
    inputs: impl Iterator<Item = (&'a str, f32)>,
    user: usize,
) -> Result<(), BundleError> {
    let mut names = std::collections::BTreeSet::new();
    for (name, importance) in inputs {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let reason = format!("{name:?}: a name has 1 to {NAME_BYTES_MAX} bytes");
            return Err(BundleError::field(what, reason));
        }
        if !(importance.is_finite() && importance >= 0.0) {
            let reason = format!("{importance} is not a finite number from 0 on");
            return Err(BundleError::field(format!("{what}: importance of {name}"), reason));
        }
        if !names.insert(name) {
            return Err(BundleError::field(what, format!("{name} is there twice")));
        }
    }
    if names.len() > COLUMNS_MAX || user > names.len() {
        let reason = format!("{}, of them {user} the user's; at most {COLUMNS_MAX}", names.len());
        return Err(BundleError::field(what, reason));
    }
    Ok(())
}
