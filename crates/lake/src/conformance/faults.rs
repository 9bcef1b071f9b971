//! The store fails at some put: it refuses it, or takes it and the answer is lost, or a second try of
//! it finds the first, or the machine dies there and then, with the object whole, absent or cut short.
//! Whichever put it is, the lake that is opened afterwards and given the epochs again has every record
//! exactly once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use reckon_event::{Applied, Subscriber};

use super::Bench;
use super::history::{Step, hand, handed_over, history, in_lake};
use crate::{LakeOptions, LakePlace, LakeSubscriber};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The put is refused; the next one works.
    Refused,
    /// The put is done, its answer is an error; the next one works.
    AnswerLost,
    /// The put is done, its answer is lost on the way and it is made again by whoever carries it: the
    /// answer to the second is that there is one.
    Twice,
    /// The answer is that there is one, and there is none: another put was under way and failed.
    Conflict,
    /// The machine dies before it.
    DiesBefore,
    /// The machine dies after it.
    DiesAfter,
    /// The machine dies in it; half of the object is there.
    DiesWithin,
}

const FAULTS: [Fault; 7] = [
    Fault::Refused,
    Fault::AnswerLost,
    Fault::Twice,
    Fault::Conflict,
    Fault::DiesBefore,
    Fault::DiesAfter,
    Fault::DiesWithin,
];

impl Fault {
    const fn kills(self) -> bool {
        matches!(self, Fault::DiesBefore | Fault::DiesAfter | Fault::DiesWithin)
    }
}

/// A store that fails at its `at`-th put.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    at: u64,
    puts: AtomicU64,
    is_dead: AtomicBool,
}

impl Failing {
    fn new(inner: &Arc<dyn ObjectStore>, fault: Fault, at: u64) -> Arc<Self> {
        let (puts, is_dead) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Failing { inner: Arc::clone(inner), fault, at, puts, is_dead })
    }

    fn check_alive(&self) -> Result<()> {
        if self.is_dead.load(Ordering::SeqCst) { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> Error {
    Error::Generic { store: "failing", source: "as the test wants it".into() }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        at: &Path,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.check_alive()?;
        if self.puts.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return self.inner.put_opts(at, bytes, options).await;
        }
        self.is_dead.store(self.fault.kills(), Ordering::SeqCst);
        match self.fault {
            Fault::Refused | Fault::DiesBefore => {}
            Fault::Twice => {
                self.inner.put_opts(at, bytes.clone(), options.clone()).await?;
                return self.inner.put_opts(at, bytes, options).await;
            }
            Fault::Conflict => {
                let source = "another put is under way".into();
                return Err(Error::AlreadyExists { path: at.to_string(), source });
            }
            Fault::AnswerLost | Fault::DiesAfter => {
                self.inner.put_opts(at, bytes, options).await?;
            }
            Fault::DiesWithin => {
                let whole: Vec<u8> = bytes.iter().flatten().copied().collect();
                let half = PutPayload::from(whole[..whole.len() / 2].to_vec());
                self.inner.put_opts(at, half, options).await?;
            }
        }
        Err(broken())
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.check_alive()?;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.check_alive() {
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check_alive() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const EPOCHS: u64 = 11;

/// A small buffer, so that chunks are written between persists too.
fn options(writer: u64) -> LakeOptions {
    LakeOptions { buffer_bytes_max: 5_000, states_kept: 1, ..LakeOptions::new(writer) }
}

/// Hands over every epoch, each again a few times where that fails, as the pipeline does. Returns the
/// last that `persist` has answered for.
fn feed(lake: &mut LakeSubscriber, steps: &[Step], generation: u32) -> u64 {
    let mut persisted = 0;
    for number in 1..=EPOCHS {
        if !(0..3).any(|_| hand(lake, steps, number, generation).is_ok()) {
            return persisted;
        }
        if number != 5 {
            if !(0..3).any(|_| lake.persist().is_ok()) {
                return persisted;
            }
            persisted = number;
        }
    }
    persisted
}

/// How many puts a whole run makes; none of them fails.
fn puts_of_a_run(place: &LakePlace, steps: &[Step]) -> u64 {
    let store = Failing::new(place.objects(), Fault::Refused, u64::MAX);
    let place = place.through(store.clone());
    let mut lake = LakeSubscriber::open(place, options(1)).expect("an empty lake opens");
    assert_eq!(feed(&mut lake, steps, 1), EPOCHS);
    let files = lake.handle().covered().file_count as u64;
    drop(lake);
    let puts = store.puts.load(Ordering::SeqCst);
    // A state for the opening, the generation and each persist; each merge adds one too.
    assert!(puts - files > 2 + EPOCHS, "files were merged: {files} are left of {puts} puts");
    puts
}

fn check(place: &LakePlace, steps: &[Step], fault: Fault, at: u64) -> usize {
    let failing = place.through(Failing::new(place.objects(), fault, at));
    let mut acknowledged = 0;
    let opened = LakeSubscriber::open(failing, options(1));
    assert!(opened.is_ok() || fault.kills() || at == 1, "{fault:?} at {at}: it opens");
    if let Ok(mut lake) = opened {
        acknowledged = feed(&mut lake, steps, 1);
        if !fault.kills() {
            assert_eq!(acknowledged, EPOCHS, "one failure is survived in place: {fault:?} at {at}");
        }
    }

    let mut lake = LakeSubscriber::open(place.clone(), options(2)).expect("it opens again");
    let had = lake.persisted().expect("a lake is durable");
    assert!(had >= acknowledged, "{fault:?} at {at}: {acknowledged} was told, {had} is there");
    assert_eq!(in_lake(place), handed_over(steps, had), "{fault:?} at {at}: after the crash");
    for number in 1..=EPOCHS {
        let applied = hand(&mut lake, steps, number, 2).expect("it works again");
        let expect = if number <= had { Applied::Again } else { Applied::Fresh };
        assert_eq!(applied, expect, "{fault:?} at {at}, epoch {number}");
    }
    lake.persist().expect("it works again");
    let found = lake.handle().verify().expect("it answers");
    assert_eq!(found.damage, [], "{fault:?} at {at}");
    let all = handed_over(steps, EPOCHS);
    assert_eq!(in_lake(place), all, "{fault:?} at {at}: after all came again");
    all.0.len() + all.1.len()
}

pub(super) fn a_put_may_fail_in_any_way(bench: &dyn Bench) {
    let steps = history(11, EPOCHS, 20, 1);
    let puts = puts_of_a_run(&bench.place(), &steps);
    assert!(puts > 40, "{puts} puts are a run worth cutting");
    let mut compared = 0;
    for at in (1..=puts).step_by(bench.stride()) {
        for fault in FAULTS {
            compared += check(&bench.place(), &steps, fault, at);
        }
    }
    assert!(compared * bench.stride() > 20_000, "{compared} rows compared");
    eprintln!(
        "{puts} puts, one in {} failed in {} ways: {compared} rows compared",
        bench.stride(),
        FAULTS.len()
    );
}
