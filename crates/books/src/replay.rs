//! Answers kept so that a repeated request gets the answer of the first.
//!
//! ```text
//!              begin                 complete
//!   (nothing) -------> in progress ------------> answered ---- 24 h ---> (nothing)
//!       ^                   |
//!       +---- abandon ------+   or 60 s without an answer: its holder is taken to be dead
//! ```
//!
//! A crash between the work and its `complete` makes the retry do the work again, so ids made by
//! the server should be derived from the idempotency key: the second creation then meets the first
//! and answers the same.

use std::fmt;

use reckon_event::Timestamp;

/// How long an answer is kept, in microseconds.
pub const RESPONSE_KEPT_MICROS: i64 = Timestamp::DAY;

/// How long a request may be in progress before another may take its place, in microseconds.
pub const CLAIM_MICROS_MAX: i64 = Timestamp::MINUTE;

/// The longest body that is kept.
pub const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

/// A digest of method, path and body: tells a repeated request from another one under its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestDigest(pub [u8; 32]);

impl fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestDigest(..)")
    }
}

/// An answer to give again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most [`RESPONSE_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// What to do with a request that names an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Never seen: do it, then `complete` it, or `abandon` it if it did not come to an answer.
    Fresh,
    /// The same request is being worked on: the client should come back.
    InProgress,
    /// The same request was answered: answer so again.
    Replay(StoredResponse),
    /// The key was used for another request: refuse.
    Mismatch,
}
