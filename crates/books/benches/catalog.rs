//! How long the catalog takes to write in batches and to load whole.
//!
//! `cargo bench -p reckon-books -- 1000000` for another number of ads than 100,000. The processor's
//! time stands beside the clock's, because a shared machine stretches the latter.

use std::time::Instant;

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

    let start = Watch::start();
    for number in 0..LEASES {
        assert_eq!(books.lease("bench", Timestamp(0)).await.expect("leases"), number + 1);
    }
    report("lease, synced", LEASES as usize, &start);

    register_parents(&books).await;
    let made: Vec<Ad> = (0..ads).map(ad).collect();
    let start = Watch::start();
    create(&books, &made).await;
    report("create ads in batches of 10,000", ads, &start);

    let start = Watch::start();
    create(&books, &made).await;
    report("create them again (all the same)", ads, &start);

    let start = Watch::start();
    for ad in made.iter().step_by(made.len() / 1_000) {
        assert_eq!(&books.ad(TENANT, &ad.ad_id).await.expect("there"), ad);
    }
    report("get an ad", 1_000, &start);
    books.close().await;

    let start = Watch::start();
    let books = SqliteBooks::open(&path).await.expect("opens");
    report("open", 1, &start);
    let start = Watch::start();
    let snapshot = books.load_catalog().await.expect("loads");
    report("load the catalog", ads, &start);
    assert_eq!((snapshot.ads.len(), snapshot.campaigns.len()), (ads, CAMPAIGNS));
    books.close().await;

    let start = Watch::start();
    let verification = SqliteBooks::verify(&path).await.expect("can be checked");
    report("verify", ads, &start);
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

struct Watch {
    at: Instant,
    cpu_ticks: u64,
}

impl Watch {
    fn start() -> Self {
        Watch { at: Instant::now(), cpu_ticks: cpu_ticks() }
    }
}

/// User and system time of all threads in hundredths of a second; 0 where the system does not tell.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn report(what: &str, count: usize, start: &Watch) {
    let seconds = start.at.elapsed().as_secs_f64();
    let cpu_seconds = (cpu_ticks() - start.cpu_ticks) as f64 / 100.0;
    let each = |seconds: f64| seconds * 1e6 / count as f64;
    println!(
        "{what:<34} {count:>8} in {seconds:>8.3} s, {:>8.2} us each, {:>8.2} us of processor",
        each(seconds),
        each(cpu_seconds)
    );
}
