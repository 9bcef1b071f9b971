//! A record is written once and read for ever: by this build, by the next one, by an engine in
//! another language. What was written must come back equal, what was damaged must be told, and the
//! bytes of format version 1 must not move.

use proptest::prelude::*;
use reckon_event::{
    Claims, Currency, DecodeError, ENVELOPE_BYTES, Fact, Facts, ImpressionId, Kind, Pseudonym,
    Reason, Record, RecordId, Slot, SourceClass, Stream, TenantId, Timestamp, Verdict, stamp,
};

fn claims(seed: u64) -> Claims {
    Claims {
        tenant: TenantId(seed as u32 % 7 + 1),
        impression: ImpressionId {
            incarnation: 3,
            slot: Slot::of_key(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            hour: 498_000,
            sequence: seed as u32,
        },
        ad_key: seed ^ 1,
        campaign_key: seed ^ 2,
        price: 250_000,
        currency: Currency::EUR,
        user: Pseudonym(u128::from(seed) << 64 | 5),
        issued_at: Timestamp(1_795_255_200_000_000),
        expires_at: Timestamp(1_795_514_400_000_000),
        model_version: 4,
        delta_version: 5,
        prediction_id: 6,
        arm: 7,
        propensity: 0.25,
        position: 2,
        explored: seed.is_multiple_of(2),
        consent: 1,
    }
}

/// One record of each shape, as version 1 writes them.
fn specimens() -> Vec<Record<'static>> {
    let received = Timestamp(1_795_255_201_000_000);
    let minted = claims(42);
    let mut click = Record {
        id: RecordId { appender: 1 << 32 | 9, sequence: 17 },
        position: 2,
        ip_tag: 77,
        agent_key: 78,
        ip: Some("203.0.113.0".parse().expect("an address")),
        ad_id: "ad-1",
        region: "DE-BE",
        device: "mobile",
        placement: "top",
        ..Record::new(Kind::Click, minted.impression.slot, received)
    };
    click.adopt(minted);
    let event = Record {
        id: RecordId { appender: 2, sequence: 1 },
        tenant: TenantId(5),
        source_class: SourceClass::Client,
        facts: Facts(0).with(Fact::Trusted).with(Fact::PriceResolved),
        lists_version: 8,
        rules_version: 9,
        happened: Timestamp(1_795_255_100_000_000),
        ad_key: 10,
        campaign_key: 11,
        price: 12,
        currency: Currency::USD,
        user: Pseudonym(13),
        consent: 3,
        payload_digest: 14,
        value: Some(-15),
        ip: Some("2001:db8:1::".parse().expect("an address")),
        ad_id: "ad-2",
        event_id: "e-1",
        source: "shop",
        item_id: "item",
        request_id: "request",
        install_id: "install",
        session_id: "session",
        session_sequence: Some(16),
        ..Record::new(Kind::Conversion, Slot::of_key(99), received)
    };
    let control = Record {
        stream: Stream::Predictions,
        outcome: Verdict::Invalid(Reason::NotGet),
        payload: b"\x00\x01rules",
        ..Record::new(Kind::Control, Slot::of_key(0), received)
    };
    vec![click, event, control]
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let length = stamp(&mut bytes, RecordId { appender: 1, sequence: 1 }).expect("just encoded");
    assert_eq!(length, bytes.len());
    bytes
}

#[test]
fn every_shape_comes_back_equal() {
    for mut record in specimens() {
        let bytes = encode(&record);
        if record.id == RecordId::default() {
            record.id = RecordId { appender: 1, sequence: 1 };
        }
        assert_eq!(Record::decode_checked(&bytes), Ok((record, bytes.len())));
    }
}

#[test]
fn what_later_builds_added_comes_back_too() {
    let mut record = specimens().remove(1);
    record.category_key = u64::MAX - 1;
    let bytes = encode(&record);
    assert_eq!(Record::decode_checked(&bytes), Ok((record, bytes.len())));
}

#[test]
fn a_stamp_is_kept_when_a_record_is_appended_again() {
    let record = specimens().remove(0);
    let mut bytes = encode(&record);
    stamp(&mut bytes, RecordId { appender: 99, sequence: 99 }).expect("a record");
    let (again, _) = Record::decode_checked(&bytes).expect("still whole");
    assert_eq!(again.id, record.id);
}

#[test]
fn bytes_of_version_1_are_read_for_ever() {
    let fixture = include_bytes!("fixtures/v1/records.bin");
    let mut rest = &fixture[..];
    let mut read = 0;
    for mut expected in specimens() {
        let (record, length) = Record::decode_checked(rest).expect("the fixture is whole");
        if expected.id == RecordId::default() {
            expected.id = RecordId { appender: 1, sequence: 1 };
        }
        assert_eq!(record, expected);
        assert_eq!(encode(&expected), rest[..length], "today's bytes are version 1's");
        rest = &rest[length..];
        read += 1;
    }
    assert!(rest.is_empty());
    assert_eq!(read, 3);
}

#[test]
fn a_flipped_bit_is_always_told() {
    let mut flips = 0;
    for record in specimens() {
        let bytes = encode(&record);
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(Record::decode_checked(&damaged).is_err(), "bit {at} of {record:?}");
            flips += 1;
        }
    }
    assert!(flips > 3_000, "{flips} flips were tried");
}

#[test]
fn a_cut_record_and_a_hole_of_zeros_are_no_records() {
    for record in specimens() {
        let bytes = encode(&record);
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
    assert_eq!(Record::decode(&[0; 512]), Err(DecodeError::NotARecord));
}

#[test]
fn what_a_later_build_wrote_is_named() {
    let mut bytes = encode(&specimens()[0]);
    bytes[2] = 2;
    assert_eq!(Record::decode(&bytes), Err(DecodeError::Version(2)));
    bytes[2] = 1;
    bytes[3] = 200;
    assert_eq!(Record::decode(&bytes), Err(DecodeError::Kind(200)));
    assert_eq!(reckon_event::peek(&bytes).expect("an envelope").bytes, bytes.len());
    // A field with an unknown tag is skipped.
    let mut bytes = encode(&specimens()[2]);
    bytes.extend_from_slice(&[200, 1, 0, 7]);
    let body = (bytes.len() - ENVELOPE_BYTES) as u32;
    bytes[8..12].copy_from_slice(&body.to_le_bytes());
    stamp(&mut bytes, RecordId::default()).expect("a record");
    let (record, _) = Record::decode_checked(&bytes).expect("the unknown field is skipped");
    assert_eq!(record.payload, b"\x00\x01rules");
}

proptest! {
    #[test]
    fn any_record_comes_back(
        kind in 1u8..=10, seed: u64, received in 0i64..1 << 52, happened in 0i64..1 << 52, price: i64,
        facts: u16, minted: bool, value: Option<i64>, sequence: Option<u64>, verdict in 0usize..16,
        texts in proptest::collection::vec("[a-zA-Z0-9 \u{e4}\u{4f60}]{0,20}", 9), payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let kind = Kind::from_code(kind).expect("1 to 10");
        let mut record = Record {
            id: RecordId { appender: seed | 1, sequence: 3 },
            facts: Facts(facts),
            outcome: Verdict::all().nth(verdict).expect("16 verdicts"),
            happened: Timestamp(happened), price, currency: Currency::EUR, user: Pseudonym(u128::from(seed)),
            value, session_sequence: sequence, payload: &payload,
            ad_id: &texts[0], event_id: &texts[1], source: &texts[2], region: &texts[3], device: &texts[4],
            placement: &texts[5], item_id: &texts[6], install_id: &texts[7], session_id: &texts[8],
            ..Record::new(kind, Slot::of_key(seed), Timestamp(received))
        };
        if minted {
            record.adopt(claims(seed));
        }
        let bytes = encode(&record);
        prop_assert_eq!(Record::decode_checked(&bytes), Ok((record, bytes.len())));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), fixed in any::<bool>()) {
        let mut bytes = bytes;
        if fixed && bytes.len() >= 12 {
            bytes[..3].copy_from_slice(&[0xAD, 0xC1, 1]);
            let body = (bytes.len().saturating_sub(ENVELOPE_BYTES)) as u32;
            bytes[8..12].copy_from_slice(&body.to_le_bytes());
        }
        let _ = Record::decode(&bytes);
    }
}
