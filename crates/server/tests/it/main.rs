//! The binary's tests, one file a journey. Most make a whole system on a temporary folder and ask it
//! with requests as values; those that kill or measure start the real process.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what they compared")]

mod audited;
mod bench;
mod billed;
mod catalog;
mod champion;
mod clicks;
mod columns;
mod console;
mod erased;
mod faults;
mod floors;
mod harness;
mod keys;
mod killed_under_load;
mod live;
mod metrics;
mod openapi;
mod predict;
mod problems;
mod process;
mod profiles;
mod recomputed;
mod replay;
mod replay_predictions;
mod rules;
mod simulate;
mod trained;

use std::time::{Duration, Instant};

/// Waits until all that is in the log has been counted.
fn settle(client: &mut process::Client) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let text = client.get("/metrics").expect("the server answers");
        let text = String::from_utf8(text.body).expect("text");
        let lag = text.lines().find_map(|line| line.strip_prefix("reckon_count_lag_records "));
        match lag.map(|value| value.trim().parse::<f64>()) {
            Some(Ok(0.0)) => return,
            Some(Ok(_)) => assert!(Instant::now() < deadline, "counting does not catch up"),
            other => panic!("no lag in /metrics: {other:?} in\n{text}"),
        }
        std::thread::yield_now();
    }
}
