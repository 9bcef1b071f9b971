//! Ensembles of trees: LightGBM's text read whole, scored by kernels of our own.
//!
//! A [`Forest`] is immutable and shared; whoever scores brings a [`Scratch`]. Rows are f32, thresholds
//! f64: each is narrowed once to the greatest f32 that is not above it, so every row takes the branch
//! that it takes at the f64. Leaves are added in f64 in the order of the trees, so a margin is the very
//! number that LightGBM computes.
//!
//! [`Forest::score_plain`] walks each tree as one would on paper; the kernels ([`Forest::score`]) must
//! say the same, bit for bit.

mod dispatch;
mod kernel;
mod layout;
mod text;
mod tree;

#[cfg(test)]
mod tests;

pub use kernel::Scratch;
pub use tree::{COLUMNS_MAX, Child, Missing, Node, Split, Tree, ZERO};

use layout::Layout;

/// A model that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field of the model's head is missing, or says what cannot be.
    #[error(
        "{0} of the model is missing or out of its range; is this a whole text of LightGBM, saved by save_model?"
    )]
    Head(&'static str),
    /// A field of a tree is missing, or says what cannot be.
    #[error("tree {tree}: {field} is missing or out of its range; save the model again")]
    Tree {
        /// The tree, counted from 0.
        tree: usize,
        /// The field, as the text names it.
        field: &'static str,
    },
    /// The text ends before the line `end of trees`.
    #[error("the model ends before the line \"end of trees\": it was cut off; copy it again")]
    Truncated,
    /// A kind of model that is not scored here.
    #[error("{0}")]
    Unsupported(String),
}

/// What becomes of the sum of the leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    /// It stays (regression, ranking).
    Identity,
    /// `1 / (1 + exp(-steepness x))`.
    Sigmoid {
        /// `sigmoid` of LightGBM; 1 elsewhere.
        steepness: f64,
    },
    /// `exp(x)` (counts).
    Exponential,
    /// The square with the sign kept (`reg_sqrt`).
    SignedSquare,
}

/// What a forest is besides its trees.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// One name a column of the rows.
    pub column_names: Vec<String>,
    /// What becomes of the sum.
    pub transform: Transform,
    /// The mean of the trees rather than their sum (random forests).
    pub average: bool,
    /// What the sum begins with.
    pub base: f64,
    /// Whether values of at most [`ZERO`] are zero, as in LightGBM.
    pub tiny_is_zero: bool,
}

/// Trees that are scored together.
#[derive(Clone, Debug)]
pub struct Forest {
    options: Options,
    column_infos: Vec<String>,
    trees: Vec<Tree>,
    layout: Layout,
}

impl Forest {
    /// A forest from LightGBM's text (versions 3 and 4), as `save_model` writes it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        text::parse(text)
    }

    /// A forest of trees that came from elsewhere.
    pub fn from_trees(trees: Vec<Tree>, options: Options) -> Result<Self, Error> {
        let columns = options.column_names.len();
        if columns > COLUMNS_MAX {
            return Err(Error::Head("the number of columns"));
        }
        if !options.base.is_finite() {
            return Err(Error::Head("base"));
        }
        if let Transform::Sigmoid { steepness } = options.transform
            && !(steepness.is_finite() && steepness > 0.0)
        {
            return Err(Error::Head("sigmoid"));
        }
        for (index, tree) in trees.iter().enumerate() {
            tree.check(index, columns)?;
        }
        let layout = Layout::of(&trees);
        Ok(Forest { options, column_infos: Vec::new(), trees, layout })
    }

    /// How many columns a row has.
    pub fn columns(&self) -> usize {
        self.options.column_names.len()
    }

    /// The columns' names.
    pub fn column_names(&self) -> &[String] {
        &self.options.column_names
    }

    /// What LightGBM has noted of each column (`feature_infos`): `[least:greatest]`, the categories by
    /// colons, or `none`. Empty where the forest came from elsewhere.
    pub fn column_infos(&self) -> &[String] {
        &self.column_infos
    }

    /// The trees.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// What the forest is besides its trees.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Leaves of the largest tree.
    pub fn leaves_max(&self) -> usize {
        self.trees.iter().map(|tree| tree.leaves.len()).max().unwrap_or(0)
    }

    /// For each column, by how much all splits on it have lowered the loss.
    pub fn importance_gain(&self) -> Vec<f64> {
        self.importance(|node| node.gain.max(0.0))
    }

    /// For each column, how many splits with a gain are on it.
    pub fn importance_split(&self) -> Vec<f64> {
        self.importance(|node| if node.gain > 0.0 { 1.0 } else { 0.0 })
    }

    fn importance(&self, worth: impl Fn(&Node) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.columns()];
        for node in self.trees.iter().flat_map(|tree| &tree.nodes) {
            sums[node.column as usize] += worth(node);
        }
        sums
    }

    /// The prediction that follows from a margin: a probability for objectives of two classes, the
    /// regressed value for others, the margin itself for ranking.
    pub fn probability(&self, margin: f64) -> f64 {
        match self.options.transform {
            Transform::Identity => margin,
            Transform::Sigmoid { steepness } => 1.0 / (1.0 + (-steepness * margin).exp()),
            Transform::Exponential => margin.exp(),
            Transform::SignedSquare => margin * margin.abs(),
        }
    }

    /// Margins of `out.len()` rows, which lie one after the other: the walk through every tree, without
    /// any kernel.
    ///
    /// # Panics
    /// If `rows` has not [`Forest::columns`] values for each of `out`.
    pub fn score_plain(&self, rows: &[f32], out: &mut [f64]) {
        self.check_rows(rows, out);
        for (row, out) in out.iter_mut().enumerate() {
            let row = &rows[row * self.columns()..][..self.columns()];
            let sum = self
                .trees
                .iter()
                .fold(self.options.base, |sum, tree| sum + tree.leaves[self.leaf(tree, row)]);
            *out = self.settle(sum);
        }
    }

    /// The leaf that a row comes to.
    fn leaf(&self, tree: &Tree, row: &[f32]) -> usize {
        let mut at = if tree.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) };
        loop {
            match at {
                Child::Leaf(leaf) => return leaf as usize,
                Child::Node(node) => {
                    let node = &tree.nodes[node as usize];
                    let value = self.cleaned(row[node.column as usize]);
                    at = if goes_left(&node.split, value) { node.left } else { node.right };
                }
            }
        }
    }

    #[inline]
    fn cleaned(&self, value: f32) -> f32 {
        if self.options.tiny_is_zero && value.abs() <= ZERO { 0.0 } else { value }
    }

    /// What is said of a row whose leaves add up to this.
    #[inline]
    fn settle(&self, sum: f64) -> f64 {
        if self.options.average { sum / self.trees.len().max(1) as f64 } else { sum }
    }

    fn check_rows(&self, rows: &[f32], out: &[f64]) {
        assert_eq!(Some(rows.len()), out.len().checked_mul(self.columns()), "values of whole rows");
    }
}

/// The answer at the f64 threshold, not at the narrowed one: what the kernels are compared with shares
/// nothing with them.
fn goes_left(split: &Split, value: f32) -> bool {
    let compare = |missing: Missing, compare: &dyn Fn(f64) -> bool| match missing {
        Missing::None if value.is_nan() => compare(0.0),
        Missing::Zero { left } if value.is_nan() || value.abs() <= ZERO => left,
        Missing::Nan { left } if value.is_nan() => left,
        _ => compare(f64::from(value)),
    };
    match *split {
        Split::AtMost { threshold, missing } => compare(missing, &|value| value <= threshold),
        Split::Below { threshold, missing } => compare(missing, &|value| value < threshold),
        Split::In { ref words } => tree::contains(words, value),
    }
}
