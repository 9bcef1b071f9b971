//! The lake as one of those to whom the pipeline hands each epoch.
//!
//! ```text
//! counter's thread:  apply -> columns ... full -> | chunk |            persist -> | commit | -> waits
//! lake's thread:                                   sort, encode, put, sync         manifest  -> answers
//! ```
//!
//! `apply` only appends to columns. Chunks go through a channel of one place, so at most three are in
//! memory: one that fills, one that waits, one that is written. A chunk whose files could not be
//! written stays with the lake's thread; until that has succeeded, epochs are refused, and so nothing
//! that was taken is lost and nothing grows.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use reckon_event::{Applied, Counted, Epoch, Subscriber, SubscriberError};

use crate::columns::{RecordColumns, RevisionColumns};
use crate::erase::{Erasure, ErasureRequest};
use crate::keeper::{Chunk, Keeper, Progress, Start};
use crate::shared::{Covered, Lease, Shared};
use crate::verify::Verified;
use crate::{LakeError, LakeOptions, LakePlace};

enum Job {
    Write(Box<Chunk>),
    Ask(Box<dyn FnOnce(&mut Keeper) + Send>),
    Tidy,
    Close,
}

/// Feeds the lake with epochs.
pub struct LakeSubscriber {
    handle: LakeHandle,
    options: LakeOptions,
    records: RecordColumns,
    revisions: RevisionColumns,
    /// Bytes in the columns, roughly.
    bytes: usize,
    /// As far as epochs have been taken.
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

/// Asks things of a lake that is open; may be cloned and used from any thread that may wait.
#[derive(Clone)]
pub struct LakeHandle {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

impl LakeSubscriber {
    /// Opens a lake for writing and starts its thread. Whoever had it open can write no more.
    pub fn open(place: LakePlace, options: LakeOptions) -> Result<Self, LakeError> {
        let (jobs, inbox) = sync_channel(1);
        let (opened, answer) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("lake".to_owned())
            .spawn(move || match Keeper::open(place, options, Start::Kept, theirs.clone()) {
                Ok(keeper) => {
                    let told = opened.send(Ok(Progress::of(&keeper.manifest)));
                    if told.is_ok() {
                        run(keeper, &inbox, &theirs);
                    }
                }
                // Nobody waits for the answer only where the opener is gone.
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|source| LakeError::Folder { path: "a thread".to_owned(), source })?;
        let progress = answer.recv().map_err(|_| LakeError::Closed)??;
        Ok(LakeSubscriber {
            handle: LakeHandle { jobs, shared },
            options,
            records: RecordColumns::default(),
            revisions: RevisionColumns::default(),
            bytes: 0,
            progress,
            thread: Some(thread),
        })
    }

    /// To ask things of it while the pipeline has it.
    pub fn handle(&self) -> LakeHandle {
        self.handle.clone()
    }

    fn decide(&self, epoch: &Epoch) -> Result<Decision, LakeError> {
        let Progress { stage, group, generation, epoch: last, .. } = self.progress;
        if stage != 0 && (stage, group) != (epoch.stage, epoch.group) {
            return Err(LakeError::OtherLine { stage, group });
        }
        if epoch.generation < generation {
            return Err(LakeError::Fenced(generation));
        }
        if epoch.number > last + 1 {
            return Err(LakeError::Gap { expected: last + 1, got: epoch.number });
        }
        Ok(if epoch.number <= last { Decision::Again } else { Decision::Take })
    }

    fn append(&mut self, epoch: &Epoch, counted: &Counted<'_>) {
        for ((position, record), verdict) in counted.records.iter().zip(counted.verdicts) {
            self.bytes += self.records.push(epoch.number, *position, record, *verdict);
        }
        for (ordinal, revision) in (0..).zip(counted.revisions) {
            let pushed = self.revisions.push(epoch.number, ordinal, counted.watermark, revision);
            self.bytes += pushed;
        }
        let Epoch { stage, group, generation, number, .. } = *epoch;
        self.progress =
            Progress { stage, group, generation, epoch: number, ..self.take_progress() };
        self.progress.cover(&epoch.bounds);
    }

    fn take_progress(&mut self) -> Progress {
        std::mem::take(&mut self.progress)
    }

    /// Gives the columns to the lake's thread. Where that is behind with an earlier chunk, it must
    /// catch up first.
    fn hand_over(&mut self) -> Result<(), LakeError> {
        if self.handle.shared.failure().is_some() {
            self.handle.ask(Keeper::write)??;
            self.handle.shared.set_failure(None);
        }
        let chunk = Chunk {
            records: self.records.finish(),
            revisions: self.revisions.finish(),
            progress: self.progress.clone(),
        };
        self.bytes = 0;
        self.handle.jobs.send(Job::Write(Box::new(chunk))).map_err(|_| LakeError::Closed)
    }

    fn take(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, LakeError> {
        assert_eq!(counted.records.len(), counted.verdicts.len(), "one verdict a record");
        let decision = self.decide(epoch)?;
        let generation = epoch.generation;
        if generation > self.progress.generation {
            self.handle.ask(move |keeper| keeper.fence(generation))??;
            self.progress.generation = generation;
        }
        if let Decision::Again = decision {
            return Ok(Applied::Again);
        }
        if self.bytes >= self.options.buffer_bytes_max {
            self.hand_over()?;
        }
        self.append(epoch, counted);
        Ok(Applied::Fresh)
    }
}

enum Decision {
    Take,
    Again,
}

impl Subscriber for LakeSubscriber {
    fn name(&self) -> &'static str {
        "lake"
    }

    fn persisted(&self) -> Option<u64> {
        Some(self.handle.covered().epoch)
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        Ok(self.take(epoch, counted)?)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        if self.progress.epoch > 0 {
            self.hand_over()?;
        }
        self.handle.ask(Keeper::commit).and_then(|done| done)?;
        self.handle.shared.set_failure(None);
        self.handle.jobs.send(Job::Tidy).map_err(|_| LakeError::Closed)?;
        Ok(())
    }
}

impl Drop for LakeSubscriber {
    /// Lets the thread finish what it was given; what was not persisted comes again.
    fn drop(&mut self) {
        let told = self.handle.jobs.send(Job::Close);
        if let (Ok(()), Some(thread)) = (told, self.thread.take()) {
            // A panic of the thread has been told on stderr; there is nothing left to do for it here.
            let _ = thread.join();
        }
    }
}

impl LakeHandle {
    /// How far the lake is, durably.
    pub fn covered(&self) -> Covered {
        self.shared.covered()
    }

    /// Why small files could not be merged or old ones not be removed after the last commit.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    /// Holds the files of the present state until it is dropped.
    pub fn lease(&self) -> Lease {
        Lease::new(self.shared.clone())
    }

    /// Takes persons out of everything that is in the lake, or tells what must be kept before.
    pub fn erase(&self, requests: Vec<ErasureRequest>) -> Result<Erasure, LakeError> {
        self.ask(move |keeper| keeper.erase(&requests))?
    }

    /// Reads every file and holds it against the manifest.
    pub fn verify(&self) -> Result<Verified, LakeError> {
        self.ask(|keeper| keeper.verify())
    }

    /// Merges small files until there is nothing to merge; returns how many times it did.
    pub fn merge(&self) -> Result<usize, LakeError> {
        self.ask(|keeper| {
            let mut merges = 0;
            while keeper.merge_once()? {
                merges += 1;
            }
            keeper.remove_doomed()?;
            Ok(merges)
        })?
    }

    /// Has the lake's thread do something, and waits for the answer.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Result<T, LakeError> {
        let (reply, answer) = sync_channel(1);
        let job = Job::Ask(Box::new(move |keeper: &mut Keeper| {
            // Whoever asked may have gone; the answer is then nobody's.
            let _ = reply.send(question(keeper));
        }));
        self.jobs.send(job).map_err(|_| LakeError::Closed)?;
        answer.recv().map_err(|_| LakeError::Closed)
    }
}

fn run(mut keeper: Keeper, inbox: &Receiver<Job>, shared: &Shared) {
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Write(chunk) => {
                if let Err(error) = keeper.take(*chunk) {
                    shared.set_failure(Some(error.to_string()));
                }
            }
            Job::Ask(question) => question(&mut keeper),
            Job::Tidy => {
                let trouble = tidy(&mut keeper).err();
                shared.set_trouble(trouble.map(|error| error.to_string()));
            }
            Job::Close => return,
        }
    }
}

/// After each commit: one merge where there is one, and what is due to be removed. Neither is needed
/// for what is in the lake to be right, so a failure is told and tried again after the next commit.
fn tidy(keeper: &mut Keeper) -> Result<(), LakeError> {
    keeper.merge_once()?;
    keeper.remove_doomed()
}
