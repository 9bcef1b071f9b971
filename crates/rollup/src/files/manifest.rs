//! The manifest: the commit marker. It names an epoch and every file that holds what came up to it.
//!
//! ```text
//!   magic 8 | number u64 | line | newest i64 | last file u64 | commits u64
//!   cube count u16 | cube *  (name, dimensions u8, pane u8, floor i64, sealed i64, taken i64)
//!   totals | names file count u32 | id u64 * | run count u32 | run *
//!   work due u64 | job count u32 | job *  (id u64, cube u16, span, sealed 0 or from i64, to i64,
//!                                          input count u32, id u64 *)
//!   mend count u32 | mend *  (tenant u32, from i64, to i64, epoch u64) | crc32c u32
//! ```
//!
//! Work that has been decided stands here before it begins, so a restart goes on with it and the
//! files do not depend on when that was. Version 1 ended after the runs, and its cubes had a floor only.
//!
//! Manifests are numbered and never changed; the highest one is in force. Whatever it does not name
//! is a stray of a crash and is removed when the folder is opened.

use std::path::{Path, PathBuf};

use reckon_event::{TenantId, Timestamp};

pub(super) use crate::sums::cube::Declared;
pub(super) use crate::sums::line::Line;

use super::options::{Dimensions, Pane};
use super::run::{RunMeta, Span};
use super::totals::Totals;
use super::wire::{Reader, put_text, seal, unseal};

const MAGIC: &[u8; 8] = b"RKNMAN02";
const MAGIC_1: &[u8; 8] = b"RKNMAN01";

/// Marks of mended spans that are remembered.
pub(super) const MENDS_MAX: usize = 64;

/// A run to be made of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The number of its file.
    pub id: u64,
    pub cube: u16,
    pub span: Span,
    /// The runs it is made of: of the same cube, which it replaces; or where a tier is sealed, of the
    /// finer one.
    pub inputs: Vec<u64>,
    /// From where to where a tier is sealed by it.
    pub seals: Option<(i64, i64)>,
}

/// Work under way, and the commit that names what it made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub due: u64,
    pub jobs: Vec<Job>,
}

/// A span whose sums have been replaced by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mend {
    /// Whose.
    pub tenant: TenantId,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant no longer in it.
    pub to: Timestamp,
    /// The epoch up to which everything was in when it was replaced.
    pub epoch: u64,
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
    /// How many commits there were.
    pub commits: u64,
    pub cubes: Vec<Declared>,
    pub totals: Totals,
    pub names: Vec<u64>,
    pub runs: Vec<RunMeta>,
    pub pending: Pending,
    /// The last mended spans, oldest first.
    pub mends: Vec<Mend>,
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
        out.extend_from_slice(&self.commits.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.cubes.len()).expect("few").to_le_bytes());
        for cube in &self.cubes {
            put_text(&mut out, &cube.name);
            out.extend_from_slice(&[cube.dimensions.bits(), pane_code(cube.pane)]);
            for second in [cube.floor, cube.sealed, cube.taken] {
                out.extend_from_slice(&second.to_le_bytes());
            }
        }
        self.totals.put(&mut out);
        put_count(&mut out, self.names.len());
        self.names.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        put_count(&mut out, self.runs.len());
        self.runs.iter().for_each(|run| put_run(&mut out, run));
        out.extend_from_slice(&self.pending.due.to_le_bytes());
        put_count(&mut out, self.pending.jobs.len());
        self.pending.jobs.iter().for_each(|job| put_job(&mut out, job));
        put_count(&mut out, self.mends.len());
        self.mends.iter().for_each(|mend| put_mend(&mut out, mend));
        seal(&mut out);
        out
    }

    /// Reads a manifest; `None` where the bytes are not one of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(unseal(bytes)?);
        let magic = reader.bytes(MAGIC.len())?;
        let is_first = magic == MAGIC_1;
        (is_first || magic == MAGIC).then_some(())?;
        let number = reader.u64()?;
        let line = Line {
            stage: reader.u8()?,
            group: reader.u16()?,
            generation: reader.u32()?,
            number: reader.u64()?,
        };
        let (newest, last_file) = (reader.i64()?, reader.u64()?);
        let commits = if is_first { number } else { reader.u64()? };
        let cubes: Option<Vec<_>> =
            (0..reader.u16()?).map(|_| read_cube(&mut reader, is_first)).collect();
        let cubes = cubes?;
        let totals = Totals::read(&mut reader)?;
        let names: Option<Vec<_>> = (0..reader.u32()?).map(|_| reader.u64()).collect();
        let runs: Option<Vec<_>> =
            (0..reader.u32()?).map(|_| read_run(&mut reader, cubes.len())).collect();
        let (pending, mends) =
            if is_first { Default::default() } else { read_work(&mut reader, cubes.len())? };
        reader.is_empty().then_some(())?;
        Some(Manifest {
            number,
            line,
            newest,
            last_file,
            commits,
            cubes,
            totals,
            names: names?,
            runs: runs?,
            pending,
            mends,
        })
    }

    /// Remembers a mended span; the oldest are forgotten.
    pub(super) fn mark(&mut self, mend: Mend) {
        self.mends.push(mend);
        let over = self.mends.len().saturating_sub(MENDS_MAX);
        self.mends.drain(..over);
    }
}

fn read_work(reader: &mut Reader<'_>, cubes: usize) -> Option<(Pending, Vec<Mend>)> {
    let due = reader.u64()?;
    let jobs: Option<Vec<_>> = (0..reader.u32()?).map(|_| read_job(reader, cubes)).collect();
    let mends: Option<Vec<_>> = (0..reader.u32()?).map(|_| read_mend(reader)).collect();
    Some((Pending { due, jobs: jobs? }, mends?))
}

fn put_job(out: &mut Vec<u8>, job: &Job) {
    out.extend_from_slice(&job.id.to_le_bytes());
    out.extend_from_slice(&job.cube.to_le_bytes());
    for number in [job.span.start, job.span.width] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(job.seals.is_some()));
    let (from, to) = job.seals.unwrap_or_default();
    for number in [from, to] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_count(out, job.inputs.len());
    job.inputs.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
}

fn read_job(reader: &mut Reader<'_>, cubes: usize) -> Option<Job> {
    let id = reader.u64()?;
    let cube = reader.u16().filter(|cube| usize::from(*cube) < cubes)?;
    let span = Span { start: reader.i64()?, width: reader.i64().filter(|width| *width > 0)? };
    let seals = reader.u8()? == 1;
    let range = (reader.i64()?, reader.i64()?);
    let inputs: Option<Vec<_>> = (0..reader.u32()?).map(|_| reader.u64()).collect();
    Some(Job { id, cube, span, inputs: inputs?, seals: seals.then_some(range) })
}

fn put_mend(out: &mut Vec<u8>, mend: &Mend) {
    out.extend_from_slice(&mend.tenant.0.to_le_bytes());
    out.extend_from_slice(&mend.from.0.to_le_bytes());
    out.extend_from_slice(&mend.to.0.to_le_bytes());
    out.extend_from_slice(&mend.epoch.to_le_bytes());
}

fn read_mend(reader: &mut Reader<'_>) -> Option<Mend> {
    Some(Mend {
        tenant: TenantId(reader.u32()?),
        from: Timestamp(reader.i64()?),
        to: Timestamp(reader.i64()?),
        epoch: reader.u64()?,
    })
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

fn read_cube(reader: &mut Reader<'_>, is_first: bool) -> Option<Declared> {
    let whole = |reader: &mut Reader<'_>| if is_first { Some(i64::MAX) } else { reader.i64() };
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
        sealed: whole(reader)?,
        taken: whole(reader)?,
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
            commits: 41,
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
            pending: Pending {
                due: 43,
                jobs: vec![
                    Job {
                        id: 13,
                        cube: 6,
                        span: Span { start: 0, width: 86_400 },
                        inputs: vec![11],
                        seals: Some((3_600, 7_200)),
                    },
                    Job {
                        id: 14,
                        cube: 1,
                        span: Span { start: 3_600, width: 3_600 },
                        inputs: vec![11, 10],
                        seals: None,
                    },
                ],
            },
            mends: vec![Mend {
                tenant: TenantId(3),
                from: Timestamp(60),
                to: Timestamp(120),
                epoch: 98,
            }],
        }
    }

    /// As the first version wrote it.
    fn encode_first(manifest: &Manifest) -> Vec<u8> {
        let mut out = MAGIC_1.to_vec();
        out.extend_from_slice(&manifest.number.to_le_bytes());
        out.push(manifest.line.stage);
        out.extend_from_slice(&manifest.line.group.to_le_bytes());
        out.extend_from_slice(&manifest.line.generation.to_le_bytes());
        out.extend_from_slice(&manifest.line.number.to_le_bytes());
        out.extend_from_slice(&manifest.newest.to_le_bytes());
        out.extend_from_slice(&manifest.last_file.to_le_bytes());
        out.extend_from_slice(&u16::try_from(manifest.cubes.len()).expect("few").to_le_bytes());
        for cube in &manifest.cubes {
            put_text(&mut out, &cube.name);
            out.extend_from_slice(&[cube.dimensions.bits(), pane_code(cube.pane)]);
            out.extend_from_slice(&cube.floor.to_le_bytes());
        }
        manifest.totals.put(&mut out);
        put_count(&mut out, manifest.names.len());
        manifest.names.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        put_count(&mut out, manifest.runs.len());
        manifest.runs.iter().for_each(|run| put_run(&mut out, run));
        seal(&mut out);
        out
    }

    #[test]
    fn the_first_version_is_read() {
        let mut expect =
            Manifest { commits: 42, pending: Pending::default(), mends: Vec::new(), ..sample() };
        for cube in &mut expect.cubes {
            (cube.sealed, cube.taken) = (i64::MAX, i64::MAX);
        }
        assert_eq!(Manifest::decode(&encode_first(&expect)), Some(expect));
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
