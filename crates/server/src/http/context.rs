//! What a request says of the moment: any names, each with a text, a number, or yes or no.
//!
//! The model takes them as they are, so a new one needs no change here; how many there may be and how
//! long is bounded. `null` says nothing.

use std::collections::BTreeMap;

use reckon_event::valid_name;
use reckon_predict::Value;
use serde::Deserialize;

use super::Problem;

/// The most names of one context.
const NAMES_MAX: usize = 256;
/// The longest text of one, in bytes: a page's address fits.
const TEXT_BYTES_MAX: usize = 2_048;

/// A context as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Context(BTreeMap<String, serde_json::Value>);

impl Context {
    /// Every name with its value, in the order of the names; the error names what is wrong.
    pub fn values(&self) -> Result<Vec<(&str, Value<'_>)>, Problem> {
        if self.0.len() > NAMES_MAX {
            return Err(Problem::unprocessable(format!(
                "context: has {} names; at most {NAMES_MAX} are taken",
                self.0.len()
            )));
        }
        let mut values = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let wrong = |what: &str| Problem::unprocessable(format!("context.{name}: {what}"));
            valid_name(name).map_err(|error| {
                Problem::unprocessable(format!("context: the name {name:?} {error}"))
            })?;
            let value = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::Bool(flag) => Value::Flag(*flag),
                serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(0.0)),
                serde_json::Value::String(text) if text.len() > TEXT_BYTES_MAX => {
                    return Err(wrong("must be at most 2,048 bytes"));
                }
                serde_json::Value::String(text) => Value::Text(text),
                _ => return Err(wrong("must be a text, a number, true or false")),
            };
            values.push((name.as_str(), value));
        }
        Ok(values)
    }

    /// The first of these names that has a text; it is a dimension of the counts, so it has to be an
    /// id.
    pub fn dimension(&self, names: &[&str]) -> Result<Option<&str>, Problem> {
        for name in names {
            let Some(serde_json::Value::String(text)) = self.0.get(*name) else {
                continue;
            };
            if text.is_empty() {
                continue;
            }
            let checked = valid_name(text);
            let wrong = |error| Problem::unprocessable(format!("context.{name}: {error}"));
            return checked.map(Some).map_err(wrong);
        }
        Ok(None)
    }
}
