//! The file: named sections, every bit of it under a checksum, and a digest that is its identity.
//!
//! ```text
//! 0            8        12         16                 24          28        32
//! +------------+--------+----------+------------------+-----------+---------+
//! | "RKBUNDLE" | ver u32| sections | length of all u64| dir u32   | crc u32 |  header
//! +------------+--------+----------+------------------+-----------+---------+
//! | name 32 bytes, zeros behind | offset u64 | length u64 | a section's entry, 48 bytes each
//! +-----------------------------+------------+------------+
//! | crc32c u32 of each MiB of each section, in their order | directory's own crc u32 |
//! +--------------------------------------------------------+-------------------------+
//! | zeros up to a multiple of 64 | section | zeros | section | ... | zeros | blake3 of all before |
//! +------------------------------+---------+-------+---------+-----+-------+----------------------+
//! ```
//!
//! Numbers are little-endian; `dir` is the length of entries and checksums. The blocks' checksums name
//! the place of damage, the digest makes the bundle one thing: two bundles of one digest are the same.
//! Nothing is allocated by a length that is read before it was held against the bytes that are there.

use std::io::Write;

use crate::{BundleError, Foreign};

/// A bundle's length in bytes is at most this.
pub const BYTES_MAX: u64 = 1 << 31;

const MAGIC: [u8; 8] = *b"RKBUNDLE";
const VERSION: u32 = 1;
const HEADER: usize = 32;
const NAME: usize = 32;
const ENTRY: usize = NAME + 16;
const SECTIONS_MAX: usize = 64;
const BLOCK: usize = 1 << 20;
const ALIGN: usize = 64;
const DIGEST: usize = 32;

/// A bundle's identity: the digest of all its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId(pub [u8; DIGEST]);

impl std::fmt::Display for BundleId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl std::fmt::Debug for BundleId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "BundleId({self})")
    }
}

/// A named part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Lower-case letters, digits and `-`, at most 32 bytes.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// The sections of a bundle whose every bit was checked.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// In the order of the file.
    pub sections: Vec<Section<'a>>,
    /// The digest of it all.
    pub id: BundleId,
}

impl<'a> Container<'a> {
    /// Takes a bundle apart and checks every bit of it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let header = Header::read(bytes)?;
        let sections = header.sections(bytes)?;
        let id = check_digest(bytes)?;
        Ok(Container { sections, id })
    }

    /// What the section of this name holds.
    pub fn section(&self, name: &str) -> Result<&'a [u8], BundleError> {
        let found = self.sections.iter().find(|section| section.name == name);
        found.map(|section| section.bytes).ok_or_else(|| {
            BundleError::Layout(format!("section {name} is missing; the manifest announces it"))
        })
    }
}

/// Writes sections as a bundle, in one pass, and says which one it has become.
///
/// Whoever writes to a file writes a temporary one, syncs it and renames it: a bundle is never changed.
pub fn write(sections: &[Section<'_>], out: &mut impl Write) -> Result<BundleId, BundleError> {
    let plan = Plan::of(sections)?;
    let mut out = Hashed { out, hasher: blake3::Hasher::new(), written: 0 };
    out.put(&plan.head)?;
    for (section, offset) in sections.iter().zip(&plan.offsets) {
        out.pad_to(*offset)?;
        out.put(section.bytes)?;
    }
    out.pad_to(plan.length - DIGEST)?;
    let digest = *out.hasher.finalize().as_bytes();
    out.out.write_all(&digest)?;
    Ok(BundleId(digest))
}

/// Where everything will stand.
struct Plan {
    head: Vec<u8>,
    offsets: Vec<usize>,
    length: usize,
}

impl Plan {
    fn of(sections: &[Section<'_>]) -> Result<Self, BundleError> {
        check_names(sections.iter().map(|section| section.name))?;
        let blocks: usize = sections.iter().map(|section| blocks(section.bytes.len())).sum();
        let directory = sections.len() * ENTRY + blocks * 4;
        let mut end = HEADER + directory + 4;
        let mut offsets = Vec::new();
        for section in sections {
            let offset = end.next_multiple_of(ALIGN);
            offsets.push(offset);
            end = offset + section.bytes.len();
        }
        let length = end.next_multiple_of(ALIGN) + DIGEST;
        check_length(length as u64)?;
        let head = head(sections, &offsets, directory, length);
        Ok(Plan { head, offsets, length })
    }
}

/// Header and directory.
fn head(sections: &[Section<'_>], offsets: &[usize], directory: usize, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEADER + directory + 4);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    head.extend_from_slice(&(length as u64).to_le_bytes());
    head.extend_from_slice(&(directory as u32).to_le_bytes());
    let checksum = crc32c::crc32c(&head);
    head.extend_from_slice(&checksum.to_le_bytes());
    for (section, offset) in sections.iter().zip(offsets) {
        let mut name = [0; NAME];
        name[..section.name.len()].copy_from_slice(section.name.as_bytes());
        head.extend_from_slice(&name);
        head.extend_from_slice(&(*offset as u64).to_le_bytes());
        head.extend_from_slice(&(section.bytes.len() as u64).to_le_bytes());
    }
    for block in sections.iter().flat_map(|section| section.bytes.chunks(BLOCK)) {
        head.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
    }
    let checksum = crc32c::crc32c(&head[HEADER..]);
    head.extend_from_slice(&checksum.to_le_bytes());
    head
}

/// Writes and digests.
struct Hashed<'a, W> {
    out: &'a mut W,
    hasher: blake3::Hasher,
    written: usize,
}

impl<W: Write> Hashed<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.hasher.update(bytes);
        self.written += bytes.len();
        Ok(self.out.write_all(bytes)?)
    }

    fn pad_to(&mut self, offset: usize) -> Result<(), BundleError> {
        self.put(&[0; ALIGN][..offset - self.written])
    }
}

struct Header {
    sections: usize,
    directory: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let found = bytes.len() as u64;
        if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) || bytes.is_empty() {
            return Err(BundleError::Foreign(Foreign::detect(bytes)));
        }
        let header = bytes
            .get(..HEADER)
            .ok_or(BundleError::Truncated { found, announced: HEADER as u64 })?;
        if u32_at(header, 28) != crc32c::crc32c(&header[..28]) {
            return Err(damaged("the header", 0, HEADER));
        }
        let (version, sections) = (u32_at(header, 8), u32_at(header, 12) as usize);
        let (announced, directory) = (u64_at(header, 16), u32_at(header, 24) as usize);
        if version != VERSION {
            return Err(BundleError::Version(version));
        }
        check_length(announced)?;
        match found.cmp(&announced) {
            std::cmp::Ordering::Less => return Err(BundleError::Truncated { found, announced }),
            std::cmp::Ordering::Greater => return Err(BundleError::Trailing { found, announced }),
            std::cmp::Ordering::Equal => {}
        }
        let is_sound = sections <= SECTIONS_MAX
            && directory >= sections * ENTRY
            && HEADER + directory + 4 + DIGEST <= bytes.len();
        if !is_sound {
            let reason = format!("{sections} sections in a directory of {directory} bytes");
            return Err(BundleError::Layout(reason));
        }
        Ok(Header { sections, directory })
    }

    /// The sections, of which every block has matched its checksum.
    fn sections<'a>(&self, bytes: &'a [u8]) -> Result<Vec<Section<'a>>, BundleError> {
        let end = HEADER + self.directory;
        let directory = &bytes[HEADER..end];
        if u32_at(bytes, end) != crc32c::crc32c(directory) {
            return Err(damaged("the directory", HEADER, end + 4));
        }
        let (entries, checksums) = directory.split_at(self.sections * ENTRY);
        let sections = self.place(bytes, entries)?;
        let count: usize = sections.iter().map(|section| blocks(section.bytes.len())).sum();
        if checksums.len() != count * 4 {
            let reason = format!("{} bytes of checksums for {count} blocks", checksums.len());
            return Err(BundleError::Layout(reason));
        }
        check_blocks(bytes, &sections, checksums)?;
        Ok(sections)
    }

    /// Sections stand where the writer puts them, with zeros between.
    fn place<'a>(
        &self,
        bytes: &'a [u8],
        entries: &'a [u8],
    ) -> Result<Vec<Section<'a>>, BundleError> {
        let payload_end = bytes.len() - DIGEST;
        let mut end = HEADER + self.directory + 4;
        let mut sections = Vec::with_capacity(self.sections);
        for entry in entries.chunks_exact(ENTRY) {
            let name = name_of(entry)?;
            let (offset, length) = (u64_at(entry, NAME), u64_at(entry, NAME + 8));
            let start = end.next_multiple_of(ALIGN);
            let after = (start as u64)
                .checked_add(length)
                .filter(|&after| offset == start as u64 && after <= payload_end as u64);
            let after = after.ok_or_else(|| {
                BundleError::Layout(format!("section {name} has no {length} bytes at {offset}"))
            })? as usize;
            check_zeros(bytes, end, start)?;
            sections.push(Section { name, bytes: &bytes[start..after] });
            end = after;
        }
        if payload_end != end.next_multiple_of(ALIGN) {
            return Err(BundleError::Layout(format!("bytes {end} to {payload_end} are nobody's")));
        }
        check_zeros(bytes, end, payload_end)?;
        check_names(sections.iter().map(|section| section.name))?;
        Ok(sections)
    }
}

fn check_blocks(
    bytes: &[u8],
    sections: &[Section<'_>],
    checksums: &[u8],
) -> Result<(), BundleError> {
    let mut checksums = checksums.chunks_exact(4);
    for section in sections {
        for (index, block) in section.bytes.chunks(BLOCK).enumerate() {
            let checksum = checksums.next().expect("they were counted");
            if u32_at(checksum, 0) != crc32c::crc32c(block) {
                let from = place_of(bytes, section.bytes) + index * BLOCK;
                return Err(damaged(
                    &format!("section {}", section.name),
                    from,
                    from + block.len(),
                ));
            }
        }
    }
    Ok(())
}

fn check_digest(bytes: &[u8]) -> Result<BundleId, BundleError> {
    let (body, digest) = bytes.split_last_chunk::<DIGEST>().expect("its length was checked");
    if blake3::hash(body).as_bytes() != digest {
        return Err(damaged("the digest of the whole", 0, bytes.len()));
    }
    Ok(BundleId(*digest))
}

fn check_zeros(bytes: &[u8], from: usize, to: usize) -> Result<(), BundleError> {
    match bytes[from..to].iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(damaged("padding, which is all zeros,", from, to)),
    }
}

fn check_length(length: u64) -> Result<(), BundleError> {
    match length <= BYTES_MAX {
        true => Ok(()),
        false => Err(BundleError::TooLarge {
            what: "the length in bytes".to_owned(),
            found: length,
            max: BYTES_MAX,
        }),
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), BundleError> {
    let mut names = names.collect::<Vec<_>>();
    let count = names.len();
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        return Err(BundleError::Layout(format!("{name:?} cannot be a section's name")));
    }
    names.sort_unstable();
    names.dedup();
    if names.len() < count || count > SECTIONS_MAX {
        let reason = format!("{count} sections: at most {SECTIONS_MAX}, each of another name");
        return Err(BundleError::Layout(reason));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=NAME).contains(&name.len()) && name.bytes().all(is_letter)
}

fn name_of(entry: &[u8]) -> Result<&str, BundleError> {
    let name = &entry[..NAME];
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    let (name, zeros) = name.split_at(length);
    std::str::from_utf8(name)
        .ok()
        .filter(|name| is_name(name) && zeros.iter().all(|byte| *byte == 0))
        .ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            BundleError::Layout(format!("{name:?} cannot be a section's name"))
        })
}

fn damaged(what: &str, from: usize, to: usize) -> BundleError {
    BundleError::Damaged { what: what.to_owned(), from: from as u64, to: to as u64 }
}

/// Where a part of some bytes begins in them.
fn place_of(bytes: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - bytes.as_ptr().addr()
}

fn blocks(length: usize) -> usize {
    length.div_ceil(BLOCK)
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(*bytes[place..].first_chunk().expect("its length was checked"))
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(*bytes[place..].first_chunk().expect("its length was checked"))
}
