//! How long the catalog takes to write in batches and to load whole.
//!
//! `cargo bench -p reckon-books -- 1000000` for another number of ads than 100,000.

use std::time::{Duration, Instant};

use reckon_books::{
    Ad, Ads, Advertiser, Advertisers, BATCH_ITEMS_MAX, Books, Campaign, Campaigns, Leases,
    SqliteBooks, Status,
};
use reckon_event::{Currency, TenantId, Timestamp};

const TENANT: TenantId = TenantId::DEFAULT;
const CAMPAIGNS: usize = 1_000;
const LEASES: u32 = 200;

#[tokio::main]
async fn main() {
    let ads = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("books.db");
    let books = SqliteBooks::open(&path).await.expect("opens");

    let start = Instant::now();
    for number in 0..LEASES {
        assert_eq!(books.lease("bench", Timestamp(0)).await.expect("leases"), number + 1);
    }
    report("lease, synced", LEASES as usize, start.elapsed());

    register_parents(&books).await;
    let made: Vec<Ad> = (0..ads).map(ad).collect();
    let start = Instant::now();
    create(&books, &made).await;
    report("create ads in batches of 10,000", ads, start.elapsed());

    let start = Instant::now();
    create(&books, &made).await;
    report("create them again (all the same)", ads, start.elapsed());

    let start = Instant::now();
    for ad in made.iter().step_by(made.len() / 1_000) {
        assert_eq!(&books.ad(TENANT, &ad.ad_id).await.expect("there"), ad);
    }
    report("get an ad", 1_000, start.elapsed());
    books.close().await;

    let start = Instant::now();
    let books = SqliteBooks::open(&path).await.expect("opens");
    report("open", 1, start.elapsed());
    let start = Instant::now();
    let snapshot = books.load_catalog().await.expect("loads");
    report("load the catalog", ads, start.elapsed());
    assert_eq!((snapshot.ads.len(), snapshot.campaigns.len()), (ads, CAMPAIGNS));
    books.close().await;

    let start = Instant::now();
    let verification = SqliteBooks::verify(&path).await.expect("can be checked");
    report("verify", ads, start.elapsed());
    assert!(verification.is_sound(), "{:?}", verification.findings);
}

async fn register_parents(books: &SqliteBooks) {
    let advertiser = Advertiser {
        advertiser_id: "acme".to_owned(),
        name: "Acme".to_owned(),
        currency: Currency::EUR,
        created_at: Timestamp(0),
    };
    let campaign = |number| Campaign {
        campaign_id: format!("campaign-{number}"),
        advertiser_id: "acme".to_owned(),
        name: format!("Campaign {number}"),
        cpc_micros: 250_000,
        daily_budget_micros: None,
        targeting: None,
        status: Status::Active,
        created_at: Timestamp(0),
    };
    books.create_advertisers(TENANT, vec![advertiser]).await.expect("works");
    let campaigns = (0..CAMPAIGNS).map(campaign).collect();
    books.create_campaigns(TENANT, campaigns).await.expect("works");
}

/// Ids in no order, as ids from people are.
fn ad(number: usize) -> Ad {
    let scattered = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ad {
        ad_id: format!("ad-{scattered:016x}"),
        campaign_id: format!("campaign-{}", number % CAMPAIGNS),
        destination_url: format!("https://shop.example/products/{scattered:x}?from=ad"),
        category: Some("shoes".to_owned()),
        creative_size: Some("300x250".to_owned()),
        append_click_id: None,
        status: Status::Active,
        created_at: Timestamp(0),
    }
}

async fn create(books: &SqliteBooks, ads: &[Ad]) {
    for batch in ads.chunks(BATCH_ITEMS_MAX) {
        let outcomes = books.create_ads(TENANT, batch.to_vec()).await.expect("works");
        assert!(outcomes.iter().all(Result::is_ok));
    }
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn report(what: &str, count: usize, took: Duration) {
    let each = took.as_secs_f64() * 1e6 / count as f64;
    println!("{what:<34} {count:>8} in {:>8.3} s, {each:>8.2} us each", took.as_secs_f64());
}
