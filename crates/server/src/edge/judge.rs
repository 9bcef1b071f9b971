//! Step 1 of the verdict: what can be said of an event by itself, without its id being consumed.

use std::net::IpAddr;

use reckon_event::{
    Claims, Fact, Facts, Pseudonym, Reason, Slot, Timestamp, TokenError, Verdict, name_key,
};

use super::Lists;

/// Who asks, as the connection and its headers tell.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// When the request was received, stamped before anything could delay it.
    pub received: Timestamp,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The user agent; empty where none was sent.
    pub agent: &'a str,
    /// The method was GET.
    pub is_get: bool,
    /// A header said that this is a prefetch.
    pub is_prefetch: bool,
}

/// Where an event came from, for the rules that need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `/click` or a pixel, by a browser.
    Open,
    /// A batch with a public write key, or with nothing but its tokens.
    Client,
    /// A batch of an authenticated source (scope `collect`).
    Trusted,
}

/// Thresholds of the edge's rules, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// A click sooner after minting is no person's; 0 switches the rule off.
    pub too_fast_us: i64,
    /// Oldest token a redirect or pixel takes.
    pub token_age_us_max: i64,
    /// Oldest token a batch takes.
    pub token_age_batch_us_max: i64,
}

impl Thresholds {
    /// Oldest token this source may bring.
    pub const fn token_age(&self, source: Source) -> i64 {
        match source {
            Source::Open => self.token_age_us_max,
            Source::Client | Source::Trusted => self.token_age_batch_us_max,
        }
    }
}

/// The verdict and the fact that a token which was not believed leaves behind.
pub const fn of_token_error(error: TokenError) -> (Verdict, Facts) {
    let none = Facts(0);
    match error {
        TokenError::Expired => (Verdict::Expired, none),
        TokenError::Forged => (Verdict::Forged, none),
        TokenError::ForeignTenant => (Verdict::Forged, none.with(Fact::TokenForeign)),
        TokenError::UnknownKey(_) => (Verdict::Forged, none.with(Fact::TokenUnknownKey)),
        TokenError::Truncated | TokenError::Malformed | TokenError::Version(_) => {
            (Verdict::Forged, none.with(Fact::TokenMalformed))
        }
    }
}

/// The reasons of the protocol, and the too-fast rule where there are claims; `None` passes.
pub fn protocol_reason(
    visitor: &Visitor<'_>,
    claims: Option<&Claims>,
    lists: &Lists,
    thresholds: &Thresholds,
) -> Option<Reason> {
    if !visitor.is_get {
        return Some(Reason::NotGet);
    }
    if visitor.is_prefetch {
        return Some(Reason::Prefetch);
    }
    if lists.agents.is_robot(visitor.agent) {
        return Some(Reason::DeclaredRobot);
    }
    if visitor.address.is_some_and(|address| lists.networks.has(address)) {
        return Some(Reason::DataCentre);
    }
    let too_fast = claims
        .is_some_and(|claims| visitor.received.since(claims.issued_at) < thresholds.too_fast_us);
    too_fast.then_some(Reason::TooFast)
}

/// The slot of an event without a token: by user, else by install, else by the client's own id of the
/// event, else by address and agent. All copies of one id must meet in one slot, and the tag of an
/// address is another one tomorrow.
pub fn slot_of(
    user: Pseudonym,
    install_id: &str,
    event_id: &str,
    ip_tag: u64,
    agent_key: u64,
) -> Slot {
    if user.is_some() {
        Slot::of_key(user.key())
    } else if !install_id.is_empty() {
        Slot::of_key(name_key(install_id))
    } else if !event_id.is_empty() {
        Slot::of_key(name_key(event_id))
    } else {
        Slot::of_key((ip_tag ^ agent_key.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Agents, Networks};
    use super::*;

    fn visitor(agent: &str) -> Visitor<'_> {
        Visitor {
            received: Timestamp(1_000_000),
            address: None,
            agent,
            is_get: true,
            is_prefetch: false,
        }
    }

    #[test]
    fn the_first_reason_in_order_is_given() {
        let agents = Agents::load(None).expect("the built-in list");
        let (networks, _) = Networks::read("192.0.2.0/24".as_bytes()).expect("a range");
        let lists = Lists { agents, networks, version: 1 };
        let thresholds =
            Thresholds { too_fast_us: 300_000, token_age_us_max: 1, token_age_batch_us_max: 2 };
        let reason = |visitor: &Visitor<'_>| protocol_reason(visitor, None, &lists, &thresholds);
        let person = visitor("Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0");
        assert_eq!(reason(&person), None);
        assert_eq!(
            reason(&Visitor { is_get: false, is_prefetch: true, ..person }),
            Some(Reason::NotGet)
        );
        assert_eq!(
            reason(&Visitor { is_prefetch: true, ..visitor("curl/8") }),
            Some(Reason::Prefetch)
        );
        assert_eq!(reason(&visitor("curl/8")), Some(Reason::DeclaredRobot));
        let address = "192.0.2.77".parse().ok();
        assert_eq!(reason(&Visitor { address, ..person }), Some(Reason::DataCentre));
        assert_eq!(reason(&Visitor { address, ..visitor("curl/8") }), Some(Reason::DeclaredRobot));
    }

    #[test]
    fn every_token_error_has_a_verdict_of_its_own() {
        assert_eq!(of_token_error(TokenError::Expired).0, Verdict::Expired);
        for (error, fact) in [
            (TokenError::Truncated, Some(Fact::TokenMalformed)),
            (TokenError::Malformed, Some(Fact::TokenMalformed)),
            (TokenError::Version(9), Some(Fact::TokenMalformed)),
            (TokenError::UnknownKey(9), Some(Fact::TokenUnknownKey)),
            (TokenError::ForeignTenant, Some(Fact::TokenForeign)),
            (TokenError::Forged, None),
        ] {
            let (verdict, facts) = of_token_error(error);
            assert_eq!(verdict, Verdict::Forged, "{error}");
            assert_eq!(facts, fact.map_or(Facts(0), |fact| Facts(0).with(fact)), "{error}");
        }
    }
}
