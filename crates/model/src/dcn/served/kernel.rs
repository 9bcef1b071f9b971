//! The inner loops of serving: some rows of inputs by sixteen columns of weights.
//!
//! A panel holds the weights of [`COLUMNS`] outputs for one input after another, so each step reads one
//! line of weights and one number of every row: for six rows the sums stay in twelve registers. With
//! weights of one byte, activations are 16-bit integers and two inputs are taken at once; products of
//! pairs are added in 32 bits, which cannot overflow (see [`LEVELS`]), so every processor computes the
//! same integers.
//!
//! [`Portable`] says what is computed; [`Avx2`] does the same with the processor's vectors, and the
//! tests compare them. Which one runs is decided when a model is made.
#![expect(
    unsafe_code,
    reason = "vector loads take bare pointers, and features are known at run time"
)]

/// Outputs of a panel.
pub(super) const COLUMNS: usize = 16;
/// Rows that are computed at once.
pub(super) const ROWS: usize = 6;

/// Sums of some rows.
pub(super) type Sums<T, const R: usize> = [[T; COLUMNS]; R];

/// The largest activation for so many inputs: products with weights of at most 127 then sum up to less
/// than 2^31.
pub(super) fn levels(inputs: usize) -> f32 {
    (LEVELS / inputs.max(1)).min(32_767) as f32
}

const LEVELS: usize = (i32::MAX / 127) as usize;

/// A number as it is kept.
pub(super) trait Stored: Copy + Default {
    /// What it stands for.
    fn number(self) -> f32;
}

impl Stored for f32 {
    fn number(self) -> f32 {
        self
    }
}

/// The upper half of an f32.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bf16(u16);

impl Bf16 {
    /// The nearest one; of two as near the even one.
    pub(super) fn new(number: f32) -> Self {
        let bits = number.to_bits();
        Bf16(((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }
}

impl Stored for Bf16 {
    fn number(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// Adds to sums the products of rows and a panel. Row `r` of the inputs begins at `r * stride`; a panel is as long as the
/// inputs say.
pub(super) trait Machine: Copy {
    /// Full precision.
    fn full<const R: usize>(
        self,
        inputs: &[f32],
        stride: usize,
        panel: &[[f32; COLUMNS]],
        sums: &mut Sums<f32, R>,
    );
    /// Weights of two bytes.
    fn half<const R: usize>(
        self,
        inputs: &[f32],
        stride: usize,
        panel: &[[Bf16; COLUMNS]],
        sums: &mut Sums<f32, R>,
    );
    /// Weights of one byte: a panel's entry is each output's weights of two inputs.
    fn byte<const R: usize>(
        self,
        inputs: &[i16],
        stride: usize,
        panel: &[[[i8; 2]; COLUMNS]],
        sums: &mut Sums<i32, R>,
    );
}

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Machine for Portable {
    #[inline(always)]
    fn full<const R: usize>(
        self,
        inputs: &[f32],
        stride: usize,
        panel: &[[f32; COLUMNS]],
        sums: &mut Sums<f32, R>,
    ) {
        plain(inputs, stride, panel, sums);
    }

    #[inline(always)]
    fn half<const R: usize>(
        self,
        inputs: &[f32],
        stride: usize,
        panel: &[[Bf16; COLUMNS]],
        sums: &mut Sums<f32, R>,
    ) {
        plain(inputs, stride, panel, sums);
    }

    #[inline(always)]
    fn byte<const R: usize>(
        self,
        inputs: &[i16],
        stride: usize,
        panel: &[[[i8; 2]; COLUMNS]],
        sums: &mut Sums<i32, R>,
    ) {
        for (row, sums) in sums.iter_mut().enumerate() {
            let (inputs, _) = inputs[row * stride..][..panel.len() * 2].as_chunks::<2>();
            for (&[first, second], weights) in inputs.iter().zip(panel) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += i32::from(first) * i32::from(weight[0])
                        + i32::from(second) * i32::from(weight[1]);
                }
            }
        }
    }
}

#[inline(always)]
fn plain<W: Stored, const R: usize>(
    inputs: &[f32],
    stride: usize,
    panel: &[[W; COLUMNS]],
    sums: &mut Sums<f32, R>,
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        let inputs = &inputs[row * stride..][..panel.len()];
        for (&input, weights) in inputs.iter().zip(panel) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += input * weight.number();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::with_avx2;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Bf16, COLUMNS, Machine, Sums};

    /// A processor with AVX2 and FMA. Made by [`with_avx2`] only.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(());

    /// Runs the task with AVX2 and FMA, if the processor has them; whatever is inlined into the task is
    /// compiled for them too.
    pub(in super::super) fn with_avx2<T>(task: impl FnOnce(Avx2) -> T) -> Option<T> {
        #[target_feature(enable = "avx2,fma")]
        fn run<T>(task: impl FnOnce(Avx2) -> T) -> T {
            task(Avx2(()))
        }
        let is_there = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        // SAFETY: the processor has both features.
        is_there.then(|| unsafe { run(task) })
    }

    /// The last row's last input lies within the inputs.
    #[inline(always)]
    fn check(length: usize, rows: usize, stride: usize, count: usize) {
        assert!(
            rows > 0 && (rows - 1) * stride + count <= length,
            "the rows lie within the inputs"
        );
    }

    impl Machine for Avx2 {
        #[inline(always)]
        fn full<const R: usize>(
            self,
            inputs: &[f32],
            stride: usize,
            panel: &[[f32; COLUMNS]],
            sums: &mut Sums<f32, R>,
        ) {
            check(inputs.len(), R, stride, panel.len());
            // SAFETY: `self` is only made where the processor has AVX2 and FMA. The rows were checked.
            unsafe { full(inputs.as_ptr(), stride, panel, sums) }
        }

        #[inline(always)]
        fn half<const R: usize>(
            self,
            inputs: &[f32],
            stride: usize,
            panel: &[[Bf16; COLUMNS]],
            sums: &mut Sums<f32, R>,
        ) {
            check(inputs.len(), R, stride, panel.len());
            // SAFETY: as in `full`.
            unsafe { half(inputs.as_ptr(), stride, panel, sums) }
        }

        #[inline(always)]
        fn byte<const R: usize>(
            self,
            inputs: &[i16],
            stride: usize,
            panel: &[[[i8; 2]; COLUMNS]],
            sums: &mut Sums<i32, R>,
        ) {
            check(inputs.len(), R, stride, panel.len() * 2);
            // SAFETY: as in `full`.
            unsafe { byte(inputs.as_ptr(), stride, panel, sums) }
        }
    }

    /// # Safety
    ///
    /// For each row below R, `panel.len()` numbers can be read at `row * stride`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn full<const R: usize>(
        inputs: *const f32,
        stride: usize,
        panel: &[[f32; COLUMNS]],
        sums: &mut Sums<f32, R>,
    ) {
        // SAFETY: each array of sums and weights is 16 numbers long; inputs as promised.
        unsafe {
            let mut held = load(sums);
            for (index, weights) in panel.iter().enumerate() {
                let left = _mm256_loadu_ps(weights.as_ptr());
                let right = _mm256_loadu_ps(weights.as_ptr().add(8));
                for (row, held) in held.iter_mut().enumerate() {
                    let input = _mm256_set1_ps(*inputs.add(row * stride + index));
                    held[0] = _mm256_fmadd_ps(input, left, held[0]);
                    held[1] = _mm256_fmadd_ps(input, right, held[1]);
                }
            }
            store(sums, &held);
        }
    }

    /// # Safety
    ///
    /// As for `full`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn half<const R: usize>(
        inputs: *const f32,
        stride: usize,
        panel: &[[Bf16; COLUMNS]],
        sums: &mut Sums<f32, R>,
    ) {
        // SAFETY: as in `full`; 16 weights are 32 bytes.
        unsafe {
            let mut held = load(sums);
            for (index, weights) in panel.iter().enumerate() {
                let weights = weights.as_ptr().cast::<__m128i>();
                let [left, right] = [0, 1].map(|half| {
                    let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(weights.add(half)));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
                });
                for (row, held) in held.iter_mut().enumerate() {
                    let input = _mm256_set1_ps(*inputs.add(row * stride + index));
                    held[0] = _mm256_fmadd_ps(input, left, held[0]);
                    held[1] = _mm256_fmadd_ps(input, right, held[1]);
                }
            }
            store(sums, &held);
        }
    }

    /// # Safety
    ///
    /// For each row below R, `2 * panel.len()` numbers can be read at `row * stride`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn byte<const R: usize>(
        inputs: *const i16,
        stride: usize,
        panel: &[[[i8; 2]; COLUMNS]],
        sums: &mut Sums<i32, R>,
    ) {
        // SAFETY: 16 pairs of weights are 32 bytes, 16 sums 64; inputs as promised, read in pairs that
        // need not be aligned.
        unsafe {
            let mut held = [[_mm256_setzero_si256(); 2]; R];
            for (index, weights) in panel.iter().enumerate() {
                let weights = weights.as_ptr().cast::<__m128i>();
                let left = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights));
                let right = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(1)));
                for (row, held) in held.iter_mut().enumerate() {
                    let pair = inputs.add(row * stride + index * 2).cast::<i32>().read_unaligned();
                    let pair = _mm256_set1_epi32(pair);
                    held[0] = _mm256_add_epi32(held[0], _mm256_madd_epi16(pair, left));
                    held[1] = _mm256_add_epi32(held[1], _mm256_madd_epi16(pair, right));
                }
            }
            for (sums, held) in sums.iter_mut().zip(&held) {
                let place = sums.as_mut_ptr().cast::<__m256i>();
                for (half, held) in held.iter().enumerate() {
                    let before = _mm256_loadu_si256(place.add(half));
                    _mm256_storeu_si256(place.add(half), _mm256_add_epi32(before, *held));
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn load<const R: usize>(sums: &Sums<f32, R>) -> [[__m256; 2]; R] {
        // SAFETY: a row of sums is 16 numbers.
        sums.each_ref().map(|sums| unsafe {
            [_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums.as_ptr().add(8))]
        })
    }

    #[target_feature(enable = "avx2,fma")]
    fn store<const R: usize>(sums: &mut Sums<f32, R>, held: &[[__m256; 2]; R]) {
        for (sums, held) in sums.iter_mut().zip(held) {
            // SAFETY: a row of sums is 16 numbers.
            unsafe {
                _mm256_storeu_ps(sums.as_mut_ptr(), held[0]);
                _mm256_storeu_ps(sums.as_mut_ptr().add(8), held[1]);
            }
        }
    }
}

/// Asks for the line of memory that holds a number; changes nothing but time.
#[inline(always)]
pub(in super::super) fn prefetch<T>(table: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(place) = table.get(place) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of a live reference, a prefetch never faults, and SSE is part of
        // every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (table, place);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[cfg(target_arch = "x86_64")]
    fn compare<const R: usize>(random: &mut Random) -> usize {
        let pairs = 1 + random.below(70) as usize;
        let stride = pairs * 2 + random.below(9) as usize;
        let length = (R - 1) * stride + pairs * 2;
        let inputs: Vec<f32> = (0..length).map(|_| random.normal()).collect();
        let full: Vec<[f32; COLUMNS]> =
            (0..pairs * 2).map(|_| [(); COLUMNS].map(|()| random.normal())).collect();
        let half: Vec<_> = full.iter().map(|weights| weights.map(Bf16::new)).collect();
        let most = levels(pairs * 2) as i64;
        let whole: Vec<i16> =
            (0..length).map(|_| (random.below(2 * most as u64 + 1) as i64 - most) as i16).collect();
        let byte: Vec<[[i8; 2]; COLUMNS]> = (0..pairs)
            .map(|_| {
                [(); COLUMNS].map(|()| [(); 2].map(|()| (random.below(255) as i64 - 127) as i8))
            })
            .collect();
        let mut sums = [[[0.5f32; COLUMNS]; R]; 4];
        let mut whole_sums = [[[0; COLUMNS]; R]; 2];
        let [a, b, c, d] = &mut sums;
        let [e, f] = &mut whole_sums;
        Portable.full(&inputs, stride, &full, a);
        Portable.half(&inputs, stride, &half, c);
        Portable.byte(&whole, stride, &byte, e);
        let ran = with_avx2(|machine| {
            machine.full(&inputs, stride, &full, b);
            machine.half(&inputs, stride, &half, d);
            machine.byte(&whole, stride, &byte, f);
        });
        if ran.is_none() {
            return 0;
        }
        for (left, right) in [(a, b), (c, d)] {
            for (left, right) in left.as_flattened().iter().zip(right.as_flattened()) {
                assert!((left - right).abs() < 1e-4, "{R} {pairs} {stride}: {left} {right}");
            }
        }
        assert_eq!(e, f, "{R} {pairs} {stride}");
        3 * R * COLUMNS
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vectors_compute_what_plain_loops_do() {
        let mut random = Random::new(8);
        let mut compared = 0;
        for _ in 0..200 {
            compared += compare::<1>(&mut random);
            compared += compare::<2>(&mut random);
            compared += compare::<5>(&mut random);
            compared += compare::<6>(&mut random);
        }
        assert!(compared > 100_000 || !is_x86_feature_detected!("avx2"), "{compared}");
    }

    #[test]
    fn halves_are_the_nearest() {
        let mut random = Random::new(9);
        for _ in 0..10_000 {
            let number = random.normal();
            let error = (Bf16::new(number).number() - number).abs();
            assert!(error <= number.abs() / 256.0, "{number}");
        }
        assert_eq!(Bf16::new(1.0).number(), 1.0);
    }
}
