//! A5: edges go down, never up or sideways, and only where the table has them.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Each crate with the house's crates it may use; the same table as in ARCHITECTURE.md.
const FLOORS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("disk", &[]),
    ("eventlog", &["event", "disk"]),
    ("count", &["event"]),
    ("rollup", &["event", "disk"]),
    ("books", &["event"]),
    ("pipeline", &["eventlog", "count", "event", "disk"]),
    ("model", &["event"]),
    ("bundle", &["model", "event"]),
    ("feature", &["event", "disk"]),
    ("market", &["event"]),
    ("lake", &["event", "disk"]),
    ("audit", &["lake", "rollup", "books", "event", "disk"]),
    ("rollout", &["bundle", "model", "books", "event", "disk"]),
    ("train", &["bundle", "lake", "feature", "model", "event", "disk"]),
    ("predict", &["bundle", "rollout", "feature", "model", "books", "event"]),
    ("billing", &["rollup", "books", "event", "disk"]),
    ("sim", &["eventlog", "pipeline", "count", "rollup", "lake", "event", "disk"]),
    (
        "server",
        &[
            "eventlog", "count", "rollup", "books", "billing", "pipeline", "model", "feature",
            "market", "rollout", "predict", "bundle", "train", "lake", "audit", "event", "disk",
        ],
    ),
];

#[test]
fn edges_go_down() {
    let used = edges();
    assert_eq!(used.len(), FLOORS.len(), "every crate stands in the table: {:?}", used.keys());
    for (name, may_use) in FLOORS {
        let uses = &used[*name];
        assert!(!uses.is_empty() || may_use.is_empty() || *name == "event", "{name} was found");
        for other in uses {
            assert!(may_use.contains(&other.as_str()), "{name} may not use {other}");
        }
    }
}

#[test]
fn the_table_is_the_one_people_read() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md"))
            .expect("a page");
    for (name, _) in FLOORS {
        assert!(page.contains(&format!("| `{name}` |")), "ARCHITECTURE.md has no row for {name}");
    }
}

/// The house's normal and build dependencies of each crate; what tests use is their own matter.
fn edges() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is there");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let house = |name: &Value| {
        name.as_str().and_then(|name| name.strip_prefix("reckon-")).map(str::to_owned)
    };
    let packages = metadata["packages"].as_array().expect("packages");
    let edges_of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        dependencies
            .filter(|one| one["kind"] != "dev")
            .filter_map(|one| house(&one["name"]))
            .collect()
    };
    packages
        .iter()
        .filter_map(|package| Some((house(&package["name"])?, edges_of(package))))
        .collect()
}
