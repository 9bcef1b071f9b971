//! The kernels: plain loops over arrays of lanes, which the compiler makes as wide as the machine is.
//!
//! Everything here is `inline(always)`, because `dispatch` compiles it several times: for AVX-512, for
//! AVX2 and for any machine. Comparisons, masks and additions are exact, so all of them say the same.

use super::layout::{LANES, Layout, NO_SET, Plan, Question, SetQuestion, Step, WORD, Word};
use super::{Forest, dispatch, tree};

/// One value a row.
type Lanes = [f32; LANES];

/// Memory of whoever scores; made once for a forest.
#[derive(Clone, Debug)]
pub struct Scratch {
    slots: Vec<Lanes>,
}

impl Forest {
    /// Memory to score this forest with; a thread needs one of its own.
    pub fn scratch(&self) -> Scratch {
        Scratch { slots: vec![[0.0; LANES]; self.layout.slots.len().max(1)] }
    }

    /// Margins of `out.len()` rows, which lie one after the other. Allocates nothing.
    ///
    /// # Panics
    /// If `rows` has not [`Forest::columns`] values for each of `out`, or the scratch is not this
    /// forest's.
    pub fn score(&self, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) {
        self.check_rows(rows, out);
        assert_eq!(scratch.slots.len(), self.layout.slots.len().max(1), "the forest's own scratch");
        dispatch::score(self, rows, scratch, out);
    }

    /// The same with the loops as they are compiled for any machine.
    #[cfg(test)]
    pub(super) fn score_portable(&self, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) {
        score(self, rows, scratch, out);
    }
}

#[inline(always)]
pub(super) fn score(forest: &Forest, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) {
    let columns = forest.columns();
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let rows = &rows[block * LANES * columns..][..out.len() * columns];
        fill(forest, rows, &mut scratch.slots);
        let mut sums = [forest.options.base; LANES];
        add_trees(&forest.layout, &scratch.slots, &mut sums);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = forest.settle(sum);
        }
    }
}

/// Turns up to [`LANES`] rows into slots. Lanes without a row keep what they had.
#[inline(always)]
fn fill(forest: &Forest, rows: &[f32], slots: &mut [Lanes]) {
    let columns = forest.columns();
    for (slot, lanes) in forest.layout.slots.iter().zip(slots) {
        for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(columns)) {
            *lane = row[slot.column as usize];
        }
        // Apart from the loop above, so that it is as wide as the machine.
        let treatment = slot.treatment(forest.options.tiny_is_zero);
        for lane in lanes {
            *lane = treatment.of(*lane);
        }
    }
}

/// Adds to each lane the leaf that it comes to in every tree.
#[inline(always)]
fn add_trees(layout: &Layout, slots: &[Lanes], sums: &mut [f64; LANES]) {
    let mut asked = Asked::default();
    let (mut word, mut step, mut leaf) = (0, 0, 0);
    for plan in &layout.plans {
        let (Plan::Bits { leaves, .. } | Plan::Walk { leaves, .. }) = *plan;
        let leaves = &layout.leaves[leaf..][..leaves as usize];
        leaf += leaves.len();
        match *plan {
            Plan::Bits { words_end, .. } => {
                let words = &layout.words[word..words_end as usize];
                word = words_end as usize;
                add_bits(layout, words, leaves, &mut asked, slots, sums);
            }
            Plan::Walk { steps_end, nodes, depth, has_sets, .. } => {
                let steps = &layout.steps[step..steps_end as usize];
                step = steps_end as usize;
                let places = if has_sets {
                    walk::<true>(layout, steps, depth, slots)
                } else {
                    walk::<false>(layout, steps, depth, slots)
                };
                for (sum, place) in sums.iter_mut().zip(&places) {
                    *sum += leaves[(place - nodes) as usize];
                }
            }
        }
    }
}

/// How many questions of the forest were asked; they lie in the order of the trees.
#[derive(Default)]
struct Asked {
    questions: usize,
    sets: usize,
}

/// Adds the first leaf of each lane that no node of the tree rules out.
///
/// A word's leaves are an array of 32, and the place in it five bits: nothing is checked a lane.
#[inline(always)]
fn add_bits(
    layout: &Layout,
    words: &[Word],
    leaves: &[f64],
    asked: &mut Asked,
    slots: &[Lanes],
    sums: &mut [f64; LANES],
) {
    match leaves.as_chunks::<WORD>().0 {
        [leaves] => {
            let left = left_of(layout, &words[0], asked, slots);
            for (sum, left) in sums.iter_mut().zip(&left) {
                *sum += leaves[left.trailing_zeros() as usize % WORD];
            }
        }
        _ => {
            let places = first_leaves(layout, words, asked, slots);
            for (sum, place) in sums.iter_mut().zip(&places) {
                *sum += leaves[*place as usize];
            }
        }
    }
}

/// The first leaf of each lane that no node of the tree rules out, of any number of words.
#[inline(always)]
fn first_leaves(
    layout: &Layout,
    words: &[Word],
    asked: &mut Asked,
    slots: &[Lanes],
) -> [u32; LANES] {
    let mut places = [u32::MAX; LANES];
    for (index, word) in words.iter().enumerate() {
        let left = left_of(layout, word, asked, slots);
        let base = (index * WORD) as u32;
        for (place, left) in places.iter_mut().zip(left) {
            // Words without a leaf that is left say nothing, and are passed over.
            let here = if left == 0 { u32::MAX } else { base + left.trailing_zeros() };
            *place = (*place).min(here);
        }
    }
    places
}

/// The leaves of the next word that no node rules out.
#[inline(always)]
fn left_of(layout: &Layout, word: &Word, asked: &mut Asked, slots: &[Lanes]) -> [u32; LANES] {
    let questions = &layout.questions[asked.questions..word.questions_end as usize];
    let sets = &layout.set_questions[asked.sets..word.sets_end as usize];
    *asked = Asked { questions: word.questions_end as usize, sets: word.sets_end as usize };
    let mut left = ask(questions, slots);
    for set in sets {
        ask_set(&layout.sets, set, slots, &mut left);
    }
    left
}

/// The leaves of a word that all questions leave.
#[inline(always)]
fn ask(questions: &[Question], slots: &[Lanes]) -> [u32; LANES] {
    let mut left = [u32::MAX; LANES];
    for question in questions {
        let values = &slots[question.slot as usize];
        for (left, value) in left.iter_mut().zip(values) {
            let yes = if *value <= question.threshold { u32::MAX } else { 0 };
            *left &= question.mask | yes;
        }
    }
    left
}

#[inline(always)]
fn ask_set(sets: &[u32], question: &SetQuestion, slots: &[Lanes], left: &mut [u32; LANES]) {
    let words = &sets[question.begin as usize..][..question.length as usize + 1];
    for (left, value) in left.iter_mut().zip(&slots[question.slot as usize]) {
        let yes = if is_in(words, *value) { u32::MAX } else { 0 };
        *left &= question.mask | yes;
    }
}

/// Whether a set with a word of zeros behind it has the category.
#[inline(always)]
fn is_in(words: &[u32], value: f32) -> bool {
    let category = tree::category(value);
    let word = (category >> 5).min(words.len() as u32 - 1);
    words[word as usize] >> (category & 31) & 1 == 1
}

/// Leads all lanes from the root to a leaf's step.
#[inline(always)]
fn walk<const SETS: bool>(
    layout: &Layout,
    steps: &[Step],
    depth: u32,
    slots: &[Lanes],
) -> [u32; LANES] {
    let mut places = [0u32; LANES];
    for _ in 0..depth {
        let mut moved = 0;
        for (lane, place) in places.iter_mut().enumerate() {
            let step = &steps[*place as usize];
            let value = slots[step.slot as usize][lane];
            let mut yes = value <= step.threshold;
            if SETS && step.set[1] != NO_SET {
                yes =
                    is_in(&layout.sets[step.set[0] as usize..][..step.set[1] as usize + 1], value);
            }
            let next = step.next[usize::from(yes)];
            moved |= next ^ *place;
            *place = next;
        }
        if moved == 0 {
            break;
        }
    }
    places
}
