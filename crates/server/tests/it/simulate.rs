//! A market with known truth against a real server on a scaled clock: everything that can go wrong
//! does, and every figure by ad, time, kind and verdict is what truly happened.
//!
//! No time is asserted. A slow machine makes the run longer; what it does to receive times is told by
//! the server, so that nothing becomes uncertain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Reason, Timestamp, Verdict};
use reckon_market::{Drift, Options, Trouble, Troubles};
use reckon_server::clock::Clock;
use reckon_server::command::client::{Call, Client, Retry};
use reckon_server::command::serve::Listening;
use reckon_server::command::simulate::compare::Width;
use reckon_server::command::simulate::{self, Settings, Simulation, Truth, report};
use reckon_server::config::Config;
use reckon_server::data_dir::DataDir;
use reckon_server::engines::{self, System};
use serde_json::{Value, json};

use crate::harness::House;

/// A day of the server's in 40 seconds of the wall's.
const FACTOR: u32 = 2_160;

/// So tight that each rule takes something within ten seconds of the wall's clock. A slow machine
/// spreads a machine's clicks over many of the server's minutes.
const RULES: &str = r#"
version = 1
[[rule]]
reason = "double_click"
within_ms = 60000
[[rule]]
reason = "rapid_ip"
most = 8
[[rule]]
reason = "rapid_ip_agent"
most = 5
[[rule]]
reason = "rapid_user"
most = 3
"#;

/// A whole server with a socket, on a scaled clock.
struct Running {
    system: System,
    listening: Listening,
    key: String,
    _dir: TempDir,
}

impl Running {
    async fn start() -> Self {
        let dir = TempDir::new("simulate");
        let rules = dir.path().join("rules.toml");
        std::fs::write(&rules, RULES).expect("a folder of our own");
        // A redirect waits for a slow disk as long as it takes: an answer without an acknowledgement
        // would be an uncertain record.
        let settings = [
            ("SERVER__CLIENT_IP_HEADER", "x-forwarded-for"),
            ("CLICK__WAIT_MS_MAX", "60000"),
            ("RULES__FILE", rules.to_str().expect("a plain path")),
        ];
        let settings = [("SERVER__LISTEN", "127.0.0.1:0"), ("SERVER__ADMIN_LISTEN", "")]
            .into_iter()
            .chain(settings)
            .map(|(key, value)| (format!("RECKON__{key}"), value.to_owned()));
        let config = Config::load(None, settings).expect("good settings");
        let data = DataDir(dir.path().to_owned());
        let clock = Arc::new(Clock::new(FACTOR));
        let system =
            engines::start(config, &data, Arc::new(RealDisk), clock).await.expect("it starts");
        let listening = Listening::open(&system).await.expect("a free port");
        let key = system.fresh_admin_key.clone().expect("a fresh folder has a fresh key");
        Running { system, listening, key, _dir: dir }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    fn client(&self) -> Client {
        Client::new(&self.url(), Some(&self.key)).expect("a good address")
    }

    fn settings(&self, options: Options, visits_per_second: f64, seconds: u64) -> Settings {
        Settings {
            to: self.url(),
            key: self.key.clone(),
            options,
            visits_per_second,
            duration: Duration::from_secs(seconds),
            rules: simulate::rules(&self.system.app.config),
        }
    }

    async fn stop(self) {
        self.listening.close().await;
        self.system.stop().await.expect("it stops");
    }
}

/// A small market in which everything happens often: within six hours tastes change and ads begin.
fn options() -> Options {
    let often = Trouble::ALL.into_iter().fold(Troubles::usual(), |troubles, trouble| {
        let rate = match trouble {
            Trouble::OrderAgain | Trouble::Contradiction => 0.8,
            Trouble::Bot => 0.02,
            _ => (8.0 * troubles.rate(trouble)).min(0.3),
        };
        troubles.with(trouble, rate)
    });
    Options {
        user_count: 60,
        ad_count: 24,
        mean_ctr: 0.15,
        drift: Some(Drift { hour: 3.0, kept: 0.4 }),
        launch_hours: vec![1, 4],
        troubles: often,
        ..Options::new(7)
    }
}

/// By ad, start of the bucket, what, and reason.
type Lines = BTreeMap<(String, String, String, String), u64>;

/// What `/v1/metrics` answers.
async fn counted(client: &mut Client, granularity: &str) -> Lines {
    let path = format!(
        "/v1/metrics?from=1970-01-01T00:00:00Z&to=2199-12-01T00:00:00Z&granularity={granularity}\
         &group_by=ad_id,reason&metrics=clicks_gross,impressions,views,conversions"
    );
    let answer = client.get(&path).await.expect("the server answers");
    let mut lines = Lines::new();
    for row in answer["rows"].as_array().expect("rows") {
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        for (column, kind) in [
            ("clicks_gross", "click"),
            ("impressions", "impression"),
            ("views", "view"),
            ("conversions", "conversion"),
        ] {
            let count = row[column].as_u64().expect("a count");
            if count > 0 {
                let line = (text("ad_id"), text("bucket"), kind.to_owned(), text("reason"));
                lines.insert(line, count);
            }
        }
    }
    lines
}

/// What the truth file says must have been counted: clicks with every verdict, the rest where it
/// counts.
fn happened(counts: &Value, bucket: &str) -> Lines {
    let mut lines = Lines::new();
    for cell in counts.as_array().expect("cells") {
        let text = |name: &str| cell[name].as_str().expect("a text").to_owned();
        if text("kind") == "click" || text("verdict") == "counted" {
            let ad_id = cell["ad_id"].as_str().unwrap_or("(unknown)").to_owned();
            let line = (ad_id, text(bucket), text("kind"), text("verdict"));
            lines.insert(line, cell["count"].as_u64().expect("a count"));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_what_truly_happened() {
    let running = Running::start().await;
    let settings = running.settings(options(), 90.0, 10);
    let simulation = Simulation::prepare(&settings).await.expect("the market opens");
    simulation.run(&|_| {}).await.expect("the run ends");
    let comparison = simulation.settle().await.expect("the server answers");
    let truth = simulation.truth();
    let file = report::json(&simulation.traffic, &truth, settings.visits_per_second);
    assert_eq!(file["first_failure"], Value::Null, "a healthy server answers well");
    assert_eq!((&file["uncertain"], &file["near_border"]), (&json!(0), &json!(0)));
    assert_eq!(file["clock"]["first_violation"], Value::Null);

    let mut client = running.client();
    let hours = counted(&mut client, "1h").await;
    let expect = happened(&file["counts"], "hour");
    assert_eq!(hours, expect);
    assert!(expect.len() > 300, "{} figures are too few to prove anything", expect.len());
    assert!(comparison.holds(), "{comparison:?}");
    let by_minute = simulation.compare(Width::Minute).await.expect("the server answers");
    assert!(by_minute.holds() && by_minute.compared > comparison.compared, "{by_minute:?}");
    println!(
        "compared {} figures by ad, hour, kind and verdict, and {} by the minute",
        expect.len(),
        by_minute.compared
    );

    all_troubles_came(&file);
    rules_took_clicks(&truth);
    late_phones_are_in_their_minute(&file, &counted(&mut client, "1m").await);
    spend_is_the_price_of_what_counts(&file, &mut client).await;
    marked_records_are_a_part_of_all(&file);
    let launched = file["market"]["ads"].as_array().expect("ads").iter().filter(|ad| {
        let shown =
            |line: &(String, String, String, String)| Some(line.0.as_str()) == ad["ad_id"].as_str();
        ad["launch"] != file["clock"]["start"] && expect.keys().any(shown)
    });
    assert!(launched.count() > 2, "ads that begin later are shown");
    running.stop().await;
}

fn all_troubles_came(file: &Value) {
    for (name, times) in file["troubles"].as_object().expect("troubles") {
        println!("{name:<16}{times:>6} times");
        assert!(times.as_u64() > Some(0), "{name} never came");
    }
}

/// A person shares no address with another, so a click that a rule by address took is a machine's.
fn rules_took_clicks(truth: &Truth) {
    println!("taken by rules: {:?}", truth.taken);
    let of = |reason| truth.taken.get(&Verdict::Invalid(reason)).copied().unwrap_or(0);
    let rapid = [Reason::RapidUser, Reason::RapidIp, Reason::RapidIpAgent].map(of);
    assert!(rapid.into_iter().sum::<u64>() > 20, "machines were not found");
}

fn late_phones_are_in_their_minute(file: &Value, by_minute: &Lines) {
    let late = happened(&file["marked"]["late_phones"]["counts"], "minute");
    for (line, count) in &late {
        let counted = by_minute.get(line).copied().unwrap_or(0);
        assert!(counted >= *count, "{line:?}: {counted} counted, {count} of them late");
    }
    let records: u64 = late.values().sum();
    println!("{records} records of late phones in {} lines by the minute", late.len());
    assert!(records > 50, "{records} late records are too few");
}

async fn spend_is_the_price_of_what_counts(file: &Value, client: &mut Client) {
    let ads = file["market"]["ads"].as_array().expect("ads");
    let price = |ad: &Value| (ad["ad_id"].as_str().map(str::to_owned), ad["cpc_micros"].as_i64());
    let prices: BTreeMap<_, _> = ads.iter().map(price).collect();
    let expect: i64 = happened(&file["counts"], "hour")
        .into_iter()
        .filter(|((_, _, kind, verdict), _)| kind == "click" && verdict == "counted")
        .map(|((ad_id, ..), count)| prices[&Some(ad_id)].expect("a price") * count as i64)
        .sum();
    let path = "/v1/metrics?from=1970-01-01T00:00:00Z&to=2199-12-01T00:00:00Z&granularity=total\
                &metrics=spend_micros";
    let answer = client.get(path).await.expect("the server answers");
    assert_eq!(answer["rows"][0]["spend_micros"].as_i64(), Some(expect));
    assert!(expect > 0);
}

fn marked_records_are_a_part_of_all(file: &Value) {
    let sum = |counts: &Value| -> u64 {
        counts.as_array().expect("cells").iter().filter_map(|cell| cell["count"].as_u64()).sum()
    };
    let all = sum(&file["counts"]);
    for (name, subset) in file["marked"].as_object().expect("subsets") {
        let records = sum(&subset["counts"]);
        assert!((1..all).contains(&records), "{name}: {records} of {all} records");
    }
    let bots = &file["marked"]["bots"];
    assert_eq!(bots["addresses"].as_array().expect("addresses").len(), 3);
    assert!(
        bots["counts"]
            .as_array()
            .expect("cells")
            .iter()
            .any(|cell| cell["verdict"].as_str().is_some_and(|name| name.starts_with("rapid_")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_may_come_again() {
    let running = Running::start().await;
    let settings = running.settings(options(), 60.0, 1);
    for run in 0..2 {
        let simulation = Simulation::prepare(&settings).await.expect("the market opens");
        simulation.run(&|_| {}).await.expect("the run ends");
        let comparison = simulation.settle().await.expect("the server answers");
        let truth = simulation.truth();
        assert!(comparison.holds(), "run {run}: {comparison:?}");
        assert_eq!((truth.uncertain, truth.first_failure), (0, None));
        assert!(truth.counts.records() > 100, "{} records", truth.counts.records());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_clock_tells_when_a_request_was_received() {
    let running = Running::start().await;
    let mut client = running.client();
    let clock = Arc::clone(&running.system.app.edge.clock);
    let event = r#"[{"type":"click","ad_id":"nobody"}]"#;
    let serve = r#"{"placement":"top","count":1}"#;
    let calls = [
        (Call::get("/click?adId=nobody"), 404),
        (Call::get("/v1/impression?imp=x"), 200),
        (Call::get("/v1/view?imp=x"), 200),
        (Call::post("/v1/ads/serve", "application/json", serve), 200),
        (Call::post("/v1/events", "application/json", event), 200),
        (Call::post("/v1/events", "application/json", "[]"), 422),
    ];
    for (call, status) in calls {
        let before = clock.now();
        let answer = client.send(&call.clone().retry(Retry::Never)).await.expect("an answer");
        let after = clock.now();
        assert_eq!(answer.status.as_u16(), status, "{call:?}");
        let text = |name: &str| answer.headers[name].to_str().expect("ASCII");
        assert_eq!(text("reckon-clock"), format!("scaled:{FACTOR}"));
        let received = text("reckon-received");
        let (_, digits) = received.split_once('.').expect("microseconds");
        assert_eq!(digits.len(), "123456Z".len(), "{received}");
        let received = Timestamp::parse(received).expect("RFC 3339");
        assert!((before..=after).contains(&received), "{call:?}: {received}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_wall_s_clock_tells_nothing() {
    let house = House::new().await;
    house.register(&["a"]).await;
    let url = house.serve("ann").await["click_url"].as_str().expect("a URL").to_owned();
    let path = &url[url.find("/click").expect("a path")..];
    let served = house.post("/v1/ads/serve", &json!({"placement": "top"})).await;
    let events = house.post("/v1/events", &json!([{"type": "view", "ad_id": "a"}])).await;
    for answer in [house.browse(path).await, served, events] {
        assert!(answer.status < 400, "{answer:?}");
        assert_eq!((answer.header("reckon-received"), answer.header("reckon-clock")), ("", ""));
    }
}
