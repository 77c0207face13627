//! Powers of many numbers at once: priorities are raised to α, importance weights to −β, for every sample.

use cl_core::sum_tree::power as power_of;

/// (scale · x)^exponent of every x ≥ 0, where both are finite; 0 gives 0.
///
/// The standard library takes them one at a time, which shows in every prioritized draw. This is
/// 2^(exponent · log₂ x) by polynomials in f64, cut where an f32 does not see it, in a loop that vectorizes. Equal on
/// every machine: [`cl_core::sum_tree::power`].
pub(crate) fn pow_all(values: &[f32], scale: f64, exponent: f64) -> Vec<f32> {
    let mut powers = vec![0.0; values.len()];
    crate::wide(
        #[inline(always)]
        || {
            // A plain loop: what is called through an iterator is not compiled for wide instructions.
            for (power, &x) in powers.iter_mut().zip(values) {
                *power = power_of(scale * f64::from(x), exponent) as f32;
            }
        },
    );
    powers
}

#[cfg(test)]
mod tests {
    use super::pow_all;

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
