//! Random traffic of every class of id, as the bytes the edge logs: one seed, one history.

use reckon_event::{
    Claims, Currency, Fact, Facts, ImpressionId, Kind, Pseudonym, Reason, Record, RecordId, Slot,
    SourceClass, Stream, TenantId, Timestamp, Verdict, stamp,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `part` times in a hundred.
    pub const fn percent(&mut self, part: u64) -> bool {
        self.below(100) < part
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

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

/// Makes records, one after the other.
pub struct Traffic {
    random: Random,
    now: Timestamp,
    sequences: [u64; 3],
    made: Vec<Vec<u8>>,
    /// Receive times jump ahead by hours now and then, so that horizons pass.
    jumps: bool,
}

impl Traffic {
    pub fn new(seed: u64, jumps: bool) -> Self {
        let now = Timestamp(1_795_255_200_000_000);
        Traffic { random: Random::new(seed), now, sequences: [0; 3], made: Vec::new(), jumps }
    }

    /// The next record's bytes, stamped.
    pub fn next(&mut self) -> Vec<u8> {
        self.pass_time();
        let bytes = match self.random.below(100) {
            0..=2 if !self.made.is_empty() => self.append_again(),
            3..=32 if !self.made.is_empty() => self.send_again(),
            _ => self.fresh(),
        };
        if self.made.len() < 4_000 {
            self.made.push(bytes.clone());
        } else {
            let at = self.random.below(4_000) as usize;
            self.made[at] = bytes.clone();
        }
        bytes
    }

    /// So many records.
    pub fn take(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.next()).collect()
    }

    fn pass_time(&mut self) {
        let step = match self.random.below(1_000) {
            0 if self.jumps => 5 * Timestamp::HOUR,
            1..=5 if self.jumps => Timestamp::HOUR / 2,
            _ => self.random.below(800_000) as i64,
        };
        self.now = self.now.plus(step);
    }

    /// Mostly now; some waited in a spool.
    fn received(&mut self) -> Timestamp {
        if self.random.percent(4) {
            self.now.plus(-(self.random.below(7_200) as i64) * Timestamp::SECOND)
        } else {
            self.now
        }
    }

    fn recent(&mut self) -> Vec<u8> {
        let reach = self.made.len().min(if self.random.percent(80) { 300 } else { 4_000 });
        let back = self.random.below(reach as u64) as usize + 1;
        self.made[self.made.len() - back].clone()
    }

    /// The very same append.
    fn append_again(&mut self) -> Vec<u8> {
        self.recent()
    }

    /// The client sends an event again: another record, sometimes with another payload.
    fn send_again(&mut self) -> Vec<u8> {
        let bytes = self.recent();
        let (mut record, _) = Record::decode(&bytes).expect("it was encoded here");
        record.received = self.received();
        record.id = RecordId::default();
        if self.random.percent(15) {
            record.payload_digest ^= 1;
        }
        if self.random.percent(10) {
            record.outcome = self.random.pick(&REFUSALS);
        }
        self.finish(&record)
    }

    fn fresh(&mut self) -> Vec<u8> {
        let slot = Slot::new(self.random.pick(&SLOTS)).expect("below 1,024");
        let received = self.received();
        let record = self.dimensions(Record::new(Kind::Click, slot, received));
        let record = match self.random.below(100) {
            0..=49 => self.minted(record),
            50..=69 => self.opaque(record),
            70..=79 => self.sequenced(record),
            80..=89 => self.unsigned(record),
            90..=93 => self.aside(record),
            _ => record,
        };
        self.finish(&record)
    }

    fn dimensions<'a>(&mut self, record: Record<'a>) -> Record<'a> {
        let ad_key = self.random.below(6);
        let refused = self.random.percent(12);
        Record {
            tenant: TenantId(1 + self.random.below(2) as u32),
            source_class: self.random.pick(&[SourceClass::Server, SourceClass::Client]),
            outcome: if refused { self.random.pick(&REFUSALS) } else { Verdict::Counted },
            happened: record.received.plus(-(self.random.below(90) as i64) * Timestamp::SECOND),
            ad_key,
            campaign_key: 70 + ad_key / 2,
            price: self.random.below(900_000) as i64,
            currency: self.random.pick(&[Currency::EUR, Currency::USD]),
            user: Pseudonym(u128::from(self.random.below(5)) << 64),
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

    fn minted<'a>(&mut self, mut record: Record<'a>) -> Record<'a> {
        let hour = self.now.hour() - self.random.below(5) as u32;
        let wide = self.random.percent(20);
        let sequence = self.random.below(if wide { 70_000 } else { 60 }) as u32;
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
            user: Pseudonym(9),
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
                Kind::Conversion,
                Kind::Dwell,
                Kind::Share,
                Kind::Hide,
                Kind::Adjustment,
            ]),
            facts: Facts::default().with(Fact::Trusted),
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
        let facts = Facts::default();
        let counts = self.random.percent(80);
        Record {
            outcome: Verdict::Unsigned,
            facts: if counts { facts.with(Fact::UnsignedCounts) } else { facts },
            ..record
        }
    }

    fn aside<'a>(&mut self, record: Record<'a>) -> Record<'a> {
        if self.random.percent(50) {
            Record { kind: Kind::Control, payload: b"rules 7", ..record }
        } else {
            Record { kind: Kind::Prediction, stream: Stream::Predictions, ..record }
        }
    }

    fn finish(&mut self, record: &Record<'_>) -> Vec<u8> {
        let appender = self.random.below(3) as usize;
        self.sequences[appender] += 1;
        let id = RecordId { appender: appender as u64 + 1, sequence: self.sequences[appender] };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        stamp(&mut bytes, id).expect("it was encoded here");
        bytes
    }
}
