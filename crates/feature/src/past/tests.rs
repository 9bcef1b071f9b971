//! Pasts alone, in memory that is large enough.

use super::layout::{Layout, count};
use super::*;
use crate::plan::Plan;

const KEY: Key = Key { owner: 1 << 40, id: 2 << 50 | 3 };
const DAY: u32 = 20_000 * 86_400;

/// A past with room for whatever comes.
struct Roomy {
    words: Vec<u32>,
    entity: Entity,
}

impl Roomy {
    fn new(plan: &Plan) -> Self {
        let user = plan.user.expect("a user");
        let entity = plan.entities[user].clone();
        let mut words = vec![0; 4_096];
        PastMut(&mut words).clear(KEY, user as u8, true, &entity);
        Roomy { words, entity }
    }

    fn add(&mut self, second: u32, amounts: &Amounts) {
        let at = Moment::of(second);
        let prepared = PastMut(&mut self.words).prepare(&self.entity, at, amounts);
        if let Err(form) = prepared {
            let before = std::mem::replace(&mut self.words, vec![0; 4_096]);
            PastMut(&mut self.words).reshape(Past(&before), &self.entity, form);
        }
        let room = PastMut(&mut self.words).prepare(&self.entity, at, amounts);
        PastMut(&mut self.words).add(&self.entity, at, amounts);
        assert_eq!(room, Ok(self.past().length(&self.entity)), "room is told before");
    }

    fn take_back(&mut self, second: u32, amounts: &Amounts) {
        PastMut(&mut self.words).take_back(&self.entity, Moment::of(second), amounts);
    }

    fn past(&self) -> Past<'_> {
        Past(&self.words)
    }

    fn view(&self, second: u32) -> Vec<u32> {
        let mut view = vec![0.0; self.entity.width()];
        self.past().view(&self.entity, Moment::of(second), &mut view);
        view.into_iter().map(f32::to_bits).collect()
    }

    /// Every sum and every tile, as they are.
    fn counts(&self) -> Vec<u64> {
        match self.past().is_wide() {
            true => self.counts_as::<2>(),
            false => self.counts_as::<1>(),
        }
    }

    fn counts_as<const W: usize>(&self) -> Vec<u64> {
        let layout = Layout::<W>::of(&self.words, &self.entity);
        let tiles = layout.tiles[LEVELS_COUNT - 1];
        let each = |words: &[u32]| words.chunks_exact(W).map(|word| count::<W>(word, 0)).collect();
        let mut counts: Vec<u64> = each(&self.words[layout.sums..tiles]);
        for tile in self.words[tiles..layout.end].chunks_exact(layout.stride) {
            counts.push(tile[0].into());
            counts.extend::<Vec<u64>>(each(&tile[1..]));
        }
        counts
    }
}

#[test]
fn what_is_taken_back_is_as_if_it_had_not_been() {
    let plan = Plan::default();
    let (mut one, mut other) = (Roomy::new(&plan), Roomy::new(&plan));
    for second in [DAY, DAY + 70, DAY + 4_000, DAY + 90_000] {
        one.add(second, &[(0, 1)]);
        other.add(second, &[(0, 1)]);
        one.add(second + 5, &[(1, 1)]);
        one.take_back(second + 5, &[(1, 1)]);
    }
    let view = one.view(DAY + 90_100);
    assert_eq!(view, other.view(DAY + 90_100));
    assert!(view.iter().any(|&bits| f32::from_bits(bits) > 0.0));
    assert_eq!(one.counts(), other.counts());
}

#[test]
fn counts_that_need_two_words_are_the_same_counts() {
    let plan = Plan::default();
    let (mut one, mut other) = (Roomy::new(&plan), Roomy::new(&plan));
    // All at once, and one by one: the second is narrow for as long as it can be.
    let great = [(0, u64::from(u32::MAX) - 20), (5, 1 << 40)];
    other.add(DAY, &great);
    for number in 0..30 {
        one.add(DAY + 60 * number, &[(0, 1), (5, 2)]);
    }
    one.add(DAY, &great);
    for number in 0..30 {
        other.add(DAY + 60 * number, &[(0, 1), (5, 2)]);
    }
    assert_eq!(one.counts(), other.counts());
    let day = 2 * one.entity.measures.len();
    assert!(one.past().is_wide() && one.past().has_sums());
    assert_eq!(one.counts()[day], u64::from(u32::MAX) + 10, "clicks of a day");
    for later in [1_800, 5_000, 90_000, 1_000_000] {
        assert_eq!(one.view(DAY + later), other.view(DAY + later));
    }
}

#[test]
fn sums_that_are_kept_from_now_on_may_need_two_words_at_once() {
    let plan = Plan::default();
    // Whatever event it is that brings the tile beyond which sums are kept.
    for (amount, last) in [(5_000_000, (5, 5_000_000)), (500_000, (5, 500_000)), (500_000, (0, 1))]
    {
        let (mut one, mut other) = (Roomy::new(&plan), Roomy::new(&plan));
        let great = [(0, u64::from(u32::MAX) - 20), (5, 1 << 40)];
        other.add(DAY, &great);
        for each in [&mut one, &mut other] {
            for number in 0..10 {
                each.add(DAY + 30 * number, &[(5, amount)]);
            }
            each.add(DAY + 300, &[last]);
            each.add(DAY + 330, &[(0, 1)]);
        }
        assert!(one.past().has_sums() && one.past().is_wide(), "{amount}");
        one.add(DAY, &great);
        assert_eq!(one.counts(), other.counts(), "{amount}, then {last:?}");
    }
}

#[test]
fn bytes_come_back_and_cut_ones_do_not() {
    let plan = Plan::default();
    let mut roomy = Roomy::new(&plan);
    let entity = roomy.past().entity();
    for amount in [2, u64::MAX >> 20] {
        roomy.add(1_700_000_000, &[(0, 1), (1, amount)]);
        PastMut(&mut roomy.words).liked(amount);
        let mut bytes = Vec::new();
        roomy.past().encode(&roomy.entity, &mut bytes);
        let length = roomy.past().length(&roomy.entity);
        let back = Past::decode(&plan, KEY, entity, &mut &*bytes);
        assert_eq!(back.as_deref(), Some(&roomy.words[..length]));
        for length in 0..bytes.len() {
            let cut = Past::decode(&plan, KEY, entity, &mut &bytes[..length]);
            assert_eq!(cut, None, "cut at {length}");
        }
    }
}

#[test]
fn the_latest_categories_are_remembered() {
    let plan = Plan::default();
    let mut roomy = Roomy::new(&plan);
    for category in [1, 2, 3, 4, 5, 2, 6, 7, 8, 9, 3] {
        PastMut(&mut roomy.words).liked(category);
    }
    assert_eq!(roomy.past().categories().collect::<Vec<_>>(), [4, 5, 2, 6, 7, 8, 9, 3]);
    assert_eq!(roomy.past().key(), KEY);
}
