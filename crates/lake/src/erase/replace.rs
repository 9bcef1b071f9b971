//! Replaces what leads to a person in a batch of rows, and blanks it for the checksum of the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{UInt8Type, UInt32Type, UInt64Type};
use reckon_event::Kind;

use super::traces::{Claimed, digits, text, texts};
use super::{Changed, ErasureRequest};
use crate::LakeError;
use crate::part;

/// Who owns what is replaced: for each row the place of a request, or none.
type Owners = Vec<Option<usize>>;

/// What a text of a row and column becomes.
type ToText<'a> = dyn Fn(usize, &str, Option<&str>) -> Option<String> + 'a;
/// What the address tag of a row becomes.
type ToTag<'a> = dyn Fn(usize, u64) -> Option<u64> + 'a;

/// What is replaced in which rows of a batch.
pub(super) struct Marks {
    person: Owners,
    install: Owners,
    session: Owners,
    address: Owners,
    served: Vec<bool>,
}

impl Marks {
    pub fn of(rows: &RecordBatch, claimed: &Claimed<'_>) -> Self {
        let (pseudonyms, installs) = (texts(rows, "pseudonym"), texts(rows, "install_id"));
        let tenants = part::column::<UInt32Type>(rows, "tenant");
        let tags = part::column::<UInt64Type>(rows, "ip_tag");
        let kinds = part::column::<UInt8Type>(rows, "kind");
        let all = 0..rows.num_rows();
        let person: Owners = all.clone().map(|row| claimed.person(text(pseudonyms, row))).collect();
        let install: Owners = all
            .clone()
            .map(|row| claimed.install(tenants.value(row), text(installs, row)))
            .collect();
        // A session belongs to its install; one without is the person's own.
        let alone = |row: usize| person[row].filter(|_| installs.is_null(row));
        let session = all.clone().map(|row| install[row].or_else(|| alone(row))).collect();
        let tag = |row: usize| tags.is_valid(row).then(|| tags.value(row));
        let address = all.clone().map(|row| claimed.ip_tag(tag(row))).collect();
        let is_served =
            |row: usize| person[row].is_some() && kinds.value(row) == Kind::Prediction.code();
        let served = all.map(is_served).collect();
        Marks { person, install, session, address, served }
    }

    pub fn count(&self, changed: &mut Changed) {
        for row in 0..self.person.len() {
            let owners =
                [self.person[row], self.install[row], self.session[row], self.address[row]];
            let owners: BTreeSet<usize> = owners.into_iter().flatten().collect();
            changed.rows += u64::from(!owners.is_empty());
            for owner in owners {
                *changed.by_request.entry(owner).or_default() += 1;
            }
        }
    }

    pub fn replace(
        &self,
        rows: &RecordBatch,
        requests: &[ErasureRequest],
    ) -> Result<RecordBatch, LakeError> {
        let to_text = |owner: usize, name: &str, old: Option<&str>| match name {
            "pseudonym" => Some(digits(requests[owner].surrogate)),
            "ip" => None,
            name => old.map(|old| keyed_text(&requests[owner].key, name, old)),
        };
        let to_tag = |owner: usize, tag: u64| {
            Some(keyed(&requests[owner].key, "ip_tag", &tag.to_le_bytes()))
        };
        self.change(rows, &to_text, &to_tag)
    }

    /// The same rows with everything that is replaced left out.
    pub fn blank(&self, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
        self.change(rows, &|_, _, _| None, &|_, _| None)
    }

    fn change(
        &self,
        rows: &RecordBatch,
        to_text: &ToText<'_>,
        to_tag: &ToTag<'_>,
    ) -> Result<RecordBatch, LakeError> {
        let schema = rows.schema();
        let mut columns = rows.columns().to_vec();
        let mut put = |name: &str, column: ArrayRef| -> Result<(), LakeError> {
            columns[schema.index_of(name)?] = column;
            Ok(())
        };
        for (name, owners) in [
            ("pseudonym", &self.person),
            ("event_id", &self.person),
            ("request_id", &self.person),
            ("ip", &self.person),
            ("install_id", &self.install),
            ("session_id", &self.session),
        ] {
            let old = texts(rows, name);
            let fresh = owners.iter().enumerate().map(|(row, owner)| match owner {
                Some(owner) => to_text(*owner, name, text(old, row)),
                None => text(old, row).map(str::to_owned),
            });
            put(name, Arc::new(fresh.collect::<StringArray>()))?;
        }
        let tags = part::column::<UInt64Type>(rows, "ip_tag").iter().zip(&self.address);
        let fresh = tags.map(|(tag, owner)| match (tag, owner) {
            (Some(tag), Some(owner)) => to_tag(*owner, tag),
            (tag, _) => tag,
        });
        put("ip_tag", Arc::new(fresh.collect::<UInt64Array>()))?;
        let payloads = rows.column_by_name("payload").expect("the table has it").as_binary::<i32>();
        let fresh = payloads.iter().zip(&self.served);
        let fresh = fresh.map(|(payload, &served)| payload.filter(|_| !served));
        put("payload", Arc::new(fresh.collect::<BinaryArray>()))?;
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}

pub(super) fn keyed(key: &[u8; 32], name: &str, value: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(name.as_bytes()).update(&[0]).update(value);
    let head = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(head).max(1)
}

pub(super) fn keyed_text(key: &[u8; 32], name: &str, text: &str) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(name.as_bytes()).update(&[0]).update(text.as_bytes());
    let head: [u8; 16] = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    format!("{:032x}", u128::from_le_bytes(head))
}
