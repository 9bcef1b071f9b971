//! Rows of tombstones, and which of them may be set or changed.

use reckon_event::{Pseudonym, TenantId, Timestamp};

use super::{bytes_of, tenant_of};
use crate::error::Error;
use crate::tombstone::{ErasureState, ErasureWork, Tombstone};

pub(crate) const COLUMNS: &str =
    "tenant, person, asked_at, quiet_at, surrogate, secret, traces, swept_epoch, proof";

/// The values of [`COLUMNS`].
pub(crate) type TombstoneColumns = (
    i64,
    Vec<u8>,
    i64,
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Option<String>,
    Option<i64>,
    Option<String>,
);

pub(crate) fn tombstone_of(columns: TombstoneColumns) -> Result<Tombstone, Error> {
    let (tenant, person, asked_at, quiet_at, surrogate, secret, traces, swept, proof) = columns;
    let work = match (surrogate, secret, traces, swept) {
        (Some(surrogate), Some(secret), Some(traces), Some(swept)) => Some(ErasureWork {
            surrogate: pseudonym_of(&surrogate)?,
            key: bytes_of(&secret, "a tombstone")?,
            traces,
            swept_epoch: swept.cast_unsigned(),
        }),
        (None, None, None, None) => None,
        _ => return Err(Error::damaged("a tombstone has a part of its work".to_owned())),
    };
    Ok(Tombstone {
        tenant: tenant_of(tenant)?,
        person: pseudonym_of(&person)?,
        asked_at: Timestamp(asked_at),
        quiet_at: Timestamp(quiet_at),
        work,
        proof,
    })
}

/// `tenant, person, quiet_at`.
pub(crate) fn erased_of(
    (tenant, person, quiet_at): (i64, Vec<u8>, i64),
) -> Result<(TenantId, Pseudonym, Timestamp), Error> {
    Ok((tenant_of(tenant)?, pseudonym_of(&person)?, Timestamp(quiet_at)))
}

/// A pseudonym as a database holds it: 16 bytes, the highest first, so that their order is its order.
pub(crate) fn pseudonym_to_column(who: Pseudonym) -> Vec<u8> {
    who.0.to_be_bytes().to_vec()
}

pub(crate) fn pseudonym_of(bytes: &[u8]) -> Result<Pseudonym, Error> {
    Ok(Pseudonym(u128::from_be_bytes(bytes_of(bytes, "a tombstone")?)))
}

/// What a tombstone that may be set is to be worked with.
pub(crate) fn work_of_new(tombstone: &Tombstone) -> Result<&ErasureWork, Error> {
    let work = tombstone.work.as_ref().filter(|_| tombstone.person.is_some());
    work.ok_or_else(|| Error::invalid("person", "a new tombstone needs a person and its work"))
}

/// Refuses to change what stands, unless it is there and not settled.
pub(crate) fn require_at_work(stands: Option<&Tombstone>, person: Pseudonym) -> Result<(), Error> {
    match stands.map(Tombstone::state) {
        None => Err(Error::not_found("tombstone", &format!("{:032x}", person.0))),
        Some(ErasureState::Settled) => {
            Err(Error::conflict("the erasure is settled already".to_owned()))
        }
        Some(ErasureState::Asked | ErasureState::Erased) => Ok(()),
    }
}
