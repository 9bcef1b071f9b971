//! What an event did to pasts: who and where it was, and what is counted of it.

use reckon_event::{Kind, Pseudonym, Record, TenantId, Timestamp, name_key};

use crate::plan::{Entity, Measure, Part};

/// A dwell counts for so long at most, in milliseconds: a forgotten page says nothing.
pub const DWELL_MS_MAX: u64 = 600_000;

/// What the catalog knows of an ad. Keys are [`name_key`]s, 0 where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ad {
    /// The ad.
    pub ad: u64,
    /// Its campaign.
    pub campaign: u64,
    /// What it is about.
    pub category: u64,
    /// Width and height of its creative, 0 where unknown.
    pub size: (u16, u16),
    /// Key of its language; 0 where it has none.
    pub locale: u64,
    /// How good it is by the catalog, `None` where that does not say.
    pub quality: Option<f32>,
    /// When it was registered; `None` where that is not known.
    pub created: Option<Timestamp>,
}

/// Who, what and where: the values entities are made of. 0 is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The tenant.
    pub tenant: TenantId,
    /// The user; [`Pseudonym::NONE`] where unknown, or not to be remembered.
    pub user: Pseudonym,
    /// The ad.
    pub ad: u64,
    /// The campaign.
    pub campaign: u64,
    /// What the ad is about.
    pub category: u64,
    /// The page or item.
    pub page: u64,
    /// The region.
    pub geo: u64,
    /// The type of device.
    pub device: u64,
    /// The place on the page.
    pub placement: u64,
}

/// One event, as pasts take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Who, what and where.
    pub parts: Parts,
    /// What.
    pub kind: Kind,
    /// Price of a click in micros, milliseconds of a dwell; else 0.
    pub amount: u64,
    /// When, in seconds since 1970.
    pub second: u32,
}

/// Names an entity's past: who owns it, and which of the owner's it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Hash of tenant and first part: all of one owner lie together.
    pub owner: u64,
    /// Hash of everything.
    pub id: u64,
}

impl Happened {
    /// What a counted record tells; `None` for kinds of which nothing is kept. What its ad is about
    /// stands in the record: whoever counts the log again finds the same.
    pub fn of(record: &Record<'_>, keeps_user: bool) -> Option<Happened> {
        let amount = match record.kind {
            Kind::Impression | Kind::View | Kind::Conversion | Kind::Hide | Kind::Share => 0,
            Kind::Click => u64::try_from(record.price).unwrap_or(0),
            Kind::Dwell => u64::try_from(record.value.unwrap_or(0)).unwrap_or(0).min(DWELL_MS_MAX),
            Kind::Adjustment | Kind::Control | Kind::Prediction => return None,
        };
        let key = |text: &str| if text.is_empty() { 0 } else { name_key(text) };
        let parts = Parts {
            tenant: record.tenant,
            user: if keeps_user { record.user } else { Pseudonym::NONE },
            ad: record.ad_key,
            campaign: record.campaign_key,
            category: record.category_key,
            page: key(record.item_id),
            geo: key(record.region),
            device: key(record.device),
            placement: key(record.placement),
        };
        let second = u32::try_from(record.happened.seconds()).ok()?;
        Some(Happened { parts, kind: record.kind, amount, second })
    }

    /// What it adds to an entity, as lanes of it.
    pub(crate) fn amounts(&self, entity: &Entity) -> ([(usize, u64); 2], usize) {
        let measures = match self.kind {
            Kind::Impression => [Some((Measure::Impressions, 1)), None],
            Kind::View => [Some((Measure::Views, 1)), None],
            Kind::Click => [Some((Measure::Clicks, 1)), Some((Measure::Spend, self.amount))],
            Kind::Conversion => [Some((Measure::Conversions, 1)), None],
            Kind::Dwell => [Some((Measure::Dwells, 1)), Some((Measure::DwellTime, self.amount))],
            Kind::Hide => [Some((Measure::Hides, 1)), None],
            Kind::Share => [Some((Measure::Shares, 1)), None],
            Kind::Adjustment | Kind::Control | Kind::Prediction => [None; 2],
        };
        let (mut amounts, mut count) = ([(0, 0); 2], 0);
        for (measure, amount) in measures.into_iter().flatten() {
            if let Some(lane) = entity.lane(measure) {
                amounts[count] = (lane, amount);
                count += 1;
            }
        }
        (amounts, count)
    }
}

impl Parts {
    /// The value of one part; `None` where it is absent.
    pub(crate) fn value(&self, part: Part, hour: u64) -> Option<u64> {
        let value = match part {
            Part::Tenant => return Some(u64::from(self.tenant.0)),
            Part::Hour => return Some(hour),
            Part::User => self.user.0 as u64 ^ mix((self.user.0 >> 64) as u64, 1),
            Part::Ad => self.ad,
            Part::Campaign => self.campaign,
            Part::Category => self.category,
            Part::Page => self.page,
            Part::Geo => self.geo,
            Part::Device => self.device,
            Part::Placement => self.placement,
        };
        let is_there = if part == Part::User { self.user.is_some() } else { value != 0 };
        is_there.then_some(value)
    }

    /// Ad, campaign and category, as far as bits ask for them; else 0.
    pub(crate) fn of_candidate(&self, mask: u8) -> [u64; 3] {
        let part = |bit: u8, value: u64| if mask & bit != 0 { value } else { 0 };
        [part(1, self.ad), part(2, self.campaign), part(4, self.category)]
    }

    /// The key of an entity's past; `None` where a part of it is absent.
    pub(crate) fn key(&self, entity: &Entity, hour: u64) -> Option<Key> {
        let first = entity.of[0];
        let owner = owner(self.tenant, first, self.value(first, hour)?);
        let mut id = mix(owner, entity.seed);
        for &part in &entity.of[1..] {
            id = mix(id, self.value(part, hour)?);
        }
        Some(Key { owner, id })
    }

    /// Who owns a user's pasts.
    pub(crate) fn owner_of_user(tenant: TenantId, user: Pseudonym) -> Option<u64> {
        let parts = Parts { tenant, user, ..Parts::default() };
        Some(owner(tenant, Part::User, parts.value(Part::User, 0)?))
    }
}

fn owner(tenant: TenantId, part: Part, value: u64) -> u64 {
    mix(mix(u64::from(tenant.0), part as u64), value)
}

/// Multiply, fold: every bit of both reaches every bit of the result.
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ 0xa076_1d64_78bd_642f) as u128 * ((b ^ 0xe703_7ed1_a0b4_28db) as u128 | 1);
    let folded = (product >> 64) as u64 ^ product as u64 ^ b.rotate_left(32);
    let product = folded as u128 * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// The hour of the day of a second.
pub(crate) const fn hour_of_day(second: u32) -> u64 {
    second as u64 / 3_600 % 24
}
