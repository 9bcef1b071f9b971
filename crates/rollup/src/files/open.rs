//! Opening a folder: the manifest in force, without the strays of a crash, and with the cubes that are
//! declared now.
//!
//! A cube that is declared anew is filled from the smallest cube that holds all of it, or sealed by and
//! by where it is a tier; one that is declared no longer goes with its files. All of it is one manifest:
//! a crash on the way leaves the folder as it was.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, Lock, read_all, write_whole};

use super::Durable;
use super::manifest::{Declared, Manifest, manifest_number, manifest_path};
use super::merge::{Proceed, seal_runs, wide};
use super::names::names_path;
use super::options::{Cube, Filling, Options};
use super::run::{Folder, Run, RunMeta, Span, run_path};
use super::spill::Spill;
use super::work::{Task, settle};
use crate::sums::names::Names;
use crate::{BrokenKind, Error};

/// What a folder holds.
pub(super) struct Opened {
    pub durable: Durable,
    pub names: Names,
    pub lock: Lock,
}

/// Reads the manifest in force, removes everything it does not name, and changes the cubes to those of
/// `options`.
pub(super) fn open(disk: &Arc<dyn Disk>, dir: &Path, options: &Options) -> Result<Opened, Error> {
    let failed = |error| Error::io(&dir.display(), error);
    disk.create_dir_all(dir).map_err(failed)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(failed)?;
    }
    let lock = disk.lock(&dir.join("lock")).map_err(failed)?;
    let files = disk.list(dir).map_err(failed)?;
    let mut manifest = match read_newest_manifest(&**disk, dir, &files)? {
        Some(manifest) => manifest,
        None => Manifest {
            newest: i64::MIN,
            cubes: options.cubes.iter().map(Declared::of).collect(),
            ..Manifest::default()
        },
    };
    check_files(&**disk, dir, &manifest, &files)?;
    if !is_declared(&manifest, options) {
        manifest = change(disk, dir, manifest, options)?;
    } else if manifest.number > 0 {
        renew(&**disk, dir, &mut manifest)?;
    }
    let mut names = Names::default();
    for id in &manifest.names {
        names.load(&**disk, dir, *id)?;
    }
    let runs = runs_of(dir, &manifest);
    Ok(Opened { durable: Durable { manifest, runs }, names, lock })
}

fn runs_of(dir: &Path, manifest: &Manifest) -> Vec<Arc<Run>> {
    manifest.runs.iter().map(|meta| Arc::new(Run::new(dir, *meta))).collect()
}

/// Fails where a named file is missing, and removes the others.
fn check_files(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &Manifest,
    files: &[PathBuf],
) -> Result<(), Error> {
    let named = named_files(dir, manifest);
    let present: HashSet<&PathBuf> = files.iter().collect();
    if let Some(missing) = named.iter().find(|path| !present.contains(path)) {
        return Err(Error::damaged(&missing.display(), "the file is missing"));
    }
    remove(disk, files.iter().filter(|path| is_own(path) && !named.contains(*path)))
}

fn remove<'a>(disk: &dyn Disk, files: impl Iterator<Item = &'a PathBuf>) -> Result<(), Error> {
    for path in files {
        disk.remove(path).map_err(|error| Error::io(&path.display(), error))?;
    }
    Ok(())
}

/// Writes the manifest again under the next number. Its name may be there only because a process
/// whose sync of the folder failed is gone: what is built upon must be durable for certain.
fn renew(disk: &dyn Disk, dir: &Path, manifest: &mut Manifest) -> Result<(), Error> {
    let old = manifest_path(dir, manifest.number);
    manifest.number += 1;
    put_manifest(disk, dir, manifest)?;
    remove(disk, std::iter::once(&old))
}

/// Makes the names of all files durable, then puts the manifest in place.
pub(super) fn put_manifest(disk: &dyn Disk, dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    disk.sync_dir(dir).map_err(|error| Error::io(&dir.display(), error))?;
    let path = manifest_path(dir, manifest.number);
    let written = write_whole(disk, &path, &manifest.encode());
    written.map_err(|error| Error::io(&path.display(), error))
}

/// The manifest with the highest number; `None` in an empty folder.
pub(super) fn read_newest_manifest(
    disk: &dyn Disk,
    dir: &Path,
    files: &[PathBuf],
) -> Result<Option<Manifest>, Error> {
    let Some(number) = files.iter().filter_map(|path| manifest_number(path)).max() else {
        return Ok(None);
    };
    let path = manifest_path(dir, number);
    let bytes = read_all(disk, &path).map_err(|error| Error::io(&path.display(), error))?;
    let manifest = bytes.as_deref().and_then(Manifest::decode).filter(|m| m.number == number);
    match manifest {
        Some(manifest) => Ok(Some(manifest)),
        None => Err(Error::damaged(&path.display(), "it is not a manifest of this version")),
    }
}

/// Every file a manifest names, itself included.
pub(super) fn named_files(dir: &Path, manifest: &Manifest) -> BTreeSet<PathBuf> {
    let own = (manifest.number > 0).then(|| manifest_path(dir, manifest.number));
    let runs = manifest.runs.iter().map(|run| run_path(dir, run.id));
    let names = manifest.names.iter().map(|id| names_path(dir, *id));
    own.into_iter().chain(runs).chain(names).collect()
}

/// True for files this store may have written; others are left alone.
pub(super) fn is_own(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["run-", "names-", "manifest-"].iter().any(|prefix| name.starts_with(prefix))
}

fn is_declared(manifest: &Manifest, options: &Options) -> bool {
    let is_same = |(declared, cube): (&Declared, &Cube)| {
        declared.is(cube) && (declared.sealed == i64::MAX) == (cube.filling == Filling::AtOnce)
    };
    manifest.cubes.len() == options.cubes.len()
        && manifest.cubes.iter().zip(&options.cubes).all(is_same)
}

/// The manifest of the same figures under the cubes of `options`, in place.
fn change(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    mut old: Manifest,
    options: &Options,
) -> Result<Manifest, Error> {
    let mut runs = runs_of(dir, &old);
    if let Some(task) = Task::of(disk, dir, &old, &runs) {
        let outcome = task.run()?;
        settle(&mut old, &mut runs, dir, outcome);
    }
    let folder = Folder { disk: &**disk, dir, last_file: old.last_file };
    let (cubes, made) = (Vec::new(), Vec::new());
    let mut change = Change { folder, old: &old, runs: &runs, cubes, made };
    for (place, cube) in (0u16..).zip(&options.cubes) {
        change.declare(place, cube)?;
    }
    let Change { folder, cubes, made, .. } = change;
    let (last_file, number) = (folder.last_file, old.number + 1);
    let new = Manifest { number, last_file, cubes, runs: made, ..old };
    put_manifest(&**disk, dir, &new)?;
    let files = disk.list(dir).map_err(|error| Error::io(&dir.display(), error))?;
    check_files(&**disk, dir, &new, &files)?;
    Ok(new)
}

/// A folder on its way to other cubes.
struct Change<'a> {
    folder: Folder<'a>,
    old: &'a Manifest,
    runs: &'a [Arc<Run>],
    cubes: Vec<Declared>,
    made: Vec<RunMeta>,
}

impl Change<'_> {
    fn declare(&mut self, place: u16, cube: &Cube) -> Result<(), Error> {
        let declared = match self.old.cubes.iter().position(|old| old.is(cube)) {
            Some(at) => self.keep(at, place, cube)?,
            None => self.add(place, cube)?,
        };
        self.cubes.push(declared);
        Ok(())
    }

    /// Takes a cube over with its runs; when it is filled may have changed.
    fn keep(&mut self, at: usize, place: u16, cube: &Cube) -> Result<Declared, Error> {
        let mut declared = self.old.cubes[at].clone();
        let own = self.runs.iter().filter(|run| usize::from(run.meta.cube) == at);
        self.made.extend(own.map(|run| RunMeta { cube: place, ..run.meta }));
        match cube.filling {
            Filling::AtOnce if declared.sealed != i64::MAX => {
                let rest = declared.taken..i64::MAX;
                (declared.sealed, declared.taken) = (i64::MAX, i64::MAX);
                self.fill(place, &mut declared, rest)?;
            }
            Filling::WhenPast if declared.sealed == i64::MAX => {
                let end = self.end_of_newest(cube);
                (declared.sealed, declared.taken) = (end, end);
            }
            _ => {}
        }
        Ok(declared)
    }

    fn add(&mut self, place: u16, cube: &Cube) -> Result<Declared, Error> {
        let mut declared = Declared::of(cube);
        if cube.filling == Filling::WhenPast || self.old.newest == i64::MIN {
            return Ok(declared);
        }
        if !cube.is_kept_for_ever() && self.holder_of(&declared).is_none() {
            // What is kept for a while only begins with what comes from here on.
            declared.floor = Span::of(self.old.newest, wide(cube.pane)).end();
            return Ok(declared);
        }
        self.fill(place, &mut declared, i64::MIN..i64::MAX)?;
        Ok(declared)
    }

    /// The end of the pane of the newest second.
    fn end_of_newest(&self, cube: &Cube) -> i64 {
        match self.old.newest {
            i64::MIN => i64::MIN,
            newest => Span::of(newest, cube.pane.seconds()).end(),
        }
    }

    /// Fills a cube with `seconds` from the smallest one that has them.
    fn fill(
        &mut self,
        place: u16,
        declared: &mut Declared,
        seconds: Range<i64>,
    ) -> Result<(), Error> {
        let source = self.holder_of(declared).ok_or_else(|| self.unheld(declared))?;
        let cubes = &self.old.cubes;
        let pane = cubes[source].pane;
        declared.floor = declared.floor.max(cubes[source].floor);
        let inputs = self.runs.iter().filter(|run| usize::from(run.meta.cube) == source);
        let inputs: Vec<Arc<Run>> = inputs.cloned().collect();
        let spans = inputs.iter().flat_map(|run| {
            let first = Span::of(run.meta.least, wide(pane));
            let last = Span::of(run.meta.greatest, wide(pane));
            (first.start..=last.start).step_by(usize::try_from(first.width).expect("positive"))
        });
        for start in spans.collect::<BTreeSet<i64>>() {
            let span = Span::of(start, wide(pane));
            let from = start.max(seconds.start).max(declared.floor);
            let part = from..span.end().min(seconds.end);
            let inside = inputs.iter().filter(|run| run.overlaps(part.start, part.end));
            let inside: Vec<Arc<Run>> = inside.cloned().collect();
            let spill = Spill::new(place, declared, part);
            let from = (&inside[..], pane.seconds());
            self.made.extend(seal_runs(&mut self.folder, from, spill, &Proceed::default())?);
        }
        Ok(())
    }

    /// The cube of the old ones that has everything of another: since when, then by size.
    fn holder_of(&self, cube: &Declared) -> Option<usize> {
        let holds = |old: &Declared| {
            old.sealed == i64::MAX
                && old.dimensions.covers(cube.dimensions)
                && old.pane <= cube.pane
                && !(old.name == cube.name
                    && old.dimensions == cube.dimensions
                    && old.pane == cube.pane)
        };
        let holders = self.old.cubes.iter().enumerate().filter(|(_, old)| holds(old));
        holders
            .min_by_key(|(_, old)| (old.floor, old.dimensions.len(), -old.pane.seconds()))
            .map(|(at, _)| at)
    }

    fn unheld(&self, declared: &Declared) -> Error {
        let held: Vec<&str> = self.old.cubes.iter().map(|cube| cube.name.as_str()).collect();
        Error::broken(
            BrokenKind::Mismatch,
            &self.folder.dir.display(),
            format!(
                "no cube of the folder ({}) has what {} keeps ({} by {}): declare less, or fill a \
                 new folder from the log",
                held.join(", "),
                declared.name,
                declared.dimensions.names(),
                declared.pane.name(),
            ),
        )
    }
}
