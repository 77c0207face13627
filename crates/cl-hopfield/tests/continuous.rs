//! The continuous network: attention, energy, and how far off a retrieval may be.
#![allow(clippy::unwrap_used)]

use candle_core::{D, DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_hopfield::continuous::{Steps, energy, error_bound, retrieve, retrieve_in_parts, separation};
use proptest::prelude::*;

fn normal(rows: usize, columns: usize, dtype: DType, seed: u64) -> Var {
    Init::Normal(1.0).var((rows, columns), dtype, &Device::Cpu, &mut cl_core::rng(seed, "test")).unwrap()
}

fn rows(t: &Tensor) -> Vec<Vec<f64>> {
    t.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    length(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// Patterns on a sphere.
fn sphere(m: usize, d: usize, radius: f64, seed: u64) -> Tensor {
    let x = normal(m, d, DType::F64, seed);
    let lengths = x.sqr().unwrap().sum_keepdim(D::Minus1).unwrap().sqrt().unwrap();
    (x.broadcast_div(&lengths).unwrap() * radius).unwrap()
}

/// One update is softmax(βξXᵀ)X.
#[test]
fn one_step_is_attention() {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
        let (q, x) = (normal(7, 16, dtype, 1), normal(600, 16, dtype, 2));
        for beta in [0.25, 1.0, 3.0] {
            let scores = (q.matmul(&x.t().unwrap()).unwrap() * beta).unwrap();
            let e = scores.broadcast_sub(&scores.max_keepdim(1).unwrap()).unwrap().exp().unwrap();
            let p = e.broadcast_div(&e.sum_keepdim(1).unwrap()).unwrap();
            let expected = rows(&p.matmul(&x).unwrap());
            let found = retrieve(&q, &x, beta, Steps::Exactly(1)).unwrap();
            assert_eq!((found.steps, found.moved), (1, None));
            for (found, expected) in rows(&found.state).iter().zip(&expected) {
                assert!(distance(found, expected) < tolerance * length(expected).max(1.0));
            }
        }
    }
    let q = normal(3, 4, DType::F64, 1);
    assert_eq!(rows(&retrieve(&q, &q, 1.0, Steps::Exactly(0)).unwrap().state), rows(&q));
}

/// Of patterns in parts, some of them empty, the same is retrieved as of all of them, with the same gradient of the queries.
#[test]
fn in_parts_it_is_the_same() {
    let (q, x) = (normal(5, 8, DType::F64, 1), normal(300, 8, DType::F64, 2));
    let parts: Vec<Tensor> = [(0, 1), (1, 0), (1, 190), (191, 109)]
        .iter()
        .map(|&(from, n)| x.narrow(0, from, n).unwrap())
        .collect();
    for beta in [0.3, 30.0] {
        let whole = retrieve(&q, &x, beta, Steps::Exactly(2)).unwrap().state;
        let found = retrieve_in_parts(&q, &parts, beta, Steps::Exactly(2)).unwrap().state;
        let gradient = |of: &Tensor| {
            let grads = of.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            rows(grads.get(&q).unwrap())
        };
        for (found, expected) in [(rows(&found), rows(&whole)), (gradient(&found), gradient(&whole))]
            .iter()
            .flat_map(|(f, e)| f.iter().zip(e))
        {
            assert!(distance(found, expected) < 1e-11 * length(expected).max(1.0));
        }
    }
    assert!(
        retrieve_in_parts(&q, &parts[1..2], 1.0, Steps::Exactly(1))
            .unwrap_err()
            .to_string()
            .contains("there are none")
    );
}

proptest! {
    /// Theorem 2: no update raises the energy. Lemma: within the patterns it lies between 0 and 2M².
    #[test]
    fn no_update_raises_the_energy(seed in 0_u64..1000, m in 1_usize..40, d in 1_usize..9, beta in 0.05_f64..8.0) {
        let x = normal(m, d, DType::F64, seed);
        let mut state = normal(5, d, DType::F64, seed + 1).as_detached_tensor();
        let mut before = energy(&state, &x, beta).unwrap().to_vec1::<f64>().unwrap();
        let most = rows(&x).iter().map(|x| length(x)).fold(0.0, f64::max);
        for _ in 0..6 {
            state = retrieve(&state, &x, beta, Steps::Exactly(1)).unwrap().state;
            let now = energy(&state, &x, beta).unwrap().to_vec1::<f64>().unwrap();
            for (now, before) in now.iter().zip(&before) {
                prop_assert!(*now <= before + 1e-9, "{} after {}", now, before);
                prop_assert!((-1e-9..=2.0 * most * most + 1e-9).contains(now));
            }
            before = now;
        }
    }

    /// Theorem 4, for patterns and states as they come: wherever the bound is below what is trivial, it holds.
    #[test]
    fn the_error_is_within_its_bound(seed in 0_u64..1000, m in 2_usize..60, d in 2_usize..24, radius in 0.5_f64..9.0, beta in 0.2_f64..4.0) {
        let x = sphere(m, d, radius, seed);
        let noise = (normal(m, d, DType::F64, seed + 1).as_detached_tensor() * (0.05 * radius / (d as f64).sqrt())).unwrap();
        let start = (&x + noise).unwrap();
        let found = rows(&retrieve(&start, &x, beta, Steps::Exactly(1)).unwrap().state);
        let (x_rows, start) = (rows(&x), rows(&start));
        for (i, apart) in separation(&x).unwrap().into_iter().enumerate() {
            let r = distance(&start[i], &x_rows[i]);
            let bound = error_bound(m, radius, apart, r, beta);
            let error = distance(&found[i], &x_rows[i]);
            prop_assert!(error <= bound * (1.0 + 1e-9) + 1e-12, "pattern {}: {} beyond {}", i, error, bound);
        }
    }

    /// At fixed patterns the relative error depends on βR² alone.
    #[test]
    fn what_counts_is_beta_times_the_square_of_the_radius(seed in 0_u64..1000, scale in 0.3_f64..4.0) {
        let (x, q) = (sphere(50, 8, 2.0, seed), sphere(5, 8, 2.0, seed + 1));
        let one = rows(&retrieve(&q, &x, 1.5, Steps::Exactly(2)).unwrap().state);
        let (wide, far) = ((&x * scale).unwrap(), (&q * scale).unwrap());
        let other = retrieve(&far, &wide, 1.5 / (scale * scale), Steps::Exactly(2)).unwrap().state;
        for (one, other) in one.iter().zip(rows(&(other / scale).unwrap())) {
            prop_assert!(distance(one, &other) < 1e-9);
        }
    }
}

/// Far apart for β: at the pattern after one update, and at rest after the second. Close together: their mean.
#[test]
fn it_stops_when_nothing_moves() {
    let x = sphere(1000, 64, 8.0, 3);
    let start = (&x + (normal(1000, 64, DType::F64, 4).as_detached_tensor() * 0.1).unwrap()).unwrap();
    let until = Steps::Until { tolerance: 1e-6, at_most: 50 };
    let found = retrieve(&start, &x, 1.0, until).unwrap();
    assert_eq!(found.steps, 2, "{:?}", found.moved);
    assert!(found.moved.unwrap() <= 1e-6);
    for (found, x) in rows(&found.state).iter().zip(rows(&x)) {
        assert!(distance(found, &x) < 1e-6);
    }
    let few = retrieve(&start, &x, 1.0, Steps::Until { tolerance: 0.0, at_most: 1 }).unwrap();
    assert!(few.steps == 1 && few.moved.unwrap() > 0.1);

    // Slowly, among patterns that are close: as soon as the step is short enough, and not before.
    let near = sphere(50, 2, 1.0, 3);
    let slow = |at_most| {
        retrieve(&sphere(9, 2, 0.5, 4), &near, 3.0, Steps::Until { tolerance: 1e-3, at_most }).unwrap()
    };
    let found = slow(1000);
    assert!((3..1000).contains(&found.steps) && found.moved.unwrap() <= 1e-3, "{found:?}");
    let before = slow(found.steps - 1);
    assert!(before.steps == found.steps - 1 && before.moved.unwrap() > 1e-3, "{before:?}");

    // Patterns of length 1 and β = 1: nothing is told apart.
    let unit = sphere(1000, 64, 1.0, 3);
    let found = rows(&retrieve(&unit, &unit, 1.0, Steps::Exactly(1)).unwrap().state);
    let off = found.iter().zip(rows(&unit)).map(|(found, x)| distance(found, &x)).sum::<f64>() / 1000.0;
    assert!(off > 0.9, "{off}");
}

#[test]
fn separation_is_that_of_all_pairs() {
    let x = normal(300, 5, DType::F64, 1);
    let all = rows(&x);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (i, found) in separation(&x).unwrap().into_iter().enumerate() {
        let others = (0..300).filter(|j| *j != i).map(|j| dot(&all[i], &all[i]) - dot(&all[i], &all[j]));
        assert!((found - others.fold(f64::INFINITY, f64::min)).abs() < 1e-9);
    }
    assert_eq!(separation(&normal(1, 5, DType::F32, 1)).unwrap(), [f64::INFINITY]);
    assert_eq!(error_bound(1, 3.0, f64::INFINITY, 0.1, 1.0), 0.0);
}

/// Through several updates, for queries and patterns, against finite differences; the energy likewise.
#[test]
fn gradients_are_those_of_finite_differences() {
    let (q, x) = (normal(2, 3, DType::F64, 1), normal(4, 3, DType::F64, 2));
    let until = Steps::Until { tolerance: 1e-3, at_most: 3 };
    let losses: [&dyn Fn() -> Tensor; 3] = [
        &|| retrieve(&q, &x, 0.7, Steps::Exactly(3)).unwrap().state.sqr().unwrap().sum_all().unwrap(),
        &|| retrieve(&q, &x, 0.7, until).unwrap().state.sqr().unwrap().sum_all().unwrap(),
        // M is taken for a constant: the pattern that is longest must not be moved.
        &|| energy(&q, &x.as_detached_tensor(), 0.7).unwrap().sqr().unwrap().sum_all().unwrap(),
    ];
    for (which, loss) in losses.iter().enumerate() {
        let grads = loss().backward().unwrap();
        for var in [&q, &x] {
            let Some(gradient) = grads.get(var) else {
                assert!(which == 2, "no gradient");
                continue;
            };
            let (values, found) = (rows(var).concat(), rows(gradient).concat());
            for i in 0..values.len() {
                let at = |step: f64| {
                    let mut moved = values.clone();
                    moved[i] += step;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    loss().to_scalar::<f64>().unwrap()
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                at(0.0);
                assert!(
                    (found[i] - difference).abs() < 1e-6 * difference.abs().max(1.0),
                    "loss {which}, {i}"
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (q, x) = (normal(2, 3, DType::F32, 1), normal(4, 3, DType::F32, 2));
    for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(retrieve(&q, &x, beta, Steps::Exactly(1)).unwrap_err().to_string().contains("beta"));
        assert!(energy(&q, &x, beta).is_err());
    }
    let bad = Steps::Until { tolerance: f64::NAN, at_most: 3 };
    assert!(retrieve(&q, &x, 1.0, bad).unwrap_err().to_string().contains("tolerance"));
    assert!(retrieve(&q, &normal(4, 2, DType::F32, 2), 1.0, Steps::Exactly(1)).is_err());
    assert!(separation(&Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap()).is_err());
    assert!(separation(&Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()).is_err());
}
