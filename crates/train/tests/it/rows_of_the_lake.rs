//! A row is served, shown at once or late or never, clicked within the window or after it, more than
//! once, by a robot whose click is taken back minutes later; the lake is read while some may still be
//! clicked. The data set must be what somebody would write down who had watched all of it.

use reckon_event::{
    Applied, Bound, Cell, Claims, Columns, Counted, Currency, Deltas, Epoch, ImpressionId, Kind,
    Position, Pseudonym, Reason, Record, RecordId, Revision, ServedCandidate, ServedRows, Slot,
    Stream, Subscriber, TenantId, Timestamp, Verdict, prediction_id,
};
use reckon_lake::{LakePlace, LakeReader, LakeSubscriber};
use reckon_model::Random;
use reckon_train::lake::{LakeCounts, LakeDataError, LakeOptions, LakeRow, Young, read};

const START: Timestamp = Timestamp(1_795_255_200_000_000);
const PLAN: u64 = 77;
const MINUTE: i64 = Timestamp::MINUTE;

/// One thing that happened, as the list has it.
#[derive(Clone)]
struct Line {
    tenant: TenantId,
    kind: Kind,
    happened: Timestamp,
    received: Timestamp,
    prediction: u64,
    position: u16,
    verdict: Option<Verdict>,
    /// What rules made of it later.
    revised: Option<Verdict>,
    served: Option<ServedRows>,
}

/// What is expected of one row: request, index, position, clicked, weight, and all its numbers' bits.
type Expected = (u64, u16, u16, bool, f32, Vec<u32>, Vec<u64>);

fn world(seed: u64, requests: u64) -> Vec<Line> {
    let mut random = Random::new(seed);
    let mut below = move |bound: u64| random.below(bound);
    let mut lines = Vec::new();
    for request in 1..=requests {
        let at = START.plus((below(5 * 60) as i64) * MINUTE + below(60_000_000) as i64);
        let tenant = TenantId(1 + u32::from(below(10) == 0));
        let plan = if below(12) == 0 { PLAN + 1 } else { PLAN };
        let mut numbers = |count: u64| {
            (0..count).map(|_| if below(5) == 0 { f32::NAN } else { below(99) as f32 }).collect()
        };
        let shared_columns = Columns { numeric: numbers(3), keys: vec![request] };
        let own: Vec<Vec<f32>> = (0..3).map(|_| numbers(4)).collect();
        let candidates = own.into_iter().zip(0_u16..).map(|(numeric, index)| ServedCandidate {
            index: index * 7,
            ad_key: 5,
            columns: Columns { numeric, keys: vec![u64::from(index)] },
            ..ServedCandidate::default()
        });
        let served = ServedRows {
            request,
            at,
            plan,
            cut: vec![request],
            columns_cut: vec![request],
            shared_columns,
            candidates: candidates.collect(),
            ..ServedRows::default()
        };
        let base = Line {
            tenant,
            kind: Kind::Prediction,
            happened: at,
            received: at,
            prediction: 0,
            position: 0,
            verdict: None,
            revised: None,
            served: Some(served.clone()),
        };
        lines.push(base.clone());
        for candidate in &served.candidates {
            let prediction = prediction_id(request, candidate.index);
            let event = Line { prediction, served: None, ..base.clone() };
            let verdicts = [Verdict::Counted, Verdict::Counted, Verdict::Duplicate];
            let bad = Verdict::Invalid(Reason::RapidIp);
            let mut push =
                |kind, happened: Timestamp, position, below: &mut dyn FnMut(u64) -> u64| {
                    let late = if below(8) == 0 { below(180) as i64 * MINUTE } else { 0 };
                    let verdict = (below(15) > 0).then_some(verdicts[below(3) as usize]);
                    let revised = verdict.filter(|_| below(5) == 0);
                    let revised = revised
                        .map(|was| if was == Verdict::Counted { bad } else { Verdict::Counted });
                    let received = happened.plus(late);
                    lines.push(Line {
                        kind,
                        happened,
                        received,
                        position,
                        verdict,
                        revised,
                        ..event.clone()
                    });
                };
            for _ in 0..below(3) {
                let shown = at.plus([1, 30, 26 * 60 * 60][below(3) as usize] * 1_000_000);
                push(Kind::Impression, shown, 1 + below(4) as u16, &mut below);
            }
            for _ in 0..below(3) {
                let clicked = at.plus(below(50) as i64 * MINUTE);
                push(Kind::Click, clicked, 1, &mut below);
            }
        }
    }
    lines.sort_by_key(|line| line.received);
    lines
}

/// The list's own answer, in plain loops over all of it.
fn expected(lines: &[Line], options: &LakeOptions) -> Vec<Expected> {
    let now = lines.iter().map(|line| line.received).max().expect("lines");
    let counted = |line: &&Line| {
        line.revised.or(line.verdict) == Some(Verdict::Counted) && line.verdict.is_some()
    };
    let mut rows = Vec::new();
    for line in lines.iter().filter(|line| line.tenant == options.tenant) {
        let Some(served) = line.served.as_ref().filter(|served| served.plan == options.plan) else {
            continue;
        };
        if served.at < options.from || served.at >= options.to {
            continue;
        }
        for candidate in &served.candidates {
            let prediction = prediction_id(served.request, candidate.index);
            let of = |kind| {
                lines
                    .iter()
                    .filter(move |line| line.prediction == prediction && line.kind == kind)
                    .filter(counted)
            };
            let shown = of(Kind::Impression).map(|line| (line.happened, line.position)).min();
            let Some((shown, position)) = shown else { continue };
            if shown.since(served.at) > options.shown_us_max || now.since(shown) < options.window_us
            {
                continue;
            }
            let clicked = of(Kind::Click).map(|line| line.happened).min();
            let is_clicked = clicked.is_some_and(|at| at.since(shown) <= options.window_us);
            let numbers = served.shared_columns.numeric.iter().chain(&candidate.columns.numeric);
            let keys = served.shared_columns.keys.iter().chain(&candidate.columns.keys);
            rows.push((
                served.request,
                candidate.index,
                position,
                is_clicked,
                1.0,
                numbers.map(|number| number.to_bits()).collect(),
                keys.copied().collect(),
            ));
        }
    }
    rows.sort_by_key(|row| (row.0, row.1));
    rows
}

fn found(row: &LakeRow<'_>) -> Expected {
    let numbers = row.served.shared_columns.numeric.iter().chain(&row.candidate.columns.numeric);
    let keys = row.served.shared_columns.keys.iter().chain(&row.candidate.columns.keys);
    (
        row.served.request,
        row.candidate.index,
        row.position,
        row.is_clicked,
        row.weight,
        numbers.map(|number| number.to_bits()).collect(),
        keys.copied().collect(),
    )
}

/// Writes the lines into a lake, so many to an epoch, verdicts that were revised three epochs later.
fn lake_of(lines: &[Line], place: &LakePlace) {
    let options = reckon_lake::LakeOptions::new(1);
    let mut lake = LakeSubscriber::open(place.clone(), options).expect("it opens");
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        let mut payload = Vec::new();
        if let Some(served) = &line.served {
            served.encode(&mut payload);
        }
        payloads.push(payload);
    }
    let chunks: Vec<_> = lines.chunks(500).zip(payloads.chunks(500)).collect();
    let mut later: Vec<(usize, Revision)> = Vec::new();
    for number in 0..chunks.len() + 4 {
        let from = (number * 500) as u64;
        let (lines, payloads) = chunks.get(number).copied().unwrap_or((&[], &[]));
        let mut records = Vec::new();
        let mut verdicts = Vec::new();
        for ((line, payload), offset) in lines.iter().zip(payloads).zip(from..) {
            let position = Position { partition: 0, offset };
            let record = record(line, payload, offset);
            if let Some(verdict) = line.revised {
                later.push((number + 3, revision(position, &record, line, verdict)));
            }
            records.push((position, record));
            verdicts.push(line.verdict);
        }
        let due: Vec<Revision> =
            later.iter().filter(|(at, _)| *at == number).map(|(_, revision)| *revision).collect();
        let to = from + records.len() as u64;
        let bounds = vec![Bound { partition: 0, from: from.min(to), to }];
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number: number as u64 + 1, bounds };
        let watermark = lines.last().map_or(START.plus(40 * Timestamp::HOUR), |line| line.received);
        let deltas = Deltas::default();
        let counted = Counted {
            records: &records,
            verdicts: &verdicts,
            revisions: &due,
            deltas: &deltas,
            watermark,
        };
        assert_eq!(lake.apply(&epoch, &counted).expect("taken"), Applied::Fresh);
        if number % 3 == 0 {
            lake.persist().expect("durable");
        }
    }
    lake.persist().expect("durable");
}

fn record<'a>(line: &Line, payload: &'a [u8], offset: u64) -> Record<'a> {
    let slot = Slot::new(3).expect("a slot");
    let mut record = Record {
        id: RecordId { appender: 1, sequence: offset + 1 },
        payload,
        ..Record::new(line.kind, slot, line.received)
    };
    if line.kind == Kind::Prediction {
        return Record { stream: Stream::Predictions, tenant: line.tenant, ..record };
    }
    record.adopt(Claims {
        tenant: line.tenant,
        impression: ImpressionId { incarnation: 1, slot, hour: 1, sequence: offset as u32 },
        ad_key: 5,
        campaign_key: 6,
        price: 1,
        currency: Currency::EUR,
        user: Pseudonym(9),
        issued_at: line.happened,
        expires_at: line.happened.plus(Timestamp::HOUR),
        model_version: 0,
        delta_version: 1,
        prediction_id: line.prediction,
        arm: 0,
        propensity: 1.0,
        position: 1,
        explored: false,
        consent: 0,
    });
    Record { happened: line.happened, position: line.position, ..record }
}

fn revision(position: Position, record: &Record<'_>, line: &Line, verdict: Verdict) -> Revision {
    Revision {
        position,
        slot: record.slot,
        happened: record.happened,
        cell: Cell {
            second: record.happened.seconds(),
            tenant: record.tenant,
            ad: 5,
            campaign: 6,
            region: 0,
            device: 0,
            placement: 0,
            position: record.position,
            kind: record.kind,
            verdict: line.verdict.expect("a revision has a verdict before"),
            currency: Currency::EUR,
        },
        verdict,
        price: 1,
        rules_version: 1,
    }
}

fn rows_of(place: &LakePlace, options: &LakeOptions) -> (Vec<Expected>, LakeCounts) {
    let lake = LakeReader::open(place.clone()).expect("it opens").expect("a lake");
    let mut rows = Vec::new();
    let mut last = Timestamp::MIN;
    let counts = read(&lake, options, &mut |row| {
        assert!(last <= row.served.at, "rows come in the order in which they were served");
        last = row.served.at;
        rows.push(found(&row));
    })
    .expect("it reads");
    rows.sort_by_key(|row| (row.0, row.1));
    (rows, counts)
}

#[test]
fn every_row_has_the_label_that_somebody_watching_would_give_it() {
    let mut compared = 0;
    for seed in 1..=3 {
        let folder = tempfile::tempdir().expect("a folder");
        let place = LakePlace::folder(folder.path()).expect("a place");
        let lines = world(seed, 1_500);
        lake_of(&lines, &place);
        let whole = LakeOptions::new(TenantId(1), PLAN);
        let span = LakeOptions {
            from: START.plus(70 * MINUTE),
            to: START.plus(200 * MINUTE),
            window_us: 10 * MINUTE,
            ..whole
        };
        let late = LakeOptions { shown_us_max: 48 * Timestamp::HOUR, ..whole };
        // Fewer than the tenant has: the lake is gone through in several stretches.
        let own = lines.iter().filter(|line| line.tenant == whole.tenant).count();
        let stretches =
            LakeOptions { shown_us_max: 10 * MINUTE, labels_max: own * 85 / 100, ..whole };
        for options in [whole, span, late, LakeOptions { tenant: TenantId(2), ..whole }, stretches]
        {
            let expected = expected(&lines, &options);
            let (rows, counts) = rows_of(&place, &options);
            assert_eq!(rows.len(), expected.len(), "{options:?}");
            assert_eq!(rows, expected, "{options:?}");
            let LakeCounts { served, taken, clicked, not_shown, young, other_plan, .. } = counts;
            assert_eq!(taken, rows.len() as u64);
            assert_eq!(clicked, rows.iter().filter(|row| row.3).count() as u64);
            assert_eq!(served, taken + not_shown + young + other_plan);
            assert!(clicked > 20 && taken > 2 * clicked, "{counts:?}");
            compared += rows.iter().map(|row| row.5.len() + row.6.len() + 3).sum::<usize>();
        }
    }
    println!("{compared} numbers of rows compared with a plain list's");
    assert!(compared > 50_000, "{compared}");
}

#[test]
fn rows_that_may_still_be_clicked_are_left_out_or_weighed() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = LakePlace::folder(folder.path()).expect("a place");
    // Nothing is received after the sixth hour: the window of the last half hour has not passed.
    let cut = START.plus(250 * MINUTE);
    let lines: Vec<Line> =
        world(9, 4_000).into_iter().filter(|line| line.received <= cut).collect();
    lake_of(&lines, &place);
    let leave = LakeOptions::new(TenantId(1), PLAN);
    let weigh = LakeOptions { young: Young::Weigh { covered_min: 0.3 }, ..leave };
    let (left, counts_left) = rows_of(&place, &leave);
    let (weighed, counts) = rows_of(&place, &weigh);
    assert_eq!(left, expected(&lines, &leave));
    assert!(counts_left.young > 200, "{counts_left:?}");
    assert!(counts.young < counts_left.young && counts.taken > counts_left.taken, "{counts:?}");
    let heavier = weighed.iter().filter(|row| row.3 && row.4 > 1.0).count();
    let lighter = weighed.iter().filter(|row| !row.3 && row.4 < 1.0).count();
    assert!(heavier > 10 && lighter > 100, "{heavier} and {lighter}");
    let old: Vec<Expected> = weighed.into_iter().filter(|row| row.4 == 1.0).collect();
    assert!(
        left.iter().all(|row| old.contains(row)),
        "rows whose window has passed stay as they are"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = LakePlace::folder(folder.path()).expect("a place");
    lake_of(&world(4, 300), &place);
    let lake = LakeReader::open(place).expect("it opens").expect("a lake");
    let options = LakeOptions::new(TenantId(1), PLAN);
    let told = |options| read(&lake, &options, &mut |_| {}).expect_err("refused");
    assert!(matches!(
        told(LakeOptions { labels_max: 10, ..options }),
        LakeDataError::Labels { labels_max: 10, .. }
    ));
    assert!(matches!(
        told(LakeOptions { window_us: 0, ..options }),
        LakeDataError::Option("window_us", _)
    ));
    let young = Young::Weigh { covered_min: 0.0 };
    assert!(matches!(
        told(LakeOptions { young, ..options }),
        LakeDataError::Option("covered_min", _)
    ));
}
