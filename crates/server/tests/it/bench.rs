//! The load generator against a real server: what it prints is what it did.

use std::process::Command;

use reckon_disk::TempDir;
use serde_json::Value;

use crate::process::Process;

#[test]
fn predictions_are_measured_at_each_number_of_candidates() {
    let dir = TempDir::new("bench-predict");
    let data = dir.path().join("data");
    let process = Process::start(&data);
    let key = std::fs::read_to_string(data.join("admin.key")).expect("the key is kept");
    let bench = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_reckon"))
            .args(["bench", "predict", "--to", &format!("http://{}", process.address)])
            .args(["--ads", "60", "--users", "500", "--mint", "2", "--connections", "2"])
            .args(more)
            .env("RECKON_API_KEY", key.trim())
            .output()
            .expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, notes) =
        bench(&["--candidates", "1,30", "--rate", "50", "--seconds", "1", "--json"]);
    assert_eq!(code, Some(0), "{out}{notes}");
    let measured: Value = serde_json::from_str(&out).expect("JSON");
    let sizes = measured["sizes"].as_array().expect("a list");
    assert_eq!(sizes.len(), 2);
    for (size, candidates) in sizes.iter().zip([1, 30]) {
        assert_eq!((&size["candidates"], &size["rate"]), (&candidates.into(), &50.into()));
        assert_eq!((&size["sent"], &size["errors"]), (&50.into(), &0.into()), "{size}");
        let latency = |name: &str| size["latency_ms"][name].as_f64().expect("a number");
        assert!(latency("p50") > 0.0 && latency("p50") <= latency("max"), "{size}");
        let bytes = size["answer_bytes"].as_u64().expect("a number");
        assert!(bytes > 60 * candidates as u64, "{size}");
    }
    let (code, _, notes) = bench(&["--candidates", "31"]);
    assert!(code == Some(1) && notes.contains("ads: 60 are too few"), "{notes}");
}
