//! How large the network is, and which of its inputs belong to the user.

/// How the two networks stand to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structure {
    /// The hidden layers read what the cross layers give.
    #[default]
    Stacked,
    /// Both read the inputs, and the output reads both.
    Parallel,
}

/// The network's shape. A row is `columns` numbers and `fields` keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numeric inputs; NaN is missing.
    pub columns: usize,
    /// Categorical inputs; a key hashes the field's name and the value, 0 is missing.
    pub fields: usize,
    /// The first so many columns are the user's: the same for all candidates of a request.
    pub user_columns: usize,
    /// The first so many fields are the user's.
    pub user_fields: usize,
    /// Numbers of an embedding.
    pub embedding: usize,
    /// Rows that keys without a row of their own share by their hash; a power of two. Keys of all
    /// fields share them: a key knows its field.
    pub buckets: usize,
    /// Cross layers.
    pub cross_layers: usize,
    /// Rank of the cross layers' matrices; 0: full.
    pub rank: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Stacked or parallel.
    pub structure: Structure,
}

/// A shape that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network's {field} must be {range}")]
pub struct ShapeError {
    /// Its name.
    pub field: &'static str,
    /// What it may be.
    pub range: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            columns: 0,
            fields: 0,
            user_columns: 0,
            user_fields: 0,
            embedding: 16,
            buckets: 1 << 18,
            cross_layers: 3,
            rank: 64,
            hidden: vec![256, 256],
            structure: Structure::Stacked,
        }
    }
}

impl Shape {
    /// Numbers of x0.
    pub fn width(&self) -> usize {
        self.columns + self.fields * self.embedding
    }

    /// Numbers that the output layer reads.
    pub(super) fn output_width(&self) -> usize {
        let deep = self.hidden.last().copied();
        match self.structure {
            Structure::Stacked => deep.unwrap_or(self.width()),
            Structure::Parallel => self.width() + deep.unwrap_or(0),
        }
    }

    /// Whether every size is within its bounds, which also bound what bytes from outside can ask for.
    pub fn check(&self) -> Result<(), ShapeError> {
        let fits = |size: usize, most: usize| size <= most;
        let hidden = self.hidden.iter().all(|&width| (1..=8_192).contains(&width));
        let width = self.columns.saturating_add(self.fields.saturating_mul(self.embedding));
        let buckets = self.buckets.is_power_of_two() && fits(self.buckets, 1 << 28);
        let rules = [
            ("columns", fits(self.columns, 16_384), "at most 16,384"),
            ("fields", fits(self.fields, 4_096), "at most 4,096"),
            ("columns and fields", self.columns + self.fields > 0, "at least one together"),
            ("user_columns", fits(self.user_columns, self.columns), "at most the columns"),
            ("user_fields", fits(self.user_fields, self.fields), "at most the fields"),
            ("embedding", (1..=256).contains(&self.embedding), "1 to 256"),
            ("buckets", buckets, "a power of two of at most 2^28"),
            ("cross_layers", fits(self.cross_layers, 16), "at most 16"),
            ("rank", fits(self.rank, 8_192), "at most 8,192; 0 is full"),
            ("hidden", fits(self.hidden.len(), 16) && hidden, "at most 16 widths of 1 to 8,192"),
            (
                "inputs",
                fits(width, 32_768),
                "at most 32,768 numbers: fewer fields, or narrower ones",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, range)) => Err(ShapeError { field, range }),
            None => Ok(()),
        }
    }

    /// The rows in these slices.
    pub(super) fn rows(&self, numeric: &[f32], keys: &[u64]) -> Option<usize> {
        let by_keys = keys.len().checked_div(self.fields);
        let rows = by_keys.or(numeric.len().checked_div(self.columns))?;
        let is_whole = numeric.len() == rows * self.columns && keys.len() == rows * self.fields;
        is_whole.then_some(rows)
    }
}
