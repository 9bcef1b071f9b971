//! A person is erased while their events come in: no row of the lake leads back to them, nobody's
//! figure changes, nothing is computed of them again, and a server that is killed in the middle goes on
//! where it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Epoch, Kind, Position, TenantId, Timestamp};
use reckon_feature::{Change, Happened, Parts};
use reckon_server::erasure;
use serde_json::{Value, json};

use crate::harness::House;
use crate::process::{Client, Process, reckon};

const RULES: &str = "version = 1\n[[rule]]\nreason = \"double_click\"\nwithin_ms = 30000\n\
    [[rule]]\nreason = \"rapid_ip\"\nmost = 3\n";
/// The address the batches say their events came from.
const ADDRESS: &str = "192.0.2.7";

/// A house with rules that compare clicks, at the beginning of a minute.
async fn house(folder: &TempDir) -> House {
    let path = folder.path().join("rules.toml");
    std::fs::write(&path, RULES).expect("a folder of our own");
    let file = path.to_str().expect("a plain path");
    let settings = [("RULES__ENABLED", "true"), ("RULES__TOO_FAST_MS", "0"), ("RULES__FILE", file)];
    let house = House::with(&settings, Arc::new(RealDisk)).await;
    house.register(&["a", "b"]).await;
    next_minute(&house);
    house
}

fn next_minute(house: &House) {
    let within = house.clock.now().0.rem_euclid(Timestamp::MINUTE);
    house.clock.step(Timestamp::MINUTE - within + 5 * Timestamp::SECOND);
}

fn path_of(served: &Value, name: &str) -> String {
    let url = served[name].as_str().expect("a URL");
    url[url.find("reckon.test").expect("our host") + "reckon.test".len()..].to_owned()
}

/// An ad that is shown to somebody, and what clicks it.
async fn shown(house: &House, user: &str) -> String {
    let served = house.serve(user).await;
    assert_eq!(house.browse(&path_of(&served, "impression_url")).await.status, 200);
    path_of(&served, "click_url")
}

async fn click(house: &House, path: &str) {
    assert_eq!(house.browse(path).await.status, 302);
}

/// What the app of a user sends: an id of its own each, one install.
async fn batch(house: &House, user: &str, install: &str, numbers: std::ops::Range<u32>) {
    let event = |number: u32| {
        json!({"type": "click", "ad_id": "b", "user_id": user, "event_id": format!("{user}-{number}"),
               "install_id": install, "session_id": format!("{install}-session"), "ip": ADDRESS,
               "region": "DE", "request_id": format!("{user}-request")})
    };
    let events: Vec<Value> = numbers.map(event).collect();
    let answer = house.post("/v1/events", &json!(events)).await;
    assert_eq!(answer.json()["accepted"], events.len(), "{answer:?}");
}

async fn ok(house: &House, method: &str, path: &str) -> Value {
    let answer = house.write(method, path, &json!({}), None).await;
    assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    answer.json()
}

async fn sql(house: &House, query: &str) -> Vec<Value> {
    house.settle().await;
    let answer = house.post("/v1/sql", &json!({ "query": query })).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()["rows"].as_array().expect("rows").clone()
}

async fn count(house: &House, condition: &str) -> u64 {
    let rows = sql(house, &format!("SELECT count(*) AS n FROM records WHERE {condition}")).await;
    rows[0]["n"].as_u64().expect("a number")
}

/// Figures of every kind.
async fn figures(house: &House) -> Vec<Value> {
    let mut rows = house.rows("granularity=1m&group_by=ad_id,region,device,reason").await;
    rows.extend(house.rows("granularity=total&group_by=placement,position").await);
    assert!(rows.len() > 5, "{rows:?}");
    rows
}

/// The recount comes to the figures, and to how many.
async fn reconciled(house: &House) {
    house.clock.step(3 * Timestamp::MINUTE);
    let report = house.post("/v1/reconciliations", &json!({})).await.json();
    assert_eq!(report["equal"], true, "{report:#}");
    assert!(report["figures"].as_u64() >= Some(5), "{report:#}");
}

/// Parquet files in the folder of the lake, and those among them that the lake knows.
async fn files(house: &House) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let root = house.app().dir.lake();
    let mut there = BTreeSet::new();
    walk(&root, &mut there);
    let known = reckon_lake::Manifest::latest(&house.app().lake_place).await.expect("it reads");
    let known = known.expect("a lake").files.into_iter().map(|file| root.join(file.path));
    (there, known.collect())
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("our folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.insert(path);
        }
    }
}

/// Nothing in the lake leads to a user: neither a row, nor a file that is not of it any more.
async fn leaves_no_trace(house: &House, user: &str, install: &str) {
    let data = ok(house, "GET", &format!("/v1/users/{user}/data")).await;
    assert_eq!((&data["records"], &data["features"]), (&json!([]), &Value::Null), "{data:#}");
    let who = data["pseudonym"].as_str().expect("digits");
    let traces = format!(
        "pseudonym = '{who}' OR install_id = '{install}' OR session_id = '{install}-session' \
         OR event_id LIKE '{user}-%' OR request_id = '{user}-request'"
    );
    assert_eq!(count(house, &traces).await, 0, "{user}");
    let (there, known) = files(house).await;
    assert!(known.len() > 1, "{known:?}");
    // Files that were merged stay for a while, and go at any time: there must be no trace in them either.
    let files = there.union(&known).filter_map(|path| Some((path, std::fs::read(path).ok()?)));
    let mut looked_at = 0;
    for (path, bytes) in files {
        looked_at += 1;
        for text in [who, install] {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{text} stands in {}", path.display());
        }
    }
    assert!(looked_at > 1, "files were there to be looked at");
}

/// One day of three users, two of whom share an install; all of them share addresses.
async fn a_day(house: &House) -> String {
    for (user, install) in [("u", "install-7a"), ("v", "install-7a"), ("w", "install-7b")] {
        let path = shown(house, user).await;
        click(house, &path).await;
        click(house, &path).await;
        batch(house, user, install, 0..3).await;
    }
    shown(house, "u").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_leaves_every_figure_and_no_trace() {
    let folder = TempDir::new("erased");
    let mut house = house(&folder).await;
    let late = a_day(&house).await;
    reconciled(&house).await;
    let before = figures(&house).await;
    let data = ok(&house, "GET", "/v1/users/u/data?limit=2").await;
    assert_eq!(
        (&data["erasure"], data["records"].as_array().map(Vec::len)),
        (&Value::Null, Some(2))
    );
    let who = data["pseudonym"].as_str().expect("digits").to_owned();
    let rows = count(&house, &format!("pseudonym = '{who}'")).await;
    assert!(rows > 6, "{rows}");
    assert_eq!(all_pages(&house, "u").await, rows);

    // Somebody clicks in the minute in which the person is erased, before and after.
    next_minute(&house);
    let path = shown(&house, "v").await;
    click(&house, &path).await;
    batch(&house, "v", "install-7a", 3..5).await;
    let erased = ok(&house, "DELETE", "/v1/users/u").await;
    assert_eq!((&erased["state"], &erased["proof"]["rows"]), (&json!("erased"), &json!(rows)));
    assert!(erased["proof"]["files_rewritten"].as_u64() > Some(0), "{erased:#}");
    assert_eq!(erased["traces_left"][0]["place"], "log", "{erased:#}");
    leaves_no_trace(&house, "u", "install-7a").await;
    click(&house, &late).await;
    click(&house, &shown(&house, "w").await).await;
    // A copy of what came before is a copy still, and what is new is the same person's.
    batch(&house, "u", "install-7a", 1..5).await;
    batch(&house, "v", "install-7a", 4..6).await;
    let second = ok(&house, "DELETE", "/v1/users/v").await;
    assert_eq!(second["state"], "erased");
    batch(&house, "w", "install-7a", 5..7).await;
    click(&house, &shown(&house, "v").await).await;
    reconciled(&house).await;
    leaves_no_trace(&house, "u", "install-7a").await;
    leaves_no_trace(&house, "v", "install-7a").await;
    let now = figures(&house).await;
    assert!(before.iter().all(|row| row["bucket"].is_null() || now.contains(row)), "{now:#?}");

    let clicks = house.clicks_by_reason().await;
    assert!(
        clicks["duplicate"] >= 3 && clicks["rapid_ip"] > 3 && clicks["double_click"] > 0,
        "{clicks:?}"
    );
    house.restart().await;
    assert_eq!(figures(&house).await, now);
    reconciled(&house).await;
    leaves_no_trace(&house, "u", "install-7a").await;
    let again = ok(&house, "DELETE", "/v1/users/u").await;
    let repeats = &again["proof"]["repeats"];
    assert!(repeats["count"].as_u64() > Some(0) && repeats["rows"].as_u64() > Some(3), "{again:#}");
    assert_eq!(again["proof"]["files"], erased["proof"]["files"], "the first proof stands");
    println!("{rows} rows of one person replaced, {} later", repeats["rows"]);
}

/// How many records all pages have together.
async fn all_pages(house: &House, user: &str) -> u64 {
    let (mut records, mut after) = (0, String::new());
    loop {
        let page = ok(house, "GET", &format!("/v1/users/{user}/data?limit=2{after}")).await;
        records += page["records"].as_array().expect("records").len() as u64;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return records,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_can_come_any_more_the_secrets_go() {
    let folder = TempDir::new("erased");
    let mut house = house(&folder).await;
    a_day(&house).await;
    ok(&house, "DELETE", "/v1/users/u").await;
    let stone = stone(&house, "u").await;
    let key = stone.work.as_ref().expect("it is at work").key;
    house.restart().await;
    assert!(books_have(&house, &key), "it is kept while it is needed");
    house.clock.step(stone.quiet_at.since(house.clock.now()) + Timestamp::MINUTE);
    batch(&house, "u", "new-phone", 10..12).await;
    let nobody = "pseudonym IS NULL AND install_id = 'new-phone' AND event_id LIKE 'u-1%'";
    assert_eq!(count(&house, nobody).await, 2, "nobody names the person any more");
    erasure::sweep(Arc::clone(house.app())).await.expect("it is swept");
    assert_eq!(ok(&house, "GET", "/v1/users/u/data").await["erasure"]["state"], "erased");
    house.clock.step(erasure::GRACE);
    erasure::sweep(Arc::clone(house.app())).await.expect("it is swept");
    let data = ok(&house, "GET", "/v1/users/u/data").await;
    assert_eq!((&data["erasure"]["state"], &data["records"]), (&json!("settled"), &json!([])));
    assert!(self::stone(&house, "u").await.work.is_none(), "the key is gone");
    house.restart().await;
    assert!(!books_have(&house, &key), "also from the file");
    assert_eq!(ok(&house, "DELETE", "/v1/users/u").await["proof"], data["erasure"]["proof"]);
    // Without the secrets a new lake could not be rid of the person.
    let data = house.stop().await;
    let refused = reckon(&["rebuild"], data.path());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("nothing was removed"), "{said}");
    assert!(data.path().join("lake").is_dir() && data.path().join("count").is_dir());
}

/// Whether bytes stand in the file of the books, which a restart has brought up to date.
fn books_have(house: &House, bytes: &[u8]) -> bool {
    let app = house.app();
    let file = app.dir.books(&app.config).expect("a file");
    let books = std::fs::read(file).expect("it reads");
    books.windows(bytes.len()).any(|window| window == bytes)
}

async fn stone(house: &House, user: &str) -> reckon_books::Tombstone {
    let app = house.app();
    let person = app.edge.secrets.pseudonyms.pseudonym(TenantId::DEFAULT, user);
    app.books.tombstone(TenantId::DEFAULT, person).await.expect("it reads").expect("a tombstone")
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_unknown_is_erased_too_and_only_for_their_tenant() {
    let house = House::new().await;
    let erased = ok(&house, "DELETE", "/v1/users/nobody%2Fat%20all").await;
    assert_eq!(
        (&erased["user_id"], &erased["proof"]["rows"]),
        (&json!("nobody/at all"), &json!(0))
    );
    assert_eq!(erased["proof"]["files_rewritten"], 0);
    let app = house.app();
    let stones = app.books.tombstones(None).await.expect("it reads");
    assert_eq!(stones.iter().map(|(tenant, ..)| *tenant).collect::<Vec<_>>(), [TenantId::DEFAULT]);
    for (method, path) in [("DELETE", "/v1/users/x"), ("GET", "/v1/users/x/data")] {
        let refused = house.ask(method, path, &[], axum::body::Body::empty()).await;
        assert_eq!(refused.status, 401, "{refused:?}");
    }
    let long = format!("/v1/users/{}", "x".repeat(200));
    assert_eq!(house.write("DELETE", &long, &json!({}), None).await.status, 400);
}

/// The probability of a click on an ad.
async fn p_click(house: &House, user: &str, consent: Value) -> f64 {
    house.settle().await;
    let asked = json!({"user_id": user, "ad_candidates": ["a"], "consent": consent, "mint": 0});
    let answer = house.post("/api/predict", &asked).await.json();
    answer["predictions"][0]["p_click"].as_f64().expect("a probability")
}

/// Counters of ads fade from one question to the next, by far less than a user's are worth.
fn is_about(one: f64, other: f64) -> bool {
    (one / other - 1.0).abs() < 0.01
}

async fn has_features(house: &House, user: &str) -> bool {
    house.settle().await;
    let app = house.app();
    let person = app.edge.secrets.pseudonyms.pseudonym(TenantId::DEFAULT, user);
    let read = app.features.read(&[erasure::entity(TenantId::DEFAULT, person)]).await;
    read.expect("it reads").counters[0].is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_computed_of_who_was_erased() {
    let mut house = House::new().await;
    house.register(&["a"]).await;
    let mut late = String::new();
    for round in 0..40 {
        click(&house, &shown(&house, "fan").await).await;
        late = shown(&house, &format!("other-{round}")).await;
    }
    let late_of_fan = shown(&house, "fan").await;
    let known = p_click(&house, "fan", Value::Null).await;
    let refused = p_click(&house, "fan", json!(false)).await;
    assert!(known > 1.2 * refused && has_features(&house, "fan").await, "{known} {refused}");
    ok(&house, "DELETE", "/v1/users/fan").await;
    assert!(!has_features(&house, "fan").await, "they are gone at once");
    let unknown = p_click(&house, "fan", Value::Null).await;
    assert!(is_about(unknown, refused), "as if nobody had asked: {unknown} {refused}");

    click(&house, &late_of_fan).await;
    click(&house, &shown(&house, "fan").await).await;
    let event = json!({"type": "click", "ad_id": "a", "user_id": "fan", "event_id": "e"});
    assert_eq!(house.post("/v1/events", &json!([event])).await.status, 200);
    assert!(!has_features(&house, "fan").await, "none are built again");
    house.restart().await;
    assert!(!has_features(&house, "fan").await, "neither by a restart");
    let (unknown, refused) =
        (p_click(&house, "fan", Value::Null).await, p_click(&house, "x", json!(0)).await);
    assert!(is_about(unknown, refused), "{unknown} {refused}");
    click(&house, &late).await;
    assert!(has_features(&house, "other-39").await, "others go on");
    let of_fan = ok(&house, "GET", "/v1/users/fan/data").await;
    assert_eq!(of_fan["features"], Value::Null);
}

/// An event that was on its way when the person was erased comes into their pasts behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_forgets_pasts_that_were_built_meanwhile() {
    let house = House::new().await;
    house.register(&["a"]).await;
    for user in ["fan", "other"] {
        click(&house, &shown(&house, user).await).await;
    }
    ok(&house, "DELETE", "/v1/users/fan").await;
    let app = house.app();
    let pasts = app.edge.scorer.predictor.pasts().expect("columns are on");
    let person = |user| app.edge.secrets.pseudonyms.pseudonym(TenantId::DEFAULT, user);
    assert_eq!(pasts.forget(TenantId::DEFAULT, person("fan")), 0);
    let parts = Parts { tenant: TenantId::DEFAULT, user: person("fan"), ..Parts::default() };
    let second = u32::try_from(house.clock.now().seconds()).expect("a second of this century");
    let happened = Happened { parts, kind: Kind::Impression, amount: 0, second };
    let late = Change::Counted(Position { partition: 0, offset: 1 << 40 }, happened);
    let next = |generation| Epoch {
        stage: 1,
        group: 0,
        generation,
        number: pasts.marks().applied + 1,
        bounds: Vec::new(),
    };
    let Err(reckon_feature::Error::Fenced(generation)) = pasts.apply(&next(0), &[]) else {
        panic!("generations begin with 1");
    };
    let before = pasts.size().0;
    pasts.apply(&next(generation), &[late]).expect("it is the next one");
    assert!(pasts.size().0 > before, "it came in");
    erasure::sweep(Arc::clone(app)).await.expect("it sweeps");
    assert_eq!(pasts.forget(TenantId::DEFAULT, person("fan")), 0, "of who was erased");
    assert!(pasts.forget(TenantId::DEFAULT, person("other")) > 0, "others stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_leaves_no_features() {
    let house = House::new().await;
    house.register(&["a"]).await;
    for (user, consent, kept) in [
        ("no", json!(false), false),
        ("zero", json!(0), false),
        ("bits", json!(6), false),
        ("yes", json!(true), true),
        ("more", json!(3), true),
        ("unsaid", Value::Null, true),
    ] {
        let asked = json!({"placement": "top", "user_id": user, "count": 1, "consent": consent});
        let served = house.post("/v1/ads/serve", &asked).await.json()["ads"][0].clone();
        house.browse(&path_of(&served, "impression_url")).await;
        click(&house, &path_of(&served, "click_url")).await;
        let event = json!({"type": "click", "ad_id": "a", "user_id": user, "consent": consent,
                           "event_id": format!("{user}-1")});
        assert_eq!(house.post("/v1/events", &json!([event])).await.status, 200);
        assert_eq!(has_features(&house, user).await, kept, "{user}");
    }
    let clicks = house.clicks_by_reason().await;
    assert_eq!(clicks["counted"], 12, "all of them are counted: {clicks:?}");
}

/// A server on a folder, and its key.
fn start(data: &Path) -> (Process, String) {
    let server = Process::start(data);
    let key = std::fs::read_to_string(data.join("admin.key")).expect("kept");
    (server, key.trim().to_owned())
}

fn asked(client: &mut Client, path: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = client.get(path).expect("the server answers");
        if answer.status == 200 {
            return answer.json();
        }
        // Files of the lake may go while they are read.
        assert!(answer.status == 503 && Instant::now() < deadline, "{answer:?}");
    }
}

/// Waits until a person is erased, by whoever asked before.
fn wait_erased(client: &mut Client, user: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let data = asked(client, &format!("/v1/users/{user}/data"));
        match data["erasure"]["state"].as_str() {
            Some("erased") => return data,
            state => assert!(Instant::now() < deadline && state == Some("asked"), "{data:#}"),
        }
    }
}

fn send(client: &mut Client, user: &str, count: u32) {
    let event = |number: u32| {
        json!({"type": "click", "ad_id": "a", "user_id": user, "event_id": format!("{user}-{number}"),
               "install_id": format!("{user}-phone"), "ip": ADDRESS})
    };
    let events: Vec<Value> = (0..count).map(event).collect();
    assert_eq!(client.post("/v1/events", &json!(events)).status, 200);
}

fn rows_of(client: &mut Client, condition: &str) -> u64 {
    let query = format!("SELECT count(*) AS n FROM records WHERE {condition}");
    let answer = client.post("/v1/sql", &json!({ "query": query }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["rows"][0]["n"].as_u64().expect("a number")
}

const EVENTS: u32 = 300;
const ROUNDS: usize = 6;

#[test]
fn a_server_that_is_killed_while_it_erases_goes_on() {
    let data = TempDir::new("erased-killed");
    let (mut server, key) = start(data.path());
    let mut client = server.connect().with_key(&key);
    for (path, body) in [
        ("/v1/advertisers", json!({"advertiser_id": "x", "name": "x", "currency": "EUR"})),
        (
            "/v1/campaigns",
            json!({"campaign_id": "c", "advertiser_id": "x", "name": "c", "cpc_micros": 1, "status": "active"}),
        ),
        (
            "/v1/ads",
            json!({"ad_id": "a", "campaign_id": "c", "destination_url": "https://x.example/", "status": "active"}),
        ),
    ] {
        assert_eq!(client.post(path, &body).status, 201);
    }
    let mut resumed = 0;
    for round in 0..ROUNDS {
        let user = format!("user-{round}");
        send(&mut client, &user, EVENTS);
        crate::settle(&mut client);
        resumed += u64::from(killed_while(&server, &key, &user, round));
        server.kill();
        (server, _) = start(data.path());
        client = server.connect().with_key(&key);
        let known = asked(&mut client, &format!("/v1/users/{user}/data"));
        if known["erasure"].is_null() {
            // It had not heard of it: whoever got no answer asks again.
            assert_eq!(client.ask("DELETE", &format!("/v1/users/{user}"), "").unwrap().status, 200);
        }
        judge(&mut client, &user);
    }
    server = broken_off(server, data.path(), &key);
    client = server.connect().with_key(&key);
    assert_eq!(rows_of(&mut client, "install_id LIKE '%-phone'"), 0);
    let clicks =
        asked(&mut client, "/v1/metrics?from=1970-01-01T00:00:00Z&to=2199-12-01T00:00:00Z");
    let expected = u64::from(EVENTS) * (ROUNDS as u64 + 1);
    assert_eq!(clicks["rows"][0]["clicks_gross"], expected, "{clicks}");
    server.kill();
    rebuilt(data.path(), &key, expected);
    println!("killed {ROUNDS} times while erasing, {resumed} without an answer");
}

/// Counting the log again, which still has everyone's records, brings nobody back.
fn rebuilt(data: &Path, key: &str, clicks: u64) {
    let rebuilt = reckon(&["rebuild"], data);
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let (server, _) = start(data);
    let mut client = server.connect().with_key(key);
    assert_eq!(rows_of(&mut client, "install_id LIKE '%-phone'"), 0);
    assert_eq!(rows_of(&mut client, "kind = 3"), clicks);
}

/// Asks for an erasure and kills the server when so many other requests were answered meanwhile. True
/// where it died before it answered.
fn killed_while(server: &Process, key: &str, user: &str, requests: usize) -> bool {
    std::thread::scope(|scope| {
        let mut eraser = server.connect().with_key(key);
        let path = format!("/v1/users/{user}");
        let erasing = scope.spawn(move || eraser.ask("DELETE", &path, "").is_err());
        let mut other = server.connect();
        for _ in 0..requests * 40 {
            other.get("/healthz").expect("it lives");
        }
        server.signal_kill();
        erasing.join().expect("no panic")
    })
}

fn judge(client: &mut Client, user: &str) {
    let data = wait_erased(client, user);
    let rows = &data["erasure"]["proof"]["rows"];
    assert_eq!((rows, &data["records"]), (&json!(EVENTS), &json!([])), "{data:#}");
    assert_eq!(rows_of(client, &format!("install_id = '{user}-phone'")), 0);
}

/// An erasure that cannot be finished, because a file is not there, is one that was asked for: it goes
/// on when the server starts again.
fn broken_off(server: Process, data: &Path, key: &str) -> Process {
    let mut client = server.connect().with_key(key);
    send(&mut client, "last", EVENTS);
    crate::settle(&mut client);
    assert!(!asked(&mut client, "/v1/users/last/data")["records"].as_array().unwrap().is_empty());
    let mut files = BTreeSet::new();
    walk(&data.join("lake"), &mut files);
    files.retain(|path| !path.components().any(|part| part.as_os_str() == "revisions"));
    let aside = data.join("aside");
    std::fs::create_dir(&aside).expect("room");
    let moved: Vec<(PathBuf, PathBuf)> = files
        .into_iter()
        .enumerate()
        .map(|(at, path)| (path, aside.join(at.to_string())))
        .collect();
    moved.iter().for_each(|(path, to)| std::fs::rename(path, to).expect("our folder"));
    let refused = client.ask("DELETE", "/v1/users/last", "").expect("the server answers");
    assert_eq!(refused.status, 503, "{refused:?}");
    server.kill();
    moved.iter().for_each(|(path, from)| std::fs::rename(from, path).expect("our folder"));
    let (server, _) = start(data);
    judge(&mut server.connect().with_key(key), "last");
    server
}
