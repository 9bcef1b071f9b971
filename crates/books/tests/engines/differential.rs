//! One random history of calls, played to both engines: every answer is the same, refusals with their
//! words, and in the end so is everything that is there. Both have few keys for many names, so that
//! names collide all the time.

use std::fmt::Debug;

use reckon_books::{
    AdPatch, Ads, AdvertiserPatch, Advertisers, ApiKey, BillingProfile, Books, CampaignPatch,
    Campaigns, Created, Entry, ErasureWork, Error, ErrorKind, FrozenFigure, KeyKind, Keys, Leases,
    Ledger, Page, Periods, PostgresBooks, Profiles, Replays, RequestDigest, Scopes, SecretHash,
    Slice, SqliteBooks, Status, StoredResponse, Targeting, Tenant, Tombstone, Tombstones,
    UnseenClicks,
};
use reckon_event::{Currency, Day, Pseudonym, TenantId, Timestamp, name_key};
use tempfile::TempDir;

use crate::moved::moves_as_it_is;
use crate::place::{Place, options};
use crate::things::{HOUR, TENANT, ad, adjustment, advertiser, campaign, charge, credit, figure};

const CALLS: usize = 3_000;
const SEEDS: [u64; 2] = [1, 20_261_121];

/// Names that differ in all that could be taken for the same, and some that are none.
const NAMES: [&str; 16] = [
    "a",
    "A",
    "b",
    "a b",
    "\u{e4}",
    "a\u{308}",
    "\u{1f600}",
    "a-10",
    "a-2",
    "_",
    "Z",
    "zz",
    "",
    "a\0",
    "\u{7f}",
    " a",
];

/// 24 keys for all names, half of them with the highest bit set.
fn few_keys(name: &str) -> u64 {
    (name_key(name) % 24) << 59 | 7
}

/// A history, and the engines it is played to.
struct History {
    state: u64,
    sqlite: SqliteBooks,
    postgres: PostgresBooks,
    answers: usize,
    refusals: usize,
}

/// A refusal as it is compared: what a database says of itself is its own.
fn told(error: Error) -> (ErrorKind, String) {
    match error.kind {
        ErrorKind::Damaged | ErrorKind::Unavailable => (error.kind, String::new()),
        kind => (kind, error.message),
    }
}

/// Plays one call to both engines.
macro_rules! both {
    ($history:expr, $method:ident ( $($argument:expr),* )) => {{
        let one = $history.sqlite.$method($(Clone::clone(&$argument)),*).await.map_err(told);
        let two = $history.postgres.$method($(Clone::clone(&$argument)),*).await.map_err(told);
        $history.compare(stringify!($method), one, two);
    }};
}

/// The same for a call that answers each item of a batch.
macro_rules! both_batches {
    ($history:expr, $method:ident ( $tenant:expr, $items:expr )) => {{
        let outcomes = |told_of: Result<Vec<Result<Created<_>, Error>>, Error>| {
            told_of.map(|each| each.into_iter().map(|one| one.map_err(told)).collect::<Vec<_>>())
        };
        let one = outcomes($history.sqlite.$method($tenant, $items.clone()).await).map_err(told);
        let two = outcomes($history.postgres.$method($tenant, $items).await).map_err(told);
        $history.compare(stringify!($method), one, two);
    }};
}

impl History {
    fn compare<T: PartialEq + Debug>(
        &mut self,
        call: &str,
        sqlite: Result<T, (ErrorKind, String)>,
        postgres: Result<T, (ErrorKind, String)>,
    ) {
        assert_eq!(sqlite, postgres, "{call}, answer {}", self.answers);
        self.answers += 1;
        self.refusals += usize::from(sqlite.is_err());
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 33) % bound
    }

    fn one_of<T: Clone>(&mut self, these: &[T]) -> T {
        these[self.below(these.len() as u64) as usize].clone()
    }

    fn name(&mut self) -> String {
        self.one_of(&NAMES).to_owned()
    }

    /// A name that is in the books, more often than not.
    fn known(&mut self) -> String {
        self.one_of(&NAMES[..6]).to_owned()
    }

    fn tenant(&mut self) -> TenantId {
        self.one_of(&[TENANT, TENANT, TENANT, TenantId(7), TenantId(u32::MAX)])
    }

    fn time(&mut self) -> Timestamp {
        let spread = 40 * Timestamp::DAY / 1_000;
        HOUR.plus((self.below(spread as u64 * 1_000)) as i64 - spread * 500)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn page(&mut self) -> Page {
        let limit = self.one_of(&[1, 2, 3, 1_000, 0, 1_001]);
        Page { after: self.maybe(Self::name), limit }
    }

    fn day(&mut self) -> Day {
        Day::of(HOUR.plus(self.below(3) as i64 * Timestamp::DAY))
    }

    fn slice(&mut self) -> Slice {
        let from = self.time().floor(Timestamp::HOUR);
        let to = from.plus(self.below(60) as i64 * Timestamp::HOUR);
        let tenant = self.maybe(Self::tenant);
        Slice { from, to, tenant, advertiser_id: self.maybe(Self::known) }
    }

    async fn call(&mut self) {
        match self.below(10) {
            0..=2 => self.create().await,
            3 => self.patch().await,
            4 => self.read_catalog().await,
            5 => self.keys().await,
            6 => self.once().await,
            7 => self.tombstones().await,
            8 => self.ledger().await,
            _ => self.read_ledger().await,
        }
    }

    async fn create(&mut self) {
        let (tenant, count) = (self.tenant(), self.below(5));
        match self.below(3) {
            0 => {
                let mut items = Vec::new();
                for _ in 0..count {
                    let mut item = advertiser(&self.name());
                    item.currency = self.one_of(&[Currency::EUR, Currency::EUR, Currency::NONE]);
                    items.push(item);
                }
                both_batches!(self, create_advertisers(tenant, items));
            }
            1 => {
                let mut items = Vec::new();
                for _ in 0..count {
                    let mut item = campaign(&self.name(), &self.known());
                    item.cpc_micros = self.one_of(&[10, 10, 10, 0, -1]);
                    items.push(item);
                }
                both_batches!(self, create_campaigns(tenant, items));
            }
            _ => {
                let mut items = Vec::new();
                for _ in 0..count {
                    let mut item = ad(&self.name(), &self.known());
                    item.category = self.maybe(|history| format!("c{}", history.below(3)));
                    item.created_at = self.time();
                    items.push(item);
                }
                both_batches!(self, create_ads(tenant, items));
            }
        }
    }

    async fn patch(&mut self) {
        let (tenant, id, at) = (self.tenant(), self.known(), self.time());
        match self.below(3) {
            0 => {
                let name = Some(self.one_of(&["New", "", "Name\u{e4}"]).to_owned());
                let patch = AdvertiserPatch { name };
                both!(self, patch_advertiser(tenant, &*id, patch));
            }
            1 => {
                let targeting = Targeting::parse(r#"{"a":1.50}"#).expect("an object");
                let patch = CampaignPatch {
                    name: None,
                    cpc_micros: self.maybe(|history| history.one_of(&[0, 7, 7, 9, -3])),
                    daily_budget_micros: self.maybe(|history| history.maybe(|_| 50)),
                    targeting: self.maybe(|history| history.maybe(|_| targeting)),
                    status: self.maybe(|history| history.one_of(&Status::ALL)),
                };
                both!(self, patch_campaign(tenant, &*id, patch, at));
            }
            _ => {
                let patch = AdPatch {
                    destination_url: self
                        .maybe(|history| history.one_of(&["https://a.example/", "b"]).to_owned()),
                    category: self.maybe(|history| history.maybe(Self::name)),
                    status: self.maybe(|history| history.one_of(&Status::ALL)),
                    ..AdPatch::default()
                };
                both!(self, patch_ad(tenant, &*id, patch));
            }
        }
    }

    async fn read_catalog(&mut self) {
        let (tenant, id, page, time) = (self.tenant(), self.name(), self.page(), self.time());
        let parent = self.maybe(Self::known);
        match self.below(9) {
            0 => both!(self, advertiser(tenant, &*id)),
            1 => both!(self, campaign(tenant, &*id)),
            2 => both!(self, ad(tenant, &*id)),
            3 => both!(self, list_advertisers(tenant, page)),
            4 => both!(self, list_campaigns(tenant, parent.as_deref(), page)),
            5 => both!(self, list_ads(tenant, parent.as_deref(), page)),
            6 => both!(self, terms(tenant, &*id)),
            7 => both!(self, price_at(tenant, &*id, time)),
            _ => both!(self, load_catalog()),
        }
    }

    async fn keys(&mut self) {
        let (tenant, page, at) = (self.tenant(), self.page(), self.time());
        let (key_id, secret) = (self.name(), SecretHash([self.below(5) as u8; 32]));
        match self.below(6) {
            0 => {
                let name = self.one_of(&["default", "north", "south", "n\u{1f600}"]).to_owned();
                let made = Tenant { tenant: self.tenant(), name, created_at: at };
                both!(self, create_tenant(made));
            }
            1 => both!(self, tenants()),
            2 => {
                let key = ApiKey {
                    key_id,
                    tenant,
                    name: "Key".to_owned(),
                    kind: self.one_of(&[KeyKind::Secret, KeyKind::Secret, KeyKind::Write]),
                    scopes: self.one_of(&[Scopes::READ, Scopes::READ, Scopes::NONE]),
                    requests_per_second: self.one_of(&[None, None, Some(u32::MAX), Some(0)]),
                    created_at: at,
                    revoked_at: None,
                };
                both!(self, create_key(key, secret));
            }
            3 => both!(self, key_by_secret(secret)),
            4 => both!(self, list_keys(tenant, page)),
            _ => both!(self, revoke_key(tenant, &*key_id, at)),
        }
    }

    async fn once(&mut self) {
        let (tenant, key, now) = (self.tenant(), self.name(), self.time());
        let digest = RequestDigest([self.below(2) as u8; 32]);
        match self.below(5) {
            0 => both!(self, lease(&*key, now)),
            1 => both!(self, begin(tenant, &*key, digest, now)),
            2 => {
                let (status, byte) = (self.one_of(&[200, 599, 99]), self.below(256) as u8);
                let response = StoredResponse { status, body: vec![byte; 9] };
                both!(self, complete(tenant, &*key, digest, response));
            }
            3 => both!(self, abandon(tenant, &*key, digest)),
            _ => both!(self, expire(now)),
        }
    }

    async fn tombstones(&mut self) {
        let (tenant, asked_at) = (self.tenant(), self.time());
        let person = Pseudonym(self.one_of(&[0, 1, 5, 1 << 64, u128::MAX]));
        let work = ErasureWork {
            surrogate: Pseudonym(u128::MAX - 3),
            key: [self.below(256) as u8; 32],
            traces: "{}".to_owned(),
            swept_epoch: self.one_of(&[0, 9, i64::MAX as u64, u64::MAX]),
        };
        let stone = Tombstone {
            tenant,
            person,
            asked_at,
            quiet_at: asked_at.plus(self.one_of(&[0, 1, Timestamp::DAY, -1])),
            work: (self.below(4) > 0).then_some(work),
            proof: self.maybe(|history| format!("{{\"p\":{}}}", history.below(9))),
        };
        match self.below(5) {
            0 => both!(self, set_tombstone(stone)),
            1 => both!(self, tombstone(tenant, person)),
            2 => both!(self, keep_erasure(&stone)),
            3 => {
                let after = self.maybe(|history| (history.tenant(), person));
                both!(self, tombstones(after));
            }
            _ => {
                let limit = self.one_of(&[0, 2, 100]);
                both!(self, erasures_at_work(limit));
            }
        }
    }

    async fn ledger(&mut self) {
        let (day, at) = (self.day(), self.time());
        match self.below(8) {
            0 => {
                let mut figures = Vec::new();
                for _ in 0..self.below(4) {
                    figures.push(self.figure(day));
                }
                let cut = self.one_of(&[9, 9, 10, u64::MAX]);
                both!(self, freeze(day, cut, figures, at));
            }
            1 if self.below(8) == 0 => both!(self, finish(day, at)),
            2 => {
                let (tenant, id) = (self.tenant(), self.known());
                let time_zone = self.one_of(&["UTC", "Europe/Berlin", "no zone"]).to_owned();
                let unseen_clicks = self.one_of(&[UnseenClicks::Pay, UnseenClicks::Credit]);
                let profile = BillingProfile { time_zone, unseen_clicks };
                both!(self, set_billing_profile(tenant, &*id, profile));
            }
            _ => {
                let mut entries = Vec::new();
                for _ in 0..1 + self.below(4) {
                    entries.push(self.entry(day));
                }
                both!(self, post(entries));
            }
        }
    }

    fn figure(&mut self, day: Day) -> FrozenFigure {
        let hour = day.start().plus(self.below(25) as i64 * Timestamp::HOUR);
        let key = format!("f/{}", self.below(9));
        let (tenant, payer, campaign_id, ad_id) =
            (self.tenant(), self.known(), self.known(), self.known());
        FrozenFigure {
            hour,
            tenant,
            advertiser_id: payer,
            campaign_id,
            ad_id,
            ..figure(&key, 0, self.below(99) as i64 - 2)
        }
    }

    fn entry(&mut self, day: Day) -> Entry {
        let (key, amount) = (format!("e/{}", self.below(60)), self.one_of(&[1, 1, 7, -1, 1 << 60]));
        let made = match self.below(4) {
            0 => credit(&key, 0, amount),
            1 => adjustment(&key, "e/1", 0, amount),
            _ => charge(&key, 0, amount),
        };
        let owned = self.one_of(&["a", "a", "a", "b", "a\0"]).to_owned();
        let (tenant, payer, campaign_id) = (self.tenant(), self.one_of(&["a", "a", "b"]), owned);
        Entry {
            hour: day.start().plus(self.one_of(&[0, 0, 1, 23, 24]) * Timestamp::HOUR),
            tenant,
            advertiser_id: payer.to_owned(),
            campaign_id,
            ad_id: self.maybe(|history| history.one_of(&["a", "a", "b"]).to_owned()),
            ..made
        }
    }

    async fn read_ledger(&mut self) {
        let (slice, tenant, id) = (self.slice(), self.tenant(), self.known());
        let after =
            self.maybe(|history| (history.day().start(), format!("e/{}", history.below(9))));
        match self.below(5) {
            0 => both!(self, entries(&slice, after)),
            1 => both!(self, balances(&slice)),
            2 => {
                let (first, last) = (self.day(), self.day());
                both!(self, periods(first, last));
            }
            3 => both!(self, figures(&slice, after)),
            _ => both!(self, billing_profile(tenant, &*id)),
        }
    }

    /// Whatever is there, read whole.
    async fn compare_all(&mut self) {
        let everything =
            Slice { from: Timestamp(0), to: Timestamp::MAX, tenant: None, advertiser_id: None };
        both!(self, load_catalog());
        both!(self, tenants());
        both!(self, tombstones(None::<(TenantId, Pseudonym)>));
        both!(self, entries(&everything, None::<(Timestamp, String)>));
        both!(self, figures(&everything, None::<(Timestamp, String)>));
        both!(self, periods(Day::of(Timestamp(0)), Day::of(Timestamp::MAX)));
        for tenant in [TENANT, TenantId(7), TenantId(u32::MAX)] {
            both!(self, list_keys(tenant, Page { after: None, limit: 1_000 }));
        }
    }
}

/// What a history needs to have met, so that it says something.
fn expect_rich(history: &History) {
    let (answers, refusals) = (history.answers, history.refusals);
    assert!(answers > CALLS && refusals > answers / 20 && refusals < answers * 3 / 4);
    println!("{answers} answers of both engines are the same, {refusals} of them refusals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_engines_answer_every_call_the_same() {
    for seed in SEEDS {
        let (folder, place) = (TempDir::new().expect("a folder"), Place::new().await);
        let file = folder.path().join("books.db");
        let sqlite = SqliteBooks::open_with_keys(&file, few_keys).await.expect("opens");
        let opened = PostgresBooks::open_with_keys(&place.url(), options(), few_keys).await;
        let postgres = opened.expect("opens");
        let mut history = History { state: seed, sqlite, postgres, answers: 0, refusals: 0 };
        for _ in 0..CALLS {
            history.call().await;
        }
        history.compare_all().await;
        expect_rich(&history);
        moves_as_it_is(&file, &place).await;
    }
}
