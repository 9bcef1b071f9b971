//! What lies where in a log's folder, and the two small files beside the segments.
//!
//! ```text
//! DIR/manifest                       how many lanes; written once
//! DIR/lock                           held by the process that has the log open
//! DIR/lane-0000/bounds               start of what is kept, and an end the lane surely reached
//! DIR/lane-0000/00000000000000000000.log     a segment, named by the offset of its first record
//! ```
//!
//! `manifest` and `bounds` are 32 bytes: magic 4, version 1, 3 reserved zeros, two fields of 8,
//! reserved zeros 4, CRC32C over the first 28. They are replaced in one step, so a crash leaves the
//! old or the new one.

use std::path::{Path, PathBuf};

use reckon_disk::{Disk, read_all, write_whole};

use super::Error;
use super::frame::{u32_at, u64_at};

const SMALL_BYTES: usize = 32;
const SMALL_VERSION: u8 = 1;
const MANIFEST_MAGIC: [u8; 4] = *b"RKNM";
const BOUNDS_MAGIC: [u8; 4] = *b"RKNB";

/// What is known of a lane without reading its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The first offset that is kept.
    pub(crate) start: u64,
    /// The lane had at least this end: evidence against a last segment that was lost or cut.
    pub(crate) end_min: u64,
}

pub(crate) fn manifest_path(dir: &Path) -> PathBuf {
    dir.join("manifest")
}

pub(crate) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

pub(crate) fn lane_dir(dir: &Path, lane: u16) -> PathBuf {
    dir.join(format!("lane-{lane:04}"))
}

pub(crate) fn bounds_path(lane_dir: &Path) -> PathBuf {
    lane_dir.join("bounds")
}

pub(crate) fn segment_path(lane_dir: &Path, base: u64) -> PathBuf {
    lane_dir.join(format!("{base:020}.log"))
}

/// The base of a segment by its path; `None` for any other file.
pub(crate) fn segment_base(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}

/// A replacement that a crash kept from taking its name.
pub(crate) fn is_leftover(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// The number of lanes; `None` where no log has been made.
pub(crate) fn read_manifest(disk: &dyn Disk, dir: &Path) -> Result<Option<u16>, Error> {
    let path = manifest_path(dir);
    let Some([lanes, _]) = read_small(disk, &path, MANIFEST_MAGIC)? else { return Ok(None) };
    match u16::try_from(lanes) {
        Ok(lanes) if lanes > 0 => Ok(Some(lanes)),
        _ => Err(Error::damaged(&path, 8, "an impossible number of lanes")),
    }
}

pub(crate) fn write_manifest(disk: &dyn Disk, dir: &Path, lanes: u16) -> Result<(), Error> {
    let path = manifest_path(dir);
    write_whole(disk, &path, &small(MANIFEST_MAGIC, [u64::from(lanes), 0]))
        .map_err(|source| Error::io(&path, source))
}

/// The bounds of a lane; `None` where none have been written yet.
pub(crate) fn read_bounds(disk: &dyn Disk, lane_dir: &Path) -> Result<Option<Bounds>, Error> {
    let path = bounds_path(lane_dir);
    let found = read_small(disk, &path, BOUNDS_MAGIC)?;
    Ok(found.map(|[start, end_min]| Bounds { start, end_min }))
}

pub(crate) fn write_bounds(
    disk: &dyn Disk,
    lane_dir: &Path,
    bounds: Bounds,
) -> std::io::Result<()> {
    let bytes = small(BOUNDS_MAGIC, [bounds.start, bounds.end_min]);
    write_whole(disk, &bounds_path(lane_dir), &bytes)
}

fn small(magic: [u8; 4], fields: [u64; 2]) -> [u8; SMALL_BYTES] {
    let mut out = [0; SMALL_BYTES];
    out[0..4].copy_from_slice(&magic);
    out[4] = SMALL_VERSION;
    out[8..16].copy_from_slice(&fields[0].to_le_bytes());
    out[16..24].copy_from_slice(&fields[1].to_le_bytes());
    let sum = crc32c::crc32c(&out[..28]);
    out[28..32].copy_from_slice(&sum.to_le_bytes());
    out
}

fn read_small(disk: &dyn Disk, path: &Path, magic: [u8; 4]) -> Result<Option<[u64; 2]>, Error> {
    let Some(bytes) = read_all(disk, path).map_err(|source| Error::io(path, source))? else {
        return Ok(None);
    };
    if bytes.len() != SMALL_BYTES {
        return Err(Error::damaged(path, 0, "not of its length"));
    }
    if bytes[0..4] != magic || crc32c::crc32c(&bytes[..28]) != u32_at(&bytes, 28) {
        return Err(Error::damaged(path, 0, "the checksum does not fit"));
    }
    if bytes[4] != SMALL_VERSION {
        return Err(Error::damaged(path, 4, "written by a later build"));
    }
    Ok(Some([u64_at(&bytes, 8), u64_at(&bytes, 16)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_disk::SimDisk;

    #[test]
    fn names_of_segments_read_back_and_others_do_not() {
        let dir = lane_dir(Path::new("log"), 7);
        assert_eq!(dir, Path::new("log/lane-0007"));
        for base in [0, 1, u64::MAX] {
            assert_eq!(segment_base(&segment_path(&dir, base)), Some(base));
        }
        for other in ["bounds", "1.log", "0000000000000000000x.log", "99999999999999999999.log"] {
            assert_eq!(segment_base(&dir.join(other)), None, "{other}");
        }
    }

    #[test]
    fn every_flipped_bit_of_the_small_files_is_noticed() {
        let (disk, dir) = (SimDisk::new(0), Path::new("lane"));
        disk.create_dir_all(dir).expect("made");
        let bounds = Bounds { start: 17, end_min: 1_000_000_007 };
        write_bounds(&disk, dir, bounds).expect("written");
        assert_eq!(read_bounds(&disk, dir).expect("read"), Some(bounds));
        for bit in 0..SMALL_BYTES as u64 * 8 {
            disk.flip(&bounds_path(dir), bit / 8, (bit % 8) as u8);
            read_bounds(&disk, dir).expect_err("flipped");
            disk.flip(&bounds_path(dir), bit / 8, (bit % 8) as u8);
        }
    }
}
