//! Subscribers that remember what they were given and refuse anything but the same again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reckon_count::naive::{Line, Sum};
use reckon_disk::{Disk, read_all, write_whole};
use reckon_event::{
    Applied, Cell, Counted, Epoch, Kind, Measure, Position, Subscriber, SubscriberError, Verdict,
};

/// Everything it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    pub generation: u32,
    /// By epoch, a digest of all that came with it.
    pub epochs: BTreeMap<u64, u64>,
    pub verdicts: BTreeMap<Position, Option<Verdict>>,
    pub lines: BTreeMap<Line, Sum>,
    pub again: u64,
    pub revisions: u64,
}

impl Book {
    pub fn last(&self) -> u64 {
        self.epochs.keys().next_back().copied().unwrap_or(0)
    }

    /// Takes an epoch, or finds it identical to the one it has.
    fn take(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Applied {
        let digest = digest_of(epoch, counted);
        if let Some(known) = self.epochs.get(&epoch.number) {
            assert_eq!(*known, digest, "epoch {} came again, but not the same", epoch.number);
            self.again += 1;
            return Applied::Again;
        }
        let is_next = self.epochs.is_empty() || self.last() + 1 == epoch.number;
        assert!(is_next, "epoch {} came after {}", epoch.number, self.last());
        self.epochs.insert(epoch.number, digest);
        for ((position, _), verdict) in counted.records.iter().zip(counted.verdicts) {
            let before = self.verdicts.insert(*position, *verdict);
            assert_eq!(before, None, "{position:?} was counted twice");
        }
        for revision in counted.revisions {
            // Who is fed from a checkpoint on has not seen all that is revised.
            if let Some(verdict) = self.verdicts.get_mut(&revision.position) {
                assert_eq!(*verdict, Some(revision.cell.verdict), "{revision:?}");
                *verdict = Some(revision.verdict);
                self.revisions += 1;
            }
        }
        for (cell, measure) in &counted.deltas.cells {
            self.add(cell, measure);
        }
        Applied::Fresh
    }

    fn add(&mut self, cell: &Cell, measure: &Measure) {
        let minute = cell.second.div_euclid(60);
        let line = Line { ad_key: cell.ad, minute, kind: cell.kind, verdict: cell.verdict };
        let sum = self.lines.entry(line).or_default();
        sum.count = sum.count.wrapping_add_signed(measure.count);
        sum.spend += measure.spend;
        if *sum == Sum::default() {
            self.lines.remove(&line);
        }
    }
}

/// Of everything but the generation, which a replay may raise.
fn digest_of(epoch: &Epoch, counted: &Counted<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (epoch.number, &epoch.bounds, epoch.stage, epoch.group).hash(&mut hasher);
    for ((position, record), verdict) in counted.records.iter().zip(counted.verdicts) {
        (position, record.id, verdict.map(Verdict::code)).hash(&mut hasher);
    }
    let mut cells: Vec<_> =
        counted.deltas.cells.iter().map(|(cell, sum)| (cell, sum.count, sum.spend)).collect();
    cells.sort();
    cells.hash(&mut hasher);
    for revision in counted.revisions {
        (revision.position, revision.verdict, revision.rules_version).hash(&mut hasher);
    }
    counted.watermark.hash(&mut hasher);
    hasher.finish()
}

pub fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps its book on the disk; a crash takes what was not persisted.
pub struct Ledger {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    pub book: Arc<Mutex<Book>>,
    persisted: Option<u64>,
    /// Every so many epochs it persists by itself, ahead of any checkpoint.
    eager: u64,
    /// Every so many calls fail after having done their work.
    flaky: u64,
    calls: u64,
}

impl Ledger {
    /// As the disk has it.
    pub fn open(disk: Arc<dyn Disk>, eager: u64, flaky: u64) -> std::io::Result<Self> {
        let path = PathBuf::from("/ledger/book");
        disk.create_dir_all("/ledger".as_ref())?;
        let book = read_all(&*disk, &path)?.map(|bytes| decode(&bytes));
        let persisted = book.as_ref().map(Book::last);
        let book = Arc::new(Mutex::new(book.unwrap_or_default()));
        Ok(Ledger { disk, path, book, persisted, eager, flaky, calls: 0 })
    }

    fn flake(&mut self) -> Result<(), SubscriberError> {
        self.calls += 1;
        if self.flaky > 0 && self.calls.is_multiple_of(self.flaky) {
            return Err(SubscriberError::Failed("the answer was lost".into()));
        }
        Ok(())
    }
}

impl Subscriber for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn persisted(&self) -> Option<u64> {
        self.persisted
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let mut book = lock(&self.book);
        if epoch.generation < book.generation {
            return Err(SubscriberError::Fenced(book.generation));
        }
        book.generation = epoch.generation;
        let applied = book.take(epoch, counted);
        drop(book);
        if self.eager > 0 && epoch.number.is_multiple_of(self.eager) {
            self.persist()?;
        }
        self.flake()?;
        Ok(applied)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        let book = lock(&self.book).clone();
        write_whole(&*self.disk, &self.path, &encode(&book))
            .map_err(|error| SubscriberError::Failed(error.into()))?;
        if book.last() > 0 {
            self.persisted = Some(book.last());
        }
        self.flake()
    }
}

/// Keeps nothing: it is fed from the checkpoint on.
pub struct Live {
    pub book: Arc<Mutex<Book>>,
}

impl Subscriber for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn persisted(&self) -> Option<u64> {
        None
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        Ok(lock(&self.book).take(epoch, counted))
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        Ok(())
    }
}

fn encode(book: &Book) -> Vec<u8> {
    let mut text = format!("{}\n", book.generation);
    for (number, digest) in &book.epochs {
        text += &format!("e {number} {digest}\n");
    }
    for (position, verdict) in &book.verdicts {
        let code = verdict.map_or(0, Verdict::code);
        text += &format!("v {} {} {code}\n", position.partition, position.offset);
    }
    for (line, sum) in &book.lines {
        let Line { ad_key, minute, kind, verdict } = line;
        let (kind, verdict) = (kind.code(), verdict.code());
        text += &format!("l {ad_key} {minute} {kind} {verdict} {} {}\n", sum.count, sum.spend);
    }
    text.into_bytes()
}

fn decode(bytes: &[u8]) -> Book {
    let text = std::str::from_utf8(bytes).expect("write_whole is atomic");
    let mut lines = text.lines();
    let generation = lines.next().and_then(|n| n.parse().ok()).expect("a generation");
    let mut book = Book { generation, ..Book::default() };
    for line in lines {
        let (tag, rest) = line.split_at(1);
        let n: Vec<i128> = rest.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        match (tag, n.as_slice()) {
            ("e", &[number, digest]) => {
                book.epochs.insert(number as u64, digest as u64);
            }
            ("v", &[partition, offset, code]) => {
                let position = Position { partition: partition as u16, offset: offset as u64 };
                book.verdicts.insert(position, Verdict::from_code(code as u8));
            }
            ("l", &[ad, minute, kind, verdict, count, spend]) => {
                let line = Line {
                    ad_key: ad as u64,
                    minute: minute as i64,
                    kind: Kind::from_code(kind as u8).expect("a kind"),
                    verdict: Verdict::from_code(verdict as u8).expect("a verdict"),
                };
                book.lines.insert(line, Sum { count: count as u64, spend: spend as i64 });
            }
            _ => panic!("no such line: {line}"),
        }
    }
    book
}
