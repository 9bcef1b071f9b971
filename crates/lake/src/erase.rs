//! Takes a person out of the lake while every figure stays.
//!
//! Rows, verdicts, ads, prices and times stay: they are what was counted and billed. Whatever leads
//! back to the person is replaced, by values that are random to everyone, since the secret they are
//! made with is thrown away. The replacement is the same in all files, so copies of one id are still
//! copies of one id, and a recount comes to the same verdicts.
//!
//! | column | in whose rows | becomes |
//! |---|---|---|
//! | `pseudonym` | the person's | the surrogate |
//! | `event_id`, `request_id` | the person's | keyed hash |
//! | `ip`, `payload` of a served row | the person's | NULL |
//! | `install_id`, `session_id` | all of an install the person used | keyed hash |
//! | `ip_tag` | all of an address the person used that day | keyed hash |
//!
//! The last two are replaced in other rows too. Rules compare clicks of one address, and copies of one
//! install's event may come with and without a user: with only some of them replaced, a recount would
//! come to other verdicts than those that were billed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{UInt8Type, UInt64Type};
use arrow::row::{RowConverter, SortField};
use reckon_event::{Kind, Pseudonym};
use xxhash_rust::xxh3::Xxh3Default;

use crate::columns::hex;
use crate::keeper::Keeper;
use crate::manifest::Table;
use crate::part::{self, Encoder};
use crate::{LakeError, LakeFile};

/// Whom to erase, and what with. Both secrets are drawn anew for each erasure and kept nowhere.
#[derive(Clone)]
pub struct ErasureRequest {
    /// The person, as the lake knows them.
    pub person: Pseudonym,
    /// A random pseudonym that nobody has.
    pub surrogate: Pseudonym,
    /// A random key for what is replaced by a keyed hash.
    pub key: [u8; 32],
}

/// What was done to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedFile {
    /// The file that is gone.
    pub before: String,
    /// The file that stands for it.
    pub after: String,
    /// Rows of both.
    pub rows: u64,
    /// Rows in which something was replaced.
    pub rows_changed: u64,
    /// XXH3 over everything that was not replaced, in both.
    pub kept_checksum: String,
}

/// The proof of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many files were looked at.
    pub files_read: usize,
    /// Rows of the person.
    pub person_rows: u64,
    /// The files that were rewritten. The old ones are removed.
    pub files: Vec<ErasedFile>,
    /// The state of the lake since which the person is gone.
    pub number: u64,
}

/// What leads to the person beside the pseudonym.
#[derive(Default)]
struct Traces {
    rows: u64,
    installs: BTreeSet<(u32, String)>,
    ip_tags: HashSet<u64>,
}

/// A file rewritten, not yet put.
struct Rewritten {
    file: LakeFile,
    bytes: bytes::Bytes,
    rows_changed: u64,
    kept_checksum: String,
}

impl Keeper {
    /// Erases a person from every file of the lake. What is not committed yet is committed first;
    /// events of the person that come later need another erasure.
    pub fn erase(&mut self, request: &ErasureRequest) -> Result<Erased, LakeError> {
        self.commit()?;
        let files: Vec<LakeFile> =
            self.manifest.files.iter().filter(|f| f.table == Table::Records).cloned().collect();
        let mut erased = Erased { files_read: files.len(), ..Erased::default() };
        let mut traces = Traces::default();
        for file in &files {
            self.each_batch(file, |rows| traces.gather(rows, &person_of(request)))?;
        }
        erased.person_rows = traces.rows;
        let mut fresh = Vec::new();
        for file in &files {
            match self.rewrite_file(file, &traces, request) {
                Ok(None) => {}
                Ok(Some((done, written))) => {
                    erased.files.push(done);
                    fresh.push(written);
                }
                Err(error) => {
                    self.give_up(fresh);
                    return Err(error);
                }
            }
        }
        let gone: HashSet<String> = erased.files.iter().map(|file| file.before.clone()).collect();
        if !gone.is_empty() {
            self.replace(&gone, &fresh)?;
            self.remove_now(&gone)?;
        }
        erased.number = self.manifest.number;
        Ok(erased)
    }

    fn each_batch(
        &self,
        file: &LakeFile,
        mut look: impl FnMut(&RecordBatch),
    ) -> Result<(), LakeError> {
        for rows in part::decode(&file.path, self.checked(file)?)? {
            look(&rows?);
        }
        Ok(())
    }

    fn rewrite_file(
        &mut self,
        file: &LakeFile,
        traces: &Traces,
        request: &ErasureRequest,
    ) -> Result<Option<(ErasedFile, LakeFile)>, LakeError> {
        let Some(rewritten) = self.rewrite(file, traces, request)? else { return Ok(None) };
        let written = self.put_file(rewritten.file, rewritten.bytes)?;
        let done = ErasedFile {
            before: file.path.clone(),
            after: written.path.clone(),
            rows: file.rows,
            rows_changed: rewritten.rows_changed,
            kept_checksum: rewritten.kept_checksum,
        };
        Ok(Some((done, written)))
    }

    fn rewrite(
        &self,
        file: &LakeFile,
        traces: &Traces,
        request: &ErasureRequest,
    ) -> Result<Option<Rewritten>, LakeError> {
        let mut encoder: Option<Encoder> = None;
        let (mut kept_before, mut kept_after) = (Xxh3Default::new(), Xxh3Default::new());
        let mut rows_changed = 0;
        for rows in part::decode(&file.path, self.checked(file)?)? {
            let rows = rows?;
            let marks = Marks::of(&rows, traces, &person_of(request));
            let replaced = marks.replace(&rows, request)?;
            hash_kept(&mut kept_before, &marks.blank(&rows)?)?;
            hash_kept(&mut kept_after, &marks.blank(&replaced)?)?;
            rows_changed += marks.changed() as u64;
            let encoder = match &mut encoder {
                Some(encoder) => encoder,
                none => none.insert(Encoder::new(file.table, &replaced)?),
            };
            encoder.write(&replaced)?;
        }
        let Some(encoder) = encoder.filter(|_| rows_changed > 0) else { return Ok(None) };
        let (written, bytes) = encoder.finish(file.tenant, file.hour)?;
        let (before, after) = (kept_before.digest(), kept_after.digest());
        assert!(written.rows == file.rows && before == after, "only the person's values change");
        let kept_checksum = format!("{after:016x}");
        Ok(Some(Rewritten { file: written, bytes, rows_changed, kept_checksum }))
    }
}

fn person_of(request: &ErasureRequest) -> String {
    String::from_utf8(hex(request.person).to_vec()).expect("digits are ASCII")
}

fn texts<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringArray {
    rows.column_by_name(name).expect("the table has this column").as_string::<i32>()
}

fn text<'a>(column: &'a StringArray, row: usize) -> Option<&'a str> {
    column.is_valid(row).then(|| column.value(row))
}

impl Traces {
    fn gather(&mut self, rows: &RecordBatch, person: &str) {
        let pseudonyms = texts(rows, "pseudonym");
        let installs = texts(rows, "install_id");
        let tenants = part::column::<arrow::datatypes::UInt32Type>(rows, "tenant");
        let tags = part::column::<UInt64Type>(rows, "ip_tag");
        for row in (0..rows.num_rows()).filter(|&row| text(pseudonyms, row) == Some(person)) {
            self.rows += 1;
            if let Some(install) = text(installs, row) {
                self.installs.insert((tenants.value(row), install.to_owned()));
            }
            if tags.is_valid(row) {
                self.ip_tags.insert(tags.value(row));
            }
        }
    }
}

/// What is replaced in which rows of a batch.
struct Marks {
    person: Vec<bool>,
    install: Vec<bool>,
    address: Vec<bool>,
    served: Vec<bool>,
}

impl Marks {
    fn of(rows: &RecordBatch, traces: &Traces, person: &str) -> Self {
        let pseudonyms = texts(rows, "pseudonym");
        let installs = texts(rows, "install_id");
        let tenants = part::column::<arrow::datatypes::UInt32Type>(rows, "tenant");
        let tags = part::column::<UInt64Type>(rows, "ip_tag");
        let kinds = part::column::<UInt8Type>(rows, "kind");
        let is_person = |row: usize| text(pseudonyms, row) == Some(person);
        let is_install = |row: usize| {
            let used = text(installs, row);
            used.is_some_and(|id| traces.installs.contains(&(tenants.value(row), id.to_owned())))
        };
        let all = 0..rows.num_rows();
        Marks {
            person: all.clone().map(is_person).collect(),
            install: all.clone().map(|row| is_person(row) || is_install(row)).collect(),
            address: all
                .clone()
                .map(|row| tags.is_valid(row) && traces.ip_tags.contains(&tags.value(row)))
                .collect(),
            served: all
                .map(|row| is_person(row) && kinds.value(row) == Kind::Prediction.code())
                .collect(),
        }
    }

    fn changed(&self) -> usize {
        let any = |row: &usize| self.person[*row] || self.install[*row] || self.address[*row];
        (0..self.person.len()).filter(any).count()
    }

    fn replace(
        &self,
        rows: &RecordBatch,
        request: &ErasureRequest,
    ) -> Result<RecordBatch, LakeError> {
        let surrogate = hex(request.surrogate);
        let surrogate = std::str::from_utf8(&surrogate).expect("digits are ASCII");
        let hashed = |name: &str, text: &str| keyed_text(&request.key, name, text);
        self.change(
            rows,
            &mut |name, old| match name {
                "pseudonym" => Some(surrogate.to_owned()),
                "ip" => None,
                name => old.map(|old| hashed(name, old)),
            },
            |tag| Some(keyed(&request.key, "ip_tag", &tag.to_le_bytes())),
        )
    }

    /// The same rows with everything that is replaced left out.
    fn blank(&self, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
        self.change(rows, &mut |_, _| None, |_| None)
    }

    fn change(
        &self,
        rows: &RecordBatch,
        to: &mut dyn FnMut(&str, Option<&str>) -> Option<String>,
        tag_to: impl Fn(u64) -> Option<u64>,
    ) -> Result<RecordBatch, LakeError> {
        let schema = rows.schema();
        let mut columns = rows.columns().to_vec();
        let mut put = |name: &str, column: ArrayRef| -> Result<(), LakeError> {
            columns[schema.index_of(name)?] = column;
            Ok(())
        };
        for (name, marks) in [
            ("pseudonym", &self.person),
            ("event_id", &self.person),
            ("request_id", &self.person),
            ("ip", &self.person),
            ("install_id", &self.install),
            ("session_id", &self.install),
        ] {
            let old = texts(rows, name);
            let fresh: StringArray = (0..rows.num_rows())
                .map(|row| match text(old, row) {
                    old if marks[row] => to(name, old),
                    old => old.map(str::to_owned),
                })
                .collect();
            put(name, Arc::new(fresh))?;
        }
        let tags = part::column::<UInt64Type>(rows, "ip_tag");
        let fresh: UInt64Array = tags
            .iter()
            .zip(&self.address)
            .map(|(tag, &marked)| if marked { tag.and_then(&tag_to) } else { tag })
            .collect();
        put("ip_tag", Arc::new(fresh))?;
        let payloads = rows.column_by_name("payload").expect("the table has it").as_binary::<i32>();
        let fresh: BinaryArray = payloads
            .iter()
            .zip(&self.served)
            .map(|(payload, &marked)| payload.filter(|_| !marked))
            .collect();
        put("payload", Arc::new(fresh))?;
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}

fn keyed(key: &[u8; 32], name: &str, value: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(name.as_bytes()).update(&[0]).update(value);
    let head = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(head).max(1)
}

fn keyed_text(key: &[u8; 32], name: &str, text: &str) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(name.as_bytes()).update(&[0]).update(text.as_bytes());
    let head: [u8; 16] = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    format!("{:032x}", u128::from_le_bytes(head))
}

fn hash_kept(hasher: &mut Xxh3Default, rows: &RecordBatch) -> Result<(), LakeError> {
    let types = rows.schema_ref().fields().iter().map(|f| SortField::new(f.data_type().clone()));
    let converter = RowConverter::new(types.collect())?;
    for row in &converter.convert_columns(rows.columns())? {
        hasher.update(row.data());
    }
    Ok(())
}
