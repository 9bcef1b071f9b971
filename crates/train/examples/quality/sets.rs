//! The logs, each a table cut by time once, and the same rows as plain files for peers.
//!
//! ```text
//! FOLDER/NAME/rows.table      the table, labels and all
//!             about.json      names of columns and fields, how many codes a field has, rows
//!             numeric.f32     row by row; NaN is missing
//!             codes.u32       row by row; 0 is missing, others count from 1 within each field
//!             labels.u8       1, 0, and 255 in the test: nobody learns what happened there
//!             weights.f32, lists.u32 (rows of one list follow each other)
//!             parts.u8        0 learned from, 1 for stopping, choosing and calibrating, 2 the test
//!             answers/        MODEL.SEED.validation and .test: log odds f32 in the rows' order
//! ```
//!
//! Numbers are little-endian.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use reckon_train::data::{Format, import};
use reckon_train::split::for_each_batch;
use reckon_train::{Order, Parts, Rows, Share, Silent, Table, TrainError};
use serde_json::json;

/// A log, and what has to be said of it.
pub struct Set {
    /// Its name, and that of its folder in RECKON_DATA.
    pub name: &'static str,
    format: Format,
    file: &'static str,
    /// What a list is.
    pub lists: &'static str,
    /// Whether models know where a row stood.
    pub position: &'static str,
}

/// All of them.
pub fn all() -> [Set; 4] {
    [
        Set {
            name: "criteo",
            format: Format::Criteo,
            file: "train.tsv",
            lists: "each row is a list of its own",
            position: "position is no column: the log has none",
        },
        Set {
            name: "mind",
            format: Format::Mind,
            file: "behaviors.tsv",
            lists: "a list is what one person was shown at once",
            position: "position is no column: the log has shuffled it",
        },
        Set {
            name: "trivago",
            format: Format::Trivago,
            file: "",
            lists: "a list is that of one clickout, of up to 25 hotels",
            position: "position is a column and a field, for all models alike: judged are the \
                       places at which rows were shown",
        },
        Set {
            name: "avazu",
            format: Format::Avazu,
            file: "train.csv",
            lists: "each row is a list of its own",
            position: "position is a field (banner_pos), for all models alike",
        },
    ]
}

/// Makes tables and files of all logs that are there, and says which are not.
pub fn split(folder: &Path) -> Result<(), TrainError> {
    let data = std::env::var_os("RECKON_DATA").map(PathBuf::from);
    for set in all() {
        let log = data.as_ref().and_then(|data| log(&data.join(set.name), set.file));
        let Some(log) = log else {
            eprintln!("left out: {}, which is not in RECKON_DATA", set.name);
            continue;
        };
        let began = Instant::now();
        let to = folder.join(set.name);
        fs::create_dir_all(to.join("answers")).map_err(file(&to))?;
        let table = import(&set.format, &log, &to.join("rows.table"), &mut Silent)?;
        let parts = Parts::usual(&table)?;
        Export::new(&table, &parts).write(&to)?;
        eprintln!("{}: {} rows, {:.1?}", set.name, table.len(), began.elapsed());
    }
    Ok(())
}

/// The log in its folder; without a name the only Parquet file there.
fn log(folder: &Path, name: &str) -> Option<PathBuf> {
    if !name.is_empty() {
        return Some(folder.join(name)).filter(|path| path.is_file());
    }
    let mut files: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|one| one.path()).collect();
    files.sort();
    files.into_iter().find(|path| path.to_string_lossy().contains(".parquet"))
}

/// A set as it was split: its table, its parts, its folder.
pub struct Made {
    /// The log.
    pub set: Set,
    /// Where everything of it lies.
    pub folder: PathBuf,
    /// Its rows.
    pub table: Table,
    /// Learned from, for stopping and calibrating, the test.
    pub parts: Parts,
}

/// The sets that were split.
pub fn made(folder: &Path) -> Result<Vec<Made>, TrainError> {
    let mut made = Vec::new();
    for set in all() {
        let folder = folder.join(set.name);
        let path = folder.join("rows.table");
        if path.is_file() {
            let table = Table::open(&path)?;
            let parts = Parts::usual(&table)?;
            made.push(Made { set, folder, table, parts });
        }
    }
    if made.is_empty() {
        let problem = "no log was split: set RECKON_DATA to a folder with criteo, mind, trivago or \
                       avazu, and run split first";
        return Err(TrainError::Data(problem.to_owned()));
    }
    Ok(made)
}

/// Where a model's answers for a seed lie.
pub fn answers(folder: &Path, model: &str, seed: u64, part: &str) -> PathBuf {
    folder.join("answers").join(format!("{model}.{seed}.{part}"))
}

/// Writes log odds.
pub fn write_answers(path: &Path, logits: &[f32]) -> Result<(), TrainError> {
    let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    fs::write(path, bytes).map_err(file(path))
}

/// Reads so many log odds; nothing where there is no such file.
pub fn read_answers(path: &Path, rows: usize) -> Result<Option<Vec<f32>>, TrainError> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(file(path))?;
    let logits: Vec<_> = bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
    let broken = logits.iter().filter(|logit| !logit.is_finite()).count();
    if bytes.len() != rows * 4 || broken > 0 {
        let problem = format!(
            "{} bytes for {rows} rows of 4, {broken} of them no numbers: remove it, and let its model \
             answer again",
            bytes.len()
        );
        return Err(TrainError::Content { path: path.to_owned(), problem });
    }
    Ok(Some(logits))
}

/// An error of a file that names it.
pub fn file(path: &Path) -> impl Fn(std::io::Error) -> TrainError + use<> {
    let path = path.to_owned();
    move |source| TrainError::File { path: path.clone(), source }
}

/// The rows as peers get them.
struct Export<'a> {
    table: &'a Table,
    parts: &'a Parts,
    /// By field, codes by key.
    codes: Vec<HashMap<u64, u32>>,
    lists: u32,
    last: Option<u64>,
}

/// Bytes of the files, by name.
#[derive(Default)]
struct Columns {
    numeric: Vec<u8>,
    codes: Vec<u8>,
    labels: Vec<u8>,
    weights: Vec<u8>,
    lists: Vec<u8>,
    parts: Vec<u8>,
}

impl<'a> Export<'a> {
    fn new(table: &'a Table, parts: &'a Parts) -> Self {
        let codes = vec![HashMap::new(); table.schema().fields.len()];
        Export { table, parts, codes, lists: 0, last: None }
    }

    fn write(mut self, folder: &Path) -> Result<(), TrainError> {
        let mut columns = Columns::default();
        let whole = Share::all(0..self.table.len());
        let mut number = 0;
        for_each_batch(self.table, &whole, Order::Logged, |batch| {
            self.batch(batch, &mut number, &mut columns);
            Ok(())
        })?;
        let Columns { numeric, codes, labels, weights, lists, parts } = &columns;
        let files = [
            ("numeric.f32", numeric),
            ("codes.u32", codes),
            ("labels.u8", labels),
            ("weights.f32", weights),
            ("lists.u32", lists),
            ("parts.u8", parts),
        ];
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(file(&path))?;
        }
        let schema = self.table.schema();
        let about = json!({
            "rows": self.table.len(),
            "columns": schema.numeric,
            "fields": schema.fields,
            "codes": self.codes.iter().map(|codes| codes.len() + 1).collect::<Vec<_>>(),
        });
        let path = folder.join("about.json");
        let mut out = BufWriter::new(File::create(&path).map_err(file(&path))?);
        writeln!(out, "{about}").map_err(file(&path))
    }

    fn batch(&mut self, batch: &Rows, number: &mut u64, columns: &mut Columns) {
        for row in batch.iter() {
            let part = match *number {
                number if number < self.parts.train.end => 0,
                number if number < self.parts.validation.end => 1,
                _ => 2,
            };
            *number += 1;
            if self.last.replace(row.group).is_some_and(|last| last != row.group) {
                self.lists += 1;
            }
            row.numeric.iter().for_each(|value| columns.numeric.extend(value.to_le_bytes()));
            for (codes, &key) in self.codes.iter_mut().zip(row.keys) {
                let next = codes.len() as u32 + 1;
                let code = if key == 0 { 0 } else { *codes.entry(key).or_insert(next) };
                columns.codes.extend(code.to_le_bytes());
            }
            columns.labels.push(if part == 2 { 255 } else { u8::from(row.label) });
            columns.weights.extend(row.weight.to_le_bytes());
            columns.lists.extend(self.lists.to_le_bytes());
            columns.parts.push(part);
        }
    }
}
