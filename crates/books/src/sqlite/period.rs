//! Frozen and closed days in SQLite: a day is frozen with all its figures in one transaction.

use async_trait::async_trait;
use reckon_event::{Day, Timestamp};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteBooks;
use super::entity::ROWS_PER_STATEMENT;
use super::ledger::check_owners;
use crate::books::Created;
use crate::check;
use crate::error::Error;
use crate::ledger::{After, FrozenFigure, LEDGER_ROWS_MAX, Period, Periods, Slice};
use crate::rows::ledger::{Said, select_page};
use crate::rows::period::{
    FIGURE_COLUMNS, FigureColumns, Freezing, PeriodColumns, SELECT_PERIOD, StoredPeriod,
    day_to_column, figure_of, period_of,
};
use crate::rows::tenant_to_column;

#[async_trait]
impl Periods for SqliteBooks {
    async fn freeze(
        &self,
        day: Day,
        cut: u64,
        figures: Vec<FrozenFigure>,
        at: Timestamp,
    ) -> Result<Created<Period>, Error> {
        let freezing = Freezing::new(day, cut, figures, at)?;
        let mut transaction = self.write().await?;
        if let Some(there) = stored(&mut transaction, day).await? {
            return there.again(&freezing);
        }
        check_owners(&mut transaction, &Said::by_tenant(&freezing.figures)).await?;
        insert_period(&mut transaction, &freezing).await?;
        insert_figures(&mut transaction, &freezing.figures).await?;
        transaction.commit().await?;
        Ok(Created::New(freezing.period))
    }

    async fn finish(&self, day: Day, at: Timestamp) -> Result<Period, Error> {
        check::time("at", at)?;
        let mut transaction = self.write().await?;
        let Some(StoredPeriod { period, .. }) = stored(&mut transaction, day).await? else {
            return Err(Error::not_found("frozen period", &day.to_string()));
        };
        if period.closed_at.is_some() {
            return Ok(period);
        }
        sqlx::query("INSERT INTO period_closings (day, closed_at) VALUES (?, ?)")
            .bind(day_to_column(day))
            .bind(at.0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Period { closed_at: Some(at), ..period })
    }

    async fn periods(&self, first: Day, last: Day) -> Result<Vec<Period>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(SELECT_PERIOD);
        query.push("WHERE p.day >= ").push_bind(day_to_column(first));
        query.push(" AND p.day <= ").push_bind(day_to_column(last));
        query.push(format_args!(" ORDER BY p.day LIMIT {LEDGER_ROWS_MAX}"));
        let rows: Vec<PeriodColumns> = query.build_query_as().fetch_all(&self.readers).await?;
        rows.into_iter().map(|row| Ok(period_of(row)?.period)).collect()
    }

    async fn figures(&self, slice: &Slice, after: After) -> Result<Vec<FrozenFigure>, Error> {
        check::slice(slice)?;
        figures_page(&mut *self.readers.acquire().await?, slice, after).await
    }
}

async fn insert_period(
    connection: &mut SqliteConnection,
    Freezing { period, digest, .. }: &Freezing,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO periods (day, cut, figure_count, figures_digest, frozen_at) \
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(day_to_column(period.day))
    .bind(period.cut.cast_signed())
    .bind(period.figure_count.cast_signed())
    .bind(digest.as_bytes().as_slice())
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
                .push_bind(day_to_column(Day::of(figure.hour)))
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

pub(super) async fn stored(
    connection: &mut SqliteConnection,
    day: Day,
) -> Result<Option<StoredPeriod>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_PERIOD);
    query.push("WHERE p.day = ").push_bind(day_to_column(day));
    let row: Option<PeriodColumns> = query.build_query_as().fetch_optional(connection).await?;
    row.map(period_of).transpose()
}

pub(super) async fn figures_page(
    connection: &mut SqliteConnection,
    slice: &Slice,
    after: After,
) -> Result<Vec<FrozenFigure>, Error> {
    let from = ("period_figures", FIGURE_COLUMNS, "figure_key");
    let mut query = select_page::<Sqlite>(from, slice, after);
    let rows: Vec<FigureColumns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(figure_of).collect()
}
