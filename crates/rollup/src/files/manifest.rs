//! The manifest: the commit marker. It names an epoch and every file that holds what came up to it.
//!
//! ```text
//!   magic 8 | number u64 | line | newest i64 | last file u64
//!   cube count u16 | cube *  (name, dimensions u8, pane u8, floor i64)
//!   totals | names file count u32 | id u64 * | run count u32 | run * | crc32c u32
//! ```
//!
//! Manifests are numbered and never changed; the highest one is in force. Whatever it does not name
//! is a stray of a crash and is removed when the folder is opened.

use std::path::{Path, PathBuf};

use super::options::{Cube, Dimensions, Pane};
use super::run::{RunMeta, Span};
use super::totals::Totals;
use super::wire::{Reader, put_text, seal, unseal};

const MAGIC: &[u8; 8] = b"RKNMAN01";

/// Which epochs are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The stage; 0 before the first epoch.
    pub stage: u8,
    pub group: u16,
    pub generation: u32,
    /// The last epoch; 0 before the first.
    pub number: u64,
}

/// A declared cube, and the second from which on it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub name: String,
    pub dimensions: Dimensions,
    pub pane: Pane,
    /// Rows before it have been dropped; `i64::MIN` where none ever was.
    pub floor: i64,
}

impl Declared {
    pub(super) fn of(cube: &Cube) -> Self {
        let Cube { name, dimensions, pane, .. } = cube;
        Declared { name: name.clone(), dimensions: *dimensions, pane: *pane, floor: i64::MIN }
    }

    pub(super) fn is(&self, cube: &Cube) -> bool {
        (&self.name, self.dimensions, self.pane) == (&cube.name, cube.dimensions, cube.pane)
    }
}

/// Everything that is durable, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Its own number; 0: nothing has been written yet.
    pub number: u64,
    pub line: Line,
    /// The newest second counted in; `i64::MIN`: none.
    pub newest: i64,
    /// The number of the last file that was made.
    pub last_file: u64,
    pub cubes: Vec<Declared>,
    pub totals: Totals,
    pub names: Vec<u64>,
    pub runs: Vec<RunMeta>,
}

const NAME: &str = "manifest-";

pub(super) fn manifest_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{NAME}{number:016}"))
}

/// The number of a manifest's file; `None` for any other file.
pub(super) fn manifest_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(NAME)?.parse().ok()
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(self.line.stage);
        out.extend_from_slice(&self.line.group.to_le_bytes());
        out.extend_from_slice(&self.line.generation.to_le_bytes());
        out.extend_from_slice(&self.line.number.to_le_bytes());
        out.extend_from_slice(&self.newest.to_le_bytes());
        out.extend_from_slice(&self.last_file.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.cubes.len()).expect("few").to_le_bytes());
        for cube in &self.cubes {
            put_text(&mut out, &cube.name);
            out.extend_from_slice(&[cube.dimensions.bits(), pane_code(cube.pane)]);
            out.extend_from_slice(&cube.floor.to_le_bytes());
        }
        self.totals.put(&mut out);
        put_count(&mut out, self.names.len());
        self.names.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        put_count(&mut out, self.runs.len());
        self.runs.iter().for_each(|run| put_run(&mut out, run));
        seal(&mut out);
        out
    }

    /// Reads a manifest; `None` where the bytes are not one of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(unseal(bytes)?);
        (reader.bytes(MAGIC.len())? == MAGIC).then_some(())?;
        let number = reader.u64()?;
        let line = Line {
            stage: reader.u8()?,
            group: reader.u16()?,
            generation: reader.u32()?,
            number: reader.u64()?,
        };
        let (newest, last_file) = (reader.i64()?, reader.u64()?);
        let cubes: Option<Vec<_>> = (0..reader.u16()?).map(|_| read_cube(&mut reader)).collect();
        let cubes = cubes?;
        let totals = Totals::read(&mut reader)?;
        let names: Option<Vec<_>> = (0..reader.u32()?).map(|_| reader.u64()).collect();
        let runs: Option<Vec<_>> =
            (0..reader.u32()?).map(|_| read_run(&mut reader, cubes.len())).collect();
        reader.is_empty().then_some(())?;
        Some(Manifest {
            number,
            line,
            newest,
            last_file,
            cubes,
            totals,
            names: names?,
            runs: runs?,
        })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).expect("files are few").to_le_bytes());
}

const fn pane_code(pane: Pane) -> u8 {
    match pane {
        Pane::Second => 1,
        Pane::Minute => 2,
        Pane::Hour => 3,
        Pane::Day => 4,
    }
}

fn read_cube(reader: &mut Reader<'_>) -> Option<Declared> {
    Some(Declared {
        name: reader.text()?.to_owned(),
        dimensions: Dimensions::from_bits(reader.u8()?)?,
        pane: match reader.u8()? {
            1 => Pane::Second,
            2 => Pane::Minute,
            3 => Pane::Hour,
            4 => Pane::Day,
            _ => return None,
        },
        floor: reader.i64()?,
    })
}

fn put_run(out: &mut Vec<u8>, run: &RunMeta) {
    out.extend_from_slice(&run.id.to_le_bytes());
    out.extend_from_slice(&run.cube.to_le_bytes());
    for number in [run.span.start, run.span.width, run.least, run.greatest] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&run.rows.to_le_bytes());
    out.extend_from_slice(&run.bytes.to_le_bytes());
}

fn read_run(reader: &mut Reader<'_>, cubes: usize) -> Option<RunMeta> {
    Some(RunMeta {
        id: reader.u64()?,
        cube: reader.u16().filter(|cube| usize::from(*cube) < cubes)?,
        span: Span { start: reader.i64()?, width: reader.i64().filter(|width| *width > 0)? },
        least: reader.i64()?,
        greatest: reader.i64()?,
        rows: reader.u64()?,
        bytes: reader.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn sample() -> Manifest {
        let mut totals = Totals::default();
        totals.add(1, 3, 1, -5);
        Manifest {
            number: 42,
            line: Line { stage: 1, group: 7, generation: 3, number: 99 },
            newest: 1_795_255_200,
            last_file: 12,
            cubes: Options::default().cubes.iter().map(Declared::of).collect(),
            totals,
            names: vec![3, 9],
            runs: vec![RunMeta {
                id: 11,
                cube: 1,
                span: Span { start: 3_600, width: 3_600 },
                least: 3_600,
                greatest: 7_140,
                rows: 1,
                bytes: 200,
            }],
        }
    }

    #[test]
    fn manifests_read_back_and_no_changed_byte_passes() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes), Some(sample()));
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            assert_eq!(Manifest::decode(&wrong), None, "byte {at}");
            assert_eq!(Manifest::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
