//! Powers of many numbers at once: priorities are raised to α, importance weights to −β, for every sample.

/// (scale · x)^exponent of every x ≥ 0, where both are finite; 0 gives 0.
///
/// The standard library takes them one at a time, which shows in every prioritized draw. This is
/// 2^(exponent · log₂ x) by polynomials in f64, cut where an f32 does not see it, in a loop that vectorizes. Equal on
/// every machine.
pub(crate) fn pow_all(values: &[f32], scale: f64, exponent: f64) -> Vec<f32> {
    let mut powers = vec![0.0; values.len()];
    crate::wide(
        #[inline(always)]
        || {
            // A plain loop: what is called through an iterator is not compiled for wide instructions.
            for (power, &x) in powers.iter_mut().zip(values) {
                *power = pow(scale * f64::from(x), exponent) as f32;
            }
        },
    );
    powers
}

#[inline(always)]
fn pow(x: f64, exponent: f64) -> f64 {
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
    use super::{exp2, log2, pow_all};

    /// Rounded to f32: half a unit in the last place, and next to nothing more.
    #[test]
    fn powers_are_those_of_the_standard_library() {
        let bases = (-700..=700).map(|i| 1.37_f32 * (i as f32 * 0.09).exp2());
        let bases: Vec<f32> = bases.chain([1.0, 2.0, 0.5, f32::MIN_POSITIVE, 1e-40, f32::MAX]).collect();
        for scale in [1.0, 1e-30, 3e30] {
            for exponent in [0.0, 0.4, 0.6, 1.0, 2.0, -0.4, -1.0] {
                for (base, power) in bases.iter().zip(pow_all(&bases, scale, exponent)) {
                    let expected = (scale * f64::from(*base)).powf(exponent);
                    let unit = f64::from(power.next_up() - power);
                    let off = (f64::from(power) - expected).abs() / unit;
                    let is_normal = (expected as f32).is_normal();
                    assert!(off < 0.51 || !is_normal, "({scale} · {base})^{exponent}: {off} units");
                }
            }
        }
    }

    #[test]
    fn logarithms_and_exponentials_are_as_exact_as_they_say() {
        for i in 0..=1000 {
            let x = 0.7 + 1e-3 * f64::from(i);
            assert!((log2(x) - x.log2()).abs() < 3e-11, "{x}");
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 3e-10, "{x}");
        }
    }

    #[test]
    fn zero_stays_zero_and_one_stays_one() {
        assert_eq!(pow_all(&[0.0, 1.0], 1.0, 0.0), [0.0, 1.0]);
        for reference in [1e-30f32, 0.3, 7.0, 1e30] {
            assert_eq!(pow_all(&[reference], 1.0 / f64::from(reference), -0.4), [1.0]);
        }
    }

    #[test]
    fn what_an_f32_does_not_reach_is_zero_or_infinite() {
        let bases = [0.5, 1.0, 2.0];
        for exponent in [200.0, 2e3, 1e6] {
            assert_eq!(pow_all(&bases, 1.0, exponent), [0.0, 1.0, f32::INFINITY]);
            assert_eq!(pow_all(&bases, 1.0, -exponent), [f32::INFINITY, 1.0, 0.0]);
        }
    }
}
