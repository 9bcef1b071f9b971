//! Who comes when and does what: all of it drawn from the seed, before or apart from any answer.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reckon_event::{Kind, Verdict, name_key};

use super::act::Act;
use super::truth::Cell;

const USERS: u32 = 5_000;
const REGIONS: [&str; 6] = ["DE", "FR", "US", "GB", "JP", "BR"];
const PLACEMENTS: [&str; 4] = ["home-top", "home-side", "article", "search"];
/// A click sooner after minting than this may be held to be a machine's.
const CLICK_AFTER: Duration = Duration::from_millis(300);

/// What a person holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A telephone.
    Mobile,
    /// A computer.
    Desktop,
    /// In between.
    Tablet,
}

impl Device {
    const ALL: [Device; 3] = [Device::Mobile, Device::Desktop, Device::Tablet];

    /// As events name it.
    pub const fn name(self) -> &'static str {
        match self {
            Device::Mobile => "mobile",
            Device::Desktop => "desktop",
            Device::Tablet => "tablet",
        }
    }

    /// As its browser names itself.
    pub const fn agent(self) -> &'static str {
        match self {
            Device::Mobile => {
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1"
            }
            Device::Desktop => {
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
            }
            Device::Tablet => {
                "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"
            }
        }
    }
}

/// Someone opens a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The how-manieth of the day.
    pub number: u64,
    /// When, after the day's start.
    pub at: Duration,
    /// Who.
    pub user: u32,
    /// From where.
    pub region: &'static str,
    /// With what.
    pub device: Device,
    /// Which page.
    pub placement: &'static str,
    /// How many ads it shows.
    pub ad_count: usize,
    /// It is no person, and says so.
    pub is_robot: bool,
}

impl Visit {
    /// The user as the page's server names them.
    pub fn user_id(&self) -> String {
        format!("day-user-{}", self.user)
    }
}

/// The visits of a day, in order: few at night, many at noon.
pub fn visits(seed: u64, duration: Duration, per_second: f64, ad_count: usize) -> Vec<Visit> {
    let mut random = StdRng::seed_from_u64(seed);
    let day = duration.as_secs_f64();
    let mut visits = Vec::new();
    let mut at = 0.0;
    loop {
        let rate = per_second * day_curve(at / day);
        // Time to the next arrival of a Poisson process with this rate.
        at += -(1.0 - random.random::<f64>()).ln() / rate;
        if at >= day || ad_count == 0 {
            return visits;
        }
        let number = visits.len() as u64;
        visits.push(visit(&mut random, number, Duration::from_secs_f64(at), ad_count));
    }
}

/// Traffic by the share of the day that is over; 1 in the mean.
fn day_curve(share: f64) -> f64 {
    1.0 - 0.8 * (TAU * share).cos()
}

fn visit(random: &mut StdRng, number: u64, at: Duration, ad_count: usize) -> Visit {
    // Some come often: the square draws low numbers more often than high ones.
    let user = (random.random::<f64>().powi(2) * f64::from(USERS)) as u32;
    Visit {
        number,
        at,
        user,
        region: REGIONS[user as usize % REGIONS.len()],
        device: Device::ALL[user as usize / REGIONS.len() % Device::ALL.len()],
        placement: PLACEMENTS[random.random_range(0..PLACEMENTS.len())],
        ad_count: random.random_range(1..=3.min(ad_count)),
        is_robot: random.random_bool(0.04),
    }
}

/// One thing that is done with an ad, some time after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long after.
    pub after: Duration,
    /// What.
    pub act: Act,
}

/// How likely a shown ad is to be clicked: a property of the ad, between 5 and 35 %.
pub fn appeal(seed: u64, ad_id: &str) -> f64 {
    let mut random = StdRng::seed_from_u64(seed ^ name_key(ad_id));
    0.05 + 0.3 * random.random::<f64>().powi(2)
}

/// What happens with one shown ad.
pub fn steps(random: &mut StdRng, appeal: f64) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |millis: u64, act| steps.push(Step { after: Duration::from_millis(millis), act });
    let often = |random: &mut StdRng, share: f64| random.random_bool(share);
    if often(random, 0.97) {
        add(random.random_range(1..80), Act::Impression);
        if often(random, 0.03) {
            add(random.random_range(100..200), Act::Impression);
        }
        if often(random, 0.7) {
            add(random.random_range(100..250), Act::View);
        }
    }
    if often(random, 0.02) {
        add(random.random_range(20..250), Act::Scan);
    }
    if often(random, 0.02) {
        add(random.random_range(20..250), Act::Prefetch);
    }
    let click = CLICK_AFTER.as_millis() as u64 + random.random_range(0..1_200);
    if often(random, appeal) {
        let copies = if often(random, 0.08) { random.random_range(1..=3) } else { 0 };
        (0..=copies).for_each(|copy| add(click + 40 * copy, Act::Click));
    }
    for (share, act) in [(0.01, Act::Forge), (0.01, Act::Unsigned), (0.005, Act::Unknown)] {
        if often(random, share) {
            add(click + 7, act);
        }
    }
    steps
}

/// Events that a server sends for its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The events, in order.
    pub events: Vec<Sent>,
    /// How often the whole batch is sent.
    pub times: usize,
    user_id: String,
    region: &'static str,
    device: Device,
}

/// One event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    event_id: String,
    ad_id: String,
    kind: Kind,
    placement: &'static str,
    /// What it becomes when the batch is sent for the first time.
    verdict: Verdict,
}

/// The batch that comes with a visit; most come without.
pub fn batch(random: &mut StdRng, visit: &Visit, ads: &[String]) -> Option<Batch> {
    if !random.random_bool(0.1) {
        return None;
    }
    let mut events: Vec<Sent> = Vec::new();
    for number in 0..random.random_range(1..=8_u32) {
        let event = Sent {
            event_id: format!("day-{}-{number}", visit.number),
            ad_id: ads[random.random_range(0..ads.len())].clone(),
            kind: if random.random_bool(0.3) { Kind::Conversion } else { Kind::Click },
            placement: visit.placement,
            verdict: Verdict::Counted,
        };
        events.push(event.clone());
        if random.random_bool(0.1) {
            events.push(Sent { verdict: Verdict::Duplicate, ..event.clone() });
        }
        if random.random_bool(0.05) {
            events.push(Sent { verdict: Verdict::Conflict, placement: "elsewhere", ..event });
        }
    }
    let times = if random.random_bool(0.1) { 2 } else { 1 };
    let (region, device) = (visit.region, visit.device);
    Some(Batch { events, times, user_id: visit.user_id(), region, device })
}

impl Batch {
    /// As NDJSON.
    pub fn body(&self) -> String {
        let mut body = String::new();
        for event in &self.events {
            // All texts are our own, and nothing in them needs to be escaped.
            writeln!(
                body,
                "{{\"type\":\"{}\",\"ad_id\":\"{}\",\"user_id\":\"{}\",\"event_id\":\"{}\",\
                 \"placement\":\"{}\",\"region\":\"{}\",\"device_type\":\"{}\"}}",
                event.kind.name(),
                event.ad_id,
                self.user_id,
                event.event_id,
                event.placement,
                self.region,
                self.device.name(),
            )
            .expect("a string takes everything");
        }
        body
    }

    /// What its events must become. A batch that comes again brings what is known already: the same
    /// payload is a duplicate, another one contradicts again.
    pub fn outcomes(&self) -> Vec<Cell> {
        let again =
            |verdict| if verdict == Verdict::Counted { Verdict::Duplicate } else { verdict };
        let cell =
            |event: &Sent, verdict| Cell { ad_id: event.ad_id.clone(), kind: event.kind, verdict };
        let first = self.events.iter().map(|event| cell(event, event.verdict));
        let later = (1..self.times)
            .flat_map(|_| self.events.iter().map(|event| cell(event, again(event.verdict))));
        first.chain(later).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(100);

    #[test]
    fn the_seed_decides_the_day() {
        let day = visits(7, DAY, 50.0, 8);
        assert_eq!(day, visits(7, DAY, 50.0, 8));
        assert_ne!(day, visits(8, DAY, 50.0, 8));
        assert!((4_700..5_300).contains(&day.len()), "{} visits", day.len());
        assert!(day.is_sorted_by_key(|visit| visit.at) && day.iter().all(|visit| visit.at < DAY));
    }

    #[test]
    fn noon_is_busier_than_night() {
        let day = visits(7, DAY, 50.0, 8);
        let within = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            day.iter().filter(|visit| visit.at >= from && visit.at < to).count()
        };
        assert!(within(40, 60) > 4 * within(0, 10) && within(40, 60) > 4 * within(90, 100));
    }

    #[test]
    fn everything_that_can_happen_does() {
        let mut random = StdRng::seed_from_u64(1);
        let all: Vec<Step> = (0..5_000).flat_map(|_| steps(&mut random, 0.2)).collect();
        for act in [
            Act::Impression,
            Act::View,
            Act::Click,
            Act::Scan,
            Act::Prefetch,
            Act::Forge,
            Act::Unsigned,
            Act::Unknown,
        ] {
            assert!(all.iter().filter(|step| step.act == act).count() > 10, "{act:?}");
        }
        assert!(all.iter().all(|step| step.act != Act::Click || step.after >= CLICK_AFTER));
    }

    #[test]
    fn a_batch_that_comes_again_adds_no_counted_event() {
        let ads = vec!["a".to_owned(), "b".to_owned()];
        let day = visits(7, DAY, 50.0, 2);
        let mut random = StdRng::seed_from_u64(1);
        let batches: Vec<Batch> =
            day.iter().filter_map(|visit| batch(&mut random, visit, &ads)).collect();
        let mut again = 0;
        for batch in &batches {
            let outcomes = batch.outcomes();
            assert_eq!(outcomes.len(), batch.times * batch.events.len());
            assert_eq!(batch.body().lines().count(), batch.events.len());
            let ids: std::collections::HashSet<_> =
                batch.events.iter().map(|event| &event.event_id).collect();
            let counted = outcomes.iter().filter(|cell| cell.verdict == Verdict::Counted).count();
            assert_eq!(counted, ids.len());
            again += batch.times - 1;
        }
        assert!(batches.len() > 300 && again > 10, "{} batches, {again} again", batches.len());
    }

    #[test]
    fn ads_differ_in_appeal() {
        let appeals: Vec<f64> = ["a", "b", "c"].map(|ad| appeal(1, ad)).to_vec();
        assert!(
            appeals.iter().all(|appeal| (0.05..0.35).contains(appeal)) && appeals[0] != appeals[1]
        );
    }
}
