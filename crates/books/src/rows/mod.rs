//! What stands in the tables of the books, whichever engine keeps them: how a row becomes a word of
//! the books, and what is decided about rows without I/O.
//!
//! Every engine has the same tables of the same columns, whole numbers and texts. So a row is a tuple
//! of plain values ([`sqlx::FromRow`] reads it), and all that follows from it stands here once. What
//! stands once an engine are the statements, because dialects differ where speed is made: in arrays,
//! upserts and locks.

pub(crate) mod catalog;
pub(crate) mod entity;
mod failure;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod period;
pub(crate) mod person;
pub(crate) mod replay;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod tombstone;
pub(crate) mod verify;
pub(crate) mod verify_ledger;

pub(crate) use failure::kind_of;

use reckon_event::{Currency, TenantId};

use crate::error::Error;

/// Gives a name its 64-bit key. Always [`reckon_event::name_key`], but where a test needs two names to
/// collide.
pub(crate) type NameKey = fn(&str) -> u64;

/// A key as a database holds it: the same bits, read as signed.
pub(crate) const fn key_to_column(key: u64) -> i64 {
    key.cast_signed()
}

pub(crate) fn tenant_to_column(tenant: TenantId) -> i64 {
    i64::from(tenant.0)
}

pub(crate) fn tenant_of(value: i64) -> Result<TenantId, Error> {
    Ok(TenantId(u32_of(value, "tenant")?))
}

pub(crate) fn u32_of(value: i64, what: &str) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::damaged(format!("{value} is no {what}")))
}

pub(crate) fn u64_of(value: i64, what: &str) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::damaged(format!("{value} is no {what}")))
}

pub(crate) fn currency_of(text: &str) -> Result<Currency, Error> {
    Currency::parse(text).map_err(|_| Error::damaged(format!("`{text}` is no currency")))
}

/// Bytes of a fixed length, such as a hash.
pub(crate) fn bytes_of<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::damaged(format!("{what} is cut")))
}
