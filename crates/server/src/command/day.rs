//! A generated day of traffic, sent through the real front door, whose outcome is known exactly.
//!
//! People see ads and click some of them; phones send clicks twice, scanners open links first,
//! browsers prefetch, robots declare themselves, tokens are forged, ads do not exist, and servers send
//! batches in which events come again or contradict each other. What each of these must become is
//! noted as it is acknowledged, by ad, kind and verdict, so that the server's figures can be held
//! against it to the last record.
//!
//! The seed decides who does what and when. Which ads are shown is the server's choice; it is taken
//! from its answers.

mod act;
mod plan;
mod truth;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::http::{HeaderName, Method, StatusCode, header};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use self::act::{Act, Used};
use self::plan::{Batch, Visit};
pub use self::truth::{Cell, Truth, UNKNOWN_AD};
use super::client::catalog::{self, Collection, Existing, register};
use super::client::{Call, Client, Retry};

/// Requests under way at once; the others wait.
const CONNECTIONS: usize = 64;
/// Visits under way at once; later ones begin late.
const VISITS_MAX: usize = 4_000;
/// Ads of one campaign, and campaigns of one advertiser.
const FAN_OUT: usize = 4;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Day {
    /// The server's URL.
    pub to: String,
    /// A key with the scopes `collect`, `manage` and `predict`.
    pub key: String,
    /// The seed.
    pub seed: u64,
    /// How long the day lasts, by the wall's clock. The last clicks come about 2 s later.
    pub duration: Duration,
    /// Visits a second in the mean over the day; each makes about five requests.
    pub visits_per_second: f64,
    /// Ads registered for it.
    pub ad_count: usize,
}

impl Day {
    /// A modest day.
    pub fn new(to: String, key: String, seed: u64, duration: Duration) -> Self {
        Day { to, key, seed, duration, visits_per_second: 150.0, ad_count: 48 }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Visits that are over.
    pub visits_done: u64,
    /// Visits of the day.
    pub visits: u64,
    /// Records that were acknowledged.
    pub records: u64,
}

/// An ad as it is served.
#[derive(Debug, Deserialize)]
struct Shown {
    ad_id: String,
    impression_url: String,
    view_url: String,
    click_url: String,
}

/// What all visits share.
struct Traffic {
    places: Semaphore,
    idle: Mutex<Vec<Client>>,
    template: Client,
    ads: Vec<String>,
    seed: u64,
}

/// Registers the ads, sends the day, and tells what must have been counted. `progress` is called
/// after each visit.
pub async fn run(day: &Day, mut progress: impl FnMut(Progress)) -> Result<Truth> {
    let mut client = Client::new(&day.to, Some(&day.key))?;
    let ads = open_shop(&mut client, day.ad_count).await?;
    let visits = plan::visits(day.seed, day.duration, day.visits_per_second, ads.len());
    let traffic = Arc::new(Traffic {
        places: Semaphore::new(CONNECTIONS),
        idle: Mutex::default(),
        template: client,
        ads,
        seed: day.seed,
    });
    let count = visits.len() as u64;
    let mut truth = Truth::default();
    let mut visits_done = 0;
    let mut note = |over: Result<Truth>| {
        truth.merge(over?);
        visits_done += 1;
        progress(Progress { visits_done, visits: count, records: truth.records() });
        anyhow::Ok(())
    };
    let mut running: JoinSet<Result<Truth>> = JoinSet::new();
    let started = Instant::now();
    for visit in visits {
        let start = tokio::time::sleep_until((started + visit.at).into());
        tokio::pin!(start);
        // Until the next one begins, and for as long as there are too many, look after those that end.
        loop {
            tokio::select! {
                Some(over) = running.join_next() => note(over?)?,
                () = &mut start, if running.len() < VISITS_MAX => break,
            }
        }
        let traffic = Arc::clone(&traffic);
        running.spawn(async move { traffic.visit(visit).await });
    }
    while let Some(over) = running.join_next().await {
        note(over?)?;
    }
    Ok(truth)
}

/// Advertisers with campaigns at different prices, and their ads.
async fn open_shop(client: &mut Client, ad_count: usize) -> Result<Vec<String>> {
    let ads: Vec<String> = (0..ad_count).map(|ad| format!("day-ad-{ad:03}")).collect();
    let campaign_count = ad_count.div_ceil(FAN_OUT);
    let advertisers: Vec<Value> = (0..campaign_count.div_ceil(FAN_OUT))
        .map(|advertiser| catalog::advertiser(&format!("day-advertiser-{advertiser:02}")))
        .collect();
    let campaigns: Vec<Value> = (0..campaign_count)
        .map(|campaign| {
            let price = 10_000 * (1 + i64::try_from(campaign % 9).expect("below 9"));
            let advertiser = format!("day-advertiser-{:02}", campaign / FAN_OUT);
            catalog::campaign(&format!("day-campaign-{campaign:02}"), &advertiser, price)
        })
        .collect();
    let objects: Vec<Value> = (0..ad_count)
        .map(|ad| {
            let url = format!("https://shop-{ad}.example/landing?from=reckon#top");
            catalog::ad(&ads[ad], &format!("day-campaign-{:02}", ad / FAN_OUT), &url)
        })
        .collect();
    for (collection, objects) in [
        (Collection::Advertisers, advertisers),
        (Collection::Campaigns, campaigns),
        (Collection::Ads, objects),
    ] {
        register(client, collection, &objects, Existing::MustMatch).await?;
    }
    Ok(ads)
}

impl Traffic {
    /// One person, robot or server does what it does.
    async fn visit(&self, visit: Visit) -> Result<Truth> {
        let mut truth = Truth::default();
        let mut random = StdRng::seed_from_u64(self.seed ^ visit.number.rotate_left(32));
        if let Some(batch) = plan::batch(&mut random, &visit, &self.ads) {
            self.send_batch(&batch, &mut truth).await?;
        }
        let shown = self.ask(&visit).await?;
        let served = Instant::now();
        let mut steps = Vec::new();
        for (index, ad) in shown.iter().enumerate() {
            let doings = plan::steps(&mut random, plan::appeal(self.seed, &ad.ad_id));
            steps.extend(doings.into_iter().map(|step| (step.after, index, step.act)));
        }
        steps.sort_by_key(|&(after, ..)| after);
        let mut used = vec![Used::default(); shown.len()];
        for (after, index, act) in steps {
            tokio::time::sleep_until((served + after).into()).await;
            self.act(&visit, &shown[index], act, &mut used[index], &mut truth).await?;
        }
        Ok(truth)
    }

    /// Asks for ads to show.
    async fn ask(&self, visit: &Visit) -> Result<Vec<Shown>> {
        let body = json!({
            "placement": visit.placement, "user_id": visit.user_id(), "count": visit.ad_count,
            "context": {"region": visit.region, "device_type": visit.device.name()},
        });
        let call = Call::post_json("/v1/ads/serve", &body).retry(Retry::Always);
        let answer = self.send(&call).await?.success("POST /v1/ads/serve")?;
        let mut answer = answer.json()?;
        serde_json::from_value(answer["ads"].take())
            .context("POST /v1/ads/serve: the answer is of another shape")
    }

    /// Does one thing with an ad that is shown, and notes what it must become.
    async fn act(
        &self,
        visit: &Visit,
        ad: &Shown,
        act: Act,
        used: &mut Used,
        truth: &mut Truth,
    ) -> Result<()> {
        let url = match act {
            Act::Impression => ad.impression_url.clone(),
            Act::View => ad.view_url.clone(),
            Act::Click | Act::Scan | Act::Prefetch => ad.click_url.clone(),
            Act::Forge => act::forge(&ad.click_url),
            Act::Unsigned => format!("/click?adId={}", ad.ad_id),
            Act::Unknown => format!("/click?adId=nobody-{}", visit.number),
        };
        let agent = if visit.is_robot { act::ROBOT } else { visit.device.agent() };
        let mut call =
            Call::get(act::path_of(&url)).retry(Retry::Never).header(header::USER_AGENT, agent);
        if act == Act::Scan {
            call.method = Method::HEAD;
        }
        if act == Act::Prefetch {
            call = call.header(HeaderName::from_static("sec-purpose"), "prefetch");
        }
        let (kind, verdict) = act.outcome(visit.is_robot, used);
        let ad_id = if act == Act::Unknown { truth::UNKNOWN_AD } else { &ad.ad_id };
        let Ok(answer) = self.send(&call).await else {
            truth.uncertain += 1;
            return Ok(());
        };
        let expected = match act {
            Act::Impression | Act::View => StatusCode::OK,
            Act::Unknown => StatusCode::NOT_FOUND,
            _ => StatusCode::FOUND,
        };
        if answer.status != expected {
            bail!("{} {}: {} instead of {expected}", call.method, call.path, answer.status);
        }
        if answer.is_degraded() {
            truth.uncertain += 1;
        } else {
            truth.add(Cell { ad_id: ad_id.to_owned(), kind, verdict });
        }
        Ok(())
    }

    /// Sends a server's events, once or twice.
    async fn send_batch(&self, batch: &Batch, truth: &mut Truth) -> Result<()> {
        for _ in 0..batch.times {
            // Refused events are sent again; what may have been taken is not, for it would count as
            // a copy that is in no plan.
            let call = Call::post("/v1/events", "application/x-ndjson", batch.body());
            let Ok(answer) = self.send(&call).await else {
                truth.uncertain += batch.events.len() as u64;
                return Ok(());
            };
            let answer = answer.success("POST /v1/events")?.json()?;
            if answer["accepted"].as_u64() != Some(batch.events.len() as u64) {
                bail!("POST /v1/events: not all of a good batch was accepted: {answer}");
            }
        }
        batch.outcomes().into_iter().for_each(|cell| truth.add(cell));
        Ok(())
    }

    /// Sends over a connection that is free.
    async fn send(&self, call: &Call) -> Result<super::client::Answer> {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let idle = self.idle.lock().await.pop();
        let mut client = idle.unwrap_or_else(|| self.template.another());
        let answer = client.send(call).await;
        self.idle.lock().await.push(client);
        answer
    }
}
