//! Sums as they are kept: exports, totals, and what a rebuilt span is compared with.

use std::sync::Arc;

use reckon_event::{Kind, TenantId, Timestamp, Verdict};

use super::question::{Snapshot, need_all};
use super::rows::{SumRow, TotalRow};
use super::state::{CELLS, State, TOTALS};
use super::statement::{Grouping, fill, filter, list};
use super::{Shared, Visible};
use crate::sums::cube::Dimensions;
use crate::sums::gathered::{Gathered, figure};
use crate::sums::row::{Row, Select, currency_of};
use crate::{Error, Export, Exported, Field, Filter, Total};

use std::collections::BTreeMap;

/// Which sums are read.
pub(super) struct Wanted<'a> {
    pub tenant: Option<u32>,
    pub dimensions: Dimensions,
    /// Seconds of a bucket.
    pub pane: i64,
    pub runs: &'a str,
    /// The condition that tells their rows.
    pub sources: &'a str,
}

impl Shared {
    /// See [`crate::RollupStore::export`].
    pub(super) fn exported(&self, export: &Export) -> Result<Exported, Error> {
        let bounds = export.bounds()?;
        self.steadily(|| self.export_once(export, bounds))
    }

    fn export_once(
        &self,
        export: &Export,
        (from, to): (i64, i64),
    ) -> Result<(Exported, Arc<State>), Error> {
        let pane = export.pane.seconds();
        let tenant = export.tenant.map(|tenant| tenant.0);
        let select = Select { tenant, filter: Filter::default(), from, to };
        let mut gathered = Gathered::new((export.dimensions, pane), self.options.groups_max);
        let mut outcome = Ok(());
        let mut gather = |row: &Row| {
            if outcome.is_ok() {
                outcome = gathered.add(row, 1);
            }
        };
        let snapshot = {
            let visible = self.visible();
            visible.hot.scan_active(&select, &mut gather);
            Snapshot::of(&visible, &need_all(export.dimensions, pane, (from, to)))?
        };
        snapshot.frozen.iter().for_each(|frozen| frozen.scan(&select, &mut gather));
        outcome?;
        if let Some((runs, sources)) = snapshot.read_from() {
            let wanted = Wanted {
                tenant,
                dimensions: export.dimensions,
                pane,
                runs: &runs,
                sources: &sources,
            };
            self.sums(&wanted)?.iter().try_for_each(|row| gathered.add(row, 1))?;
        }
        let exported = Exported {
            applied: snapshot.applied,
            from: Timestamp::from_seconds(from),
            to: Timestamp::from_seconds(to),
            figures: gathered.sorted().iter().map(figure).collect(),
        };
        Ok((exported, snapshot.state))
    }

    /// Sums of runs, up to the bound.
    pub(super) fn sums(&self, wanted: &Wanted<'_>) -> Result<Vec<Row>, Error> {
        let rows_max = self.options.groups_max;
        let mut grouping = Grouping::new(wanted.dimensions, Some(wanted.pane));
        grouping.also_by(&["of_tenant", "of_kind", "of_verdict", "in_currency"]);
        grouping.place("runs", wanted.runs);
        grouping.place("sources", wanted.sources);
        grouping.place("filter", &filter(wanted.tenant, &Filter::default()));
        grouping.place("limit", &(rows_max + 1).to_string());
        let text = grouping.fill(include_str!("sql/sums.sql"));
        let rows = self.server.read::<SumRow>("reading sums", text)?;
        if rows.len() > rows_max {
            let fix = format!("more than {rows_max} sums: ask for less time at once");
            return Err(Error::question(Field::To, fix));
        }
        rows.iter().map(|row| self.sound(row.sum())).collect()
    }

    fn sound(&self, row: Row) -> Result<Row, Error> {
        let key = &row.key;
        let is_sound = Kind::from_code(key.kind).is_some()
            && Verdict::from_code(key.verdict).is_some()
            && currency_of(key.currency).is_some();
        match is_sound {
            true => Ok(row),
            false => Err(self.damaged(format!("a row of a kind that nobody has written: {row:?}"))),
        }
    }

    /// See [`crate::RollupStore::totals`].
    pub(super) fn totals(&self) -> Result<Vec<Total>, Error> {
        self.steadily(|| self.totals_once())
    }

    fn totals_once(&self) -> Result<(Vec<Total>, Arc<State>), Error> {
        let mut totals: BTreeMap<(u32, u8, u8), i64> = BTreeMap::new();
        let mut add = |row: &Row| {
            let key = (row.key.tenant, row.key.kind, row.key.verdict);
            *totals.entry(key).or_default() += row.measure.count;
        };
        let everything =
            Select { tenant: None, filter: Filter::default(), from: i64::MIN, to: i64::MAX };
        let (state, frozen) = {
            let visible = self.visible();
            let Visible { hot, state, .. } = &*visible;
            hot.scan_active(&everything, &mut add);
            (Arc::clone(state), hot.frozen())
        };
        frozen.iter().for_each(|frozen| frozen.scan(&everything, &mut add));
        for row in self.kept_totals(&state)? {
            *totals.entry((row.of_tenant, row.of_kind, row.of_verdict)).or_default() += row.counted;
        }
        let total = |((tenant, kind, verdict), count): ((u32, u8, u8), i64)| {
            let (kind, verdict) = Kind::from_code(kind).zip(Verdict::from_code(verdict))?;
            Some(Total { tenant: TenantId(tenant), kind, verdict, count })
        };
        let nonzero = totals.into_iter().filter(|(_, count)| *count != 0);
        let list: Option<Vec<Total>> = nonzero.map(total).collect();
        let list = list.ok_or_else(|| self.damaged("a total of a kind that nobody has written"))?;
        Ok((list, state))
    }

    fn kept_totals(&self, state: &State) -> Result<Vec<TotalRow>, Error> {
        if state.runs.is_empty() {
            return Ok(Vec::new());
        }
        let text = fill(
            include_str!("sql/totals.sql"),
            &[
                ("runs", &list(state.runs.iter().map(|run| run.id))),
                ("cells", &CELLS.to_string()),
                ("totals", &TOTALS.to_string()),
            ],
        );
        self.server.read("reading totals", text)
    }
}
