//! Asking brokers again, as long as what they say can be expected to pass: a topic that was just made is
//! not known to all of them at once, a partition changes its leader, an answer is lost.
//!
//! No clock is read: a question that nobody answered has taken its time, and all others take a nap.

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::Options;

/// A question is given up after as much time as this many that are not answered take.
const TIMEOUTS: u32 = 3;
/// Naps in the time of a question that is not answered.
const NAPS: u32 = 32;

/// Asks until there is an answer that will not change, for about three times
/// [`Options::request_timeout`].
pub(crate) fn ask<T>(
    options: &Options,
    mut question: impl FnMut() -> KafkaResult<T>,
) -> KafkaResult<T> {
    let mut left = TIMEOUTS * NAPS;
    loop {
        let error = match question() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let cost = match code_of(&error) {
            Some(code) if is_unanswered(code) => NAPS,
            Some(code) if is_passing(code) => 1,
            _ => return Err(error),
        };
        left = left.saturating_sub(cost);
        if left == 0 {
            return Err(error);
        }
        std::thread::sleep(options.request_timeout / NAPS);
    }
}

/// The library does not tell that of administration.
fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        _ => error.rdkafka_error_code(),
    }
}

/// Nobody was there for all the time that a question may take.
const fn is_unanswered(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::RequestTimedOut
    )
}

const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerNotAvailable
            // Fewer brokers are up than a topic needs.
            | Code::InvalidReplicationFactor
            | Code::LeaderNotAvailable
            | Code::NotController
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::UnknownPartition
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn options() -> Options {
        Options { request_timeout: Duration::from_millis(NAPS.into()), ..Options::default() }
    }

    /// How often a question is asked that is always answered like this.
    fn times(code: Code) -> u32 {
        let mut asked = 0;
        let answer: KafkaResult<()> = ask(&options(), || {
            asked += 1;
            Err(KafkaError::MetadataFetch(code))
        });
        assert_eq!(answer, Err(KafkaError::MetadataFetch(code)));
        asked
    }

    #[test]
    fn what_passes_is_asked_again_for_a_while() {
        assert_eq!(times(Code::NotLeaderForPartition), TIMEOUTS * NAPS);
        assert_eq!(times(Code::OperationTimedOut), TIMEOUTS);
        assert_eq!(times(Code::TopicAuthorizationFailed), 1);
    }

    #[test]
    fn an_answer_ends_it() {
        let mut asked = 0;
        let answer = ask(&options(), || {
            asked += 1;
            let late = KafkaError::AdminOp(Code::UnknownTopicOrPartition);
            if asked < 3 { Err(late) } else { Ok(asked) }
        });
        assert_eq!(answer, Ok(3));
    }
}
