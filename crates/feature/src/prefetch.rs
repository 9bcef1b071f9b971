//! Asks the processor for memory before it is needed.
//!
//! A request leads to a thousand places in memory that is far larger than the caches. A load holds up what
//! comes after it until it is there, so few are under way at a time; asked for beforehand, as many are as the
//! processor can have. There is no safe way to ask, so this module holds one unsafe line.
#![expect(unsafe_code, reason = "a prefetch has no safe form yet")]

/// Starts to load a place of a slice, if it has it. Changes nothing that can be seen but time.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    let Some(place) = slice.get(at) else { return };
    // SAFETY: the address is that of a live reference; and a prefetch reads nothing into the program and
    // never faults, whatever the address. SSE is part of every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
}

/// Elsewhere a load does it: the processor goes on meanwhile.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn prefetch<T: Copy>(slice: &[T], at: usize) {
    if let Some(&place) = slice.get(at) {
        std::hint::black_box(place);
    }
}
