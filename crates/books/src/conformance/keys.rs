//! Tenants and API keys: found by a secret nobody stores, and good for nothing once revoked.

use reckon_event::{TenantId, Timestamp};

use super::{Bench, NOON, TENANT, all, expect_kind};
use crate::books::{Created, Page};
use crate::error::ErrorKind;
use crate::key::{ApiKey, KeyKind, Scopes, SecretHash, Tenant};

fn key(key_id: &str) -> ApiKey {
    ApiKey {
        key_id: key_id.to_owned(),
        tenant: TENANT,
        name: format!("Key {key_id}"),
        kind: KeyKind::Secret,
        scopes: Scopes::COLLECT.with(Scopes::READ),
        requests_per_second: Some(500),
        created_at: NOON,
        revoked_at: None,
    }
}

/// From its making to its revocation, also after a restart, and to nobody with another secret.
pub async fn a_key_is_found_by_its_secret_until_it_is_revoked(bench: &dyn Bench) {
    let books = bench.open().await;
    let (secret, other) = (SecretHash::of("rk_one"), SecretHash::of("rk_two"));
    assert_eq!(
        books.create_key(key("k-1"), secret).await.expect("sound"),
        Created::New(key("k-1"))
    );
    let public = ApiKey {
        kind: KeyKind::Write,
        scopes: Scopes::NONE,
        requests_per_second: None,
        ..key("k-2")
    };
    assert!(books.create_key(public.clone(), other).await.expect("sound").is_new());
    books.close().await;

    let books = bench.open().await;
    assert_eq!(books.key_by_secret(secret).await.expect("works"), Some(key("k-1")));
    assert_eq!(books.key_by_secret(other).await.expect("works"), Some(public.clone()));
    let wrong = SecretHash::of("rk_One");
    assert_eq!(books.key_by_secret(wrong).await.expect("works"), None);

    let at = NOON.plus(Timestamp::DAY);
    let revoked = ApiKey { revoked_at: Some(at), ..key("k-1") };
    assert_eq!(books.revoke_key(TENANT, "k-1", at).await.expect("there"), revoked);
    let again = books.revoke_key(TENANT, "k-1", at.plus(1)).await;
    assert_eq!(again.expect("there"), revoked, "the first revocation stands");
    assert_eq!(books.key_by_secret(secret).await.expect("works"), None);
    assert_eq!(books.list_keys(TENANT, all()).await.expect("works"), [revoked, public.clone()]);
    let second = Page { after: Some("k-1".to_owned()), limit: 1 };
    assert_eq!(books.list_keys(TENANT, second).await.expect("works"), [public]);
    expect_kind(books.revoke_key(TENANT, "k-3", at).await, ErrorKind::NotFound);
}

/// A key can be registered again as it is; another secret, another owner or wider scopes are refused.
pub async fn a_key_is_registered_once(bench: &dyn Bench) {
    let books = bench.open().await;
    let secret = SecretHash::of("rk_one");
    assert!(books.create_key(key("k-1"), secret).await.expect("sound").is_new());
    let later = ApiKey { created_at: NOON.plus(1), ..key("k-1") };
    let again = books.create_key(later, secret).await;
    assert_eq!(again.expect("the same"), Created::Same(key("k-1")));

    let other = SecretHash::of("rk_two");
    expect_kind(books.create_key(key("k-1"), other).await, ErrorKind::Conflict);
    expect_kind(books.create_key(key("k-2"), secret).await, ErrorKind::Conflict);
    let wider = ApiKey { scopes: Scopes::ALL, ..key("k-1") };
    expect_kind(books.create_key(wider, secret).await, ErrorKind::Conflict);
    let foreign = ApiKey { tenant: TenantId(9), ..key("k-3") };
    expect_kind(books.create_key(foreign, other).await, ErrorKind::NotFound);
    let public = ApiKey { kind: KeyKind::Write, ..key("k-4") };
    let refused = books.create_key(public, other).await;
    expect_kind(refused, ErrorKind::Invalid { field: "scopes" });
    assert_eq!(books.list_keys(TENANT, all()).await.expect("works"), [key("k-1")]);
}

/// A fresh store has the default tenant; numbers and names are each given once.
pub async fn a_tenant_is_registered_once(bench: &dyn Bench) {
    let books = bench.open().await;
    let fresh = books.tenants().await.expect("works");
    let named: Vec<_> = fresh.iter().map(|t| (t.tenant, t.name.as_str())).collect();
    assert_eq!(named, [(TENANT, "default")]);

    let tenant = |number, name: &str| Tenant {
        tenant: TenantId(number),
        name: name.to_owned(),
        created_at: NOON,
    };
    assert!(books.create_tenant(tenant(u32::MAX, "north")).await.expect("sound").is_new());
    assert!(!books.create_tenant(tenant(u32::MAX, "north")).await.expect("same").is_new());
    expect_kind(books.create_tenant(tenant(u32::MAX, "south")).await, ErrorKind::Conflict);
    expect_kind(books.create_tenant(tenant(3, "north")).await, ErrorKind::Conflict);
    let nobody = books.create_tenant(tenant(0, "nobody")).await;
    expect_kind(nobody, ErrorKind::Invalid { field: "tenant" });
    assert_eq!(books.tenants().await.expect("works").len(), 2);
}
