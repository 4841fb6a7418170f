//! How many different elements registers stand for: Ertl's improved raw estimator.
//!
//! In floating point, in the order of operations that Redis has, so that both round alike.

use super::{RANK_BITS, RANK_MAX, REGISTERS};

/// How many registers hold each value; long enough for any six bits.
pub type Histogram = [u32; 64];

/// 0.5 / ln 2
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// The number of different elements, as near as it is known.
pub fn estimate(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let full = f64::from(histogram[RANK_MAX]);
    let mut z = registers * tau((registers - full) / registers);
    for count in histogram[1..=RANK_BITS as usize].iter().rev() {
        z += f64::from(*count);
        z *= 0.5;
    }
    z += registers * sigma(f64::from(histogram[0]) / registers);
    (ALPHA * registers * registers / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
