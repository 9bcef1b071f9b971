//! Sums made again from the records: what a damaged pane is mended with.

use reckon_event::{Cell, Deltas, Kind, Measure, TenantId, Timestamp, Verdict};

use crate::compare::in_force;
use crate::recount::{RecountRange, currency_of, within};
use crate::table::{Keys, Numbers, Texts};
use crate::{AuditError, Auditor};

/// The most cells of one span; a longer one is mended in parts.
pub const SUMS_MAX: usize = 4_000_000;

impl Auditor {
    /// Everything a tenant's records of a range add up to under their verdicts in force, in the finest
    /// cells, as [`reckon_rollup::RollupStore::rebuild`] takes them. The range is of whole minutes.
    ///
    /// Refused where there are more than [`SUMS_MAX`] cells.
    pub async fn sums(&self, tenant: TenantId, range: &RecountRange) -> Result<Deltas, AuditError> {
        self.check(range)?;
        let mut sums = Deltas::default();
        for batch in self.collect(&sums_sql(tenant, range)).await? {
            add_rows(&mut sums, tenant, &batch)?;
        }
        if sums.cells.len() > SUMS_MAX {
            let what = format!("more than {SUMS_MAX} sums to mend at once: give a shorter range");
            return Err(AuditError::Question(what));
        }
        Ok(sums)
    }
}

/// One row a cell. A position that the event does not tell is the one its token sealed.
fn sums_sql(tenant: TenantId, range: &RecountRange) -> String {
    let (click, counted) = (Kind::Click.code(), Verdict::Counted.code());
    format!(
        "SELECT at / {second} AS second, ad_key,
                CASE WHEN ad_key = 0 THEN 0 ELSE campaign_key END AS campaign_key,
                region, device, placement,
                CASE WHEN page_position = 0 THEN coalesce(served_position, 0)
                     ELSE page_position END AS page_position,
                kind, in_force, currency, count(*) AS records,
                sum(CASE WHEN kind = {click} AND in_force = {counted} THEN price ELSE 0 END) AS spend
         FROM ({rows})
         WHERE in_force > 0 AND kind <> {adjustment} AND tenant = {tenant} AND {within}
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 LIMIT {limit}",
        second = Timestamp::SECOND,
        rows = in_force(range),
        adjustment = Kind::Adjustment.code(),
        tenant = tenant.0,
        within = within(range, "at"),
        limit = SUMS_MAX + 1,
    )
}

fn add_rows(
    sums: &mut Deltas,
    tenant: TenantId,
    batch: &arrow::array::RecordBatch,
) -> Result<(), AuditError> {
    let (ads, campaigns) = (Keys::of(batch, "ad_key")?, Keys::of(batch, "campaign_key")?);
    let (seconds, positions) =
        (Numbers::of(batch, "second")?, Numbers::of(batch, "page_position")?);
    let (kinds, verdicts) = (Numbers::of(batch, "kind")?, Numbers::of(batch, "in_force")?);
    let (regions, devices) = (Texts::of(batch, "region")?, Texts::of(batch, "device")?);
    let (placements, currencies) = (Texts::of(batch, "placement")?, Texts::of(batch, "currency")?);
    let (records, spend) = (Numbers::of(batch, "records")?, Numbers::of(batch, "spend")?);
    for row in 0..batch.num_rows() {
        let code = |numbers: &Numbers| u8::try_from(numbers.at(row)).ok();
        let kind = code(&kinds).and_then(Kind::from_code);
        let verdict = code(&verdicts).and_then(Verdict::from_code);
        let (Some(kind), Some(verdict)) = (kind, verdict) else { continue };
        let cell = Cell {
            second: seconds.at(row),
            tenant,
            ad: ads.at(row),
            campaign: campaigns.at(row),
            region: sums.name(regions.at(row)),
            device: sums.name(devices.at(row)),
            placement: sums.name(placements.at(row)),
            position: u16::try_from(positions.at(row)).unwrap_or_default(),
            kind,
            verdict,
            currency: currency_of(currencies.at(row)),
        };
        sums.add(cell, Measure { count: records.at(row), spend: spend.at(row) });
    }
    Ok(())
}
