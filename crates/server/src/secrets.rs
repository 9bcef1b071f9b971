//! The secrets of an installation: token keys, the pseudonym key, the address-tag key.
//!
//! They live in `DIR/secrets/`, one file each, readable by the owner only, made at the first start.
//! Token keys are files `token-N.key`; the highest number seals, all of them open. To rotate, add a
//! file with the next number and restart; delete the old one when the longest expiry has passed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use reckon_event::{KeyRing, PseudonymKey, TagKey, TokenKey};

/// All secrets, loaded.
pub struct Secrets {
    /// Opens and seals tokens.
    pub ring: KeyRing,
    /// Turns user ids into pseudonyms.
    pub pseudonyms: PseudonymKey,
    /// Turns addresses into daily tags.
    pub tags: TagKey,
    /// Turns impression ids into the click ids that advertisers see.
    pub click_ids: [u8; 32],
}

impl Secrets {
    /// Loads what is in `dir`, making what is missing.
    pub fn load(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut keys = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if let Some(id) = token_key_id(&path)? {
                keys.push(TokenKey { id, secret: load_or_make(&path)? });
            }
        }
        if keys.is_empty() {
            keys.push(TokenKey { id: 1, secret: load_or_make(&dir.join("token-1.key"))? });
        }
        Ok(Secrets {
            ring: KeyRing::new(&keys).context("token keys")?,
            pseudonyms: PseudonymKey::new(load_or_make(&dir.join("pseudonym.key"))?),
            tags: TagKey::new(load_or_make(&dir.join("tag.key"))?),
            click_ids: load_or_make(&dir.join("click.key"))?,
        })
    }
}

fn token_key_id(path: &Path) -> Result<Option<u32>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(number) = name.strip_prefix("token-").and_then(|rest| rest.strip_suffix(".key"))
    else {
        return Ok(None);
    };
    match number.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => {
            bail!("{}: token keys are named token-N.key with a whole number N", path.display())
        }
    }
}

fn load_or_make(path: &Path) -> Result<[u8; 32]> {
    if let Ok(text) = fs::read_to_string(path) {
        return parse_hex(text.trim())
            .with_context(|| format!("{} must hold 64 hex digits", path.display()));
    }
    let secret: [u8; 32] = rand::random();
    write_private(path, &format!("{}\n", hex(&secret)))?;
    Ok(secret)
}

/// Writes a file that only its owner may read, and syncs it and its folder.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let place = || format!("cannot write {}", path.display());
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(path).with_context(place)?;
    file.write_all(text.as_bytes()).with_context(place)?;
    file.sync_all().with_context(place)?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|dir| dir.sync_all()).with_context(place)?;
    }
    Ok(())
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(out)
}
