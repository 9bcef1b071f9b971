//! A lake keeps its promises in a folder and in a store in memory.

use std::sync::Arc;

use object_store::memory::InMemory;
use reckon_disk::TempDir;
use reckon_lake::LakePlace;
use reckon_lake::conformance::{Bench, PROMISES};

struct InFolders(std::cell::RefCell<Vec<TempDir>>);

impl Bench for InFolders {
    fn place(&self) -> LakePlace {
        let folder = TempDir::new("lake");
        let place = LakePlace::folder(folder.path()).expect("a folder");
        self.0.borrow_mut().push(folder);
        place
    }

    /// Every put is synced.
    fn stride(&self) -> usize {
        11
    }
}

struct InMemories;

impl Bench for InMemories {
    fn place(&self) -> LakePlace {
        LakePlace::store(Arc::new(InMemory::new()), "some/prefix")
    }
}

#[test]
fn every_promise_is_kept_in_a_folder() {
    for (name, promise) in PROMISES {
        eprintln!("{name}");
        promise(&InFolders(Default::default()));
    }
}

#[test]
fn every_promise_is_kept_in_memory() {
    for (name, promise) in PROMISES {
        eprintln!("{name}");
        promise(&InMemories);
    }
}
