//! One visit: ads are asked for and shown, and what follows is done at its time, by pixels and
//! redirects or by an app's batch; each answer is noted as what it must have been counted as.
//!
//! All acts of a visit are done one after the other, each when the one before was answered. So the
//! server receives the uses of a token in an order that is known, whatever the machine does to their
//! times.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use reckon_event::{Kind, SourceClass, Timestamp, Verdict, name_key};
use reckon_market::{
    Act, Curve, Door, Market, Placed, REGIONS, Reaction, Rules, Served, Step, Trouble, Upload,
    Used, Visit, Visitor,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::behaviour::{Clicked, address_key};
use super::requests;
use super::shop::WriteKey;
use super::time::{Received, ServerTime};
use super::truth::{Asked, Mark, Noted, Truth};
use super::wire::Wire;
use crate::command::client::{Answer, Call, Retry};

/// Phones that are offline at once; beyond it they upload as soon as they can.
const OFFLINE_MAX: usize = 20_000;
/// An upload this long after the last event is one of a phone that was offline, in microseconds.
const OFFLINE_US: i64 = Timestamp::HOUR / 2;

/// What all visits share.
pub struct Traffic {
    /// Who lives there, and what they like.
    pub market: Arc<Market>,
    /// How the visits lie in the run.
    pub curve: Curve,
    /// What time it is at the server.
    pub time: ServerTime,
    /// The rules with numbers in them.
    pub rules: Rules,
    /// What truly happened.
    pub truth: Mutex<Truth>,
    /// Connections of servers, which have a key.
    pub servers: Wire,
    /// Connections of people, who have none.
    pub people: Wire,
    /// What apps send their batches with.
    pub write_key: WriteKey,
    /// Turns true when no more visits come: phones that are offline need not wait longer.
    pub closing: watch::Sender<bool>,
    /// Room for phones that are offline.
    pub offline: Arc<Semaphore>,
}

/// An ad as it was served.
#[derive(Clone, Debug, Deserialize)]
pub struct ServedAd {
    /// Its id.
    pub ad_id: String,
    /// Where it stands, from 1.
    pub position: u16,
    /// Its token.
    pub impression: String,
    /// Where an impression is told.
    pub impression_url: String,
    /// Where a view is told.
    pub view_url: String,
    /// Where a click goes.
    pub click_url: String,
    /// How likely the server takes a click to be on position 1.
    #[serde(default)]
    pub p_click: Option<f64>,
    /// How likely where it stands.
    #[serde(default)]
    pub p_click_here: Option<f64>,
}

impl ServedAd {
    /// What the server says of a click where the ad stands, if anything.
    fn prediction(&self) -> Option<f64> {
        self.p_click_here.or(self.p_click.filter(|_| self.position == 1))
    }
}

/// A visit whose ads were served.
pub struct Shown {
    /// The visit.
    pub visit: Visit,
    /// The user, as pages and apps know them.
    pub user_id: String,
    /// When the server served them.
    pub issued: Received,
    /// The ads.
    pub ads: Vec<ServedAd>,
    placed: Vec<Placed>,
    used: Vec<Used>,
}

impl Shown {
    /// When a step happens, by the server's clock.
    pub fn time_of(&self, step: &Step) -> Timestamp {
        self.issued.time().plus(step.after_us)
    }
}

/// How many open slots [`Traffic::offline`] has.
pub fn offline_room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(OFFLINE_MAX))
}

impl Traffic {
    /// A whole visit. `place` is given back when nothing more of it is near.
    pub async fn visit(&self, visit: Visit, place: OwnedSemaphorePermit) {
        match self.ask(visit).await {
            Ok(shown) => self.follow(shown, place).await,
            Err(error) => self.truth.lock().fail(format!("{error:#}"), 0),
        }
        self.truth.lock().visit_count += 1;
    }

    /// Asks for ads.
    async fn ask(&self, visit: Visit) -> Result<Shown> {
        let user_id = self.market.user_id(&visit);
        let page = &self.market.pages[visit.page];
        let body = json!({
            "placement": page.placement, "user_id": user_id, "count": visit.ad_count,
            "context": {
                "page_url": page.url, "page_category": self.market.page_category(&visit),
                "device": visit.device.name(), "geo": REGIONS[visit.region],
            },
        });
        let call = Call::post_json("/v1/ads/serve", &body).retry(Retry::Always);
        let call = requests::from_person(call, &visit);
        let (answer, issued) = self.exchange(&self.servers, &call, Asked::Serve, visit.at).await?;
        let mut answer = answer.success("POST /v1/ads/serve")?.json()?;
        let served: Vec<ServedAd> = serde_json::from_value(answer["ads"].take())
            .context("POST /v1/ads/serve: the answer is of another shape")?;
        // Whatever else is registered with the server is nobody's here: it is not looked at.
        let known = |ad: ServedAd| self.market.ad_index(&ad.ad_id).map(|index| (index, ad));
        let (indices, ads): (Vec<usize>, Vec<ServedAd>) =
            served.into_iter().filter_map(known).unzip();
        let place = |(&ad, served): (&usize, &ServedAd)| Placed { ad, position: served.position };
        let placed: Vec<Placed> = indices.iter().zip(&ads).map(place).collect();
        let used = vec![Used::default(); ads.len()];
        Ok(Shown { visit, user_id, issued, ads, placed, used })
    }

    /// Does what follows.
    async fn follow(&self, mut shown: Shown, place: OwnedSemaphorePermit) {
        let at = shown.issued.time();
        let reaction = self.market.react(&shown.visit, &shown.placed, at, &self.curve);
        self.judge(&shown, &reaction);
        for trouble in &reaction.troubles {
            // What becomes of a batch is known once it is sent.
            if !matches!(trouble, Trouble::LatePhone | Trouble::BatchAgain) {
                self.truth.lock().trouble(*trouble);
            }
        }
        let mut batch = Vec::new();
        for step in &reaction.steps {
            if let Some(trouble) = step.trouble {
                self.truth.lock().trouble(trouble);
            }
            let is_told_later =
                reaction.upload.is_some() && !matches!(step.act, Act::Scan(_) | Act::Order { .. });
            if is_told_later {
                batch.push(*step);
            } else if let Err(error) = self.act(&mut shown, step).await {
                self.truth.lock().fail(format!("{error:#}"), 1);
            }
        }
        if let Some(upload) = reaction.upload.filter(|_| !batch.is_empty()) {
            self.upload(shown, &batch, upload, place).await;
        }
    }

    /// Holds what was served against the truth.
    fn judge(&self, shown: &Shown, reaction: &Reaction) {
        let time = shown.issued.time();
        let Some(scene) = shown.visit.scene(time, &self.curve) else { return };
        let places = shown.ads.iter().map(|ad| ad.position).max().unwrap_or(0);
        let alternatives = self.market.alternatives(&scene, usize::from(places));
        let mut truth = self.truth.lock();
        for (at, ad) in shown.ads.iter().enumerate() {
            let served = Served {
                truth: reaction.probabilities[at],
                price: self.market.price(shown.placed[at].ad) as f64,
                instead: alternatives[usize::from(ad.position.max(1)) - 1],
                predicted: ad.prediction(),
                clicked: reaction.clicked[at],
            };
            truth.judgement.note(time, &served);
        }
    }

    /// Does one thing by a request of its own.
    async fn act(&self, shown: &mut Shown, step: &Step) -> Result<()> {
        let due = shown.time_of(step);
        tokio::time::sleep(self.time.until(due)).await;
        if let Act::Order { cents } = step.act {
            return self.order(shown, step, cents).await;
        }
        let request = requests::by_url(shown, step);
        let asked = if request.is_click { Asked::Click } else { Asked::Pixel };
        let (answer, received) = self.exchange(&self.people, &request.call, asked, due).await?;
        if answer.status != request.status {
            let Call { method, path, .. } = &request.call;
            bail!("{method} {path}: {} instead of {}", answer.status, request.status);
        }
        if answer.is_degraded() {
            bail!("{}: not acknowledged (Reckon-Degraded)", request.call.path);
        }
        self.note(shown, step, (Door::Open, received), received, &[]);
        Ok(())
    }

    /// A shop's server tells of an order.
    async fn order(&self, shown: &mut Shown, step: &Step, cents: u32) -> Result<()> {
        let body = requests::order(shown, step.shown, cents);
        let call = Call::post("/v1/events", requests::NDJSON, body);
        let due = shown.time_of(step);
        let (answer, received) = self.exchange(&self.servers, &call, Asked::Order, due).await?;
        accepted(answer, 1)?;
        self.note(shown, step, (Door::Batch, received), received, &[]);
        Ok(())
    }

    /// An app sends what it has gathered, at its time or when the run ends.
    async fn upload(
        &self,
        mut shown: Shown,
        batch: &[Step],
        upload: Upload,
        place: OwnedSemaphorePermit,
    ) {
        let last = batch.last().expect("a batch that is sent holds something").after_us;
        let offline = Arc::clone(&self.offline).try_acquire_owned().ok();
        let is_late = upload.after_us - last > OFFLINE_US && offline.is_some();
        let mut due = shown.issued.time().plus(upload.after_us);
        if is_late {
            // Whoever is offline keeps nobody from coming.
            drop(place);
            self.truth.lock().trouble(Trouble::LatePhone);
            due = self.wait_offline(due).await;
        } else {
            drop(offline);
            due = due.min(shown.issued.time().plus(last + OFFLINE_US));
        }
        // No event is told before it has happened.
        let due = due.max(shown.issued.time().plus(last));
        tokio::time::sleep(self.time.until(due)).await;
        let call = requests::batch(&shown, batch, &self.write_key.secret);
        for copy in 0..upload.copies {
            if copy > 0 {
                self.truth.lock().trouble(Trouble::BatchAgain);
            }
            if let Err(error) = self.send_batch(&mut shown, batch, &call, due, is_late).await {
                self.truth.lock().fail(format!("{error:#}"), batch.len() as u64);
            }
        }
    }

    /// Waits until a time of the server's, or until no more visits come; tells when that was.
    async fn wait_offline(&self, due: Timestamp) -> Timestamp {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = tokio::time::sleep(self.time.until(due)) => due,
            _ = closing.wait_for(|closing| *closing) => due.min(self.time.now()),
        }
    }

    async fn send_batch(
        &self,
        shown: &mut Shown,
        batch: &[Step],
        call: &Call,
        due: Timestamp,
        is_late: bool,
    ) -> Result<()> {
        let (answer, received) = self.exchange(&self.people, call, Asked::Batch, due).await?;
        accepted(answer, batch.len())?;
        let late: &[Mark] = if is_late { &[Mark::Late] } else { &[] };
        for step in batch {
            let happened = Received::At(shown.time_of(step));
            self.note(shown, step, (Door::Batch, received), happened, late);
        }
        Ok(())
    }

    /// Notes what an acknowledged act must have become: received at a door, and counted when it
    /// happened.
    fn note(
        &self,
        shown: &mut Shown,
        step: &Step,
        (door, received): (Door, Received),
        happened: Received,
        more_marks: &[Mark],
    ) {
        let age_us = received.time().since(shown.issued.time());
        let (kind, verdict) = shown.used[step.shown].outcome(step.act, door, age_us, &self.rules);
        let ad = (step.act != Act::UnknownAd).then_some(shown.placed[step.shown].ad);
        let noted = Noted { ad, happened: happened.time(), kind, verdict };
        let mut marks = more_marks.to_vec();
        if matches!(shown.visit.visitor, Visitor::Bot(_)) {
            marks.push(Mark::Bot);
        }
        if step.trouble == Some(Trouble::DoubleClick) {
            marks.push(Mark::DoubleClick);
        }
        let mut truth = self.truth.lock();
        truth.near_border += u64::from(happened.is_near_border());
        truth.note(noted, &marks);
        if let (Some(ad), Kind::Click, Verdict::Counted) = (ad, kind, verdict) {
            let class = if door == Door::Open { SourceClass::Server } else { SourceClass::Client };
            truth.clicks.push(Clicked {
                ad,
                happened: happened.time(),
                class,
                user: name_key(&shown.user_id),
                address: address_key(&shown.visit.address().to_string(), received.time()),
                agent: name_key(shown.visit.device.agent()),
                marks,
            });
        }
    }

    /// Sends, reads when it was received, and notes how long after its due time it was answered.
    async fn exchange(
        &self,
        wire: &Wire,
        call: &Call,
        asked: Asked,
        due: Timestamp,
    ) -> Result<(Answer, Received)> {
        let (answer, exchange) = wire.send(call, &self.time).await;
        let latency = self.time.since(due);
        self.truth.lock().latency(asked, latency);
        let answer = answer?;
        let received = self.time.received(&answer, exchange)?;
        Ok((answer, received))
    }
}

/// All of a good batch must be accepted.
fn accepted(answer: Answer, events: usize) -> Result<()> {
    let answer = answer.success("POST /v1/events")?.json()?;
    if answer["accepted"].as_u64() != Some(events as u64) {
        bail!("POST /v1/events: not all of a good batch was accepted: {answer}");
    }
    Ok(())
}
