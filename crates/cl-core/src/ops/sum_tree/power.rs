//! Powers in plain arithmetic, the same to the last bit on every machine and on a GPU: `kernel.cu` has the same steps.

/// x^exponent of a finite x ≥ 0 that is normal or 0, rounded where an f32 does not see it; 0 gives 0. Vectorizes.
#[inline(always)]
pub fn power(x: f64, exponent: f64) -> f64 {
    let power = exp2(exponent * log2(x));
    if x == 0.0 { 0.0 } else { power }
}

/// For normal positive numbers, to 3e-11.
#[inline(always)]
fn log2(x: f64) -> f64 {
    // x = m · 2^e with m in [√½, √2).
    const HALF_ROOT: u64 = 0x3FE6_A09E_667F_3BCD;
    const ONE: u64 = 0x3FF0_0000_0000_0000;
    let shifted = x.to_bits().wrapping_add(ONE - HALF_ROOT);
    let e = ((shifted >> 52) as i64 - 1023) as i32;
    let m = f64::from_bits((shifted & 0x000F_FFFF_FFFF_FFFF) + HALF_ROOT);
    // ln m = 2 artanh s; the next term would be s¹³/13 < 1e-11.
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let mut series = 1.0 / 11.0;
    for odd in [9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * q + 1.0 / odd;
    }
    f64::from(e) + 2.0 * std::f64::consts::LOG2_E * s * series
}

/// Within the exponents of normal numbers, to 3e-10 of it; beyond, it stays at the nearest.
#[inline(always)]
fn exp2(x: f64) -> f64 {
    // Adding this leaves the nearest integer in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let x = x.clamp(-1022.0, 1023.0);
    let rounded = x + ROUND;
    let y = (x - (rounded - ROUND)) * std::f64::consts::LN_2;
    let mut series = 1.0;
    for n in [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        series = series * y * (1.0 / n) + 1.0;
    }
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023) << 52;
    series * f64::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::{exp2, log2};

    #[test]
    fn logarithms_and_exponentials_are_as_exact_as_they_say() {
        for i in 0..=1000 {
            let x = 0.7 + 1e-3 * f64::from(i);
            assert!((log2(x) - x.log2()).abs() < 3e-11, "{x}");
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 3e-10, "{x}");
        }
    }
}
