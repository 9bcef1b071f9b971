//! How a forest lies in memory for its kernels.
//!
//! Rows are taken [`LANES`] at a time and turned into slots: one array of lanes for each column *and
//! treatment of missing values* that some node asks for. In a slot what is missing has become a number
//! that compares as it should, so the kernels know only `value <= threshold`.
//!
//! **Bit vectors** (QuickScorer, Lucchese and others, SIGIR 2015). Leaves are numbered from left to
//! right, a bit each, 32 to a word. A node that is answered with "no" rules out the leaves below its
//! left child; the first leaf that no node rules out is the row's. Every node is asked, none is waited
//! for, and each question is a few wide instructions for all lanes. The questions lie by tree and word,
//! so a word stays in registers until it is done; a node whose left leaves span several words is asked
//! once for each. Because words are many, 63, 64 and 65 leaves cost the same a node.
//!
//! **Walks.** Asking every node is dearer than walking where a tree is large and flat: from there on all
//! lanes go down level by level, without branches; a leaf leads to itself.

use std::collections::HashMap;

use super::{Child, Missing, Node, Split, Tree, ZERO};

/// Rows at a time.
pub(super) const LANES: usize = 32;
/// Leaves in a word of bits.
pub(super) const WORD: usize = 32;
/// A level of a walk is taken to cost as much as so many questions to bits.
const LEVEL_COST: usize = 24;

/// Larger trees are always walked: laying out their words would take the square of their size.
const BITS_LEAVES_MAX: usize = 4096;

/// A column, and what is done with what is missing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) column: u32,
    /// None for categories, which are taken as they are.
    pub(super) missing: Option<Missing>,
}

/// What values become before they are compared: what is missing becomes less than every number if it
/// goes left, and NaN, which is at most nothing, if it goes right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    nan: f32,
    zero: f32,
    /// Whose absolute value is at most this is zero; below 0 if nothing is treated as zero.
    zero_max: f32,
}

impl Slot {
    pub(super) fn treatment(self, tiny_is_zero: bool) -> Treatment {
        let side = |left| if left { f32::NEG_INFINITY } else { f32::NAN };
        let zero_max = if tiny_is_zero { ZERO } else { -1.0 };
        match self.missing {
            None => Treatment { nan: f32::NAN, zero: 0.0, zero_max },
            Some(Missing::None) => Treatment { nan: 0.0, zero: 0.0, zero_max },
            Some(Missing::Nan { left }) => Treatment { nan: side(left), zero: 0.0, zero_max },
            Some(Missing::Zero { left }) => {
                Treatment { nan: side(left), zero: side(left), zero_max: ZERO }
            }
        }
    }
}

impl Treatment {
    #[inline(always)]
    pub(super) fn of(self, value: f32) -> f32 {
        let value_or_zero = if value.abs() <= self.zero_max { self.zero } else { value };
        if value.is_nan() { self.nan } else { value_or_zero }
    }
}

/// A question to all lanes: who says no keeps only the leaves of the mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) slot: u32,
    pub(super) threshold: f32,
    pub(super) mask: u32,
}

/// The same of a set of categories: `sets[begin..][..length]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetQuestion {
    pub(super) slot: u32,
    pub(super) begin: u32,
    pub(super) length: u32,
    pub(super) mask: u32,
}

/// 32 leaves of a tree, and where their questions end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) questions_end: u32,
    pub(super) sets_end: u32,
}

/// A node of a walk; a leaf leads to itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) slot: u32,
    pub(super) threshold: f32,
    /// First where "no" leads, then where "yes" does.
    pub(super) next: [u32; 2],
    /// The set's place and length; the length of a question of numbers is [`NO_SET`].
    pub(super) set: [u32; 2],
}

pub(super) const NO_SET: u32 = u32::MAX;

/// One tree, as the kernel that suits it takes it. Ends are counted over the whole forest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    Bits { words_end: u32, leaves: u32 },
    Walk { steps_end: u32, nodes: u32, depth: u32, has_sets: bool, leaves: u32 },
}

/// Everything the kernels read.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) slots: Vec<Slot>,
    pub(super) plans: Vec<Plan>,
    pub(super) words: Vec<Word>,
    pub(super) questions: Vec<Question>,
    pub(super) set_questions: Vec<SetQuestion>,
    pub(super) steps: Vec<Step>,
    pub(super) sets: Vec<u32>,
    /// Leaves of bit vectors from left to right, filled up to whole words; those of walks as they came.
    pub(super) leaves: Vec<f64>,
}

/// The slots that were given, by what they are.
#[derive(Default)]
struct Slots {
    places: HashMap<Slot, u32>,
    list: Vec<Slot>,
}

impl Slots {
    fn place(&mut self, node: &Node) -> u32 {
        let missing = match node.split {
            Split::AtMost { missing, .. } | Split::Below { missing, .. } => Some(missing),
            Split::In { .. } => None,
        };
        let slot = Slot { column: node.column, missing };
        let next = self.list.len() as u32;
        let place = *self.places.entry(slot).or_insert(next);
        if place == next {
            self.list.push(slot);
        }
        place
    }
}

/// A tree's leaves from left to right, and which of these places lie below each node's left child.
struct Order {
    leaves: Vec<u32>,
    lefts: Vec<[u32; 2]>,
}

impl Order {
    fn of(tree: &Tree) -> Self {
        let mut order = Order {
            leaves: Vec::with_capacity(tree.leaves.len()),
            lefts: vec![[0; 2]; tree.nodes.len()],
        };
        if tree.nodes.is_empty() {
            order.leaves.push(0);
            return order;
        }
        // A node is met twice: before its left leaves, and after them.
        let mut open = vec![(Child::Node(0), false)];
        while let Some((child, left_done)) = open.pop() {
            let now = order.leaves.len() as u32;
            match child {
                Child::Leaf(leaf) => order.leaves.push(leaf),
                Child::Node(node) if left_done => {
                    order.lefts[node as usize][1] = now;
                    open.push((tree.nodes[node as usize].right, false));
                }
                Child::Node(node) => {
                    order.lefts[node as usize][0] = now;
                    open.push((child, true));
                    open.push((tree.nodes[node as usize].left, false));
                }
            }
        }
        order
    }

    fn questions(&self) -> usize {
        let words = |[begin, end]: [u32; 2]| (end as usize).div_ceil(WORD) - begin as usize / WORD;
        self.lefts.iter().map(|&left| words(left)).sum()
    }
}

/// The leaves of a word that stay when those of `begin..end` are ruled out.
fn mask(word: usize, [begin, end]: [u32; 2]) -> u32 {
    let bits_below = |leaf: u32| {
        let bits = (leaf as usize).saturating_sub(word * WORD).min(WORD) as u32;
        u32::MAX.checked_shr(WORD as u32 - bits).unwrap_or(0)
    };
    !(bits_below(end) & !bits_below(begin))
}

impl Layout {
    /// The layout of sound trees.
    pub(super) fn of(trees: &[Tree]) -> Self {
        let mut layout = Layout::default();
        let mut slots = Slots::default();
        for tree in trees {
            let order = Order::of(tree);
            let depth = tree.depth();
            let few = order.questions() <= depth.saturating_mul(LEVEL_COST).max(2 * WORD);
            if few && tree.leaves.len() <= BITS_LEAVES_MAX {
                layout.add_bits(tree, &order, &mut slots);
            } else {
                layout.add_walk(tree, depth, &mut slots);
            }
        }
        layout.slots = slots.list;
        layout
    }

    fn add_bits(&mut self, tree: &Tree, order: &Order, slots: &mut Slots) {
        let set_begins: Vec<_> = tree.nodes.iter().map(|node| self.add_set(node)).collect();
        for word in 0..tree.leaves.len().div_ceil(WORD) {
            for ((node, left), &[begin, length]) in
                tree.nodes.iter().zip(&order.lefts).zip(&set_begins)
            {
                let mask = mask(word, *left);
                if mask == u32::MAX {
                    continue;
                }
                let slot = slots.place(node);
                match node.split {
                    Split::In { .. } => {
                        self.set_questions.push(SetQuestion { slot, begin, length, mask });
                    }
                    _ => self.questions.push(Question {
                        slot,
                        threshold: node.split.narrowed(),
                        mask,
                    }),
                }
            }
            self.words.push(Word {
                questions_end: self.questions.len() as u32,
                sets_end: self.set_questions.len() as u32,
            });
        }
        let leaves = tree.leaves.len().next_multiple_of(WORD);
        let end = self.leaves.len() + leaves;
        self.leaves.extend(order.leaves.iter().map(|&leaf| tree.leaves[leaf as usize]));
        self.leaves.resize(end, 0.0);
        self.plans.push(Plan::Bits { words_end: self.words.len() as u32, leaves: leaves as u32 });
    }

    fn add_walk(&mut self, tree: &Tree, depth: usize, slots: &mut Slots) {
        let nodes = tree.nodes.len() as u32;
        let place = |child| match child {
            Child::Node(node) => node,
            Child::Leaf(leaf) => nodes + leaf,
        };
        for node in &tree.nodes {
            let set = self.add_set(node);
            self.steps.push(Step {
                slot: slots.place(node),
                threshold: node.split.narrowed(),
                next: [place(node.right), place(node.left)],
                set,
            });
        }
        for leaf in 0..tree.leaves.len() as u32 {
            let itself = [nodes + leaf; 2];
            self.steps.push(Step { slot: 0, threshold: 0.0, next: itself, set: [0, NO_SET] });
        }
        self.leaves.extend(&tree.leaves);
        self.plans.push(Plan::Walk {
            steps_end: self.steps.len() as u32,
            nodes,
            depth: depth as u32,
            has_sets: tree.nodes.iter().any(|node| matches!(node.split, Split::In { .. })),
            leaves: tree.leaves.len() as u32,
        });
    }

    /// Keeps a node's set, with a word of zeros behind it, where every category beyond it looks.
    fn add_set(&mut self, node: &Node) -> [u32; 2] {
        let Split::In { words } = &node.split else { return [0, NO_SET] };
        let begin = self.sets.len() as u32;
        self.sets.extend(words);
        self.sets.push(0);
        [begin, words.len() as u32]
    }
}
