//! Who and what there is: advertisers with campaigns and ads, pages, and people.

use crate::Options;
use crate::random::{Random, Stream, running_sums};
use crate::taste::Tastes;

/// What ads sell and pages are about.
pub const CATEGORIES: [&str; 8] =
    ["fashion", "finance", "food", "games", "home", "sport", "tech", "travel"];
/// Where people live.
pub const REGIONS: [&str; 6] = ["DE", "FR", "US", "GB", "JP", "BR"];
/// Sizes of creatives.
pub const SIZES: [&str; 4] = ["300x250", "728x90", "160x600", "320x50"];
/// Where on a site a page stands.
pub(crate) const PLACEMENTS: [&str; 4] = ["home", "article", "search", "feed"];

/// Groups of people of like tastes.
pub(crate) const GROUP_COUNT: usize = 12;
const PAGE_COUNT: usize = 64;
/// Ads of one campaign, and campaigns of one advertiser.
const FAN_OUT: usize = 4;
/// The ranks of people by activity begin here, so that the first does not make a tenth of all visits.
const ACTIVITY_SHIFT: f64 = 15.0;
/// The same for pages.
const POPULARITY_SHIFT: f64 = 3.0;
/// How much more a group reads of what it likes.
const READING: f64 = 1.5;

/// What a person holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A telephone.
    Mobile,
    /// A computer.
    Desktop,
    /// In between.
    Tablet,
}

impl Device {
    /// All of them.
    pub const ALL: [Device; 3] = [Device::Mobile, Device::Desktop, Device::Tablet];
    /// Their shares of people.
    const SHARES: [f64; 3] = [0.60, 0.28, 0.12];

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

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertiser {
    /// The id it is registered with.
    pub advertiser_id: String,
}

/// What is paid for a click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The id it is registered with.
    pub campaign_id: String,
    /// Index of its advertiser.
    pub advertiser: usize,
    /// The price of a click.
    pub cpc_micros: i64,
}

/// An ad.
#[derive(Clone, Debug, PartialEq)]
pub struct Ad {
    /// The id it is registered with.
    pub ad_id: String,
    /// Index of its campaign.
    pub campaign: usize,
    /// Index into [`CATEGORIES`].
    pub category: usize,
    /// Index into [`SIZES`].
    pub size: usize,
    /// Hours after the start at which it begins; 0 for those that are there at once.
    pub launch_hour: u32,
    /// What it adds to the log odds of a click for everyone, its campaign's part included.
    pub appeal: f64,
}

/// A page that shows ads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it is.
    pub url: String,
    /// Index into [`CATEGORIES`].
    pub category: usize,
    /// What its places are called.
    pub placement: &'static str,
}

/// Someone who comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id that pages and apps know them by.
    pub user_id: String,
    /// Which group of like tastes; nobody is told.
    pub group: usize,
    /// Index into [`REGIONS`].
    pub region: usize,
    /// What they mostly hold.
    pub device: Device,
    /// They have the app, and use it on telephone and tablet.
    pub has_app: bool,
}

/// The market: all that is there, and how likely anyone is to click what.
#[derive(Clone, Debug)]
pub struct Market {
    /// What it was made from.
    pub options: Options,
    /// Who pays.
    pub advertisers: Vec<Advertiser>,
    /// What is paid.
    pub campaigns: Vec<Campaign>,
    /// What is shown.
    pub ads: Vec<Ad>,
    /// Where it is shown.
    pub pages: Vec<Page>,
    /// To whom.
    pub users: Vec<User>,
    /// Running sums of how often each user comes.
    pub(crate) activity: Vec<f64>,
    /// Running sums of how often each page is read: by era of tastes, then by group.
    pub(crate) reading: [Vec<Vec<f64>>; 2],
    pub(crate) tastes: Tastes,
}

impl Market {
    /// Makes the market of these options.
    ///
    /// # Panics
    /// Where there is no user or no ad.
    pub fn new(options: Options) -> Self {
        assert!(options.user_count > 0 && options.ad_count > 0, "a market has people and ads");
        let campaigns = campaigns(&options);
        let advertisers = (0..campaigns.len().div_ceil(FAN_OUT))
            .map(|at| Advertiser { advertiser_id: format!("m{}-advertiser-{at:02}", options.seed) })
            .collect();
        let mut ads = ads(&options);
        let pages = pages(&options);
        let users = users(&options);
        let tastes = Tastes::draw(&options, &mut ads, &pages, &users);
        let activity =
            running_sums((0..users.len()).map(|rank| shifted_zipf(rank, ACTIVITY_SHIFT)));
        let reading = [0, 1].map(|era| reading(&tastes, era, &pages));
        let mut market = Market {
            options,
            advertisers,
            campaigns,
            ads,
            pages,
            users,
            activity,
            reading,
            tastes,
        };
        market.set_level();
        market
    }

    /// What a click on an ad costs, in micros.
    pub fn price(&self, ad: usize) -> i64 {
        self.campaigns[self.ads[ad].campaign].cpc_micros
    }

    /// The index of an ad that the server names.
    pub fn ad_index(&self, ad_id: &str) -> Option<usize> {
        // The ids are numbered and padded alike up to a thousand ads; beyond it they are searched.
        let number: usize = ad_id.rsplit('-').next()?.parse().ok()?;
        self.ads.get(number).filter(|ad| ad.ad_id == ad_id).map(|_| number)
    }
}

fn shifted_zipf(rank: usize, shift: f64) -> f64 {
    1.0 / (rank as f64 + shift)
}

fn campaigns(options: &Options) -> Vec<Campaign> {
    let campaign = |at: usize| {
        let mut random = Random::of(options.seed, Stream::Campaigns, at as u64);
        // From ten cents to forty, in whole tenths of a cent.
        let cpc_micros = (100.0 * 4_f64.powf(random.unit())).round() as i64 * 1_000;
        let campaign_id = format!("m{}-campaign-{at:02}", options.seed);
        Campaign { campaign_id, advertiser: at / FAN_OUT, cpc_micros }
    };
    (0..options.ad_count.div_ceil(FAN_OUT)).map(campaign).collect()
}

fn ads(options: &Options) -> Vec<Ad> {
    (0..options.ad_count).map(|at| ad(options, at)).collect()
}

fn ad(options: &Options, at: usize) -> Ad {
    let mut random = Random::of(options.seed, Stream::Ads, at as u64);
    let campaign = at / FAN_OUT;
    // Most ads of a campaign sell the same.
    let usual = Random::of(options.seed, Stream::Campaigns, campaign as u64 + (1 << 32))
        .below(CATEGORIES.len());
    let other = random.below(CATEGORIES.len());
    Ad {
        ad_id: format!("m{}-ad-{at:03}", options.seed),
        campaign,
        category: if random.chance(0.7) { usual } else { other },
        size: random.below(SIZES.len()),
        launch_hour: launch_hour(options, at),
        appeal: 0.0,
    }
}

/// Those that begin later are spread evenly among the others.
fn launch_hour(options: &Options, at: usize) -> u32 {
    let launched_before = |at: usize| (at as f64 * options.launched_share).floor() as usize;
    let number = launched_before(at);
    if options.launch_hours.is_empty() || launched_before(at + 1) == number {
        return 0;
    }
    let total = launched_before(options.ad_count).max(1);
    options.launch_hours
        [(number * options.launch_hours.len() / total).min(options.launch_hours.len() - 1)]
}

fn pages(options: &Options) -> Vec<Page> {
    let page = |at: usize| {
        let mut random = Random::of(options.seed, Stream::Pages, at as u64);
        let category = at % CATEGORIES.len();
        let placement = PLACEMENTS[random.below(PLACEMENTS.len())];
        let url = format!("https://news.example/{}/{at}", CATEGORIES[category]);
        Page { url, category, placement }
    };
    (0..PAGE_COUNT).map(page).collect()
}

fn users(options: &Options) -> Vec<User> {
    let skewed = |group: usize, what: u64, shares: &[f64], sd: f64| {
        let mut random =
            Random::of(options.seed, Stream::Users, (1 << 40) + 2 * group as u64 + what);
        running_sums(shares.iter().map(|share| share * random.normal(sd).exp()))
    };
    let regions: Vec<Vec<f64>> =
        (0..GROUP_COUNT).map(|group| skewed(group, 0, &[1.0; REGIONS.len()], 0.8)).collect();
    let devices: Vec<Vec<f64>> =
        (0..GROUP_COUNT).map(|group| skewed(group, 1, &Device::SHARES, 0.4)).collect();
    let user = |at: usize| {
        let mut random = Random::of(options.seed, Stream::Users, at as u64);
        let group = random.below(GROUP_COUNT);
        User {
            user_id: format!("m{}-user-{at}", options.seed),
            group,
            region: random.weighted(&regions[group]),
            device: Device::ALL[random.weighted(&devices[group])],
            has_app: random.chance(0.9),
        }
    };
    (0..options.user_count).map(user).collect()
}

/// How often each group reads each page: popular ones, and those on what it likes.
fn reading(tastes: &Tastes, era: usize, pages: &[Page]) -> Vec<Vec<f64>> {
    let weights = |group: usize| {
        let weight = |(rank, page): (usize, &Page)| {
            let liking = tastes.of_group(era, group, page.category);
            shifted_zipf(rank, POPULARITY_SHIFT) * (READING * liking).exp()
        };
        running_sums(pages.iter().enumerate().map(weight))
    };
    (0..GROUP_COUNT).map(weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_market() {
        let [one, same, other] = [7, 7, 8].map(|seed| Market::new(Options::new(seed)));
        assert_eq!((&one.ads, &one.users, &one.pages), (&same.ads, &same.users, &same.pages));
        assert_ne!(one.ads, other.ads);
        assert_ne!(one.users, other.users);
    }

    #[test]
    fn there_is_as_much_as_was_asked_for_and_some_of_it_later() {
        let market = Market::new(Options::new(1));
        assert_eq!((market.ads.len(), market.users.len(), market.campaigns.len()), (80, 2_000, 20));
        for hour in [6, 10, 18] {
            let launched = market.ads.iter().filter(|ad| ad.launch_hour == hour).count();
            assert!((5..=8).contains(&launched), "{launched} at hour {hour}");
        }
        assert_eq!(market.ads.iter().filter(|ad| ad.launch_hour == 0).count(), 61);
        let prices: std::collections::HashSet<i64> =
            market.campaigns.iter().map(|campaign| campaign.cpc_micros).collect();
        assert!(
            prices.len() > 10 && prices.iter().all(|price| (100_000..=400_000).contains(price))
        );
        for campaign in &market.campaigns {
            assert!(campaign.advertiser < market.advertisers.len());
        }
    }

    #[test]
    fn ads_are_found_by_their_id() {
        for ad_count in [1, 80, 1_500] {
            let market = Market::new(Options { ad_count, user_count: 10, ..Options::new(3) });
            for (at, ad) in market.ads.iter().enumerate() {
                assert_eq!(market.ad_index(&ad.ad_id), Some(at));
            }
            assert_eq!(market.ad_index("m4-ad-000"), None);
            assert_eq!(market.ad_index("somebody-else"), None);
        }
    }
}
