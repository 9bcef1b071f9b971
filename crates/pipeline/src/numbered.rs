//! Files of a folder that are named by a word and a number, such as `opaque-00000000000000000017.run`.

use std::path::{Path, PathBuf};

use reckon_disk::Disk;

use crate::Error;

/// Where the file of a number stands.
pub(crate) fn path_of(dir: &Path, word: &str, number: u64) -> PathBuf {
    dir.join(format!("{word}-{number:020}.run"))
}

/// The numbers of all files of a word, rising.
pub(crate) fn list(disk: &dyn Disk, dir: &Path, word: &str) -> Result<Vec<u64>, Error> {
    let paths =
        disk.list(dir).map_err(|error| Error::disk(format!("list {}", dir.display()), error))?;
    let mut numbers: Vec<u64> = paths.iter().filter_map(|path| number_of(path, word)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn number_of(path: &Path, word: &str) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_prefix(word)?;
    name.strip_prefix('-')?.strip_suffix(".run")?.parse().ok()
}
