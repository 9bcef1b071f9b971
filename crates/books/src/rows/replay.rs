//! Rows of kept answers, and what a request is told that meets one.

use reckon_event::Timestamp;

use super::bytes_of;
use crate::error::Error;
use crate::replay::{CLAIM_MICROS_MAX, Claim, RESPONSE_KEPT_MICROS, RequestDigest, StoredResponse};

/// Answers forgotten in one transaction, so that a writer never waits long.
pub(crate) const EXPIRED_PER_CALL: i64 = 10_000;

/// What stands under an idempotency key.
pub(crate) struct Held {
    digest: RequestDigest,
    claimed_at: Timestamp,
    response: Option<StoredResponse>,
}

/// `request_digest, claimed_at, status, body`.
pub(crate) type HeldColumns = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>);

pub(crate) fn held_of((digest, at, status, body): HeldColumns) -> Result<Held, Error> {
    let digest = RequestDigest(bytes_of(&digest, "a digest")?);
    let response = status.zip(body).map(response_of).transpose()?;
    Ok(Held { digest, claimed_at: Timestamp(at), response })
}

fn response_of((status, body): (i64, Vec<u8>)) -> Result<StoredResponse, Error> {
    let status =
        u16::try_from(status).map_err(|_| Error::damaged(format!("{status} is no HTTP status")))?;
    Ok(StoredResponse { status, body })
}

/// What to do with a request, given what stands under its key.
pub(crate) fn decide(held: Option<Held>, digest: RequestDigest, now: Timestamp) -> Claim {
    let Some(held) = held else { return Claim::Fresh };
    let age = now.since(held.claimed_at);
    match held.response {
        _ if age >= RESPONSE_KEPT_MICROS => Claim::Fresh,
        _ if held.digest != digest => Claim::Mismatch,
        Some(response) => Claim::Replay(response),
        None if age >= CLAIM_MICROS_MAX => Claim::Fresh,
        None => Claim::InProgress,
    }
}
