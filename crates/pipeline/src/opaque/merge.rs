//! Merging sorted ids: of several copies of a key the latest stays, block by block.

use super::run::{Entry, Run};
use crate::Error;

/// Something sorted by key.
pub(super) enum Source<'a> {
    Memory(Memory),
    Run(RunReader<'a>),
}

/// Entries in memory, ascending.
pub(super) struct Memory(std::vec::IntoIter<Entry>);

/// A run that is read from its beginning.
pub(super) struct RunReader<'a> {
    run: &'a Run,
    next_block: usize,
    entries: std::vec::IntoIter<Entry>,
}

impl Memory {
    pub fn new(entries: Vec<Entry>) -> Self {
        Memory(entries.into_iter())
    }
}

impl From<Memory> for Source<'_> {
    fn from(memory: Memory) -> Self {
        Source::Memory(memory)
    }
}

impl<'a> From<&'a Run> for Source<'a> {
    fn from(run: &'a Run) -> Self {
        Source::Run(RunReader { run, next_block: 0, entries: Vec::new().into_iter() })
    }
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<Entry>, Error> {
        match self {
            Source::Memory(memory) => Ok(memory.0.next()),
            Source::Run(reader) => reader.next(),
        }
    }
}

impl RunReader<'_> {
    fn next(&mut self) -> Result<Option<Entry>, Error> {
        if let Some(entry) = self.entries.next() {
            return Ok(Some(entry));
        }
        if self.next_block == self.run.blocks() {
            return Ok(None);
        }
        self.entries = self.run.block(self.next_block)?.into_iter();
        self.next_block += 1;
        Ok(self.entries.next())
    }
}

/// Hands on the entries of all sources in order, the latest of each key, where it is kept.
///
/// The sources are few ([`super::FAN_IN`] or so), so the least is found by looking at all heads.
pub(super) fn merge(
    sources: &mut [Source<'_>],
    is_kept: &dyn Fn(&Entry) -> bool,
    push: &mut dyn FnMut(&Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut heads = Vec::with_capacity(sources.len());
    for source in sources.iter_mut() {
        heads.push(source.next()?);
    }
    while let Some(key) = heads.iter().flatten().map(|entry| entry.key).min() {
        let mut latest: Option<Entry> = None;
        for (head, source) in heads.iter_mut().zip(sources.iter_mut()) {
            if let Some(entry) = head.filter(|entry| entry.key == key) {
                latest = latest.filter(|known| known.offset > entry.offset).or(Some(entry));
                *head = source.next()?;
            }
        }
        if let Some(entry) = latest.filter(is_kept) {
            push(&entry)?;
        }
    }
    Ok(())
}
