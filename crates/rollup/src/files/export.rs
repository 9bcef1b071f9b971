//! Exports, and the summing of rows as they are kept.

use reckon_disk::Disk;
use reckon_event::{Cell, Kind, Measure, TenantId, Timestamp, Verdict};

use super::block::Wanted;
use super::hot::Table;
use super::options::Dimensions;
use super::plan::{Need, plan};
use super::row::{Row, Select, currency_of};
use super::{Files, Line, Visible};
use crate::{Error, Export, Exported, Field, Filter};

/// Sums of rows under the keys of a cube, up to a bound.
pub(super) struct Gathered {
    table: Table,
    shape: (Dimensions, i64),
    rows_max: usize,
}

impl Gathered {
    pub(super) fn new(shape: (Dimensions, i64), rows_max: usize) -> Self {
        Gathered { table: Table::default(), shape, rows_max }
    }

    /// Adds a row, or takes it away.
    pub(super) fn add(&mut self, row: &Row, sign: i64) -> Result<(), Error> {
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
    pub(super) fn sorted(mut self) -> Vec<Row> {
        self.table.take_sorted()
    }
}

impl Files {
    pub(super) fn export_rows(&self, export: &Export) -> Result<Exported, Error> {
        let (from, to) = export.bounds()?;
        let pane = export.pane.seconds();
        let tenant = export.tenant.map(|tenant| tenant.0);
        let filter = Filter::default();
        let select = Select { tenant, filter, from, to };
        let need = Need { dimensions: export.dimensions, grain: Some(pane), from, to, filter };
        let mut gathered = Gathered::new((export.dimensions, pane), self.options.groups_max);
        let (stretches, frozen, durable, applied) = {
            let visible = self.visible();
            let Visible { hot, line, durable, .. } = &*visible;
            let stretches = plan(&need, durable)?;
            let mut outcome = Ok(());
            hot.scan_active(&select, |row| {
                if outcome.is_ok() {
                    outcome = gathered.add(row, 1);
                }
            });
            outcome?;
            (stretches, hot.frozen(), durable.clone(), Line::applied(line))
        };
        for segment in frozen {
            let mut outcome = Ok(());
            segment.scan(&select, |row| {
                if outcome.is_ok() {
                    outcome = gathered.add(row, 1);
                }
            });
            outcome?;
        }
        let disk: &dyn Disk = &*self.disk;
        for stretch in stretches {
            let select = Select { from: stretch.from, to: stretch.to, ..select };
            let shape = durable.shape(stretch.cube);
            for run in durable.runs_of(stretch.cube) {
                run.scan(disk, shape, (&select, Wanted::ALL), |row| gathered.add(row, 1))?;
            }
        }
        Ok(Exported {
            applied,
            from: Timestamp::from_seconds(from),
            to: Timestamp::from_seconds(to),
            figures: gathered.sorted().iter().map(figure).collect(),
        })
    }
}

fn figure(row: &Row) -> (Cell, Measure) {
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
