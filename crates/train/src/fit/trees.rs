//! How trees are grown: the few of LightGBM's hundred parameters that matter for clicks, by what they do.

use crate::TrainError;

/// Leaves of a tree, at most: LightGBM's own bound.
const LEAVES_MAX: usize = 131_072;
/// Bins of a column, at most: two bytes a value.
const BINS_MAX: usize = 65_535;

/// How trees are grown. In brackets: what LightGBM calls it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeOptions {
    /// The share of a tree's answer that is added (`learning_rate`).
    pub rate: f64,
    /// Leaves of a tree, at most (`num_leaves`).
    pub leaves: usize,
    /// Rows of a leaf, at least (`min_data_in_leaf`).
    pub leaf_rows: usize,
    /// The share of the columns that a tree may ask, drawn for each tree (`feature_fraction`).
    pub column_share: f64,
    /// The share of the rows that a tree is grown from, drawn for each tree (`bagging_fraction`).
    pub row_share: f64,
    /// Pull of leaves to exactly 0 (`lambda_l1`).
    pub l1: f64,
    /// Pull of leaves towards 0 (`lambda_l2`).
    pub l2: f64,
    /// Bins of a column, at most (`max_bin`): up to 256 are one byte a value.
    pub bins: usize,
    /// Rows that a category must have before its mean is believed (`cat_smooth`).
    pub category_rows: f64,
    /// Pull of the leaves of a split into sets of categories towards 0 (`cat_l2`).
    pub category_l2: f64,
    /// A column with at most so many categories is split by one of them at a time, others into two sets
    /// (`max_cat_to_onehot`).
    pub lone_categories: usize,
    /// Threads; 0: as many as there are processors (`num_threads`).
    pub threads: usize,
    /// Rows lie together in a second copy of the bins, so that all columns are summed at once
    /// (`force_row_wise`): faster where columns are few and processors many, twice the memory, and sums
    /// whose last digit depends on the number of threads. Otherwise each column is summed by one
    /// thread (`force_col_wise`).
    pub is_row_wise: bool,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self::USUAL
    }
}

impl TreeOptions {
    /// The usual for clicks: many rows that say little each.
    pub const USUAL: TreeOptions = TreeOptions {
        rate: 0.05,
        leaves: 63,
        leaf_rows: 100,
        column_share: 1.0,
        row_share: 1.0,
        l1: 0.0,
        l2: 1.0,
        bins: 255,
        category_rows: 10.0,
        category_l2: 10.0,
        lone_categories: 4,
        threads: 0,
        is_row_wise: false,
    };

    /// Whether trees can be grown so.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |option, problem: &str| Err(TrainError::option(option, problem));
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        let is_pull = |pull: f64| pull >= 0.0 && pull.is_finite();
        if !is_share(self.rate) {
            return refuse("trees.rate", "above 0, and at most 1");
        }
        if !(2..=LEAVES_MAX).contains(&self.leaves) {
            return refuse("trees.leaves", "2 to 131,072");
        }
        if self.leaf_rows > i32::MAX as usize {
            return refuse("trees.leaf_rows", "at most 2,147,483,647");
        }
        if !is_share(self.column_share) {
            return refuse("trees.column_share", "above 0, and at most 1");
        }
        if !is_share(self.row_share) {
            return refuse("trees.row_share", "above 0, and at most 1");
        }
        if ![self.l1, self.l2, self.category_rows, self.category_l2].into_iter().all(is_pull) {
            return refuse("trees", "l1, l2, category_rows and category_l2 are at least 0");
        }
        if !(2..=BINS_MAX).contains(&self.bins) {
            return refuse("trees.bins", "2 to 65,535");
        }
        if !(1..=BINS_MAX).contains(&self.lone_categories) {
            return refuse("trees.lone_categories", "1 to 65,535");
        }
        if self.threads > 4_096 {
            return refuse("trees.threads", "at most 4,096; 0 takes all processors");
        }
        Ok(())
    }

    /// As LightGBM reads them.
    #[cfg(feature = "lightgbm")]
    pub(super) fn parameters(&self, seed: u64, categorical: &[usize]) -> String {
        let layout = if self.is_row_wise { "force_row_wise" } else { "force_col_wise" };
        let mut parameters = format!(
            "objective=binary metric=binary_logloss verbosity=-1 deterministic=true {layout}=true \
             learning_rate={} num_leaves={} min_data_in_leaf={} feature_fraction={} \
             bagging_fraction={} bagging_freq={} lambda_l1={} lambda_l2={} max_bin={} \
             cat_smooth={} cat_l2={} max_cat_to_onehot={} num_threads={} seed={}",
            self.rate,
            self.leaves,
            self.leaf_rows,
            self.column_share,
            self.row_share,
            u8::from(self.row_share < 1.0),
            self.l1,
            self.l2,
            self.bins,
            self.category_rows,
            self.category_l2,
            self.lone_categories,
            self.threads,
            // Its seeds are i32, and not below 0.
            (seed ^ (seed >> 32)) & 0x7fff_ffff,
        );
        if !categorical.is_empty() {
            let columns: Vec<_> = categorical.iter().map(usize::to_string).collect();
            parameters.push_str(&format!(" categorical_feature={}", columns.join(",")));
        }
        parameters
    }

    /// Whether anything is left to chance.
    #[cfg(feature = "lightgbm")]
    pub(super) fn is_drawn(&self) -> bool {
        self.column_share < 1.0 || self.row_share < 1.0
    }
}
