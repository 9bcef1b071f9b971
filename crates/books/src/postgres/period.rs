//! Frozen and closed days in PostgreSQL: a day is frozen with all its figures in one transaction.

use async_trait::async_trait;
use reckon_event::{Day, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder};

use super::PostgresBooks;
use super::entity::{column, places};
use super::ledger::{behind_row, check_owners, sought_slice};
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

/// Figures of one statement.
const ROWS_PER_STATEMENT: usize = 10_000;

#[async_trait]
impl Periods for PostgresBooks {
    async fn freeze(
        &self,
        day: Day,
        cut: u64,
        figures: Vec<FrozenFigure>,
        at: Timestamp,
    ) -> Result<Created<Period>, Error> {
        let freezing = &Freezing::new(day, cut, figures, at)?;
        self.write_many(|session| Box::pin(freeze(session, freezing))).await
    }

    async fn finish(&self, day: Day, at: Timestamp) -> Result<Period, Error> {
        check::time("at", at)?;
        self.write(|session| Box::pin(finish(session, day, at))).await
    }

    async fn periods(&self, first: Day, last: Day) -> Result<Vec<Period>, Error> {
        self.read(|session| Box::pin(periods(session, first, last))).await
    }

    async fn figures(&self, slice: &Slice, after: After) -> Result<Vec<FrozenFigure>, Error> {
        check::slice(slice)?;
        let after = &after;
        self.read(|session| Box::pin(figures_page(session, slice, after))).await
    }
}

async fn freeze(
    connection: &mut PgConnection,
    freezing: &Freezing,
) -> Result<Created<Period>, Error> {
    if let Some(there) = stored(connection, freezing.period.day).await? {
        return there.again(freezing);
    }
    check_owners(connection, &Said::by_tenant(&freezing.figures)).await?;
    insert_period(connection, freezing).await?;
    for some in freezing.figures.chunks(ROWS_PER_STATEMENT) {
        insert_figures(connection, &some.iter().collect::<Vec<_>>()).await?;
    }
    Ok(Created::New(freezing.period))
}

async fn finish(connection: &mut PgConnection, day: Day, at: Timestamp) -> Result<Period, Error> {
    let Some(StoredPeriod { period, .. }) = stored(connection, day).await? else {
        return Err(Error::not_found("frozen period", &day.to_string()));
    };
    if period.closed_at.is_some() {
        return Ok(period);
    }
    sqlx::query("INSERT INTO period_closings (day, closed_at) VALUES ($1, $2)")
        .bind(day_to_column(day))
        .bind(at.0)
        .execute(connection)
        .await?;
    Ok(Period { closed_at: Some(at), ..period })
}

async fn insert_period(
    connection: &mut PgConnection,
    Freezing { period, digest, .. }: &Freezing,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO periods (day, cut, figure_count, figures_digest, frozen_at) \
         VALUES ($1, $2, $3, $4, $5)",
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
    connection: &mut PgConnection,
    figures: &[&FrozenFigure],
) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO period_figures (day, {FIGURE_COLUMNS}) SELECT * FROM UNNEST({})",
        places(1, 13)
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(column(figures, |figure| day_to_column(Day::of(figure.hour))))
        .bind(column(figures, |figure| figure.key.as_str()))
        .bind(column(figures, |figure| figure.hour.0))
        .bind(column(figures, |figure| tenant_to_column(figure.tenant)))
        .bind(column(figures, |figure| figure.advertiser_id.as_str()))
        .bind(column(figures, |figure| figure.campaign_id.as_str()))
        .bind(column(figures, |figure| figure.ad_id.as_str()))
        .bind(column(figures, |figure| figure.currency.to_string()))
        .bind(column(figures, |figure| figure.clicks))
        .bind(column(figures, |figure| figure.duplicates))
        .bind(column(figures, |figure| figure.invalid))
        .bind(column(figures, |figure| figure.spend))
        .bind(column(figures, |figure| figure.daily_budget))
        .execute(connection)
        .await?;
    Ok(())
}

async fn periods(
    connection: &mut PgConnection,
    first: Day,
    last: Day,
) -> Result<Vec<Period>, Error> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT_PERIOD);
    query.push("WHERE p.day >= ").push_bind(day_to_column(first));
    query.push(" AND p.day <= ").push_bind(day_to_column(last));
    query.push(format_args!(" ORDER BY p.day LIMIT {LEDGER_ROWS_MAX}"));
    let rows: Vec<PeriodColumns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok(period_of(row)?.period)).collect()
}

pub(super) async fn stored(
    connection: &mut PgConnection,
    day: Day,
) -> Result<Option<StoredPeriod>, Error> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT_PERIOD);
    query.push("WHERE p.day = ").push_bind(day_to_column(day));
    let row: Option<PeriodColumns> = query.build_query_as().fetch_optional(connection).await?;
    row.map(period_of).transpose()
}

pub(super) async fn figures_page(
    connection: &mut PgConnection,
    slice: &Slice,
    after: &After,
) -> Result<Vec<FrozenFigure>, Error> {
    let from = ("period_figures", FIGURE_COLUMNS, "figure_key");
    let mut query = select_page::<Postgres>(from, &sought_slice(slice), behind_row(after));
    let rows: Vec<FigureColumns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(figure_of).collect()
}
