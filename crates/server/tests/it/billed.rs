//! A real log as a hostile client sends it: a fifth of the events twice, a tenth hours late, the server
//! killed three times; then a day is closed, and clicks of it come after that.
//!
//! A judge of its own, SQL over the files that were sent, says what must have been counted and billed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reckon_disk::TempDir;
use serde_json::{Value, json};

use crate::process::{Answer, Client, Process};

const DAY: &str = "2017-11-07";
const RULES: &str = "version = 1\n[[rule]]\nreason = \"rapid_ip\"\nmost = 1\n";
/// The server is killed while it takes the batch at each of these parts of the way.
const KILLS: [usize; 3] = [4, 2, 3];

/// The files of a run, and the server.
struct Run {
    /// Ends before its folder goes.
    server: Option<Process>,
    dir: TempDir,
    key: String,
}

impl Run {
    fn start(log: &Path) -> Self {
        let dir = TempDir::new("billed");
        std::fs::write(dir.path().join("rules.toml"), RULES).expect("room");
        let run = Run { server: None, dir, key: String::new() };
        let folder = run.dir.path().to_str().expect("a plain path").to_owned();
        println!("{}", run.judge(&["prepare", log.to_str().expect("a plain path"), &folder, DAY]));
        let mut run = run.restarted();
        run.key = std::fs::read_to_string(run.dir.path().join("data/admin.key")).expect("kept");
        run.key = run.key.trim().to_owned();
        run
    }

    fn restarted(mut self) -> Self {
        if let Some(server) = self.server.take() {
            server.kill();
        }
        let rules = self.dir.path().join("rules.toml");
        let settings = [
            ("RECKON__RULES__ENABLED", "true"),
            ("RECKON__RULES__FILE", rules.to_str().expect("a plain path")),
        ];
        self.server = Some(Process::start_with(&self.dir.path().join("data"), &settings));
        self
    }

    fn server(&self) -> &Process {
        self.server.as_ref().expect("it runs")
    }

    fn client(&self) -> Client {
        self.server().connect().with_key(&self.key)
    }

    fn judge(&self, arguments: &[&str]) -> String {
        let output = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/billed.py"))
            .args(arguments)
            .env("RECKON_API_KEY", &self.key)
            .output()
            .expect("python3 is there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said.trim().to_owned()
    }

    fn judged(&self, stage: &str) {
        let folder = self.dir.path().to_str().expect("a plain path");
        let url = format!("http://{}", self.server().address);
        let said = self.judge(&["judge", folder, &url, DAY, stage]);
        assert!(said.starts_with("compared "), "{said}");
        println!("{stage} the late batch: {said}");
    }

    fn register(&self) {
        let mut client = self.client();
        let made = |answer: Answer| assert_eq!(answer.status, 201, "{answer:?}");
        made(client.post(
            "/v1/advertisers",
            &json!({"advertiser_id": "talk", "name": "talk", "currency": "EUR"}),
        ));
        made(client.post(
            "/v1/campaigns",
            &json!({"campaign_id": "talk", "advertiser_id": "talk", "name": "talk",
                    "cpc_micros": 10_000, "status": "active"}),
        ));
        let ads = std::fs::read_to_string(self.dir.path().join("ads.txt")).expect("prepared");
        let ads: Vec<Value> = ads
            .lines()
            .map(|ad_id| {
                json!({"ad_id": ad_id, "campaign_id": "talk", "status": "active",
                       "destination_url": format!("https://apps.example/{ad_id}")})
            })
            .collect();
        made(client.post("/v1/ads", &Value::Array(ads)));
    }

    fn batches(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).expect("our folder");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("readable").path()).collect();
        paths.retain(|path| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("batch-"))
        });
        paths.sort();
        paths
    }
}

/// The sum of all verdicts in force is what was received.
fn conserves(client: &mut Client) {
    let page = client.get("/metrics").expect("the server answers").body;
    let page = String::from_utf8(page).expect("text");
    let value =
        |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number");
    let of =
        |prefix: &str| page.lines().filter(|line| line.starts_with(prefix)).map(value).sum::<f64>();
    assert_eq!(of("reckon_records{"), of("reckon_records_received_total "), "{page}");
}

fn send(client: &mut Client, path: &Path) -> std::io::Result<Answer> {
    let body = std::fs::read_to_string(path).expect("prepared");
    client.ask("POST", "/v1/events", &body)
}

/// Kills the server while it takes a batch, and sends the batch again to the next one: whoever gets no
/// answer does that.
fn kill_under(run: Run, path: &Path) -> Run {
    let mut client = run.client();
    std::thread::scope(|scope| {
        scope.spawn(|| run.server().signal_kill());
        let told = send(&mut client, path);
        drop(told);
    });
    run.restarted()
}

fn ok(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// `reckon explain` shows every record behind the busiest figure of the day.
fn explains(run: &Run) {
    let question = format!(
        "/v1/metrics?from={DAY}T00:00:00Z&to={DAY}T23:59:59Z&granularity=1m&group_by=ad_id\
         &metrics=clicks_gross&order_by=-clicks_gross&limit=1"
    );
    let rows = ok(&run.client().get(&question).expect("the server answers"))["rows"].clone();
    let (ad, minute) = (rows[0]["ad_id"].as_str().unwrap(), rows[0]["bucket"].as_str().unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_reckon"))
        .args(["explain", "--ad", ad, "--minute", minute, "--to"])
        .arg(format!("http://{}", run.server().address))
        .env("RECKON_API_KEY", &run.key)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let clicks = said.lines().filter(|line| line.starts_with("click")).count();
    assert_eq!(Some(clicks as u64), rows[0]["clicks_gross"].as_u64(), "{said}");
    println!("explained {clicks} records behind {ad} at {minute}");
}

fn billed(log: &Path) {
    let mut run = Run::start(log);
    run.register();
    let batches = run.batches();
    assert!(batches.len() > 4, "{} batches", batches.len());
    let kills = KILLS.map(|part| batches.len() * (part - 1) / part);
    let mut scrapes = 0;
    for (at, path) in batches.iter().enumerate() {
        if kills.contains(&at) {
            run = kill_under(run, path);
        }
        let mut client = run.client();
        ok(&send(&mut client, path).expect("the server answers"));
        conserves(&mut client);
        scrapes += 1;
    }
    let mut client = run.client();
    let close = format!("/v1/billing/periods/{DAY}/close");
    assert_eq!(ok(&client.post(&close, &json!({})))["state"], "closed");
    run.judged("before");
    explains(&run);
    // The server has closed a connection that was idle for as long as the judge took.
    let mut client = run.client();
    assert_eq!(ok(&client.post(&close, &json!({})))["state"], "closed", "closing again is no harm");

    ok(&send(&mut client, &run.dir.path().join("late.ndjson")).expect("the server answers"));
    let adjust = format!("/v1/billing/periods/{DAY}/adjust");
    let adjusted = ok(&client.post(&adjust, &json!({})));
    assert!(adjusted["adjustments"].as_u64() > Some(0), "{adjusted}");
    run.judged("after");
    let mut client = run.client();
    assert_eq!(
        ok(&client.post(&adjust, &json!({})))["adjustments"],
        0,
        "nothing is adjusted twice"
    );
    conserves(&mut client);
    println!("verdicts summed to the records received at {} scrapes", scrapes + 1);
    let report = ok(&client.post("/v1/reconciliations", &json!({"day": DAY})));
    assert_eq!(report["equal"], true, "{report}");
}

#[test]
fn the_real_log_is_billed_once() {
    let Some(data) = std::env::var_os("RECKON_DATA") else {
        eprintln!("left out: RECKON_DATA is unset, so no real log was billed");
        return;
    };
    billed(&Path::new(&data).join("talkingdata/clicks.csv"));
}

#[test]
fn a_made_up_log_is_billed_once() {
    let dir = TempDir::new("billed-log");
    let path = dir.path().join("clicks.csv");
    let mut text = "ip,app,device,os,channel,click_time,attributed_time,is_attributed\n".to_owned();
    for row in 0..6_000_u32 {
        // Three days, with a crowd from one address now and then.
        let (second, ip) = (row * 43, if row % 40 < 2 { 7 } else { row * 7_919 % 60_000 });
        let (day, hour, minute) = (6 + second / 86_400, second / 3_600 % 24, second / 60 % 60);
        writeln!(
            text,
            "{ip},{},1,{},178,2017-11-{day:02} {hour:02}:{minute:02}:{:02},,0",
            row % 23,
            row % 5,
            second % 60
        )
        .expect("memory");
    }
    std::fs::write(&path, text).expect("room");
    billed(&path);
}
