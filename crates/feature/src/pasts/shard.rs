//! One of the parts the store is cut into, by owner: everything of one user lies in one shard.
//!
//! A slot that an epoch changes leaves a copy of how it was. Whoever reads at the cut before finds the
//! copy, so a read is of one cut though shards move one after the other, and waits for no more than one
//! shard's part of an epoch.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::happened::{Happened, Key};
use crate::past::Past;
use crate::plan::Plan;

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "keys are whole numbers");
    }

    /// The last number of a key is the hash of everything.
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Keys that are looked up before the first of what they lead to is read.
pub const TOGETHER: usize = 32;
/// Copies whose memory is kept from epoch to epoch.
const COPIES_KEPT: usize = 4_096;

pub type Map<V> = HashMap<Key, V, BuildHasherDefault<AsItIs>>;

/// A past, and whose.
#[derive(Clone, Debug)]
pub struct Slot {
    pub past: Past,
    /// The epoch that changed it last.
    pub changed: u64,
    pub entity: u8,
    /// It stands in the list of what is not in a file yet.
    pub is_dirty: bool,
}

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
    pub slots: Map<Slot>,
    /// How pasts were before that epoch: a place among the copies, or nothing where there was none.
    before: Map<Option<u32>>,
    /// Their memory is used again: an epoch copies thousands.
    copies: Vec<Past>,
    /// How many of the copies are of that epoch.
    copied: usize,
    /// Changed since the last file.
    pub dirty: Vec<Key>,
    heap_bytes: usize,
    /// The hour up to which it has let go of what is old.
    expired: u32,
}

impl Shard {
    pub fn bytes(&self) -> usize {
        let slots = self.slots.capacity() * (size_of::<(Key, Slot)>() + 1);
        let before = self.before.capacity() * (size_of::<(Key, Option<u32>)>() + 1);
        let copies = self.copies.capacity() * size_of::<Past>();
        slots + before + copies + self.heap_bytes + self.dirty.capacity() * size_of::<Key>()
    }

    /// The past of a key at a cut: before the epoch that is going on, or after it.
    pub fn find(&self, key: Key, epoch: u64) -> Option<&Past> {
        let slot = self.slots.get(&key);
        if self.applied <= epoch || slot.is_some_and(|slot| slot.changed <= epoch) {
            return slot.map(|slot| &slot.past);
        }
        self.before.get(&key)?.map(|place| &self.copies[place as usize])
    }

    /// Puts in what a file has kept.
    pub fn restore(&mut self, key: Key, entity: u8, past: Past) {
        self.heap_bytes += past.heap_bytes();
        let slot = Slot { past, changed: 0, entity, is_dirty: false };
        if let Some(old) = self.slots.insert(key, slot) {
            self.heap_bytes -= old.past.heap_bytes();
        }
    }

    /// Takes an epoch's steps, in the order of events.
    pub fn apply(&mut self, plan: &Plan, epoch: u64, steps: &[Step], events: &mut [Event]) {
        self.before.clear();
        self.before.shrink_to(COPIES_KEPT);
        self.copies.truncate(COPIES_KEPT);
        self.copied = 0;
        self.applied = epoch;
        for steps in steps.chunks(TOGETHER) {
            // What they change is asked for before the first of it is waited for.
            let mut found = [None; TOGETHER];
            for (found, step) in found.iter_mut().zip(steps) {
                *found = self.slots.get(&step.key);
            }
            found.iter().flatten().for_each(|slot| slot.past.touch());
            self.take(plan, epoch, steps, events);
        }
    }

    fn take(&mut self, plan: &Plan, epoch: u64, steps: &[Step], events: &mut [Event]) {
        for step in steps {
            if let Admitted::As(other) = events[step.event as usize].admitted
                && step.is_of_user
            {
                events[step.event as usize].admitted = match events[other as usize].admitted {
                    Admitted::No => Admitted::No,
                    _ => Admitted::Yes,
                };
            }
            self.step(plan, epoch, step, &mut events[step.event as usize]);
        }
    }

    /// Everything is in a file.
    pub fn saved(&mut self) {
        for key in self.dirty.drain(..) {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.is_dirty = false;
            }
        }
        self.dirty.shrink_to(4_096);
    }

    fn step(&mut self, plan: &Plan, epoch: u64, step: &Step, event: &mut Event) {
        if step.is_of_user && event.admitted == Admitted::No {
            return;
        }
        let slot = match self.slots.entry(step.key) {
            std::collections::hash_map::Entry::Occupied(entry) => {
                let slot = entry.into_mut();
                if slot.changed != epoch {
                    if self.copied == self.copies.len() {
                        self.copies.push(Past::default());
                    }
                    self.copies[self.copied].copy_from(&slot.past);
                    self.before.insert(step.key, Some(self.copied as u32));
                    self.copied += 1;
                }
                slot
            }
            std::collections::hash_map::Entry::Vacant(_) if !event.is_added => return,
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.before.entry(step.key).or_insert(None);
                let past = Past::default();
                entry.insert(Slot { past, changed: epoch, entity: step.entity, is_dirty: false })
            }
        };
        slot.changed = epoch;
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(step.key);
        }
        let bytes = slot.past.heap_bytes();
        change(plan, &mut slot.past, step, event);
        self.heap_bytes = self.heap_bytes + slot.past.heap_bytes() - bytes;
    }

    /// Lets go of what nobody would read any more, at most once an hour: it looks at everything.
    pub fn expire(&mut self, plan: &Plan, clock: u32) {
        if clock / 3_600 == self.expired {
            return;
        }
        self.expired = clock / 3_600;
        self.retain(|key, slot| {
            slot.past.touched.saturating_add(plan.ttl_seconds(key.id)) >= clock
        });
    }

    /// Lets go of an eighth: those longest without an event. Whoever reads at the cut before sees them.
    pub fn evict(&mut self) -> usize {
        let mut times: Vec<u32> = self.slots.values().map(|slot| slot.past.touched).collect();
        if times.is_empty() {
            return 0;
        }
        let eighth = times.len() / 8;
        let (_, &mut last, _) = times.select_nth_unstable(eighth);
        let Shard { before, slots, copies, copied, .. } = self;
        let mut bytes = 0;
        let gone = slots.extract_if(|_, slot| slot.past.touched <= last);
        let mut count = 0;
        for (key, slot) in gone {
            bytes += slot.past.heap_bytes();
            count += 1;
            before.entry(key).or_insert_with(|| {
                copies.truncate(*copied);
                copies.push(slot.past);
                *copied += 1;
                Some(*copied as u32 - 1)
            });
        }
        self.heap_bytes -= bytes;
        self.slots.shrink_to(0);
        count
    }

    /// Lets go of everything of an owner, copies included.
    pub fn forget(&mut self, owner: u64) -> usize {
        let count = self.slots.len();
        self.retain(|key, _| key.owner != owner);
        self.before.retain(|key, _| key.owner != owner);
        count - self.slots.len()
    }

    fn retain(&mut self, stays: impl Fn(&Key, &Slot) -> bool) {
        let mut bytes = 0;
        self.slots.retain(|key, slot| {
            let stays = stays(key, slot);
            bytes += if stays { slot.past.heap_bytes() } else { 0 };
            stays
        });
        self.heap_bytes = bytes;
    }
}

fn change(plan: &Plan, past: &mut Past, step: &Step, event: &mut Event) {
    let (entity, happened) = (&plan.entities[usize::from(step.entity)], &event.happened);
    let is_user = plan.user == Some(usize::from(step.entity));
    if is_user && event.admitted == Admitted::Ask {
        let is_in = past.admit(happened.second, plan.events_a_minute_max);
        event.admitted = if is_in { Admitted::Yes } else { Admitted::No };
        if !is_in {
            // It came all the same: the past is not older than it.
            past.touched = past.touched.max(happened.second);
            return;
        }
    }
    let (amounts, count) = happened.amounts(entity);
    if !event.is_added {
        past.take_back(entity, happened.second, &amounts[..count]);
        return;
    }
    past.add(entity, happened.second, &amounts[..count]);
    let is_click = happened.kind == reckon_event::Kind::Click;
    if is_user && is_click && happened.parts.category != 0 {
        past.liked(happened.parts.category);
    }
}
