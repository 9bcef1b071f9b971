//! Control records: decisions that counting must see in the order of the log.
//!
//! What a decision says stands in the payload of a [`Kind::Control`](crate::Kind::Control) record, and
//! one copy goes to every partition, so each of them sees it in its own order. Whatever counting does
//! at a certain time, or under certain rules, it does because a record told it to: that is why the
//! same log gives the same bytes.
//!
//! ```text
//! version u8 | code u8 | body
//! tick:  -                                             the time is the record's receive time
//! rules: version u32 | from i64 | length u32 | bytes   the rule set as its reader writes it
//! settle: -
//! ```

use crate::{DecodeError, Timestamp};

/// The version this build writes.
const VERSION: u8 = 1;
const TICK: u8 = 1;
const RULES: u8 = 2;
const SETTLE: u8 = 3;
/// A rule set is a page of configuration, never more than this.
const RULES_BYTES_MAX: usize = 64 << 10;

/// A decision of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Nothing has come for a while: everything received before this record's receive time has been
    /// appended, but for what waits in a spool. It lets the watermark go on where no event does.
    Tick,
    /// From a minute on, behavioural rules are these.
    Rules {
        /// Rises with every swap; stands in whatever these rules have decided.
        version: u32,
        /// The first minute they judge, by event time.
        from: Timestamp,
        /// The rule set, as the crate that judges by it writes and reads it.
        rules: &'a [u8],
    },
    /// Every minute that has changed is judged now, however little time has passed: somebody closes a
    /// period, or compares figures with a recount.
    Settle,
}

impl<'a> Control<'a> {
    /// Appends its bytes to `out`.
    ///
    /// # Panics
    /// Where a rule set is longer than 64 KiB: whoever reads rules bounds them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match *self {
            Control::Tick => out.push(TICK),
            Control::Settle => out.push(SETTLE),
            Control::Rules { version, from, rules } => {
                assert!(rules.len() <= RULES_BYTES_MAX, "rules are bounded where they are read");
                out.push(RULES);
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&from.0.to_le_bytes());
                out.extend_from_slice(&(rules.len() as u32).to_le_bytes());
                out.extend_from_slice(rules);
            }
        }
    }

    /// Reads a payload; `None` for a decision a later build has made, which is skipped.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let (&[version, code], body) = bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        match (version, code) {
            (VERSION, TICK) => Ok(Some(Control::Tick)),
            (VERSION, SETTLE) => Ok(Some(Control::Settle)),
            (VERSION, RULES) => {
                let (version, body) = body.split_first_chunk().ok_or(DecodeError::Truncated)?;
                let (from, body) = body.split_first_chunk().ok_or(DecodeError::Truncated)?;
                let (length, body) = body.split_first_chunk().ok_or(DecodeError::Truncated)?;
                let length = u32::from_le_bytes(*length) as usize;
                let rules = body.get(..length).ok_or(DecodeError::Truncated)?;
                Ok(Some(Control::Rules {
                    version: u32::from_le_bytes(*version),
                    from: Timestamp(i64::from_le_bytes(*from)),
                    rules,
                }))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_read_back_and_later_ones_are_skipped() {
        let rules = Control::Rules { version: 7, from: Timestamp(60), rules: b"rapid" };
        for control in [Control::Tick, rules, Control::Settle] {
            let mut bytes = Vec::new();
            control.encode(&mut bytes);
            assert_eq!(Control::decode(&bytes), Ok(Some(control)));
            for cut in 2..bytes.len() {
                assert_eq!(Control::decode(&bytes[..cut]), Err(DecodeError::Truncated), "{cut}");
            }
        }
        assert_eq!(Control::decode(&[1, 99, 5]), Ok(None));
        assert_eq!(Control::decode(&[2, 1]), Ok(None));
        assert_eq!(Control::decode(&[1]), Err(DecodeError::Truncated));
    }
}
