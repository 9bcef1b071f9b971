//! What people, phones and machines send: every class of id, copies and altered copies, late ones,
//! refused ones, and clocks that jump.

use reckon_event::{
    Claims, Currency, Fact, Facts, ImpressionId, Kind, Pseudonym, Reason, Record, RecordId, Slot,
    SourceClass, Stream, TenantId, Timestamp, Verdict, stamp,
};

use crate::random::Random;
use crate::{Happening, Tally};

const SLOTS: [u16; 9] = [0, 1, 17, 145, 146, 147, 512, 1_000, 1_023];
const REFUSALS: [Verdict; 9] = [
    Verdict::Expired,
    Verdict::Forged,
    Verdict::Unsigned,
    Verdict::UnknownAd,
    Verdict::Invalid(Reason::NotGet),
    Verdict::Invalid(Reason::Prefetch),
    Verdict::Invalid(Reason::DeclaredRobot),
    Verdict::Invalid(Reason::DataCentre),
    Verdict::Invalid(Reason::TooFast),
];
const NAMES: [&str; 5] = ["", "a", "b", "c", "d"];
const IDS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
/// 2026-11-21T10:00:00Z.
const BEGIN: Timestamp = Timestamp(1_795_255_200_000_000);

/// One record to be appended.
pub(crate) struct Sent {
    pub slot: Slot,
    pub bytes: Vec<u8>,
    /// It carries an id of its own; the others get theirs from the log.
    pub is_stamped: bool,
}

/// Makes records, one after the other.
pub(crate) struct Traffic {
    random: Random,
    pub now: Timestamp,
    /// The most time between two records.
    pace: u64,
    users: u64,
    /// The highest number of each outside appender.
    sequences: [u64; 3],
    /// What stands in the log.
    made: Vec<Vec<u8>>,
}

impl Traffic {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let pace = random.pick(&[200_000, 1_000_000, 5_000_000]);
        let users = random.pick(&[2, 5, 20]);
        Traffic { random, now: BEGIN, pace, users, sequences: [0; 3], made: Vec::new() }
    }

    /// Learns what stands in the log, so that it can come again.
    pub fn learn(&mut self, bytes: &[u8]) {
        self.made.push(bytes.to_vec());
    }

    pub fn next(&mut self, tally: &mut Tally) -> Sent {
        self.pass_time(tally);
        match self.random.below(100) {
            0..=2 if !self.made.is_empty() => self.append_again(tally),
            3..=32 if !self.made.is_empty() => self.send_again(tally),
            _ => self.fresh(tally),
        }
    }

    fn pass_time(&mut self, tally: &mut Tally) {
        let step = match self.random.below(1_000) {
            0..=2 => 5 * Timestamp::HOUR,
            3..=9 => Timestamp::HOUR / 2,
            10..=12 => -2 * Timestamp::HOUR,
            13..=19 => self.random.ago(5 * Timestamp::MINUTE),
            _ => self.random.below(self.pace) as i64,
        };
        if step < 0 {
            tally.note(Happening::ClockBack);
        }
        if step >= Timestamp::HOUR / 2 {
            tally.note(Happening::ClockAhead);
        }
        self.now = self.now.plus(step);
    }

    /// Mostly now; some waited in a spool.
    fn received(&mut self, tally: &mut Tally) -> (Timestamp, Facts) {
        if !self.random.percent(4) {
            return (self.now, Facts::default());
        }
        tally.note(Happening::Spooled);
        (self.now.plus(self.random.ago(2 * Timestamp::HOUR)), Facts::default().with(Fact::Spooled))
    }

    fn recent(&mut self) -> Vec<u8> {
        let reach = self.made.len().min(if self.random.percent(80) { 60 } else { 4_000 });
        let back = self.random.below(reach as u64) as usize + 1;
        self.made[self.made.len() - back].clone()
    }

    /// The very same append.
    fn append_again(&mut self, tally: &mut Tally) -> Sent {
        tally.note(Happening::Reappended);
        let bytes = self.recent();
        let slot = Record::decode(&bytes).expect("it stands in the log").0.slot;
        Sent { slot, bytes, is_stamped: true }
    }

    /// The client sends an event again: another record, sometimes with another payload.
    fn send_again(&mut self, tally: &mut Tally) -> Sent {
        tally.note(Happening::SentAgain);
        let bytes = self.recent();
        let (mut record, _) = Record::decode(&bytes).expect("it stands in the log");
        record.received = self.received(tally).0;
        record.id = RecordId::default();
        if self.random.percent(15) {
            tally.note(Happening::Altered);
            record.payload_digest ^= 1;
        }
        if self.random.percent(10) {
            record.outcome = self.random.pick(&REFUSALS);
        }
        self.send(&record)
    }

    fn fresh(&mut self, tally: &mut Tally) -> Sent {
        let slot = Slot::new(self.random.pick(&SLOTS)).expect("below 1,024");
        let (received, facts) = self.received(tally);
        let record = Record { facts, ..Record::new(Kind::Click, slot, received) };
        let record = self.dimensions(record, tally);
        let record = match self.random.below(100) {
            0..=39 => self.minted(record),
            40..=62 => self.opaque(record),
            63..=74 => self.sequenced(record),
            75..=84 => self.unsigned(record),
            85..=88 => self.aside(record),
            _ => record,
        };
        self.send(&record)
    }

    fn dimensions<'a>(&mut self, record: Record<'a>, tally: &mut Tally) -> Record<'a> {
        let ad_key = self.random.below(6);
        let refused = self.random.percent(12);
        let source_class = self.random.pick(&[SourceClass::Server, SourceClass::Client]);
        Record {
            tenant: TenantId(1 + self.random.below(2) as u32),
            source_class,
            outcome: if refused { self.random.pick(&REFUSALS) } else { Verdict::Counted },
            happened: record.received.plus(self.delay(source_class, tally)),
            ad_key,
            campaign_key: 70 + ad_key / 2,
            price: self.random.below(900_000) as i64,
            currency: self.random.pick(&[Currency::EUR, Currency::USD]),
            user: Pseudonym(u128::from(self.random.below(self.users)) << 64),
            position: self.random.below(3) as u16,
            ip_tag: self.random.below(3),
            agent_key: self.random.below(3),
            payload_digest: 77,
            region: self.random.pick(&NAMES),
            device: self.random.pick(&NAMES),
            placement: self.random.pick(&NAMES),
            ..record
        }
    }

    /// How long ago it happened when it was received.
    fn delay(&mut self, class: SourceClass, tally: &mut Tally) -> i64 {
        if class == SourceClass::Client && self.random.percent(15) {
            tally.note(Happening::LateBatch);
            return self.random.ago(9 * Timestamp::HOUR) - Timestamp::HOUR;
        }
        self.random.ago(90) * Timestamp::SECOND
    }

    fn minted<'a>(&mut self, mut record: Record<'a>) -> Record<'a> {
        let hour = self.now.hour() - self.random.below(5) as u32;
        let wide = self.random.percent(20);
        let sequence = self.random.below(if wide { 70_000 } else { 30 }) as u32;
        let incarnation = self.random.below(3) as u32;
        record.kind = self.random.pick(&[
            Kind::Impression,
            Kind::View,
            Kind::Click,
            Kind::Click,
            Kind::Conversion,
            Kind::Dwell,
        ]);
        record.event_id = self.random.pick(&["", "e", "f", "g"]);
        let issued_at = Timestamp::from_seconds(i64::from(hour) * 3_600);
        record.adopt(Claims {
            tenant: TenantId(1),
            impression: ImpressionId { incarnation, slot: record.slot, hour, sequence },
            ad_key: 1 + u64::from(sequence % 4),
            campaign_key: 70,
            price: 250_000,
            currency: Currency::EUR,
            user: Pseudonym(9 + self.random.below(3) as u128),
            issued_at,
            expires_at: issued_at.plus(Timestamp::DAY),
            model_version: 1,
            delta_version: 2,
            prediction_id: 3,
            arm: 0,
            propensity: 0.5,
            position: 4,
            explored: false,
            consent: 0,
        });
        record
    }

    fn opaque<'a>(&mut self, record: Record<'a>) -> Record<'a> {
        Record {
            kind: self.random.pick(&[
                Kind::Impression,
                Kind::View,
                Kind::Click,
                Kind::Click,
                Kind::Conversion,
                Kind::Dwell,
                Kind::Share,
                Kind::Hide,
                Kind::Adjustment,
            ]),
            facts: record.facts.with(Fact::Trusted),
            event_id: self.random.pick(&IDS),
            source: self.random.pick(&["shop", "app"]),
            ..record
        }
    }

    fn sequenced<'a>(&mut self, record: Record<'a>) -> Record<'a> {
        Record {
            install_id: self.random.pick(&["phone", "tablet", ""]),
            session_id: self.random.pick(&["s", "t"]),
            session_sequence: Some(self.random.below(40)),
            ..self.opaque(record)
        }
    }

    fn unsigned<'a>(&mut self, record: Record<'a>) -> Record<'a> {
        let counts = self.random.percent(80);
        let facts = if counts { record.facts.with(Fact::UnsignedCounts) } else { record.facts };
        Record { outcome: Verdict::Unsigned, facts, ..record }
    }

    /// What is not counted: decisions of a later build, and served rows.
    fn aside<'a>(&mut self, record: Record<'a>) -> Record<'a> {
        if self.random.percent(50) {
            Record { kind: Kind::Control, payload: b"rules 7", ..record }
        } else {
            Record { kind: Kind::Prediction, stream: Stream::Predictions, ..record }
        }
    }

    /// Some come from appenders of their own, such as a spool, most get their id from the log.
    fn send(&mut self, record: &Record<'_>) -> Sent {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let is_stamped = self.random.percent(20);
        if is_stamped {
            let appender = self.random.below(3) as usize;
            self.sequences[appender] += 1;
            let id = RecordId { appender: appender as u64 + 1, sequence: self.sequences[appender] };
            stamp(&mut bytes, id).expect("it was encoded here");
        }
        Sent { slot: record.slot, bytes, is_stamped }
    }
}
