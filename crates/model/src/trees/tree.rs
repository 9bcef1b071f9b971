//! One tree as anybody may build it: nodes, leaves, and the proof that it is a tree.
//!
//! LightGBM's text, ONNX and XGBoost all become this. Whoever scores relies on what [`Tree::check`]
//! found: every node and every leaf is reached once from node 0, every column exists, no number is NaN.

use super::Error;

/// At most so many columns: more is a damaged file, not a model.
pub const COLUMNS_MAX: usize = 1 << 20;

/// Whose absolute value is at most this is zero to LightGBM.
pub const ZERO: f32 = 1e-35;

/// A tree. Node 0 is the root; a tree without nodes has one leaf, and is a constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Where it branches.
    pub nodes: Vec<Node>,
    /// What it says, in log odds or whatever the forest adds up.
    pub leaves: Vec<f64>,
}

/// A question on one column, and where both answers lead.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The column of the row that is asked.
    pub column: u32,
    /// The question.
    pub split: Split,
    /// Where "yes" leads.
    pub left: Child,
    /// Where "no" leads.
    pub right: Child,
    /// By how much the split has lowered the loss in training; 0 where that is not known.
    pub gain: f64,
}

/// Where an answer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// On to this node.
    Node(u32),
    /// This leaf is the tree's answer.
    Leaf(u32),
}

/// A question that is answered with yes (left) or no (right).
#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    /// At most the threshold.
    AtMost {
        /// The threshold; compared as if the row's f32 were made an f64.
        threshold: f64,
        /// Which values are missing, and where they go.
        missing: Missing,
    },
    /// Less than the threshold, as XGBoost and ONNX compare.
    Below {
        /// The threshold.
        threshold: f64,
        /// Which values are missing, and where they go.
        missing: Missing,
    },
    /// The value, its fraction cut off, is a number of this set. NaN, what is at most -1, and what is
    /// 2^31 or more are in no set.
    In {
        /// Bit `n % 32` of word `n / 32` is 1 if the category `n` is in the set.
        words: Vec<u32>,
    },
}

/// Which values are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// None: NaN is taken as zero.
    None,
    /// Zero and NaN, which go left if this says so.
    Zero {
        /// Left, or right.
        left: bool,
    },
    /// NaN, which goes left if this says so.
    Nan {
        /// Left, or right.
        left: bool,
    },
}

impl Split {
    /// The greatest f32 that still goes left: every f32 takes the branch that it takes at the f64.
    /// NaN if none does.
    pub(super) fn narrowed(&self) -> f32 {
        match *self {
            Split::AtMost { threshold, .. } => floor(threshold),
            Split::Below { threshold, .. } => below(threshold),
            Split::In { .. } => f32::NAN,
        }
    }

    /// A threshold that is NaN divides nothing.
    fn is_sound(&self) -> bool {
        match *self {
            Split::AtMost { threshold, .. } | Split::Below { threshold, .. } => !threshold.is_nan(),
            Split::In { .. } => true,
        }
    }
}

/// The greatest f32 that is at most `number`.
pub(super) fn floor(number: f64) -> f32 {
    let near = number as f32;
    if f64::from(near) > number { near.next_down() } else { near }
}

/// The greatest f32 below `number`; NaN where there is none.
fn below(number: f64) -> f32 {
    if number == f64::NEG_INFINITY {
        return f32::NAN;
    }
    let floor = floor(number);
    // Zero has two signs and one value: the next one down from both is the same.
    if f64::from(floor) == number { floor.next_down() } else { floor }
}

/// The category that a value names, and whether it is in the set.
#[inline]
pub(super) fn contains(words: &[u32], value: f32) -> bool {
    let category = category(value);
    words.get((category >> 5) as usize).is_some_and(|word| word >> (category & 31) & 1 == 1)
}

/// The category that a value names: its fraction cut off. One that no set has where it names none.
#[inline]
pub(super) fn category(value: f32) -> u32 {
    // 2^31, as f32: the conversion of LightGBM's compiler says "negative" from there on.
    if value > -1.0 && value < 2_147_483_648.0 { value as u32 } else { u32::MAX }
}

impl Tree {
    /// A tree that says the same of every row.
    pub fn constant(value: f64) -> Self {
        Tree { nodes: Vec::new(), leaves: vec![value] }
    }

    /// The longest way from the root to a leaf, in nodes. The tree is sound.
    pub(super) fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut open = vec![(0u32, 1)];
        while let (Some((node, depth)), false) = (open.pop(), self.nodes.is_empty()) {
            deepest = deepest.max(depth);
            let Node { left, right, .. } = &self.nodes[node as usize];
            for child in [left, right] {
                if let Child::Node(below) = child {
                    open.push((*below, depth + 1));
                }
            }
        }
        deepest
    }

    /// Everything a scorer relies on; `index` is the tree's place, for the message.
    pub(super) fn check(&self, index: usize, columns: usize) -> Result<(), Error> {
        let wrong = |field| Err(Error::Tree { tree: index, field });
        if self.leaves.len() != self.nodes.len() + 1 {
            return wrong("num_leaves");
        }
        if !self.leaves.iter().all(|leaf| leaf.is_finite()) {
            return wrong("leaf_value");
        }
        if !self.nodes.iter().all(|node| (node.column as usize) < columns) {
            return wrong("split_feature");
        }
        if !self.nodes.iter().all(|node| node.split.is_sound()) {
            return wrong("threshold");
        }
        if !self.nodes.iter().all(|node| node.gain.is_finite()) {
            return wrong("split_gain");
        }
        self.check_shape(index)
    }

    /// Each node and each leaf has one parent, and all come from the root. As there is one leaf more
    /// than there are nodes, it is enough that nothing is reached twice and nothing lies outside.
    fn check_shape(&self, index: usize) -> Result<(), Error> {
        let mut nodes = vec![false; self.nodes.len()];
        let mut leaves = vec![false; self.leaves.len()];
        let mut open = vec![if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) }];
        while let Some(child) = open.pop() {
            let (seen, place) = match child {
                Child::Node(node) => (&mut nodes, node),
                Child::Leaf(leaf) => (&mut leaves, leaf),
            };
            match seen.get_mut(place as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(Error::Tree { tree: index, field: "left_child or right_child" }),
            }
            if let Child::Node(node) = child {
                let node = &self.nodes[node as usize];
                open.extend([node.right, node.left]);
            }
        }
        let all = nodes.into_iter().chain(leaves).all(|seen| seen);
        if all {
            Ok(())
        } else {
            Err(Error::Tree { tree: index, field: "left_child or right_child" })
        }
    }
}
