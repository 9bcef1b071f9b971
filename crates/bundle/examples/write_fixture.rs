//! Writes the bundle that `tests/yesterdays_bundles.rs` freezes, to the path given.
#[path = "../tests/common/mod.rs"]
mod common;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("a path to write to")?;
    std::fs::write(path, common::written(&common::contents()))?;
    Ok(())
}
