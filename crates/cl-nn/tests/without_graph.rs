//! Gradients and steps without a graph are those of a backward pass.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{TensorOps, Units};
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use rand::Rng as _;

fn close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let difference = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap();
    let largest = difference.to_dtype(DType::F64).unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    assert!(largest <= tolerance, "{what}: off by {largest}");
}

/// Networks without and with hidden layers, with one and several heads; parts of them frozen.
fn nets(dtype: DType) -> Vec<(Mlp, Units)> {
    let rng = &mut cl_core::rng(0, "weights");
    let mut nets = Vec::new();
    for (widths, heads, units) in [
        (&[7, 6][..], 1, Units::All),
        (&[7, 5, 6], 1, Units::First(4)),
        (&[7, 9, 5, 6], 1, Units::Block(2)),
        (&[7, 9, 5, 6], 3, Units::Block(2)),
        (&[7, 6], 3, Units::Block(2)),
    ] {
        let net = || Mlp::with_heads(widths, heads, dtype, &Device::Cpu, &mut rng.clone()).unwrap();
        nets.push((net(), units));
        for frozen in ["weight", "bias"] {
            let mut net = net();
            let names: Vec<_> = net.params().names().map(str::to_owned).collect();
            net.params_mut().freeze(names.iter().find(|name| name.ends_with(frozen)).unwrap(), true).unwrap();
            nets.push((net, units));
        }
    }
    nets
}

fn batch(n: usize, dtype: DType) -> (Tensor, Tensor, Tensor) {
    let mut rng = cl_core::rng(3, "data");
    let mut uniform = |n: usize| (0..n).map(|_| rng.random::<f64>()).collect::<Vec<_>>();
    let x = Tensor::from_vec(uniform(n * 7), (n, 7), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let w = Tensor::from_vec(uniform(n), n, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    (x, Tensor::from_iter((0..n as u32).map(|i| i % 4), &Device::Cpu).unwrap(), w)
}

/// Heads of several tasks: candle gives no gradient to a head that no sample reaches, so all are reached here.
#[test]
fn gradients_are_those_of_the_graph() {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-13 };
        for (at, (net, units)) in nets(dtype).into_iter().enumerate() {
            for n in [1, 13] {
                let (x, y, w) = batch(n, dtype);
                for weights in [None, Some(&w)] {
                    let loss = net.forward(&x).unwrap().cross_entropy(&y, units, weights).unwrap();
                    let expected = net.params().gradients(&loss.backward().unwrap()).unwrap();
                    let found = net.gradients(&x, &y, units, weights).unwrap();
                    assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        close(found, expected, tolerance, &format!("network {at}, {n} samples"));
                    }
                }
            }
        }
    }
}

/// Over the trainable parameters alone, whatever the sizes of the two batches; multiplied out it is the gradient.
#[test]
fn products_of_factors_are_those_of_gradients() {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-13 };
        for (at, (net, units)) in nets(dtype).into_iter().enumerate() {
            let (x, y, w) = batch(13, dtype);
            let part = |from, n| [&x, &y, &w].map(|tensor| tensor.narrow(0, from, n).unwrap());
            let ([ax, ay, aw], [bx, by, _]) = (part(0, 4), part(4, 9));
            let one = net.factored(&ax, &ay, units, Some(&aw)).unwrap();
            let other = net.factored(&bx, &by, units, None).unwrap();
            let (a, b) = (one.gradients().unwrap(), other.gradients().unwrap());
            assert_eq!(a.len(), net.params().trainable().count());
            let dot = |a: &[Tensor], b: &[Tensor]| -> f64 {
                let of = |(a, b): (&Tensor, &Tensor)| {
                    let product = (a * b).unwrap().sum_all().unwrap();
                    product.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
                };
                a.iter().zip(b).map(of).sum()
            };
            for (found, expected) in [
                (one.dot(&other).unwrap(), dot(&a, &b)),
                (other.dot(&one).unwrap(), dot(&a, &b)),
                (one.dot(&one).unwrap(), dot(&a, &a)),
            ] {
                assert!((found - expected).abs() <= tolerance, "network {at}: {found} and {expected}");
            }
        }
    }
}

#[test]
fn gradients_of_two_networks_have_no_product() {
    let nets = nets(DType::F32);
    let (x, y, _) = batch(5, DType::F32);
    let of = |at: usize| nets[at].0.factored(&x, &y, Units::All, None).unwrap();
    let error = of(0).dot(&of(3)).unwrap_err().to_string();
    assert!(error.contains("a gradient of layers"), "{error}");
}

#[test]
fn descent_is_a_step_of_sgd() {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-13 };
        for (at, (net, units)) in nets(dtype).into_iter().enumerate() {
            let (x, y, w) = batch(13, dtype);
            for weights in [None, Some(&w)] {
                let other = net.copy().unwrap();
                let mut sgd = Optimizer::new(OptimizerConfig::sgd(0.3)).unwrap();
                for _ in 0..3 {
                    let loss = other.forward(&x).unwrap().cross_entropy(&y, units, weights).unwrap();
                    sgd.backward_step(other.params(), &loss).unwrap();
                    net.descend(&x, &y, units, weights, 0.3).unwrap();
                }
                for (found, expected) in net.params().iter().zip(other.params().iter()) {
                    close(&found.var, &expected.var, tolerance, &format!("network {at}, {}", found.name));
                }
            }
        }
    }
}

/// What no loss can be taken of is refused, and nothing is changed.
#[test]
fn a_bad_batch_changes_nothing() {
    let net = Mlp::new(&[7, 5, 6], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap();
    let before = net.params().flat().unwrap().to_vec1::<f32>().unwrap();
    let (x, y, w) = batch(5, DType::F32);
    for (x, y, units, weights) in [
        (x.clone(), y.narrow(0, 0, 4).unwrap(), Units::All, None),
        (x.clone(), y.clone(), Units::First(2), None),
        (x.clone(), y.clone(), Units::All, Some(w.narrow(0, 0, 2).unwrap())),
        (x.narrow(0, 0, 0).unwrap(), y.narrow(0, 0, 0).unwrap(), Units::All, None),
    ] {
        assert!(net.descend(&x, &y, units, weights.as_ref(), 0.1).is_err());
        assert!(net.gradients(&x, &y, units, weights.as_ref()).is_err());
    }
    assert_eq!(net.params().flat().unwrap().to_vec1::<f32>().unwrap(), before);
}
