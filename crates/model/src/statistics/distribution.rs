//! Distributions that tests and intervals need: normal, chi-squared, Student's t.
//!
//! All come from the incomplete gamma and beta functions (series and continued fractions, Press et al.,
//! "Numerical Recipes", chapter 6), to some 12 digits; quantiles are found from them by halving.

/// The chance that a standard normal is at most `x`.
pub fn normal_cdf(x: f64) -> f64 {
    let tail = 0.5 * gamma_above(0.5, x * x / 2.0);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// The number that a standard normal is below with this chance; infinite at 0 and 1.
pub fn normal_quantile(chance: f64) -> f64 {
    if chance > 0.5 {
        return -normal_quantile(1.0 - chance);
    }
    if chance <= 0.0 {
        return f64::NEG_INFINITY;
    }
    halve(chance, -40.0, 0.0, normal_cdf)
}

/// The chance that a chi-squared with so many degrees of freedom is above `x`.
pub fn chi_squared_above(x: f64, freedom: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { gamma_above(freedom / 2.0, x / 2.0) }
}

/// The number that a chi-squared is below with this chance.
pub fn chi_squared_quantile(chance: f64, freedom: f64) -> f64 {
    if chance <= 0.0 {
        return 0.0;
    }
    let below = |x: f64| 1.0 - chi_squared_above(x, freedom);
    let mut high = freedom.max(1.0);
    while below(high) < chance && high < 1e12 {
        high *= 2.0;
    }
    halve(chance, 0.0, high, below)
}

/// The chance that Student's t with so many degrees of freedom is at most `x`.
pub fn student_cdf(x: f64, freedom: f64) -> f64 {
    let square = x * x;
    // Each form keeps its digits on its own side.
    let tail = if square < freedom {
        0.5 - 0.5 * beta_share(0.5, freedom / 2.0, square / (freedom + square))
    } else {
        0.5 * beta_share(freedom / 2.0, 0.5, freedom / (freedom + square))
    };
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// The number that Student's t is below with this chance; infinite at 0 and 1.
pub fn student_quantile(chance: f64, freedom: f64) -> f64 {
    if chance > 0.5 {
        return -student_quantile(1.0 - chance, freedom);
    }
    if chance <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let mut low = -1.0;
    while student_cdf(low, freedom) > chance && low > -1e300 {
        low *= 2.0;
    }
    halve(chance, low, 0.0, |x| student_cdf(x, freedom))
}

/// Where a rising function reaches `level`.
fn halve(level: f64, mut low: f64, mut high: f64, rising: impl Fn(f64) -> f64) -> f64 {
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if rising(middle) < level {
            low = middle;
        } else {
            high = middle;
        }
    }
}

const TERMS_MAX: usize = 10_000;
const TINY: f64 = 1e-300;

/// The logarithm of the gamma function, above 0 (Lanczos, nine coefficients).
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let terms = COEFFICIENTS.iter().zip(1..);
    let sum: f64 = terms.map(|(term, index)| term / (x + f64::from(index))).sum();
    let base = x + 7.5;
    let root = 0.5 * (2.0 * std::f64::consts::PI).ln();
    root + (x + 0.5) * base.ln() - base + (0.999_999_999_999_809_9 + sum).ln()
}

/// The share of the gamma integral above `x`.
fn gamma_above(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 { 1.0 - scale * gamma_series(a, x) } else { scale * gamma_fraction(a, x) }
}

fn gamma_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0 / a, 1.0 / a);
    for index in 1..TERMS_MAX {
        term *= x / (a + index as f64);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// Lentz's evaluation of the continued fraction.
fn gamma_fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut product = d;
    for index in 1..TERMS_MAX {
        let index = index as f64;
        let an = -index * (index - a);
        b += 2.0;
        d = 1.0 / away_from_0(an * d + b);
        c = away_from_0(b + an / c);
        product *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    product
}

fn away_from_0(x: f64) -> f64 {
    if x.abs() < TINY { TINY } else { x }
}

/// The share of the beta integral below `x`.
fn beta_share(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    let ln = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    if x < (a + 1.0) / (a + b + 2.0) {
        ln.exp() * beta_fraction(a, b, x) / a
    } else {
        1.0 - ln.exp() * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let mut c = 1.0;
    let mut d = 1.0 / away_from_0(1.0 - (a + b) * x / (a + 1.0));
    let mut product = d;
    for index in 1..TERMS_MAX {
        let m = index as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_0(1.0 + term * d);
            c = away_from_0(1.0 + term / c);
            step = d * c;
            product *= step;
        }
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    product
}
