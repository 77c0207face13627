//! How much the outputs depend on each parameter, and the penalty on what they depend on.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Module, Tensor};
use cl_core::Units;
use cl_nn::Mlp;
use cl_regularize::{Mas, Sensitivity};
use common::{assert_close, elements, net, normal, targets};

fn estimate(sensitivity: Sensitivity, net: &Mlp, x: &Tensor, y: &Tensor, units: Units) -> Vec<f64> {
    let found = sensitivity.estimate(net, x, y, units).unwrap();
    found.iter().flat_map(elements).collect()
}

/// |∂‖F(x)‖²/∂θ| of one sample after the other, by candle's own backward pass.
fn by_loop(net: &Mlp, x: &Tensor, y: &Tensor, units: Units) -> Vec<f64> {
    let n = x.dim(0).unwrap();
    let mut sums = vec![0.0; net.params().flat().unwrap().elem_count()];
    for (i, target) in y.to_vec1::<u32>().unwrap().into_iter().enumerate() {
        let z = net.forward(&x.narrow(0, i, 1).unwrap()).unwrap();
        let range = units.range(target as usize, z.dim(1).unwrap());
        let loss = z.narrow(1, range.start, range.len()).unwrap().sqr().unwrap().sum_all().unwrap();
        let gradient = net.params().flat_gradient(&loss.backward().unwrap()).unwrap();
        let gradient = gradient.to_vec1::<f64>().unwrap();
        sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g.abs() / n as f64);
    }
    sums
}

#[test]
fn one_pass_equals_the_loop() {
    let mut net = net(&[4, 7, 5, 6]);
    let (x, y) = (normal(&[261, 4], 2), targets(261, 4));
    for (units, frozen) in [
        (Units::All, None),
        (Units::First(4), Some("layers.1")),
        (Units::Block(2), Some("layers.0.bias")),
        (Units::Block(3), None),
    ] {
        net.params_mut().freeze("", false).unwrap();
        if let Some(frozen) = frozen {
            net.params_mut().freeze(frozen, true).unwrap();
        }
        let found = estimate(Sensitivity::PerSample, &net, &x, &y, units);
        assert_close(&found, &by_loop(&net, &x, &y, units), 1e-10);
        assert!(found.iter().any(|f| *f > 1e-4));
        // One sample at a time there is nothing to cancel; Hsu et al. take the mean over units.
        let active = units.range(0, 6).len() as f64;
        let batched = estimate(Sensitivity::Batched(1), &net, &x, &y, units);
        assert_close(&batched.iter().map(|b| b * active).collect::<Vec<_>>(), &found, 1e-10);
        let cancelled = estimate(Sensitivity::Batched(87), &net, &x, &y, units);
        assert!(cancelled.iter().sum::<f64>() * active < 0.99 * found.iter().sum::<f64>());
    }
}

/// Heads of their own: those of other tasks do not matter.
#[test]
fn heads_apart() {
    let mut rng = cl_core::rng(1, "weights");
    let net = Mlp::with_heads(&[4, 5, 6], 3, candle_core::DType::F64, &Device::Cpu, &mut rng).unwrap();
    let (x, y) = (normal(&[20, 4], 2), Tensor::from_vec(vec![2u32; 20], 20, &Device::Cpu).unwrap());
    let found = Sensitivity::PerSample.estimate(&net, &x, &y, Units::Block(2)).unwrap();
    let totals: Vec<f64> = found.iter().map(|f| elements(f).iter().sum()).collect();
    assert_eq!(totals.len(), 8);
    assert!(totals[..2].iter().chain(&totals[4..6]).all(|&total| total > 0.0), "{totals:?}");
    assert!(totals[2..4].iter().chain(&totals[6..]).all(|&total| total == 0.0), "{totals:?}");
}

#[test]
fn the_penalty_holds_what_matters() {
    let net = net(&[2, 3]);
    let params = net.params();
    let mut mas = Mas::new(0.5).unwrap();
    assert_eq!(mas.penalty(params).unwrap().to_scalar::<f64>().unwrap(), 0.0);
    let importance = |scale: f64| -> Vec<Tensor> {
        let full = |p: &cl_core::Param| (p.var.ones_like().unwrap() * scale).unwrap();
        params.trainable().map(full).collect()
    };
    mas.consolidate(params, importance(1.0)).unwrap();
    mas.consolidate(params, importance(2.0)).unwrap();
    assert!(mas.importance().all(|omega| elements(omega).iter().all(|&o| o == 3.0)));
    let moved = (params.flat().unwrap() + 0.1).unwrap();
    params.set_flat(&moved).unwrap();
    // λ · 9 parameters · 3 · 0.1², and its gradient 2 · λ · 3 · 0.1 for each.
    let penalty = mas.penalty(params).unwrap();
    assert!((penalty.to_scalar::<f64>().unwrap() - 0.135).abs() < 1e-12);
    let gradient = params.flat_gradient(&penalty.backward().unwrap()).unwrap().to_vec1::<f64>().unwrap();
    assert_close(&gradient, &[0.3; 9], 1e-12);
}

#[test]
fn earlier_tasks_count_as_much_as_asked() {
    let net = net(&[2, 3]);
    let params = net.params();
    let full = |p: &cl_core::Param| (p.var.ones_like().unwrap() * 2.0).unwrap();
    for (decay, expected) in [(0.0, 2.0), (0.5, 3.5), (1.0, 6.0)] {
        let mut mas = Mas::with_decay(1.0, decay).unwrap();
        (0..3).for_each(|_| mas.consolidate(params, params.trainable().map(full).collect()).unwrap());
        assert!(mas.importance().all(|omega| elements(omega).iter().all(|&o| o == expected)), "{decay}");
    }
}

#[test]
fn bad_input_is_an_error() {
    let net = net(&[2, 3]);
    let (x, y) = (normal(&[5, 2], 2), targets(5, 3));
    let of = |sensitivity: Sensitivity, x: &Tensor, y: &Tensor| sensitivity.estimate(&net, x, y, Units::All);
    assert!(of(Sensitivity::Batched(0), &x, &y).is_err());
    assert!(of(Sensitivity::PerSample, &x.narrow(0, 0, 0).unwrap(), &y).is_err());
    assert!(of(Sensitivity::PerSample, &x, &y.narrow(0, 0, 4).unwrap()).is_err());
    for decay in [-0.1, 1.1, f64::NAN] {
        assert!(Mas::with_decay(1.0, decay).is_err());
    }
    assert!(Mas::new(-1.0).is_err() && Mas::new(f64::NAN).is_err());
    let mut mas = Mas::new(1.0).unwrap();
    let found = of(Sensitivity::PerSample, &x, &y).unwrap();
    assert!(mas.consolidate(net.params(), found[..1].to_vec()).is_err());
    assert!(mas.consolidate(net.params(), vec![found[1].clone(), found[0].clone()]).is_err());
    assert_eq!(mas.importance().count(), 0);
}
