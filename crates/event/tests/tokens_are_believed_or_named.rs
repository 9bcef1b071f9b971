//! A token is money. One that was sealed here opens to what was sealed; one that was forged, cut,
//! edited, sealed with a key that has left the ring, or that belongs to somebody else, is refused
//! under a name of its own.

use proptest::prelude::*;
use reckon_event::{
    Claims, Currency, ImpressionId, KeyRing, Pseudonym, SealError, Slot, TOKEN_CHARS, TenantId,
    Timestamp, TokenError, TokenKey,
};

const HOUR: i64 = Timestamp::HOUR;

fn claims() -> Claims {
    Claims {
        tenant: TenantId(1),
        impression: ImpressionId {
            incarnation: 1,
            slot: Slot::of_key(u64::MAX),
            hour: 2,
            sequence: 3,
        },
        ad_key: 4,
        campaign_key: 5,
        price: 6,
        currency: Currency::USD,
        user: Pseudonym(7),
        issued_at: Timestamp(0),
        expires_at: Timestamp(72 * HOUR),
        model_version: 8,
        delta_version: 9,
        prediction_id: 10,
        arm: 11,
        propensity: 0.5,
        position: 12,
        explored: true,
        consent: 13,
    }
}

fn key(id: u32) -> TokenKey {
    TokenKey { id, secret: [id as u8; 32] }
}

fn ring(ids: &[u32]) -> KeyRing {
    KeyRing::new(&ids.iter().map(|&id| key(id)).collect::<Vec<_>>()).expect("distinct keys")
}

#[test]
fn what_was_sealed_opens() {
    let ring = ring(&[1]);
    let token = ring.seal(&claims(), [9; 12]);
    assert_eq!(token.as_str().len(), TOKEN_CHARS);
    assert!(token.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    assert_eq!(ring.open(token.as_str()), Ok(claims()));
}

#[test]
fn keys_rotate_with_an_overlap() {
    let (old, both, new) = (ring(&[1]), ring(&[1, 2]), ring(&[2]));
    let before = old.seal(&claims(), [1; 12]);
    let after = both.seal(&claims(), [1; 12]);
    assert_eq!(both.open(before.as_str()), Ok(claims()), "the old key still opens");
    assert_eq!(new.open(after.as_str()), Ok(claims()), "the newest key seals");
    assert_eq!(
        new.open(before.as_str()),
        Err(TokenError::UnknownKey(1)),
        "a key that has left opens nothing"
    );
    assert!(matches!(KeyRing::new(&[]), Err(SealError::NoKey)));
    assert!(matches!(KeyRing::new(&[key(1), key(1)]), Err(SealError::Twice(1))));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let ring = ring(&[1]);
    let token = ring.seal(&claims(), [9; 12]);
    let text = token.as_str();
    let mut refused = 0;
    for at in 0..text.len() {
        assert_eq!(ring.open(&text[..at]), Err(TokenError::Truncated), "{at} characters");
        for other in *b"Aa0_" {
            let mut edited = text.as_bytes().to_vec();
            if edited[at] != other {
                edited[at] = other;
                let edited = String::from_utf8(edited).expect("ASCII");
                assert!(ring.open(&edited).is_err(), "character {at} as {}", other as char);
                refused += 1;
            }
        }
    }
    assert!(refused > 3 * TOKEN_CHARS, "{refused} edits were tried");
    assert_eq!(ring.open(&format!("{text}A")), Err(TokenError::Malformed));
    assert_eq!(ring.open(&text.replace(&text[50..51], "*")), Err(TokenError::Malformed));
}

#[test]
fn foreign_keys_and_tenants_and_late_clicks_have_names() {
    let (ours, theirs) =
        (ring(&[1]), KeyRing::new(&[TokenKey { id: 1, secret: [99; 32] }]).expect("a key"));
    let forged = theirs.seal(&claims(), [9; 12]);
    assert_eq!(ours.open(forged.as_str()), Err(TokenError::Forged));
    let at = |hours: i64| Timestamp(hours * HOUR);
    let judge = |tenant, hours, age| claims().judge(TenantId(tenant), at(hours), age * HOUR);
    assert_eq!(judge(1, 23, 24), Ok(()));
    assert_eq!(judge(1, 24, 24), Err(TokenError::Expired));
    assert_eq!(judge(1, 71, 1_000), Ok(()));
    assert_eq!(
        judge(1, 72, 1_000),
        Err(TokenError::Expired),
        "the sealed bound holds for everyone"
    );
    assert_eq!(judge(2, 1, 24), Err(TokenError::ForeignTenant));
}

proptest! {
    #[test]
    fn nothing_but_a_sealed_token_opens(text in "[A-Za-z0-9_-]{183}|.{0,300}") {
        prop_assert!(ring(&[1, 2]).open(&text).is_err());
    }

    #[test]
    fn two_seals_of_one_claim_look_unlike(first: [u8; 12], second: [u8; 12]) {
        prop_assume!(first != second);
        let ring = ring(&[1]);
        prop_assert_ne!(ring.seal(&claims(), first), ring.seal(&claims(), second));
    }
}
