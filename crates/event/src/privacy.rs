//! People as keyed hashes, addresses truncated: what the log may know of a person.
//!
//! A user id becomes a [`Pseudonym`] at the edge (BLAKE3, keyed, 128 bits). An address becomes a
//! truncated address (/24, /48) and a tag that is keyed by the day, so that clicks of one address
//! can be compared within a day and never across days.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{TenantId, Timestamp};

/// A user, as the log knows them. Zero means "no user".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym(pub u128);

impl Pseudonym {
    /// Nobody known.
    pub const NONE: Pseudonym = Pseudonym(0);

    /// True where a user is known.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// A 64-bit key for slots and maps.
    pub const fn key(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// What a user has said of consent, as records and tokens carry it: 0, or bits.
///
/// | bit | meaning |
/// |---|---|
/// | 0 (1) | what is known of the user may be used to choose ads, and may be kept for that |
/// | 1 to 6 | the client's own; carried, and read by nobody here |
/// | 7 (128) | something was said; it tells "no" (128) from "nothing" (0) |
///
/// Where nothing was said, features are kept and used: who needs consent first must say "no" until
/// it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent(pub u8);

impl Consent {
    /// Nothing was said.
    pub const UNSAID: Consent = Consent(0);
    /// Features may be used and kept.
    pub const GIVEN: Consent = Consent(1);
    /// No.
    pub const REFUSED: Consent = Consent(128);

    /// From bits that a client has sent; none of them is a "no".
    pub const fn said(bits: u8) -> Self {
        if bits == 0 { Consent::REFUSED } else { Consent(bits) }
    }

    /// Whether features of the user may be read and built.
    pub const fn allows_features(self) -> bool {
        self.0 == Consent::UNSAID.0 || self.0 & Consent::GIVEN.0 != 0
    }
}

/// Knows who has been erased: of them nothing is to be computed any more.
pub trait Erasures: Send + Sync {
    /// True for a person whose erasure was asked for.
    fn is_erased(&self, tenant: TenantId, user: Pseudonym) -> bool;
}

/// Nobody has been erased.
#[derive(Clone, Copy, Debug, Default)]
pub struct NobodyErased;

impl Erasures for NobodyErased {
    fn is_erased(&self, _: TenantId, _: Pseudonym) -> bool {
        false
    }
}

/// The secret that turns user ids into pseudonyms.
#[derive(Clone)]
pub struct PseudonymKey([u8; 32]);

impl PseudonymKey {
    /// From 32 secret bytes.
    pub const fn new(secret: [u8; 32]) -> Self {
        PseudonymKey(secret)
    }

    /// The pseudonym of a user of a tenant; never [`Pseudonym::NONE`].
    pub fn pseudonym(&self, tenant: TenantId, user_id: &str) -> Pseudonym {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&tenant.0.to_le_bytes());
        hasher.update(user_id.as_bytes());
        Pseudonym(first_16(&hasher.finalize()).max(1))
    }
}

/// The secret that turns addresses into daily tags.
#[derive(Clone)]
pub struct TagKey([u8; 32]);

impl TagKey {
    /// From 32 secret bytes.
    pub const fn new(secret: [u8; 32]) -> Self {
        TagKey(secret)
    }

    /// The tag of an address on the UTC day of `at`; never 0.
    pub fn tag(&self, at: Timestamp, address: IpAddr) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&at.0.div_euclid(Timestamp::DAY).to_le_bytes());
        match address {
            IpAddr::V4(v4) => hasher.update(&v4.octets()),
            IpAddr::V6(v6) => hasher.update(&v6.octets()),
        };
        ((first_16(&hasher.finalize()) >> 64) as u64).max(1)
    }
}

fn first_16(hash: &blake3::Hash) -> u128 {
    let bytes: [u8; 16] = hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes");
    u128::from_le_bytes(bytes)
}

/// The address with its last octet (IPv4) or last ten octets (IPv6) zeroed. An IPv4 address mapped
/// into IPv6 is taken as IPv4.
pub fn truncate_ip(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_differ_by_key_tenant_and_user() {
        let (key, other) = (PseudonymKey::new([1; 32]), PseudonymKey::new([2; 32]));
        let of = |key: &PseudonymKey, tenant, user| key.pseudonym(TenantId(tenant), user);
        assert_eq!(of(&key, 1, "u"), of(&key, 1, "u"));
        assert_ne!(of(&key, 1, "u"), of(&other, 1, "u"));
        assert_ne!(of(&key, 1, "u"), of(&key, 2, "u"));
        assert_ne!(of(&key, 1, "u"), of(&key, 1, "v"));
    }

    #[test]
    fn a_no_is_not_the_same_as_nothing() {
        for (consent, allows) in [
            (Consent::UNSAID, true),
            (Consent::GIVEN, true),
            (Consent::REFUSED, false),
            (Consent::said(0), false),
            (Consent::said(3), true),
            (Consent::said(2), false),
            (Consent::said(129), true),
        ] {
            assert_eq!(consent.allows_features(), allows, "{consent:?}");
        }
    }

    #[test]
    fn tags_change_with_the_day() {
        let key = TagKey::new([3; 32]);
        let address: IpAddr = "203.0.113.7".parse().expect("an address");
        assert_eq!(key.tag(Timestamp(0), address), key.tag(Timestamp(Timestamp::DAY - 1), address));
        assert_ne!(key.tag(Timestamp(0), address), key.tag(Timestamp(Timestamp::DAY), address));
    }

    #[test]
    fn addresses_lose_their_last_part() {
        let check = |from: &str, to: &str| {
            let (from, to): (IpAddr, IpAddr) = (from.parse().expect("ip"), to.parse().expect("ip"));
            assert_eq!(truncate_ip(from), to);
        };
        check("203.0.113.7", "203.0.113.0");
        check("::ffff:203.0.113.7", "203.0.113.0");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1::");
    }
}
