//! What a check of the books looks for and finds, whichever engine keeps them.

use super::entity::Entity;
use super::{NameKey, key_to_column};
use crate::error::Error;

/// The most findings that are kept; one is enough to act.
pub(crate) const FINDINGS_MAX: usize = 100;

/// What is wrong with a campaign's history, as a query that answers (tenant, campaign) of each wrong
/// one, and what it means.
pub(crate) const HISTORY_RULES: [(&str, &str); 3] = [
    (
        "has a price or budget other than its last terms",
        "SELECT c.tenant, c.campaign_id FROM campaigns c LEFT JOIN campaign_terms t \
         ON t.tenant = c.tenant AND t.campaign_id = c.campaign_id AND t.sequence = \
           (SELECT MAX(sequence) FROM campaign_terms m \
            WHERE m.tenant = c.tenant AND m.campaign_id = c.campaign_id) \
         WHERE t.sequence IS NULL OR t.cpc_micros <> c.cpc_micros \
            OR t.daily_budget_micros IS DISTINCT FROM c.daily_budget_micros",
    ),
    (
        "has first terms that do not hold from its making",
        "SELECT c.tenant, c.campaign_id FROM campaigns c LEFT JOIN campaign_terms t \
         ON t.tenant = c.tenant AND t.campaign_id = c.campaign_id AND t.sequence = 1 \
         WHERE t.effective_at IS DISTINCT FROM c.created_at",
    ),
    (
        "has a gap or a step back in its terms",
        "SELECT t.tenant, t.campaign_id FROM campaign_terms t LEFT JOIN campaign_terms p \
         ON p.tenant = t.tenant AND p.campaign_id = t.campaign_id AND p.sequence = t.sequence - 1 \
         WHERE t.sequence > 1 AND (p.sequence IS NULL OR p.effective_at > t.effective_at)",
    ),
];

/// What the check of the books found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Rows of the catalog and the ledger compared with what they must be.
    pub rows_checked: u64,
    /// Each a sentence that names the place; the first 100.
    pub findings: Vec<String>,
}

impl Verification {
    /// Whether nothing was found.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// What is wrong with a row of the catalog: it cannot be read, is nothing we would take, or does not
/// have the key of its name.
pub(crate) fn row_problem<E: Entity>(
    read: Result<E, Error>,
    stored_key: i64,
    name_key: NameKey,
) -> Option<String> {
    let thing = match read {
        Ok(thing) => thing,
        Err(error) => return Some(error.to_string()),
    };
    if key_to_column(name_key(thing.id())) != stored_key {
        return Some("its stored key is not the key of its name".to_owned());
    }
    thing.check().err().map(|error| error.to_string())
}
