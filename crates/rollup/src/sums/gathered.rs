//! The summing of rows under the keys of a cube: what exports and rebuilt spans are made of.

use reckon_event::{Cell, Kind, Measure, TenantId, Verdict};

use super::cube::Dimensions;
use super::hot::Table;
use super::row::{Row, currency_of};
use crate::{Error, Field};

/// Sums of rows under the keys of a cube, up to a bound.
pub(crate) struct Gathered {
    table: Table,
    shape: (Dimensions, i64),
    rows_max: usize,
}

impl Gathered {
    pub(crate) fn new(shape: (Dimensions, i64), rows_max: usize) -> Self {
        Gathered { table: Table::default(), shape, rows_max }
    }

    /// Adds a row, or takes it away.
    pub(crate) fn add(&mut self, row: &Row, sign: i64) -> Result<(), Error> {
        if self.table.len() >= self.rows_max {
            let fix = format!("more than {} sums: ask for less time at once", self.rows_max);
            return Err(Error::question(Field::To, fix));
        }
        let Measure { count, spend } = row.measure;
        let measure = Measure { count: count * sign, spend: spend * sign };
        self.table.add(row.key.project(self.shape.0, self.shape.1), measure);
        Ok(())
    }

    /// What is not zero, sorted.
    pub(crate) fn sorted(mut self) -> Vec<Row> {
        self.table.take_sorted()
    }
}

/// A row as others know it.
pub(crate) fn figure(row: &Row) -> (Cell, Measure) {
    let key = &row.key;
    let cell = Cell {
        second: key.second,
        tenant: TenantId(key.tenant),
        ad: key.ad,
        campaign: key.campaign,
        region: key.region,
        device: key.device,
        placement: key.placement,
        position: key.position,
        kind: Kind::from_code(key.kind).expect("it was one when it was applied"),
        verdict: Verdict::from_code(key.verdict).expect("it was one when it was applied"),
        currency: currency_of(key.currency).expect("other codes are refused when they are read"),
    };
    (cell, row.measure)
}
