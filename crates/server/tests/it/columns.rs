//! A model was trained on other numbers than it was asked with: the row in the data set was not the row
//! that was served.
//!
//! Here requests, impressions and clicks go through the front door. Then the lake is read as training
//! reads it, and everything that was counted is counted into fresh pasts, epoch by epoch; whenever these
//! have come to the cut that a row names, the row is computed once more. It must be the row that was
//! logged, and the row that training takes, bit for bit. Profiles change while all this goes on, and
//! afterwards: a row has what was said when it was served.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{UInt8Type, UInt16Type, UInt64Type};
use reckon_event::{
    Bound, Columns, Epoch, Kind, Position, Pseudonym, Record, ServedRows, TenantId, Timestamp,
    Verdict, name_key, prediction_id,
};
use reckon_feature::{
    Ad, Candidate, Change, Happened, Parts, Pasts, PastsOptions, Plan, Request, Rows, Views,
};
use reckon_lake::{LakePlace, LakeReader, Table};
use reckon_train::lake::{LakeOptions, read};
use serde_json::json;

use crate::harness::House;
use crate::predict::records;

const CATEGORIES: [&str; 3] = ["shoes", "books", "tea"];
const LOCALES: [&str; 2] = ["de", "fr"];

/// What one request said, and what its user had said of themselves by then.
#[derive(Clone, Copy)]
struct Asked {
    visitor: usize,
    interests: &'static [&'static str],
    geo: &'static str,
    device: &'static str,
    placement: &'static str,
}

async fn register(house: &House) {
    let advertiser = json!({"advertiser_id": "shop", "name": "Shop", "currency": "EUR"});
    assert_eq!(house.post("/v1/advertisers", &advertiser).await.status, 201);
    let campaign = json!({"campaign_id": "spring", "advertiser_id": "shop", "name": "Spring",
        "cpc_micros": 1_500, "status": "active"});
    assert_eq!(house.post("/v1/campaigns", &campaign).await.status, 201);
    for number in 0..6 {
        let ad = json!({"ad_id": format!("ad-{number}"), "campaign_id": "spring",
            "destination_url": "https://shop.example/", "status": "active",
            "category": CATEGORIES[number % 3], "creative_size": "300x250",
            "locale": LOCALES[number % 2], "quality": number as f64 / 8.0});
        assert_eq!(house.post("/v1/ads", &ad).await.status, 201);
    }
}

/// What a visitor likes, another thing every other round.
fn interests(visitor: usize, round: usize) -> &'static [&'static str] {
    &CATEGORIES[..(visitor + round / 2) % 4]
}

async fn say(house: &House, visitor: usize, round: usize) {
    let profile = json!({"user_id": format!("user-{visitor}"), "locale": LOCALES[visitor % 2],
        "interests": interests(visitor, round)});
    assert_eq!(house.post("/v1/users", &profile).await.status, 200);
}

/// Serves, shows and clicks: each round knows of those before it.
async fn visit(house: &House, asked: Asked, round: usize) {
    let body = json!({"placement": asked.placement, "user_id": format!("user-{}", asked.visitor),
        "count": 3, "context": {"geo": asked.geo, "device": asked.device}});
    let served = house.post("/v1/ads/serve", &body).await;
    assert_eq!(served.status, 200, "{served:?}");
    for (place, ad) in served.json()["ads"].as_array().expect("ads").iter().enumerate() {
        let path = |name: &str| {
            let url = ad[name].as_str().expect("a URL");
            url.strip_prefix("http://reckon.test").expect("of this server").to_owned()
        };
        house.browse(&path("impression_url")).await;
        if (round + asked.visitor + place).is_multiple_of(3) {
            house.browse(&path("click_url")).await;
        }
    }
}

/// A record of the log, where it stands.
#[derive(Clone)]
struct Logged {
    position: Position,
    kind: Kind,
    happened: Option<Happened>,
    user: Pseudonym,
    served: Option<ServedRows>,
}

fn logged(house: &House) -> Vec<Logged> {
    records(house, |position, record: &Record<'_>| {
        let is_row = record.kind == Kind::Prediction;
        Some(Logged {
            position,
            kind: record.kind,
            happened: Happened::of(record, true),
            user: record.user,
            served: is_row.then(|| ServedRows::decode(record.payload).expect("it is a row")),
        })
    })
}

/// Which records counted, as the lake says.
fn verdicts(lake: &LakeReader) -> HashMap<(u16, u64), u8> {
    let mut verdicts = HashMap::new();
    for file in lake.manifest().files.iter().filter(|file| file.table == Table::Records) {
        for rows in lake.rows(file, &["log_partition", "log_offset", "verdict"]).expect("a file") {
            let rows = rows.expect("rows");
            let partitions = rows.column(0).as_primitive::<UInt16Type>();
            let offsets = rows.column(1).as_primitive::<UInt64Type>();
            let codes = rows.column(2).as_primitive::<UInt8Type>();
            for row in (0..rows.num_rows()).filter(|&row| codes.is_valid(row)) {
                verdicts.insert((partitions.value(row), offsets.value(row)), codes.value(row));
            }
        }
    }
    verdicts
}

/// The rows of one request, computed from everything that counted below a cut.
fn computed_again(
    plan: &Arc<Plan>,
    log: &[Logged],
    verdicts: &HashMap<(u16, u64), u8>,
    served: &ServedRows,
    (user, asked): (Pseudonym, Asked),
    registered: &[Timestamp],
) -> Vec<(Columns, Columns)> {
    let pasts = Pasts::new(Arc::clone(plan), PastsOptions::default());
    let is_below = |position: &Position| {
        let end = served.columns_cut.get(usize::from(position.partition));
        end.is_some_and(|&end| position.offset < end)
    };
    let counted = log.iter().filter(|one| is_below(&one.position)).filter(|one| {
        let verdict = verdicts.get(&(one.position.partition, one.position.offset));
        verdict == Some(&Verdict::Counted.code())
    });
    let changes: Vec<Change> =
        counted.filter_map(|one| Some(Change::Counted(one.position, one.happened?))).collect();
    let bounds = served.columns_cut.iter().zip(0..);
    let bounds = bounds.map(|(&to, partition)| Bound { partition, from: 0, to }).collect();
    let epoch = Epoch { stage: 1, group: 0, generation: 1, number: 1, bounds };
    pasts.apply(&epoch, &changes).expect("taken");
    let interests: Vec<u64> = asked.interests.iter().map(|interest| name_key(interest)).collect();
    let request = Request {
        locale: name_key(LOCALES[asked.visitor % 2]),
        interests: &interests,
        parts: Parts {
            tenant: TenantId::DEFAULT,
            user,
            geo: name_key(asked.geo),
            device: name_key(asked.device),
            placement: name_key(asked.placement),
            ..Parts::default()
        },
        now: served.at,
        ..Request::default()
    };
    let candidates: Vec<Candidate> =
        served.candidates.iter().map(|one| candidate(one.ad_key, registered)).collect();
    let (mut views, mut rows) = (Views::default(), Rows::default());
    pasts.look(&request, &candidates, &mut views);
    plan.rows(&request, &candidates, &mut views, &mut rows);
    let (columns, fields) = (plan.columns().len(), plan.fields().len());
    let rows = rows.numeric.chunks(columns).zip(rows.keys.chunks(fields));
    rows.map(|(numeric, keys)| {
        let (shared, own) = numeric.split_at(plan.user_columns());
        let (shared_keys, own_keys) = keys.split_at(plan.user_fields());
        let part = |numeric: &[f32], keys: &[u64]| Columns {
            numeric: numeric.to_vec(),
            keys: keys.to_vec(),
        };
        (part(shared, shared_keys), part(own, own_keys))
    })
    .collect()
}

fn candidate(ad_key: u64, registered: &[Timestamp]) -> Candidate {
    let number = (0..6).find(|number| name_key(&format!("ad-{number}")) == ad_key);
    let number = number.expect("one of ours");
    let category = CATEGORIES[number % 3];
    let ad = Ad {
        ad: ad_key,
        campaign: name_key("spring"),
        category: name_key(category),
        size: (300, 250),
        locale: name_key(LOCALES[number % 2]),
        quality: Some(number as f32 / 8.0),
        created: Some(registered[number]),
    };
    Candidate { ad, price: 1_500, position: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_trained_on_the_rows_it_was_asked_with() {
    let house = House::new().await;
    register(&house).await;
    let mut asked = Vec::new();
    for round in 0..12 {
        for visitor in 0..4 {
            say(&house, visitor, round).await;
            let one = Asked {
                visitor,
                interests: interests(visitor, round),
                geo: ["DE", "FR"][(round + visitor) % 2],
                device: ["mobile", "desktop"][visitor % 2],
                placement: ["top", "side"][round % 2],
            };
            visit(&house, one, round).await;
            asked.push(one);
        }
        house.settle().await;
    }
    // Late enough that every row's window has passed.
    house.clock.step(2 * Timestamp::HOUR);
    house.browse("/click?adId=ad-1").await;
    house.settle().await;
    let log = logged(&house);
    let mut registered = Vec::new();
    for number in 0..6 {
        let ad = house.get(&format!("/v1/ads/ad-{number}")).await.json();
        let at = ad["created_at"].as_str().expect("a time");
        registered.push(Timestamp::parse(at).expect("a time"));
    }
    let dir = house.stop().await;
    let place = LakePlace::folder(&Path::new(dir.path()).join("lake")).expect("a lake");
    let compared = tokio::task::spawn_blocking(move || compare(place, &log, &asked, &registered));
    let (rows, numbers, known) = compared.await.expect("no panic");
    println!("{rows} rows trained on, {numbers} numbers equal bit for bit, {known} of them known");
    assert!(rows > 100 && known > rows * 20, "{rows} rows, {known} numbers known");
}

fn compare(
    place: LakePlace,
    log: &[Logged],
    asked: &[Asked],
    registered: &[Timestamp],
) -> (usize, usize, usize) {
    let plan = Arc::new(Plan::default());
    let lake = LakeReader::open(place).expect("it opens").expect("a lake");
    let verdicts = verdicts(&lake);
    let mut served: Vec<(Pseudonym, &ServedRows)> =
        log.iter().filter_map(|one| Some((one.user, one.served.as_ref()?))).collect();
    served.sort_by_key(|(_, served)| served.at);
    assert_eq!(served.len(), asked.len(), "a request's rows fit into one record");
    let mut logged = HashMap::new();
    let mut cuts: Vec<&[u64]> = Vec::new();
    for (&(user, rows), &one) in served.iter().zip(asked) {
        assert_eq!(rows.plan, plan.version());
        cuts.push(&rows.columns_cut);
        let again = computed_again(&plan, log, &verdicts, rows, (user, one), registered);
        for (candidate, (shared, own)) in rows.candidates.iter().zip(again) {
            assert_eq!(rows.shared_columns, shared, "what was served at {}", rows.at);
            assert_eq!(candidate.columns, own, "what was served at {}", rows.at);
            logged.insert(prediction_id(rows.request, candidate.index), (shared, own));
        }
    }
    let of_matches = |name: &str| {
        let at = plan.columns().iter().position(|column| column.name == name).expect("a column");
        let numbers = logged
            .values()
            .map(|(_, own): &(Columns, Columns)| own.numeric[at - plan.user_columns()]);
        let (no, yes): (Vec<f32>, Vec<f32>) =
            numbers.filter(|number| !number.is_nan()).partition(|&number| number == 0.0);
        (no.len(), yes.len())
    };
    for name in ["interest_match", "locale_match"] {
        let (no, yes) = of_matches(name);
        assert!(no > 20 && yes > 20, "{name}: {no} do not match, {yes} do");
    }
    cuts.dedup();
    assert!(cuts.len() >= 12, "rows are of {} cuts", cuts.len());
    let (mut rows, mut numbers, mut known, mut clicked) = (0, 0, 0, 0);
    let options = LakeOptions::new(TenantId::DEFAULT, plan.version());
    let counts = read(&lake, &options, &mut |row| {
        let (shared, own) = &logged[&prediction_id(row.served.request, row.candidate.index)];
        assert_eq!((&row.served.shared_columns, &row.candidate.columns), (shared, own));
        let all = || shared.numeric.iter().chain(&own.numeric);
        rows += 1;
        numbers += all().count() + shared.keys.len() + own.keys.len();
        known += all().filter(|number| !number.is_nan()).count();
        clicked += usize::from(row.is_clicked);
    })
    .expect("it reads");
    assert_eq!(
        counts.taken as usize,
        log.iter().filter(|one| one.kind == Kind::Impression).count()
    );
    assert_eq!(counts.clicked as usize, clicked);
    assert!(clicked > 30 && clicked < rows, "{counts:?}");
    (rows, numbers, known)
}
