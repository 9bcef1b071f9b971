//! Logs sent through the front door, against a real server: every row counts once, a second run of
//! the same file adds duplicates and nothing else, and what is not taken is told where it stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reckon_disk::TempDir;
use reckon_server::command::replay::{Format, Options, Report, replay};

use crate::process::Process;

/// A server and the key to it.
struct Running {
    process: Process,
    dir: TempDir,
    key: String,
}

impl Running {
    fn start(name: &str) -> Self {
        let dir = TempDir::new(name);
        let data = dir.path().join("data");
        let process = Process::start(&data);
        let key = std::fs::read_to_string(data.join("admin.key")).expect("the key is kept");
        Running { process, dir, key: key.trim().to_owned() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.process.address)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("room");
        path
    }

    /// Sends a file in batches small enough that there are many.
    async fn replay(&self, format: Format, file: &Path) -> Report {
        let options = Options {
            batch_events: 97,
            ..Options::new(format, vec![file.to_owned()], self.url(), Some(self.key.clone()))
        };
        replay(&options).await.expect("the replay ends")
    }
}

/// Lets the judge count the file by itself and compare by ad, minute and hour.
fn judge(running: &Running, file: &Path, times: u32) {
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/talkingdata.py"))
        .arg(file)
        .args([running.url(), times.to_string()])
        .env("RECKON_API_KEY", &running.key)
        .output()
        .expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("compared "), "{said}");
    print!("{said}");
}

/// Clicks that a replay added, by verdict.
fn clicks(report: &Report) -> Vec<(&str, i64)> {
    report.caught.added.clicks.iter().map(|(verdict, &count)| (verdict.as_str(), count)).collect()
}

fn talkingdata_rows(rows: u32) -> String {
    let mut text = "ip,app,device,os,channel,click_time,attributed_time,is_attributed\n".to_owned();
    for row in 0..rows {
        let (ip, app, second) = (row % 61, row % 7, row % 60);
        writeln!(text, "{ip},{app},1,19,178,2017-11-06 16:00:{second:02},,0").expect("memory");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_counts_once_however_often_it_is_sent() {
    let running = Running::start("replay-twice");
    let file = running.file("clicks.csv", &talkingdata_rows(2_000));
    let first = running.replay(Format::Talkingdata, &file).await;
    assert_eq!((first.rows, first.accepted, first.rejected.count), (2_000, 2_000, 0));
    assert_eq!(clicks(&first), [("counted", 2_000)]);
    assert_eq!(first.caught.added.spend_micros, 2_000 * 10_000);
    judge(&running, &file, 1);
    let second = running.replay(Format::Talkingdata, &file).await;
    assert_eq!(clicks(&second), [("duplicate", 2_000)]);
    assert_eq!(second.caught.added.spend_micros, 0);
    judge(&running, &file, 2);
    assert!(first.is_good() && second.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_log_counts_once() {
    let Some(data) = std::env::var_os("RECKON_DATA") else {
        eprintln!("left out: RECKON_DATA is unset, so no real log was replayed");
        return;
    };
    let running = Running::start("replay-real");
    let file = Path::new(&data).join("talkingdata/clicks.csv");
    let rows = std::fs::read_to_string(&file).expect("the log is there").lines().count() - 1;
    let report = running.replay(Format::Talkingdata, &file).await;
    let expect = i64::try_from(rows).expect("a file has fewer rows");
    assert!(rows > 10_000, "{rows} rows are no real log");
    assert_eq!(clicks(&report), [("counted", expect)]);
    judge(&running, &file, 1);
    let again = running.replay(Format::Talkingdata, &file).await;
    assert_eq!(clicks(&again), [("duplicate", expect)]);
    judge(&running, &file, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_sent_as_they_stand_and_what_is_not_taken_is_told() {
    let running = Running::start("replay-jsonl");
    let lines = [
        r#"{"type":"click","ad_id":"a","user_id":"ann","event_id":"e1","placement":"top"}"#,
        r#"{"type":"click","ad_id":"a","user_id":"ann","event_id":"e1","placement":"top"}"#,
        r#"{"type":"click","ad_id":"a","user_id":"ann","event_id":"e1","placement":"side"}"#,
        r#"{"type":"click","ad_id":"a","user_id":"ann","occurred_at":"2026-01-02T03:04:05Z"}"#,
        r#"{"type":"impression","ad_id":"b","user_id":"bob"}"#,
        r#"{"type":"click","imp":"not-a-token","ad_id":"a"}"#,
        "",
        r#"{"type":"clik","ad_id":"a"}"#,
        r#"{"type":"click","user_id":"nobody"}"#,
    ];
    let file = running.file("events.jsonl", &lines.join("\n"));
    let first = running.replay(Format::Jsonl, &file).await;
    assert_eq!((first.rows, first.accepted), (8, 6));
    assert_eq!(clicks(&first), [("conflict", 1), ("counted", 2), ("duplicate", 1), ("forged", 1)]);
    assert_eq!(first.caught.added.impressions, 1);
    let (reason, (count, place)) =
        first.unreadable.by_reason.iter().next().expect("one is no event");
    assert_eq!((reason.contains("clik"), *count, place.line), (true, 1, 8));
    let (reason, (count, place)) = first.rejected.by_reason.iter().next().expect("one has no ad");
    assert_eq!((reason.contains("ad_id"), *count, place.line), (true, 1, 9));
    let second = running.replay(Format::Jsonl, &file).await;
    assert_eq!(clicks(&second), [("conflict", 1), ("duplicate", 3), ("forged", 1)]);
    assert_eq!(second.caught.added.impressions, 0);
}

#[test]
fn the_command_prints_figures_and_says_what_is_wrong() {
    let running = Running::start("replay-command");
    let file = running.file("clicks.csv", &talkingdata_rows(100));
    let replay = |key: &str, url: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_reckon"))
            .args(["replay", "talkingdata", "--to", url])
            .arg(&file)
            .env("RECKON_API_KEY", key)
            .output()
            .expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = replay(&running.key, &running.url());
    let figures: BTreeMap<&str, &str> =
        out.lines().filter_map(|line| line.split_once("  ")).collect();
    assert_eq!(code, Some(0));
    assert_eq!(figures.get("clicks counted").map(|count| count.trim()), Some("100"), "{out}");
    let (code, out, notes) = replay("rk_wrong", &running.url());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(notes.contains("RECKON_API_KEY"), "{notes}");
    let (code, _, notes) = replay(&running.key, "http://127.0.0.1:1");
    assert_eq!(code, Some(1));
    assert!(notes.contains("cannot connect to http://127.0.0.1:1"), "{notes}");
}
