//! A world of clicks with a plain list of all that is true, and the naive recount of what is owed.
//!
//! The recount shares no code with what it judges: it goes over the list of clicks once an hour and
//! campaign, and over the list of budgets once a moment at which one could be in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use reckon_billing::{Amount, Figure, Figures, Finding, Line};
use reckon_books::{
    Ad, AdEntry, Advertiser, BillingProfile, Books, Campaign, CampaignEntry, CampaignPatch, Entry,
    EntryKind, Profiles, Snapshot, Status, Tenant, Terms, UnseenClicks,
};
use reckon_event::{
    AdjustmentReason, Cell, Currency, Day, Deltas, Kind, Measure, Micros, Reason, TenantId,
    Timestamp, Verdict, name_key,
};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn micros(&mut self, bound: i64) -> i64 {
        (self.next() % bound as u64).cast_signed()
    }
}

/// The first of the days everything happens in.
pub const FIRST: i64 = 20_778;
pub const DAYS: usize = 3;

pub fn day(number: usize) -> Day {
    Day::new(FIRST as u32 + number as u32).expect("a day")
}

/// A campaign with its ads, and who pays.
pub struct Contract {
    pub tenant: TenantId,
    pub advertiser: String,
    pub campaign: String,
    pub ads: Vec<String>,
    pub currency: Currency,
    pub terms: Vec<Terms>,
    pub pays_unseen: bool,
}

/// A click and all that is true of it.
#[derive(Clone, Copy, Debug)]
pub struct Click {
    pub contract: usize,
    pub ad: usize,
    pub at: Timestamp,
    pub price: Micros,
    pub verdict: Verdict,
    /// A copy of an earlier one that counting could not know.
    pub is_copy: bool,
    /// Its impression never came.
    pub is_unseen: bool,
    /// A rule found later knows it as a robot's.
    pub is_robot: bool,
}

pub struct World {
    pub random: Random,
    pub contracts: Vec<Contract>,
    pub clicks: Vec<Click>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let count = 1 + random.below(4);
        let contracts = (0..count).map(|number| contract(&mut random, number)).collect();
        World { random, contracts, clicks: Vec::new() }
    }

    /// A click that has just become known, at any time of the days.
    pub fn click(&mut self) -> Click {
        let random = &mut self.random;
        let contract = random.below(self.contracts.len());
        // Most of a day's clicks come within a few hours, so that budgets run out.
        let hour = if random.chance(3) { random.below(24) } else { 9 + random.below(4) };
        let at = day(random.below(DAYS)).start().plus(hour as i64 * Timestamp::HOUR);
        let verdict = match random.below(8) {
            0 => Verdict::Duplicate,
            1 => Verdict::Invalid(Reason::DoubleClick),
            _ => Verdict::Counted,
        };
        let click = Click {
            contract,
            ad: random.below(self.contracts[contract].ads.len()),
            at: at.plus(random.micros(Timestamp::HOUR)),
            price: if random.chance(10) { 0 } else { 1 + random.micros(50) },
            verdict,
            is_copy: random.chance(12),
            is_unseen: random.chance(12),
            is_robot: random.chance(15),
        };
        self.clicks.push(click);
        click
    }

    /// So many clicks.
    pub fn clicks_come(&mut self, count: usize) {
        for _ in 0..count {
            self.click();
        }
    }

    /// Another verdict for a click that is known; `None` while there is none.
    pub fn revise(&mut self) -> Option<(Click, Click)> {
        if self.clicks.is_empty() {
            return None;
        }
        let at = self.random.below(self.clicks.len());
        let before = self.clicks[at];
        self.clicks[at].verdict = match before.verdict {
            Verdict::Counted => Verdict::Invalid(Reason::RapidIp),
            _ => Verdict::Counted,
        };
        Some((before, self.clicks[at]))
    }

    pub fn add_to(&self, click: &Click, sign: i64, deltas: &mut Deltas) {
        let contract = &self.contracts[click.contract];
        let cell = Cell {
            second: click.at.seconds(),
            tenant: contract.tenant,
            ad: name_key(&contract.ads[click.ad]),
            campaign: name_key(&contract.campaign),
            region: 0,
            device: 0,
            placement: 0,
            position: 0,
            kind: Kind::Click,
            verdict: click.verdict,
            currency: contract.currency,
        };
        let spend = if click.verdict == Verdict::Counted { click.price } else { 0 };
        deltas.add(cell, Measure { count: sign, spend: sign * spend });
    }

    pub fn line(&self, click: &Click) -> Line {
        let contract = &self.contracts[click.contract];
        Line {
            tenant: contract.tenant,
            campaign: name_key(&contract.campaign),
            currency: contract.currency,
            hour: click.at.floor(Timestamp::HOUR),
            ad: name_key(&contract.ads[click.ad]),
        }
    }

    fn of_day(&self, day: Day) -> impl Iterator<Item = &Click> {
        self.clicks.iter().filter(move |click| Day::of(click.at) == day)
    }

    /// What counting would have, straight from the list.
    pub fn figures(&self, day: Day, cut: u64) -> Figures {
        let mut rows: BTreeMap<Line, Figure> = BTreeMap::new();
        for click in self.of_day(day) {
            let line = self.line(click);
            let none = Figure { line, clicks: 0, duplicates: 0, invalid: 0, spend: 0 };
            let figure = rows.entry(line).or_insert(none);
            match click.verdict {
                Verdict::Counted => {
                    figure.clicks += 1;
                    figure.spend += click.price;
                }
                Verdict::Duplicate => figure.duplicates += 1,
                _ => figure.invalid += 1,
            }
        }
        Figures { day, cut, rows: rows.into_values().collect() }
    }

    /// All that is known of a day beside counting, complete for each reason.
    pub fn findings(&self, day: Day) -> Vec<Finding> {
        let reasons = [
            AdjustmentReason::DuplicateBeyondHorizon,
            AdjustmentReason::ClickWithoutImpression,
            AdjustmentReason::RuleFound,
        ];
        let mut findings: Vec<Finding> = reasons
            .map(|reason| Finding { reason, lines: Vec::new(), except: Default::default() })
            .into();
        for click in self.of_day(day).filter(|click| click.verdict == Verdict::Counted) {
            let found = match click {
                Click { is_copy: true, .. } => 0,
                Click { is_unseen: true, .. } if !self.contracts[click.contract].pays_unseen => 1,
                Click { is_robot: true, .. } => 2,
                // One whose payer pays for it is told all the same: the policy leaves it out.
                Click { is_unseen: true, .. } => 1,
                _ => continue,
            };
            let amount = Amount { clicks: -1, spend: -click.price };
            findings[found].lines.push((self.line(click), amount));
        }
        findings
    }

    /// True where the click is paid for, all being known.
    fn is_paid(&self, click: &Click) -> bool {
        let pays_unseen = self.contracts[click.contract].pays_unseen;
        click.verdict == Verdict::Counted
            && !click.is_copy
            && !click.is_robot
            && (!click.is_unseen || pays_unseen)
    }

    /// What is owed for a day, recounted click by click.
    pub fn owed(&self, day: Day) -> Owed {
        let mut owed = Owed::default();
        for contract in 0..self.contracts.len() {
            let mut before = 0;
            for hour in day.hours() {
                let after = before + self.recount_hour(contract, hour, &mut owed);
                let charge = match self.naive_budget(contract, hour) {
                    Some(budget) => after.min(budget) - before.min(budget),
                    None => after - before,
                };
                let Contract { tenant, campaign, currency, .. } = &self.contracts[contract];
                let place = (*tenant, campaign.clone(), hour, *currency);
                *owed.by_campaign.entry(place).or_default() += charge;
                before = after;
            }
        }
        owed.without_zeros()
    }

    fn recount_hour(&self, contract: usize, hour: Timestamp, owed: &mut Owed) -> Micros {
        let mut spend = 0;
        let Contract { tenant, ads, currency, .. } = &self.contracts[contract];
        for click in &self.clicks {
            let is_here = click.contract == contract
                && hour <= click.at
                && click.at < hour.plus(Timestamp::HOUR);
            if is_here && self.is_paid(click) {
                let place = (*tenant, ads[click.ad].clone(), hour, *currency);
                let line = owed.by_ad.entry(place).or_default();
                line.0 += 1;
                line.1 += click.price;
                spend += click.price;
            }
        }
        spend
    }

    /// The highest budget at any moment of the hour at which one begins to be in force.
    pub fn naive_budget(&self, contract: usize, hour: Timestamp) -> Option<Micros> {
        let terms = &self.contracts[contract].terms;
        let at = |time: Timestamp| {
            let begun = terms.iter().rev().find(|terms| terms.from <= time);
            begun.unwrap_or(&terms[0]).daily_budget_micros
        };
        let changes = terms.iter().map(|terms| terms.from);
        let moments = changes.filter(|&from| hour < from && from < hour.plus(Timestamp::HOUR));
        let mut budgets = vec![at(hour)];
        budgets.extend(moments.map(at));
        if budgets.contains(&None) { None } else { budgets.into_iter().flatten().max() }
    }

    /// The catalog as the books would load it.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for contract in &self.contracts {
            let campaign = Arc::new(CampaignEntry {
                tenant: contract.tenant,
                campaign: campaign(contract),
                currency: contract.currency,
                terms: contract.terms.clone(),
            });
            for ad_id in &contract.ads {
                let ad = ad(contract, ad_id);
                let campaign = Arc::clone(&campaign);
                snapshot.ads.push(AdEntry { tenant: contract.tenant, ad, campaign });
            }
            snapshot.campaigns.push(campaign);
        }
        snapshot
    }

    /// Registers everything, budgets in the order of their times.
    pub async fn register(&self, books: &dyn Books, profiles: &dyn Profiles) {
        let second = Tenant { tenant: TenantId(2), name: "two".into(), created_at: Timestamp(0) };
        books.create_tenant(second).await.expect("works");
        for contract in &self.contracts {
            let tenant = contract.tenant;
            let advertiser = Advertiser {
                advertiser_id: contract.advertiser.clone(),
                name: "Some".into(),
                currency: contract.currency,
                created_at: contract.terms[0].from,
            };
            books
                .create_advertisers(tenant, vec![advertiser])
                .await
                .expect("works")
                .remove(0)
                .expect("is new");
            let campaigns = vec![campaign(contract)];
            books
                .create_campaigns(tenant, campaigns)
                .await
                .expect("works")
                .remove(0)
                .expect("is new");
            for ad_id in &contract.ads {
                let ads = vec![ad(contract, ad_id)];
                books.create_ads(tenant, ads).await.expect("works").remove(0).expect("is new");
            }
            for terms in &contract.terms[1..] {
                let patch = CampaignPatch {
                    cpc_micros: Some(terms.cpc_micros),
                    daily_budget_micros: Some(terms.daily_budget_micros),
                    ..CampaignPatch::default()
                };
                books
                    .patch_campaign(tenant, &contract.campaign, patch, terms.from)
                    .await
                    .expect("works");
            }
            let unseen_clicks =
                if contract.pays_unseen { UnseenClicks::Pay } else { UnseenClicks::Credit };
            let profile = BillingProfile { unseen_clicks, ..BillingProfile::default() };
            profiles
                .set_billing_profile(tenant, &contract.advertiser, profile)
                .await
                .expect("works");
        }
    }
}

fn contract(random: &mut Random, number: usize) -> Contract {
    let mut from = day(0).start().plus(-Timestamp::DAY + random.micros(2 * Timestamp::DAY));
    let mut terms = Vec::new();
    for change in 0..1 + random.below(6) {
        let daily_budget_micros = (!random.chance(4)).then(|| random.micros(400));
        terms.push(Terms { from, cpc_micros: 1 + change as i64, daily_budget_micros });
        from = from.plus(1 + random.micros(Timestamp::DAY));
    }
    Contract {
        tenant: TenantId(1 + random.below(2) as u32),
        advertiser: format!("advertiser-{number}"),
        campaign: format!("campaign-{number}"),
        ads: (0..1 + random.below(3)).map(|ad| format!("ad-{number}-{ad}")).collect(),
        currency: [Currency::EUR, Currency::USD][random.below(2)],
        terms,
        pays_unseen: random.chance(2),
    }
}

fn campaign(contract: &Contract) -> Campaign {
    Campaign {
        campaign_id: contract.campaign.clone(),
        advertiser_id: contract.advertiser.clone(),
        name: "Some".into(),
        cpc_micros: contract.terms[0].cpc_micros,
        daily_budget_micros: contract.terms[0].daily_budget_micros,
        targeting: None,
        status: Status::Active,
        created_at: contract.terms[0].from,
    }
}

fn ad(contract: &Contract, ad_id: &str) -> Ad {
    Ad {
        ad_id: ad_id.to_owned(),
        campaign_id: contract.campaign.clone(),
        destination_url: "https://shop.example/".into(),
        category: None,
        creative_size: None,
        append_click_id: None,
        locale: None,
        quality_micros: None,
        status: Status::Active,
        created_at: contract.terms[0].from,
    }
}

type Place = (TenantId, String, Timestamp, Currency);

/// What is owed: clicks and their price by ad and hour, and money after budgets by campaign and hour.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owed {
    pub by_ad: BTreeMap<Place, (i64, Micros)>,
    pub by_campaign: BTreeMap<Place, Micros>,
}

impl Owed {
    /// What the ledger says.
    pub fn of(entries: &[Entry]) -> Self {
        let mut owed = Owed::default();
        for entry in entries {
            assert_ne!(entry.debit, entry.credit, "an entry goes from one account to another");
            let place = |id: &str| (entry.tenant, id.to_owned(), entry.hour, entry.currency);
            if let Some(ad_id) = &entry.ad_id {
                let line = owed.by_ad.entry(place(ad_id)).or_default();
                line.0 += entry.clicks;
                line.1 += entry.owed();
            } else {
                assert_eq!(entry.clicks, 0, "clicks are of ads");
                assert_ne!(entry.kind, EntryKind::Charge, "charges are of ads");
            }
            *owed.by_campaign.entry(place(&entry.campaign_id)).or_default() += entry.owed();
        }
        owed.without_zeros()
    }

    pub fn without_zeros(mut self) -> Self {
        self.by_ad.retain(|_, line| *line != (0, 0));
        self.by_campaign.retain(|_, owed| *owed != 0);
        self
    }

    /// How many amounts are in it.
    pub fn amounts(&self) -> usize {
        self.by_ad.len() + self.by_campaign.len()
    }
}
