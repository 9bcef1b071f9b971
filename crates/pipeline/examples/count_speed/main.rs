//! What counting costs, on one core and in memory; and the same events for others to count.
//!
//! ```text
//! count_speed count|pipeline [millions] [clicks|shown] [uniform|hot-ad|hot-user|hot-ip] [records an epoch]
//! count_speed csv millions clicks|shown FILE...       rows in turns over the files
//! count_speed fill LOG-FOLDER megabytes START         START: seconds since 1970
//! ```
//!
//! `count` does both stages of counting as the pipeline does them, on bytes as the edge writes them,
//! and tells which step takes how long. `pipeline` lets a pipeline count the same events from a log on
//! the disk as well, and both must come to the same verdicts. `fill` writes a log as long as is wanted.

#![expect(clippy::print_stdout, reason = "an example that prints figures")]

mod steps;
mod stream;
mod whole;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use reckon_count::Totals;
use reckon_count::rules::{RapidKey, Rule, RuleSet};
use reckon_event::{RecordId, Timestamp, stamp};

use steps::Counter;
use stream::{Mix, Stream, Traffic};

/// As the server's `counter.epoch_records_max`.
const EPOCH_RECORDS: &str = "32768";
/// A minute's start, for whoever does not care when.
const START: Timestamp = Timestamp::from_seconds(1_795_255_200);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["csv", millions, mix, ref files @ ..] if !files.is_empty() => {
            csv(Stream::new(Mix::parse(mix), Traffic::Uniform, START), records(millions), files);
        }
        ["fill", folder, megabytes, start] => {
            let bytes = 1_000_000 * number(megabytes);
            let start = Timestamp::from_seconds(number(start).cast_signed());
            let stream = Stream::new(Mix::Shown, Traffic::Uniform, start);
            whole::fill(Path::new(folder), stream, bytes);
        }
        [what @ ("count" | "pipeline"), ref rest @ ..] => {
            let millions = rest.first().copied().unwrap_or("6");
            let mix = Mix::parse(rest.get(1).copied().unwrap_or("clicks"));
            let traffic = Traffic::parse(rest.get(2).copied().unwrap_or("uniform"));
            let epoch = number(rest.get(3).copied().unwrap_or(EPOCH_RECORDS));
            let stream = || Stream::new(mix, traffic, START);
            let totals = count(stream(), records(millions), epoch);
            if what == "pipeline" {
                let again = whole::count(stream(), records(millions), &rules(), epoch);
                assert_eq!(totals.iter().collect::<Vec<_>>(), again.iter().collect::<Vec<_>>());
            }
        }
        _ => panic!("count or pipeline, csv MILLIONS MIX FILE..., fill FOLDER MEGABYTES START"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a whole number"))
}

/// Millions, with a fraction where wanted.
fn records(millions: &str) -> u64 {
    let millions: f64 = millions.parse().unwrap_or_else(|_| panic!("{millions} is not a number"));
    (millions * 1e6) as u64
}

/// The rules of `config/rules.toml`.
fn rules() -> RuleSet {
    let rapid = |by, most| Rule::Rapid { by, most };
    let rules = vec![
        Rule::DoubleClick { within: 2 * Timestamp::SECOND },
        rapid(RapidKey::User, 10),
        rapid(RapidKey::IpAgent, 60),
        rapid(RapidKey::Ip, 200),
    ];
    RuleSet { version: 1, from: Timestamp::MIN, rules }
}

fn count(mut events: Stream, total: u64, epoch: u64) -> Totals {
    let mut counter = Counter::new(rules());
    let mut bytes = Vec::new();
    let mut sequence = 0;
    while sequence < total {
        bytes.clear();
        for _ in 0..epoch.min(total - sequence) {
            let from = bytes.len();
            events.next().record(&mut bytes);
            sequence += 1;
            stamp(&mut bytes[from..], RecordId { appender: 1, sequence }).expect("encoded here");
        }
        counter.epoch(&bytes, epoch, (sequence == total).then(|| events.closed_at()));
    }
    counter.report();
    let totals = counter.totals();
    for (kind, verdict, count) in totals.iter() {
        println!("{:<18} {count}", format!("{}_{}", kind.name(), verdict.name()));
    }
    totals
}

fn csv(mut stream: Stream, total: u64, files: &[&str]) {
    let create = |file: &&str| BufWriter::new(File::create(file).expect("a file can be made"));
    let mut files: Vec<_> = files.iter().map(create).collect();
    let start = Instant::now();
    let (mut distinct, turns) = (0, files.len());
    for number in 0..total {
        let event = stream.next();
        distinct += u64::from(!event.is_copy);
        let file = &mut files[number as usize % turns];
        event.row(file).expect("the disk works");
    }
    files.iter_mut().for_each(|file| file.flush().expect("the disk works"));
    println!("rows {total}");
    println!("distinct {distinct}");
    println!("seconds {:.1}", start.elapsed().as_secs_f64());
}
