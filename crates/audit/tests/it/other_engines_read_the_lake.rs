//! A lake that only its writer can read is a lock-in. DuckDB and ClickHouse's engine, both from PyPI,
//! open one as `docs/lake.md` tells, and must count what was counted.
//!
//! `RECKON_PYTHON` names a Python that has both (`deploy/setup.sh python` makes one, and `make test`
//! sets it). With `RECKON_ENGINES=required` the test fails where there is none; else it says that it
//! was left out.

use std::process::Command;

use crate::counted::{Fault, count};
use reckon_audit::{AuditOptions, Auditor};
use reckon_disk::TempDir;
use reckon_lake::LakePlace;
use serde_json::{Value, json};

#[test]
fn duckdb_and_clickhouse_count_the_same() {
    let Some(python) = std::env::var_os("RECKON_PYTHON") else {
        let required = std::env::var("RECKON_ENGINES").is_ok_and(|value| value == "required");
        assert!(!required, "RECKON_ENGINES=required, and RECKON_PYTHON names no Python");
        println!("LEFT OUT: no RECKON_PYTHON, so no other engine has read the lake");
        return;
    };
    let folder = TempDir::new("engines");
    let lake = folder.path().join("lake");
    let place = LakePlace::folder(&lake).expect("a folder");
    let world = count(21, 5_000, Fault::None, place);
    let expected = folder.path().join("expected.json");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answers = runtime.expect("a runtime").block_on(expect_of(&world.place));
    std::fs::write(&expected, answers.to_string()).expect("the folder can be written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/read_lake.py");
    let output = Command::new(python).arg(script).arg(&lake).arg(&expected).output();
    let output = output.expect("RECKON_PYTHON can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    assert!(said.contains("duckdb:") && said.contains("clickhouse:"), "{said}");
    println!("{said}");
}

/// What DataFusion says of the same lake.
async fn expect_of(place: &LakePlace) -> Value {
    let auditor = Auditor::open(place, AuditOptions::default()).await.expect("there is a lake");
    let rows = async |text: &str| {
        let csv = auditor.sql(text).await.expect("it answers").to_csv().expect("CSV");
        let csv = String::from_utf8(csv).expect("UTF-8");
        let value = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |n| json!(n));
        let line = |line: &str| line.split(',').map(value).collect::<Vec<_>>();
        csv.lines().skip(1).map(line).collect::<Vec<_>>()
    };
    json!({
        "verdicts": rows(
            "SELECT coalesce(verdict, 0), count(*) FROM records WHERE kind NOT IN (9, 10) \
             GROUP BY 1 ORDER BY 1",
        )
        .await,
        "spend": rows(
            "SELECT currency, sum(price) FROM records WHERE kind = 3 AND verdict = 1 \
             GROUP BY 1 ORDER BY 1",
        )
        .await,
        "people": rows("SELECT count(DISTINCT pseudonym), min(length(pseudonym)) FROM records").await,
        "times": rows(
            "SELECT min(CAST(received AS BIGINT)), max(CAST(received AS BIGINT)) FROM records",
        )
        .await,
        "in_force": rows(
            "SELECT first_verdict_code, verdict_code, count(*) FROM events \
             WHERE revised_by IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .await,
    })
}
