//! An object store in memory whose puts fail on demand, each in one of the ways a network has.
//!
//! It outlives every process that uses it: what a put has left is there for the next one. A store
//! that is gone answers nothing until it is back.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::Happening;

/// What becomes of one put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutFault {
    /// It is refused; the next one works.
    Refused,
    /// It is done, its answer is an error; the next one works.
    AnswerLost,
    /// The store is gone before it.
    DiesBefore,
    /// The store is gone after it.
    DiesAfter,
    /// The store is gone within it; half of the object is there.
    CutShort,
}

impl PutFault {
    pub const ALL: [PutFault; 5] = [
        PutFault::Refused,
        PutFault::AnswerLost,
        PutFault::DiesBefore,
        PutFault::DiesAfter,
        PutFault::CutShort,
    ];

    pub const fn happening(self) -> Happening {
        match self {
            PutFault::Refused => Happening::PutRefused,
            PutFault::AnswerLost => Happening::PutAnswerLost,
            PutFault::DiesBefore => Happening::PutDiedBefore,
            PutFault::DiesAfter => Happening::PutDiedAfter,
            PutFault::CutShort => Happening::PutCutShort,
        }
    }
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct FlakyStore {
    inner: InMemory,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many puts are still to work, and what becomes of the one after them.
    trap: Option<(u64, PutFault)>,
    is_gone: bool,
    struck: Vec<PutFault>,
}

impl FlakyStore {
    /// The `nth` put from now on (1 = the next one) fails.
    pub fn set_trap(&self, nth: u64, fault: PutFault) {
        self.state().trap = Some((nth - 1, fault));
    }

    /// It answers nothing from now on.
    pub fn go(&self) {
        self.state().is_gone = true;
    }

    /// True where it answers nothing.
    pub fn is_gone(&self) -> bool {
        self.state().is_gone
    }

    /// It is back, and no put is to fail.
    pub fn come_back(&self) {
        let mut state = self.state();
        state.is_gone = false;
        state.trap = None;
    }

    /// What has failed since the last time.
    pub fn take_struck(&self) -> Vec<PutFault> {
        std::mem::take(&mut self.state().struck)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<()> {
        if self.state().is_gone { Err(simulated()) } else { Ok(()) }
    }

    /// What becomes of this put.
    fn next_put(&self) -> Option<PutFault> {
        let mut state = self.state();
        let (left, fault) = state.trap?;
        if left > 0 {
            state.trap = Some((left - 1, fault));
            return None;
        }
        state.trap = None;
        state.struck.push(fault);
        state.is_gone = !matches!(fault, PutFault::Refused | PutFault::AnswerLost);
        Some(fault)
    }
}

fn simulated() -> Error {
    Error::Generic { store: "flaky", source: "simulated: the store does not answer".into() }
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flaky")
    }
}

#[async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(
        &self,
        at: &Path,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.check()?;
        match self.next_put() {
            None => return self.inner.put_opts(at, bytes, options).await,
            Some(PutFault::Refused | PutFault::DiesBefore) => {}
            Some(PutFault::AnswerLost | PutFault::DiesAfter) => {
                self.inner.put_opts(at, bytes, options).await?;
            }
            Some(PutFault::CutShort) => {
                let whole: Vec<u8> = bytes.iter().flatten().copied().collect();
                let half = PutPayload::from(whole[..whole.len() / 2].to_vec());
                self.inner.put_opts(at, half, options).await?;
            }
        }
        Err(simulated())
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.check() {
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check()?;
        self.inner.copy_opts(from, to, options).await
    }
}
