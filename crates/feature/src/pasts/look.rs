//! A look at many pasts at one cut, shard after shard.
//!
//! Memory is far: while the pasts of one shard are viewed, those of the next are asked for, first where they
//! stand in the index, then their beginnings, then what of them is read. So two shards are held at a time, for
//! reading and in their order; whoever writes holds one and waits for none meanwhile.

use parking_lot::RwLockReadGuard;

use super::shard::{Shard, TOGETHER};
use super::{Pasts, SHARDS, Seen, shard_of};
use crate::happened::{Key, Parts};
use crate::past::{Moment, Past};
use crate::row::{Asked, NOBODY, Request, Views};

/// What a look is of.
struct Look<'a> {
    pasts: &'a Pasts,
    seen: &'a Seen,
    request: &'a Request<'a>,
    at: Moment,
}

/// What is asked for in one shard.
struct Group<'a> {
    shard: RwLockReadGuard<'a, Shard>,
    packed: &'a [u32],
    /// The first keys, and where their pasts may be.
    keys: [Key; TOGETHER],
    places: [u32; TOGETHER],
}

impl Group<'_> {
    fn keys(&self) -> &[Key] {
        &self.keys[..self.packed.len().min(TOGETHER)]
    }
}

impl Pasts {
    /// `None` where a shard has gone two epochs on meanwhile.
    pub(super) fn look_at(
        &self,
        seen: &Seen,
        request: &Request<'_>,
        views: &mut Views,
    ) -> Option<()> {
        order(views);
        let look = Look { pasts: self, seen, request, at: Moment::of(views.moment) };
        let Views { asked, by_shard, top_category, .. } = views;
        let mut groups = by_shard.chunk_by(|one, other| one >> 26 == other >> 26);
        let Some(first) = groups.next() else {
            return Some(());
        };
        let mut group = look.open(first, asked)?;
        look.seek(&mut group);
        look.fetch(&group);
        loop {
            let mut next = match groups.next() {
                Some(packed) => Some(look.open(packed, asked)?),
                None => None,
            };
            let first = group.keys().len();
            look.view(&group, 0..first / 2, asked, top_category);
            next.iter_mut().for_each(|next| look.seek(next));
            look.view(&group, first / 2..first, asked, top_category);
            next.iter().for_each(|next| look.fetch(next));
            while group.packed.len() > TOGETHER {
                group.packed = &group.packed[TOGETHER..];
                look.fill(&mut group, asked);
                look.seek(&mut group);
                look.fetch(&group);
                look.view(&group, 0..group.keys().len(), asked, top_category);
            }
            match next {
                Some(next) => group = next,
                None => return Some(()),
            }
        }
    }
}

impl<'a> Look<'a> {
    /// Holds a shard, and asks where its first keys stand in the index.
    fn open(&self, packed: &'a [u32], asked: &[Asked]) -> Option<Group<'a>> {
        let shard = self.pasts.shards[(packed[0] >> 26) as usize].read();
        if shard.applied > self.seen.epoch + 1 {
            return None;
        }
        let (keys, places) = ([NOBODY; TOGETHER], [0; TOGETHER]);
        let mut group = Group { shard, packed, keys, places };
        self.fill(&mut group, asked);
        Some(group)
    }

    fn fill(&self, group: &mut Group<'_>, asked: &[Asked]) {
        for (key, packed) in group.keys.iter_mut().zip(group.packed) {
            let (entity, number) = place(*packed);
            *key = asked[entity].keys[number];
        }
        group.shard.ask(group.keys());
    }

    fn seek(&self, group: &mut Group<'_>) {
        group.places = group.shard.seek(group.keys());
    }

    fn fetch(&self, group: &Group<'_>) {
        group.shard.fetch(&self.pasts.plan, &group.places, Some(self.at));
    }

    fn view(
        &self,
        group: &Group<'_>,
        range: std::ops::Range<usize>,
        asked: &mut [Asked],
        top_category: &mut u64,
    ) {
        let plan = &self.pasts.plan;
        let places = group.keys[range.clone()].iter().zip(&group.places[range.clone()]);
        for ((&key, &guess), &packed) in places.zip(&group.packed[range]) {
            let (entity, number) = place(packed);
            let (declared, asked) = (&plan.entities[entity], &mut asked[entity]);
            let past = group.shard.find_at(guess, key, self.seen.epoch);
            let is_kept = |past: &Past<'_>| {
                past.touched().saturating_add(plan.ttl_seconds(key.id)) >= self.at.second
            };
            let past = past.filter(is_kept);
            let Some(past) = past else { continue };
            past.view(declared, self.at, asked.find(number, declared.width()));
            if plan.user == Some(entity) {
                *top_category = self.top(&group.shard, past);
            }
        }
    }

    /// The category a user clicked most in 30 days; of equals the one with the lower key.
    fn top(&self, shard: &Shard, user: Past<'_>) -> u64 {
        let plan = &self.pasts.plan;
        let Some((entity, clicks)) = plan.taste else {
            return 0;
        };
        let declared = &plan.entities[entity];
        let mut view = [0.0; 64];
        let Some(view) = view.get_mut(..declared.width()) else {
            return 0;
        };
        let (mut most, mut top) = (0.0, 0);
        for category in user.categories() {
            let parts = Parts { category, ..self.request.parts };
            let past = parts.key(declared, 0).and_then(|key| shard.find(key, self.seen.epoch));
            let Some(past) = past else { continue };
            past.view(declared, self.at, view);
            if view[clicks] > most || view[clicks] == most && most > 0.0 && category < top {
                (most, top) = (view[clicks], category);
            }
        }
        top
    }
}

/// Sorts what is asked for by shard: its number, that of the entity, and that of the key, in one word.
fn order(views: &mut Views) {
    let Views { asked, by_shard, .. } = views;
    let mut starts = [0u32; SHARDS + 1];
    let keys = asked.iter().flat_map(|asked| &asked.keys);
    for key in keys.filter(|&&key| key != NOBODY) {
        starts[shard_of(key.owner) + 1] += 1;
    }
    for shard in 0..SHARDS {
        starts[shard + 1] += starts[shard];
    }
    by_shard.clear();
    by_shard.resize(starts[SHARDS] as usize, 0);
    for (entity, asked) in asked.iter().enumerate() {
        let keys = asked.keys.iter().enumerate();
        for (number, key) in keys.filter(|&(_, &key)| key != NOBODY) {
            let shard = shard_of(key.owner);
            by_shard[starts[shard] as usize] =
                (shard as u32) << 26 | (entity as u32) << 20 | number as u32;
            starts[shard] += 1;
        }
    }
}

/// The entity and the number of its key, of what stands behind the shard in a sorted list.
fn place(packed: u32) -> (usize, usize) {
    ((packed >> 20 & 63) as usize, (packed & 0xf_ffff) as usize)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reckon_event::{Bound, Epoch, Kind, Position, Pseudonym, TenantId, Timestamp};

    use super::*;
    use crate::plan::Plan;
    use crate::row::Candidate;
    use crate::{Change, Happened, PastsOptions};

    /// Whoever looks at the cut before an epoch sees who was there, though the epoch's clock lets them go.
    #[test]
    fn an_epoch_lets_nobody_go_whom_the_cut_before_it_has() {
        let pasts = Pasts::new(Arc::new(Plan::default()), PastsOptions::default());
        let parts =
            |user| Parts { tenant: TenantId(1), user: Pseudonym(user << 64), ..Parts::default() };
        let epoch = |number| {
            let bounds = vec![Bound { partition: 0, from: number - 1, to: number }];
            Epoch { stage: 1, group: 0, generation: 1, number, bounds }
        };
        let shows = |offset, user, second| {
            let happened =
                Happened { parts: parts(user), kind: Kind::Impression, amount: 0, second };
            Change::Counted(Position { partition: 0, offset }, happened)
        };
        const START: u32 = 1_790_000_000;
        let users = 1..=200u128;
        let first: Vec<_> =
            users.clone().zip(0..).map(|(user, at)| shows(at, user, START)).collect();
        pasts.apply(&epoch(1), &first).expect("in order");
        let before = Arc::clone(&pasts.seen.read());
        // A long time later: each shard is rid of what is old, one an epoch.
        for number in 2..=17 {
            let later = START + 80 * 86_400 + number as u32;
            pasts.apply(&epoch(number), &[shows(1_000 + number, 201, later)]).expect("in order");
            if number > 2 {
                continue;
            }
            for user in users.clone() {
                let now = Timestamp::from_seconds(START.into());
                let request = Request { parts: parts(user), now, ..Request::default() };
                let mut views = Views::default();
                views.ask(pasts.plan(), &request, &[Candidate::default()]);
                views.moment = START;
                views.begin(pasts.plan());
                pasts.look_at(&before, &request, &mut views).expect("one epoch behind");
                let user = pasts.plan().user.expect("a user");
                assert_eq!(views.asked[user].found(), 1, "{user}");
            }
        }
        assert!(pasts.size().0 < 100, "{:?}", pasts.size());
    }
}
