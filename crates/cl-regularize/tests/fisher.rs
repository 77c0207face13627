//! The estimators of the Fisher information: by hand on a toy, against each other, and against a loop.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Module, Tensor};
use cl_core::Units;
use cl_nn::Mlp;
use cl_regularize::Fisher;
use common::{assert_close, bits, elements, net, normal, targets};

fn estimate(fisher: Fisher, net: &Mlp, x: &Tensor, y: &Tensor, units: Units) -> Vec<f64> {
    let found = fisher.estimate(net, x, y, units, &mut cl_core::rng(5, "fisher")).unwrap();
    found.iter().flat_map(elements).collect()
}

fn by_loop(fisher: Fisher, net: &Mlp, x: &Tensor, y: &Tensor, units: Units) -> Vec<f64> {
    let forward = |x: &Tensor| Ok(net.forward(x)?);
    let rng = &mut cl_core::rng(5, "fisher");
    let found = fisher.estimate_by_loop(net.params(), forward, x, y, units, rng).unwrap();
    found.iter().flat_map(elements).collect()
}

/// Two inputs, three classes, no hidden layer: everything can be written down. W (3, 2), then b (3).
struct Toy {
    net: Mlp,
    x: [[f64; 2]; 4],
    y: [u32; 4],
}

impl Toy {
    fn new() -> Self {
        let net = net(&[2, 3]);
        let x = [[1.0, 2.0], [-0.5, 0.3], [0.0, 1.0], [2.0, -1.5]];
        Self { net, x, y: [2, 0, 1, 1] }
    }

    fn data(&self) -> (Tensor, Tensor) {
        (Tensor::new(&self.x, &Device::Cpu).unwrap(), Tensor::new(&self.y, &Device::Cpu).unwrap())
    }

    fn probabilities(&self, x: [f64; 2]) -> [f64; 3] {
        let theta = elements(&self.net.params().flat().unwrap());
        let exp = [0, 1, 2].map(|k| (theta[2 * k] * x[0] + theta[2 * k + 1] * x[1] + theta[6 + k]).exp());
        exp.map(|e| e / exp.iter().sum::<f64>())
    }

    /// The mean over samples of Σ꜀ weight(c) · (∂ log p(c)/∂θ)², with ∂/∂W = (p − e꜀) xᵀ and ∂/∂b = p − e꜀.
    fn expectation(&self, weight: impl Fn(usize, [f64; 3], usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; 9];
        for (i, &x) in self.x.iter().enumerate() {
            let p = self.probabilities(x);
            for c in 0..3 {
                for k in 0..3 {
                    let delta = p[k] - f64::from(u8::from(k == c));
                    let share = weight(i, p, c) / self.x.len() as f64;
                    sums[2 * k] += share * (delta * x[0]).powi(2);
                    sums[2 * k + 1] += share * (delta * x[1]).powi(2);
                    sums[6 + k] += share * delta.powi(2);
                }
            }
        }
        sums
    }
}

#[test]
fn by_hand_on_three_classes() {
    let toy = Toy::new();
    let (x, y) = toy.data();
    let is = |yes: bool| f64::from(u8::from(yes));
    let best = |p: [f64; 3]| (0..3).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
    let exact = toy.expectation(|_, p, c| p[c]);
    let empirical = toy.expectation(|i, _, c| is(toy.y[i] as usize == c));
    let predicted = toy.expectation(|_, p, c| is(best(p) == c));
    let weighted = toy.expectation(|i, p, c| if toy.y[i] as usize == c { p[c] } else { 0.0 });
    for (fisher, expected) in [
        (Fisher::Exact, &exact),
        (Fisher::Empirical, &empirical),
        (Fisher::Predicted, &predicted),
        (Fisher::Weighted, &weighted),
    ] {
        assert_close(&estimate(fisher, &toy.net, &x, &y, Units::All), expected, 1e-14);
        assert_close(&by_loop(fisher, &toy.net, &x, &y, Units::All), expected, 1e-14);
    }
    // They are not the same thing.
    for (a, b) in [
        (&exact, &empirical),
        (&exact, &predicted),
        (&empirical, &predicted),
        (&weighted, &empirical),
        (&weighted, &exact),
    ] {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() > 1e-3), "{a:?} and {b:?}");
    }
}

/// 40 000 draws for one input: each element is within 5 standard errors of the expectation (fixed seed; a
/// right sampler fails one draw in 200 000 here).
#[test]
fn sampled_is_exact_in_the_mean() {
    const N: usize = 40_000;
    let mut toy = Toy::new();
    toy.x = [[1.2, -0.7]; 4];
    let (x, y) = toy.data();
    let (x, y) = (x.narrow(0, 0, 1).unwrap(), y.narrow(0, 0, 1).unwrap());
    let (x, y) = (x.repeat((N, 1)).unwrap(), y.repeat(N).unwrap());
    let found = estimate(Fisher::Sampled, &toy.net, &x, &y, Units::All);

    let mean = toy.expectation(|_, p, c| p[c]);
    let p = toy.probabilities(toy.x[0]);
    // Of one draw: Σ p v² − (Σ p v)², with v the squared gradient of class c.
    let of_class = |class| toy.expectation(|_, _, c| f64::from(u8::from(c == class)));
    let squares = [0, 1, 2].map(of_class);
    for i in 0..9 {
        let second: f64 = (0..3).map(|c| p[c] * squares[c][i].powi(2)).sum();
        let error = ((second - mean[i].powi(2)) / N as f64).sqrt();
        assert!(
            error > 0.0 && (found[i] - mean[i]).abs() < 5.0 * error,
            "{i}: {} against {}",
            found[i],
            mean[i]
        );
    }
}

const ESTIMATORS: [Fisher; 9] = [
    Fisher::Exact,
    Fisher::ExactOn(100),
    Fisher::Sampled,
    Fisher::Empirical,
    Fisher::Weighted,
    Fisher::Predicted,
    Fisher::Batched(1),
    Fisher::Batched(32),
    Fisher::Batched(1000),
];

/// More samples than go through the network at a time, and a number that no minibatch divides.
#[test]
fn fast_estimates_equal_the_loop() {
    let mut net = net(&[4, 7, 5, 6]);
    for (units, active, frozen) in [
        (Units::All, 6, None),
        (Units::First(4), 4, Some("layers.1")),
        (Units::Block(2), 6, Some("layers.0.bias")),
        (Units::Block(3), 6, None),
    ] {
        net.params_mut().freeze("", false).unwrap();
        if let Some(frozen) = frozen {
            net.params_mut().freeze(frozen, true).unwrap();
        }
        let (x, y) = (normal(&[261, 4], 2), targets(261, active));
        for fisher in ESTIMATORS {
            let (fast, slow) = (estimate(fisher, &net, &x, &y, units), by_loop(fisher, &net, &x, &y, units));
            assert_eq!(fast.len(), net.params().flat().unwrap().elem_count());
            assert_close(&fast, &slow, 1e-10);
            assert!(fast.iter().all(|f| *f >= 0.0) && fast.iter().any(|f| *f > 1e-4));
        }
    }
}

#[test]
fn batched_is_empirical_for_batches_of_one_only() {
    let net = net(&[4, 8, 3]);
    let (x, y) = (normal(&[50, 4], 3), targets(50, 3));
    let of = |fisher| estimate(fisher, &net, &x, &y, Units::All);
    let total = |fisher| of(fisher).iter().sum::<f64>();
    assert_close(&of(Fisher::Batched(1)), &of(Fisher::Empirical), 1e-13);
    for b in [2, 8, 50] {
        let ratio = total(Fisher::Batched(b)) / total(Fisher::Empirical);
        assert!(ratio < 0.9, "batches of {b}: {ratio}");
    }
    assert!(total(Fisher::Batched(50)) < total(Fisher::Batched(2)));
}

/// The normaliser is the number of samples: not one less, not that of the full minibatches.
#[test]
fn a_data_set_listed_twice_has_the_same_fisher() {
    let net = net(&[4, 8, 3]);
    let (x, y) = (normal(&[37, 4], 4), targets(37, 3));
    let (xx, yy) = (Tensor::cat(&[&x, &x], 0).unwrap(), Tensor::cat(&[&y, &y], 0).unwrap());
    for fisher in [Fisher::Exact, Fisher::Empirical, Fisher::Weighted, Fisher::Predicted, Fisher::Batched(1)]
    {
        let (once, twice) =
            (estimate(fisher, &net, &x, &y, Units::All), estimate(fisher, &net, &xx, &yy, Units::All));
        assert_close(&once, &twice, 1e-13);
    }
}

#[test]
fn units_that_do_not_take_part_have_none() {
    let net = net(&[4, 6]);
    let x = normal(&[20, 4], 6);
    let of = |fisher, units, y: &[u32]| {
        let y = Tensor::new(y, &Device::Cpu).unwrap().repeat(20 / y.len()).unwrap();
        estimate(fisher, &net, &x, &y, units)
    };
    for fisher in ESTIMATORS {
        // W (6, 4) and b (6): which units have any?
        let active = |f: &[f64]| -> Vec<usize> {
            (0..6).filter(|&k| f[24 + k] != 0.0 || f[4 * k..4 * k + 4].iter().any(|f| *f != 0.0)).collect()
        };
        assert_eq!(active(&of(fisher, Units::All, &[0, 3])), [0, 1, 2, 3, 4, 5], "{fisher:?}");
        assert_eq!(active(&of(fisher, Units::First(4), &[0, 3])), [0, 1, 2, 3], "{fisher:?}");
        assert_eq!(active(&of(fisher, Units::Block(2), &[2, 3])), [2, 3], "{fisher:?}");
        assert_eq!(active(&of(fisher, Units::Block(3), &[0, 5])), [0, 1, 2, 3, 4, 5], "{fisher:?}");
    }
    // The exact one asks for the units that are active, not for the target.
    assert_eq!(of(Fisher::Exact, Units::First(4), &[0]), of(Fisher::Exact, Units::First(4), &[3]));
    assert_ne!(of(Fisher::Empirical, Units::First(4), &[0]), of(Fisher::Empirical, Units::First(4), &[3]));
}

#[test]
fn exact_on_some_is_exact_on_a_subset() {
    let toy = Toy::new();
    let (x, y) = toy.data();
    let exact = |rows: &[u32]| {
        let rows = Tensor::new(rows, &Device::Cpu).unwrap();
        let (x, y) = (x.index_select(&rows, 0).unwrap(), y.index_select(&rows, 0).unwrap());
        estimate(Fisher::Exact, &toy.net, &x, &y, Units::All)
    };
    let all = estimate(Fisher::Exact, &toy.net, &x, &y, Units::All);
    for n in [4, 5, 1000] {
        assert_eq!(estimate(Fisher::ExactOn(n), &toy.net, &x, &y, Units::All), all);
    }
    let found = estimate(Fisher::ExactOn(3), &toy.net, &x, &y, Units::All);
    let subsets = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]].map(|rows| exact(&rows));
    let near = |a: &[f64]| a.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-12);
    assert_eq!(subsets.iter().filter(|s| near(s)).count(), 1, "three of the four samples, none twice");
}

#[test]
fn estimating_changes_nothing() {
    let net = net(&[4, 8, 6]);
    let before = bits(net.params());
    let (x, y) = (normal(&[50, 4], 3), targets(50, 6));
    for fisher in ESTIMATORS.into_iter().chain([Fisher::ExactOn(20)]) {
        let mut rng = cl_core::rng(0, "fisher");
        fisher.estimate(&net, &x, &y, Units::Block(2), &mut rng).unwrap();
        let draws = matches!(fisher, Fisher::Sampled | Fisher::ExactOn(20));
        assert_eq!(rng != cl_core::rng(0, "fisher"), draws, "{fisher:?}");
        assert_eq!(bits(net.params()), before, "{fisher:?}");
    }
}

#[test]
fn what_cannot_be_estimated_is_an_error() {
    let net = net(&[4, 6]);
    let of = |fisher: Fisher, x: &Tensor, y: &Tensor, units| {
        let rng = &mut cl_core::rng(0, "fisher");
        let slow = fisher.estimate_by_loop(net.params(), |x| Ok(net.forward(x)?), x, y, units, rng);
        let fast = fisher.estimate(&net, x, y, units, rng);
        let (fast, slow) = (fast.unwrap_err().to_string(), slow.unwrap_err().to_string());
        assert_eq!(fast, slow);
        fast
    };
    let (x, y) = (normal(&[5, 4], 0), targets(5, 6));
    let none = (normal(&[0, 4], 0), y.narrow(0, 0, 0).unwrap());
    assert!(of(Fisher::Exact, &none.0, &none.1, Units::All).contains("0 samples"));
    assert!(of(Fisher::Exact, &x, &targets(4, 6), Units::All).contains("5 samples and targets U32 [4]"));
    assert!(of(Fisher::Exact, &x, &y.to_dtype(candle_core::DType::I64).unwrap(), Units::All).contains("I64"));
    for fisher in [Fisher::ExactOn(0), Fisher::Batched(0)] {
        assert!(of(fisher, &x, &y, Units::All).contains("0 samples"));
    }
    let beyond = Tensor::new(&[0u32, 1, 2, 3, 6], &Device::Cpu).unwrap();
    for fisher in [Fisher::Exact, Fisher::Sampled, Fisher::Empirical, Fisher::Weighted, Fisher::Predicted] {
        assert!(of(fisher, &x, &beyond, Units::All).contains("6 is not an active unit"));
        assert!(of(fisher, &x, &y, Units::First(2)).contains("is not an active unit"));
    }
}
