//! Steps on single samples are those of the graph and the optimizer.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{TensorOps, Units};
use cl_nn::{Mlp, OneByOne, Optimizer, OptimizerConfig};
use common::{bits, elements, normal};

fn net(widths: &[usize], heads: usize, dtype: DType) -> Mlp {
    Mlp::with_heads(widths, heads, dtype, &Device::Cpu, &mut cl_core::rng(1, "weights")).unwrap()
}

fn flat(net: &Mlp) -> Vec<f64> {
    elements(&net.params().flat().unwrap())
}

/// Inputs of which about half are 0, and targets below `outputs`.
fn samples(n: usize, inputs: usize, outputs: u32) -> (Tensor, Tensor) {
    let x = normal(&[n, inputs], DType::F32, 2).relu().unwrap();
    let y: Vec<u32> = (0..n as u32).map(|i| i * 7 % outputs).collect();
    (x, Tensor::new(y, &Device::Cpu).unwrap())
}

#[test]
fn equals_the_graph_and_its_optimizer() {
    for (widths, heads, units) in [
        (&[5, 3][..], 1, Units::All),
        (&[33, 40, 17, 10], 1, Units::All),
        (&[33, 40, 10], 1, Units::First(7)),
        (&[20, 19, 18, 6], 3, Units::Block(2)),
        (&[20, 50, 6], 2, Units::All),
    ] {
        let outputs = match units {
            Units::First(n) => n,
            _ => widths[widths.len() - 1],
        };
        let (x, y) = samples(40, widths[0], outputs as u32);
        let [found, expected] = [0, 1].map(|_| net(widths, heads, DType::F32));
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
        for row in 0..40 {
            let (x, y) = (x.narrow(0, row, 1).unwrap(), y.narrow(0, row, 1).unwrap());
            let loss = expected.forward(&x).unwrap().cross_entropy(&y, units, None).unwrap();
            optimizer.backward_step(expected.params(), &loss).unwrap();
        }
        let before = flat(&found);
        let mut steps = OneByOne::of(&found).unwrap();
        steps.descend(&x, &y, units, 0.1).unwrap();
        assert_eq!(flat(&found), before, "nothing is written yet");
        steps.write(&found).unwrap();
        for (at, (found, expected)) in flat(&found).into_iter().zip(flat(&expected)).enumerate() {
            let text =
                format!("{widths:?}, {heads} heads, {units:?}, number {at}: {found} against {expected}");
            assert!((found - expected).abs() < 1e-5, "{text}");
        }
        assert_ne!(flat(&found), before);
    }
}

/// What was read is written back bit for bit, and read anew after somebody else has stepped.
#[test]
fn reads_and_writes_every_bit() {
    for heads in [1, 3] {
        let [from, to] = [0, 1].map(|_| net(&[20, 19, 18, 6], heads, DType::F32));
        to.params().set_flat(&normal(&[from.params().numel()], DType::F32, 5)).unwrap();
        let all = |net: &Mlp| bits(net.params().iter().map(|p| p.var.as_tensor()));
        let mut steps = OneByOne::of(&from).unwrap();
        steps.write(&to).unwrap();
        assert_eq!(all(&to), all(&from));
        from.params().set_flat(&normal(&[from.params().numel()], DType::F32, 6)).unwrap();
        steps.read(&from).unwrap();
        steps.write(&to).unwrap();
        assert_eq!(all(&to), all(&from));
    }
}

#[test]
fn interpolates() {
    let (x, y) = samples(3, 5, 2);
    let mut steps = OneByOne::of(&net(&[5, 4, 2], 1, DType::F32)).unwrap();
    let before = steps.theta().to_vec();
    steps.descend(&x, &y, Units::All, 0.5).unwrap();
    let after = steps.theta().to_vec();
    assert_ne!(before, after);
    steps.interpolate(&before, 0.25).unwrap();
    for ((found, before), after) in steps.theta().iter().zip(&before).zip(&after) {
        assert!((found - (0.75 * before + 0.25 * after)).abs() < 1e-6);
    }
    steps.interpolate(&before, 0.0).unwrap();
    assert_eq!(steps.theta(), before);
    assert!(steps.interpolate(&before[1..], 0.5).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let fits = net(&[5, 4, 6], 1, DType::F32);
    let mut steps = OneByOne::of(&fits).unwrap();
    let before = steps.theta().to_vec();
    let (x, y) = samples(3, 5, 6);
    let (wide, _) = samples(3, 6, 6);
    assert!(steps.descend(&wide, &y, Units::All, 0.1).is_err());
    assert!(steps.descend(&x, &y.narrow(0, 0, 2).unwrap(), Units::All, 0.1).is_err());
    let beyond = Tensor::new(&[0u32, 1, 6], &Device::Cpu).unwrap();
    for units in [Units::All, Units::Block(2), Units::Block(4)] {
        assert!(steps.descend(&x, &beyond, units, 0.1).is_err());
    }
    let later = Tensor::new(&[0u32, 1, 3], &Device::Cpu).unwrap();
    assert!(steps.descend(&x, &later, Units::First(3), 0.1).is_err());
    assert!(steps.descend(&x.to_dtype(DType::F64).unwrap(), &y, Units::All, 0.1).is_err());
    assert_eq!(steps.theta(), before, "nothing was changed");

    assert!(OneByOne::of(&net(&[5, 4, 6], 1, DType::F64)).is_err());
    assert!(steps.read(&net(&[5, 3, 6], 1, DType::F32)).is_err());
    assert!(steps.write(&net(&[5, 4, 4, 6], 1, DType::F32)).is_err());
    // As many numbers, in other places.
    assert!(
        OneByOne::of(&net(&[3, 5, 1], 1, DType::F32)).unwrap().read(&net(&[5, 3, 2], 1, DType::F32)).is_err()
    );
    let mut frozen = net(&[5, 4, 6], 1, DType::F32);
    frozen.params_mut().freeze("layers.0", true).unwrap();
    assert!(OneByOne::of(&frozen).unwrap_err().to_string().contains("frozen"));
}
