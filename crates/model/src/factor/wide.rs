//! Runs the same loops with the widest registers of this processor.
//!
//! The loops are plain Rust over small arrays, compiled twice: for every processor, and for one with
//! AVX2. They count through indices: adapters of iterators are functions of their own, which this build's
//! profile does not compile into the wide form. Neither may fuse or reorder what the source says, so both give the same bits: a model learned on
//! one machine goes on on another, and each is the other's twin in tests.
#![expect(unsafe_code, reason = "a function for AVX2 can only be called after asking for AVX2")]

/// Loops that run in either form. `run` is `#[inline(always)]` wherever it is written, or it would be
/// compiled for the plain form alone.
pub(super) trait Work {
    type Output;
    fn run(self) -> Self::Output;
}

/// Runs in the widest form there is.
#[inline]
pub(super) fn run<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the only thing `avx2` asks for is a processor with AVX2, and this one has it.
        return unsafe { avx2(work) };
    }
    plain(work)
}

/// Runs in the form for every processor.
#[inline(never)]
pub(super) fn plain<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

/// Asks the processor for the cache lines of these numbers. Changes nothing that can be seen but time.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn prefetch(numbers: &[f32]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    let mut place = 0;
    while let Some(number) = numbers.get(place) {
        // SAFETY: the address is that of a live reference; and a prefetch reads nothing into the program
        // and never faults, whatever the address. SSE is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(number).cast()) }
        place += 16;
    }
}

/// Elsewhere the processor finds out by itself.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prefetch(_numbers: &[f32]) {}
