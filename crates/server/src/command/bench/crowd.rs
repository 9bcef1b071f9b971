//! Who is asked about in predictions: users and ads by Zipf, and some that nobody has seen before.
//!
//! A few users and ads take most of the traffic, as in the real world, so caches work as well as they
//! do there and no better. A tenth of the requests is of users who never came before, a tenth of the
//! candidates of ads that were never shown: they take the way of what is not known.

use std::collections::HashSet;
use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::mint::Rendered;
use super::wire::post_head;
use crate::command::client::{Address, catalog};

/// The share of requests whose user is new, and of candidates that are.
const COLD_SHARE: f64 = 0.1;
/// Ads of one campaign.
const CAMPAIGN_ADS: u32 = 100;
/// Distinct requests; further ones repeat them.
const REQUESTS_MAX: usize = 4_096;
/// Memory for the requests of one size.
const REQUEST_BYTES_MAX: usize = 64 << 20;
const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
const REGIONS: [&str; 8] = ["DE", "US", "FR", "GB", "JP", "BR", "IN", "PL"];

/// Users and ads.
pub struct Crowd {
    users: Zipf,
    ads: Zipf,
    /// Ads that are never shown; their numbers follow those of the others.
    ads_cold: u32,
    random: StdRng,
    new_users: u64,
}

/// Ranks from 0, each drawn in proportion to one over its number (from 1).
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new(count: u32) -> Self {
        let mut sum = 0.0;
        let add = |rank: u32| {
            sum += 1.0 / f64::from(rank);
            sum
        };
        Zipf { sums: (1..=count).map(add).collect() }
    }

    fn draw(&self, random: &mut StdRng) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let drawn = random.random::<f64>() * all;
        self.sums.partition_point(|&sum| sum <= drawn).min(self.sums.len().saturating_sub(1))
    }
}

impl Crowd {
    /// So many users and ads, of which a tenth is cold. The same seed asks the same.
    pub fn new(users: u32, ads: u32, seed: u64) -> Self {
        let ads_cold = (f64::from(ads) * COLD_SHARE) as u32;
        Crowd {
            users: Zipf::new(users),
            ads: Zipf::new(ads - ads_cold),
            ads_cold,
            random: StdRng::seed_from_u64(seed),
            new_users: 0,
        }
    }

    /// All campaigns, as they are registered: shown at no placement but the benchmark's.
    pub fn campaigns(&self) -> Vec<Value> {
        let campaign = |number| {
            let mut campaign = catalog::campaign(&campaign_id(number), "bench", 1_000);
            campaign["targeting"] = serde_json::json!({"placements": ["bench"]});
            campaign
        };
        (0..self.ad_count().div_ceil(CAMPAIGN_ADS)).map(campaign).collect()
    }

    /// All ads, as they are registered.
    pub fn ads(&self) -> Vec<Value> {
        let ad = |number| {
            let destination = format!("https://bench.example/{number}");
            let mut ad =
                catalog::ad(&ad_id(number), &campaign_id(number / CAMPAIGN_ADS), &destination);
            ad["category"] = format!("category-{}", number % 20).into();
            ad
        };
        (0..self.ad_count()).map(ad).collect()
    }

    fn ad_count(&self) -> u32 {
        u32::try_from(self.ads.sums.len()).expect("it was made of a u32") + self.ads_cold
    }

    /// A request about so many distinct ads, with tokens for the best `mint`.
    pub fn body(&mut self, candidates: usize, mint: usize, with_cold: bool) -> String {
        let user = self.user(with_cold);
        let mut body = String::with_capacity(160 + 16 * candidates);
        write!(body, "{{\"user_id\":\"{user}\",\"ad_candidates\":[").expect("memory");
        for (place, ad) in self.distinct_ads(candidates, with_cold).into_iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(body, "{comma}\"{}\"", ad_id(ad)).expect("memory");
        }
        let page = self.random.random_range(0..10_000);
        let device = DEVICES[self.random.random_range(0..DEVICES.len())];
        let region = REGIONS[self.random.random_range(0..REGIONS.len())];
        write!(
            body,
            "],\"context\":{{\"page_url\":\"https://news.example/{page}\",\"device\":\"{device}\",\
             \"geo\":\"{region}\"}},\"placement\":\"bench\",\"mint\":{mint}}}"
        )
        .expect("memory");
        body
    }

    fn user(&mut self, with_cold: bool) -> String {
        if with_cold && self.random.random::<f64>() < COLD_SHARE {
            self.new_users += 1;
            return format!("bench-new-{}", self.new_users);
        }
        format!("bench-user-{}", self.users.draw(&mut self.random))
    }

    fn distinct_ads(&mut self, count: usize, with_cold: bool) -> Vec<u32> {
        let warm = self.ads.sums.len() as u32;
        let (mut ads, mut seen) = (Vec::with_capacity(count), HashSet::with_capacity(count));
        while ads.len() < count {
            let is_cold =
                with_cold && self.ads_cold > 0 && self.random.random::<f64>() < COLD_SHARE;
            let ad = match is_cold {
                true => warm + self.random.random_range(0..self.ads_cold),
                false => self.ads.draw(&mut self.random) as u32,
            };
            if seen.insert(ad) {
                ads.push(ad);
            }
        }
        ads
    }

    /// Whole requests of one size.
    pub fn requests(
        &mut self,
        address: &Address,
        key: Option<&str>,
        candidates: usize,
        mint: usize,
    ) -> Rendered {
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < REQUESTS_MAX && bytes < REQUEST_BYTES_MAX {
            let body = self.body(candidates, mint, true);
            let mut request =
                post_head(address, key, "/api/predict", "application/json", body.len());
            request.extend_from_slice(body.as_bytes());
            bytes += request.len();
            items.push(request);
        }
        Rendered::of(items)
    }
}

fn ad_id(number: u32) -> String {
    format!("bench-ad-{number}")
}

fn campaign_id(number: u32) -> String {
    format!("bench-predict-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_come_most_often_and_the_last_come_too() {
        let zipf = Zipf::new(1_000);
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn = vec![0_u32; 1_000];
        (0..200_000).for_each(|_| drawn[zipf.draw(&mut random)] += 1);
        let share = f64::from(drawn[0]) / 200_000.0;
        // One over the thousandth harmonic number.
        assert!((share - 1.0 / 7.485).abs() < 0.005, "{share}");
        assert!(drawn[0] > 5 * drawn[9] && drawn[500..].iter().sum::<u32>() > 5_000);
    }

    #[test]
    fn requests_are_ones_the_server_takes() {
        let mut crowd = Crowd::new(1_000, 200, 7);
        let body: Value = serde_json::from_str(&crowd.body(100, 3, true)).expect("JSON");
        let ads = body["ad_candidates"].as_array().expect("a list");
        let distinct: HashSet<&str> = ads.iter().filter_map(Value::as_str).collect();
        assert_eq!((ads.len(), distinct.len()), (100, 100));
        let known: HashSet<String> =
            crowd.ads().iter().map(|ad| ad["ad_id"].as_str().expect("a text").to_owned()).collect();
        assert!(known.len() == 200 && distinct.iter().all(|ad| known.contains(*ad)));
        assert_eq!((body["mint"].as_u64(), crowd.campaigns().len()), (Some(3), 2));
        assert_eq!(Crowd::new(9, 20, 7).body(4, 1, true), Crowd::new(9, 20, 7).body(4, 1, true));
    }

    #[test]
    fn the_cold_are_kept_out_of_what_is_learned() {
        let mut crowd = Crowd::new(50, 100, 3);
        let mut bodies = |with_cold| {
            (0..200).map(|_| crowd.body(5, 5, with_cold)).collect::<Vec<_>>().join("\n")
        };
        let (warm, all) = (bodies(false), bodies(true));
        let is_cold = |text: &str| (90..100).any(|ad| text.contains(&format!("\"{}\"", ad_id(ad))));
        assert!(!is_cold(&warm) && !warm.contains("bench-new"));
        assert!(is_cold(&all) && all.contains("bench-new"));
    }
}
