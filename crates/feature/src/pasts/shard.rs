//! One of the parts the store is cut into, by owner: everything of one user lies in one shard.
//!
//! A past that an epoch changes leaves a copy of how it was. Whoever reads at the cut before finds the
//! copy, so a read is of one cut though shards move one after the other, and waits for no more than one
//! shard's part of an epoch.
//!
//! Keys come many at a time, and memory is far: [`Shard::ask`], [`Shard::seek`] and [`Shard::fetch`] ask for
//! what all of a group lead to before the first of it is read.

use std::collections::{HashMap, HashSet};

use reckon_event::Kind;

use super::index::Index;
use super::slab::{Slab, class_of, words_of};
use crate::happened::{Happened, Key};
use crate::past::{Form, Moment, Past, PastMut, room_at_first};
use crate::plan::{Entity, Plan};
use crate::prefetch::prefetch;

/// Keys that are asked for before the first of what they lead to is read.
pub const TOGETHER: usize = 64;
/// Words of copies whose memory is kept from epoch to epoch.
const COPIES_KEPT: usize = 1 << 19;
/// In place of a copy: there was nothing.
const NONE: u32 = u32::MAX;

/// Whether the user's own pasts take an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The user's past decides.
    Ask,
    Yes,
    No,
    /// As that event of this epoch, which came before.
    As(u32),
}

/// An event of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub happened: Happened,
    pub is_added: bool,
    pub admitted: Admitted,
}

/// What an event does to one past.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub key: Key,
    pub entity: u8,
    pub is_of_user: bool,
    pub event: u32,
}

#[derive(Debug, Default)]
pub struct Shard {
    /// The last epoch that changed anything here.
    pub applied: u64,
    index: Index,
    slab: Slab,
    /// How pasts were before that epoch, one behind the other. Their memory is used again: an epoch
    /// copies thousands.
    copies: Vec<u32>,
    /// Copies of those that were let go of since.
    gone: HashMap<Key, u32>,
    /// Changed since the last file.
    pub dirty: Vec<Key>,
    /// The hour up to which it has let go of what is old.
    expired: u32,
    /// No past was without an event since then.
    oldest: u32,
}

impl Shard {
    pub fn bytes(&self) -> usize {
        let gone = self.gone.capacity() * (size_of::<(Key, u32)>() + 1);
        let copies = self.copies.capacity() * size_of::<u32>();
        let dirty = self.dirty.capacity() * size_of::<Key>();
        self.index.bytes() + self.slab.bytes() + copies + gone + dirty
    }

    /// How many pasts there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// All of them.
    pub fn pasts(&self) -> impl Iterator<Item = Past<'_>> {
        self.index.places().map(|place| self.past(place))
    }

    fn past(&self, place: u32) -> Past<'_> {
        Past(self.slab.get(place))
    }

    fn place(&self, key: Key) -> Option<u32> {
        self.index.find(key.id, |place| self.past(place).key() == key)
    }

    /// The past of a key as it is.
    pub fn get(&self, key: Key) -> Option<Past<'_>> {
        self.place(key).map(|place| self.past(place))
    }

    /// Asks for the memory where keys stand in the index. It changes nothing but time, as do
    /// [`Shard::seek`], which is to follow when that has come, and [`Shard::fetch`].
    pub fn ask(&self, keys: &[Key]) {
        keys.iter().for_each(|key| self.index.touch(key.id));
    }

    /// Where the pasts of keys may be; asks for their beginnings.
    pub fn seek(&self, keys: &[Key]) -> [u32; TOGETHER] {
        let mut places = [NONE; TOGETHER];
        for (place, key) in places.iter_mut().zip(keys) {
            *place = self.index.guess(key.id).unwrap_or(NONE);
            if *place != NONE {
                prefetch(self.slab.get(*place), 0);
            }
        }
        places
    }

    /// Asks for what is read of pasts: by a view at a moment or, without one, by a change.
    pub fn fetch(&self, plan: &Plan, places: &[u32; TOGETHER], seen_at: Option<Moment>) {
        for &place in places.iter().filter(|&&place| place != NONE) {
            let past = self.past(place);
            match seen_at {
                Some(at) => past.bring(&plan.entities[usize::from(past.entity())], at),
                None => past.bring_all(words_of(past.class())),
            }
        }
    }

    /// As [`Shard::find`], where [`Shard::seek`] has said where the past may be.
    pub fn find_at(&self, guess: u32, key: Key, epoch: u64) -> Option<Past<'_>> {
        let guessed = (guess != NONE).then(|| self.past(guess));
        match guessed {
            Some(past) if past.key() != key => self.find(key, epoch),
            sure => self.as_of(sure, key, epoch),
        }
    }

    /// The past of a key at a cut: before the epoch that is going on, or after it.
    pub fn find(&self, key: Key, epoch: u64) -> Option<Past<'_>> {
        self.as_of(self.get(key), key, epoch)
    }

    /// The same, where one knows how the past is now.
    fn as_of<'a>(&'a self, now: Option<Past<'a>>, key: Key, epoch: u64) -> Option<Past<'a>> {
        let copy = match now {
            Some(past) if self.applied <= epoch || past.changed() != self.applied as u32 => {
                return Some(past);
            }
            Some(past) => past.copy(),
            None if self.applied <= epoch || self.gone.is_empty() => return None,
            None => *self.gone.get(&key)?,
        };
        (copy != NONE).then(|| Past(&self.copies[copy as usize..]))
    }

    /// Puts in what a file has kept.
    pub fn restore(&mut self, key: Key, words: &[u32]) {
        let class = class_of(words.len());
        let place = self.slab.take(class);
        let memory = &mut self.slab.get_mut(place)[..words_of(class)];
        memory[..words.len()].copy_from_slice(words);
        PastMut(memory).set_class(class);
        match self.place(key) {
            Some(old) => {
                self.slab.give(old, self.past(old).class());
                self.index.replace(key.id, old, place);
            }
            None => self.index.insert(key.id, place),
        }
    }

    /// An epoch begins to change it.
    pub fn begin(&mut self, epoch: u64) {
        self.gone = HashMap::new();
        self.copies.clear();
        self.copies.shrink_to(COPIES_KEPT);
        self.applied = epoch;
    }

    /// Takes some of the epoch's steps, in the order of events.
    pub fn apply(&mut self, plan: &Plan, steps: &[Step], events: &mut [Event]) {
        for steps in steps.chunks(TOGETHER) {
            let mut keys = [Key::default(); TOGETHER];
            keys.iter_mut().zip(steps).for_each(|(key, step)| *key = step.key);
            self.ask(&keys[..steps.len()]);
            self.fetch(plan, &self.seek(&keys[..steps.len()]), None);
            self.take(plan, steps, events);
        }
    }

    fn take(&mut self, plan: &Plan, steps: &[Step], events: &mut [Event]) {
        for step in steps {
            if let Admitted::As(other) = events[step.event as usize].admitted
                && step.is_of_user
            {
                events[step.event as usize].admitted = match events[other as usize].admitted {
                    Admitted::No => Admitted::No,
                    _ => Admitted::Yes,
                };
            }
            self.step(plan, step, &mut events[step.event as usize]);
        }
    }

    /// Everything is in a file.
    pub fn saved(&mut self) {
        for key in std::mem::take(&mut self.dirty) {
            if let Some(place) = self.place(key) {
                PastMut(self.slab.get_mut(place)).set_dirty(false);
            }
        }
    }

    fn step(&mut self, plan: &Plan, step: &Step, event: &mut Event) {
        if step.is_of_user && event.admitted == Admitted::No {
            return;
        }
        let epoch = self.applied as u32;
        let place = match self.place(step.key) {
            Some(place) => {
                if self.past(place).changed() != epoch {
                    let copy = self.copy(place);
                    PastMut(self.slab.get_mut(place)).set_changed(epoch, copy);
                }
                place
            }
            None if !event.is_added => return,
            None => self.first(plan, step, event.happened.second),
        };
        if !self.past(place).is_dirty() {
            PastMut(self.slab.get_mut(place)).set_dirty(true);
            self.dirty.push(step.key);
        }
        self.change(plan, place, step, event);
    }

    /// A past in which nothing has happened.
    fn first(&mut self, plan: &Plan, step: &Step, second: u32) -> u32 {
        let at = usize::from(step.entity);
        let (declared, is_of_user) = (&plan.entities[at], plan.user == Some(at));
        let class = class_of(room_at_first(is_of_user, declared).1);
        let place = self.slab.take(class);
        let mut past = PastMut(self.slab.get_mut(place));
        past.clear(step.key, step.entity, is_of_user, declared);
        past.set_class(class);
        past.set_changed(self.applied as u32, NONE);
        self.oldest = self.oldest.min(second);
        self.index.insert(step.key.id, place);
        place
    }

    /// Keeps how a past is.
    fn copy(&mut self, place: u32) -> u32 {
        let words = self.slab.get(place);
        let copy = self.copies.len() as u32;
        self.copies.extend_from_slice(&words[..words_of(Past(words).class())]);
        copy
    }

    fn change(&mut self, plan: &Plan, place: u32, step: &Step, event: &mut Event) {
        let (entity, happened) = (&plan.entities[usize::from(step.entity)], &event.happened);
        let is_user = plan.user == Some(usize::from(step.entity));
        let mut past = PastMut(self.slab.get_mut(place));
        if is_user && event.admitted == Admitted::Ask {
            let is_in = past.admit(happened.second, plan.events_a_minute_max);
            event.admitted = if is_in { Admitted::Yes } else { Admitted::No };
            if !is_in {
                // It came all the same: the past is not older than it.
                return past.touch(happened.second);
            }
        }
        let (amounts, count) = happened.amounts(entity);
        let (amounts, at) = (&amounts[..count], Moment::of(happened.second));
        if !event.is_added {
            return past.take_back(entity, at, amounts);
        }
        if is_user && happened.kind == Kind::Click && happened.parts.category != 0 {
            past.liked(happened.parts.category);
        }
        let (place, room) = match past.prepare(entity, at, amounts) {
            Ok(room) => (place, room),
            Err(form) => {
                let place = self.reshape(place, entity, form);
                let mut past = PastMut(self.slab.get_mut(place));
                (place, past.prepare(entity, at, amounts).expect("it has taken the form"))
            }
        };
        let place = self.with_room(place, room);
        PastMut(self.slab.get_mut(place)).add(entity, at, amounts);
    }

    /// Where a past is that has room for so many words.
    fn with_room(&mut self, place: u32, words: usize) -> u32 {
        if words <= words_of(self.past(place).class()) {
            return place;
        }
        self.moved(place, words, |to, from| to.0[..from.0.len()].copy_from_slice(from.0))
    }

    /// Where a past is that has another form.
    fn reshape(&mut self, place: u32, entity: &Entity, form: Form) -> u32 {
        // Counts twice as long, and sums.
        let sums = 2 * entity.windows.len() * entity.measures.len();
        let words = 2 * self.past(place).length(entity) + sums;
        self.moved(place, words, |to, from| to.reshape(from, entity, form))
    }

    fn moved(
        &mut self,
        place: u32,
        words: usize,
        put: impl FnOnce(&mut PastMut<'_>, Past<'_>),
    ) -> u32 {
        let (class, old) = (class_of(words), self.past(place).class());
        let from = self.copy(place) as usize;
        let to = self.slab.take(class);
        let mut past = PastMut(self.slab.get_mut(to));
        put(&mut past, Past(&self.copies[from..]));
        past.set_class(class);
        self.copies.truncate(from);
        self.slab.give(place, old);
        self.index.replace(self.past(to).key().id, place, to);
        to
    }

    /// Lets go of what nobody would read any more, at most once an hour: it looks at everything.
    pub fn expire(&mut self, plan: &Plan, clock: u32) {
        let is_due = self.oldest.saturating_add(plan.ttl_seconds_min()) < clock;
        if !is_due || clock / 3_600 == self.expired {
            return;
        }
        self.expired = clock / 3_600;
        self.let_go(|past| past.touched().saturating_add(plan.ttl_seconds(past.key().id)) < clock);
        self.oldest = self.pasts().map(Past::touched).min().unwrap_or(clock);
        if self.slab.is_sparse() {
            self.pack();
        }
    }

    /// Lets go of an eighth: those longest without an event. Whoever reads at the cut before sees them.
    pub fn evict(&mut self) -> usize {
        let mut times: Vec<u32> = self.pasts().map(Past::touched).collect();
        if times.is_empty() {
            return 0;
        }
        let eighth = times.len() / 8;
        let (_, &mut last, _) = times.select_nth_unstable(eighth);
        let old: Vec<u32> =
            self.index.places().filter(|&place| self.past(place).touched() <= last).collect();
        for &place in &old {
            let past = self.past(place);
            let (key, is_copied) = (past.key(), past.changed() == self.applied as u32);
            let copy = if is_copied { past.copy() } else { self.copy(place) };
            self.gone.insert(key, copy);
            self.remove(place);
        }
        self.pack();
        old.len()
    }

    /// Lets go of everything of owners, copies included.
    pub fn forget(&mut self, owners: &HashSet<u64>) -> usize {
        self.gone.retain(|key, _| !owners.contains(&key.owner));
        self.let_go(|past| owners.contains(&past.key().owner))
    }

    fn let_go(&mut self, goes: impl Fn(Past<'_>) -> bool) -> usize {
        let gone: Vec<u32> = self.index.places().filter(|&place| goes(self.past(place))).collect();
        gone.iter().for_each(|&place| self.remove(place));
        gone.len()
    }

    fn remove(&mut self, place: u32) {
        let past = self.past(place);
        let (key, class) = (past.key(), past.class());
        self.index.remove(key.id, place);
        self.slab.give(place, class);
    }

    /// Puts pasts side by side, and gives back the memory that is nobody's.
    fn pack(&mut self) {
        let sparse = std::mem::take(&mut self.slab);
        let index = std::mem::take(&mut self.index);
        for place in index.places() {
            let past = Past(sparse.get(place));
            let class = past.class();
            let to = self.slab.take(class);
            self.slab.get_mut(to)[..words_of(class)].copy_from_slice(&past.0[..words_of(class)]);
            self.index.insert(past.key().id, to);
        }
    }
}
