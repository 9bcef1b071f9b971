//! What leads to a person beside the pseudonym, and whose erasure replaces it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{UInt32Type, UInt64Type};
use serde::{Deserialize, Serialize};

use super::replace::{keyed, keyed_text};
use super::{ErasureRequest, PersonRows};
use crate::columns::hex;
use crate::part;

/// Installs and addresses of a person, as they stand in rows that nobody has erased. Whoever keeps
/// them keeps what leads back to the person: throw them away with the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// Installs of a tenant that the person used.
    pub installs: BTreeSet<(u32, String)>,
    /// Addresses, as the tags of the days on which the person used them.
    pub ip_tags: BTreeSet<u64>,
}

impl Traces {
    /// Takes over what another one knows.
    pub fn merge(&mut self, other: Traces) {
        self.installs.extend(other.installs);
        self.ip_tags.extend(other.ip_tags);
    }
}

/// Which request replaces what. Each value has one owner: the request that knew it first.
pub(super) struct Claimed<'a> {
    pub requests: &'a [ErasureRequest],
    persons: HashMap<String, usize>,
    surrogates: HashMap<String, usize>,
    installs: HashMap<(u32, String), usize>,
    ip_tags: HashMap<u64, usize>,
    /// Values that stand for a claimed one already: they are random, and stay.
    replaced_installs: HashSet<String>,
    replaced_tags: HashSet<u64>,
    found: BTreeMap<usize, Traces>,
    /// Rows that were gathered, by request.
    pub rows: Vec<PersonRows>,
}

impl<'a> Claimed<'a> {
    pub fn new(requests: &'a [ErasureRequest]) -> Self {
        let named = |name: fn(&ErasureRequest) -> reckon_event::Pseudonym| {
            requests.iter().enumerate().map(|(at, request)| (digits(name(request)), at)).collect()
        };
        let mut claimed = Claimed {
            requests,
            persons: named(|request| request.person),
            surrogates: named(|request| request.surrogate),
            installs: HashMap::new(),
            ip_tags: HashMap::new(),
            replaced_installs: HashSet::new(),
            replaced_tags: HashSet::new(),
            found: BTreeMap::new(),
            rows: vec![PersonRows::default(); requests.len()],
        };
        for (at, request) in requests.iter().enumerate() {
            for install in &request.known.installs {
                let replaced = keyed_text(&request.key, "install_id", &install.1);
                claimed.replaced_installs.insert(replaced);
                claimed.installs.entry(install.clone()).or_insert(at);
            }
            for &tag in &request.known.ip_tags {
                claimed.replaced_tags.insert(keyed(&request.key, "ip_tag", &tag.to_le_bytes()));
                claimed.ip_tags.entry(tag).or_insert(at);
            }
        }
        claimed
    }

    /// One of the requests looks at all files.
    pub fn looks_at_everything(&self) -> bool {
        self.requests.iter().any(|request| request.after_epoch == 0)
    }

    pub fn gather(&mut self, rows: &RecordBatch) {
        let pseudonyms = texts(rows, "pseudonym");
        let installs = texts(rows, "install_id");
        let tenants = part::column::<UInt32Type>(rows, "tenant");
        let tags = part::column::<UInt64Type>(rows, "ip_tag");
        for row in 0..rows.num_rows() {
            let Some(who) = text(pseudonyms, row) else { continue };
            if let Some(&at) = self.persons.get(who) {
                self.rows[at].found += 1;
                if let Some(install) = text(installs, row) {
                    self.claim_install(at, tenants.value(row), install);
                }
                if tags.is_valid(row) {
                    self.claim_tag(at, tags.value(row));
                }
            } else if let Some(&at) = self.surrogates.get(who) {
                self.rows[at].replaced_before += 1;
            }
        }
    }

    fn claim_install(&mut self, at: usize, tenant: u32, install: &str) {
        let key = (tenant, install.to_owned());
        if self.replaced_installs.contains(install) || self.installs.contains_key(&key) {
            return;
        }
        self.installs.insert(key.clone(), at);
        self.found.entry(at).or_default().installs.insert(key);
    }

    fn claim_tag(&mut self, at: usize, tag: u64) {
        if self.replaced_tags.contains(&tag) || self.ip_tags.contains_key(&tag) {
            return;
        }
        self.ip_tags.insert(tag, at);
        self.found.entry(at).or_default().ip_tags.insert(tag);
    }

    /// What was found that no request knew.
    pub fn take_found(&mut self) -> BTreeMap<usize, Traces> {
        std::mem::take(&mut self.found)
    }

    pub fn person(&self, who: Option<&str>) -> Option<usize> {
        self.persons.get(who?).copied()
    }

    pub fn install(&self, tenant: u32, install: Option<&str>) -> Option<usize> {
        self.installs.get(&(tenant, install?.to_owned())).copied()
    }

    pub fn ip_tag(&self, tag: Option<u64>) -> Option<usize> {
        self.ip_tags.get(&tag?).copied()
    }
}

/// A pseudonym as the lake writes it.
pub(super) fn digits(who: reckon_event::Pseudonym) -> String {
    String::from_utf8(hex(who).to_vec()).expect("digits are ASCII")
}

pub(super) fn texts<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringArray {
    rows.column_by_name(name).expect("the table has this column").as_string::<i32>()
}

pub(super) fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}
