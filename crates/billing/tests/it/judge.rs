//! What a history should come to: verdicts by the naive recount of counting, and from its sums by ad
//! and minute, in plain loops, what is owed under the budgets. It shares no code with what it judges.

use std::collections::BTreeMap;

use reckon_billing::Figures;
use reckon_count::Totals;
use reckon_count::naive::Recount;
use reckon_event::{Day, Kind, Micros, Record, TenantId, Timestamp, Verdict, name_key};

use crate::history::{IdClass, POLICY};
use crate::world::{Owed, World};

/// Clicks of an ad in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Clicks {
    counted: i64,
    duplicates: i64,
    invalid: i64,
    spend: Micros,
}

/// A recount in progress.
pub struct Judging {
    recount: Recount,
    /// By key of the ad: its place in the contracts.
    ads: BTreeMap<u64, (usize, usize)>,
    records: Vec<Option<Told>>,
}

/// What was said of a record.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub kind: Kind,
    pub class: IdClass,
    pub verdict: Verdict,
    /// A rule has taken it, after it had counted.
    pub is_revised: bool,
}

/// What all records so far come to.
pub struct Judge {
    pub totals: Totals,
    pub told: Vec<Told>,
    /// By contract, ad and hour.
    clicks: BTreeMap<(usize, usize, Timestamp), Clicks>,
}

impl Judging {
    pub fn new(world: &World) -> Self {
        let mut ads = BTreeMap::new();
        for (contract, one) in world.contracts.iter().enumerate() {
            for (ad, ad_id) in one.ads.iter().enumerate() {
                assert_eq!(ads.insert(name_key(ad_id), (contract, ad)), None);
            }
        }
        Judging { recount: Recount::default(), ads, records: Vec::new() }
    }

    /// Judges the next item; `None` for one that is not counted at all.
    pub fn take(&mut self, record: &Record<'_>) -> Option<Verdict> {
        let verdict = self.recount.take(record, &POLICY);
        let (kind, class) = (record.kind, IdClass::of(record));
        self.records.push(verdict.map(|verdict| Told { kind, class, verdict, is_revised: false }));
        verdict
    }

    /// What it comes to when rules have judged all minutes closed by `watermark`.
    pub fn settled(&self, watermark: Timestamp) -> Judge {
        let mut recount = self.recount.clone();
        let mut records = self.records.clone();
        for (number, verdict) in recount.settle(watermark) {
            let told = records[number as usize].as_mut().expect("it had counted");
            (told.verdict, told.is_revised) = (verdict, true);
        }
        let mut clicks: BTreeMap<_, Clicks> = BTreeMap::new();
        for (line, sum) in &recount.lines {
            let Some(&(contract, ad)) = self.ads.get(&line.ad_key) else {
                assert_eq!((line.ad_key, sum.spend), (0, 0), "all else is registered");
                continue;
            };
            if line.kind != Kind::Click {
                continue;
            }
            let hour = Timestamp(line.minute.div_euclid(60) * Timestamp::HOUR);
            let place = clicks.entry((contract, ad, hour)).or_default();
            let count = sum.count.cast_signed();
            match line.verdict {
                Verdict::Counted => place.counted += count,
                Verdict::Duplicate => place.duplicates += count,
                _ => place.invalid += count,
            }
            place.spend += sum.spend;
        }
        let told = records.into_iter().flatten().collect();
        Judge { totals: recount.totals, told, clicks }
    }
}

impl Judge {
    /// Compares the figures of a day; answers how many agree, or where one differs.
    pub fn compare(&self, world: &World, figures: &Figures) -> Result<usize, String> {
        let mut expected: BTreeMap<(TenantId, u64, u64, Timestamp), Clicks> = BTreeMap::new();
        for (&(contract, ad, hour), &clicks) in &self.clicks {
            let one = &world.contracts[contract];
            let place = (one.tenant, name_key(&one.campaign), name_key(&one.ads[ad]), hour);
            if Day::of(hour) == figures.day {
                expected.insert(place, clicks);
            }
        }
        let mut found = BTreeMap::new();
        for row in &figures.rows {
            let place = (row.line.tenant, row.line.campaign, row.line.ad, row.line.hour);
            let (counted, duplicates, invalid) = (row.clicks, row.duplicates, row.invalid);
            found.insert(place, Clicks { counted, duplicates, invalid, spend: row.spend });
        }
        let differs = |place: &&_| expected.get(*place) != found.get(*place);
        match expected.keys().chain(found.keys()).find(differs) {
            Some(place) => Err(format!(
                "{place:?}: {:?} is right, {:?} was counted",
                expected.get(place),
                found.get(place)
            )),
            None => Ok(expected.len()),
        }
    }

    /// What is owed for a day: clicks by ad and hour at their price, and by campaign and hour as much
    /// of it as is within the day's budget.
    pub fn owed(&self, world: &World, day: Day) -> Owed {
        let mut owed = Owed::default();
        for (contract, one) in world.contracts.iter().enumerate() {
            let mut before = 0;
            for hour in day.hours() {
                let mut after = before;
                for (ad, ad_id) in one.ads.iter().enumerate() {
                    let Some(clicks) = self.clicks.get(&(contract, ad, hour)) else { continue };
                    let place = (one.tenant, ad_id.clone(), hour, one.currency);
                    owed.by_ad.insert(place, (clicks.counted, clicks.spend));
                    after += clicks.spend;
                }
                let charge = match world.naive_budget(contract, hour) {
                    Some(budget) => after.min(budget) - before.min(budget),
                    None => after - before,
                };
                let place = (one.tenant, one.campaign.clone(), hour, one.currency);
                owed.by_campaign.insert(place, charge);
                before = after;
            }
        }
        owed.without_zeros()
    }
}
