//! Product keys against all K² of them, gradients against finite differences, and steps that touch what was used alone.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use cl_nn::{Optimizer, OptimizerConfig};
use cl_working_memory::product_key::{ProductKeyConfig, ProductKeys};
use proptest::prelude::*;

fn memory(config: ProductKeyConfig, seed: u64) -> ProductKeys {
    ProductKeys::new(config, DType::F64, &Device::Cpu, &mut cl_core::rng(seed, "weights")).unwrap()
}

fn normal(shape: &[usize], seed: u64) -> Var {
    common::normal(shape, DType::F64, seed)
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// By the definition: the scores of all K² pairs of halves, the best of them, their softmax, the values; per head, summed.
fn by_hand(memory: &ProductKeys, x: &Tensor) -> (Vec<Vec<u32>>, Vec<f64>) {
    let ProductKeyConfig { inputs, outputs, heads, keys, half, top } = memory.config();
    let params = memory.params().unwrap();
    let get = |name: &str| flat(&params.get(name).unwrap().var);
    let (weight, bias, halves, values) =
        (get("query.weight"), get("query.bias"), get("halves"), get("values"));
    let mut output = vec![0.0; outputs];
    let mut rows = Vec::new();
    let x = flat(x);
    let query = |at: usize| bias[at] + (0..inputs).map(|i| weight[at * inputs + i] * x[i]).sum::<f64>();
    for head in 0..heads {
        let score = |which: usize, key: usize| -> f64 {
            let from = (head * 2 + which) * half;
            (0..half).map(|i| query(from + i) * halves[((head * 2 + which) * keys + key) * half + i]).sum()
        };
        let pair = |row: usize| score(0, row / keys) + score(1, row % keys);
        let mut all: Vec<(usize, f64)> = (0..keys * keys).map(|row| (row, pair(row))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(top);
        let sum: f64 = all.iter().map(|(_, score)| score.exp()).sum();
        for (row, score) in &all {
            for (i, output) in output.iter_mut().enumerate() {
                *output += score.exp() / sum * values[row * outputs + i];
            }
        }
        rows.push(all.into_iter().map(|(row, _)| row as u32).collect());
    }
    (rows, output)
}

proptest! {
    /// The best of K² pairs are found from the best halves.
    #[test]
    fn are_the_best_of_all_keys(
        seed in 0_u64..10_000, heads in 1_usize..4, keys in 1_usize..12, half in 1_usize..5, top in 1_usize..12, n in 1_usize..4,
    ) {
        let config = ProductKeyConfig { inputs: 3, outputs: 2, heads, keys, half, top: top.min(keys) };
        let memory = memory(config, seed);
        let x = normal(&[n, 3], seed);
        let selected = memory.select(&x).unwrap().rows.to_vec3::<u32>().unwrap();
        let output = memory.forward(&x).unwrap().to_vec2::<f64>().unwrap();
        let sparse = memory.forward_sparse(&x).unwrap();
        for row in 0..n {
            let (rows, expected) = by_hand(&memory, &x.get(row).unwrap());
            prop_assert_eq!(&selected[row], &rows);
            for (found, expected) in output[row].iter().zip(expected) {
                prop_assert!((found - expected).abs() < 1e-12, "{} {}", found, expected);
            }
        }
        prop_assert_eq!(sparse.output.to_vec2::<f64>().unwrap(), output);
        let mut used = selected.concat().concat();
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(sparse.rows(), used);
    }
}

const SMALL: ProductKeyConfig =
    ProductKeyConfig { inputs: 3, outputs: 2, heads: 2, keys: 5, half: 3, top: 3 };

#[test]
fn gradients_are_those_of_finite_differences() {
    let memory = memory(SMALL, 1);
    let x = normal(&[4, 3], 2);
    let params = memory.params().unwrap();
    let vars: Vec<&Var> = params.iter().map(|param| &param.var).chain([&x]).collect();
    common::assert_gradients(&vars, || memory.forward(&x).unwrap());
}

/// The gradient of the used rows is that part of the dense one, the rest of which is 0; and a step with it is a dense step.
#[test]
fn sparse_steps_are_dense_steps() {
    let (dense, sparse) = (memory(SMALL, 3), memory(SMALL, 3));
    let x = normal(&[2, 3], 4);
    let grads = dense.forward(&x).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let grad = grads.get(dense.values()).unwrap();
    dense.values().set(&(dense.values().as_tensor() - (grad * 0.1).unwrap()).unwrap()).unwrap();

    let before = sparse.values().to_vec2::<f64>().unwrap();
    let found = sparse.forward_sparse(&x).unwrap();
    let grads = found.output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(sparse.values()).is_none(), "no gradient of the size of the table");
    assert_eq!(grads.get(found.used()).unwrap().dims(), [found.rows().len(), 2]);
    assert!(found.rows().len() < 25);
    sparse.descend(&found, &grads, 0.1).unwrap();
    let after = sparse.values().to_vec2::<f64>().unwrap();
    let expected = dense.values().to_vec2::<f64>().unwrap();
    for (row, (after, expected)) in after.iter().zip(&expected).enumerate() {
        assert!(
            after.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{row}: {after:?} {expected:?}"
        );
        assert_eq!(*after != before[row], found.rows().contains(&(row as u32)));
    }
    let none = normal(&[2], 0).sum_all().unwrap().backward().unwrap();
    assert!(sparse.descend(&found, &none, 0.1).is_err());
}

/// Forty inputs and what belongs to each, by 2500 values of which each uses eight: after some hundred steps it knows them, with
/// gradients of the used rows alone.
#[test]
fn a_table_is_learned() {
    let config = ProductKeyConfig { inputs: 8, outputs: 4, heads: 2, keys: 50, half: 8, top: 4 };
    let memory = memory(config, 5);
    let (x, y) = (normal(&[40, 8], 6), normal(&[40, 4], 7));
    let mut params = memory.params().unwrap();
    params.freeze("values", true).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(1e-3)).unwrap();
    let mut losses = Vec::new();
    for _ in 0..300 {
        let found = memory.forward_sparse(&x).unwrap();
        let loss = (&found.output - y.as_tensor()).unwrap().sqr().unwrap().mean_all().unwrap();
        losses.push(loss.to_scalar::<f64>().unwrap());
        let grads = loss.backward().unwrap();
        memory.descend(&found, &grads, 20.0).unwrap();
        optimizer.step(&params, &params.gradients(&grads).unwrap()).unwrap();
    }
    assert!(losses[299] < 0.01 * losses[0], "{} {}", losses[0], losses[299]);
}

/// Scores that are no numbers come out as such, and nothing panics.
#[test]
fn nan_comes_out() {
    let memory = memory(SMALL, 1);
    let x = Tensor::new(&[[f64::NAN, 0.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let output = memory.forward(&x).unwrap().to_vec2::<f64>().unwrap();
    assert!(output[0].iter().all(|x| x.is_nan()) && output[1].iter().all(|x| x.is_finite()), "{output:?}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let made = |config| ProductKeys::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"));
    for (wrong, says) in [
        (ProductKeyConfig { inputs: 0, ..SMALL }, "inputs"),
        (ProductKeyConfig { outputs: 0, ..SMALL }, "outputs"),
        (ProductKeyConfig { heads: 0, ..SMALL }, "heads"),
        (ProductKeyConfig { keys: 0, ..SMALL }, "keys"),
        (ProductKeyConfig { half: 0, ..SMALL }, "half"),
        (ProductKeyConfig { top: 0, ..SMALL }, "top"),
        (ProductKeyConfig { top: 6, ..SMALL }, "6 of 5"),
        (ProductKeyConfig { keys: 70_000, ..SMALL }, "70000² values"),
    ] {
        let error = made(wrong).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let memory = made(SMALL).unwrap();
    for shape in [&[2, 4][..], &[3], &[1, 2, 3]] {
        assert!(
            memory.forward(&Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()).is_err(),
            "{shape:?}"
        );
    }
    assert_eq!(memory.params().unwrap().get("values").unwrap().group, "values");
}
