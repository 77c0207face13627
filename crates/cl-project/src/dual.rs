//! The small quadratic programs of gradient projection: a few dozen variables at most.

use cl_core::{Error, Result};

/// The v ≥ `least` that minimises ½ vᵀPv + qᵀv, for a symmetric positive definite P (n × n, by rows): exact, by the
/// active sets of Lawson & Hanson 1974.
///
/// # Errors
/// [`Error::Invalid`] where P is not positive definite or a number is not finite.
pub(crate) fn minimise(p: &[f64], q: &[f64], least: f64) -> Result<Vec<f64>> {
    let n = q.len();
    if p.iter().chain(q).any(|value| !value.is_finite()) {
        return Err(Error::invalid("gradients", "a product of two of them is not finite"));
    }
    // u = v − least ≥ 0 minimises ½ uᵀPu + cᵀu.
    let times = |row: usize, u: &[f64]| -> f64 { p[row * n..][..n].iter().zip(u).map(|(p, u)| p * u).sum() };
    let c: Vec<f64> = (0..n).map(|row| q[row] + times(row, &vec![least; n])).collect();
    let tolerance = 1e-13 * c.iter().fold(0.0, |most: f64, c| most.max(c.abs()));
    let (mut u, mut free) = (vec![0.0; n], vec![false; n]);
    // What rounding alone would set free, until something else has changed.
    let mut barred = vec![false; n];
    loop {
        let slope: Vec<f64> = (0..n).map(|row| times(row, &u) + c[row]).collect();
        let falling = (0..n).filter(|&i| !free[i] && !barred[i] && slope[i] < -tolerance);
        let Some(next) = falling.min_by(|&a, &b| slope[a].total_cmp(&slope[b])) else { break };
        free[next] = true;
        let mut first = true;
        loop {
            let z = solve(p, &c, &free)?;
            if std::mem::take(&mut first) && z[next] <= 0.0 {
                (free[next], barred[next]) = (false, true);
                break;
            }
            // As far towards z as all stay at 0 or above; what gets there first stays there.
            let limit = |i: usize| if free[i] && z[i] <= 0.0 { u[i] / (u[i] - z[i]) } else { f64::INFINITY };
            let limits: Vec<f64> = (0..n).map(limit).collect();
            let step = limits.iter().copied().fold(f64::INFINITY, f64::min);
            barred.fill(false);
            if step.is_infinite() {
                u = z;
                break;
            }
            for i in 0..n {
                free[i] &= limits[i] > step;
                u[i] = if free[i] { u[i] + step * (z[i] - u[i]) } else { 0.0 };
            }
        }
    }
    Ok(u.iter().map(|u| u + least).collect())
}

/// The z with P_ff z_f = −c_f over the free variables, and 0 elsewhere, by Cholesky's decomposition.
fn solve(p: &[f64], c: &[f64], free: &[bool]) -> Result<Vec<f64>> {
    let n = c.len();
    let at: Vec<usize> = (0..n).filter(|&i| free[i]).collect();
    let m = at.len();
    let mut l = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..=i {
            let rest: f64 = (0..j).map(|k| l[i * m + k] * l[j * m + k]).sum();
            let entry = p[at[i] * n + at[j]] - rest;
            l[i * m + j] = if i > j { entry / l[j * m + j] } else { entry.sqrt() };
        }
        if l[i * m + i].is_nan() || l[i * m + i] <= 0.0 {
            let why = "the products of the gradients are not positive definite; a larger eps makes them so";
            return Err(Error::invalid("gradients", why));
        }
    }
    let mut z: Vec<f64> = at.iter().map(|&i| -c[i]).collect();
    for i in 0..m {
        z[i] = (z[i] - (0..i).map(|k| l[i * m + k] * z[k]).sum::<f64>()) / l[i * m + i];
    }
    for i in (0..m).rev() {
        z[i] = (z[i] - (i + 1..m).map(|k| l[k * m + i] * z[k]).sum::<f64>()) / l[i * m + i];
    }
    let mut all = vec![0.0; n];
    at.iter().zip(z).for_each(|(&i, z)| all[i] = z);
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use rand::Rng as _;

    fn value(p: &[f64], q: &[f64], v: &[f64]) -> f64 {
        let n = q.len();
        let quadratic = |i: usize| (0..n).map(|j| v[i] * p[i * n + j] * v[j]).sum::<f64>();
        (0..n).map(|i| 0.5 * quadratic(i) + q[i] * v[i]).sum()
    }

    /// The best of all choices of which variables are at their bound.
    fn by_trying(p: &[f64], q: &[f64], least: f64) -> Vec<f64> {
        let n = q.len();
        let c: Vec<f64> = (0..n).map(|i| q[i] + least * p[i * n..][..n].iter().sum::<f64>()).collect();
        let points = (0..1u32 << n).filter_map(|set| {
            let free: Vec<bool> = (0..n).map(|i| set >> i & 1 == 1).collect();
            let u = solve(p, &c, &free).unwrap();
            u.iter().all(|&u| u >= -1e-9).then(|| u.iter().map(|u| u + least).collect::<Vec<f64>>())
        });
        points.min_by(|a, b| value(p, q, a).total_cmp(&value(p, q, b))).unwrap()
    }

    /// M Mᵀ + ridge · I and −M g, of vectors some of which are the same, opposite, zero or sums of others.
    fn problem(n: usize, dims: usize, ridge: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut rng = cl_core::rng(seed, "problem");
        let mut m: Vec<Vec<f64>> = Vec::new();
        for i in 0..n {
            let mut fresh = || (0..dims).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
            let fresh = fresh();
            m.push(match (rng.random_range(0..6), i) {
                (0, 1..) => m[i - 1].clone(),
                (1, 1..) => m[i - 1].iter().map(|x| -x).collect(),
                (2, 2..) => m[i - 1].iter().zip(&m[i - 2]).map(|(a, b)| a + b).collect(),
                (3, _) => vec![0.0; dims],
                _ => fresh,
            });
        }
        let g: Vec<f64> = (0..dims).map(|_| rng.random_range(-1.0..1.0)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let entry = |i: usize, j: usize| dot(&m[i], &m[j]) + if i == j { ridge } else { 0.0 };
        let p = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        (p, m.iter().map(|row| dot(row, &g)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn the_best_of_all_active_sets(n in 1usize..9, dims in 1usize..12, margin in 0.0..1.0, seed: u64) {
            let (p, q) = problem(n, dims, 1e-3, seed);
            let found = minimise(&p, &q, margin).unwrap();
            let expected = by_trying(&p, &q, margin);
            let (found_value, best) = (value(&p, &q, &found), value(&p, &q, &expected));
            prop_assert!(found_value <= best + 1e-9 * best.abs().max(1.0));
            for (f, e) in found.iter().zip(&expected) {
                prop_assert!((f - e).abs() <= 1e-6 * e.abs().max(1.0), "{found:?} {expected:?}");
            }
        }

        /// What makes the solution of a convex problem: nothing falls where it may, nothing is below its bound.
        #[test]
        fn karush_kuhn_tucker(n in 1usize..21, dims in 1usize..40, margin in 0.0..1.0, seed: u64) {
            let (p, q) = problem(n, dims, 1e-3, seed);
            let v = minimise(&p, &q, margin).unwrap();
            for i in 0..n {
                let slope = q[i] + (0..n).map(|j| p[i * n + j] * v[j]).sum::<f64>();
                let scale = 1e-7 * (1.0 + q[i].abs());
                prop_assert!(v[i] >= margin);
                prop_assert!(slope >= -scale, "{slope}");
                prop_assert!(v[i] == margin || slope.abs() <= scale, "{slope} at {}", v[i]);
            }
        }
    }

    #[test]
    fn what_cannot_be_solved_is_an_error() {
        let singular = minimise(&[1.0, -1.0, -1.0, 1.0], &[-1.0, -2.0], 0.0);
        assert!(singular.unwrap_err().to_string().contains("larger eps"));
        assert!(minimise(&[f64::NAN], &[1.0], 0.0).unwrap_err().to_string().contains("not finite"));
        assert!(minimise(&[], &[], 0.5).unwrap().is_empty());
    }
}
