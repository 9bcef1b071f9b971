//! The catalog: who advertises what, where it leads, and what a click costs at any time.
//!
//! A campaign's price and budget are its [`Terms`]. They are never edited: a change adds terms that
//! hold from its time on, so the price of a click is a question about its event time and has one
//! answer for ever.

use std::fmt;
use std::sync::Arc;

use reckon_event::{Currency, Micros, TenantId, Timestamp};

use crate::check::TARGETING_BYTES_MAX;
use crate::error::Error;

/// Whether a campaign or ad may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// May be shown.
    #[default]
    Active,
    /// Not shown for now.
    Paused,
    /// Not shown any more, and left out of what people choose from.
    Archived,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 3] = [Status::Active, Status::Paused, Status::Archived];

    /// As the API and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Paused => "paused",
            Status::Archived => "archived",
        }
    }

    /// Reads what [`Status::as_str`] writes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Error::invalid("status", "must be active, paused or archived"))
    }
}

/// Whom a campaign is for: JSON that the books keep but do not read.
///
/// Kept as compact text rather than a tree, so that equal requests stay equal however often a
/// number is read and written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Targeting(String);

impl Targeting {
    /// Reads any JSON object and brings it into compact form.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let malformed = |_| Error::invalid("targeting", "must be a JSON object");
        let value: serde_json::Value = serde_json::from_str(json).map_err(malformed)?;
        if !value.is_object() {
            return Err(Error::invalid("targeting", "must be a JSON object"));
        }
        let text = value.to_string();
        if text.len() > TARGETING_BYTES_MAX {
            return Err(Error::invalid(
                "targeting",
                "must be at most 65,536 bytes of compact JSON",
            ));
        }
        Ok(Targeting(text))
    }

    /// What the database holds, which only [`Targeting::parse`] wrote.
    pub(crate) fn stored(text: String) -> Self {
        Targeting(text)
    }

    /// The compact JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Targeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertiser {
    /// Given by people; unique within the tenant.
    pub advertiser_id: String,
    /// For people.
    pub name: String,
    /// Of every price and budget of its campaigns; fixed for ever.
    pub currency: Currency,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What is paid for, at one price at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Given by people; unique within the tenant.
    pub campaign_id: String,
    /// Who pays; fixed for ever.
    pub advertiser_id: String,
    /// For people.
    pub name: String,
    /// The price of a click now, in micros of the advertiser's currency; at least 0.
    pub cpc_micros: Micros,
    /// The most to spend in a UTC day, from now on; `None` is without limit.
    pub daily_budget_micros: Option<Micros>,
    /// Whom it is for; `None` is everyone.
    pub targeting: Option<Targeting>,
    /// Whether it may be shown.
    pub status: Status,
    /// When it was registered, and from when its first terms hold.
    pub created_at: Timestamp,
}

/// What is shown and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ad {
    /// Given by people; unique within the tenant.
    pub ad_id: String,
    /// The campaign that pays for it; fixed for ever.
    pub campaign_id: String,
    /// Absolute, http or https, ASCII, at most [`crate::URL_BYTES_MAX`] bytes.
    pub destination_url: String,
    /// A free label.
    pub category: Option<String>,
    /// A free label such as `300x250`.
    pub creative_size: Option<String>,
    /// The query parameter the click id is appended as, where the advertiser wants it.
    pub append_click_id: Option<String>,
    /// Its language, such as `de-AT`.
    pub locale: Option<String>,
    /// How good it is, in millionths: 0 to 1,000,000.
    pub quality_micros: Option<i64>,
    /// Whether it may be shown.
    pub status: Status,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A change of an advertiser; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvertiserPatch {
    /// A new name.
    pub name: Option<String>,
}

impl AdvertiserPatch {
    /// The advertiser after the change.
    pub fn apply(self, mut advertiser: Advertiser) -> Advertiser {
        set(&mut advertiser.name, self.name);
        advertiser
    }
}

/// A change of a campaign; `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CampaignPatch {
    /// A new name.
    pub name: Option<String>,
    /// A new price of a click, from the time of the patch on.
    pub cpc_micros: Option<Micros>,
    /// A new daily budget, from the time of the patch on.
    pub daily_budget_micros: Option<Option<Micros>>,
    /// Other people to reach.
    pub targeting: Option<Option<Targeting>>,
    /// Another status.
    pub status: Option<Status>,
}

impl CampaignPatch {
    /// The campaign after the change.
    pub fn apply(self, mut campaign: Campaign) -> Campaign {
        set(&mut campaign.name, self.name);
        set(&mut campaign.cpc_micros, self.cpc_micros);
        set(&mut campaign.daily_budget_micros, self.daily_budget_micros);
        set(&mut campaign.targeting, self.targeting);
        set(&mut campaign.status, self.status);
        campaign
    }
}

/// A change of an ad; `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdPatch {
    /// Another destination.
    pub destination_url: Option<String>,
    /// Another category.
    pub category: Option<Option<String>>,
    /// Another size.
    pub creative_size: Option<Option<String>>,
    /// Another parameter for the click id.
    pub append_click_id: Option<Option<String>>,
    /// Another language.
    pub locale: Option<Option<String>>,
    /// Another quality.
    pub quality_micros: Option<Option<i64>>,
    /// Another status.
    pub status: Option<Status>,
}

impl AdPatch {
    /// The ad after the change.
    pub fn apply(self, mut ad: Ad) -> Ad {
        set(&mut ad.destination_url, self.destination_url);
        set(&mut ad.category, self.category);
        set(&mut ad.creative_size, self.creative_size);
        set(&mut ad.append_click_id, self.append_click_id);
        set(&mut ad.locale, self.locale);
        set(&mut ad.quality_micros, self.quality_micros);
        set(&mut ad.status, self.status);
        ad
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Price and budget of a campaign from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// They hold for events at this time and later, until the next terms do.
    pub from: Timestamp,
    /// The price of a click.
    pub cpc_micros: Micros,
    /// The most to spend in a UTC day; `None` is without limit.
    pub daily_budget_micros: Option<Micros>,
}

/// The terms in force at `time`: the last that hold from then or earlier. Before the first terms:
/// the first. `None` only of an empty history, which no campaign has.
///
/// `history` is in the order of its writing, times never falling. Of two terms from one microsecond
/// on the later written is in force.
pub fn terms_at(history: &[Terms], time: Timestamp) -> Option<&Terms> {
    let begun = history.partition_point(|terms| terms.from <= time);
    history.get(begun.saturating_sub(1))
}

/// The price of a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// In micros of `currency`.
    pub cpc_micros: Micros,
    /// The advertiser's.
    pub currency: Currency,
}

/// A campaign with all that pricing and budgets need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignEntry {
    /// Whose it is.
    pub tenant: TenantId,
    /// The campaign as it stands.
    pub campaign: Campaign,
    /// The advertiser's currency.
    pub currency: Currency,
    /// All terms, in the order of their writing; look up with [`terms_at`].
    pub terms: Vec<Terms>,
}

/// An ad with its campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdEntry {
    /// Whose it is.
    pub tenant: TenantId,
    /// The ad as it stands.
    pub ad: Ad,
    /// What pays for it; shared by all ads of the campaign.
    pub campaign: Arc<CampaignEntry>,
}

/// The whole catalog of every tenant at one moment, to be held in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every advertiser, by tenant and id.
    pub advertisers: Vec<(TenantId, Advertiser)>,
    /// Every campaign, by tenant and id; also those without an ad.
    pub campaigns: Vec<Arc<CampaignEntry>>,
    /// Every ad, by tenant and id.
    pub ads: Vec<AdEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn terms_are_looked_up_by_time() {
        let terms = |from, cpc_micros| Terms {
            from: Timestamp(from),
            cpc_micros,
            daily_budget_micros: None,
        };
        let history = [terms(10, 1), terms(20, 2), terms(20, 3), terms(30, 4)];
        for (time, expected) in [(0, 1), (10, 1), (19, 1), (20, 3), (29, 3), (30, 4), (99, 4)] {
            let found = terms_at(&history, Timestamp(time)).expect("not empty");
            assert_eq!(found.cpc_micros, expected, "at {time}");
        }
        assert_eq!(terms_at(&[], Timestamp(0)), None);
    }

    #[test]
    fn equal_targeting_has_equal_text() {
        let (one, two) = (r#"{ "geo":["DE"],"bid": 0.1 }"#, r#"{"geo": ["DE"], "bid": 0.10}"#);
        assert_eq!(Targeting::parse(one).expect("sound"), Targeting::parse(two).expect("sound"));
        let longest = format!(r#"{{"a":"{}"}}"#, "x".repeat(TARGETING_BYTES_MAX - 8));
        assert_eq!(Targeting::parse(&longest).expect("fits").as_str(), longest);
        let longer = longest.replace("xx", "xxx");
        for wrong in ["", "{", "[]", "null", "7", longer.as_str()] {
            let error = Targeting::parse(wrong).expect_err("no targeting");
            assert_eq!(error.kind, ErrorKind::Invalid { field: "targeting" });
        }
    }

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()).expect("known"), status);
        }
        assert!(Status::parse("Active").is_err());
    }
}
