//! Rows of frozen days and their figures, and what becomes of a day that is to be frozen.
//!
//! A day is kept with a digest of its figures beside it: that they are still what they were is then a
//! matter of reading them again.

use std::collections::HashSet;

use reckon_event::{Day, Timestamp};

use super::{currency_of, tenant_of, u32_of, u64_of};
use crate::books::Created;
use crate::check;
use crate::error::Error;
use crate::ledger::{FrozenFigure, Period};

/// Reads [`PeriodColumns`]; a condition follows.
pub(crate) const SELECT_PERIOD: &str = "SELECT p.day, p.cut, p.figure_count, p.frozen_at, c.closed_at, p.figures_digest \
     FROM periods p LEFT JOIN period_closings c ON c.day = p.day ";

/// The values of [`SELECT_PERIOD`].
pub(crate) type PeriodColumns = (i64, i64, i64, i64, Option<i64>, Vec<u8>);

/// A period as it is stored, with the digest of its figures.
pub(crate) struct StoredPeriod {
    pub period: Period,
    pub digest: Vec<u8>,
}

pub(crate) fn period_of(columns: PeriodColumns) -> Result<StoredPeriod, Error> {
    let (day, cut, figure_count, frozen_at, closed_at, digest) = columns;
    let period = Period {
        day: day_of(day)?,
        cut: u64_of(cut, "cut")?,
        figure_count: u64_of(figure_count, "number of figures")?,
        frozen_at: Timestamp(frozen_at),
        closed_at: closed_at.map(Timestamp),
    };
    Ok(StoredPeriod { period, digest })
}

fn day_of(number: i64) -> Result<Day, Error> {
    let day = Day::new(u32_of(number, "day")?);
    day.ok_or_else(|| Error::damaged(format!("{number} is no day before 2200")))
}

pub(crate) fn day_to_column(day: Day) -> i64 {
    i64::from(day.number())
}

impl StoredPeriod {
    /// What becomes of freezing this day again: the same, or a refusal.
    pub(crate) fn again(self, asked: &Freezing) -> Result<Created<Period>, Error> {
        let Period { day, cut, .. } = self.period;
        if cut == asked.period.cut && self.digest == asked.digest.as_bytes() {
            return Ok(Created::Same(self.period));
        }
        let message = format!("{day} is frozen at cut {cut} with its own figures: they stand");
        Err(Error::conflict(message))
    }
}

pub(crate) const FIGURE_COLUMNS: &str = "figure_key, hour, tenant, advertiser_id, campaign_id, \
    ad_id, currency, clicks, duplicates, invalid, spend_micros, daily_budget_micros";

/// The values of [`FIGURE_COLUMNS`].
pub(crate) type FigureColumns =
    (String, i64, i64, String, String, String, String, i64, i64, i64, i64, Option<i64>);

pub(crate) fn figure_of(columns: FigureColumns) -> Result<FrozenFigure, Error> {
    let (
        key,
        hour,
        tenant,
        payer,
        campaign_id,
        ad_id,
        currency,
        clicks,
        twice,
        invalid,
        spend,
        max,
    ) = columns;
    Ok(FrozenFigure {
        key,
        hour: Timestamp(hour),
        tenant: tenant_of(tenant)?,
        advertiser_id: payer,
        campaign_id,
        ad_id,
        currency: currency_of(&currency)?,
        clicks,
        duplicates: twice,
        invalid,
        spend,
        daily_budget: max,
    })
}

/// A day about to be frozen: its figures in the order of hour and key, and their digest.
pub(crate) struct Freezing {
    pub period: Period,
    pub figures: Vec<FrozenFigure>,
    pub digest: blake3::Hash,
}

impl Freezing {
    /// Checks all that can be checked without the books.
    pub(crate) fn new(
        day: Day,
        cut: u64,
        mut figures: Vec<FrozenFigure>,
        at: Timestamp,
    ) -> Result<Self, Error> {
        check::cut(cut)?;
        check::time("at", at)?;
        check::figures(&figures)?;
        figures.sort_unstable_by(|one, other| (one.hour, &one.key).cmp(&(other.hour, &other.key)));
        check_of_day(day, &figures)?;
        let mut digest = Digest::new();
        figures.iter().for_each(|figure| digest.add(figure));
        let figure_count = figures.len() as u64;
        let period = Period { day, cut, figure_count, frozen_at: at, closed_at: None };
        Ok(Freezing { period, figures, digest: digest.finish() })
    }
}

/// All of one day, and no key twice.
fn check_of_day(day: Day, figures: &[FrozenFigure]) -> Result<(), Error> {
    let mut keys = HashSet::with_capacity(figures.len());
    for figure in figures {
        if Day::of(figure.hour) != day {
            return Err(Error::invalid("hour", &format!("must lie in {day}")));
        }
        if !keys.insert(&figure.key) {
            return Err(Error::invalid("key", &format!("`{}` stands there twice", figure.key)));
        }
    }
    Ok(())
}

/// BLAKE3 over the figures in the order of hour and key, every text with its length before it.
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub(crate) fn new() -> Self {
        Digest(blake3::Hasher::new())
    }

    pub(crate) fn add(&mut self, figure: &FrozenFigure) {
        let texts = [&figure.key, &figure.advertiser_id, &figure.campaign_id, &figure.ad_id];
        for text in texts {
            self.0.update(&(text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
        let budget = figure.daily_budget.unwrap_or(-1);
        let counts = [figure.clicks, figure.duplicates, figure.invalid, figure.spend, budget];
        for number in [figure.hour.0, i64::from(figure.tenant.0)].into_iter().chain(counts) {
            self.0.update(&number.to_le_bytes());
        }
        self.0.update(&figure.currency.bytes());
    }

    pub(crate) fn finish(&self) -> blake3::Hash {
        self.0.finalize()
    }
}
