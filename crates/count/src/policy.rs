//! How long counting remembers. All of it is measured by receive times of records, never by a clock.

use reckon_event::Timestamp;

/// The horizons of the fold, in microseconds of the slot's clock.
///
/// The caller keeps the policy with the input it was applied to: folding the same records again
/// under another policy is another result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How long the bits of a minted hour are kept: longest expiry + lateness + spool bound.
    pub minted_horizon: i64,
    /// How long an opaque id is remembered after its first copy.
    pub opaque_horizon: i64,
    /// Within which an unsigned click of the same person on the same ad does not count again.
    pub unsigned_window: i64,
    /// How long the highest number of a silent appender is remembered.
    pub appender_horizon: i64,
    /// How long the survivors of a minute are kept after the last one came: as long a late click, or
    /// other rules, can change the minute's verdicts.
    pub rules_horizon: i64,
}

impl Default for Policy {
    /// Tokens live up to 72 h and may come 24 h late; opaque ids are exact for 7 days.
    fn default() -> Self {
        Policy {
            minted_horizon: 96 * Timestamp::HOUR,
            opaque_horizon: 7 * Timestamp::DAY,
            unsigned_window: 10 * Timestamp::SECOND,
            appender_horizon: 8 * Timestamp::DAY,
            rules_horizon: 7 * Timestamp::DAY,
        }
    }
}

impl Policy {
    /// The first minted hour that is still remembered when the slot's clock stands at `clock`.
    pub(crate) fn first_minted_hour(&self, clock: Timestamp) -> u32 {
        clock.plus(-self.minted_horizon).hour()
    }

    /// True where an opaque id first seen at `received` is no longer remembered at `clock`.
    pub(crate) const fn forgets_opaque(&self, received: Timestamp, clock: Timestamp) -> bool {
        clock.since(received) >= self.opaque_horizon
    }
}
