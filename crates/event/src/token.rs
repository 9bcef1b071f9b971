//! The sealed token: what Reckon said about an impression when it minted it, so that a click needs
//! no look-up to be believed.
//!
//! ```text
//! | version 1 | key id 4 | nonce 12 | sealed claims 104 | tag 16 |   then base64url, no padding
//!  \___ authenticated ___/
//! ```
//!
//! AES-256-GCM-SIV (RFC 8452), from aws-lc: a repeated nonce would not open it, so the caller's
//! random generator need not be trusted with money. Opening one costs 0.3 us. Version and key id are
//! in clear and authenticated; the claims are opaque, so volumes do not leak.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{Claims, TenantId, Timestamp};

/// Bytes of the claims before sealing.
pub(crate) const CLAIMS_BYTES: usize = 104;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES: usize = HEAD_BYTES + NONCE_BYTES + CLAIMS_BYTES + TAG_BYTES;

/// Characters of a token.
pub const TOKEN_CHARS: usize = (TOKEN_BYTES * 4).div_ceil(3);

/// A token as text, ASCII, safe in a URL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; TOKEN_CHARS]);

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a token is not believed. Each has a verdict of its own at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Shorter than a token.
    #[error("cut short")]
    Truncated,
    /// Longer than a token, or not of its letters.
    #[error("not a token")]
    Malformed,
    /// Made by a later build.
    #[error("token version {0} is not known to this build")]
    Version(u8),
    /// Its key is not in the ring (any more).
    #[error("key {0} is not in the ring")]
    UnknownKey(u32),
    /// It does not open: not made here, or edited.
    #[error("does not open: forged or edited")]
    Forged,
    /// It opens, and belongs to another tenant.
    #[error("belongs to another tenant")]
    ForeignTenant,
    /// It opens, and was received too late.
    #[error("expired")]
    Expired,
}

/// A key ring that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key.
    #[error("a key ring needs at least one key")]
    NoKey,
    /// Two keys have one id.
    #[error("key id {0} stands twice in the ring")]
    Twice(u32),
}

/// One secret of the ring.
#[derive(Clone)]
pub struct TokenKey {
    /// Stands in clear in every token it seals.
    pub id: u32,
    /// 256 secret bits.
    pub secret: [u8; 32],
}

/// The keys that open tokens; the newest (highest id) seals. Rotation adds a key and drops the
/// oldest once the last token it sealed has expired.
pub struct KeyRing {
    keys: Vec<(u32, LessSafeKey)>,
}

impl KeyRing {
    /// A ring of at least one key.
    pub fn new(keys: &[TokenKey]) -> Result<Self, SealError> {
        let mut ring: Vec<(u32, LessSafeKey)> = keys
            .iter()
            .map(|key| {
                let unbound =
                    UnboundKey::new(&AES_256_GCM_SIV, &key.secret).expect("32 bytes make a key");
                (key.id, LessSafeKey::new(unbound))
            })
            .collect();
        ring.sort_by_key(|&(id, _)| std::cmp::Reverse(id));
        if let Some(pair) = ring.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SealError::Twice(pair[0].0));
        }
        if ring.is_empty() { Err(SealError::NoKey) } else { Ok(KeyRing { keys: ring }) }
    }

    /// Seals claims with the newest key. `nonce` should be random.
    pub fn seal(&self, claims: &Claims, nonce: [u8; NONCE_BYTES]) -> Token {
        let (id, key) = &self.keys[0];
        let mut bytes = [0; TOKEN_BYTES];
        bytes[0] = VERSION;
        bytes[1..HEAD_BYTES].copy_from_slice(&id.to_be_bytes());
        let (head, rest) = bytes.split_at_mut(HEAD_BYTES);
        let (nonce_bytes, rest) = rest.split_at_mut(NONCE_BYTES);
        let (sealed, tag_bytes) = rest.split_at_mut(CLAIMS_BYTES);
        nonce_bytes.copy_from_slice(&nonce);
        sealed.copy_from_slice(&claims.to_bytes());
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&*head),
                sealed,
            )
            .expect("104 bytes are within the cipher's bounds");
        tag_bytes.copy_from_slice(tag.as_ref());
        let mut text = [0; TOKEN_CHARS];
        let out = base64_simd::Out::from_slice(&mut text);
        let written = base64_simd::URL_SAFE_NO_PAD.encode(&bytes, out).len();
        assert_eq!(written, TOKEN_CHARS, "the length of a token is fixed");
        Token(text)
    }

    /// Opens a token. Whose it is and whether it is still valid, [`Claims::judge`] says.
    pub fn open(&self, text: &str) -> Result<Claims, TokenError> {
        let mut bytes = decode(text)?;
        let (head, rest) = bytes.split_at_mut(HEAD_BYTES);
        if head[0] != VERSION {
            return Err(TokenError::Version(head[0]));
        }
        let id = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let (_, key) =
            self.keys.iter().find(|(known, _)| *known == id).ok_or(TokenError::UnknownKey(id))?;
        let (nonce, sealed) = rest.split_at_mut(NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("twelve bytes");
        let plain =
            key.open_in_place(nonce, Aad::from(&*head), sealed).map_err(|_| TokenError::Forged)?;
        let claims = plain.first_chunk().and_then(Claims::from_bytes);
        claims.ok_or(TokenError::Forged)
    }
}

fn decode(text: &str) -> Result<[u8; TOKEN_BYTES], TokenError> {
    if text.len() < TOKEN_CHARS {
        return Err(TokenError::Truncated);
    }
    if text.len() > TOKEN_CHARS {
        return Err(TokenError::Malformed);
    }
    let mut bytes = [0; TOKEN_BYTES];
    let out = base64_simd::Out::from_slice(&mut bytes);
    base64_simd::URL_SAFE_NO_PAD.decode(text.as_bytes(), out).map_err(|_| TokenError::Malformed)?;
    Ok(bytes)
}

impl Claims {
    /// Is the token this tenant's, and not yet expired when the server received it? `age_us_max` is
    /// what the source may take: a redirect less than a phone's batch. The sealed outer bound holds
    /// for both.
    pub fn judge(
        &self,
        tenant: TenantId,
        received: Timestamp,
        age_us_max: i64,
    ) -> Result<(), TokenError> {
        if self.tenant != tenant {
            return Err(TokenError::ForeignTenant);
        }
        if received >= self.expires_at || received.since(self.issued_at) >= age_us_max {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}
