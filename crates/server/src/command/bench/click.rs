//! `GET /click` over many connections, one fresh token each.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::due::Timetable;
use super::engine::{Engine, Reading};
use super::mint::{Minting, render_click};
use super::outcome::{Outcome, Settled};
use super::wire::Head;
use crate::command::client::Address;

/// What to send.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's URL.
    pub to: String,
    /// A key with the scopes `manage`, `predict` and `read`.
    pub key: Option<String>,
    /// No request is sent later than this, but those that were due.
    pub seconds: u64,
    /// Connections side by side.
    pub connections: usize,
    /// Requests a second; 0 sends as fast as answers come.
    pub rate: u64,
    /// Requests in all; each needs a token, and the run ends when they are used up.
    pub count: usize,
}

/// Mints, clicks, and waits until all is counted.
pub fn run(options: &Options) -> Result<Outcome> {
    ensure!(options.connections > 0 && options.count > 0, "there is nothing to send");
    let address = Address::parse(&options.to)?;
    let minting = Minting::new(address.clone(), options.key.clone(), options.count);
    let requests = minting.run(render_click)?;
    let settled = Settled::begin(&options.to, options.key.as_deref())?;
    let timetable = Timetable::of_rate(options.rate);
    let end = Duration::from_secs(options.seconds);
    let count = requests.len();
    let engine = Engine::new(&address, &requests, count, timetable, end, options.connections)?;
    let (tally, elapsed) = engine.run(read)?;
    let caught = settled.wait(&tally)?;
    Ok(Outcome {
        what: "click",
        connections: options.connections,
        batch: 1,
        rate: options.rate,
        tally,
        elapsed,
        caught,
        visible: None,
        machine: super::machine::Machine::here(),
    })
}

/// A redirect acknowledges a click, unless it says otherwise.
fn read(head: &Head, _body: &[u8]) -> Reading {
    match (head.status, head.degraded) {
        (302, false) => Reading::Good,
        (302, true) => Reading::Degraded,
        (status, _) => Reading::Wrong(format!("/click answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_acknowledgement_is_not_taken_for_one() {
        let reading =
            |status, degraded| read(&Head { status, degraded, head_bytes: 0, body_bytes: 0 }, b"");
        assert_eq!(reading(302, false), Reading::Good);
        assert_eq!(reading(302, true), Reading::Degraded);
        let expect = Reading::Wrong("/click answered 404".to_owned());
        assert_eq!(reading(404, false), expect);
    }
}
