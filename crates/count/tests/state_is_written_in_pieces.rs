//! The state's bytes: changes laid over what was written before are the whole, damage is told, and
//! version 2 is read for ever.
//!
//! The story: a checkpoint of changes forgets a piece or brings back a dropped one, a flipped bit is
//! counted with, or a new build cannot read what an old one wrote.

mod traffic;

use reckon_count::{FormatError, Policy, State, Strand, ask, fold};
use reckon_event::{
    Claims, Currency, Fact, Facts, ImpressionId, Kind, Position, Pseudonym, Record, RecordId, Slot,
    TenantId, Timestamp, Topic, Verdict,
};
use traffic::Traffic;

const POLICY: Policy = Policy {
    minted_horizon: 3 * Timestamp::HOUR,
    opaque_horizon: 5 * Timestamp::HOUR,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 4 * Timestamp::HOUR,
    rules_horizon: 1_000 * Timestamp::DAY,
};

fn fold_bytes(state: &mut State, history: &[Vec<u8>], from: u64) {
    let batch: Vec<(Position, Record<'_>)> = (from..)
        .zip(history)
        .map(|(offset, bytes)| {
            (Position { partition: 0, offset }, Record::decode(bytes).expect("encoded here").0)
        })
        .collect();
    fold(state, &batch, &ask(&batch, |_, _| None), &POLICY);
}

#[test]
fn changes_laid_over_each_other_are_the_whole() {
    let mut smaller = 0;
    for seed in 0..4 {
        let mut traffic = Traffic::new(seed, true);
        let (mut state, mut mirror) = (State::new(), State::new());
        for round in 0..60 {
            fold_bytes(&mut state, &traffic.take(100), round * 100);
            let changes = state.encode_changes();
            state.mark_written();
            mirror.apply_changes(&changes).expect("as it was written");
            assert!(mirror.encode() == state.encode(), "seed {seed}, round {round}");
            smaller += usize::from(changes.len() < state.encode().len());
            if round % 7 == 0 {
                state = State::decode(&state.encode()).expect("as it was written");
            }
        }
        assert_eq!(state.totals().seen(), 6_000);
    }
    assert!(smaller > 100, "changes were smaller than the whole {smaller} times");
}

#[test]
fn a_state_can_be_split_and_merged() {
    let mut state = State::new();
    fold_bytes(&mut state, &Traffic::new(1, false).take(2_000), 0);
    let whole = state.encode();
    let upper = state.split(|slot| slot.number() >= 146);
    assert!(state.totals().seen() > 0 && upper.totals().seen() > 0);
    state.merge(upper);
    assert!(state.encode() == whole);
}

#[test]
fn every_flipped_bit_and_every_cut_is_told() {
    let whole = fixture_state().encode();
    for at in 0..whole.len() {
        let cut = State::decode(&whole[..at]);
        assert!(cut.is_err(), "cut at byte {at}");
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            assert!(State::decode(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(State::decode(&longer).err(), Some(FormatError::Damaged("end")));
}

/// A state made of a few records that are written out here, with something of everything in it.
fn fixture_state() -> State {
    let mut state = State::new();
    let slot = Slot::new(513).expect("below 1,024");
    let start = Timestamp(1_795_255_200_000_000);
    let mut records = Vec::new();
    for sequence in [0_u32, 1, 2, 5, 900, 70_000, 1] {
        records.push(minted(slot, start, 1, sequence));
    }
    records.extend((0..200).map(|sequence| minted(slot, start, 2, sequence)));
    let click = Record { user: Pseudonym(5), ad_key: 8, ..Record::new(Kind::Click, slot, start) };
    let counts = Facts::default().with(Fact::UnsignedCounts);
    records.push(Record { outcome: Verdict::Unsigned, facts: counts, ..click });
    records.push(Record { kind: Kind::Control, ..click });
    records.push(Record { kind: Kind::Share, event_id: "x", ..click });
    records.push(Record { kind: Kind::Conversion, outcome: Verdict::UnknownAd, ..click });
    for (n, record) in (1..).zip(&mut records) {
        record.id = RecordId { appender: (1 << 33) | (n % 2), sequence: n };
    }
    records.push(records[3]);
    let batch: Vec<_> = (0..)
        .zip(records)
        .map(|(offset, record)| (Position { partition: 4, offset }, record))
        .collect();
    fold(&mut state, &batch, &ask(&batch, |_, _| None), &POLICY);
    state.skip_unknown(slot);
    state
}

fn minted(slot: Slot, at: Timestamp, incarnation: u32, sequence: u32) -> Record<'static> {
    let mut record = Record::new(Kind::Click, slot, at);
    record.adopt(Claims {
        tenant: TenantId(1),
        impression: ImpressionId { incarnation, slot, hour: at.hour(), sequence },
        ad_key: 1,
        campaign_key: 2,
        price: 3,
        currency: Currency::EUR,
        user: Pseudonym(4),
        issued_at: at,
        expires_at: at.plus(Timestamp::DAY),
        model_version: 0,
        delta_version: 0,
        prediction_id: 0,
        arm: 0,
        propensity: 0.0,
        position: 0,
        explored: false,
        consent: 0,
    });
    record
}

#[test]
fn version_two_is_written_and_read_as_ever() {
    let fixture = include_bytes!("fixtures/v2/state.bin");
    let made = fixture_state();
    assert!(made.encode() == fixture, "the bytes of version 2 are frozen");
    let read = State::decode(fixture).expect("version 2 is read for ever");
    assert_eq!(read.totals(), made.totals());
    assert_eq!(read.totals().seen(), 213);
    assert_eq!(read.totals().get(Kind::Click, Verdict::Duplicate), 1);
    assert_eq!(read.totals().redelivered, 1);
    let slot = Slot::new(513).expect("below 1,024");
    for topic in Topic::ALL {
        let strand = Strand { slot, topic };
        assert_eq!(read.clock(strand), made.clock(strand));
    }
    assert!(read.encode() == fixture);
}

/// What counting remembered before it knew of topics is not guessed at.
#[test]
fn version_one_is_refused_with_the_way_out() {
    let mut bytes = fixture_state().encode();
    bytes[4..6].copy_from_slice(&1_u16.to_le_bytes());
    let refused = State::decode(&bytes).expect_err("too old");
    assert_eq!(refused, FormatError::TooOld(1));
    assert!(refused.to_string().contains("reckon rebuild"), "{refused}");
}
