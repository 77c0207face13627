//! Powers of many numbers at once: priorities are raised to α, importance weights to −β, for every sample.

/// Replaces every x by x^exponent: for x ≥ 0 and finite, right to some units in the last place; 0 stays 0.
///
/// The standard library takes them one at a time, which shows in every prioritized draw. This is
/// 2^(exponent · log₂ x) by polynomials, in a loop that vectorizes. Equal on every machine.
pub(crate) fn pow_all(values: &mut [f64], exponent: f64) {
    crate::wide(
        #[inline(always)]
        || {
            // A plain loop: what is called through an iterator is not compiled for wide instructions.
            for x in values.iter_mut() {
                *x = pow(*x, exponent);
            }
        },
    );
}

#[inline(always)]
fn pow(x: f64, exponent: f64) -> f64 {
    let power = exp2(exponent * log2(x));
    if x == 0.0 { 0.0 } else { power }
}

/// For normal positive numbers.
#[inline(always)]
fn log2(x: f64) -> f64 {
    // x = m · 2^e with m in [√½, √2).
    const HALF_ROOT: u64 = 0x3FE6_A09E_667F_3BCD;
    const ONE: u64 = 0x3FF0_0000_0000_0000;
    let shifted = x.to_bits().wrapping_add(ONE - HALF_ROOT);
    let e = ((shifted >> 52) as i64 - 1023) as i32;
    let m = f64::from_bits((shifted & 0x000F_FFFF_FFFF_FFFF) + HALF_ROOT);
    // ln m = 2 artanh s; the series ends where s¹⁹/19 < 2e-16.
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let mut series = 1.0 / 17.0;
    for odd in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * q + 1.0 / odd;
    }
    f64::from(e) + 2.0 * std::f64::consts::LOG2_E * s * series
}

/// Within the exponents of normal numbers; beyond, it stays at the nearest.
#[inline(always)]
fn exp2(x: f64) -> f64 {
    // Adding this leaves the nearest integer in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let x = x.clamp(-1022.0, 1023.0);
    let rounded = x + ROUND;
    let y = (x - (rounded - ROUND)) * std::f64::consts::LN_2;
    let mut series = 1.0;
    for n in [13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        series = series * y * (1.0 / n) + 1.0;
    }
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023) << 52;
    series * f64::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::pow_all;

    #[test]
    fn powers_are_those_of_the_standard_library() {
        let bases = (-1000..=1000).map(|i| 1.37_f64 * (f64::from(i) * 0.09).exp2());
        let bases: Vec<f64> = bases.chain([1.0, 2.0, 0.5, f64::from(f32::MIN_POSITIVE), 1e300]).collect();
        for exponent in [0.0, 0.4, 0.6, 1.0, 2.0, -0.4, -1.0] {
            let mut powers = bases.clone();
            pow_all(&mut powers, exponent);
            for (base, power) in bases.iter().zip(powers) {
                let expected = base.powf(exponent);
                let off = (power - expected).abs() / expected;
                assert!(
                    off < 5e-14 || !expected.is_normal() || expected > 1e300,
                    "{base}^{exponent}: {off:e}"
                );
            }
        }
    }

    #[test]
    fn zero_stays_zero() {
        let mut values = [0.0, 1.0];
        pow_all(&mut values, 0.0);
        assert_eq!(values, [0.0, 1.0]);
    }
}
