//! What an independent recount says the sums of a span are.

use reckon_event::{Deltas, TenantId, Timestamp};

use crate::{Error, Field};

/// What the sums of a span are to be.
pub(crate) struct Recount<'a> {
    pub tenant: TenantId,
    pub from: i64,
    pub to: i64,
    pub figures: &'a Deltas,
}

impl<'a> Recount<'a> {
    /// Refuses what is not of the tenant, or not within whole minutes.
    pub(crate) fn of(
        tenant: TenantId,
        (from, to): (Timestamp, Timestamp),
        figures: &'a Deltas,
    ) -> Result<Self, Error> {
        let recount = Recount { tenant, from: from.seconds(), to: to.seconds(), figures };
        if from.0 % Timestamp::SECOND != 0 || to.0 % Timestamp::SECOND != 0 {
            return Err(Error::question(Field::From, "give `from` and `to` in whole minutes"));
        }
        recount.check()?;
        Ok(recount)
    }

    fn check(&self) -> Result<(), Error> {
        if self.from % 60 != 0 || self.to % 60 != 0 || self.from >= self.to {
            return Err(Error::question(Field::From, "give `from` and `to` in whole minutes"));
        }
        let inside = self.from..self.to;
        let is_foreign = |cell: &reckon_event::Cell| {
            cell.tenant != self.tenant || !inside.contains(&cell.second)
        };
        match self.figures.cells.keys().any(is_foreign) {
            true => Err(Error::question(
                Field::From,
                "give figures of the tenant and of seconds from `from` to before `to` only",
            )),
            false => Ok(()),
        }
    }
}
