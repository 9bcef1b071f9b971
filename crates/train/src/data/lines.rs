//! Lines of delimited text, with errors that name file, line and column.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use flate2::read::MultiGzDecoder;

use crate::TrainError;

/// How lines are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Commas, quotes, a first line with names.
    Csv,
    /// Tabs, and nothing is quoted; names are given.
    Tabs,
}

/// A file's lines, one at a time; compressed by gzip where its name ends in `.gz`.
pub(super) struct Lines {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read>>,
    record: StringRecord,
    names: Vec<String>,
    line: u64,
}

impl Lines {
    /// Opens a file; `names` are those of its columns where it does not tell them itself.
    pub fn open(path: &Path, dialect: Dialect, names: &[&str]) -> Result<Self, TrainError> {
        let file =
            BufReader::with_capacity(1 << 20, File::open(path).map_err(TrainError::file(path))?);
        let bytes: Box<dyn Read> = match path.extension().is_some_and(|end| end == "gz") {
            true => Box::new(MultiGzDecoder::new(file)),
            false => Box::new(file),
        };
        let mut builder = ReaderBuilder::new();
        match dialect {
            Dialect::Csv => builder.has_headers(true),
            Dialect::Tabs => builder.has_headers(false).delimiter(b'\t').quoting(false),
        };
        let mut lines = Lines {
            path: path.to_owned(),
            reader: builder.flexible(true).from_reader(bytes),
            record: StringRecord::new(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            line: 0,
        };
        if dialect == Dialect::Csv {
            let header = lines.reader.headers().map_err(|error| lines_error(path, error))?;
            lines.names = header.iter().map(str::to_owned).collect();
        }
        Ok(lines)
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of a column that has to be there.
    pub fn column(&self, name: &str) -> Result<usize, TrainError> {
        self.names.iter().position(|column| column == name).ok_or_else(|| {
            let names = self.names.join(", ");
            TrainError::content(&self.path, format!("no column {name:?}; there are {names}"))
        })
    }

    /// Goes to the next line; false where there is none.
    pub fn advance(&mut self) -> Result<bool, TrainError> {
        let more = self.reader.read_record(&mut self.record);
        if !more.map_err(|error| lines_error(&self.path, error))? {
            return Ok(false);
        }
        self.line = self.record.position().map_or(0, csv::Position::line);
        let (seen, expected) = (self.record.len(), self.names.len());
        match self.names.get(seen) {
            Some(missing) if seen < expected => {
                let problem = format!("is missing: the line has {seen} columns of {expected}");
                Err(self.line_error(missing, problem))
            }
            _ if seen > expected => {
                Err(self.line_error("behind the last", format!("{seen} columns, not {expected}")))
            }
            _ => Ok(true),
        }
    }

    /// A column's text.
    pub fn text(&self, column: usize) -> &str {
        &self.record[column]
    }

    /// A column's number; NaN where it is empty.
    pub fn number(&self, column: usize) -> Result<f32, TrainError> {
        match self.text(column) {
            "" => Ok(f32::NAN),
            text => text.parse().map_err(|_| self.error(column, "a number or nothing")),
        }
    }

    /// A column's whole number.
    pub fn whole<T: std::str::FromStr>(&self, column: usize) -> Result<T, TrainError> {
        self.text(column).parse().map_err(|_| self.error(column, "a whole number within bounds"))
    }

    /// A column's label.
    pub fn label(&self, column: usize) -> Result<bool, TrainError> {
        match self.text(column) {
            "0" | "0.0" | "false" | "False" => Ok(false),
            "1" | "1.0" | "true" | "True" => Ok(true),
            _ => Err(self.error(column, "0 or 1")),
        }
    }

    /// This column is not what was expected.
    pub fn error(&self, column: usize, expected: &str) -> TrainError {
        let text: String = self.text(column).chars().take(40).collect();
        self.line_error(&self.names[column], format!("{text:?} is not {expected}"))
    }

    fn line_error(&self, column: &str, problem: String) -> TrainError {
        TrainError::Line {
            path: self.path.clone(),
            line: self.line,
            column: column.to_owned(),
            problem,
        }
    }
}

fn lines_error(path: &Path, error: csv::Error) -> TrainError {
    let line = error.position().map_or(0, csv::Position::line);
    let problem = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(source) => TrainError::file(path)(source),
        ErrorKind::Utf8 { err, .. } => TrainError::Line {
            path: path.to_owned(),
            line,
            column: (err.field() + 1).to_string(),
            problem: "not UTF-8 text".to_owned(),
        },
        _ => TrainError::content(path, problem),
    }
}
