//! The mean of what a network was after each epoch: steps that the last rows asked for and others took
//! back are damped, which on few rows is worth more than another layer.
//!
//! Each epoch's weights count less than those of the next by a fixed share, and the first epoch is not
//! counted for more than it is worth (what Adam does to its means).
//!
//! ```text
//! kept with a checkpoint: its length u64 | the trainer's checkpoint | epochs u32 | the mean's weights, if any
//! ```

use reckon_model::StateError;
use reckon_model::dcn::{Trainer, Weights};

use crate::TrainError;

/// The mean so far.
pub(super) struct Mean {
    /// The share of what was before.
    share: f32,
    epochs: u32,
    weights: Option<Box<Weights>>,
}

impl Mean {
    /// Of nothing yet.
    pub fn new(share: f32) -> Self {
        Mean { share, epochs: 0, weights: None }
    }

    /// Takes an epoch's weights, and gives the mean with them.
    pub fn add(&mut self, weights: Weights) -> &Weights {
        self.epochs += 1;
        // The weights of all epochs so far add up to 1 - share^epochs.
        let part = (1.0 - self.share) / (1.0 - self.share.powi(self.epochs.min(10_000) as i32));
        let mean = match self.weights.take() {
            Some(mut mean) => {
                mean.blend(&weights, part);
                mean
            }
            None => Box::new(weights),
        };
        self.weights.insert(mean)
    }

    /// Appends a trainer's checkpoint, and the mean.
    pub fn encode(&self, trainer: &Trainer, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        trainer.checkpoint(out);
        let length = (out.len() - start - 8) as u64;
        out[start..start + 8].copy_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.epochs.to_le_bytes());
        if let Some(mean) = &self.weights {
            mean.to_bytes(out);
        }
    }

    /// Both back.
    pub fn decode(share: f32, bytes: &[u8]) -> Result<(Trainer, Self), TrainError> {
        let (length, rest) = bytes.split_first_chunk().ok_or(StateError::Truncated)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (trainer, rest) = rest.split_at_checked(length).ok_or(StateError::Truncated)?;
        let (epochs, rest) = rest.split_first_chunk().ok_or(StateError::Truncated)?;
        let weights = match rest {
            [] => None,
            rest => Some(Box::new(Weights::from_bytes(rest)?)),
        };
        let mean = Mean { share, epochs: u32::from_le_bytes(*epochs), weights };
        Ok((Trainer::resume(trainer)?, mean))
    }
}
