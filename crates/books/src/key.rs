//! API keys and the tenants they speak for. Of a key's secret the books know a hash only.

use std::fmt;

use reckon_event::{TenantId, Timestamp};

use crate::error::Error;

/// Somebody whose data never meets anybody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The number that stands in every record.
    pub tenant: TenantId,
    /// For people; unique.
    pub name: String,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// Who may hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// A server of the tenant: kept secret, sent as a bearer token.
    Secret,
    /// Anyone: it stands in web pages and lets browsers send events, nothing else.
    Write,
}

impl KeyKind {
    /// As the API and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::Secret => "secret",
            KeyKind::Write => "write",
        }
    }

    /// Reads what [`KeyKind::as_str`] writes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "secret" => Ok(KeyKind::Secret),
            "write" => Ok(KeyKind::Write),
            _ => Err(Error::invalid("kind", "must be secret or write")),
        }
    }
}

/// What a key may be used for: a set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// Nothing.
    pub const NONE: Scopes = Scopes(0);
    /// Sending events as a trusted source.
    pub const COLLECT: Scopes = Scopes(1);
    /// Asking for predictions.
    pub const PREDICT: Scopes = Scopes(2);
    /// Reading figures, the catalog and the ledger.
    pub const READ: Scopes = Scopes(4);
    /// Changing the catalog, keys, models and experiments.
    pub const MANAGE: Scopes = Scopes(8);
    /// Everything.
    pub const ALL: Scopes = Scopes(15);

    const NAMES: [(Scopes, &str); 4] = [
        (Scopes::COLLECT, "collect"),
        (Scopes::PREDICT, "predict"),
        (Scopes::READ, "read"),
        (Scopes::MANAGE, "manage"),
    ];

    /// Both sets together.
    pub const fn with(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Scopes) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let held = move |&(scope, _): &(Scopes, &str)| self.contains(scope);
        Self::NAMES.into_iter().filter(held).map(|(_, name)| name)
    }

    /// Reads one name.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let known = Self::NAMES.into_iter().find(|&(_, known)| known == name);
        known.map(|(scope, _)| scope).ok_or_else(|| {
            Error::invalid("scopes", "must be some of collect, predict, read and manage")
        })
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        if bits <= Self::ALL.0 { Some(Scopes(bits)) } else { None }
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The hash of a key's secret.
///
/// A fast hash is enough, because the secret is drawn at random with 256 bits: there is no list of
/// likely secrets to try, which is all that a slow, salted password hash would defend against. And a
/// lookup by hash leaks nothing by its timing: who can steer the bytes of a hash towards a stored
/// one has already broken it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// The hash of a secret in its text form (BLAKE3, with a context of its own).
    pub fn of(secret: &str) -> Self {
        SecretHash(blake3::derive_key("reckon 2026 API key secret", secret.as_bytes()))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Names the key in lists and logs; unique within the tenant, and no secret.
    pub key_id: String,
    /// Whose key it is.
    pub tenant: TenantId,
    /// For people.
    pub name: String,
    /// Who may hold it.
    pub kind: KeyKind,
    /// What it may be used for. A write key has none: it can do one thing only.
    pub scopes: Scopes,
    /// The most requests in a second; `None` is without limit.
    pub requests_per_second: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked. It has not been good for anything since.
    pub revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set() {
        let set = Scopes::COLLECT.with(Scopes::MANAGE);
        assert_eq!(set.names().collect::<Vec<_>>(), ["collect", "manage"]);
        assert!(set.contains(Scopes::COLLECT) && set.contains(Scopes::NONE));
        assert!(!set.contains(Scopes::READ) && !set.contains(Scopes::ALL));
        let all = Scopes::ALL.names().map(|name| Scopes::parse(name).expect("known"));
        assert_eq!(all.fold(Scopes::NONE, Scopes::with), Scopes::ALL);
        assert!(Scopes::parse("admin").is_err());
    }

    #[test]
    fn hashes_of_secrets_never_change() {
        let SecretHash(hash) = SecretHash::of("rk_example");
        let text: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "97ebd2b2f2a99150");
    }

    #[test]
    fn a_hash_is_not_printed() {
        assert_eq!(format!("{:?}", SecretHash::of("rk_example")), "SecretHash(..)");
    }
}
