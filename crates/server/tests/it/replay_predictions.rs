//! Logs whose rows are predictions with an outcome, against a real server with its rules on: each row
//! is asked about and shown once, everything arrives as it was logged, a second run adds duplicates
//! only, and what the server believed was believed before the outcome was told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Kind, Record, Timestamp, Verdict, name_key};
use reckon_server::clock::Clock;
use reckon_server::command::replay::{Format, Options, Report, replay};
use reckon_server::command::serve::Listening;
use reckon_server::config::Config;
use reckon_server::data_dir::DataDir;
use reckon_server::engines::{self, System};

/// A server with the settings of every server, whose log can be looked into.
struct Served {
    system: System,
    listening: Listening,
    dir: TempDir,
    key: String,
}

impl Served {
    async fn start() -> Self {
        let dir = TempDir::new("replay-predictions");
        let settings = [("LISTEN", "127.0.0.1:0"), ("ADMIN_LISTEN", "")]
            .map(|(name, value)| (format!("RECKON__SERVER__{name}"), value.to_owned()));
        let config = Config::load(None, settings.into_iter()).expect("good settings");
        let data = DataDir(dir.path().join("data"));
        let (disk, clock) = (Arc::new(RealDisk), Arc::new(Clock::new(1)));
        let system = engines::start(config, &data, disk, clock).await.expect("it starts");
        let listening = Listening::open(&system).await.expect("it listens");
        let key = system.fresh_admin_key.clone().expect("a fresh folder has a fresh key");
        Served { system, listening, dir, key }
    }

    async fn stop(self) {
        self.listening.close().await;
        self.system.stop().await.expect("it stops");
    }

    fn url(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("room");
        path
    }

    fn options(&self, format: Format, files: &[PathBuf]) -> Options {
        Options {
            // Small, so that there are many batches, and rows that know of others.
            batch_events: 50,
            in_flight: 64,
            ..Options::new(format, files.to_vec(), self.url(), Some(self.key.clone()))
        }
    }

    async fn replay(&self, format: Format, files: &[PathBuf]) -> Report {
        replay(&self.options(format, files)).await.expect("the replay ends")
    }

    /// Lets the judge count the files by itself and compare.
    async fn judge(&self, format: &str, files: &[PathBuf], times: u32) {
        let mut judge = Command::new("python3");
        judge
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/predicted.py"))
            .args([format, &self.url(), &times.to_string()])
            .args(files)
            .env("RECKON_API_KEY", &self.key);
        let output = tokio::task::spawn_blocking(move || judge.output()).await.unwrap();
        let output = output.expect("python3 is there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with("compared "), "{said}");
        print!("{format}: {said}");
    }

    /// How often each impression and click stands in the log, as its token tells it.
    fn told(&self) -> BTreeMap<Told, usize> {
        let log = self.system.app.log();
        let mut told = BTreeMap::new();
        for partition in 0..log.partitions() {
            let mut from = 0;
            loop {
                let chunk = log.read(partition, from, 1 << 20).expect("it reads");
                if chunk.entries.is_empty() {
                    break;
                }
                for entry in &chunk.entries {
                    let bytes = &chunk.bytes[entry.bytes.clone()];
                    let (record, _) = Record::decode(bytes).expect("a record");
                    if matches!(record.kind, Kind::Impression | Kind::Click) {
                        *told.entry(Told::of(&record)).or_default() += 1;
                    }
                }
                from = chunk.next;
            }
        }
        told
    }
}

/// An impression or a click: kind, ad, position, bits of its propensity, and when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told(u8, u64, u16, u32, Timestamp);

impl Told {
    fn of(record: &Record<'_>) -> Self {
        let claims = record.claims.expect("it brings its token");
        assert_eq!((record.position, record.outcome), (claims.position, Verdict::Counted));
        assert_ne!(claims.prediction_id, 0, "the token names the prediction");
        let Record { kind, happened, .. } = *record;
        Told(kind.code(), claims.ad_key, claims.position, claims.propensity.to_bits(), happened)
    }
}

/// What a file of Open Bandit says, read without the replay.
fn open_bandit_told(files: &[PathBuf]) -> BTreeMap<Told, usize> {
    let mut told = BTreeMap::new();
    for file in files {
        for line in std::fs::read_to_string(file).expect("readable").lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            let at = columns[1].replace(' ', "T").replace("+00:00", "Z");
            let at = Timestamp::parse(&at).expect("a time");
            let ad_key = name_key(&format!("item-{}", columns[2]));
            let propensity: f32 = columns[5].parse().expect("a number");
            for kind in [Kind::Impression, Kind::Click] {
                if kind == Kind::Impression || columns[4] == "1" {
                    let position = columns[3].parse().expect("a position");
                    let one = Told(kind.code(), ad_key, position, propensity.to_bits(), at);
                    *told.entry(one).or_default() += 1;
                }
            }
        }
    }
    told
}

/// Clicks that a replay added, by verdict.
fn clicks(report: &Report) -> Vec<(&str, i64)> {
    report.caught.added.clicks.iter().map(|(verdict, &count)| (verdict.as_str(), count)).collect()
}

/// A number below `bound`, another one for each row, and nothing to do with those of other salts.
fn scattered(row: u32, salt: u32, bound: u32) -> u32 {
    let key = name_key(&format!("{row} {salt}"));
    u32::try_from(key % u64::from(bound)).expect("below a u32")
}

fn open_bandit_rows(rows: u32) -> String {
    let mut text =
        ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,\
                    user_feature_2,user_feature_3"
            .to_owned();
    (0..5).for_each(|item| write!(text, ",user-item_affinity_{item}").expect("memory"));
    text.push('\n');
    for row in 0..rows {
        let (item, position) = (scattered(row, 1, 5), 1 + scattered(row, 2, 3));
        let click = u32::from(scattered(row, 3, 10) < 3 / position);
        let propensity = f64::from(1 + scattered(row, 4, 997)) / 997.0;
        writeln!(
            text,
            "{row},2019-11-24 {:02}:{:02}:03.{:06}+00:00,{item},{position},{click},{propensity},\
             f{},g{},h,i,0.0,0.0,1.0,0.0,3.0",
            row / 400 % 24,
            row / 7 % 60,
            scattered(row, 5, 1_000_000),
            row % 3,
            row % 5
        )
        .expect("memory");
    }
    text
}

/// A third of the rows is of a category that is clicked far more often.
fn criteo_rows(rows: u32) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let liked = scattered(row, 1, 3) == 0;
        let label = u32::from(scattered(row, 2, 100) < if liked { 70 } else { 10 });
        write!(text, "{label}").expect("memory");
        for column in 1..=13 {
            let is_empty = scattered(row, 10 + column, 4) == 0;
            let number = scattered(row, 30 + column, 900);
            let _ = if is_empty { write!(text, "\t") } else { write!(text, "\t{number}") };
        }
        for column in 1..=26 {
            let value = match column {
                2 => format!("ad{}", scattered(row, 3, 9)),
                5 => format!("liked-{liked}"),
                _ => format!("{column:02}{:02x}", scattered(row, 60 + column, 40)),
            };
            write!(text, "\t{value}").expect("memory");
        }
        text.push('\n');
    }
    text
}

fn avazu_rows(rows: u32) -> String {
    let mut text = "id,click,hour,C1,banner_pos,site_id,device_type,C14,C20\n".to_owned();
    for row in 0..rows {
        let click = u32::from(scattered(row, 1, 6) == 0);
        let (hour, ad) = (row / 100 % 24, 15_700 + scattered(row, 2, 8));
        let site = scattered(row, 3, 20);
        writeln!(text, "{row}1,{click},141021{hour:02},1005,{},s{site},1,{ad},-1", row % 2)
            .expect("memory");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_as_it_was_logged_however_often_it_is_sent() {
    let served = Served::start().await;
    let files = [
        served.file("men.csv", &open_bandit_rows(500)),
        // Most lines are those of the other file, at the same place, and rows of their own all the same.
        served.file("women.csv", &open_bandit_rows(900).replacen(",f0,", ",f9,", 1)),
    ];
    let told = open_bandit_told(&files);
    let shown: usize = told.iter().filter(|(one, _)| one.0 == 1).map(|(_, count)| count).sum();
    let clicked = told.values().sum::<usize>() - shown;
    assert!(shown == 1_400 && clicked > 100, "{shown} {clicked}");
    let clicked = clicked as i64;

    let first = served.replay(Format::OpenBandit, &files).await;
    assert_eq!((first.rows, first.unreadable.count, first.rejected.count), (1_400, 0, 0));
    assert_eq!(clicks(&first), [("counted", clicked)], "no click is too fast");
    assert_eq!((first.caught.added.impressions, first.is_good()), (1_400, true));
    served.judge("open-bandit", &files, 1).await;
    assert_eq!(served.told(), told);
    println!(
        "compared {} impressions and clicks of the log with the files",
        shown as i64 + clicked
    );
    let predictions = first.predictions.as_ref().expect("rows are predictions");
    assert_eq!((predictions.count, predictions.repeated, predictions.degraded), (1_400, 0, 0));

    let second = served.replay(Format::OpenBandit, &files).await;
    assert_eq!(clicks(&second), [("duplicate", clicked)]);
    assert_eq!((second.caught.added.impressions, second.caught.added.spend_micros), (0, 0));
    let again = second.predictions.as_ref().expect("rows are predictions");
    assert_eq!((again.count, again.repeated), (1_400, 1_400));
    assert_eq!(again.quality(), predictions.quality(), "the answers are those of the first run");
    served.judge("open-bandit", &files, 2).await;

    let anew = Options { anew: true, ..served.options(Format::OpenBandit, &files) };
    let third = replay(&anew).await.expect("the replay ends");
    assert_eq!(clicks(&third), [("counted", clicked)]);
    assert_eq!(third.caught.added.impressions, 1_400);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_broken_off_is_completed_by_the_next() {
    let served = Served::start().await;
    let files = [served.file("men.csv", &open_bandit_rows(1_200))];
    let clicked = open_bandit_told(&files).iter().filter(|(one, _)| one.0 == 3).count() as i64;
    let options = served.options(Format::OpenBandit, &files);
    let running = tokio::spawn(async move { replay(&options).await });
    // Somewhere in the middle, wherever that is: some rows are told, some only predicted.
    while served.system.app.progress.snapshot().totals.seen() < 300 {
        assert!(!running.is_finished(), "it was to be broken off");
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.is_err_and(|error| error.is_cancelled()), "it was to be broken off");
    let next = served.replay(Format::OpenBandit, &files).await;
    let repeated = next.predictions.as_ref().expect("rows are predictions").repeated;
    assert!((1..1_200).contains(&repeated), "{repeated} rows were predicted before");
    let told = served.told();
    assert_eq!(
        told.keys().collect::<Vec<_>>(),
        open_bandit_told(&files).keys().collect::<Vec<_>>()
    );
    let mut client = crate::process::Client::connect(&served.listening.address.to_string())
        .expect("it listens")
        .with_key(&served.key);
    let figures = tokio::task::spawn_blocking(move || {
        crate::settle(&mut client);
        let all = "/v1/metrics?from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&granularity=total";
        client.get(all).expect("the server answers").json()["rows"][0].clone()
    });
    let figures = figures.await.unwrap();
    assert_eq!((&figures["impressions"], &figures["clicks"]), (&1_200.into(), &clicked.into()));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_believed_comes_from_the_rows_before() {
    let served = Served::start().await;
    let files = [served.file("train.tsv", &criteo_rows(2_500))];
    let report = served.replay(Format::Criteo, &files).await;
    assert_eq!((report.rows, report.caught.added.impressions), (2_500, 2_500));
    served.judge("criteo", &files, 1).await;
    let quality = report.predictions.as_ref().expect("rows are predictions").quality();
    println!("{quality:?}");
    let (auc, loss) = (quality.auc.expect("clicks"), quality.log_loss.expect("rows"));
    let constant = quality.log_loss_constant.expect("rows");
    // Who knows all has an AUC of some 0.82, who knows nothing one of 0.5.
    assert!(auc > 0.65 && auc < 0.86, "{quality:?}");
    assert!(loss < constant, "{quality:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_when_it_happened() {
    let served = Served::start().await;
    let files = [served.file("train.csv", &avazu_rows(700))];
    let report = served.replay(Format::Avazu, &files).await;
    assert_eq!((report.rows, report.caught.added.impressions), (700, 700));
    served.judge("avazu", &files, 1).await;
    let again = served.replay(Format::Avazu, &files).await;
    assert_eq!((again.caught.added.impressions, again.caught.added.clicks_net()), (0, 0));
    served.judge("avazu", &files, 2).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_logs_arrive_as_they_were_logged() {
    let Some(data) = std::env::var_os("RECKON_DATA") else {
        eprintln!("left out: RECKON_DATA is unset, so no real log was replayed");
        return;
    };
    let logs = [
        (
            "open-bandit",
            Format::OpenBandit,
            &["open-bandit/bts/men/men.csv", "open-bandit/bts/women/women.csv"][..],
        ),
        ("avazu", Format::Avazu, &["avazu/train.csv"]),
        ("criteo", Format::Criteo, &["criteo/train.tsv"]),
    ];
    for (name, format, files) in logs {
        let files: Vec<PathBuf> = files.iter().map(|file| Path::new(&data).join(file)).collect();
        // Each log has a server of its own, so that the judge sees nothing else.
        let served = Served::start().await;
        // To keep every answer for a second run takes longer than all else.
        let options = Options {
            anew: true,
            in_flight: 512,
            batch_events: 5_000,
            ..served.options(format, &files)
        };
        let report = replay(&options).await.expect("the replay ends");
        let refused = (report.unreadable.count, report.rejected.count);
        assert!(report.rows > 5_000 && refused == (0, 0) && report.is_good(), "{report:?}");
        served.judge(name, &files, 1).await;
        if format == Format::OpenBandit {
            assert_eq!(served.told(), open_bandit_told(&files));
        }
        println!("{name}: {:?}", report.predictions.as_ref().expect("predictions").quality());
        served.stop().await;
    }
}

/// What the command says of a file, on stdout and on stderr, and how it ends.
async fn command(served: &Served, format: &str, file: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reckon"));
    command.args(["replay", format, "--to", &served.url()]).arg(file);
    command.args(["--in-flight", "32", "--click-after-ms", "120"]);
    command.env("RECKON_API_KEY", &served.key);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_that_cannot_be_read_is_told_with_file_line_and_column() {
    let served = Served::start().await;
    let (bandit, criteo, avazu) = (open_bandit_rows(20), criteo_rows(20), avazu_rows(20));
    // The format, a good file, the line (from 1) and the column (from 0) to spoil, with what, and how
    // the error begins.
    let cases = [
        ("open-bandit", &bandit, ',', 5, 1, "soon", "timestamp: \"soon\""),
        ("open-bandit", &bandit, ',', 6, 2, "-1", "item_id: \"-1\""),
        ("open-bandit", &bandit, ',', 7, 3, "0", "position: "),
        ("open-bandit", &bandit, ',', 8, 4, "yes", "click: \"yes\""),
        ("open-bandit", &bandit, ',', 9, 5, "0.0", "propensity_score: 0"),
        ("open-bandit", &bandit, ',', 10, 13, "1,2,3,4", "there are more than 15 columns"),
        ("criteo", &criteo, '\t', 1, 0, "2", "label: \"2\""),
        ("criteo", &criteo, '\t', 12, 7, "x", "I7: \"x\""),
        ("criteo", &criteo, '\t', 13, 15, "", "C2: is the ad, and must not be empty"),
        ("avazu", &avazu, ',', 3, 1, "", "click: \"\""),
        ("avazu", &avazu, ',', 4, 2, "2014-10-21", "hour: \"2014-10-21\""),
        ("avazu", &avazu, ',', 5, 7, "", "C14: is the ad"),
    ];
    for (number, (format, good, separator, line, column, wrong, error)) in
        cases.into_iter().enumerate()
    {
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        let mut columns: Vec<&str> = lines[line - 1].split(separator).collect();
        columns[column] = wrong;
        lines[line - 1] = columns.join(&separator.to_string());
        let file = served.file(&format!("{number}.log"), &lines.join("\n"));
        let (code, out, notes) = command(&served, format, &file).await;
        let said = notes.lines().find(|note| note.starts_with("not read: 1 x "));
        let said = said.unwrap_or_else(|| panic!("{format} {line}: {notes}"));
        let place = format!("(first at {}:{line})", file.display());
        assert!(said.contains(&format!("1 x {error}")) && said.ends_with(&place), "{said}");
        let figure = |name: &str| {
            let line = out.lines().find(|line| line.split("  ").next() == Some(name));
            line.and_then(|line| line.split_whitespace().last()).map(str::to_owned)
        };
        assert_eq!((code, figure("not read").as_deref()), (Some(0), Some("1")), "{out}");
        assert!(figure("predictions").is_some_and(|count| count != "0"), "{out}");
        assert!(figure("AUC").is_some() && figure("rows a second").is_some(), "{out}");
    }
    let heading = served.file("heading.csv", &bandit.replacen("click", "clock", 1));
    let (code, _, notes) = command(&served, "open-bandit", &heading).await;
    assert!(notes.contains("not read: 1 x click: the heading has no such column"), "{notes}");
    assert!(notes.contains(&format!("{}:1)", heading.display())), "{notes}");
    assert_eq!(code, Some(1), "nothing was accepted");
    served.stop().await;
}
