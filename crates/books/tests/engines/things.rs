//! What the tests register, freeze and post.

use reckon_books::{
    Account, Ad, Ads, Advertiser, Advertisers, Campaign, Campaigns, Created, Entry, EntryKind,
    Error, FrozenFigure, Status,
};
use reckon_event::{AdjustmentReason, Currency, Day, Micros, TenantId, Timestamp};

pub const TENANT: TenantId = TenantId::DEFAULT;
pub const HOUR: Timestamp = Timestamp::from_seconds(1_795_262_400);
pub const BUDGET: Micros = 100;

pub fn day() -> Day {
    Day::of(HOUR)
}

pub fn advertiser(id: &str) -> Advertiser {
    Advertiser {
        advertiser_id: id.to_owned(),
        name: format!("Advertiser {id}"),
        currency: Currency::EUR,
        created_at: HOUR,
    }
}

pub fn campaign(id: &str, advertiser_id: &str) -> Campaign {
    Campaign {
        campaign_id: id.to_owned(),
        advertiser_id: advertiser_id.to_owned(),
        name: format!("Campaign {id}"),
        cpc_micros: 10,
        daily_budget_micros: Some(BUDGET),
        targeting: None,
        status: Status::Active,
        created_at: HOUR,
    }
}

pub fn ad(id: &str, campaign_id: &str) -> Ad {
    Ad {
        ad_id: id.to_owned(),
        campaign_id: campaign_id.to_owned(),
        destination_url: "https://shop.example/".to_owned(),
        category: None,
        creative_size: None,
        append_click_id: None,
        locale: None,
        quality_micros: None,
        status: Status::Active,
        created_at: HOUR,
    }
}

pub fn figure(key: &str, hour: i64, spend: Micros) -> FrozenFigure {
    FrozenFigure {
        key: key.to_owned(),
        hour: HOUR.plus(hour * Timestamp::HOUR),
        tenant: TENANT,
        advertiser_id: "acme".to_owned(),
        campaign_id: "spring".to_owned(),
        ad_id: "shoe".to_owned(),
        currency: Currency::EUR,
        clicks: 1,
        duplicates: 0,
        invalid: 0,
        spend,
        daily_budget: Some(BUDGET),
    }
}

pub fn charge(key: &str, hour: i64, amount: Micros) -> Entry {
    Entry {
        key: key.to_owned(),
        hour: HOUR.plus(hour * Timestamp::HOUR),
        tenant: TENANT,
        advertiser_id: "acme".to_owned(),
        campaign_id: "spring".to_owned(),
        ad_id: Some("shoe".to_owned()),
        currency: Currency::EUR,
        debit: Account::Receivable,
        credit: Account::Revenue,
        amount,
        clicks: 1,
        kind: EntryKind::Charge,
        reason: None,
        corrects: None,
        cut: 9,
        created_at: HOUR,
    }
}

pub fn credit(key: &str, hour: i64, amount: Micros) -> Entry {
    Entry {
        ad_id: None,
        debit: Account::OverDelivery,
        credit: Account::Receivable,
        clicks: 0,
        kind: EntryKind::Credit,
        ..charge(key, hour, amount)
    }
}

pub fn adjustment(key: &str, corrects: &str, hour: i64, amount: Micros) -> Entry {
    Entry {
        debit: Account::Revenue,
        credit: Account::Receivable,
        clicks: -1,
        kind: EntryKind::Adjustment,
        reason: Some(AdjustmentReason::Recounted),
        corrects: Some(corrects.to_owned()),
        ..charge(key, hour, amount)
    }
}

/// Registers advertiser `acme`, its campaign `spring` and the ad `shoe` of that.
pub async fn register(books: &(impl Advertisers + Campaigns + Ads)) {
    only(books.create_advertisers(TENANT, vec![advertiser("acme")]).await).expect("sound");
    only(books.create_campaigns(TENANT, vec![campaign("spring", "acme")]).await).expect("sound");
    only(books.create_ads(TENANT, vec![ad("shoe", "spring")]).await).expect("sound");
}

/// The outcome of a batch of one.
#[track_caller]
pub fn only<T>(
    outcomes: Result<Vec<Result<Created<T>, Error>>, Error>,
) -> Result<Created<T>, Error> {
    let mut outcomes = outcomes.expect("the engine works");
    assert_eq!(outcomes.len(), 1, "one outcome an item");
    outcomes.remove(0)
}
