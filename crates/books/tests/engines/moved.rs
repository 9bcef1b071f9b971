//! Books that move in from a file: table by table they are what the same history has left in a database.

use std::path::Path;

use reckon_books::{ErrorKind, PostgresBooks};
use sqlx::Row;

use crate::place::{Place, options};

/// Every row of every table as text, in order.
async fn rows(place: &Place) -> Vec<String> {
    let tables = format!(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = '{}' \
         AND table_name NOT IN ('_sqlx_migrations', 'turns') ORDER BY 1",
        place.schema
    );
    let mut rows = Vec::new();
    for table in place.ask(&tables).await {
        let table: String = table.get(0);
        let lines = format!("SELECT t::text FROM {}.{table} AS t ORDER BY 1", place.schema);
        let lines = place.ask(&lines).await;
        rows.extend(lines.iter().map(|line| format!("{table} {}", line.get::<String, _>(0))));
    }
    rows
}

/// Moves the file into an empty schema, and holds that against the schema in which the same was done.
pub async fn moves_as_it_is(file: &Path, same: &Place) {
    let target = Place::new().await;
    let moved = PostgresBooks::move_in(file, &target.url(), options()).await.expect("moves in");
    let (expect, found) = (rows(same).await, rows(&target).await);
    assert_eq!(found, expect);
    // The default tenant was there before.
    assert_eq!(moved.rows + 1, found.len() as u64);
    println!("{} rows moved from a file are the same", found.len());
    let again = PostgresBooks::move_in(file, &target.url(), options()).await;
    assert_eq!(again.expect_err("it is not empty").kind, ErrorKind::Conflict);
    assert_eq!(rows(&target).await, expect);
}
