//! Against memories of earlier tasks: the nearest gradient that goes against none of them.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{Error, Params};
use cl_project::{AGem, Gem};
use rand::Rng as _;

const GEM: Gem = Gem { margin: 0.0, eps: 1e-9 };

/// Two parameters, of 4 and of 2 × 3 numbers, and a loss whose gradient is `g`.
struct Case {
    params: Params,
    loss: Tensor,
}

fn case(g: &[f64]) -> Case {
    let (a, b) = (Var::zeros(4, DType::F64, &Device::Cpu), Var::zeros((2, 3), DType::F64, &Device::Cpu));
    let (a, b) = (a.unwrap(), b.unwrap());
    let [ga, gb] = split(g);
    let loss = ((a.mul(&ga).unwrap().sum_all().unwrap()) + b.mul(&gb).unwrap().sum_all().unwrap()).unwrap();
    let mut params = Params::new();
    params.push("a", a).unwrap();
    params.push("b", b).unwrap();
    Case { params, loss }
}

fn split(g: &[f64]) -> [Tensor; 2] {
    let tensor = |part: &[f64]| Tensor::from_slice(part, part.len(), &Device::Cpu).unwrap();
    [tensor(&g[..4]), tensor(&g[4..]).reshape((2, 3)).unwrap()]
}

fn project(gem: Gem, g: &[f64], memories: &[Vec<f64>]) -> (Vec<f64>, Option<Vec<f64>>) {
    let Case { params, loss } = case(g);
    let mut grads = loss.backward().unwrap();
    let memories: Vec<Vec<Tensor>> = memories.iter().map(|m| split(m).to_vec()).collect();
    let found = gem.project(&mut grads, &params, &memories).unwrap();
    (params.flat_gradient(&grads).unwrap().to_vec1().unwrap(), found.dual)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn random(n: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut rng = cl_core::rng(seed, "gradients");
    (0..n).map(|_| (0..10).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
}

#[test]
fn a_gradient_that_agrees_with_all_is_left_alone() {
    let g: Vec<f64> = (0..10).map(f64::from).collect();
    let memory: Vec<f64> = g.iter().map(|g| g * g).collect();
    for gem in [GEM, Gem::default()] {
        assert_eq!(project(gem, &g, &[memory.clone(), g.clone()]), (g.clone(), None));
        assert_eq!(project(gem, &g, &[]), (g.clone(), None));
    }
}

/// Feasible, and no feasible point nearby is nearer to g: with ⟨g̃ − g, h − g̃⟩ ≥ 0 for all feasible h, g̃ is the
/// projection on the cone.
#[test]
fn the_nearest_gradient_of_the_cone() {
    let mut changed = 0;
    for seed in 0..200 {
        let mut all = random(1 + 1 + seed as usize % 6, seed);
        let g = all.pop().unwrap();
        let (found, dual) = project(GEM, &g, &all);
        changed += usize::from(dual.is_some());
        let tolerance = 1e-6;
        assert!(all.iter().all(|memory| dot(&found, memory) >= -tolerance), "{seed}");
        let away: Vec<f64> = found.iter().zip(&g).map(|(f, g)| f - g).collect();
        // Of the way to each of the cone's own rays, none leads nearer to g; 0 is in the cone too.
        assert!(dot(&away, &found).abs() <= tolerance * 10.0, "{seed}");
        if let Some(v) = dual {
            for (k, memory) in all.iter().enumerate() {
                assert!(
                    v[k] >= 0.0 && (v[k] < 1e-6 || dot(&found, memory).abs() < tolerance),
                    "{seed}: {v:?}"
                );
            }
        }
    }
    assert!(changed > 100, "{changed}");
}

/// With one memory and no margin it is A-GEM's projection.
#[test]
fn one_memory_is_a_gem() {
    for seed in 0..20 {
        let all = random(2, seed);
        let (found, _) = project(GEM, &all[1], &all[..1]);
        let Case { params, loss } = case(&all[1]);
        let mut grads = loss.backward().unwrap();
        AGem { eps: 1e-9 }.project(&mut grads, &params, &split(&all[0])).unwrap();
        let expected: Vec<f64> = params.flat_gradient(&grads).unwrap().to_vec1().unwrap();
        for (f, e) in found.iter().zip(&expected) {
            assert!((f - e).abs() < 1e-7, "{found:?} {expected:?}");
        }
    }
}

/// In the published code every gradient of the memory is followed by γ at least, once one disagrees.
#[test]
fn a_margin_follows_all_memories() {
    let g = vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let against: Vec<f64> = g.iter().map(|g| -g).collect();
    let mut apart = vec![0.0; 10];
    apart[9] = 2.0;
    let (found, dual) = project(Gem { margin: 0.5, eps: 1e-9 }, &g, &[against, apart]);
    let v = dual.unwrap();
    assert!((v[0] - 1.0).abs() < 1e-6 && v[1] == 0.5, "{v:?}");
    assert!(found[0].abs() < 1e-6 && (found[9] - 1.0).abs() < 1e-12, "{found:?}");
}

#[test]
fn eps_stands_beside_the_squares() {
    let g = vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let against: Vec<f64> = g.iter().map(|g| -2.0 * g).collect();
    // v = 2 / (2² + ε), g̃ = 1 − 2v.
    let (found, dual) = project(Gem { margin: 0.0, eps: 1.0 }, &g, &[against]);
    assert!((dual.unwrap()[0] - 0.4).abs() < 1e-12 && (found[0] - 0.2).abs() < 1e-12, "{found:?}");
}

/// "matrix G is not positive definite": what others fail on.
#[test]
fn equal_zero_and_opposite_memories() {
    let g = random(1, 3).remove(0);
    let against: Vec<f64> = g.iter().map(|g| -g).collect();
    let zero = vec![0.0; 10];
    for memories in [
        vec![against.clone(), against.clone(), against.clone()],
        vec![zero.clone(), against.clone(), zero],
        vec![against.clone(), g.clone()],
    ] {
        let (found, dual) = project(Gem { margin: 0.0, eps: 1e-3 }, &g, &memories);
        assert!(dual.is_some());
        assert!(memories.iter().all(|memory| dot(&found, memory) >= -2e-3), "{found:?}");
    }
}

#[test]
fn bad_input_is_an_error_and_changes_nothing() {
    let g = random(1, 4).remove(0);
    let against: Vec<f64> = g.iter().map(|g| -g).collect();
    let Case { params, loss } = case(&g);
    let mut grads = loss.backward().unwrap();
    let memory = split(&against).to_vec();
    for (gem, memory, word) in [
        (Gem { margin: -1.0, eps: 1.0 }, memory.clone(), "margin"),
        (Gem { margin: f64::NAN, eps: 1.0 }, memory.clone(), "margin"),
        (Gem { margin: 0.5, eps: 0.0 }, memory.clone(), "eps"),
        (Gem::default(), memory[..1].to_vec(), "gradients [[4], [2, 3]]"),
        (Gem::default(), vec![memory[1].clone(), memory[0].clone()], "[[2, 3], [4]]"),
    ] {
        let error = gem.project(&mut grads, &params, &[memory]).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. } | Error::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let infinite = vec![(&memory[0] * f64::INFINITY).unwrap(), memory[1].clone()];
    assert!(Gem::default().project(&mut grads, &params, &[infinite]).is_err());
    assert_eq!(params.flat_gradient(&grads).unwrap().to_vec1::<f64>().unwrap(), g);
}
