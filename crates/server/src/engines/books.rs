//! The books that a configuration names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reckon_books::{Accounts, Books, PostgresBooks, PostgresOptions, SqliteBooks, Verification};

use crate::config::Config;
use crate::data_dir::DataDir;

/// The books of a folder or of a database, through both of their traits.
pub async fn open_books(
    config: &Config,
    dir: &DataDir,
) -> Result<(Arc<dyn Books>, Arc<dyn Accounts>)> {
    if let Some(url) = postgres(config) {
        let books = PostgresBooks::open(url, postgres_options(config));
        let books = Arc::new(books.await.context("books: postgres")?);
        return Ok((Arc::clone(&books) as _, books));
    }
    let path = dir.books(config)?;
    let books =
        SqliteBooks::open(&path).await.with_context(|| format!("books: {}", path.display()))?;
    let books = Arc::new(books);
    Ok((Arc::clone(&books) as _, books))
}

/// Checks books that no server has open.
pub async fn verify_books(config: &Config, dir: &DataDir) -> Result<Verification> {
    match postgres(config) {
        Some(url) => PostgresBooks::verify(url, postgres_options(config)).await,
        None => SqliteBooks::verify(&dir.books(config)?).await,
    }
    .context("books")
}

/// The database's URL, where the books are in one.
pub fn postgres(config: &Config) -> Option<&str> {
    let url = config.books.url.0.as_str();
    ["postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)).then_some(url)
}

/// How the database is used.
pub fn postgres_options(config: &Config) -> PostgresOptions {
    let told = &config.books.postgres;
    PostgresOptions {
        connections_max: told.connections_max,
        acquire_timeout: Duration::from_millis(told.acquire_timeout_ms),
        call_timeout: Duration::from_millis(told.call_timeout_ms),
        bulk_timeout: Duration::from_millis(told.bulk_timeout_ms),
    }
}
