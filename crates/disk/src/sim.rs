//! A disk in memory that fails on demand, and always in the same way for the same seeds.
//!
//! Each file has two images: the *live* one, which is what a running process reads (the page cache),
//! and the *durable* one, which is what is on the platter. A sync copies one to the other. A power
//! cut ([`SimDisk::crash`]) builds the next live image from the durable one plus any subset of what
//! had not been synced: sectors of 512 bytes (in any of the versions they went through), lengths,
//! creations, renames, removals, each kept or lost by itself.
//!
//! A failed sync does what Linux does: the pages are marked clean though they never arrived (some
//! did), so the running process goes on reading bytes that the next power cut takes away, and a
//! second sync reports success. Only writing them again brings them back.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Disk, File, Lock, Open};

mod image;
mod random;

use image::{Image, NameChange, Names};
use random::Random;

/// What a disk writes in one piece or not at all.
pub const SECTOR_BYTES: usize = 512;

/// The simulated disk. Clones are handles on the same disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Clone)]
struct State {
    images: Vec<Image>,
    live: Names,
    durable: Names,
    /// Changes of names since their folder was last synced, oldest first.
    changes: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    /// Rises with each power cut; handles of earlier boots are dead.
    boot: u64,
    powered: bool,
    random: Random,
    faults: Faults,
    sync_count: u64,
    write_count: u64,
}

/// What is to go wrong; counters are absolute.
#[derive(Clone, Default)]
struct Faults {
    syncs: BTreeSet<u64>,
    writes: BTreeSet<u64>,
    syncs_always: bool,
    power_cut_at_sync: Option<u64>,
    capacity: Option<u64>,
    paused: bool,
}

struct SimFile {
    shared: Arc<Shared>,
    image: usize,
    boot: u64,
    writable: bool,
}

struct SimLock {
    shared: Arc<Shared>,
    path: PathBuf,
    boot: u64,
}

impl SimDisk {
    /// An empty disk. The seed decides what a failed sync lets through.
    pub fn new(seed: u64) -> Self {
        Self::with(State {
            images: Vec::new(),
            live: Names::default(),
            durable: Names::default(),
            changes: Vec::new(),
            locks: BTreeSet::new(),
            boot: 0,
            powered: true,
            random: Random::new(seed),
            faults: Faults::default(),
            sync_count: 0,
            write_count: 0,
        })
    }

    fn with(state: State) -> Self {
        SimDisk { shared: Arc::new(Shared { state: Mutex::new(state), resumed: Condvar::new() }) }
    }

    /// A second disk with the same bytes, synced and not, so that one moment can be continued in
    /// several ways. Locks are not taken over.
    pub fn fork(&self) -> SimDisk {
        let mut state = self.shared.lock().clone();
        state.locks.clear();
        Self::with(state)
    }

    /// The power goes and comes back: keeps any subset of what was not synced, chosen by `seed`
    /// (one seed in eight keeps nothing, one keeps everything). Faults are cleared, open files and
    /// locks are dead.
    pub fn crash(&self, seed: u64) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let mut random = Random::new(seed);
        let chance = random.chance_of_survival(seed);
        for change in std::mem::take(&mut state.changes) {
            if random.happens(chance) {
                state.durable.apply(&change);
            }
        }
        for image in &mut state.images {
            image.crash(&mut random, chance);
        }
        state.live = state.durable.clone();
        state.locks.clear();
        state.boot += 1;
        state.powered = true;
        state.faults = Faults { capacity: state.faults.capacity, ..Faults::default() };
        self.shared.resumed.notify_all();
    }

    /// The `nth` sync from now on (1 = the next one, folders count too) fails.
    pub fn fail_sync(&self, nth: u64) {
        let mut state = self.shared.lock();
        let at = state.sync_count + nth;
        state.faults.syncs.insert(at);
    }

    /// Every sync fails, or no longer.
    pub fn fail_all_syncs(&self, fail: bool) {
        self.shared.lock().faults.syncs_always = fail;
    }

    /// The `nth` write from now on (1 = the next one) fails, having written some of its sectors.
    pub fn fail_write(&self, nth: u64) {
        let mut state = self.shared.lock();
        let at = state.write_count + nth;
        state.faults.writes.insert(at);
    }

    /// At the `nth` sync from now on the power goes, before it takes effect: it and everything after
    /// it fails until [`SimDisk::crash`].
    pub fn cut_power_at_sync(&self, nth: u64) {
        let mut state = self.shared.lock();
        state.faults.power_cut_at_sync = Some(state.sync_count + nth);
    }

    /// The power goes now: everything fails until [`SimDisk::crash`].
    pub fn cut_power(&self) {
        let mut state = self.shared.lock();
        state.powered = false;
        state.faults.paused = false;
        self.shared.resumed.notify_all();
    }

    /// True until the power has been cut.
    pub fn has_power(&self) -> bool {
        self.shared.lock().powered
    }

    /// No more than this many bytes fit on it, over all files; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.lock().faults.capacity = bytes;
    }

    /// Bytes of all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.shared.lock().used_bytes()
    }

    /// Syncs take as long as until [`SimDisk::resume_syncs`].
    pub fn pause_syncs(&self) {
        self.shared.lock().faults.paused = true;
    }

    /// Lets the waiting syncs go on.
    pub fn resume_syncs(&self) {
        self.shared.lock().faults.paused = false;
        self.shared.resumed.notify_all();
    }

    /// Syncs asked for so far, of files and folders, failed ones included.
    pub fn sync_count(&self) -> u64 {
        self.shared.lock().sync_count
    }

    /// Writes asked for so far, failed ones included.
    pub fn write_count(&self) -> u64 {
        self.shared.lock().write_count
    }

    /// Flips bit `bit` (0 to 7) of one byte on the platter and in the cache, as rot does.
    ///
    /// # Panics
    /// Where there is no such byte.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) {
        self.edit(path, |image| image.flip(byte as usize, 1 << (bit & 7)));
    }

    /// Cuts a file to `len` bytes, durably, as a careless hand does.
    ///
    /// # Panics
    /// Where there is no such file.
    pub fn cut_file(&self, path: &Path, len: u64) {
        self.edit(path, |image| image.cut(len as usize));
    }

    fn edit(&self, path: &Path, change: impl FnOnce(&mut Image)) {
        let mut state = self.shared.lock();
        let image = *state.live.files.get(path).expect("the test names a file that is there");
        change(&mut state.images[image]);
    }
}

impl Shared {
    /// A test that panicked while holding the lock must not hide its own message.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a sync and says what becomes of it; waits while syncs are paused.
    fn sync_begins(&self) -> io::Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.lock();
        state.sync_count += 1;
        let number = state.sync_count;
        while state.faults.paused {
            state = self.resumed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.faults.power_cut_at_sync == Some(number) {
            state.powered = false;
        }
        state.check_power()?;
        let fails = state.faults.syncs_always || state.faults.syncs.remove(&number);
        Ok((state, fails))
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.powered { Ok(()) } else { Err(io::Error::other("simulated: the power is off")) }
    }

    fn check(&self, boot: u64) -> io::Result<()> {
        self.check_power()?;
        if boot == self.boot {
            Ok(())
        } else {
            Err(io::Error::other("simulated: the file was opened before the power cut"))
        }
    }

    fn used_bytes(&self) -> u64 {
        self.live.files.values().map(|&image| self.images[image].len()).sum()
    }

    /// How many of `wanted` bytes at the file's end still fit.
    fn room(&self, wanted: u64) -> u64 {
        match self.faults.capacity {
            None => wanted,
            Some(capacity) => wanted.min(capacity.saturating_sub(self.used_bytes())),
        }
    }

    fn change(&mut self, change: NameChange) {
        self.live.apply(&change);
        self.changes.push(change);
    }

    fn create(&mut self, path: &Path) -> usize {
        self.images.push(Image::default());
        let image = self.images.len() - 1;
        self.change(NameChange::Create(path.to_owned(), image));
        image
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.shared.lock();
        state.check_power()?;
        let found = state.live.files.get(path).copied();
        let image = match (how, found) {
            (Open::Read | Open::Write, Some(image)) => image,
            (Open::Read | Open::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Open::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Open::Truncate, Some(image)) => {
                state.images[image].truncate(0);
                image
            }
            (Open::Create | Open::Truncate, None) => {
                if !path.parent().is_none_or(|dir| state.live.has_dir(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.create(path)
            }
        };
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(SimFile { shared, image, boot: state.boot, writable: how != Open::Read }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.shared.lock();
        state.check_power()?;
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let mut paths: Vec<PathBuf> = state.live.files.keys().filter(inside).cloned().collect();
        paths.extend(state.live.dirs.iter().filter(inside).cloned());
        paths.sort();
        Ok(paths)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.check_power()?;
        for dir in dir.ancestors() {
            state.live.dirs.insert(dir.to_owned());
            state.durable.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.check_power()?;
        let image = *state.live.files.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), image));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.check_power()?;
        if !state.live.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, fails) = self.shared.sync_begins()?;
        if fails {
            return Err(io::Error::other("simulated: the folder could not be synced"));
        }
        let state = &mut *state;
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.changes).into_iter().partition(|c| c.is_in(dir));
        state.changes = later;
        for change in now {
            state.durable.apply(&change);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.shared.lock();
        state.check_power()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !state.live.files.contains_key(path) {
            state.create(path);
        }
        let (shared, path) = (Arc::clone(&self.shared), path.to_owned());
        Ok(Lock::new(SimLock { shared, path, boot: state.boot }))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

impl SimFile {
    fn writable(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.shared.lock();
        state.check(self.boot)?;
        if self.writable { Ok(state) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.shared.lock();
        state.check(self.boot)?;
        Ok(state.images[self.image].read(buf, offset as usize))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.writable()?;
        state.write_count += 1;
        let number = state.write_count;
        let state = &mut *state;
        if state.faults.writes.remove(&number) {
            let some = state.random.below(buf.len() as u64 + 1) as usize;
            state.images[self.image].write(&buf[..some], offset as usize);
            return Err(io::Error::other("simulated: the write failed"));
        }
        let grows = (offset + buf.len() as u64).saturating_sub(state.images[self.image].len());
        let fits = buf.len() - (grows - state.room(grows)).min(buf.len() as u64) as usize;
        state.images[self.image].write(&buf[..fits], offset as usize);
        if fits < buf.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.writable()?;
        state.images[self.image].truncate(len as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.shared.lock();
        state.check(self.boot)?;
        Ok(state.images[self.image].len())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, fails) = self.shared.sync_begins()?;
        state.check(self.boot)?;
        let state = &mut *state;
        if fails {
            state.images[self.image].sync_fails(&mut state.random);
            return Err(io::Error::other("simulated: the sync failed"));
        }
        state.images[self.image].sync();
        Ok(())
    }
}
