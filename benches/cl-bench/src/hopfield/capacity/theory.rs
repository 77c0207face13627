//! What the papers say, as numbers.

use std::f64::consts::PI;

use candle_core::cpu::erf::{erf_f64, erf_inv};

use super::{Allowed, Cue};

/// The overlap of what is recalled at a load α, for N → ∞ and without noise: 0 where nothing is held.
///
/// m = erf(y) with the largest y that solves y(√(2α) + (2/√π) e^(−y²)) = erf(y), the replica-symmetric solution of Amit,
/// Gutfreund & Sompolinsky 1985.
pub fn overlap(load: f64) -> f64 {
    const STEP: f64 = 1e-3;
    let excess = |y: f64| erf_f64(y) - y * ((2.0 * load).sqrt() + 2.0 / PI.sqrt() * (-y * y).exp());
    // It is negative where y is large, and where y is near 0.
    let from_above = (300..8000).rev().map(|k| f64::from(k) * STEP).find(|&y| excess(y) >= 0.0);
    from_above.map_or(0.0, |y| erf_f64(y + STEP / 2.0))
}

/// (2a − 3)!!
fn double_factorial(degree: u32) -> f64 {
    (1..=i64::from(degree) - 1).map(|k| (2 * k - 1) as f64).product()
}

/// How many patterns a polynomial memory holds (Krotov & Hopfield 2016): a bit is turned by one update with the probability
/// ½ erfc(√(Nᵃ⁻¹ / (2K (2a − 3)!!))), which is a hundredth, or such that K = Nᵃ⁻¹ / (2 (2a − 3)!! ln N).
pub fn capacity(degree: u32, units: usize, allowed: Allowed) -> f64 {
    let n = units as f64;
    let power = n.powi(degree as i32 - 1) / (2.0 * double_factorial(degree));
    match allowed {
        Allowed::Hundredth => power / erf_inv(1.0 - 2.0 * 0.01).powi(2),
        Allowed::None => power / n.ln(),
    }
}

/// The bits of a cue that are flipped.
pub fn flips(units: usize, cue: Cue) -> usize {
    match cue {
        Cue::Whole => 0,
        Cue::Flipped | Cue::FlippedAmongFewer => (0.1 * units as f64).round() as usize,
    }
}

/// Among how many patterns a cue is recalled in an exponential memory: 2^(N/2), or e^(αN) with α = ½I(1 − 2ρ), ρ = 0.1 and
/// I(x) = ½((1 + x) ln(1 + x) + (1 − x) ln(1 − x)) (Demircigil et al. 2017).
pub fn exponential_patterns(units: usize, cue: Cue) -> usize {
    let n = units as f64;
    match cue {
        Cue::Whole | Cue::Flipped => (n / 2.0).exp2().round() as usize,
        Cue::FlippedAmongFewer => {
            let x: f64 = 1.0 - 2.0 * 0.1;
            let i = 0.5 * ((1.0 + x) * (1.0 + x).ln() + (1.0 - x) * (1.0 - x).ln());
            (0.5 * i * n).exp() as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The solution is there up to the critical load, and has the overlap 0.967 there (Amit et al. 1985).
    #[test]
    fn overlaps_are_those_of_the_paper() {
        assert_eq!(overlap(0.1385), 0.0);
        let (at, below) = (overlap(0.1375), overlap(0.05));
        assert!((at - 0.967).abs() < 0.01 && below > 0.9999, "{at} {below}");
        let loads: Vec<f64> = (1..14).map(|k| overlap(0.01 * f64::from(k))).collect();
        assert!(loads.is_sorted_by(|a, b| a >= b), "{loads:?}");
    }

    /// By hand: 100 / (2 ln 100), 100² / (2 · 3 · ln 100), 50³ / (2 · 15 · ln 50); z = 2.326 has a hundredth beyond it.
    #[test]
    fn capacities_are_those_of_the_paper() {
        let none = |degree, units| capacity(degree, units, Allowed::None);
        assert!((none(2, 100) - 10.857).abs() < 1e-3);
        assert!((none(3, 100) - 361.9).abs() < 0.1 && (none(4, 50) - 1065.1).abs() < 0.1);
        assert!((capacity(2, 1000, Allowed::Hundredth) - 1000.0 / 2.3263_f64.powi(2)).abs() < 0.1);
        assert_eq!([20, 24, 28].map(|n| exponential_patterns(n, Cue::Whole)), [1024, 4096, 16384]);
        assert_eq!([20, 24, 28].map(|n| flips(n, Cue::Flipped)), [2, 2, 3]);
        // ½I(0.8) = 0.184.
        assert_eq!(exponential_patterns(20, Cue::FlippedAmongFewer), 39);
    }
}
