//! The dictionary of texts behind the keys of regions, devices and placements, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use reckon_event::Deltas;

/// Texts by key.
#[derive(Default)]
pub(crate) struct Names {
    texts: HashMap<u64, Arc<str>, RandomState>,
    /// Keys that are not kept yet.
    fresh: Vec<u64>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn has(&self, key: u64) -> bool {
        self.texts.contains_key(&key)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&Arc<str>> {
        self.texts.get(&key)
    }

    /// Remembers a text; the first of a key stays.
    pub(crate) fn learn(&mut self, key: u64, text: &str) {
        if !self.has(key) {
            self.texts.insert(key, text.into());
            self.fresh.push(key);
        }
    }

    /// Texts that are not kept yet, sorted by key.
    pub(crate) fn fresh(&self) -> Vec<(u64, Arc<str>)> {
        self.sorted(self.fresh.iter())
    }

    /// All texts, sorted by key.
    pub(crate) fn all(&self) -> Vec<(u64, Arc<str>)> {
        self.sorted(self.texts.keys())
    }

    fn sorted<'a>(&self, keys: impl Iterator<Item = &'a u64>) -> Vec<(u64, Arc<str>)> {
        let mut texts: Vec<_> = keys.map(|key| (*key, Arc::clone(&self.texts[key]))).collect();
        texts.sort_unstable_by_key(|(key, _)| *key);
        texts
    }

    /// All texts are kept now.
    pub(crate) fn settle(&mut self) {
        self.fresh.clear();
    }

    /// True where an epoch has no new texts.
    pub(crate) fn has_all(&self, deltas: &Deltas) -> bool {
        deltas.names.keys().all(|key| self.has(*key))
    }

    /// Takes texts over that are kept already.
    pub(crate) fn know(&mut self, texts: impl IntoIterator<Item = (u64, String)>) {
        for (key, text) in texts {
            self.texts.entry(key).or_insert_with(|| text.into());
        }
    }

    /// Remembers the texts of an epoch, up to `names_max`.
    pub(crate) fn learn_all(&mut self, deltas: &Deltas, names_max: usize) {
        // Sorted, so that which texts the bound keeps does not hang on the order of a hash table.
        let mut texts: Vec<(&u64, &String)> = deltas.names.iter().collect();
        texts.sort_unstable();
        for (key, text) in texts {
            if self.len() < names_max {
                self.learn(*key, text);
            }
        }
    }
}
