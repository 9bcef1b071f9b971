//! The columns that a server would have known of a list when it showed it: a plan of the market's own, and
//! the past it is computed from.
//!
//! What a click depends on is there by name (who, which ad, what it sells, the page, the device, the hour)
//! and in pairs, since taste is a matter of two; and as click rates of what was shown before. Groups of like
//! tastes are told to nobody.

use reckon_event::{Columns, name_key};
use reckon_feature::Plan;
use reckon_market::{Device, List, Market};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Rates begin at this, with so many impressions.
const PRIOR: f32 = 0.03;
const WEIGHT: f32 = 40.0;
const CATEGORIES: usize = reckon_market::CATEGORIES.len();
const AREAS: [f32; 4] = [75.0, 65.52, 96.0, 16.0];

/// Numbers of a list, in the order in which they are computed here.
const SHARED_NUMBERS: [&str; 6] =
    ["user_rate", "user_seen", "page_rate", "hour", "day_sine", "day_cosine"];
/// Numbers of one ad.
const OWN_NUMBERS: [&str; 8] = [
    "ad_rate",
    "ad_seen",
    "campaign_rate",
    "category_rate",
    "user_category_rate",
    "user_ad_seen",
    "price_log",
    "creative_size",
];
/// Of which the plan knows no entity.
const KNOWN: [&str; 5] = ["hour", "day_sine", "day_cosine", "price_log", "creative_size"];
const SHARED_FIELDS: [&str; 6] = ["user", "page", "geo", "device", "placement", "hour"];
const OWN_FIELDS: [&str; 10] = [
    "ad",
    "campaign",
    "category",
    "creative_size",
    "user+category",
    "device+category",
    "device+ad",
    "page+category",
    "geo+category",
    "device+creative_size",
];

/// The plan, as a server would be given it.
pub fn plan() -> Plan {
    let mut text = String::from("ttl_days = 40\nuser_events_a_minute_max = 1000\n");
    let numbers = SHARED_NUMBERS.iter().chain(&OWN_NUMBERS);
    let past: Vec<(&str, bool)> = numbers
        .filter_map(|name| {
            let rate = name.strip_suffix("_rate").map(|entity| (entity, true));
            rate.or_else(|| name.strip_suffix("_seen").map(|entity| (entity, false)))
        })
        .collect();
    let mut entities: Vec<&str> = past.iter().map(|&(entity, _)| entity).collect();
    entities.sort_unstable();
    entities.dedup();
    for entity in entities {
        let of = list(entity.split('_'));
        text += &format!(
            "[[entity]]\nname = \"{entity}\"\nof = {of}\nmeasures = [\"impressions\", \"clicks\"]\nwindows = [\"30d\"]\n"
        );
    }
    for (entity, is_rate) in past {
        text += &format!("[[columns]]\nentity = \"{entity}\"\nwindows = [\"30d\"]\n");
        text += &match is_rate {
            true => format!(
                "transform = \"rate\"\nmeasure = \"clicks\"\nper = \"impressions\"\nprior = {PRIOR}\nweight = {WEIGHT:.1}\ndefault = {PRIOR}\nnames = [\"{entity}_rate\"]\n"
            ),
            false => format!(
                "transform = \"log\"\nmeasure = \"impressions\"\ndefault = 0.0\nnames = [\"{entity}_seen\"]\n"
            ),
        };
    }
    for name in KNOWN {
        text += &format!("[[known]]\nname = \"{name}\"\ndefault = 0.0\n");
    }
    for name in SHARED_FIELDS.iter().chain(&OWN_FIELDS) {
        let of = list(name.split('+'));
        text += &format!("[[field]]\nname = \"{}\"\nof = {of}\n", name.replace('+', "_"));
    }
    Plan::parse(&text).expect("the market's plan is a plan")
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(", "))
}

#[derive(Clone, Copy, Default)]
struct Tally {
    shown: f32,
    clicked: f32,
}

impl Tally {
    fn rate(self) -> f32 {
        (self.clicked + WEIGHT * PRIOR) / (self.shown + WEIGHT)
    }
}

/// What has been shown and clicked so far.
pub struct Past<'m> {
    market: &'m Market,
    users: Vec<Tally>,
    pages: Vec<Tally>,
    ads: Vec<Tally>,
    campaigns: Vec<Tally>,
    categories: [Tally; CATEGORIES],
    user_categories: Vec<Tally>,
    user_ads: Vec<f32>,
    order: Places,
}

/// Where the plan has what is computed here.
struct Places {
    shared_numbers: Vec<usize>,
    own_numbers: Vec<usize>,
    shared_fields: Vec<usize>,
    own_fields: Vec<usize>,
    seeds: Vec<u64>,
}

/// What is counted of one ad shown to one person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub user: usize,
    pub page: usize,
    pub ad: usize,
}

impl Places {
    fn of(plan: &Plan) -> Self {
        let number = |name: &&str| {
            let place = plan.columns().iter().position(|column| column.name == **name);
            place.unwrap_or_else(|| panic!("the plan has {name}"))
        };
        let field = |name: &&str| {
            let name = name.replace('+', "_");
            let place = plan.fields().iter().position(|field| field.name == name);
            place.unwrap_or_else(|| panic!("the plan has {name}"))
        };
        let (user_columns, user_fields) = (plan.user_columns(), plan.user_fields());
        assert_eq!((user_columns, user_fields), (SHARED_NUMBERS.len(), SHARED_FIELDS.len()));
        let (numbers, fields) = (plan.columns().len(), plan.fields().len());
        assert_eq!(numbers - user_columns, OWN_NUMBERS.len(), "each column is computed here");
        assert_eq!(fields - user_fields, OWN_FIELDS.len(), "each field is computed here");
        Places {
            shared_numbers: SHARED_NUMBERS.iter().map(number).collect(),
            own_numbers: OWN_NUMBERS.iter().map(|name| number(name) - user_columns).collect(),
            shared_fields: SHARED_FIELDS.iter().map(field).collect(),
            own_fields: OWN_FIELDS.iter().map(|name| field(name) - user_fields).collect(),
            seeds: SHARED_FIELDS.iter().chain(&OWN_FIELDS).map(|name| name_key(name)).collect(),
        }
    }
}

impl<'m> Past<'m> {
    /// Nothing has happened yet.
    pub fn new(market: &'m Market, plan: &Plan) -> Self {
        let tallies = |count: usize| vec![Tally::default(); count];
        let (users, ads) = (market.users.len(), market.ads.len());
        Past {
            users: tallies(users),
            pages: tallies(market.pages.len()),
            ads: tallies(ads),
            campaigns: tallies(market.campaigns.len()),
            categories: Default::default(),
            user_categories: tallies(users * CATEGORIES),
            user_ads: vec![0.0; users * ads],
            order: Places::of(plan),
            market,
        }
    }

    /// Counts an ad that was shown, or its click.
    pub fn count(&mut self, subject: Subject, is_click: bool) {
        let Subject { user, page, ad } = subject;
        let reckon_market::Ad { campaign, category, .. } = self.market.ads[ad];
        let tallies = [
            &mut self.users[user],
            &mut self.pages[page],
            &mut self.ads[ad],
            &mut self.campaigns[campaign],
            &mut self.categories[category],
            &mut self.user_categories[user * CATEGORIES + category],
        ];
        for tally in tallies {
            *(if is_click { &mut tally.clicked } else { &mut tally.shown }) += 1.0;
        }
        if !is_click {
            self.user_ads[user * self.market.ads.len() + ad] += 1.0;
        }
    }

    /// What the ads of a list have in common.
    pub fn shared(&self, list: &List) -> Columns {
        let scene = &list.scene;
        let user = self.users[scene.user];
        let turn = scene.hour_of_day as f32 / 24.0 * std::f32::consts::TAU;
        let numbers = [
            user.rate(),
            user.shown.ln_1p(),
            self.pages[scene.page].rate(),
            scene.hour_of_day as f32,
            turn.sin(),
            turn.cos(),
        ];
        let region = self.market.users[scene.user].region;
        let placement = name_key(self.market.pages[scene.page].placement);
        let values = [
            scene.user as u64,
            scene.page as u64,
            region as u64,
            scene.device as u64,
            placement,
            u64::from(scene.hour_of_day),
        ];
        let keys: [u64; 6] = std::array::from_fn(|at| self.key(at, values[at], 0));
        arranged(&numbers, &self.order.shared_numbers, &keys, &self.order.shared_fields)
    }

    /// What one of them has for its own.
    pub fn own(&self, list: &List, ad: usize) -> Columns {
        let (scene, market) = (&list.scene, self.market);
        let reckon_market::Ad { campaign, category, size, .. } = market.ads[ad];
        let numbers = [
            self.ads[ad].rate(),
            self.ads[ad].shown.ln_1p(),
            self.campaigns[campaign].rate(),
            self.categories[category].rate(),
            self.user_categories[scene.user * CATEGORIES + category].rate(),
            self.user_ads[scene.user * market.ads.len() + ad].ln_1p(),
            (market.price(ad) as f32 / 1e3).ln_1p(),
            AREAS[size],
        ];
        let device = Device::ALL.iter().position(|device| *device == scene.device);
        let device = device.expect("there are no others") as u64;
        let region = market.users[scene.user].region as u64;
        let values = [
            (ad as u64, 0),
            (campaign as u64, 0),
            (category as u64, 0),
            (size as u64, 0),
            (scene.user as u64, category as u64),
            (device, category as u64),
            (device, ad as u64),
            (scene.page as u64, category as u64),
            (region, category as u64),
            (device, size as u64),
        ];
        let keys: [u64; 10] = std::array::from_fn(|at| {
            self.key(SHARED_FIELDS.len() + at, values[at].0, values[at].1)
        });
        arranged(&numbers, &self.order.own_numbers, &keys, &self.order.own_fields)
    }

    fn key(&self, field: usize, left: u64, right: u64) -> u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&left.to_le_bytes());
        bytes[8..].copy_from_slice(&right.to_le_bytes());
        xxh3_64_with_seed(&bytes, self.order.seeds[field]).max(1)
    }
}

fn arranged(numbers: &[f32], at: &[usize], keys: &[u64], fields: &[usize]) -> Columns {
    let mut columns = Columns { numeric: vec![0.0; numbers.len()], keys: vec![0; keys.len()] };
    numbers.iter().zip(at).for_each(|(&number, &place)| columns.numeric[place] = number);
    keys.iter().zip(fields).for_each(|(&key, &place)| columns.keys[place] = key);
    columns
}
