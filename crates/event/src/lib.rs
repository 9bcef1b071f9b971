//! The words of the domain: identifiers, records, verdicts, money, time, the sealed token.
//!
//! No I/O, no clock, no randomness: whoever needs one of these passes it in. Everything here is
//! either written to disk, sent to an engine or promised to a client, so a change of a byte layout is
//! a new format version and the old fixture stays.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | event | what happened, as a client tells it: an impression, a view, a click, ... |
//! | record | an event as the edge has stamped and logged it ([`Record`]) |
//! | slot | one of 1,024 fixed logical partitions; all events of one user meet in one ([`Slot`]) |
//! | topic | one of the lines a log may keep apart; order is within a topic and a slot ([`Topic`]) |
//! | position | a record's place in its partition of the log ([`Position`]) |
//! | verdict | what a record is worth: exactly one is in force for each record ([`Verdict`]) |
//! | epoch | a step of counting: input bounds, and all that follows from them ([`Epoch`]) |
//! | pane | the counts of one second or one minute; windows are sums of panes |
//! | delta | what an epoch adds to the panes ([`Deltas`]) |
//! | row | the inputs a model scored a candidate with, as they are logged ([`ServedRows`]) |
//! | candidate | an ad that might be shown in answer to a request |
//! | watermark | the receive time up to which a source is believed to be complete |

mod adjustment;
mod codec;
mod control;
mod day;
mod delta;
mod epoch;
mod id;
mod money;
mod privacy;
mod record;
mod row;
mod time;
mod token;
mod verdict;

pub use adjustment::{Adjustment, AdjustmentReason, CORRECTS_BYTES_MAX};
pub use codec::{
    DecodeError, ENVELOPE_BYTES, FORMAT_VERSION, Peeked, RECORD_BYTES_MAX, peek, stamp,
};
pub use control::Control;
pub use day::Day;
pub use delta::{Cell, Deltas, Measure};
pub use epoch::{Applied, Bound, Counted, Epoch, Position, Revision, Subscriber, SubscriberError};
pub use id::{
    IdError, ImpressionId, NAME_BYTES_MAX, Name, RecordId, SLOT_COUNT, Slot, TenantId, name_key,
    valid_name,
};
pub use money::{Currency, CurrencyError, Micros};
pub use privacy::{Consent, Erasures, NobodyErased, Pseudonym, PseudonymKey, TagKey, truncate_ip};
pub use record::{Claims, Fact, Facts, Kind, Record, SourceClass, Stream, Topic};
pub use row::{
    CANDIDATES_MAX, Columns, Feature, ServedCandidate, ServedRows, prediction_id, prediction_index,
    prediction_request,
};
pub use time::{TimeError, Timestamp};
pub use token::{KeyRing, SealError, TOKEN_CHARS, Token, TokenError, TokenKey};
pub use verdict::{Reason, Verdict};
