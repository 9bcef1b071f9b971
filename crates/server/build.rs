//! Lays the console's built files into the binary: a table of paths and bytes, plain and gzipped.
//!
//! They are read from `console/dist`, where `make build` puts them. Without them (a plain
//! `cargo build`, no Node) the table is empty and the server says so under `/console/`. The folder
//! itself is committed: cargo would build anew each time if a watched path were missing.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../console/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names it"));
    let mut paths = Vec::new();
    if dist.join("index.html").exists() {
        collect(&dist, &dist, &mut paths);
    }
    paths.sort();
    let mut table = String::from("&[\n");
    for (number, path) in paths.iter().enumerate() {
        let entry = entry(&dist, path, number, &out);
        writeln!(table, "    {entry},").expect("a string takes everything");
    }
    table.push_str("]\n");
    fs::write(out.join("console_files.rs"), table).expect("OUT_DIR takes files");
}

/// All files below a folder, relative to `root`, without hidden ones.
fn collect(root: &Path, folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        let name = path.strip_prefix(root).expect("it lies below").to_string_lossy().into_owned();
        if path.is_dir() {
            collect(root, &path, paths);
        } else if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            paths.push(name.replace('\\', "/"));
        }
    }
}

/// One line of the table. The bytes are copied first, so that both forms lie in one place.
fn entry(dist: &Path, path: &str, number: usize, out: &Path) -> String {
    let plain = fs::read(dist.join(path)).expect("the file is readable");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain).expect("memory takes everything");
    let gzip = encoder.finish().expect("memory takes everything");
    let include = |suffix: &str, bytes: &[u8]| {
        let name = format!("console_{number}{suffix}");
        fs::write(out.join(&name), bytes).expect("OUT_DIR takes files");
        format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))")
    };
    // Small and already packed files only grow.
    let packed = if gzip.len() < plain.len() {
        format!("Some({})", include(".gz", &gzip))
    } else {
        "None".to_owned()
    };
    let plain = include("", &plain);
    format!("File {{ path: {path:?}, plain: {plain}, gzip: {packed} }}")
}
