//! Chooses the kernel that was compiled for the machine at hand.
//!
//! The kernels themselves are safe. What needs a proof is only the call of a function that was compiled
//! for more than the least machine; tests hold each against the portable one and the plain walk.
#![expect(
    unsafe_code,
    reason = "a function compiled for AVX can be called safely only where it is known"
)]

use super::Forest;
use super::kernel::{self, Scratch};

pub(super) fn score(forest: &Forest, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("bmi1")
        {
            // SAFETY: every feature that the function is compiled for was found a line above.
            return unsafe { score_avx512(forest, rows, scratch, out) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") {
            // SAFETY: as above.
            return unsafe { score_avx2(forest, rows, scratch, out) };
        }
    }
    kernel::score(forest, rows, scratch, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512cd,bmi1")]
fn score_avx512(forest: &Forest, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) {
    kernel::score(forest, rows, scratch, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
fn score_avx2(forest: &Forest, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) {
    kernel::score(forest, rows, scratch, out);
}
