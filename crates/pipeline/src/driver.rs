//! The thread that steps a pipeline: when an epoch is made, never what is in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::progress::Status;
use crate::{Error, Pipeline, Progress, Stepped};

/// How often it looks whether it is still held.
const HELD_LOOK: Duration = Duration::from_millis(5);

/// A pipeline on a thread of its own. Dropping it stops it too, without waiting.
pub struct Running {
    signal: Arc<Signal>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Result<Pipeline, Error>>>,
}

#[derive(Default)]
struct Signal {
    stop: AtomicBool,
    gate: Mutex<()>,
    raised: Condvar,
}

impl Pipeline {
    /// Steps it on a thread of its own until it is stopped or fails.
    pub fn spawn(self) -> std::io::Result<Running> {
        let (signal, progress) = (Arc::new(Signal::default()), self.progress());
        let (watched, shown) = (Arc::clone(&signal), Arc::clone(&progress));
        let thread = std::thread::Builder::new()
            .name("reckon-pipeline".to_owned())
            .spawn(move || drive(self, &watched, &shown))?;
        Ok(Running { signal, progress, thread: Some(thread) })
    }
}

impl Running {
    /// How far it is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Ends the epoch in hand, writes a checkpoint and gives the pipeline back; or tells why it had
    /// stopped before.
    pub fn stop(mut self) -> Result<Pipeline, Error> {
        self.signal.raise();
        let thread = self.thread.take().expect("it is taken only here");
        thread.join().unwrap_or_else(|_| Err(Error::Halted("a subscriber panicked".to_owned())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal.raise();
    }
}

impl Signal {
    fn is_raised(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn raise(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.store(true, Ordering::Release);
        drop(gate);
        self.raised.notify_all();
    }

    fn pause(&self, time: Duration) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = self.raised.wait_timeout_while(gate, time, |()| !self.is_raised());
        drop(paused.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Says that the thread is gone, also where a subscriber has panicked.
struct Farewell(Arc<Progress>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let status = match std::thread::panicking() {
            true => Status::Failed("a subscriber panicked".to_owned()),
            false => Status::Stopped,
        };
        self.0.update(|now| {
            if now.status == Status::Running {
                now.status = status;
            }
        });
    }
}

fn drive(
    mut pipeline: Pipeline,
    signal: &Signal,
    progress: &Arc<Progress>,
) -> Result<Pipeline, Error> {
    let _farewell = Farewell(Arc::clone(progress));
    let mut idle_looks = 0;
    while !signal.is_raised() {
        if progress.is_held() {
            stand_still(&mut pipeline, signal, progress)?;
            continue;
        }
        match pipeline.step()? {
            Stepped::Idle => {
                idle_looks += 1;
                await_records(&pipeline, idle_looks);
            }
            Stepped::Applied { has_more, .. } => {
                idle_looks = 0;
                if !has_more {
                    signal.pause(pipeline.options.epoch_interval);
                }
            }
        }
        let is_quiet = idle_looks >= pipeline.options.checkpoint_idle_looks;
        let is_wanted = progress.take_checkpoint_request() || is_quiet;
        if pipeline.is_checkpoint_due() || is_wanted && pipeline.is_dirty() {
            pipeline.checkpoint()?;
        }
    }
    pipeline.checkpoint()?;
    Ok(pipeline)
}

/// Makes no epoch while somebody holds it; a checkpoint that is asked for is still written.
fn stand_still(pipeline: &mut Pipeline, signal: &Signal, progress: &Progress) -> Result<(), Error> {
    progress.update(|now| now.is_held = true);
    while progress.is_held() && !signal.is_raised() {
        if progress.take_checkpoint_request() && pipeline.is_dirty() {
            pipeline.checkpoint()?;
        }
        signal.pause(HELD_LOOK);
    }
    progress.update(|now| now.is_held = false);
    Ok(())
}

/// Waits on one partition at a time, another with each look, so none is waited for longer than an
/// interval.
fn await_records(pipeline: &Pipeline, looks: u32) {
    let partition = (looks as usize % pipeline.position.len()) as u16;
    let beyond = pipeline.position[usize::from(partition)];
    pipeline.log.wait(partition, beyond, pipeline.options.epoch_interval);
}
