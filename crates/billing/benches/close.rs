//! How long a day takes to close, to compare again and to invoice.
//!
//! `cargo bench -p reckon-billing -- 1000000` for another number of figures than 100,000. The clock's
//! time, on whatever else the machine does.

use std::time::Instant;

use async_trait::async_trait;
use reckon_billing::{
    Cause, CloseOptions, Counting, Figure, Figures, Line, Progress, Reconciled, adjust, close,
    invoices, invoices_csv,
};
use reckon_books::{
    Ad, Ads, Advertiser, Advertisers, BATCH_ITEMS_MAX, Books, Campaign, Campaigns, SqliteBooks,
    Status,
};
use reckon_event::{Currency, Day, TenantId, Timestamp, name_key};

const TENANT: TenantId = TenantId::DEFAULT;
const ADS_A_CAMPAIGN: usize = 100;
const NOW: Timestamp = Timestamp::from_seconds(1_799_000_000);

#[tokio::main]
async fn main() {
    let figures = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("books.db");
    let books = SqliteBooks::open(&path).await.expect("opens");
    let day = Day::parse("2026-11-21").expect("a day");
    let ads = figures / 24 + 1;
    register(&books, ads, day.start()).await;
    let mut counting = Counted { figures: figures_of(day, ads) };
    let figures = counting.figures.rows.len();

    let start = Instant::now();
    let closed = close_day(&books, &counting, day).await;
    report("close a day", figures, start);
    assert!(closed > figures as u64, "charges and credits");
    let start = Instant::now();
    assert_eq!(close_day(&books, &counting, day).await, 0);
    report("close it again", figures, start);

    counting.figures.rows.iter_mut().step_by(100).for_each(|row| row.spend += 10);
    let start = Instant::now();
    let found = adjust(&books, &books, counting.figures.clone(), Vec::new()).await;
    report("compare it with what is known now", figures, start);
    assert!(found.expect("compares").adjustments.len() >= figures / 100);

    let start = Instant::now();
    let invoices = invoices(&books, &books, TENANT, day, day).await.expect("invoices");
    let bytes = invoices_csv(&invoices).expect("a table").len();
    report("write invoices", figures, start);
    assert!(bytes > 0);
    books.close().await;
    let start = Instant::now();
    let found = SqliteBooks::verify(&path).await.expect("can be checked");
    report("verify", figures, start);
    assert!(found.is_sound(), "{:?}", found.findings);
}

async fn close_day(books: &SqliteBooks, counting: &Counted, day: Day) -> u64 {
    let closed = close(books, books, counting, &CloseOptions::default(), day, NOW).await;
    closed.expect("closes").posted.new
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn report(what: &str, figures: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<36} {seconds:>8.3} s   {:>10.0} figures/s", figures as f64 / seconds);
}

struct Counted {
    figures: Figures,
}

#[async_trait]
impl Counting for Counted {
    fn progress(&self) -> Progress {
        Progress { epoch: 1, watermark: NOW, lake: None }
    }

    async fn figures(&self, _day: Day) -> Result<Figures, Cause> {
        Ok(self.figures.clone())
    }

    async fn reconcile(&self, figures: &Figures) -> Result<Reconciled, Cause> {
        Ok(Reconciled::Agrees { rows_compared: figures.rows.len() as u64 })
    }
}

fn campaign_of(ad: usize) -> String {
    format!("campaign-{}", ad / ADS_A_CAMPAIGN)
}

fn figures_of(day: Day, ads: usize) -> Figures {
    let mut rows = Vec::new();
    for ad in 0..ads {
        for hour in day.hours() {
            let (campaign, ad) = (name_key(&campaign_of(ad)), name_key(&format!("ad-{ad}")));
            let line = Line { tenant: TENANT, campaign, currency: Currency::EUR, hour, ad };
            rows.push(Figure { line, clicks: 3, duplicates: 1, invalid: 1, spend: 30 });
        }
    }
    Figures { day, cut: 1, rows }
}

/// Campaigns whose budget is used up in the afternoon.
async fn register(books: &SqliteBooks, ads: usize, created_at: Timestamp) {
    let advertiser = Advertiser {
        advertiser_id: "acme".to_owned(),
        name: "Acme".to_owned(),
        currency: Currency::EUR,
        created_at,
    };
    books.create_advertisers(TENANT, vec![advertiser]).await.expect("is registered");
    let campaign = |number: usize| Campaign {
        campaign_id: format!("campaign-{number}"),
        advertiser_id: "acme".to_owned(),
        name: "Some".to_owned(),
        cpc_micros: 10,
        daily_budget_micros: Some(16 * 30 * ADS_A_CAMPAIGN as i64),
        targeting: None,
        status: Status::Active,
        created_at,
    };
    let campaigns = (0..=ads / ADS_A_CAMPAIGN).map(campaign).collect();
    books.create_campaigns(TENANT, campaigns).await.expect("are registered");
    let ad = |number: usize| Ad {
        ad_id: format!("ad-{number}"),
        campaign_id: campaign_of(number),
        destination_url: "https://shop.example/".to_owned(),
        category: None,
        creative_size: None,
        append_click_id: None,
        locale: None,
        quality_micros: None,
        status: Status::Active,
        created_at,
    };
    let ads: Vec<Ad> = (0..ads).map(ad).collect();
    for batch in ads.chunks(BATCH_ITEMS_MAX) {
        books.create_ads(TENANT, batch.to_vec()).await.expect("are registered");
    }
}
