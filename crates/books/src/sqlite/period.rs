//! Frozen and closed days in SQLite.
//!
//! A day is frozen with all its figures in one transaction, and a digest of them beside it: that they
//! are still what they were is then a matter of reading them again.

use std::collections::HashSet;

use async_trait::async_trait;
use reckon_event::{Day, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::catalog::read_currency;
use super::entity::ROWS_PER_STATEMENT;
use super::key::{read_tenant_id, read_u32};
use super::ledger::{Owners, check_owners, push_page, push_slice};
use super::{SqliteBooks, tenant_to_column};
use crate::books::Created;
use crate::check;
use crate::error::Error;
use crate::ledger::{After, FrozenFigure, LEDGER_ROWS_MAX, Period, Periods, Slice};

const PERIOD: &str = "SELECT p.day, p.cut, p.figure_count, p.frozen_at, c.closed_at, \
    p.figures_digest FROM periods p LEFT JOIN period_closings c ON c.day = p.day ";

pub(super) const FIGURE_COLUMNS: &str = "figure_key, hour, tenant, advertiser_id, campaign_id, \
    ad_id, currency, clicks, duplicates, invalid, spend_micros, daily_budget_micros";

#[async_trait]
impl Periods for SqliteBooks {
    async fn freeze(
        &self,
        day: Day,
        cut: u64,
        mut figures: Vec<FrozenFigure>,
        at: Timestamp,
    ) -> Result<Created<Period>, Error> {
        check::cut(cut)?;
        check::time("at", at)?;
        check::figures(&figures)?;
        figures.sort_unstable_by(|one, other| (one.hour, &one.key).cmp(&(other.hour, &other.key)));
        check_of_day(day, &figures)?;
        let digest = digest_of(&figures);
        let mut transaction = self.write().await?;
        if let Some(there) = stored(&mut transaction, day).await? {
            let is_same = there.period.cut == cut && there.digest == digest.as_bytes();
            return if is_same {
                Ok(Created::Same(there.period))
            } else {
                Err(frozen(&there.period))
            };
        }
        let period =
            Period { day, cut, figure_count: figures.len() as u64, frozen_at: at, closed_at: None };
        let said: Vec<Owners<'_>> = figures.iter().map(owners_in).collect();
        check_owners(&mut transaction, &said).await?;
        insert_period(&mut transaction, &period, digest.as_bytes()).await?;
        insert_figures(&mut transaction, &figures).await?;
        transaction.commit().await?;
        Ok(Created::New(period))
    }

    async fn finish(&self, day: Day, at: Timestamp) -> Result<Period, Error> {
        check::time("at", at)?;
        let mut transaction = self.write().await?;
        let Some(period) = period_of(&mut transaction, day).await? else {
            return Err(Error::not_found("frozen period", &day.to_string()));
        };
        if period.closed_at.is_some() {
            return Ok(period);
        }
        sqlx::query("INSERT INTO period_closings (day, closed_at) VALUES (?, ?)")
            .bind(i64::from(day.number()))
            .bind(at.0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Period { closed_at: Some(at), ..period })
    }

    async fn periods(&self, first: Day, last: Day) -> Result<Vec<Period>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(PERIOD);
        query.push("WHERE p.day >= ").push_bind(i64::from(first.number()));
        query.push(" AND p.day <= ").push_bind(i64::from(last.number()));
        query.push(format_args!(" ORDER BY p.day LIMIT {LEDGER_ROWS_MAX}"));
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(read_period).collect()
    }

    async fn figures(&self, slice: &Slice, after: After) -> Result<Vec<FrozenFigure>, Error> {
        check::slice(slice)?;
        figures_page(&mut *self.readers.acquire().await?, slice, after).await
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

fn owners_in(figure: &FrozenFigure) -> Owners<'_> {
    Owners {
        tenant: figure.tenant,
        advertiser_id: &figure.advertiser_id,
        campaign_id: &figure.campaign_id,
        ad_id: Some(&figure.ad_id),
    }
}

fn frozen(period: &Period) -> Error {
    let Period { day, cut, .. } = period;
    Error::conflict(format!("{day} is frozen at cut {cut} with its own figures: they stand"))
}

async fn insert_period(
    connection: &mut SqliteConnection,
    period: &Period,
    digest: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO periods (day, cut, figure_count, figures_digest, frozen_at) \
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(i64::from(period.day.number()))
    .bind(period.cut.cast_signed())
    .bind(period.figure_count.cast_signed())
    .bind(digest)
    .bind(period.frozen_at.0)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_figures(
    connection: &mut SqliteConnection,
    figures: &[FrozenFigure],
) -> Result<(), Error> {
    for some in figures.chunks(ROWS_PER_STATEMENT) {
        let head = format!("INSERT INTO period_figures (day, {FIGURE_COLUMNS}) ");
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(some, |mut values, figure| {
            values
                .push_bind(i64::from(Day::of(figure.hour).number()))
                .push_bind(&figure.key)
                .push_bind(figure.hour.0)
                .push_bind(tenant_to_column(figure.tenant))
                .push_bind(&figure.advertiser_id)
                .push_bind(&figure.campaign_id)
                .push_bind(&figure.ad_id)
                .push_bind(figure.currency.to_string())
                .push_bind(figure.clicks)
                .push_bind(figure.duplicates)
                .push_bind(figure.invalid)
                .push_bind(figure.spend)
                .push_bind(figure.daily_budget);
        });
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A period as it is stored, with the digest of its figures.
pub(super) struct Stored {
    pub(super) period: Period,
    pub(super) digest: Vec<u8>,
}

pub(super) async fn stored(
    connection: &mut SqliteConnection,
    day: Day,
) -> Result<Option<Stored>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new(PERIOD);
    query.push("WHERE p.day = ").push_bind(i64::from(day.number()));
    let Some(row) = query.build().fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(Stored { period: read_period(&row)?, digest: row.try_get(5)? }))
}

pub(super) async fn period_of(
    connection: &mut SqliteConnection,
    day: Day,
) -> Result<Option<Period>, Error> {
    Ok(stored(connection, day).await?.map(|stored| stored.period))
}

pub(super) async fn figures_page(
    connection: &mut SqliteConnection,
    slice: &Slice,
    after: After,
) -> Result<Vec<FrozenFigure>, Error> {
    let head = format!("SELECT {FIGURE_COLUMNS} FROM period_figures");
    let mut query = QueryBuilder::<Sqlite>::new(head);
    push_slice(&mut query, slice);
    push_page(&mut query, "figure_key", after);
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(read_figure).collect()
}

fn read_period(row: &SqliteRow) -> Result<Period, Error> {
    let closed_at: Option<i64> = row.try_get(4)?;
    Ok(Period {
        day: read_day(row.try_get(0)?)?,
        cut: read_u64(row.try_get(1)?, "cut")?,
        figure_count: read_u64(row.try_get(2)?, "number of figures")?,
        frozen_at: Timestamp(row.try_get(3)?),
        closed_at: closed_at.map(Timestamp),
    })
}

fn read_figure(row: &SqliteRow) -> Result<FrozenFigure, Error> {
    Ok(FrozenFigure {
        key: row.try_get(0)?,
        hour: Timestamp(row.try_get(1)?),
        tenant: read_tenant_id(row, 2)?,
        advertiser_id: row.try_get(3)?,
        campaign_id: row.try_get(4)?,
        ad_id: row.try_get(5)?,
        currency: read_currency(row, 6)?,
        clicks: row.try_get(7)?,
        duplicates: row.try_get(8)?,
        invalid: row.try_get(9)?,
        spend: row.try_get(10)?,
        daily_budget: row.try_get(11)?,
    })
}

fn read_day(number: i64) -> Result<Day, Error> {
    let day = Day::new(read_u32(number, "day")?);
    day.ok_or_else(|| Error::damaged(format!("{number} is no day before 2200")))
}

pub(super) fn read_u64(value: i64, what: &str) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::damaged(format!("{value} is no {what}")))
}

/// BLAKE3 over the figures in the order of hour and key, every text with its length before it.
pub(super) struct Digest(blake3::Hasher);

impl Digest {
    pub(super) fn new() -> Self {
        Digest(blake3::Hasher::new())
    }

    pub(super) fn add(&mut self, figure: &FrozenFigure) {
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

    pub(super) fn finish(&self) -> blake3::Hash {
        self.0.finalize()
    }
}

fn digest_of(figures: &[FrozenFigure]) -> blake3::Hash {
    let mut digest = Digest::new();
    figures.iter().for_each(|figure| digest.add(figure));
    digest.finish()
}
