//! The simulated disk must fail as disks do, or the tests that stand on it prove nothing.
//!
//! What was synced survives every power cut; what was not may be there in any part; a failed sync
//! lies from then on; a name lives by its folder. The same seeds give the same disk.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use reckon_disk::{Disk, File, Open, SECTOR_BYTES, SimDisk, read_all, write_whole};

const SECTORS: usize = 6;

fn path() -> &'static Path {
    Path::new("dir/file")
}

/// A disk with one durable file of `SECTORS` sectors of ones.
fn with_file() -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("dir")).expect("made");
    let file = disk.open(path(), Open::Create).expect("created");
    file.write_at(&[1; SECTORS * SECTOR_BYTES], 0).expect("written");
    file.sync().expect("synced");
    disk.sync_dir(Path::new("dir")).expect("synced");
    (disk, file)
}

/// The file after a cut, one number a sector; a sector must be of one piece.
fn sectors(disk: &SimDisk) -> Vec<u8> {
    let bytes = read_all(disk, path()).expect("readable").expect("there");
    bytes
        .chunks(SECTOR_BYTES)
        .map(|sector| {
            assert!(sector.iter().all(|&b| b == sector[0]), "a sector is never torn");
            sector[0]
        })
        .collect()
}

#[test]
fn what_was_synced_survives_every_cut() {
    let (disk, _) = with_file();
    for seed in 0..200 {
        let disk = disk.fork();
        disk.crash(seed);
        assert_eq!(sectors(&disk), [1; SECTORS]);
    }
}

#[test]
fn unsynced_sectors_are_kept_or_lost_one_by_one() {
    let (disk, file) = with_file();
    file.write_at(&[2; SECTORS * SECTOR_BYTES], 0).expect("written");
    let mut seen = BTreeSet::new();
    for seed in 0..3_000 {
        let disk = disk.fork();
        disk.crash(seed);
        seen.insert(sectors(&disk));
    }
    assert_eq!(seen.len(), 1 << SECTORS, "every subset happens");
}

#[test]
fn a_sector_written_twice_may_stop_on_the_way() {
    let (disk, file) = with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).expect("written");
    file.write_at(&[3; SECTOR_BYTES], 0).expect("written");
    let seen: BTreeSet<u8> = (0..200)
        .map(|seed| {
            let disk = disk.fork();
            disk.crash(seed);
            sectors(&disk)[0]
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

#[test]
fn lengths_are_kept_or_lost_apart_from_bytes() {
    let (disk, file) = with_file();
    file.write_at(&[2; SECTOR_BYTES], (SECTORS * SECTOR_BYTES) as u64).expect("written");
    file.truncate(SECTOR_BYTES as u64).expect("cut");
    let seen: BTreeSet<usize> = (0..500)
        .map(|seed| {
            let disk = disk.fork();
            disk.crash(seed);
            read_all(&disk, path()).expect("readable").expect("there").len() / SECTOR_BYTES
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([1, SECTORS, SECTORS + 1]));
}

#[test]
fn a_name_is_durable_with_its_folder_only() {
    let (disk, _) = with_file();
    let (other, renamed) = (Path::new("dir/other"), Path::new("dir/renamed"));
    let file = disk.open(other, Open::Create).expect("created");
    file.write_at(b"x", 0).expect("written");
    file.sync().expect("synced");
    let lost = |disk: &SimDisk, path: &Path| {
        let there = (0..100).filter(|&seed| {
            let disk = disk.fork();
            disk.crash(seed);
            read_all(&disk, path).expect("readable").is_some()
        });
        100 - there.count()
    };
    assert!((20..80).contains(&lost(&disk, other)));
    disk.sync_dir(Path::new("elsewhere")).expect("nothing to do");
    assert!(lost(&disk, other) > 0, "another folder does not help");
    disk.sync_dir(Path::new("dir")).expect("synced");
    assert_eq!(lost(&disk, other), 0);
    disk.rename(other, renamed).expect("renamed");
    disk.remove(path()).expect("removed");
    assert!(lost(&disk, renamed) > 0 && lost(&disk, path()) > 0 && lost(&disk, path()) < 100);
}

#[test]
fn a_failed_sync_lies_ever_after() {
    let mut lies = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new("dir")).expect("made");
        let file = disk.open(path(), Open::Create).expect("created");
        disk.sync_dir(Path::new("dir")).expect("synced");
        file.write_at(&[7; 4 * SECTOR_BYTES], 0).expect("written");
        disk.fail_sync(1);
        file.sync().expect_err("fails");
        assert_eq!(sectors(&disk), [7; 4], "the process goes on seeing it");
        file.sync().expect("a second sync says that all is well");
        let after = disk.fork();
        after.crash(1);
        lies += u32::from(sectors(&after) != [7; 4]);
        file.write_at(&[7; 4 * SECTOR_BYTES], 0).expect("written again");
        file.sync().expect("synced");
        disk.crash(0);
        assert_eq!(sectors(&disk), [7; 4], "writing again is what helps");
    }
    assert!(lies > 30, "{lies}");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = with_file();
    disk.set_capacity(Some(disk.used_bytes() + 100));
    let end = file.len().expect("known");
    let error = file.write_at(&[9; 300], end).expect_err("does not fit");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().expect("known"), end + 100);
    file.write_at(&[9; 300], 0).expect("overwriting needs no room");
    disk.set_capacity(None);
    file.write_at(&[9; 300], end).expect("fits");
}

#[test]
fn a_failed_write_may_have_written_some() {
    let (disk, file) = with_file();
    disk.fail_write(2);
    file.write_at(b"a", 0).expect("the first is well");
    file.write_at(&[4; SECTOR_BYTES], 0).expect_err("the second fails");
    file.write_at(b"a", 0).expect("the third is well");
    assert_eq!(disk.write_count(), 4);
}

#[test]
fn power_goes_at_the_sync_that_was_named() {
    let (disk, file) = with_file();
    disk.cut_power_at_sync(2);
    file.sync().expect("the first is well");
    file.write_at(&[5; SECTOR_BYTES], 0).expect("written");
    file.sync().expect_err("the power goes");
    assert!(!disk.has_power());
    file.write_at(&[6; SECTOR_BYTES], 0).expect_err("no power");
    disk.open(path(), Open::Read).err().expect("no power");
    disk.crash(0);
    assert!(disk.has_power());
    assert_eq!(sectors(&disk), [1; SECTORS]);
    file.sync().expect_err("a handle of before");
}

#[test]
fn a_paused_sync_waits() {
    let (disk, file) = with_file();
    disk.pause_syncs();
    let before = disk.sync_count();
    thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync());
        while disk.sync_count() == before {
            thread::yield_now();
        }
        assert!(!syncing.is_finished());
        disk.resume_syncs();
        syncing.join().expect("no panic").expect("synced");
    });
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let (disk, _) = with_file();
    let mut seen = BTreeSet::new();
    for nth in 1..=3 {
        for seed in 0..100 {
            let disk = disk.fork();
            disk.cut_power_at_sync(nth);
            let done = write_whole(&disk, path(), b"new").is_ok();
            disk.crash(seed);
            let found = read_all(&disk, path()).expect("readable").expect("never neither");
            assert!(found == b"new" || (!done && found == [1; SECTORS * SECTOR_BYTES]));
            seen.insert((nth, found.len()));
        }
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[test]
fn one_seed_is_one_history() {
    let run = |seed| {
        let (disk, file) = with_file();
        file.write_at(&[2; SECTORS * SECTOR_BYTES], 100).expect("written");
        disk.crash(seed);
        read_all(&disk, path()).expect("readable")
    };
    for seed in 0..50 {
        assert_eq!(run(seed), run(seed));
    }
}
