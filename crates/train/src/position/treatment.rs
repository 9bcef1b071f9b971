//! What a fit does to the rows it learns, by the treatment that was asked for.

use super::examination::Examination;
use super::tower::Tower;
use super::{PLACES, Position, class};
use crate::split::for_each_batch;
use crate::{Order, Rows, Share, Table, TrainError};

/// A treatment at work.
#[derive(Clone, Debug)]
pub(crate) struct Treatment {
    position: Position,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    /// Rows weigh what they weigh.
    Nothing,
    Tower(Box<Tower>),
    Weights {
        examination: Examination,
        clip: f64,
    },
}

/// What was seen at each place.
struct Rates {
    rows: Vec<f64>,
    clicks: Vec<f64>,
}

impl Treatment {
    /// Begins with these rows, of which so many are learned from in an epoch. `learned` gives what
    /// [`Position::Tower`] finds with a simple model, for weights without a shuffle.
    pub fn begin(
        position: Position,
        table: &Table,
        train: &Share,
        rows: u64,
        learned: impl FnOnce() -> Result<Examination, TrainError>,
    ) -> Result<Self, TrainError> {
        let work = match position {
            Position::Ignored | Position::Feature => Work::Nothing,
            Position::Tower => {
                let start = Rates::count(table, train)?.examination()?;
                Work::Tower(Box::new(Tower::new(start, rows)))
            }
            Position::Weights { clip, is_shuffled } => {
                let examination = match is_shuffled {
                    true => Rates::count(table, train)?.examination()?,
                    false => learned()?,
                };
                Work::Weights { examination, clip: f64::from(clip) }
            }
        };
        Ok(Treatment { position, work })
    }

    /// Whether it weighs rows by what the model gives them at the moment.
    pub fn asks_the_model(&self) -> bool {
        matches!(self.work, Work::Tower(_))
    }

    /// Weighs rows that are about to be learned. `logits` are what the model gives each at place 1,
    /// `+ ln w`, where it is asked for them.
    pub fn weigh(&mut self, rows: &mut Rows, logits: &[f32], kept: f64) {
        match &mut self.work {
            Work::Nothing => {}
            Work::Tower(tower) => {
                tower.see(rows, logits, kept);
                let examination = tower.examination();
                for (index, &logit) in logits.iter().enumerate() {
                    let (position, label) = (rows.positions[index], rows.labels[index]);
                    rows.weights[index] *= examination.looked_at(position, logit, label) as f32;
                }
            }
            Work::Weights { examination, clip } => {
                for index in 0..rows.len() {
                    rows.weights[index] *= match examination.chance(rows.positions[index]) {
                        0.0 => 0.0,
                        chance if rows.labels[index] => chance.recip().min(*clip) as f32,
                        _ => 1.0,
                    };
                }
            }
        }
    }

    /// Adds what it adds to encoded rows, as they were shown.
    pub fn shape(&self, rows: &mut Rows) {
        self.position.shape(rows, None);
    }

    /// How likely each place is looked at, as far as it is known.
    pub fn examination(&self) -> Examination {
        match &self.work {
            Work::Nothing => Examination::whole(),
            Work::Tower(tower) => tower.examination().clone(),
            Work::Weights { examination, .. } => examination.clone(),
        }
    }

    /// Appends what an unfinished fit goes on from.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Work::Tower(tower) = &self.work {
            tower.encode(out);
        }
    }

    /// Goes on from there, and answers the bytes behind; `None` where they are too few.
    pub fn resume<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let Work::Tower(tower) = &mut self.work else { return Some(bytes) };
        let (own, rest) = bytes.split_at_checked(Tower::BYTES)?;
        tower.resume(own);
        Some(rest)
    }

    /// Appends an examination, in front of the model that was best with it.
    pub fn encode_found(&self, examination: &Examination, out: &mut Vec<u8>) {
        if let Work::Tower(_) = self.work {
            let chances = examination.chances().iter();
            chances.for_each(|chance| out.extend_from_slice(&chance.to_le_bytes()));
        }
    }

    /// Reads it back, and answers the bytes behind; `None` where they are too few.
    pub fn decode_found<'b>(&self, bytes: &'b [u8]) -> Option<(Examination, &'b [u8])> {
        let Work::Tower(_) = self.work else { return Some((self.examination(), bytes)) };
        let (own, rest) = bytes.split_at_checked(PLACES * 8)?;
        let chances = own.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
        Some((Examination::of(chances), rest))
    }
}

impl Rates {
    /// Counts all rows of a share, sampled or not.
    fn count(table: &Table, share: &Share) -> Result<Self, TrainError> {
        let mut rates = Rates { rows: vec![0.0; PLACES], clicks: vec![0.0; PLACES] };
        let whole = Share::all(share.rows.clone());
        for_each_batch(table, &whole, Order::Logged, |batch| {
            for row in batch.iter() {
                let (place, weight) = (class(row.position), f64::from(row.weight));
                rates.rows[place] += weight;
                rates.clicks[place] += if row.label { weight } else { 0.0 };
            }
            Ok(())
        })?;
        Ok(rates)
    }

    /// The click rate of each place beside that of place 1. Where no row stood at a place, the next one before
    /// it is as good a guess as any.
    fn examination(&self) -> Result<Examination, TrainError> {
        let rate = |place: usize| self.clicks[place] / self.rows[place];
        let first = rate(1);
        if first.is_nan() || first <= 0.0 {
            let problem = "no training row at place 1 was clicked, and all other places are measured by \
                           it: log where rows are shown, or take position = ignored";
            return Err(TrainError::option("position", problem));
        }
        let mut last = 1.0;
        let chance = |place| {
            if self.rows[place] > 0.0 {
                last = rate(place) / first;
            }
            last
        };
        Ok(Examination::of((0..PLACES).map(chance)))
    }
}
