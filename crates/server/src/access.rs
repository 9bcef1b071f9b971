//! Access: the records of one person, read from the lake page by page.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use reckon_audit::Auditor;
use reckon_event::{Pseudonym, TenantId, Timestamp};
use serde_json::{Map, Value};

use crate::app::App;
use crate::audit;

/// Where a record stands in the log: pages of a person's records go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Partition of the log.
    pub partition: u16,
    /// Offset in it.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (partition, offset) = text.split_once('-').unwrap_or((text, ""));
        Ok(Place { partition: partition.parse()?, offset: offset.parse()? })
    }
}

/// What of a record is told, in this order; the names are those of the lake but where told otherwise.
const COLUMNS: &str = "kind, CAST(happened AS BIGINT) AS happened, \
    CAST(received AS BIGINT) AS received, verdict, outcome, ad_id, item_id, \
    price AS price_micros, currency, region, device, placement, page_position AS position, value, \
    consent, ip, event_id, request_id, install_id, session_id, session_sequence, source, \
    log_partition, log_offset";

/// Records of a person behind a place, at most `limit`, each with its place. All that was counted when
/// this was asked is among them.
pub async fn records_of(
    app: &Arc<App>,
    tenant: TenantId,
    person: Pseudonym,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<(Place, Value)>> {
    let _turn = app.audit_turn.take().await?;
    audit::cover(app, app.progress.snapshot().epoch).await?;
    let _lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, audit::options(app)).await?;
    // Nothing in this text was written by somebody else: digits and numbers only.
    let behind = after.map_or_else(String::new, |Place { partition, offset }| {
        format!(
            " AND (log_partition > {partition} OR log_partition = {partition} AND log_offset > {offset})"
        )
    });
    let text = format!(
        "SELECT {COLUMNS} FROM events WHERE tenant = {} AND pseudonym = '{:032x}'{behind} \
         ORDER BY log_partition, log_offset LIMIT {limit}",
        tenant.0, person.0
    );
    let rows = auditor.sql(&text).await?.to_json()?;
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(&rows)?;
    rows.into_iter().map(told).collect()
}

/// A row as it is answered: times as people read them, nothing that is absent.
fn told(mut row: Map<String, Value>) -> Result<(Place, Value)> {
    let mut take = |name: &str| row.remove(name).and_then(|value| value.as_u64());
    let place = take("log_partition").zip(take("log_offset"));
    let (partition, offset) = place.context("the lake: a record without its place")?;
    let place = Place { partition: u16::try_from(partition)?, offset };
    for name in ["happened", "received"] {
        if let Some(micros) = row.get(name).and_then(Value::as_i64) {
            row.insert(name.to_owned(), Timestamp(micros).to_string().into());
        }
    }
    row.retain(|_, value| !value.is_null() && value != "");
    row.insert("place".to_owned(), place.to_string().into());
    Ok((place, Value::Object(row)))
}
