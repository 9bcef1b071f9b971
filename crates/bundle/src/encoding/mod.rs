//! How a row becomes what a kind of model takes: the same in training and in scoring, because both use this.
//!
//! - A linear model and factorisation machines take categories: each number falls into one of some
//!   [`Buckets`], and the bucket is a category of the column. So a curve that is no line is learned all
//!   the same, and "missing" is a bucket of its own. A network may have the numbers besides.
//! - Trees take numbers: each category becomes its rank by frequency, and how often it was clicked
//!   ([`Codes`]).
//! - A linear model knows no pair of categories by itself: each two may be one more category
//!   ([`Encoding::Pairs`]).
//!
//! A row has a user's half and a candidate's; the user's is encoded by itself, so what all candidates of a
//! request share is encoded once, and stays in front.

mod bytes;
mod codes;
mod pairs;

use reckon_event::name_key;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::manifest::{Column, Field};
use crate::{BundleError, Manifest};

pub use codes::{Code, Codes};

/// Keys of all fields together, at most: some 64 MB.
pub const KEYS_MAX: usize = 1 << 22;
/// Edges of a column's buckets, at most.
pub const EDGES_MAX: usize = 4_096;

/// How rows become a model's.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Encoding {
    /// As they are.
    #[default]
    Plain,
    /// Each column a category; no numbers are left.
    Buckets(Halves<Buckets>),
    /// Each column a number and a category.
    Both(Halves<Buckets>),
    /// Each field numbers; no categories are left.
    Codes(Halves<Codes>),
    /// Encoded so, and then each two of so many fields as one more, behind those of the half that has the later
    /// one of them.
    Pairs(Box<Encoding>, usize),
    /// Encoded so, and then fields that every row has alike, behind those of the candidate. What differed from row
    /// to row while learning, and is one thing when scoring: the place a row is shown at.
    Fixed(Box<Encoding>, Vec<Fixed>),
}

/// A field that every row has alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: u64,
}

/// Fields of which each two are one more, at most: they make 496.
pub const PAIRED_MAX: usize = 32;
/// Fixed fields, at most.
pub const FIXED_MAX: usize = 16;
/// Bytes of a fixed field's name, 1 to so many.
pub const NAME_BYTES_MAX: usize = 128;

/// The user's and the candidate's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Halves<T> {
    /// Of the user's columns or fields.
    pub user: Vec<T>,
    /// Of the candidate's.
    pub own: Vec<T>,
}

/// Half a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The user's.
    User,
    /// The candidate's.
    Own,
}

/// What an encoded column was made of: a place among the manifest's columns, or among its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This column.
    Column(usize),
    /// This field.
    Field(usize),
}

/// A column's buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// [`name_key`] of the column.
    name: u64,
    /// Where each bucket but the first begins, rising.
    edges: Vec<f32>,
}

impl Buckets {
    /// Buckets that begin at these edges, for the column of this name.
    ///
    /// # Panics
    /// Where the edges do not rise.
    pub fn new(name: &str, edges: Vec<f32>) -> Self {
        assert!(edges.is_sorted_by(|left, right| left < right), "edges rise");
        Buckets { name: name_key(name), edges }
    }

    /// The category of a number.
    pub fn key(&self, value: f32) -> u64 {
        let bucket = match value.is_nan() {
            true => u64::MAX,
            false => self.edges.partition_point(|edge| *edge <= value) as u64,
        };
        xxh3_64_with_seed(&bucket.to_le_bytes(), self.name).max(1)
    }
}

impl<T> Halves<T> {
    /// The first so many are the user's.
    pub fn cut(mut all: Vec<T>, users: usize) -> Self {
        let own = all.split_off(users);
        Halves { user: all, own }
    }

    /// All of them, the user's first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.user.iter().chain(&self.own)
    }

    fn of(&self, half: Half) -> &[T] {
        match half {
            Half::User => &self.user,
            Half::Own => &self.own,
        }
    }
}

impl Encoding {
    /// Whether rows stay as they are.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Encoding::Plain)
    }

    /// Appends half an encoded row: numbers and keys. A candidate's half has to know the user's keys, `before`.
    pub fn half(
        &self,
        half: Half,
        (numbers, before, keys): (&[f32], &[u64], &[u64]),
        numeric: &mut Vec<f32>,
        out: &mut Vec<u64>,
    ) {
        match self {
            Encoding::Plain => {
                numeric.extend_from_slice(numbers);
                out.extend_from_slice(keys);
            }
            Encoding::Buckets(columns) => {
                out.extend_from_slice(keys);
                out.extend(columns.of(half).iter().zip(numbers).map(|(it, &value)| it.key(value)));
            }
            Encoding::Both(columns) => {
                numeric.extend_from_slice(numbers);
                out.extend_from_slice(keys);
                out.extend(columns.of(half).iter().zip(numbers).map(|(it, &value)| it.key(value)));
            }
            Encoding::Codes(fields) => {
                numeric.extend_from_slice(numbers);
                for (field, &key) in fields.of(half).iter().zip(keys) {
                    field.push(key, numeric);
                }
            }
            Encoding::Pairs(inner, _) => {
                inner.half(half, (numbers, before, keys), numeric, out);
                pairs::push(before, keys, out);
            }
            Encoding::Fixed(inner, fixed) => {
                inner.half(half, (numbers, before, keys), numeric, out);
                if half == Half::Own {
                    out.extend(fixed.iter().map(|field| field.key));
                }
            }
        }
    }

    /// Appends a whole encoded row. The first so many numbers and keys are the user's.
    pub fn row(
        &self,
        (user_columns, user_fields): (usize, usize),
        (numbers, keys): (&[f32], &[u64]),
        numeric: &mut Vec<f32>,
        out: &mut Vec<u64>,
    ) {
        let (user_numbers, own_numbers) = numbers.split_at(user_columns);
        let (user_keys, own_keys) = keys.split_at(user_fields);
        self.half(Half::User, (user_numbers, &[], user_keys), numeric, out);
        self.half(Half::Own, (own_numbers, user_keys, own_keys), numeric, out);
    }

    /// Names of a half's encoded columns and fields, from those of the half, and from the user's fields where it
    /// is the candidate's.
    pub fn names(
        &self,
        half: Half,
        (columns, before, fields): (&[String], &[String], &[String]),
    ) -> (Vec<String>, Vec<String>) {
        match self {
            Encoding::Plain => (columns.to_vec(), fields.to_vec()),
            Encoding::Buckets(_) => (Vec::new(), [fields, columns].concat()),
            Encoding::Both(_) => (columns.to_vec(), [fields, columns].concat()),
            Encoding::Codes(codes) => {
                let named = codes.of(half).iter().zip(fields);
                let names = named.flat_map(|(codes, name)| codes.names(name));
                (columns.iter().cloned().chain(names).collect(), Vec::new())
            }
            Encoding::Pairs(inner, _) => {
                let (columns, mut names) = inner.names(half, (columns, before, fields));
                names.extend(pairs::names(before, fields));
                (columns, names)
            }
            Encoding::Fixed(inner, fixed) => {
                let (columns, mut fields) = inner.names(half, (columns, before, fields));
                if half == Half::Own {
                    fields.extend(fixed.iter().map(|field| field.name.clone()));
                }
                (columns, fields)
            }
        }
    }

    /// Which encoded columns of whole rows are categories, though they are numbers.
    pub fn categorical(&self, (user_columns, own_columns): (usize, usize)) -> Vec<usize> {
        let codes = match self {
            Encoding::Codes(codes) => codes,
            Encoding::Pairs(inner, _) | Encoding::Fixed(inner, _) => {
                return inner.categorical((user_columns, own_columns));
            }
            _ => return Vec::new(),
        };
        let mut places = Vec::new();
        let mut at = user_columns;
        for field in &codes.user {
            places.push(at);
            at += field.width();
        }
        at += own_columns;
        for field in &codes.own {
            places.push(at);
            at += field.width();
        }
        places
    }

    /// What each encoded column of whole rows was made of, where rows have so many columns of the user and
    /// of a candidate. Names do not say it: a column and a field may have one name.
    pub fn origins(&self, (user_columns, own_columns): (usize, usize)) -> Vec<Origin> {
        let columns = user_columns + own_columns;
        let codes = match self {
            Encoding::Plain | Encoding::Both(_) => {
                return (0..columns).map(Origin::Column).collect();
            }
            Encoding::Buckets(_) => return Vec::new(),
            Encoding::Pairs(inner, _) | Encoding::Fixed(inner, _) => {
                return inner.origins((user_columns, own_columns));
            }
            Encoding::Codes(codes) => codes,
        };
        let fields = codes.iter().enumerate();
        let mut fields = fields.map(|(at, codes)| vec![Origin::Field(at); codes.width()]);
        let mut origins: Vec<_> = (0..user_columns).map(Origin::Column).collect();
        origins.extend(fields.by_ref().take(codes.user.len()).flatten());
        origins.extend((user_columns..columns).map(Origin::Column));
        origins.extend(fields.flatten());
        origins
    }

    /// What a model behind it sees of a bundle's rows.
    pub(crate) fn manifest(&self, manifest: &Manifest) -> Manifest {
        if self.is_plain() {
            return manifest.clone();
        }
        let columns: Vec<_> = manifest.columns.iter().map(|column| column.name.clone()).collect();
        let fields: Vec<_> = manifest.fields.iter().map(|field| field.name.clone()).collect();
        let (user_columns, own_columns) = columns.split_at(manifest.user_columns);
        let (user_fields, own_fields) = fields.split_at(manifest.user_fields);
        let user = self.names(Half::User, (user_columns, &[], user_fields));
        let own = self.names(Half::Own, (own_columns, user_fields, own_fields));
        let defaults = |name: &String| {
            manifest.columns.iter().find(|column| column.name == *name).and_then(|it| it.default)
        };
        let column =
            |name: &String| Column { name: name.clone(), default: defaults(name), importance: 0.0 };
        let field = |name: &String| Field { name: name.clone(), importance: 0.0 };
        Manifest {
            columns: user.0.iter().chain(&own.0).map(column).collect(),
            user_columns: user.0.len(),
            fields: user.1.iter().chain(&own.1).map(field).collect(),
            user_fields: user.1.len(),
            ..manifest.clone()
        }
    }

    /// Whether it is of rows of these widths.
    pub(crate) fn check(&self, section: &str, manifest: &Manifest) -> Result<(), BundleError> {
        let columns = (manifest.user_columns, manifest.columns.len() - manifest.user_columns);
        let fields = (manifest.user_fields, manifest.fields.len() - manifest.user_fields);
        let (what, found, wanted) = match self {
            Encoding::Plain => return Ok(()),
            Encoding::Pairs(_, paired) if *paired != manifest.fields.len() => {
                let found = manifest.fields.len();
                let reason = format!("it pairs {paired} fields; the manifest has {found}");
                return Err(BundleError::section(section, reason));
            }
            Encoding::Pairs(inner, _) | Encoding::Fixed(inner, _) => {
                return inner.check(section, manifest);
            }
            Encoding::Buckets(it) | Encoding::Both(it) => {
                ("columns", (it.user.len(), it.own.len()), columns)
            }
            Encoding::Codes(it) => ("fields", (it.user.len(), it.own.len()), fields),
        };
        if found == wanted {
            return Ok(());
        }
        let reason = format!(
            "it encodes {} {what} of the user and {} of a candidate; the manifest has {} and {}",
            found.0, found.1, wanted.0, wanted.1
        );
        Err(BundleError::section(section, reason))
    }

    /// Appends it as a bundle keeps it. Nothing for plain ones.
    pub fn encode(&self, out: &mut Vec<u8>) {
        bytes::encode(self, out);
    }

    /// Back from its bytes, each length held against the bytes that are there.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        bytes::decode(bytes)
    }
}

/// Rows of one request, encoded; used again.
#[derive(Default)]
pub(crate) struct Encoded {
    user_numeric: Vec<f32>,
    user_keys: Vec<u64>,
    numeric: Vec<f32>,
    keys: Vec<u64>,
}

impl Encoded {
    /// Takes over the rows of a request, the user's half once.
    pub(crate) fn take(&mut self, encoding: &Encoding, rows: crate::Rows<'_>) {
        self.user_numeric.clear();
        self.user_keys.clear();
        self.numeric.clear();
        self.keys.clear();
        let users = rows.user_keys;
        let user = (rows.user_numeric, &[][..], users);
        encoding.half(Half::User, user, &mut self.user_numeric, &mut self.user_keys);
        let width = |length: usize| length.checked_div(rows.count).unwrap_or(0);
        let (columns, fields) = (width(rows.numeric.len()), width(rows.keys.len()));
        for row in 0..rows.count {
            let numbers = &rows.numeric[row * columns..][..columns];
            let keys = &rows.keys[row * fields..][..fields];
            let own = (numbers, users, keys);
            encoding.half(Half::Own, own, &mut self.numeric, &mut self.keys);
        }
    }

    pub(crate) fn rows(&self, count: usize) -> crate::Rows<'_> {
        crate::Rows {
            user_numeric: &self.user_numeric,
            user_keys: &self.user_keys,
            numeric: &self.numeric,
            keys: &self.keys,
            count,
        }
    }
}
