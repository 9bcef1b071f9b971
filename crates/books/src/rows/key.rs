//! Rows of tenants and API keys, and what becomes of one that is to be made.

use reckon_event::Timestamp;

use super::{bytes_of, tenant_of, u32_of};
use crate::books::{Created, Outcome};
use crate::error::Error;
use crate::key::{ApiKey, KeyKind, Scopes, SecretHash, Tenant};

/// `tenant, name, created_at`.
pub(crate) type TenantColumns = (i64, String, i64);

pub(crate) fn registered_tenant((tenant, name, at): TenantColumns) -> Result<Tenant, Error> {
    Ok(Tenant { tenant: tenant_of(tenant)?, name, created_at: Timestamp(at) })
}

/// What becomes of a tenant whose number or name is taken.
pub(crate) fn same_tenant(held: Tenant, asked: &Tenant) -> Outcome<Tenant> {
    if held.tenant == asked.tenant && held.name == asked.name {
        return Ok(Created::Same(held));
    }
    let message = format!("tenant {} is named `{}`: choose another", held.tenant.0, held.name);
    Err(Error::conflict(message))
}

pub(crate) const KEY_COLUMNS: &str = "tenant, key_id, name, kind, scopes, requests_per_second, \
    created_at, revoked_at, secret_hash";

/// The values of [`KEY_COLUMNS`].
pub(crate) type KeyColumns =
    (i64, String, String, String, i64, Option<i64>, i64, Option<i64>, Vec<u8>);

/// A key, and the hash of its secret.
pub(crate) fn key_of(columns: KeyColumns) -> Result<(ApiKey, SecretHash), Error> {
    let (tenant, key_id, name, kind, scopes, limit, created_at, revoked_at, secret) = columns;
    let key = ApiKey {
        key_id,
        tenant: tenant_of(tenant)?,
        name,
        kind: KeyKind::parse(&kind).map_err(|_| Error::damaged(format!("`{kind}` is no kind")))?,
        scopes: scopes_of(scopes)?,
        requests_per_second: limit.map(|limit| u32_of(limit, "rate limit")).transpose()?,
        created_at: Timestamp(created_at),
        revoked_at: revoked_at.map(Timestamp),
    };
    Ok((key, SecretHash(bytes_of(&secret, "a secret's hash")?)))
}

fn scopes_of(bits: i64) -> Result<Scopes, Error> {
    let known = u8::try_from(bits).ok().and_then(Scopes::from_bits);
    known.ok_or_else(|| Error::damaged(format!("{bits} is no set of scopes")))
}

/// What becomes of a key whose id or secret is taken.
pub(crate) fn same_key(
    (held, held_secret): (ApiKey, SecretHash),
    asked: &ApiKey,
    asked_secret: SecretHash,
) -> Outcome<ApiKey> {
    if held.key_id != asked.key_id || held.tenant != asked.tenant {
        // Whose secret it is, is nobody's business.
        return Err(Error::conflict("this secret is another key's: draw a new one".to_owned()));
    }
    let (created_at, revoked_at) = (held.created_at, held.revoked_at);
    let asked = ApiKey { created_at, revoked_at, ..asked.clone() };
    if held_secret == asked_secret && held == asked {
        return Ok(Created::Same(held));
    }
    Err(Error::conflict(format!("key `{}` is registered with other values", held.key_id)))
}
