//! Values at their limits come back as they were written, and what a text of the database cannot hold
//! is nobody's name.

use reckon_books::{
    Ad, Ads, Advertiser, Advertisers, ApiKey, Balance, Books, Campaign, CampaignPatch, Campaigns,
    Claim, Entry, ErasureWork, ErrorKind, FrozenFigure, KeyKind, Keys, LABEL_BYTES_MAX, Leases,
    Ledger, Page, Periods, Profiles, Replays, RequestDigest, Scopes, SecretHash, Slice,
    StoredResponse, TARGETING_BYTES_MAX, Targeting, Tenant, Tombstone, Tombstones, URL_BYTES_MAX,
};
use reckon_event::{Day, Pseudonym, TenantId, Timestamp};

use crate::place::Place;
use crate::things::{HOUR, TENANT, ad, advertiser, campaign, charge, day, figure, only, register};

const LAST_TENANT: TenantId = TenantId(u32::MAX);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_and_highest_of_everything_comes_back() {
    let place = Place::new().await;
    let books = place.postgres().await;
    let last = Timestamp(Timestamp::MAX.0 - 1);
    let tenant = Tenant { tenant: LAST_TENANT, name: "\u{1f600}".repeat(64), created_at: last };
    assert!(books.create_tenant(tenant.clone()).await.expect("sound").is_new());
    assert!(books.tenants().await.expect("reads").contains(&tenant));
    let name = "\u{e4}".repeat(LABEL_BYTES_MAX / 2);
    let payer = Advertiser { name: name.clone(), created_at: last, ..advertiser("\u{10ffff}") };
    only(books.create_advertisers(LAST_TENANT, vec![payer.clone()]).await).expect("sound");
    let json = format!(r#"{{"a":"{}"}}"#, "x".repeat(TARGETING_BYTES_MAX - 8));
    let dearest = Campaign {
        name,
        cpc_micros: 1_000_000_000_000,
        daily_budget_micros: Some(i64::MAX),
        targeting: Some(Targeting::parse(&json).expect("fits")),
        created_at: last,
        ..campaign("c", "\u{10ffff}")
    };
    only(books.create_campaigns(LAST_TENANT, vec![dearest.clone()]).await).expect("sound");
    let head = "https://shop.example/";
    let url = format!("{head}{}", "x".repeat(URL_BYTES_MAX - head.len()));
    let longest = Ad { destination_url: url, created_at: last, ..ad("a", "c") };
    only(books.create_ads(LAST_TENANT, vec![longest.clone()]).await).expect("sound");
    assert_eq!(books.advertiser(LAST_TENANT, "\u{10ffff}").await.expect("there"), payer);
    assert_eq!(books.campaign(LAST_TENANT, "c").await.expect("there"), dearest);
    assert_eq!(books.ad(LAST_TENANT, "a").await.expect("there"), longest);
    let snapshot = books.load_catalog().await.expect("loads");
    assert_eq!((snapshot.ads[0].tenant, &snapshot.ads[0].ad), (LAST_TENANT, &longest));
    assert_eq!(snapshot.campaigns[0].campaign, dearest);

    let key = ApiKey {
        key_id: "k".to_owned(),
        tenant: LAST_TENANT,
        name: "Key".to_owned(),
        kind: KeyKind::Secret,
        scopes: Scopes::ALL,
        requests_per_second: Some(u32::MAX),
        created_at: last,
        revoked_at: None,
    };
    let secret = SecretHash([0xff; 32]);
    books.create_key(key.clone(), secret).await.expect("sound");
    assert_eq!(books.key_by_secret(secret).await.expect("reads"), Some(key));
    let (digest, body) = (RequestDigest([0xff; 32]), (0..=255).cycle().take(100_000).collect());
    assert_eq!(books.begin(LAST_TENANT, "r", digest, HOUR).await.expect("works"), Claim::Fresh);
    let response = StoredResponse { status: 599, body };
    books.complete(LAST_TENANT, "r", digest, response.clone()).await.expect("kept");
    let replay = books.begin(LAST_TENANT, "r", digest, HOUR).await.expect("works");
    assert_eq!(replay, Claim::Replay(response));
    assert!(place.findings().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_pseudonyms_and_epochs_are_kept() {
    let books = Place::new().await.postgres().await;
    let persons = [1, u128::from(u64::MAX), 1 << 64, u128::MAX >> 1, 1 << 127, u128::MAX];
    for person in persons {
        let work = ErasureWork {
            surrogate: Pseudonym(!person | 1),
            key: [0xff; 32],
            traces: "{\"\u{1f600}\":[]}".to_owned(),
            swept_epoch: i64::MAX as u64,
        };
        let stone = Tombstone {
            tenant: TENANT,
            person: Pseudonym(person),
            asked_at: Timestamp(0),
            quiet_at: Timestamp::MAX,
            work: Some(work),
            proof: None,
        };
        books.set_tombstone(stone.clone()).await.expect("set");
        let there = books.tombstone(TENANT, Pseudonym(person)).await.expect("reads");
        assert_eq!(there, Some(stone));
    }
    let listed = books.tombstones(None).await.expect("reads");
    let listed: Vec<u128> = listed.iter().map(|(_, person, _)| person.0).collect();
    assert_eq!(listed, persons, "in the order of the numbers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_are_exact_up_to_the_last_and_a_sum_beyond_is_no_sum() {
    let books = Place::new().await.postgres().await;
    register(&books).await;
    let highest = FrozenFigure {
        clicks: i64::MAX,
        duplicates: i64::MAX,
        invalid: i64::MAX,
        daily_budget: Some(i64::MAX),
        ..figure("a", 0, i64::MAX)
    };
    let cut = i64::MAX as u64;
    books.freeze(day(), cut, vec![highest.clone()], HOUR).await.expect("freezes");
    assert_eq!(books.figures(&Slice::of_day(day()), None).await.expect("reads"), [highest]);
    assert_eq!(books.periods(day(), day()).await.expect("reads")[0].cut, cut);
    let beyond = books.freeze(Day::new(1).expect("a day"), cut + 1, Vec::new(), HOUR).await;
    let refused = beyond.expect_err("no epoch");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "cut" });

    let most = Entry { clicks: i64::MAX, cut, ..charge("a", 0, i64::MAX - 1) };
    books.post(vec![most.clone(), charge("b", 0, 1)]).await.expect("posts");
    let entries = books.entries(&Slice::of_day(day()), None).await.expect("reads");
    assert_eq!(entries, [most, charge("b", 0, 1)]);
    let balances: Vec<Balance> = books.balances(&Slice::of_day(day())).await.expect("sums");
    assert_eq!((balances[0].debits, balances[1].credits), (i64::MAX, i64::MAX));
    books.post(vec![charge("c", 0, 1)]).await.expect("posts");
    let refused = books.balances(&Slice::of_day(day())).await.expect_err("no number");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_number_of_a_lease_is_the_last() {
    let place = Place::new().await;
    let books = place.postgres().await;
    place.tamper("INSERT INTO leases VALUES ('minter', 4294967294, 0)").await;
    assert_eq!(books.lease("minter", Timestamp(0)).await.expect("one left"), u32::MAX);
    let refused = books.lease("minter", Timestamp(0)).await.expect_err("none left");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "name" }, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_bounded() {
    let place = Place::new().await;
    let books = place.postgres().await;
    register(&books).await;
    place.tamper("INSERT INTO campaign_terms VALUES (1, 'spring', 65535, 1, 3, NULL)").await;
    let price = |cpc| CampaignPatch { cpc_micros: Some(cpc), ..CampaignPatch::default() };
    books.patch_campaign(TENANT, "spring", price(4), HOUR).await.expect("the last");
    let refused = books.patch_campaign(TENANT, "spring", price(5), HOUR).await;
    let refused = refused.expect_err("one too many");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "cpc_micros" }, "{refused}");
    assert_eq!(books.campaign(TENANT, "spring").await.expect("there").cpc_micros, 4);
}

/// A zero byte stands in no text of the database. Whoever asks for a name with one hears what SQLite
/// says: there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_a_zero_byte_is_nobodys() {
    let books = Place::new().await.postgres().await;
    register(&books).await;
    let nul = "shoe\0";
    assert_eq!(books.ad(TENANT, nul).await.expect_err("none").kind, ErrorKind::NotFound);
    assert_eq!(books.terms(TENANT, nul).await.expect_err("none").kind, ErrorKind::NotFound);
    let price = books.price_at(TENANT, nul, HOUR).await;
    assert_eq!(price.expect_err("none").kind, ErrorKind::NotFound);
    let profile = books.billing_profile(TENANT, nul).await;
    assert_eq!(profile.expect_err("none").kind, ErrorKind::NotFound);
    let page = |after: &str| Page { after: Some(after.to_owned()), limit: 9 };
    let behind = books.list_ads(TENANT, None, page("sho\0e")).await.expect("reads");
    assert_eq!(behind, [ad("shoe", "spring")]);
    assert!(books.list_ads(TENANT, None, page(nul)).await.expect("reads").is_empty());
    assert!(books.list_ads(TENANT, Some("\0"), page("")).await.expect("reads").is_empty());
    let slice = Slice::of_day(day()).of_advertiser(TENANT, "acme\0");
    assert!(books.balances(&slice).await.expect("sums").is_empty());
    let after = Some((HOUR, "\0".to_owned()));
    assert!(books.entries(&slice, after).await.expect("reads").is_empty());
    books.freeze(day(), 9, Vec::new(), HOUR).await.expect("freezes");
    let foreign = Entry { campaign_id: "spring\0".to_owned(), ..charge("a", 0, 5) };
    let refused = books.post(vec![foreign]).await.expect_err("not registered");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "campaign_id" }, "{refused}");
    let refused = only(books.create_ads(TENANT, vec![ad("boot", "spring\0")]).await);
    let refused = refused.expect_err("no name");
    assert_eq!(refused.kind, ErrorKind::Invalid { field: "campaign_id" }, "{refused}");
    books.abandon(TENANT, "\0", RequestDigest([0; 32])).await.expect("there is nothing");
}
