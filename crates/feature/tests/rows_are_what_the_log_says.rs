//! A row was served from the store; was it what the log says?
//!
//! Random histories with late events, hot users, verdicts taken back and given again, power cuts. Every
//! view that a request sees is held against a plain list of all events up to the cut: no tiles, no sums
//! kept, no shards. Numbers must be equal bit for bit.

#![expect(clippy::print_stdout, reason = "tests say what they compared")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_event::{Bound, Epoch, Kind, Position, Pseudonym, TenantId, Timestamp};
use reckon_feature::{
    Ad, Candidate, Change, Happened, Parts, Pasts, PastsOptions, Plan, Request, Rows, Views, ln,
};

const START: u32 = 1_790_000_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn ad_of(ad: u64) -> Ad {
    Ad { ad, campaign: 100 + ad % 3, category: 200 + ad % 4, ..Ad::default() }
}

fn event(random: &mut Random, second: u32) -> Happened {
    let ad = ad_of(1 + random.below(6));
    // User 1 is hot.
    let user = [0, 1, 1, 1, 2, 3, 4, 5][random.below(8) as usize];
    let parts = Parts {
        tenant: TenantId(1),
        user: Pseudonym(user),
        ad: ad.ad,
        campaign: ad.campaign,
        category: ad.category,
        page: random.below(3),
        geo: random.below(3),
        device: random.below(2),
        placement: 1 + random.below(2),
    };
    let kinds =
        [Kind::Impression, Kind::View, Kind::Click, Kind::Click, Kind::Conversion, Kind::Dwell];
    let kind = kinds[random.below(6) as usize];
    let amount = if matches!(kind, Kind::Click | Kind::Dwell) {
        random.below(90_000) * [1, 1, 70][random.below(3) as usize]
    } else {
        0
    };
    let late = [0, 0, 0, 40, 500, 5_000, 90_000, 3_000_000][random.below(8) as usize];
    Happened { parts, kind, amount, second: second - random.below(late + 1) as u32 }
}

/// All that the judge keeps: events as they came, and what became of each.
#[derive(Clone, Default)]
struct Judge {
    events: Vec<(Position, Happened, bool)>,
    admitted: Vec<bool>,
    /// By user: the minute that is counted, and how many have come.
    minutes: BTreeMap<u128, (u32, u32)>,
    liked: BTreeMap<u128, Vec<u64>>,
    clock: u32,
}

impl Judge {
    fn take(&mut self, change: &Change, events_max: u32) {
        match *change {
            Change::Counted(position, happened) => {
                let user = happened.parts.user.0;
                let minute = self.minutes.entry(user).or_default();
                if minute.0 != happened.second / 60 {
                    *minute = (happened.second / 60, 0);
                }
                minute.1 += 1;
                let admitted = minute.1 <= events_max;
                self.events.push((position, happened, true));
                self.admitted.push(admitted);
                self.clock = self.clock.max(happened.second);
                if admitted && happened.kind == Kind::Click {
                    self.like(user, happened.parts.category);
                }
            }
            Change::Revised(position, counts) => {
                let at = self.events.iter().position(|(other, ..)| *other == position);
                let Some(at) = at.filter(|&at| self.events[at].1.kind == Kind::Click) else {
                    return;
                };
                if counts && !self.events[at].2 && self.admitted[at] {
                    let parts = self.events[at].1.parts;
                    self.like(parts.user.0, parts.category);
                }
                self.events[at].2 = counts;
            }
        }
    }

    fn like(&mut self, user: u128, category: u64) {
        let liked = self.liked.entry(user).or_default();
        liked.retain(|&other| other != category);
        liked.push(category);
    }

    /// How many (or how much) of a kind happened to whoever fits, in a window of tiles.
    fn sum(
        &self,
        moment: u32,
        window: &str,
        fits: &dyn Fn(&Happened) -> bool,
        of: &dyn Fn(&Happened) -> u64,
        is_users: bool,
    ) -> u64 {
        let (width, tiles) = match window {
            "5m" => (30, 10),
            "1h" => (300, 12),
            "1d" => (3_600, 24),
            "7d" => (86_400, 7),
            "30d" => (86_400, 30),
            other => panic!("no window {other}"),
        };
        let mut sum = 0;
        for ((_, happened, counts), admitted) in self.events.iter().zip(&self.admitted) {
            let age = moment / width - happened.second / width;
            if *counts && age <= tiles && fits(happened) && (*admitted || !is_users) {
                sum += of(happened);
            }
        }
        sum
    }
}

fn rate(of: u64, per: u64, prior: f32, weight: f32) -> f32 {
    (of as f32 + prior * weight) / (per as f32 + weight)
}

/// One thing a column must be, by the judge's own reading of the plan's text.
fn expected(
    judge: &Judge,
    moment: u32,
    request: &Parts,
    candidate: &Candidate,
) -> Vec<(&'static str, f32)> {
    let impressions = |it: &Happened| u64::from(it.kind == Kind::Impression);
    let clicks = |it: &Happened| u64::from(it.kind == Kind::Click);
    let user = request.user;
    let ad = candidate.ad;
    let is_user = move |it: &Happened| it.parts.user == user;
    let is_ad = move |it: &Happened| it.parts.ad == ad.ad;
    let is_campaign = move |it: &Happened| it.parts.campaign == ad.campaign;
    let is_user_ad = move |it: &Happened| it.parts.user == user && it.parts.ad == ad.ad;
    let geo = request.geo;
    let is_ad_geo = move |it: &Happened| it.parts.ad == ad.ad && it.parts.geo == geo;
    let mut all = Vec::new();
    for (window, ctr, count) in [
        ("5m", "avg_ctr_5m", "click_count_5m"),
        ("1h", "avg_ctr_1h", "click_count_1h"),
        ("1d", "avg_ctr_1d", "click_count_1d"),
        ("7d", "avg_ctr_7d", "click_count_7d"),
        ("30d", "avg_ctr_30d", "click_count_30d"),
    ] {
        let clicked = judge.sum(moment, window, &is_user, &clicks, true);
        let shown = judge.sum(moment, window, &is_user, &impressions, true);
        all.push((ctr, rate(clicked, shown, 0.02, 30.0)));
        all.push((count, clicked as f32));
    }
    for (window, ctr) in [
        ("5m", "ad_ctr_5m"),
        ("1h", "ad_ctr_1h"),
        ("1d", "ad_ctr_1d"),
        ("7d", "ad_ctr_7d"),
        ("30d", "historical_ctr"),
    ] {
        let clicked = judge.sum(moment, window, &is_ad, &clicks, false);
        let shown = judge.sum(moment, window, &is_ad, &impressions, false);
        all.push((ctr, rate(clicked, shown, 0.02, 50.0)));
    }
    for (window, count, seen) in [
        ("1d", "user_ad_clicks_count_1d", "user_ad_impressions_count_1d"),
        ("30d", "user_ad_clicks_count_30d", "user_ad_impressions_count_30d"),
    ] {
        all.push((count, judge.sum(moment, window, &is_user_ad, &clicks, true) as f32));
        all.push((seen, judge.sum(moment, window, &is_user_ad, &impressions, true) as f32));
    }
    let pair = |fits: &dyn Fn(&Happened) -> bool, window| {
        (
            judge.sum(moment, window, fits, &clicks, false),
            judge.sum(moment, window, fits, &impressions, false),
        )
    };
    let odds = |own: (u64, u64), parent: (u64, u64), weight| {
        let bound = |number: f32| number.clamp(1e-6, 1.0 - 1e-6);
        let parent = bound(rate(parent.0, parent.1, 0.02, weight));
        let own = bound(rate(own.0, own.1, parent, weight));
        ln((own * (1.0 - parent)) / (parent * (1.0 - own)))
    };
    all.push((
        "ad_clicks_odds_to_campaign_1d",
        odds(pair(&is_ad, "1d"), pair(&is_campaign, "1d"), 50.0),
    ));
    all.push((
        "ad_geo_clicks_odds_to_ad_30d",
        odds(pair(&is_ad_geo, "30d"), pair(&is_ad, "30d"), 50.0),
    ));
    let spent = judge.sum(
        moment,
        "7d",
        &is_ad,
        &|it| if it.kind == Kind::Click { it.amount } else { 0 },
        false,
    );
    let clicked = pair(&is_ad, "7d").0;
    all.push((
        "ad_spend_mean_7d",
        if clicked == 0 { f32::NAN } else { spent as f32 / clicked as f32 * 0.000_001 },
    ));
    let dwelt = judge.sum(
        moment,
        "7d",
        &is_user,
        &|it| if it.kind == Kind::Dwell { it.amount } else { 0 },
        true,
    );
    let dwells = judge.sum(moment, "7d", &is_user, &|it| u64::from(it.kind == Kind::Dwell), true);
    all.push((
        "dwell_avg_7d",
        if dwells == 0 { f32::NAN } else { dwelt as f32 / dwells as f32 * 0.001 },
    ));
    let top = top(judge, moment, user);
    let matches = if top == 0 { f32::NAN } else { f32::from(u8::from(top == ad.category)) };
    all.push(("top_category_match", matches));
    all
}

fn top(judge: &Judge, moment: u32, user: Pseudonym) -> u64 {
    let liked = judge.liked.get(&user.0).cloned().unwrap_or_default();
    let mut best = (0, 0);
    for category in liked.into_iter().rev().take(8) {
        let fits = |it: &Happened| it.parts.user == user && it.parts.category == category;
        let count = judge.sum(moment, "30d", &fits, &|it| u64::from(it.kind == Kind::Click), true);
        if count > best.0 || count == best.0 && count > 0 && category < best.1 {
            best = (count, category);
        }
    }
    best.1
}

/// Holds a request's rows against the judge; says how many numbers it compared.
fn compare(pasts: &Pasts, judge: &Judge, random: &mut Random, now: u32) -> u64 {
    let user = Pseudonym(u128::from(1 + random.below(5)));
    let parts = Parts {
        tenant: TenantId(1),
        user,
        geo: 1 + random.below(2),
        placement: 1,
        ..Parts::default()
    };
    let request =
        Request { parts, now: Timestamp::from_seconds(i64::from(now)), ..Request::default() };
    let candidates: Vec<Candidate> =
        (1..=6).map(|ad| Candidate { ad: ad_of(ad), ..Candidate::default() }).collect();
    let (mut views, mut rows) = (Views::default(), Rows::default());
    let seen = pasts.look(&request, &candidates, &mut views);
    assert_eq!(seen.clock, judge.clock);
    let plan = pasts.plan();
    plan.rows(&request, &candidates, &mut views, &mut rows);
    let mut compared = 0;
    for (row, candidate) in rows.numeric.chunks_exact(plan.columns().len()).zip(&candidates) {
        for (name, expected) in expected(judge, views.moment(), &parts, candidate) {
            let at = plan.columns().iter().position(|column| column.name == name);
            let got = row[at.unwrap_or_else(|| panic!("the plan has no {name}"))];
            let fits = match name {
                // Whoever has no past has no numbers; the judge counts zeros.
                _ if got.is_nan() => expected.is_nan() || is_unseen(judge, name, &parts, candidate),
                _ => got.to_bits() == expected.to_bits(),
            };
            assert!(fits, "{name}: {got}, by the list {expected}");
            compared += 1;
        }
    }
    compared
}

fn is_unseen(judge: &Judge, name: &str, parts: &Parts, candidate: &Candidate) -> bool {
    let ad = candidate.ad.ad;
    let seen = |fits: &dyn Fn(&Happened) -> bool| judge.events.iter().any(|(_, it, _)| fits(it));
    let admitted = |fits: &dyn Fn(&Happened) -> bool| {
        judge.events.iter().zip(&judge.admitted).any(|((_, it, _), admitted)| *admitted && fits(it))
    };
    match name {
        _ if name.starts_with("user_ad") => {
            !admitted(&|it| it.parts.user == parts.user && it.parts.ad == ad)
        }
        _ if name.starts_with("ad_geo") => {
            !seen(&|it| it.parts.geo == parts.geo && it.parts.ad == ad)
        }
        _ if name.starts_with("ad") || name == "historical_ctr" => !seen(&|it| it.parts.ad == ad),
        _ => !seen(&|it| it.parts.user == parts.user),
    }
}

fn epoch(number: u64) -> Epoch {
    let bounds = vec![Bound { partition: 0, from: number - 1, to: number }];
    Epoch { stage: 1, group: 0, generation: 1, number, bounds }
}

fn changes(random: &mut Random, second: u32, offset: &mut u64) -> Vec<Change> {
    let count = random.below(40);
    let change = |random: &mut Random, offset: &mut u64| {
        if *offset > 0 && random.below(6) == 0 {
            let position =
                Position { partition: 0, offset: *offset - random.below((*offset).min(60)) };
            return Change::Revised(position, random.below(2) == 0);
        }
        *offset += 1;
        Change::Counted(Position { partition: 0, offset: *offset }, event(random, second))
    };
    (0..count).map(|_| change(random, offset)).collect()
}

#[test]
fn every_number_equals_that_of_a_plain_list_after_any_power_cut() {
    let text = reckon_feature::plan::DEFAULT
        .replace("user_events_a_minute_max = 100", "user_events_a_minute_max = 6")
        .replace("ttl_days = 40", "ttl_days = 90");
    let plan = Arc::new(Plan::parse(&text).expect("a plan"));
    let (mut compared, mut cuts) = (0, 0);
    for seed in 1..=12u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let sim = SimDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let open = || {
            let options = PastsOptions::default();
            Pasts::open(Arc::clone(&disk), Path::new("/pasts"), Arc::clone(&plan), options)
                .expect("opens")
        };
        let (mut pasts, _) = open();
        let mut history: Vec<(Vec<Change>, u32)> = Vec::new();
        let mut judge = Judge::default();
        let (mut second, mut offset) = (START, 0);
        for _ in 0..60 {
            second += [0, 1, 20, 200, 2_000, 40_000][random.below(6) as usize];
            history.push((changes(&mut random, second, &mut offset), second));
            let number = history.len() as u64;
            pasts.apply(&epoch(number), &history[history.len() - 1].0).expect("taken");
            for change in &history[history.len() - 1].0 {
                judge.take(change, 6);
            }
            compared += compare(&pasts, &judge, &mut random, second);
            match random.below(8) {
                0 | 1 => pasts.persist().expect("durable"),
                2 => {
                    // Power goes while a checkpoint is written, or at rest; the log feeds the rest.
                    sim.cut_power_at_sync(1 + random.below(3));
                    let _ = pasts.persist();
                    drop(pasts);
                    sim.crash(seed * 100 + number);
                    let (opened, damage) = open();
                    assert_eq!(damage, None);
                    pasts = opened;
                    for at in pasts.marks().applied..number {
                        pasts.apply(&epoch(at + 1), &history[at as usize].0).expect("again");
                    }
                    compared += compare(&pasts, &judge, &mut random, second);
                    cuts += 1;
                }
                _ => {}
            }
        }
    }
    assert!(compared > 50_000 && cuts > 20, "{compared} numbers, {cuts} power cuts");
    println!("{compared} numbers equal to a plain list's, {cuts} power cuts");
}

#[test]
fn a_field_is_the_same_beside_whatever_other_candidates() {
    let pasts = Pasts::new(Arc::new(Plan::default()), PastsOptions::default());
    let (plan, count) = (Arc::clone(pasts.plan()), pasts.plan().fields().len());
    let field = |name: &str| {
        plan.fields().iter().position(|field| field.name == name).expect("a field of the plan")
    };
    let whole = Ad { size: (300, 250), ..ad_of(1) };
    let ads = [whole, ad_of(2), Ad { category: 0, ..ad_of(3) }, whole, Ad { ad: 0, ..ad_of(1) }];
    let candidates: Vec<Candidate> = ads
        .iter()
        .zip(0..)
        .map(|(&ad, position)| Candidate { ad, position, ..Candidate::default() })
        .collect();
    let parts = Parts { tenant: TenantId(1), user: Pseudonym(9), geo: 4, ..Parts::default() };
    let now = Timestamp::from_seconds(START.into());
    let request = Request { parts, now, ..Request::default() };
    let keys = |candidates: &[Candidate]| {
        let (mut views, mut rows) = (Views::default(), Rows::default());
        pasts.look(&request, candidates, &mut views);
        plan.rows(&request, candidates, &mut views, &mut rows);
        rows.keys
    };
    let all = keys(&candidates);
    for (row, candidate) in all.chunks_exact(count).zip(&candidates) {
        assert_eq!(row, keys(std::slice::from_ref(candidate)));
        let is_there = |name: &str| row[field(name)] != 0;
        assert_eq!(is_there("ad_geo"), candidate.ad.ad != 0);
        assert_eq!(is_there("category_hour"), candidate.ad.category != 0);
        assert_eq!(is_there("creative_size"), candidate.ad.size != (0, 0));
        assert_eq!(is_there("position"), candidate.position != 0);
        assert!(!is_there("page") && !is_there("ad_page"), "the request names no page");
    }
    let row = |number: usize| &all[number * count..][..count];
    let apart: Vec<&str> = (0..count)
        .filter(|&at| row(0)[at] != row(3)[at])
        .map(|at| plan.fields()[at].name.as_str())
        .collect();
    assert_eq!(apart, ["position"], "the same ad twice");
    assert_ne!(row(0)[field("user_ad")], row(1)[field("user_ad")]);
}

#[test]
fn the_default_plan_has_what_it_says() {
    let plan = Plan::default();
    assert_eq!(plan.columns().len(), 150, "numeric columns");
    assert_eq!(plan.fields().len(), 24, "fields");
    assert!(plan.user_columns() > 50 && plan.user_fields() == 11);
    for name in [
        "avg_ctr_7d",
        "click_count_30d",
        "session_depth",
        "last_click_hours",
        "historical_ctr",
        "creative_size",
        "dwell_avg_7d",
        "quality_score",
    ] {
        assert!(plan.columns().iter().any(|column| column.name == name), "{name}");
    }
    let commented = format!("# a comment\n{}", reckon_feature::plan::DEFAULT);
    assert_eq!(Plan::parse(&commented).expect("a plan").version(), plan.version());
}

#[test]
fn what_does_not_fit_is_named() {
    let check = |from: &str, to: &str, told: &str| {
        let text = reckon_feature::plan::DEFAULT.replacen(from, to, 1);
        let error = Plan::parse(&text).expect_err(to).to_string();
        assert!(error.contains(told), "{error}");
    };
    check("ttl_days = 40", "ttl_days = 38", "ttl_days: must be 39 to 3650");
    check("entity = \"user\"", "entity = \"usr\"", "columns.usr.rate.entity: no entity `usr`");
    check("prior = 0.02", "prior = 2.0", "columns.user.rate.prior: must be above 0 and below 1");
    check("of = [\"user\"]", "of = [\"user\"]\ncolour = 1", "colour");
    check("against = \"user\"", "against = \"ad\"", "`ad` is of a candidate");
    check("name = \"weekday\"", "name = \"hour\"", "columns.hour: stands twice");
}

/// Each epoch shows every ad once, so at any cut all ads were shown equally often: as often as there were
/// epochs. Readers look while epochs go in.
#[test]
fn a_look_in_the_middle_of_an_epoch_is_of_one_cut() {
    const ADS: u64 = 300;
    const EPOCHS: u64 = 120;
    let pasts = Pasts::new(Arc::new(Plan::default()), PastsOptions::default());
    let plan = Arc::clone(pasts.plan());
    let shown = plan.columns().iter().position(|column| column.name == "ad_impressions_log_1d");
    let shown = shown.expect("a column of the plan");
    let shows = |user: u128, ad: u64| Happened {
        parts: Parts { tenant: TenantId(1), user: Pseudonym(user), ad, ..Parts::default() },
        kind: Kind::Impression,
        amount: 0,
        second: START,
    };
    let candidates: Vec<Candidate> = (1..=ADS)
        .map(|ad| Candidate { ad: Ad { ad, ..Ad::default() }, ..Candidate::default() })
        .collect();
    let look = || {
        let parts = Parts { tenant: TenantId(1), ..Parts::default() };
        let now = Timestamp::from_seconds(START.into());
        let request = Request { parts, now, ..Request::default() };
        let (mut views, mut rows) = (Views::default(), Rows::default());
        let seen = pasts.look(&request, &candidates, &mut views);
        plan.rows(&request, &candidates, &mut views, &mut rows);
        for row in rows.numeric.chunks_exact(plan.columns().len()) {
            let expected = if seen.epoch == 0 { f32::NAN } else { ln(1.0 + seen.epoch as f32) };
            assert_eq!(row[shown].to_bits(), expected.to_bits(), "at epoch {}", seen.epoch);
        }
        seen.epoch
    };
    let looks: u64 = std::thread::scope(|scope| {
        let reader = || {
            let mut looks = 0;
            while look() < EPOCHS {
                looks += 1;
            }
            looks
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for number in 1..=EPOCHS {
            // Ads in an order of its own, so that places in the memory are not theirs.
            let change = |at: u64| {
                let ad = 1 + (at * 7 + number) % ADS;
                let position = Position { partition: 0, offset: number * ADS + at };
                Change::Counted(position, shows(u128::from(at % 20) + 1, ad))
            };
            let changes: Vec<Change> = (0..ADS).map(change).collect();
            pasts.apply(&epoch(number), &changes).expect("in order");
        }
        readers.into_iter().map(|reader| reader.join().expect("no panic")).sum()
    });
    println!("{looks} looks beside {EPOCHS} epochs, {ADS} ads each");
}

/// All that a plan may ask of one entity, for so long that every tile is there, in counts that need two words.
#[test]
fn the_largest_past_there_can_be_is_kept() {
    let plan = Plan::parse(
        r#"
        ttl_days = 40
        user_events_a_minute_max = 1000000
        [[entity]]
        name = "user"
        of = ["user"]
        measures = ["impressions", "views", "clicks", "conversions", "dwells", "dwell_time", "hides", "shares", "spend"]
        windows = ["5m", "1h", "1d", "7d", "30d", "decayed"]
        [[columns]]
        entity = "user"
        transform = "count"
        measure = "spend"
        windows = ["5m", "1h", "1d", "7d", "30d"]
        default = 0.0
        [[known]]
        name = "hour"
        default = 12.0
        [[field]]
        name = "user"
        of = ["user"]
        "#,
    );
    let pasts = Pasts::new(Arc::new(plan.expect("a plan")), PastsOptions::default());
    let parts = Parts { tenant: TenantId(1), user: Pseudonym(9), ..Parts::default() };
    let price = 1 << 40;
    // A click a tile: days, the hours of the last, its tiles of 5 minutes, and of 30 seconds.
    let spans = [(86_400, 31), (3_600, 25), (300, 13), (30, 11)];
    let seconds: std::collections::BTreeSet<u32> = spans
        .iter()
        .flat_map(|&(width, count)| (0..count).map(move |n| START - n * width))
        .collect();
    let changes: Vec<Change> = seconds
        .iter()
        .zip(0..)
        .map(|(&second, offset)| {
            let happened = Happened { parts, kind: Kind::Click, amount: price, second };
            Change::Counted(Position { partition: 0, offset }, happened)
        })
        .collect();
    pasts.apply(&epoch(1), &changes).expect("in order");
    let request =
        Request { parts, now: Timestamp::from_seconds(START.into()), ..Request::default() };
    let (mut views, mut rows) = (Views::default(), Rows::default());
    pasts.look(&request, &[Candidate::default()], &mut views);
    pasts.plan().rows(&request, &[Candidate::default()], &mut views, &mut rows);
    for (number, (width, tiles)) in
        [(30, 10), (300, 12), (3_600, 24), (86_400, 7), (86_400, 30)].into_iter().enumerate()
    {
        let first = (START / width - tiles) * width;
        let clicks = seconds.iter().filter(|&&second| second >= first).count() as u64;
        assert_eq!(rows.numeric[number], (clicks * price) as f32 * 0.000_001, "tiles of {width} s");
    }
}

#[test]
fn a_person_who_is_forgotten_leaves_nothing_behind() {
    let plan = Arc::new(Plan::default());
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim);
    let open = || {
        let options = PastsOptions::default();
        Pasts::open(Arc::clone(&disk), Path::new("/pasts"), Arc::clone(&plan), options)
            .expect("opens")
            .0
    };
    let pasts = open();
    let mut random = Random(7);
    let (mut offset, mut all) = (0, Vec::new());
    while all.len() < 400 {
        all.extend(changes(&mut random, START, &mut offset));
    }
    pasts.apply(&epoch(1), &all).expect("taken");
    pasts.persist().expect("durable");
    let before = pasts.size().0;
    let gone = pasts.forget(TenantId(1), Pseudonym(1));
    assert!(gone > 5 && pasts.size().0 == before - gone, "{gone} of {before}");
    pasts.persist().expect("durable");
    drop(pasts);
    let pasts = open();
    assert_eq!(pasts.size().0, before - gone);
    assert_eq!(pasts.forget(TenantId(1), Pseudonym(1)), 0);
}

#[test]
fn many_are_forgotten_at_once() {
    let pasts = Pasts::new(Arc::new(Plan::default()), PastsOptions::default());
    let other = Pasts::new(Arc::new(Plan::default()), PastsOptions::default());
    let (mut random, mut offset) = (Random(7), 0);
    for number in 1..=30 {
        let changes = changes(&mut random, START, &mut offset);
        pasts.apply(&epoch(number), &changes).expect("taken");
        other.apply(&epoch(number), &changes).expect("taken");
    }
    let persons: Vec<_> = (0..9).map(|user| (TenantId(1), Pseudonym(user))).collect();
    let gone = pasts.forget_all(&persons);
    let one_by_one: usize = persons.iter().map(|&(tenant, user)| other.forget(tenant, user)).sum();
    assert!(gone > 20, "{gone}");
    assert_eq!((gone, pasts.size()), (one_by_one, other.size()));
    assert_eq!(pasts.forget_all(&persons), 0);
}

#[test]
fn a_checkpoint_that_was_cut_off_leaves_no_file_behind() {
    let plan = Arc::new(Plan::default());
    let (mut random, mut offset, mut left) = (Random(7), 0, 0);
    for seed in 1..=60 {
        let sim = SimDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let open = || {
            let options = PastsOptions::default();
            let opened =
                Pasts::open(Arc::clone(&disk), Path::new("/pasts"), Arc::clone(&plan), options);
            opened.expect("opens").0
        };
        let is_named = |path: &std::path::PathBuf| path.extension().is_none();
        let pasts = open();
        pasts.apply(&epoch(1), &changes(&mut random, START, &mut offset)).expect("taken");
        pasts.persist().expect("durable");
        pasts.apply(&epoch(2), &changes(&mut random, START, &mut offset)).expect("taken");
        sim.cut_power_at_sync(1 + seed % 3);
        let _ = pasts.persist();
        drop(pasts);
        sim.crash(seed);
        let listed = disk.list(Path::new("/pasts")).expect("a list");
        left += usize::from(!listed.iter().all(is_named));
        drop(open());
        let listed = disk.list(Path::new("/pasts")).expect("a list");
        assert!(listed.iter().all(is_named), "{listed:?}");
    }
    assert!(left > 0, "something was left to be removed");
}

#[test]
fn who_was_let_go_of_does_not_come_back_from_a_file() {
    let plan = Arc::new(Plan::default());
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let open = || {
        let options = PastsOptions { bytes_max: 64 << 20, ..PastsOptions::default() };
        let opened =
            Pasts::open(Arc::clone(&disk), Path::new("/pasts"), Arc::clone(&plan), options);
        opened.expect("opens").0
    };
    let pasts = open();
    let (mut number, mut offset) = (0, 0);
    let mut show = |count: u64| {
        let changes: Vec<Change> = (0..count)
            .map(|_| {
                offset += 1;
                let user = Pseudonym(u128::from(offset) << 64);
                let parts = Parts { tenant: TenantId(1), user, ..Parts::default() };
                let second = START + number as u32;
                let happened = Happened { parts, kind: Kind::Impression, amount: 0, second };
                Change::Counted(Position { partition: 0, offset }, happened)
            })
            .collect();
        number += 1;
        pasts.apply(&epoch(number), &changes).expect("in order");
    };
    while pasts.size().1 < 40 << 20 {
        show(5_000);
    }
    assert_eq!(pasts.evicted(), 0, "{:?}", pasts.size());
    pasts.persist().expect("a whole file");
    while pasts.evicted() == 0 {
        show(1_000);
    }
    pasts.persist().expect("a file of what has changed, or a whole one");
    let kept = pasts.size().0;
    drop(pasts);
    assert_eq!(open().size().0, kept);
}
