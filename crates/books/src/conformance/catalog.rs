//! Advertisers, campaigns and ads: made once, found again, never another tenant's.

use std::sync::Arc;

use reckon_event::{TenantId, Timestamp, name_key};

use super::register_parents;
use super::{Bench, NOON, TENANT, ad, advertiser, all, campaign, expect_kind, only};
use crate::books::{Books, Created, Page};
use crate::catalog::{
    Ad, AdPatch, AdvertiserPatch, Campaign, CampaignPatch, Status, Targeting, Terms,
};
use crate::check::BATCH_ITEMS_MAX;
use crate::error::ErrorKind;
use crate::key::Tenant;

/// A second tenant.
const OTHER: TenantId = TenantId(7);

/// What was answered is what is read, by this client and by one that opens the store later.
pub async fn what_is_created_is_there_after_reopening(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let made = only(books.create_ads(TENANT, vec![ad("a-1", "spring")]).await).expect("sound");
    assert_eq!(made, Created::New(ad("a-1", "spring")));
    books.close().await;

    let books = bench.open().await;
    assert_eq!(books.advertiser(TENANT, "acme").await.expect("there"), advertiser("acme"));
    let spring = books.campaign(TENANT, "spring").await.expect("there");
    assert_eq!(spring, campaign("spring", "acme"));
    assert_eq!(books.ad(TENANT, "a-1").await.expect("there"), ad("a-1", "spring"));
    let message = expect_kind(books.ad(TENANT, "a-2").await, ErrorKind::NotFound);
    assert_eq!(message, "there is no ad `a-2`");
}

/// A creation may be repeated, also later; one that differs is refused and changes nothing.
pub async fn creating_again_is_the_same_and_creating_otherwise_conflicts(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let first = ad("a-1", "spring");
    assert!(only(books.create_ads(TENANT, vec![first.clone()]).await).expect("sound").is_new());

    let later = Ad { created_at: NOON.plus(1), ..first.clone() };
    let again = only(books.create_ads(TENANT, vec![later]).await).expect("the same");
    assert_eq!(again, Created::Same(first.clone()), "with the time of its making");

    let differing = Ad { category: None, ..first.clone() };
    let refused = only(books.create_ads(TENANT, vec![differing]).await);
    expect_kind(refused, ErrorKind::Conflict);
    let dearer = Campaign { cpc_micros: 1, ..campaign("spring", "acme") };
    expect_kind(only(books.create_campaigns(TENANT, vec![dearer]).await), ErrorKind::Conflict);
    let again = only(books.create_campaigns(TENANT, vec![campaign("spring", "acme")]).await);
    assert!(!again.expect("the same").is_new());
    assert_eq!(books.terms(TENANT, "spring").await.expect("there").len(), 1, "not made anew");
    assert_eq!(books.ad(TENANT, "a-1").await.expect("there"), first);
}

/// Each item of a batch has its own outcome, in order; also items that meet each other.
pub async fn a_bad_item_does_not_spoil_its_batch(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let sound = ad("a-1", "spring");
    let batch = vec![
        sound.clone(),
        Ad { destination_url: "ftp://shop.example/".to_owned(), ..ad("a-2", "spring") },
        ad("a-3", "autumn"),
        sound.clone(),
        Ad { category: None, ..sound.clone() },
        ad("", "spring"),
        ad("a-4", "spring"),
    ];
    let outcomes = books.create_ads(TENANT, batch).await.expect("the engine works");
    let told: Vec<_> = outcomes.into_iter().map(|o| o.map_err(|error| error.kind)).collect();
    let expected = vec![
        Ok(Created::New(sound.clone())),
        Err(ErrorKind::Invalid { field: "destination_url" }),
        Err(ErrorKind::Invalid { field: "campaign_id" }),
        Ok(Created::Same(sound.clone())),
        Err(ErrorKind::Conflict),
        Err(ErrorKind::Invalid { field: "ad_id" }),
        Ok(Created::New(ad("a-4", "spring"))),
    ];
    assert_eq!(told, expected);
    let kept = books.list_ads(TENANT, None, all()).await.expect("the engine works");
    assert_eq!(kept, [sound, ad("a-4", "spring")]);
}

/// The bound of a batch is the one that is published.
pub async fn a_full_batch_is_taken_and_one_item_more_is_not(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let full: Vec<Ad> = (0..BATCH_ITEMS_MAX).map(|n| ad(&format!("a-{n}"), "spring")).collect();
    let mut above = full.clone();
    above.push(ad("one-more", "spring"));
    let refused = books.create_ads(TENANT, above).await;
    expect_kind(refused, ErrorKind::Invalid { field: "items" });
    expect_kind(books.ad(TENANT, "a-0").await, ErrorKind::NotFound);

    let outcomes = books.create_ads(TENANT, full).await.expect("the engine works");
    let made = outcomes.iter().filter(|o| o.as_ref().is_ok_and(Created::is_new)).count();
    assert_eq!(made, BATCH_ITEMS_MAX);
    let none = books.create_ads(TENANT, Vec::new()).await.expect("nothing is fine");
    assert!(none.is_empty());
}

/// All names of one length have one key.
fn key_by_length(name: &str) -> u64 {
    name.len() as u64 | 1 << 63
}

/// Two names with one key are told apart nowhere but here, so the second is refused, naming both.
pub async fn names_with_one_key_are_refused_by_both_names(bench: &dyn Bench) {
    let books = bench.open_with(key_by_length).await;
    register_parents(&*books, TENANT).await;
    let made = only(books.create_ads(TENANT, vec![ad("a-1", "spring")]).await);
    assert!(made.expect("sound").is_new());

    let refused = only(books.create_ads(TENANT, vec![ad("b-2", "spring")]).await);
    let message = expect_kind(refused, ErrorKind::Collision);
    assert!(message.contains("`b-2`") && message.contains("`a-1`"), "{message}");
    expect_kind(books.ad(TENANT, "b-2").await, ErrorKind::NotFound);

    let refused = only(books.create_campaigns(TENANT, vec![campaign("winter", "acme")]).await);
    let message = expect_kind(refused, ErrorKind::Collision);
    assert!(message.contains("`winter`") && message.contains("`spring`"), "{message}");

    let within = vec![ad("seven-1", "spring"), ad("seven-2", "spring")];
    let mut outcomes = books.create_ads(TENANT, within).await.expect("the engine works");
    let message = expect_kind(outcomes.remove(1), ErrorKind::Collision);
    assert!(message.contains("`seven-2`") && message.contains("`seven-1`"), "{message}");

    // An ad may share its key with a campaign or with another tenant's ad: they never meet.
    assert!(only(books.create_ads(TENANT, vec![ad("spring", "spring")]).await).is_ok());
    add_other_tenant(&*books).await;
    register_parents(&*books, OTHER).await;
    assert!(only(books.create_ads(OTHER, vec![ad("b-2", "spring")]).await).is_ok());
}

async fn add_other_tenant(books: &dyn Books) {
    let tenant = Tenant { tenant: OTHER, name: "other".to_owned(), created_at: NOON };
    assert!(books.create_tenant(tenant).await.expect("sound").is_new());
}

/// Pages follow each other without gap or repetition, in the order of the bytes of the ids.
pub async fn lists_are_pages_in_byte_order(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let autumn = books.create_campaigns(TENANT, vec![campaign("autumn", "acme")]).await;
    assert!(only(autumn).is_ok());
    let ids = ["a", "B", "\u{e4}", "a-10", "a-2", "Z", "_", "\u{1f600}", "10", "9"];
    let campaign_of = |id: &str| if id.len() == 1 { "spring" } else { "autumn" };
    let ads = ids.iter().map(|id| ad(id, campaign_of(id))).collect();
    let outcomes = books.create_ads(TENANT, ads).await.expect("the engine works");
    assert!(outcomes.iter().all(Result::is_ok));

    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    for limit in [1, 3, 10, 11] {
        assert_eq!(walk(&*books, None, limit).await, sorted, "in pages of {limit}");
    }
    sorted.retain(|id| campaign_of(id) == "autumn");
    assert_eq!(walk(&*books, Some("autumn"), 2).await, sorted);
    assert!(walk(&*books, Some("winter"), 2).await.is_empty());

    let campaigns = books.list_campaigns(TENANT, Some("acme"), all()).await.expect("works");
    assert_eq!(campaigns.len(), 2);
    let advertisers = books.list_advertisers(TENANT, all()).await.expect("works");
    assert_eq!(advertisers, [advertiser("acme")]);
    for limit in [0, 1_001] {
        let refused = books.list_ads(TENANT, None, Page { after: None, limit }).await;
        expect_kind(refused, ErrorKind::Invalid { field: "limit" });
    }
}

async fn walk(books: &dyn Books, campaign_id: Option<&str>, limit: u32) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let page = Page { after: ids.last().cloned(), limit };
        let ads = books.list_ads(TENANT, campaign_id, page).await.expect("the engine works");
        if ads.is_empty() {
            return ids;
        }
        assert!(ads.len() <= limit as usize);
        ids.extend(ads.into_iter().map(|ad| ad.ad_id));
    }
}

/// Fields a patch does not name stay, and a patch that makes nonsense changes nothing.
pub async fn a_patch_changes_what_it_names(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    assert!(only(books.create_ads(TENANT, vec![ad("a-1", "spring")]).await).is_ok());

    let patch =
        AdPatch { status: Some(Status::Active), category: Some(None), ..AdPatch::default() };
    let expected = Ad { status: Status::Active, category: None, ..ad("a-1", "spring") };
    assert_eq!(books.patch_ad(TENANT, "a-1", patch.clone()).await.expect("sound"), expected);
    assert_eq!(books.patch_ad(TENANT, "a-1", patch.clone()).await.expect("again"), expected);
    let broken = AdPatch { destination_url: Some("nowhere".to_owned()), ..patch.clone() };
    let refused = books.patch_ad(TENANT, "a-1", broken).await;
    expect_kind(refused, ErrorKind::Invalid { field: "destination_url" });
    assert_eq!(books.ad(TENANT, "a-1").await.expect("there"), expected);
    expect_kind(books.patch_ad(TENANT, "a-2", patch).await, ErrorKind::NotFound);

    let targeting = Targeting::parse(r#"{"device":"phone"}"#).expect("an object");
    let patch =
        CampaignPatch { targeting: Some(Some(targeting.clone())), ..CampaignPatch::default() };
    let changed = books.patch_campaign(TENANT, "spring", patch, NOON).await.expect("sound");
    let expected = Campaign { targeting: Some(targeting), ..campaign("spring", "acme") };
    assert_eq!(changed, expected);
    assert_eq!(books.campaign(TENANT, "spring").await.expect("there"), expected);

    let patch = AdvertiserPatch { name: Some("Acme & Sons".to_owned()) };
    let changed = books.patch_advertiser(TENANT, "acme", patch).await.expect("sound");
    assert_eq!(changed.name, "Acme & Sons");
    assert_eq!(books.advertiser(TENANT, "acme").await.expect("there"), changed);
}

/// One tenant's things are not another's, even of one id, and nobody writes for no tenant.
pub async fn tenants_never_meet(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    assert!(only(books.create_ads(TENANT, vec![ad("a-1", "spring")]).await).is_ok());
    let nobody = books.create_advertisers(OTHER, vec![advertiser("acme")]).await;
    expect_kind(nobody, ErrorKind::NotFound);

    add_other_tenant(&*books).await;
    expect_kind(books.ad(OTHER, "a-1").await, ErrorKind::NotFound);
    expect_kind(books.campaign(OTHER, "spring").await, ErrorKind::NotFound);
    expect_kind(books.terms(OTHER, "spring").await, ErrorKind::NotFound);
    expect_kind(books.price_at(OTHER, "spring", NOON).await, ErrorKind::NotFound);
    let orphan = only(books.create_ads(OTHER, vec![ad("a-1", "spring")]).await);
    expect_kind(orphan, ErrorKind::Invalid { field: "campaign_id" });
    assert!(books.list_ads(OTHER, None, all()).await.expect("works").is_empty());

    register_parents(&*books, OTHER).await;
    let theirs = Ad { status: Status::Archived, ..ad("a-1", "spring") };
    assert!(only(books.create_ads(OTHER, vec![theirs.clone()]).await).expect("sound").is_new());
    assert_eq!(books.ad(OTHER, "a-1").await.expect("there"), theirs);
    assert_eq!(books.ad(TENANT, "a-1").await.expect("there"), ad("a-1", "spring"));
}

/// Of two clients that make the same id otherwise, exactly one succeeds, for every id.
pub async fn racing_creations_leave_one(bench: &dyn Bench) {
    const IDS: usize = 40;
    let (one, two) = (bench.open().await, bench.open().await);
    register_parents(&*one, TENANT).await;
    let racer = |books: Arc<dyn Books>, category: &'static str| {
        tokio::spawn(async move {
            let mut won = Vec::new();
            for id in 0..IDS {
                let category = Some(category.to_owned());
                let mine = Ad { category, ..ad(&format!("a-{id}"), "spring") };
                match only(books.create_ads(TENANT, vec![mine.clone()]).await) {
                    Ok(created) => {
                        assert!(created.is_new());
                        won.push(mine);
                    }
                    Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
                }
            }
            won
        })
    };
    let racers = (racer(Arc::clone(&one), "left"), racer(Arc::clone(&two), "right"));
    let mut won = racers.0.await.expect("no panic");
    won.extend(racers.1.await.expect("no panic"));
    won.sort_by(|a, b| a.ad_id.cmp(&b.ad_id));
    assert_eq!(won.len(), IDS, "each id has one winner");
    assert_eq!(one.list_ads(TENANT, None, all()).await.expect("works"), won);
}

/// The snapshot holds every tenant's catalog with full histories, beyond one page of any engine.
pub async fn a_snapshot_is_everything(bench: &dyn Bench) {
    const ADS: usize = 12_000;
    let books = bench.open().await;
    let empty = books.load_catalog().await.expect("the engine works");
    assert!(empty.ads.is_empty() && empty.campaigns.is_empty() && empty.advertisers.is_empty());
    register_parents(&*books, TENANT).await;
    add_other_tenant(&*books).await;
    register_parents(&*books, OTHER).await;
    let bare = books.create_campaigns(OTHER, vec![campaign("bare", "acme")]).await;
    assert!(only(bare).is_ok());
    let ads: Vec<Ad> = (0..ADS).map(|n| ad(&format!("a-{n:05}"), "spring")).collect();
    for some in ads.chunks(BATCH_ITEMS_MAX) {
        let outcomes = books.create_ads(TENANT, some.to_vec()).await.expect("works");
        assert!(outcomes.iter().all(Result::is_ok));
    }
    assert!(only(books.create_ads(OTHER, vec![ad("a-00000", "spring")]).await).is_ok());
    let patch = CampaignPatch { cpc_micros: Some(9), ..CampaignPatch::default() };
    let later = NOON.plus(Timestamp::HOUR);
    books.patch_campaign(TENANT, "spring", patch, later).await.expect("sound");

    let snapshot = books.load_catalog().await.expect("the engine works");
    let acme = advertiser("acme");
    assert_eq!(snapshot.advertisers, [(TENANT, acme.clone()), (OTHER, acme)]);
    let campaigns: Vec<_> =
        snapshot.campaigns.iter().map(|c| (c.tenant, c.campaign.campaign_id.as_str())).collect();
    assert_eq!(campaigns, [(TENANT, "spring"), (OTHER, "bare"), (OTHER, "spring")]);
    let loaded: Vec<&Ad> = snapshot.ads.iter().map(|entry| &entry.ad).collect();
    assert_eq!(loaded.len(), ADS + 1);
    assert!(loaded.iter().zip(&ads).all(|(loaded, made)| *loaded == made));
    let (first, last) = (&snapshot.ads[0], &snapshot.ads[ADS]);
    assert_eq!((first.tenant, last.tenant), (TENANT, OTHER));
    assert!(Arc::ptr_eq(&first.campaign, &snapshot.campaigns[0]), "campaigns are shared");
    assert_eq!(first.campaign.currency, advertiser("acme").currency);
    let budget = campaign("spring", "acme").daily_budget_micros;
    let first_terms = Terms { from: NOON, cpc_micros: 250_000, daily_budget_micros: budget };
    let second_terms = Terms { from: later, cpc_micros: 9, daily_budget_micros: budget };
    assert_eq!(first.campaign.terms, [first_terms, second_terms]);
    assert_eq!(last.campaign.terms, [first_terms]);
    assert_ne!(name_key("a-00000"), name_key("a-00001"));
}
