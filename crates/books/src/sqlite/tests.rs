//! SQLite keeps the promises of the books, and what is particular to a file: copies of a running
//! one, damage, files of other builds.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use reckon_event::{Currency, TenantId, Timestamp, name_key};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use tempfile::TempDir;

use super::SqliteBooks;
use super::entity::select_each;
use super::verify::verify_with;
use crate::books::{Ads, Advertisers, Books, Campaigns, Created, Leases};
use crate::catalog::{Ad, Advertiser, Campaign, CampaignPatch, Status};
use crate::conformance::{Bench, NameKey};
use crate::error::ErrorKind;
use crate::ledger::Accounts;

const TENANT: TenantId = TenantId::DEFAULT;

/// A folder with books in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(TempDir::new().expect("a folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("books.db")
    }

    async fn open(&self) -> SqliteBooks {
        SqliteBooks::open(&self.file()).await.expect("the books open")
    }

    /// Changes the file behind the books' back.
    async fn tamper(&self, sql: &str) {
        let options = SqliteConnectOptions::new()
            .filename(self.file())
            .create_if_missing(true)
            .foreign_keys(false);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("runs");
        connection.close().await.expect("closes");
    }

    async fn findings(&self) -> Vec<String> {
        SqliteBooks::verify(&self.file()).await.expect("can be checked").findings
    }
}

#[async_trait]
impl Bench for Folder {
    async fn open_with(&self, name_key: NameKey) -> Arc<dyn Books> {
        Arc::new(SqliteBooks::open_with(&self.file(), name_key).await.expect("the books open"))
    }

    async fn accounts(&self) -> Arc<dyn Accounts> {
        Arc::new(self.open().await)
    }
}

crate::books_conformance!(Folder::new());

/// An advertiser, a campaign that changed its price once, and `ads` ads.
async fn fill(books: &SqliteBooks, ads: usize) {
    let created_at = Timestamp::from_seconds(1_000);
    let advertiser = Advertiser {
        advertiser_id: "acme".to_owned(),
        name: "Acme".to_owned(),
        currency: Currency::USD,
        created_at,
    };
    books.create_advertisers(TENANT, vec![advertiser]).await.expect("works").remove(0).expect("ok");
    let campaign = Campaign {
        campaign_id: "spring".to_owned(),
        advertiser_id: "acme".to_owned(),
        name: "Spring".to_owned(),
        cpc_micros: 1_000,
        daily_budget_micros: None,
        targeting: None,
        status: Status::Active,
        created_at,
    };
    books.create_campaigns(TENANT, vec![campaign]).await.expect("works").remove(0).expect("ok");
    let patch = CampaignPatch { cpc_micros: Some(2_000), ..CampaignPatch::default() };
    books.patch_campaign(TENANT, "spring", patch, created_at.plus(5)).await.expect("works");
    let ad = |n: usize| Ad {
        ad_id: format!("ad-{n:04}"),
        campaign_id: "spring".to_owned(),
        destination_url: format!("https://shop.example/{n}"),
        category: None,
        creative_size: None,
        append_click_id: None,
        locale: None,
        quality_micros: None,
        status: Status::Active,
        created_at,
    };
    let outcomes = books.create_ads(TENANT, (0..ads).map(ad).collect()).await.expect("works");
    assert!(outcomes.iter().all(Result::is_ok));
}

/// A process that is killed leaves the file and its write-ahead log as they are at that moment. So a
/// copy of both, made while the books are open, must know every number that was answered.
#[tokio::test]
async fn a_killed_process_forgets_no_lease() {
    let (alive, killed) = (Folder::new(), Folder::new());
    let books = alive.open().await;
    for expected in 1..=20 {
        assert_eq!(books.lease("minter", Timestamp(0)).await.expect("works"), expected);
        if expected % 5 == 0 {
            copy_as_it_is(&alive, &killed);
            let next = killed.open().await;
            assert_eq!(next.lease("minter", Timestamp(0)).await.expect("works"), expected + 1);
            next.close().await;
        }
    }
}

fn copy_as_it_is(from: &Folder, to: &Folder) {
    for suffix in ["", "-wal"] {
        let name = format!("books.db{suffix}");
        std::fs::copy(from.0.path().join(&name), to.0.path().join(&name)).expect("copied");
    }
    let _ = std::fs::remove_file(to.0.path().join("books.db-shm"));
}

/// What "durable when answered" rests on is in force on the connection that writes.
#[tokio::test]
async fn every_commit_is_synced() {
    let folder = Folder::new();
    let books = folder.open().await;
    let mut writer = books.writer.acquire().await.expect("free");
    let settings =
        [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1"), ("query_only", "0")];
    for (setting, expected) in settings {
        let query = AssertSqlSafe(format!("SELECT CAST({setting} AS TEXT) FROM pragma_{setting}"));
        let row = sqlx::query(query).fetch_one(&mut *writer).await.expect("a setting");
        assert_eq!(row.get::<String, _>(0), expected, "{setting}");
    }
}

/// A batch looks its ids up one by one, and a page is one range of one index: neither reads all that
/// a tenant has, however much that is.
#[tokio::test]
async fn nothing_is_looked_up_by_reading_all() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 100).await;
    let by_key = select_each("ads", "destination_url", "name_key", TENANT, 0_i64..50).into_string();
    let by_id = select_each("campaigns", "campaign_id", "campaign_id", TENANT, ["a", "b"]);
    let page = "SELECT ad_id FROM ads WHERE tenant = 1 AND ";
    let plans = [
        (by_key, "SEARCH ads USING INDEX ads_by_key (tenant=? AND name_key=?)"),
        (by_id.into_string(), "SEARCH campaigns USING PRIMARY KEY (tenant=? AND campaign_id=?)"),
        (
            format!("{page} campaign_id = 'c' AND ad_id > 'a' ORDER BY ad_id LIMIT 9"),
            "SEARCH ads USING COVERING INDEX ads_by_campaign (tenant=? AND campaign_id=? AND ad_id>?)",
        ),
        (
            format!("{page} ad_id > 'a' ORDER BY ad_id LIMIT 9"),
            "SEARCH ads USING PRIMARY KEY (tenant=? AND ad_id>?)",
        ),
    ];
    for (query, expected) in plans {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let rows = sqlx::query(explain).fetch_all(&books.readers).await.expect("a plan");
        let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        assert!(steps.iter().any(|step| step == expected), "{steps:#?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:#?}");
    }
}

#[tokio::test]
async fn sound_books_are_found_sound_open_or_closed() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 500).await;
    let open = SqliteBooks::verify(&folder.file()).await.expect("can be checked");
    books.close().await;
    let closed = SqliteBooks::verify(&folder.file()).await.expect("can be checked");
    assert!(open.is_sound(), "{:?}", open.findings);
    assert_eq!(open, closed);
    assert_eq!(open.rows_checked, 504, "an advertiser, a campaign, two terms and the ads");
}

#[tokio::test]
async fn a_key_that_is_not_its_names_is_found() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 3).await;
    books.close().await;
    let wrong = verify_with(&folder.file(), |name| name_key(name) ^ 1).await.expect("checked");
    assert_eq!(wrong.findings.len(), 5, "all names");
    folder.tamper("UPDATE ads SET name_key = 5 WHERE ad_id = 'ad-0001'").await;
    let expected = "ad `ad-0001` of tenant 1: its stored key is not the key of its name";
    assert_eq!(folder.findings().await, [expected]);
}

#[tokio::test]
async fn a_price_without_history_is_found() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 0).await;
    books.close().await;
    folder.tamper("UPDATE campaigns SET cpc_micros = 5, created_at = 7").await;
    let expected = [
        "campaign `spring` of tenant 1 has a price or budget other than its last terms",
        "campaign `spring` of tenant 1 has first terms that do not hold from its making",
    ];
    assert_eq!(folder.findings().await, expected);
    let gap = "UPDATE campaigns SET cpc_micros = 9, created_at = 1000000000; \
               INSERT INTO campaign_terms VALUES (1, 'spring', 4, 1, 9, NULL)";
    folder.tamper(gap).await;
    let expected = ["campaign `spring` of tenant 1 has a gap or a step back in its terms"];
    assert_eq!(folder.findings().await, expected);
}

#[tokio::test]
async fn an_orphan_and_an_unreadable_value_are_found() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 2).await;
    books.close().await;
    folder
        .tamper(
            "UPDATE ads SET campaign_id = 'gone' WHERE ad_id = 'ad-0000'; \
             UPDATE ads SET destination_url = 'gone' WHERE ad_id = 'ad-0001'; \
             UPDATE advertisers SET currency = 'usd'",
        )
        .await;
    let findings = folder.findings().await;
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert_eq!(findings[0], "a row of ads names a row of campaigns that is not there");
    assert_eq!(findings[1], "advertiser `acme` of tenant 1: `usd` is no currency");
    assert!(findings[2].starts_with("ad `ad-0001` of tenant 1: destination_url must be"));
    let refused = folder.open().await.load_catalog().await.expect_err("not served");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
}

#[tokio::test]
async fn a_flipped_page_is_found() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 500).await;
    books.close().await;
    let mut bytes = std::fs::read(folder.file()).expect("read");
    let pages = bytes.len() / 4_096;
    assert!(pages > 20, "{pages} pages are too few to prove anything");
    let mut found = 0;
    for page in 1..pages {
        let header = page * 4_096..page * 4_096 + 16;
        let sound = bytes[header.clone()].to_vec();
        bytes[header.clone()].fill(0xa5);
        std::fs::write(folder.file(), &bytes).expect("written");
        let told = SqliteBooks::verify(&folder.file()).await;
        assert!(told.map_or(true, |told| !told.is_sound()), "page {page} passed");
        bytes[header].copy_from_slice(&sound);
        found += 1;
    }
    assert_eq!(found, pages - 1);
    std::fs::write(folder.file(), &bytes).expect("written");
    assert!(folder.findings().await.is_empty(), "the mended file is sound");
}

#[tokio::test]
async fn history_cannot_be_edited_even_by_hand() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 0).await;
    for sql in ["UPDATE campaign_terms SET cpc_micros = 1", "DELETE FROM campaign_terms"] {
        let refused = sqlx::query(sql).execute(&books.writer).await.expect_err("refused");
        assert!(refused.to_string().contains("terms are history"), "{refused}");
    }
}

/// A disk that is full refuses a whole batch, leaves nothing of it, and harms nothing.
#[tokio::test]
async fn a_full_disk_leaves_nothing_of_a_batch() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 5).await;
    let before = books.load_catalog().await.expect("loads");
    let ad = |n| Ad { ad_id: format!("more-{n}"), ..before.ads[0].ad.clone() };
    let ads: Vec<Ad> = (0..2_000).map(ad).collect();
    sqlx::query("PRAGMA max_page_count = 40").execute(&books.writer).await.expect("bounded");
    let refused = books.create_ads(TENANT, ads.clone()).await.expect_err("full");
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    assert_eq!(books.load_catalog().await.expect("loads"), before);
    sqlx::query("PRAGMA max_page_count = 1000000").execute(&books.writer).await.expect("room");
    let outcomes = books.create_ads(TENANT, ads).await.expect("fits");
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(Created::is_new)));
    assert!(folder.findings().await.is_empty());
}

#[tokio::test]
async fn closed_books_are_not_available() {
    let books = Folder::new().open().await;
    books.close().await;
    let refused = books.lease("minter", Timestamp(0)).await.expect_err("closed");
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
}

#[tokio::test]
async fn the_last_number_of_a_lease_is_the_last() {
    let folder = Folder::new();
    let books = folder.open().await;
    folder.tamper("INSERT INTO leases VALUES ('minter', 4294967294, 0)").await;
    assert_eq!(books.lease("minter", Timestamp(0)).await.expect("one left"), u32::MAX);
    let refused = books.lease("minter", Timestamp(0)).await.expect_err("none left");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "name" }, "{refused}");
}

#[tokio::test]
async fn a_history_is_bounded() {
    let folder = Folder::new();
    let books = folder.open().await;
    fill(&books, 0).await;
    folder.tamper("INSERT INTO campaign_terms VALUES (1, 'spring', 65535, 1, 3, NULL)").await;
    let price = |cpc| CampaignPatch { cpc_micros: Some(cpc), ..CampaignPatch::default() };
    books.patch_campaign(TENANT, "spring", price(4), Timestamp(2)).await.expect("the last");
    let refused = books.patch_campaign(TENANT, "spring", price(5), Timestamp(3)).await;
    let refused = refused.expect_err("one too many");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "cpc_micros" }, "{refused}");
    assert_eq!(books.campaign(TENANT, "spring").await.expect("there").cpc_micros, 4);
}

#[tokio::test]
async fn an_empty_database_is_no_books() {
    let folder = Folder::new();
    folder.tamper("CREATE TABLE letters (text TEXT)").await;
    let refused = SqliteBooks::verify(&folder.file()).await.expect_err("no books");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
}

#[tokio::test]
async fn what_is_not_there_is_not_made_by_a_check() {
    let folder = Folder::new();
    let refused = SqliteBooks::verify(&folder.file()).await.expect_err("nothing there");
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    assert!(!folder.file().exists());
    let nowhere = folder.0.path().join("no/such/folder/books.db");
    let refused = SqliteBooks::open(&nowhere).await.expect_err("no folder");
    assert!(refused.to_string().contains("no/such/folder"), "{refused}");
}

#[tokio::test]
async fn a_file_of_something_else_is_left_alone() {
    let folder = Folder::new();
    let letter = b"Dear reader, this is no database. ".repeat(100);
    std::fs::write(folder.file(), &letter).expect("written");
    let refused = SqliteBooks::open(&folder.file()).await.expect_err("no books");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
    assert_eq!(std::fs::read(folder.file()).expect("read"), letter);
}

#[tokio::test]
async fn books_of_another_schema_are_not_called_damaged_rows() {
    let folder = Folder::new();
    folder.open().await.close().await;
    let steps = [
        ("DELETE FROM _sqlx_migrations WHERE version = 3", "open them once with this build"),
        ("INSERT INTO _sqlx_migrations VALUES (9, 'later', 0, 1, x'00', 0)", "schema version 9"),
    ];
    for (step, told) in steps {
        folder.tamper(step).await;
        let refused = SqliteBooks::verify(&folder.file()).await.expect_err("of another build");
        assert!(refused.message.contains(told), "{refused}");
    }
}

#[tokio::test]
async fn books_of_a_newer_build_are_refused() {
    let folder = Folder::new();
    folder.open().await.close().await;
    folder.tamper("INSERT INTO _sqlx_migrations VALUES (9, 'later', 0, 1, x'00', 0)").await;
    let refused = SqliteBooks::open(&folder.file()).await.expect_err("from the future");
    assert!(refused.to_string().contains("use a newer build"), "{refused}");
}
