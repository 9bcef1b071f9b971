//! How long the catalog takes to write in batches and to load whole, and the ledger to post.
//!
//! `cargo bench -p reckon-books -- 1000000` for another number of ads than 100,000. The processor's
//! time stands beside the clock's, because a shared machine stretches the latter; it is this process's,
//! not that of a database's server. With the feature `postgres`, RECKON_TEST_POSTGRES names a server to
//! measure instead, in whose database the books are made anew.

use std::sync::Arc;
use std::time::Instant;

use reckon_books::{
    Account, Accounts, Ad, Advertiser, BATCH_ITEMS_MAX, Books, Campaign, Entry, EntryKind, Slice,
    SqliteBooks, Status, Verification,
};
use reckon_event::{Currency, Day, TenantId, Timestamp};

const TENANT: TenantId = TenantId::DEFAULT;
const CAMPAIGNS: usize = 1_000;
const LEASES: u32 = 200;
const ENTRIES: usize = 100_000;
const ENTRIES_OF_A_BATCH: usize = 1_000;

/// Books and their ledger, as the server has them.
type Opened = (Arc<dyn Books>, Arc<dyn Accounts>);

#[tokio::main]
async fn main() {
    let ads = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    #[cfg(feature = "postgres")]
    if let Ok(url) = std::env::var("RECKON_TEST_POSTGRES") {
        return postgres(&url, ads).await;
    }
    sqlite(ads).await;
}

async fn sqlite(ads: usize) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("books.db");
    let open = async || {
        let books = Arc::new(SqliteBooks::open(&path).await.expect("opens"));
        (Arc::clone(&books) as Arc<dyn Books>, books as Arc<dyn Accounts>)
    };
    measure(open, async || SqliteBooks::verify(&path).await.expect("can be checked"), ads).await;
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, ads: usize) {
    use reckon_books::{PostgresBooks, PostgresOptions};
    use sqlx::Connection;

    let schema = "DROP SCHEMA IF EXISTS books_bench CASCADE; CREATE SCHEMA books_bench";
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connects");
    sqlx::raw_sql(schema).execute(&mut connection).await.expect("a schema");
    let url = format!("{url}?options[search_path]=books_bench");
    let options = PostgresOptions::default();
    let open = async || {
        let books = Arc::new(PostgresBooks::open(&url, options).await.expect("opens"));
        (Arc::clone(&books) as Arc<dyn Books>, books as Arc<dyn Accounts>)
    };
    let verify = async || PostgresBooks::verify(&url, options).await.expect("can be checked");
    measure(open, verify, ads).await;
}

async fn measure(
    open: impl AsyncFn() -> Opened,
    verify: impl AsyncFn() -> Verification,
    ads: usize,
) {
    let (books, accounts) = open().await;
    let start = Watch::start();
    for number in 0..LEASES {
        assert_eq!(books.lease("bench", Timestamp(0)).await.expect("leases"), number + 1);
    }
    report("lease, synced", LEASES as usize, &start);

    register_parents(&*books).await;
    let made: Vec<Ad> = (0..ads).map(ad).collect();
    let start = Watch::start();
    create(&*books, &made).await;
    report("create ads in batches of 10,000", ads, &start);

    let start = Watch::start();
    create(&*books, &made).await;
    report("create them again (all the same)", ads, &start);

    let start = Watch::start();
    for ad in made.iter().step_by(made.len() / 1_000) {
        assert_eq!(&books.ad(TENANT, &ad.ad_id).await.expect("there"), ad);
    }
    report("get an ad", 1_000, &start);
    post(&*accounts, &made).await;
    books.close().await;

    let start = Watch::start();
    let (books, _) = open().await;
    report("open", 1, &start);
    let start = Watch::start();
    let snapshot = books.load_catalog().await.expect("loads");
    report("load the catalog", ads, &start);
    assert_eq!((snapshot.ads.len(), snapshot.campaigns.len()), (ads, CAMPAIGNS));
    books.close().await;

    let start = Watch::start();
    let verification = verify().await;
    report("verify", ads + ENTRIES, &start);
    let unfrozen = |said: &String| said.ends_with("is a charge without a frozen figure");
    assert!(verification.findings.iter().all(unfrozen), "{:?}", verification.findings);
}

/// Charges without figures, as fast as they are taken.
async fn post(accounts: &dyn Accounts, ads: &[Ad]) {
    let day = Day::of(Timestamp(0));
    accounts.freeze(day, 1, Vec::new(), Timestamp(0)).await.expect("freezes");
    let entries: Vec<Entry> = (0..ENTRIES).map(|n| entry(n, &ads[n % ads.len()])).collect();
    let start = Watch::start();
    for batch in entries.chunks(ENTRIES_OF_A_BATCH) {
        let posted = accounts.post(batch.to_vec()).await.expect("posts");
        assert_eq!(posted.new, batch.len() as u64);
    }
    report("post entries in batches of 1,000", ENTRIES, &start);
    let start = Watch::start();
    let balances = accounts.balances(&Slice::of_day(day)).await.expect("sums");
    assert_eq!(balances.len(), 2);
    report("sum them", ENTRIES, &start);
}

fn entry(number: usize, ad: &Ad) -> Entry {
    Entry {
        key: format!("charge/{number}"),
        hour: Timestamp((number as i64 % 24) * Timestamp::HOUR),
        tenant: TENANT,
        advertiser_id: "acme".to_owned(),
        campaign_id: ad.campaign_id.clone(),
        ad_id: Some(ad.ad_id.clone()),
        currency: Currency::EUR,
        debit: Account::Receivable,
        credit: Account::Revenue,
        amount: 250_000,
        clicks: 1,
        kind: EntryKind::Charge,
        reason: None,
        corrects: None,
        cut: 1,
        created_at: Timestamp(0),
    }
}

async fn register_parents(books: &dyn Books) {
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
        locale: None,
        quality_micros: None,
        status: Status::Active,
        created_at: Timestamp(0),
    }
}

async fn create(books: &dyn Books, ads: &[Ad]) {
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
