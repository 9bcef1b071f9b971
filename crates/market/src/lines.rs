//! Impressions of the market as text lines of Vowpal Wabbit, for learners that read files.
//!
//! ```text
//! 1 |u m1-user-5 |a m1-ad-007 |c m1-campaign-01 |k sport |s 300x250 |p page-12 |g tech |l home
//!   |d mobile |r DE |h h13 |o p2 |x m1-user-5^sport |y m1-ad-007^mobile |z tech^sport |w DE^sport
//!   |v mobile^sport
//! ```
//!
//! The label is 1 for a click and -1 for none. Namespaces are u(ser), a(d), c(ampaign), k(ind of ad),
//! s(ize), p(age), g (what the page is about), l (placement), d(evice), r(egion), h(our), o (position),
//! and the crosses that matter. Each visit shows one to four distinct ads chosen by chance, so that
//! what is learned is not what an earlier model chose. The lines cover one day from midnight.

use std::io::Write as _;

use reckon_event::Timestamp;

use crate::random::{Random, Stream};
use crate::world::{CATEGORIES, REGIONS, SIZES};
use crate::{Curve, Market, Scene, Visit, Visitor};

/// Draws impressions and writes them as text.
#[derive(Debug)]
pub struct Lines<'a> {
    market: &'a Market,
    curve: Curve,
    count: u64,
    visit: u64,
    truth: LinesTruth,
}

/// What is known of lines that were written.
#[derive(Clone, Debug, Default)]
pub struct LinesTruth {
    /// Lines.
    pub lines: u64,
    /// Of them clicks.
    pub clicks: u64,
    /// Sum of the true probabilities.
    pub expected_clicks: f64,
    loss: f64,
    expected_loss: f64,
    /// True probabilities with the click.
    scores: Vec<(f32, bool)>,
}

impl<'a> Lines<'a> {
    /// The first `count` impressions of the market's lines. What goes wrong between person and counter
    /// is left out.
    pub fn new(market: &'a Market, count: u64) -> Self {
        let curve = Curve::new(Timestamp(0), Timestamp::DAY);
        Lines { market, curve, count, visit: 0, truth: LinesTruth::default() }
    }

    /// Appends the lines of the next visit to `out`; false where there are no more.
    pub fn append(&mut self, out: &mut Vec<u8>) -> bool {
        if self.truth.lines >= self.count {
            return false;
        }
        let at = self.curve.at(self.truth.lines as f64 / self.count as f64);
        let visit = self.market.visit(self.visit, at, &self.curve);
        let mut random = Random::of(self.market.options.seed, Stream::Choices, self.visit);
        self.visit += 1;
        if let (Visitor::Person(user), Some(scene)) = (visit.visitor, visit.scene(at, &self.curve))
        {
            let writer = Writer::new(self.market, &visit, &scene, user);
            for (index, ad) in self.choose(&mut random, &visit, scene.hours).into_iter().enumerate()
            {
                let position = u16::try_from(index + 1).expect("few ads are shown");
                let probability = self.market.probability(&scene, ad, position);
                let clicked = random.chance(probability);
                writer.line(out, ad, position, clicked);
                self.truth.note(probability, clicked);
                if self.truth.lines == self.count {
                    break;
                }
            }
        }
        true
    }

    /// What is known of the lines so far.
    pub fn truth(&self) -> &LinesTruth {
        &self.truth
    }

    /// Distinct ads that have begun, by chance.
    fn choose(&self, random: &mut Random, visit: &Visit, hours: f64) -> Vec<usize> {
        let ads = &self.market.ads;
        let mut chosen = Vec::with_capacity(visit.ad_count);
        // Most draws are taken; the bound is for markets of very few ads.
        for _ in 0..100 {
            let ad = random.below(ads.len());
            if f64::from(ads[ad].launch_hour) <= hours && !chosen.contains(&ad) {
                chosen.push(ad);
            }
            if chosen.len() == visit.ad_count {
                break;
            }
        }
        chosen
    }
}

/// Writes the lines of one visit.
struct Writer<'a> {
    market: &'a Market,
    user_id: &'a str,
    page_category: &'static str,
    /// What all lines have: page, device, region, hour.
    shared: String,
    device: &'static str,
    region: &'static str,
}

impl<'a> Writer<'a> {
    fn new(market: &'a Market, visit: &Visit, scene: &Scene, user: usize) -> Self {
        let page = &market.pages[visit.page];
        let page_category = CATEGORIES[page.category];
        let (device, region) = (visit.device.name(), REGIONS[visit.region]);
        let shared = format!(
            "|p page-{} |g {page_category} |l {} |d {device} |r {region} |h h{}",
            visit.page, page.placement, scene.hour_of_day
        );
        Writer {
            market,
            user_id: &market.users[user].user_id,
            page_category,
            shared,
            device,
            region,
        }
    }

    fn line(&self, out: &mut Vec<u8>, ad: usize, position: u16, clicked: bool) {
        let Writer { market, user_id, page_category, shared, device, region } = self;
        let ad = &market.ads[ad];
        let (ad_id, category, size) = (&ad.ad_id, CATEGORIES[ad.category], SIZES[ad.size]);
        let campaign_id = &market.campaigns[ad.campaign].campaign_id;
        let label = if clicked { "1" } else { "-1" };
        writeln!(
            out,
            "{label} |u {user_id} |a {ad_id} |c {campaign_id} |k {category} |s {size} {shared} \
             |o p{position} |x {user_id}^{category} |y {ad_id}^{device} |z {page_category}^{category} \
             |w {region}^{category} |v {device}^{category}"
        )
        .expect("memory takes everything");
    }
}

impl LinesTruth {
    fn note(&mut self, probability: f64, clicked: bool) {
        self.lines += 1;
        self.clicks += u64::from(clicked);
        self.expected_clicks += probability;
        let (of_click, of_none) = (-probability.ln(), -(-probability).ln_1p());
        self.loss += if clicked { of_click } else { of_none };
        self.expected_loss += probability * of_click + (1.0 - probability) * of_none;
        self.scores.push((probability as f32, clicked));
    }

    /// Log loss of the true probabilities over the clicks as they were drawn. No learner beats it but
    /// by luck.
    pub fn log_loss(&self) -> f64 {
        self.loss / self.lines.max(1) as f64
    }

    /// The same in the mean over all draws.
    pub fn expected_log_loss(&self) -> f64 {
        self.expected_loss / self.lines.max(1) as f64
    }

    /// Log loss of the mean click rate.
    pub fn constant_log_loss(&self) -> f64 {
        let rate = self.clicks as f64 / self.lines.max(1) as f64;
        if rate == 0.0 || rate == 1.0 {
            return 0.0;
        }
        -(rate * rate.ln() + (1.0 - rate) * (1.0 - rate).ln())
    }

    /// Area under the curve of the true probabilities; 0.5 where all or none were clicked.
    pub fn auc(&self) -> f64 {
        let mut scores = self.scores.clone();
        scores.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut below, mut pairs) = (0.0, 0.0);
        for tied in scores.chunk_by(|one, other| one.0 == other.0) {
            let clicks = tied.iter().filter(|(_, clicked)| *clicked).count() as f64;
            let others = tied.len() as f64 - clicks;
            pairs += clicks * (below + others / 2.0);
            below += others;
        }
        let all = self.clicks as f64 * (self.lines - self.clicks) as f64;
        if all == 0.0 { 0.5 } else { pairs / all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use std::collections::{HashMap, HashSet};

    fn lines(seed: u64, count: u64) -> (String, LinesTruth) {
        let market = Market::new(Options::new(seed));
        let mut lines = Lines::new(&market, count);
        let mut out = Vec::new();
        while lines.append(&mut out) {}
        (String::from_utf8(out).expect("all names are text"), lines.truth().clone())
    }

    #[test]
    fn the_seed_decides_the_lines_and_their_number_is_exact() {
        let (text, truth) = lines(1, 1_001);
        assert_eq!(text, lines(1, 1_001).0);
        assert_ne!(text, lines(2, 1_001).0);
        assert_eq!((text.lines().count(), truth.lines), (1_001, 1_001));
        let clicks = text.lines().filter(|line| line.starts_with("1 |")).count();
        assert_eq!(clicks as u64, truth.clicks);
    }

    #[test]
    fn a_line_has_all_namespaces_once() {
        let (text, _) = lines(1, 500);
        for line in text.lines() {
            let (label, features) = line.split_once(" |").expect("a label");
            assert!(label == "1" || label == "-1", "{line}");
            let spaces: Vec<&str> = features
                .split(" |")
                .map(|feature| feature.split(' ').next().expect("a name"))
                .collect();
            let expect = "u a c k s p g l d r h o x y z w v";
            assert_eq!(spaces, expect.split(' ').collect::<Vec<_>>(), "{line}");
            assert!(!features.contains(':'), "a colon would begin a number: {line}");
        }
    }

    #[test]
    fn ads_are_chosen_evenly_and_only_once_they_have_begun() {
        let (text, _) = lines(1, 40_000);
        let market = Market::new(Options::new(1));
        let mut shown: HashMap<usize, u64> = HashMap::new();
        let mut first: HashSet<usize> = HashSet::new();
        for (at, line) in text.lines().enumerate() {
            let id =
                line.split(" |a ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an ad");
            let ad = market.ad_index(id).expect("it is of this market");
            *shown.entry(ad).or_default() += 1;
            if at < 2_000 {
                first.insert(ad);
            }
        }
        assert!(first.iter().all(|&ad| market.ads[ad].launch_hour == 0));
        assert_eq!(shown.len(), market.ads.len());
        let early = (0..80).filter(|&ad| market.ads[ad].launch_hour == 0).map(|ad| shown[&ad]);
        let (least, most) = (early.clone().min().expect("some"), early.max().expect("some"));
        assert!(least * 3 > most * 2, "{least} to {most}");
    }

    #[test]
    fn the_truth_knows_more_than_the_mean() {
        let (_, truth) = lines(1, 50_000);
        assert!((0.03..0.06).contains(&(truth.clicks as f64 / truth.lines as f64)), "{truth:?}");
        assert!(
            (truth.expected_clicks - truth.clicks as f64).abs()
                < 4.0 * truth.expected_clicks.sqrt()
        );
        assert!(truth.log_loss() < truth.constant_log_loss() - 0.005);
        assert!((truth.log_loss() - truth.expected_log_loss()).abs() < 0.006);
        assert!((0.7..0.85).contains(&truth.auc()), "{}", truth.auc());
    }

    #[test]
    fn the_area_under_the_curve_shares_ties() {
        let mut truth = LinesTruth::default();
        for (probability, clicked) in [(0.1, false), (0.5, true), (0.5, false), (0.9, true)] {
            truth.note(probability, clicked);
        }
        assert_eq!(truth.auc(), 0.875);
        assert_eq!(LinesTruth::default().auc(), 0.5);
    }
}
