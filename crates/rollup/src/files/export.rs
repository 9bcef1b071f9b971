//! Exports: rows as they are kept.

use reckon_disk::Disk;
use reckon_event::Timestamp;

use super::block::Wanted;
use super::row::Select;
use super::{Files, Line, Visible};
use crate::sums::gathered::{Gathered, figure};
use crate::sums::plan::Need;
use crate::{Error, Export, Exported, Filter};

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
            let stretches = durable.plan(&need)?;
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
