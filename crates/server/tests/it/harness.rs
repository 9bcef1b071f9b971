//! A whole system without a socket: requests are values.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use reckon_disk::{Disk, RealDisk, TempDir};
use reckon_pipeline::Reached;
use reckon_server::app::App;
use reckon_server::clock::Clock;
use reckon_server::config::Config;
use reckon_server::data_dir::DataDir;
use reckon_server::engines::{self, System};
use reckon_server::http;
use serde_json::{Value, json};

/// A browser that is no robot.
pub const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";

/// A running system on its own folder.
pub struct House {
    system: Option<System>,
    router: Router,
    dir: TempDir,
    disk: Arc<dyn Disk>,
    settings: Vec<(String, String)>,
    /// The clock, to be stepped.
    pub clock: Arc<Clock>,
    /// The admin's key.
    pub key: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header as text; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's detail.
    #[track_caller]
    pub fn detail(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        self.json()["detail"].as_str().expect("a problem has a detail").to_owned()
    }
}

impl House {
    /// A fresh one on the machine's disk, with the too-fast rule off, as tests click at once, and
    /// without recounts that nobody asks for.
    pub async fn new() -> Self {
        Self::with(&[], Arc::new(RealDisk)).await
    }

    /// A fresh one with settings such as `("CLICK__UNSIGNED", "count")`, on this disk.
    pub async fn with(settings: &[(&str, &str)], disk: Arc<dyn Disk>) -> Self {
        // Faults are planted here, which nobody but the test is to find.
        let off = ["RECKON__RULES__ENABLED", "RECKON__AUDIT__HOURLY"];
        let mut all = off.map(|key| (key.to_owned(), "false".to_owned())).to_vec();
        all.extend(
            settings.iter().map(|&(key, value)| (format!("RECKON__{key}"), value.to_owned())),
        );
        let dir = TempDir::new("house");
        let clock = Arc::new(Clock::new(1));
        let system = start(&all, &dir, &disk, &clock).await;
        let key = system.fresh_admin_key.clone().expect("a fresh folder has a fresh key");
        let router = http::router(Arc::clone(&system.app));
        House { system: Some(system), router, dir, disk, settings: all, clock, key }
    }

    /// Stops with manners and starts again on the same folder.
    pub async fn restart(&mut self) {
        // The old router holds the old system, and with it the log.
        self.router = Router::new();
        // The old system holds its folder for as long as anything of it is left.
        self.router = Router::new();
        self.system.take().expect("it runs").stop().await.expect("it stops");
        let system = start(&self.settings, &self.dir, &self.disk, &self.clock).await;
        self.router = http::router(Arc::clone(&system.app));
        self.system = Some(system);
    }

    /// Stops with manners for good; what is left is the folder.
    pub async fn stop(self) -> TempDir {
        let House { system, router, dir, .. } = self;
        drop(router);
        system.expect("it runs").stop().await.expect("it stops");
        dir
    }

    /// With one route more: a GET that does this.
    pub fn route<T: axum::response::IntoResponse + 'static>(
        &mut self,
        path: &str,
        answer: impl Fn() -> T + Clone + Send + Sync + 'static,
    ) {
        let router = std::mem::take(&mut self.router);
        self.router = router.route(path, axum::routing::get(async move || answer()));
    }

    /// What handlers share.
    pub fn app(&self) -> &Arc<App> {
        &self.system.as_ref().expect("it runs").app
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let response = http::handle(self.app(), &self.router, request, peer).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// A request with method, path, extra headers and body.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "reckon.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// As the admin, with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        self.ask(
            "POST",
            path,
            &[("authorization", &bearer), ("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// As the admin.
    pub async fn get(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        self.ask("GET", path, &[("authorization", &bearer)], Body::empty()).await
    }

    /// As a person with a browser.
    pub async fn browse(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("user-agent", BROWSER)], Body::empty()).await
    }

    /// Registers an advertiser, a campaign at 1,000 micros and these ads.
    pub async fn register(&self, ads: &[&str]) {
        let advertiser = json!({"advertiser_id": "adv", "name": "adv", "currency": "EUR"});
        assert_eq!(self.post("/v1/advertisers", &advertiser).await.status, 201);
        let campaign = json!({"campaign_id": "cmp", "advertiser_id": "adv", "name": "cmp", "cpc_micros": 1000, "status": "active"});
        assert_eq!(self.post("/v1/campaigns", &campaign).await.status, 201);
        for ad in ads {
            let url = format!("https://shop.example/{ad}?a=1#top");
            let ad = json!({"ad_id": ad, "campaign_id": "cmp", "destination_url": url, "status": "active"});
            assert_eq!(self.post("/v1/ads", &ad).await.status, 201);
        }
    }

    /// One served ad of a user: the whole object.
    pub async fn serve(&self, user: &str) -> Value {
        let asked = json!({"placement": "top", "user_id": user, "context": {"geo": "DE", "device": "mobile"}, "count": 1});
        let answer = self.post("/v1/ads/serve", &asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["ads"][0].clone()
    }

    /// A token for a user.
    pub async fn token(&self, user: &str) -> String {
        self.serve(user).await["impression"].as_str().expect("a token").to_owned()
    }

    /// Waits until all that is in the log now has been counted.
    pub async fn settle(&self) {
        let app = Arc::clone(self.app());
        let reached = tokio::task::spawn_blocking(move || {
            let cut: Vec<u64> =
                (0..app.log().partitions()).map(|lane| app.log().range(lane).end).collect();
            app.progress.wait_until(&cut, Duration::from_secs(60))
        });
        assert_eq!(reached.await.unwrap(), Reached::Yes, "counting catches up");
    }

    /// Settles, and answers a question of `/v1/metrics` about all time.
    pub async fn rows(&self, question: &str) -> Vec<Value> {
        self.settle().await;
        let path =
            format!("/v1/metrics?from=1970-01-01T00:00:00Z&to=2199-12-01T00:00:00Z&{question}");
        let answer = self.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["rows"].as_array().expect("rows").clone()
    }

    /// Clicks by reason, over everything.
    pub async fn clicks_by_reason(&self) -> std::collections::BTreeMap<String, u64> {
        let rows = self.rows("granularity=total&group_by=reason").await;
        let of = |row: &Value| {
            (row["reason"].as_str().unwrap().to_owned(), row["clicks_gross"].as_u64().unwrap())
        };
        rows.iter().map(of).filter(|&(_, clicks)| clicks > 0).collect()
    }
}

async fn start(
    settings: &[(String, String)],
    dir: &TempDir,
    disk: &Arc<dyn Disk>,
    clock: &Arc<Clock>,
) -> System {
    let config = Config::load(None, settings.iter().cloned()).expect("good settings");
    let dir = DataDir(dir.path().to_owned());
    engines::start(config, &dir, Arc::clone(disk), Arc::clone(clock)).await.expect("it starts")
}
