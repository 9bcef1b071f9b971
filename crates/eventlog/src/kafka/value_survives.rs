//! Any record comes back from its value byte by byte, and nobody else's JSON becomes one by accident.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use reckon_event::{
    Claims, Currency, Facts, ImpressionId, Kind, Pseudonym, RECORD_BYTES_MAX, Record, RecordId,
    SLOT_COUNT, ServedRows, Slot, SourceClass, Stream, TenantId, Timestamp, Verdict, stamp,
};

use super::value::{ValueError, decode};
use super::values::Values;

const ID: RecordId = RecordId { appender: 0x0007_0000_0003, sequence: 41 };

/// What the value of a record reads as, once it was given [`ID`].
fn through_json(record: &[u8]) -> (String, Vec<u8>) {
    let mut values = Values::of(record, 1);
    values.stamp(ID);
    let text = String::from_utf8(values.get(0).1.to_vec()).expect("JSON is UTF-8");
    let mut back = Vec::new();
    let decoded = decode(text.as_bytes(), &mut back);
    assert_eq!(decoded, Ok(()), "{text}");
    (text, back)
}

#[track_caller]
fn check_survives(record: &[u8]) -> String {
    let (text, back) = through_json(record);
    let mut stamped = record.to_vec();
    stamp(&mut stamped, ID).expect("encoded here");
    assert_eq!(back, stamped, "{text}");
    text
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

/// Everything of a record that is drawn by itself.
#[derive(Clone, Debug)]
struct Drawn {
    kind: u8,
    slot: u16,
    numbers: [u64; 8],
    small: [u16; 4],
    times: [i64; 4],
    user: u128,
    texts: Vec<String>,
    value: Option<i64>,
    sequence: Option<u64>,
    ip: Option<IpAddr>,
    payload: Vec<u8>,
    verdict: usize,
    is_minted: bool,
    is_client: bool,
    propensity: u32,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let times = prop_oneof![
        4 => 0..Timestamp::MAX.0,
        1 => any::<i64>(),
    ];
    (
        (
            1_u8..=10,
            0..SLOT_COUNT,
            any::<[u64; 8]>(),
            any::<[u16; 4]>(),
            [times.clone(), times.clone(), times.clone(), times],
        ),
        (any::<u128>(), vec(".{0,40}", 10), any::<Option<i64>>(), any::<Option<u64>>()),
        (
            any::<Option<IpAddr>>(),
            vec(any::<u8>(), 0..200),
            0_usize..16,
            any::<bool>(),
            any::<bool>(),
            any::<u32>(),
        ),
    )
        .prop_map(|(first, second, third)| Drawn {
            kind: first.0,
            slot: first.1,
            numbers: first.2,
            small: first.3,
            times: first.4,
            user: second.0,
            texts: second.1,
            value: second.2,
            sequence: second.3,
            ip: third.0,
            payload: third.1,
            verdict: third.2,
            is_minted: third.3,
            is_client: third.4,
            propensity: third.5,
        })
}

impl Drawn {
    fn claims(&self, slot: Slot) -> Claims {
        Claims {
            tenant: TenantId(self.numbers[0] as u32),
            impression: ImpressionId {
                incarnation: self.numbers[1] as u32,
                slot,
                hour: self.numbers[2] as u32,
                sequence: self.numbers[3] as u32,
            },
            ad_key: self.numbers[4],
            campaign_key: self.numbers[5],
            price: self.numbers[6].cast_signed(),
            currency: Currency::EUR,
            user: Pseudonym(self.user),
            issued_at: Timestamp(self.times[2]),
            expires_at: Timestamp(self.times[3]),
            model_version: self.numbers[0] as u32,
            delta_version: self.numbers[1] as u32,
            prediction_id: self.numbers[7],
            arm: self.small[0],
            propensity: f32::from_bits(self.propensity),
            position: self.small[1],
            explored: self.is_client,
            consent: self.small[2] as u8,
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let slot = Slot::new(self.slot).expect("drawn below the number of slots");
        let kind = Kind::from_code(self.kind).expect("drawn among the kinds");
        let [a, b, c, d, e, f, g, h, i, j] = std::array::from_fn(|at| self.texts[at].as_str());
        let mut record = Record {
            stream: if self.is_minted { Stream::Events } else { Stream::Predictions },
            tenant: TenantId(self.numbers[0] as u32),
            source_class: if self.is_client { SourceClass::Client } else { SourceClass::Server },
            outcome: Verdict::all().nth(self.verdict).expect("there are 16"),
            facts: Facts(self.small[3]),
            lists_version: self.numbers[1] as u32,
            rules_version: self.numbers[2] as u32,
            happened: Timestamp(self.times[1]),
            ad_key: self.numbers[3],
            campaign_key: self.numbers[4],
            category_key: self.numbers[4] ^ self.numbers[6],
            price: self.numbers[5].cast_signed(),
            currency: if self.is_client { Currency::USD } else { Currency::NONE },
            user: Pseudonym(self.user),
            position: self.small[0],
            consent: self.small[1] as u8,
            ip_tag: self.numbers[6],
            agent_key: self.numbers[7],
            payload_digest: self.numbers[0] ^ self.numbers[7],
            value: self.value,
            ip: self.ip,
            ad_id: a,
            event_id: b,
            source: c,
            region: d,
            device: e,
            placement: f,
            item_id: g,
            request_id: h,
            install_id: i,
            session_id: j,
            session_sequence: self.sequence,
            payload: &self.payload,
            ..Record::new(kind, slot, Timestamp(self.times[0]))
        };
        if self.is_minted {
            record.adopt(self.claims(slot));
        }
        encoded(&record)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_record_comes_back_as_it_was(drawn in drawn()) {
        check_survives(&drawn.encoded());
    }

    #[test]
    fn any_probability_comes_back_as_it_was(bits in any::<u32>()) {
        let slot = Slot::of_key(0);
        let mut record = Record::new(Kind::Click, slot, Timestamp(1));
        let drawn = Drawn { propensity: bits, ..plain() };
        record.adopt(drawn.claims(slot));
        let text = check_survives(&encoded(&record));
        prop_assert_eq!(text.contains("\"bytes\""), !f32::from_bits(bits).is_finite());
    }

    #[test]
    fn what_others_write_is_no_record(garbage in vec(any::<u8>(), 0..60)) {
        prop_assert!(decode(&garbage, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_cut_value_is_no_record(drawn in drawn(), share in 0.0_f64..1.0) {
        let (text, _) = through_json(&drawn.encoded());
        let cut = (text.len() as f64 * share) as usize;
        prop_assert!(decode(&text.as_bytes()[..cut], &mut Vec::new()).is_err());
    }
}

fn plain() -> Drawn {
    Drawn {
        kind: 3,
        slot: 0,
        numbers: [1; 8],
        small: [1; 4],
        times: [1, 2, 3, 4],
        user: 1,
        texts: vec![String::new(); 10],
        value: None,
        sequence: None,
        ip: None,
        payload: Vec::new(),
        verdict: 0,
        is_minted: true,
        is_client: false,
        propensity: 0,
    }
}

#[test]
fn every_kind_says_what_it_is() {
    let mut payload = Vec::new();
    ServedRows { cut: vec![3; 192], ..ServedRows::default() }.encode(&mut payload);
    for kind in (0..=u8::MAX).filter_map(Kind::from_code) {
        let base = Record::new(kind, Slot::of_key(u64::MAX), Timestamp(1_795_255_200_000_000));
        let text = check_survives(&encoded(&Record { payload: &payload, ..base }));
        let name = format!("\"type\":\"{}\",\"kind\":{}", kind.name(), kind.code());
        assert!(text.contains(&name) && !text.contains("\"bytes\""), "{text}");
    }
}

/// Others read these topics: what stands in them changes only by new fields.
#[test]
fn the_fields_never_change() {
    let slot = Slot::new(517).expect("below 1,024");
    let mut record = Record {
        outcome: Verdict::Invalid(reckon_event::Reason::Prefetch),
        ..Record::new(Kind::Click, slot, Timestamp(1_795_255_200_123_456))
    };
    record.ad_id = "ad-1";
    record.device = "phone";
    record.ip = Some(IpAddr::from([203, 0, 113, 0]));
    record.adopt(Drawn { propensity: 0.25_f32.to_bits(), ..plain() }.claims(slot));
    let expected = include_str!("click.json").replace('\n', "");
    assert_eq!(check_survives(&encoded(&record)), expected);
}

#[test]
fn what_the_fields_cannot_say_goes_along() {
    let base = Record::new(Kind::Conversion, Slot::of_key(0), Timestamp(5));
    let before_1970 = encoded(&Record { happened: Timestamp(-1), ..base });
    assert!(check_survives(&before_1970).contains("\"bytes\""));
    let mut later_kind = encoded(&base);
    later_kind[3] = 77;
    let text = check_survives(&later_kind);
    assert!(text.contains("\"type\":\"unknown\",\"kind\":77"), "{text}");
    let mut later_field = encoded(&base);
    later_field.extend_from_slice(&[99, 2, 0, 1, 2]);
    let body = (later_field.len() - 16) as u32;
    later_field[8..12].copy_from_slice(&body.to_le_bytes());
    assert!(check_survives(&later_field).contains("\"bytes\""));
}

#[test]
fn a_record_with_an_id_keeps_it_and_others_count_on() {
    let base = Record::new(Kind::Click, Slot::of_key(0), Timestamp(5));
    let own = RecordId { appender: 1, sequence: 2 };
    let records = [base, Record { id: own, ..base }, base].map(|record| encoded(&record)).concat();
    let mut values = Values::of(&records, 3);
    values.stamp(ID);
    let ids: Vec<RecordId> = (0..values.len())
        .map(|at| {
            let mut back = Vec::new();
            decode(values.get(at).1, &mut back).expect("written here");
            Record::decode_checked(&back).expect("stamped").0.id
        })
        .collect();
    let last = RecordId { sequence: ID.sequence + 2, ..ID };
    assert_eq!(ids, [ID, own, last]);
}

#[test]
fn a_kind_of_a_later_build_stays_unknown() {
    let value =
        br#"{"type":"purchase","kind":44,"slot":3,"new":[1],"received_at":"2026-11-21T10:00:00Z"}"#;
    let mut back = Vec::new();
    decode(value, &mut back).expect("a record");
    let error = Record::decode_checked(&back).expect_err("not of this build");
    assert_eq!(error, reckon_event::DecodeError::Kind(44));
}

#[test]
fn the_longest_record_survives_the_worst_characters() {
    let worst = "\u{1}".repeat(1_000);
    let base = Record::new(Kind::Dwell, Slot::of_key(0), Timestamp(5));
    let texts = Record { ad_id: &worst, event_id: &worst, source: &worst, region: &worst, ..base };
    let room = RECORD_BYTES_MAX - encoded(&texts).len() - 3;
    let payload = vec![0xff; room];
    let longest = encoded(&Record { payload: &payload, ..texts });
    assert_eq!(longest.len(), RECORD_BYTES_MAX);
    let text = check_survives(&longest);
    assert!(text.len() < 128 * 1_024, "{}", text.len());
}

#[track_caller]
fn check_refused(value: &str, expected: &ValueError) {
    assert_eq!(decode(value.as_bytes(), &mut Vec::new()).as_ref(), Err(expected), "{value}");
}

#[test]
fn what_is_wrong_is_named() {
    check_refused("", &ValueError::Empty);
    let time = r#""received_at":"2026-11-21T10:00:00Z""#;
    let field = |field, name| {
        check_refused(&format!(r#"{{"slot":1,{time},{field}}}"#), &ValueError::Field(name));
    };
    field(r#""type":"nobody knows""#, "type");
    field(r#""type":"click","kind":1"#, "type");
    field(r#""type":"click","outcome":"fine""#, "outcome");
    field(r#""type":"click","currency":"euro""#, "currency");
    field(r#""type":"click","stream":"rows""#, "stream");
    field(r#""type":"click","source_class":"phone""#, "source_class");
    field(r#""type":"click","payload":"?""#, "payload");
    field(r#""type":"click","bytes":"?""#, "bytes");
    check_refused(&format!(r#"{{"type":"click","slot":1024,{time}}}"#), &ValueError::Field("slot"));
    let long = "x".repeat(RECORD_BYTES_MAX);
    check_refused(
        &format!(r#"{{"type":"click","slot":1,"ad_id":"{long}",{time}}}"#),
        &ValueError::TooLong,
    );
    let text = format!(r#"{{"type":"click","slot":1,"ad_key":"xyz",{time}}}"#);
    let error = decode(text.as_bytes(), &mut Vec::new()).expect_err("no key");
    assert!(error.to_string().contains("16 hexadecimal digits"), "{error}");
}
