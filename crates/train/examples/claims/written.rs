//! A market straight into a lake: lists are invented, written with the lake's own writer as the pipeline
//! would hand them over, and read back as any lake is. No server, no network.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use reckon_event::{
    Bound, Claims, Counted, Currency, Deltas, Epoch, ImpressionId, Kind, Position, Pseudonym,
    Record, RecordId, ServedCandidate, ServedRows, Slot, Stream, Subscriber, TenantId, Timestamp,
    Verdict, prediction_id,
};
use reckon_feature::Plan;
use reckon_lake::{LakePlace, LakeReader, LakeSubscriber};
use reckon_market::{Curve, List, Market, Options, Troubles};
use reckon_train::Table;
use reckon_train::lake::{LakeCounts, LakeOptions};

use crate::columns::{Past, Subject, plan};

/// Ads of a list.
pub const LIST: usize = 8;
const START: Timestamp = Timestamp(1_795_219_200_000_000);
const SPAN_US: i64 = 7 * Timestamp::DAY;
const TENANT: TenantId = TenantId(1);
/// Records of an epoch, and epochs between two states of the lake.
const EPOCH_RECORDS: usize = 20_000;
const PERSIST_EPOCHS: u64 = 25;
/// Labels held at a time while the lake is read: an hour's and those of the next.
const LABELS_MAX: usize = 2_000_000;

/// A market whose rows lie in a table, and what is true of them.
pub struct Written {
    pub table: Table,
    pub truth: Truth,
}

/// What is true of a row, from the seed and its list's number.
pub struct Truth {
    pub market: Market,
    curve: Curve,
    last: Option<(u64, List)>,
}

impl Truth {
    fn new(seed: u64, decay: f64) -> Self {
        let options = Options {
            drift: None,
            launch_hours: Vec::new(),
            troubles: Troubles::none(),
            position_decay: decay,
            ..Options::new(seed)
        };
        Truth { market: Market::new(options), curve: Curve::new(START, SPAN_US), last: None }
    }

    /// When the list of a number comes, in whole milliseconds, as rows tell it.
    fn at(&self, number: u64, lists: u64) -> Timestamp {
        let at = self.curve.at((number as f64 + 0.5) / lists as f64);
        Timestamp(at.0 / 1_000 * 1_000)
    }

    fn list(&self, number: u64, at: Timestamp) -> List {
        let list = self.market.list(number, at, &self.curve, LIST);
        list.expect("there are no machines in this market")
    }

    /// Index of the ad, and the log odds of its click at place 1.
    pub fn of(&mut self, group: u64, time_ms: i64, position: u16) -> (usize, f64) {
        if self.last.as_ref().is_none_or(|(known, _)| *known != group) {
            self.last = Some((group, self.list(group - 1, Timestamp(time_ms * 1_000))));
        }
        let (_, list) = self.last.as_ref().expect("it was just made");
        let shown = list.shown[usize::from(position) - 1];
        (shown.ad, shown.logit)
    }
}

/// Something that the lake is told, besides its payload.
struct Line {
    kind: Kind,
    happened: Timestamp,
    prediction: u64,
    position: u16,
    subject: Subject,
    payload: Range<usize>,
}

/// Invents so many impressions, writes them into a lake below `folder`, and reads that into a table.
pub fn written(seed: u64, rows: u64, decay: f64, folder: &Path) -> crate::Done<Written> {
    let plan = plan();
    let truth = Truth::new(seed, decay);
    let root = folder.join("lake");
    fs::create_dir_all(&root)?;
    let lists = rows.div_ceil(LIST as u64);
    let started = Instant::now();
    let mut writer = Writer::open(&root, &truth.market, &plan)?;
    for number in 0..lists {
        let at = truth.at(number, lists);
        let inventing = Instant::now();
        writer.until(at);
        writer.list(number + 1, at, &truth.list(number, at), plan.version());
        writer.invented += inventing.elapsed();
        if writer.lines.len() >= EPOCH_RECORDS {
            writer.epoch()?;
        }
    }
    let end = truth.at(lists, lists).plus(Timestamp::HOUR);
    writer.until(end);
    writer.beat(end);
    writer.epoch()?;
    writer.persist()?;
    let (invented, records) = (writer.invented, writer.offset);
    drop(writer);
    let wrote = started.elapsed();
    let lake_bytes = size(&root)?;
    let reading = Instant::now();
    let lake = LakeReader::open(LakePlace::folder(&root)?)?.ok_or("there is no lake")?;
    let options = LakeOptions {
        window_us: 10 * Timestamp::MINUTE,
        shown_us_max: 10 * Timestamp::MINUTE,
        labels_max: LABELS_MAX,
        ..LakeOptions::new(TENANT, plan.version())
    };
    let path = folder.join("rows");
    let (table, counts) = reckon_train::lake::table(&lake, &plan, &options, &path)?;
    let LakeCounts { taken, clicked, not_shown, young, .. } = counts;
    assert_eq!((taken, not_shown, young), (lists * LIST as u64, 0, 0), "every row is found again");
    let rows_bytes = fs::metadata(&path)?.len();
    println!(
        "market {seed}, places fall by {decay}: {taken} rows, {clicked} clicked, {} columns and {} fields; \
         invented in {:.1} s; {records} records in {:.1} s, {} MB of lake; table in {:.1} s, {} MB",
        table.schema().numeric.len(),
        table.schema().fields.len(),
        invented.as_secs_f64(),
        (wrote - invented).as_secs_f64(),
        lake_bytes >> 20,
        reading.elapsed().as_secs_f64(),
        rows_bytes >> 20,
    );
    drop(lake);
    // The table has all that is asked of it from here on.
    fs::remove_dir_all(&root)?;
    Ok(Written { table, truth })
}

fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

struct Writer<'m> {
    lake: LakeSubscriber,
    past: Past<'m>,
    lines: Vec<Line>,
    payloads: Vec<u8>,
    /// Clicks that are still to come, the next one on top.
    clicks: BinaryHeap<Reverse<(Timestamp, u64, u16, Subject)>>,
    offset: u64,
    epochs: u64,
    latest: Timestamp,
    invented: Duration,
}

impl<'m> Writer<'m> {
    fn open(root: &Path, market: &'m Market, plan: &Plan) -> crate::Done<Self> {
        let options = reckon_lake::LakeOptions::new(1);
        Ok(Writer {
            lake: LakeSubscriber::open(LakePlace::folder(root)?, options)?,
            past: Past::new(market, plan),
            lines: Vec::new(),
            payloads: Vec::new(),
            clicks: BinaryHeap::new(),
            offset: 0,
            epochs: 0,
            latest: START,
            invented: Duration::ZERO,
        })
    }

    /// Lets clicks come that come before a moment.
    fn until(&mut self, moment: Timestamp) {
        while self.clicks.peek().is_some_and(|Reverse((at, ..))| *at <= moment) {
            let Some(Reverse((happened, prediction, position, subject))) = self.clicks.pop() else {
                return;
            };
            self.past.count(subject, true);
            let kind = Kind::Click;
            self.push(Line { kind, happened, prediction, position, subject, payload: 0..0 });
        }
    }

    /// Serves a list and shows it.
    fn list(&mut self, request: u64, at: Timestamp, list: &List, plan: u64) {
        let candidates = (0..).zip(&list.shown).map(|(index, shown)| ServedCandidate {
            index,
            ad_key: shown.ad as u64 + 1,
            columns: self.past.own(list, shown.ad),
            ..ServedCandidate::default()
        });
        let served = ServedRows {
            request,
            at,
            plan,
            columns_cut: vec![self.offset],
            shared_columns: self.past.shared(list),
            candidates: candidates.collect(),
            ..ServedRows::default()
        };
        let start = self.payloads.len();
        served.encode(&mut self.payloads);
        let subject = |ad| Subject { user: list.scene.user, page: list.scene.page, ad };
        self.push(Line {
            kind: Kind::Prediction,
            happened: at,
            prediction: 0,
            position: 0,
            subject: subject(0),
            payload: start..self.payloads.len(),
        });
        for (index, shown) in (0..).zip(&list.shown) {
            let (prediction, subject) = (prediction_id(request, index), subject(shown.ad));
            let (position, happened) = (index + 1, at.plus(1_000));
            let kind = Kind::Impression;
            self.push(Line { kind, happened, prediction, position, subject, payload: 0..0 });
            self.past.count(subject, false);
            if let Some(delay) = shown.clicked_us {
                self.clicks.push(Reverse((happened.plus(delay), prediction, position, subject)));
            }
        }
    }

    /// A view that says no more than that it is late: then the windows of all rows have passed.
    fn beat(&mut self, at: Timestamp) {
        let subject = Subject { user: 0, page: 0, ad: 0 };
        let kind = Kind::View;
        self.push(Line { kind, happened: at, prediction: 0, position: 1, subject, payload: 0..0 });
    }

    fn push(&mut self, line: Line) {
        self.latest = self.latest.max(line.happened);
        self.lines.push(line);
    }

    /// Hands over what has gathered, all of it counted.
    fn epoch(&mut self) -> crate::Done<()> {
        let from = self.offset;
        let record = |(line, offset): (&Line, u64)| {
            let record = record(line, &self.payloads[line.payload.clone()], offset);
            (Position { partition: 0, offset }, record)
        };
        let records: Vec<_> = self.lines.iter().zip(from..).map(record).collect();
        let verdict = |line: &Line| (line.kind != Kind::Prediction).then_some(Verdict::Counted);
        let verdicts: Vec<_> = self.lines.iter().map(verdict).collect();
        self.epochs += 1;
        self.offset += records.len() as u64;
        let bounds = vec![Bound { partition: 0, from, to: self.offset }];
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number: self.epochs, bounds };
        let counted = Counted {
            records: &records,
            verdicts: &verdicts,
            revisions: &[],
            deltas: &Deltas::default(),
            watermark: self.latest,
        };
        self.lake.apply(&epoch, &counted).map_err(|error| error.to_string())?;
        drop(records);
        self.lines.clear();
        self.payloads.clear();
        match self.epochs.is_multiple_of(PERSIST_EPOCHS) {
            true => self.persist(),
            false => Ok(()),
        }
    }

    fn persist(&mut self) -> crate::Done<()> {
        Ok(self.lake.persist().map_err(|error| error.to_string())?)
    }
}

fn record<'p>(line: &Line, payload: &'p [u8], offset: u64) -> Record<'p> {
    let slot = Slot::new((line.subject.user % 1_024) as u16).expect("below 1,024");
    let id = RecordId { appender: 1, sequence: offset + 1 };
    let record = Record { id, payload, ..Record::new(line.kind, slot, line.happened) };
    if line.kind == Kind::Prediction {
        return Record { stream: Stream::Predictions, tenant: TENANT, ..record };
    }
    let mut record = record;
    record.adopt(Claims {
        tenant: TENANT,
        impression: ImpressionId {
            incarnation: 1,
            slot,
            hour: line.happened.hour(),
            sequence: offset as u32,
        },
        ad_key: line.subject.ad as u64 + 1,
        campaign_key: 1,
        price: 100_000,
        currency: Currency::EUR,
        user: Pseudonym(line.subject.user as u128 + 1),
        issued_at: line.happened,
        expires_at: line.happened.plus(Timestamp::HOUR),
        model_version: 0,
        delta_version: 0,
        prediction_id: line.prediction,
        arm: 0,
        propensity: 1.0,
        position: line.position,
        explored: false,
        consent: 0,
    });
    Record { happened: line.happened, position: line.position, ..record }
}
