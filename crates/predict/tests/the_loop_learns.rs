//! The whole loop without a server: ads are scored, chosen and shown in a market whose truth is known,
//! clicked or not, counted, and learned from. The served probabilities are held against the truth.

#![expect(clippy::print_stdout, reason = "tests say what they compared")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use reckon_disk::{Disk, SimDisk};
use reckon_event::{
    Bound, Claims, Counted, Currency, Deltas, Epoch, ImpressionId, Kind, Position, Pseudonym,
    Record, Slot, Subscriber, TenantId, Timestamp, Verdict, name_key, prediction_id,
};
use reckon_feature::{FeatureSubscriber, Memory};
use reckon_market::{Curve, Judgement, Market, Options, Served, Visit};
use reckon_predict::{Candidate, Exploration, Predictor, Request, Value, choose};
use reckon_rollout::Learner;

/// Visits of an epoch.
const EPOCH_VISITS: usize = 20;

/// A market and the system that serves it, in one thread.
struct Loop {
    market: Market,
    curve: Curve,
    predictor: Predictor,
    subscribers: Vec<Box<dyn Subscriber>>,
    judgement: Judgement,
    /// Records of the epoch to come, encoded.
    log: Vec<Vec<u8>>,
    offset: u64,
    epoch: u64,
    requests: u64,
    luck: reckon_model::Random,
    exploration: Exploration,
}

impl Loop {
    fn new(seed: u64, exploration: Exploration) -> Self {
        let market = Market::new(Options::new(seed));
        let curve = Curve::new(Timestamp::from_seconds(1_700_006_400), Timestamp::DAY);
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(seed));
        let (memory, _) =
            Memory::open(Arc::clone(&disk), Path::new("/features"), Default::default())
                .expect("it opens");
        let memory = Arc::new(memory);
        let no_recall = Box::new(|_: &[_], _: &mut dyn FnMut(_, &Record<'_>)| Ok(()));
        let (learner, _) =
            Learner::open(disk, Path::new("/learner"), Default::default(), no_recall)
                .expect("it opens");
        let predictor = Predictor::new(Arc::clone(&memory) as _, learner.models());
        Loop {
            judgement: Judgement::new(curve.start, curve.span_us, 240),
            market,
            curve,
            predictor,
            subscribers: vec![Box::new(FeatureSubscriber::new(memory)), Box::new(learner)],
            log: Vec::new(),
            offset: 0,
            epoch: 0,
            requests: 0,
            luck: reckon_model::Random::new(seed),
            exploration,
        }
    }

    fn run(&mut self, expected_visits: f64) {
        let curve = self.curve.clone();
        let visits: Vec<Visit> = self.market.visits(&curve, expected_visits).collect();
        for (number, visit) in visits.iter().enumerate() {
            self.visit(visit);
            if number % EPOCH_VISITS == EPOCH_VISITS - 1 {
                self.count();
            }
        }
    }

    fn candidates(&self, at: Timestamp) -> Vec<usize> {
        let hours = self.curve.hours(at);
        let ads = self.market.ads.iter().enumerate();
        ads.filter(|(_, ad)| f64::from(ad.launch_hour) <= hours).map(|(index, _)| index).collect()
    }

    fn visit(&mut self, visit: &Visit) {
        let Some(scene) = visit.scene(visit.at, &self.curve) else {
            return;
        };
        let user = Pseudonym(u128::from(name_key(&self.market.user_id(visit))) << 64 | 1);
        let slot = Slot::of_key(user.key());
        let indexes = self.candidates(visit.at);
        let page = &self.market.pages[visit.page];
        let context = [
            ("device", Value::Text(visit.device.name())),
            ("geo", Value::Text(reckon_market::REGIONS[visit.region])),
            ("page_category", Value::Text(self.market.page_category(visit))),
            ("page_url", Value::Text(&page.url)),
        ];
        let request = Request {
            tenant: TenantId::DEFAULT,
            user,
            now: visit.at,
            placement: page.placement,
            region: reckon_market::REGIONS[visit.region],
            device: visit.device.name(),
            context: &context,
            locale: 0,
            interests: &[],
        };
        let candidates: Vec<Candidate> =
            indexes.iter().map(|&index| candidate(&self.market, index)).collect();
        let scores = block_on(self.predictor.score(&request, &candidates));
        let price =
            |&index: &usize| self.market.campaigns[self.market.ads[index].campaign].cpc_micros;
        let prices: Vec<i64> = indexes.iter().map(price).collect();
        let seed = self.luck.bits();
        let chosen = choose(&scores, &prices, visit.ad_count, &self.exploration, seed);
        self.requests += 1;
        let minted: Vec<_> = chosen.iter().map(|one| (one.index, one.propensity)).collect();
        for rows in scores.rows(self.requests, &candidates, &minted) {
            let mut payload = Vec::new();
            rows.encode(&mut payload);
            let record = Record::new(Kind::Prediction, slot, visit.at);
            self.append(&Record { payload: &payload, ..record });
        }
        for (one, place) in chosen.iter().zip(1..) {
            let truth = self.market.probability(&scene, indexes[one.index], place);
            let clicked = self.luck.uniform() < truth;
            let mut impression = Record::new(Kind::Impression, slot, visit.at);
            impression.adopt(self.claims(user, slot, &candidates[one.index], one.index, place));
            self.append(&impression);
            if clicked {
                self.append(&Record { kind: Kind::Click, ..impression });
            }
            let predicted = Some(f64::from(scores.probability_at(one.index, place)));
            let price = prices[one.index] as f64;
            let instead = Default::default();
            let served = Served { truth, price, instead, predicted, clicked };
            self.judgement.note(visit.at, &served);
        }
    }

    fn append(&mut self, record: &Record<'_>) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.log.push(bytes);
    }

    fn claims(
        &self,
        user: Pseudonym,
        slot: Slot,
        candidate: &Candidate,
        index: usize,
        place: u16,
    ) -> Claims {
        Claims {
            tenant: TenantId::DEFAULT,
            impression: ImpressionId { incarnation: 1, slot, hour: 1, sequence: 1 },
            ad_key: candidate.ad,
            campaign_key: candidate.campaign,
            price: 1,
            currency: Currency::EUR,
            user,
            issued_at: Timestamp::MIN,
            expires_at: Timestamp::MIN,
            model_version: 0,
            delta_version: 1,
            prediction_id: prediction_id(self.requests, index as u16),
            arm: 0,
            propensity: 1.0,
            position: place,
            explored: false,
            consent: 0,
        }
    }

    fn count(&mut self) {
        self.epoch += 1;
        let log = std::mem::take(&mut self.log);
        let end = self.offset + log.len() as u64;
        let bound = Bound { partition: 0, from: self.offset, to: end };
        let records: Vec<_> = (self.offset..)
            .map(|offset| Position { partition: 0, offset })
            .zip(log.iter().map(|bytes| Record::decode(bytes).expect("a record").0))
            .collect();
        self.offset = end;
        let verdict =
            |record: &Record<'_>| (record.kind != Kind::Prediction).then_some(Verdict::Counted);
        let verdicts: Vec<_> = records.iter().map(|(_, record)| verdict(record)).collect();
        let epoch =
            Epoch { stage: 1, group: 0, generation: 1, number: self.epoch, bounds: vec![bound] };
        let deltas = Deltas::default();
        let counted = Counted {
            records: &records,
            verdicts: &verdicts,
            revisions: &[],
            deltas: &deltas,
            watermark: Timestamp::default(),
        };
        for subscriber in &mut self.subscribers {
            subscriber.apply(&epoch, &counted).expect("it is taken");
        }
    }
}

fn candidate(market: &Market, index: usize) -> Candidate {
    let ad = &market.ads[index];
    Candidate {
        ad: name_key(&ad.ad_id),
        campaign: name_key(&market.campaigns[ad.campaign].campaign_id),
        category: name_key(reckon_market::CATEGORIES[ad.category]),
        size: name_key(reckon_market::SIZES[ad.size]),
        ..Candidate::default()
    }
}

/// The store in memory answers at once.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

#[test]
fn the_served_model_closes_half_of_the_gap_to_the_truth() {
    for seed in 1..=2 {
        let mut market = Loop::new(seed, Exploration { draws: 10, ..Default::default() });
        market.run(15_000.0);
        let sixths = market.judgement.shares(6);
        println!(
            "seed {seed}: shown, expected log loss of model, constant, truth, gap closed, predicted a click"
        );
        for sixth in &sixths {
            println!(
                "  {:>6} {:.4} {:.4} {:.4} {:>5.1} % {:.3}",
                sixth.shown,
                sixth.model_log_loss().expect("shown"),
                sixth.constant_log_loss().expect("shown"),
                sixth.truth_log_loss().expect("shown"),
                100.0 * sixth.gap_closed().expect("a gap"),
                sixth.calibration_ratio().expect("clicks"),
            );
        }
        let (first, last) = (&sixths[0], &sixths[5]);
        assert!(last.gap_closed() > Some(0.5), "seed {seed}: {:?}", last.gap_closed());
        assert!(last.gap_closed() > first.gap_closed());
        let ratio = last.calibration_ratio().expect("clicks");
        assert!((0.9..1.1).contains(&ratio), "seed {seed}: {ratio}");
    }
}
