//! The offline check of the ledger in SQLite.

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::period::{figures_page, stored};
use crate::error::Error;
use crate::ledger::{LEDGER_ROWS_MAX, Slice};
use crate::rows::verify::{FINDINGS_MAX, Verification};
use crate::rows::verify_ledger::{FigureCheck, RULES, day_of};

pub(super) async fn check(
    connection: &mut SqliteConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for (problem, wrong) in RULES {
        let limited = AssertSqlSafe(format!("{wrong} LIMIT {FINDINGS_MAX}"));
        let places: Vec<(String,)> = sqlx::query_as(limited).fetch_all(&mut *connection).await?;
        for (place,) in places {
            found.find(format!("ledger: {place} {problem}"));
        }
    }
    let days: Vec<(i64,)> =
        sqlx::query_as("SELECT day FROM periods ORDER BY day").fetch_all(&mut *connection).await?;
    for (number,) in days {
        check_figures(connection, number, found).await?;
    }
    let (entries,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM ledger_entries").fetch_one(connection).await?;
    found.rows_checked += entries.unsigned_abs();
    Ok(())
}

async fn check_figures(
    connection: &mut SqliteConnection,
    number: i64,
    found: &mut Verification,
) -> Result<(), Error> {
    let Some(day) = day_of(number, found) else { return Ok(()) };
    let Some(stored) = stored(connection, day).await? else { return Ok(()) };
    let (mut check, mut after) = (FigureCheck::new(), None);
    loop {
        let page = figures_page(connection, &Slice::of_day(day), after.take()).await?;
        check.add(&page);
        after = page.last().map(|figure| (figure.hour, figure.key.clone()));
        if page.len() < LEDGER_ROWS_MAX {
            break;
        }
    }
    check.finish(&stored, found);
    Ok(())
}
