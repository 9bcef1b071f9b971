//! What is changed behind the lake's back is found, and said of which file.

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::history::{batches, handed_over, history, in_lake};
use super::{Bench, keep, open, read, replace, wait};
use crate::{LakePlace, Manifest, Table, verify};

/// What was done to an object.
#[derive(Clone, Copy, Debug)]
enum Damage {
    BitFlipped,
    CutShort,
    MadeLonger,
    Emptied,
    Removed,
}

const DAMAGES: [Damage; 5] =
    [Damage::BitFlipped, Damage::CutShort, Damage::MadeLonger, Damage::Emptied, Damage::Removed];

fn damage(place: &LakePlace, path: &str, damage: Damage) {
    let whole = read(place, path);
    let mut bytes = whole.to_vec();
    match damage {
        Damage::BitFlipped => bytes[whole.len() / 2] ^= 4,
        Damage::CutShort => bytes.truncate(whole.len() / 2),
        Damage::MadeLonger => bytes.push(0),
        Damage::Emptied => bytes.clear(),
        Damage::Removed => {
            let object = place.object(path);
            return wait(async { place.objects().delete(&object).await }).expect("it goes");
        }
    }
    replace(place, path, Bytes::from(bytes));
}

pub(super) fn damage_is_found_and_named(bench: &dyn Bench) {
    let place = bench.place();
    let mut lake = open(&place, 1);
    keep(&mut lake, &history(6, 10, 60, 1), 1..=10, 1);
    let whole = verify(&place).expect("it reads");
    assert!(whole.damage.is_empty() && whole.rows > 100 && whole.files > 2, "{whole:?}");
    for table in [Table::Records, Table::Revisions] {
        let path = batches(&place, table).into_keys().next().expect("a file");
        let bytes = read(&place, &path);
        for kind in DAMAGES {
            damage(&place, &path, kind);
            for found in
                [verify(&place).expect("it reads"), lake.handle().verify().expect("it answers")]
            {
                let paths: Vec<_> = found.damage.iter().map(|one| one.path.as_str()).collect();
                assert_eq!(paths, [&path], "{kind:?}");
            }
            replace(&place, &path, bytes.clone());
        }
    }
    assert_eq!(verify(&place).expect("it reads"), whole, "whole again");
}

pub(super) fn a_state_that_rots_is_passed_over(bench: &dyn Bench) {
    for kind in [Damage::BitFlipped, Damage::CutShort, Damage::Emptied] {
        let place = bench.place();
        let steps = history(10, 4, 30, 1);
        let mut lake = open(&place, 1);
        keep(&mut lake, &steps, 1..=3, 1);
        let before = lake.handle().covered().number;
        keep(&mut lake, &steps, 4..=4, 1);
        let number = lake.handle().covered().number;
        assert_eq!(number, before + 1);
        drop(lake);
        damage(&place, &format!("manifest/{number:020}.json"), kind);
        let latest = wait(Manifest::latest(&place)).expect("it reads").expect("a lake");
        assert_eq!((latest.number, latest.epoch), (before, 3), "{kind:?}");
        assert_eq!(in_lake(&place), handed_over(&steps, 3), "{kind:?}");
        let mut lake = open(&place, 2);
        assert!(lake.handle().covered().number > number, "a number is used once");
        keep(&mut lake, &steps, 4..=4, 1);
        assert_eq!(in_lake(&place), handed_over(&steps, 4), "{kind:?}");
    }
}
