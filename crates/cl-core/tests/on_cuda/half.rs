//! Operations in f16 and bf16, and the scale of a loss.

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{Activation, AdamStep, ScaleUpdate, SgdStep, TensorOps, Units, per_sample};

use super::{FLOATS, assert_close, elements, gpu, lists, normal, refs};

/// The 16-bit floats and their unit roundoff: half of the distance between 1 and the next number.
const HALVES: [(DType, f64); 2] = [(DType::F16, 1.0 / 2048.0), (DType::BF16, 1.0 / 256.0)];

/// Standard normal numbers in `dtype`, and the same numbers in f64.
fn half(shape: impl Into<candle_core::Shape>, dtype: DType, seed: u64) -> (Tensor, Tensor) {
    let half = normal(shape, DType::F32, seed).to_dtype(dtype).unwrap();
    let exact = half.to_dtype(DType::F64).unwrap();
    (half, exact)
}

/// Fails where an element is off by more than `unit` of `of`, half of the steps below the normal numbers of f16, and what sums of
/// `terms` in f32 lose of `sums`, the sums of absolute values.
fn assert_within(
    what: &str,
    gpu: &Tensor,
    exact: &Tensor,
    unit: f64,
    of: &Tensor,
    terms: usize,
    sums: &Tensor,
) {
    assert_eq!(gpu.dims(), exact.dims(), "{what}");
    let [found, exact, of, sums] = [gpu, exact, of, sums].map(elements);
    for i in 0..found.len() {
        let bound = unit * of[i].abs() + 2f64.powi(-24) + (terms + 2) as f64 * 2f64.powi(-24) * sums[i];
        let off = (found[i] - exact[i]).abs();
        assert!(off <= bound, "{what}, element {i}: {} against {}, bound {bound}", found[i], exact[i]);
    }
}

/// What goes element by element is rounded as on the CPU, to the last bit: ties, numbers below the normal ones, overflows.
#[test]
fn sums_are_rounded_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for (dtype, _) in HALVES {
        // x·1ᵀ is x, so that bias and activation are all there is.
        let mut x: Vec<f32> =
            vec![1.0, -1.0, 3.0, 0.0, 65504.0, -65504.0, 6e-8, -6e-8, 6.1e-5, 1e-4, 3e38, -3e38];
        x.extend(
            (0..52)
                .map(|i| (f64::from(i) * 0.731).exp2() as f32 * 1e-6 * if i % 2 == 0 { 1.0 } else { -1.0 }),
        );
        let finite = if dtype == DType::F16 { 65504.0 } else { 3.3e38 };
        x.iter_mut().for_each(|x| *x = x.clamp(-finite, finite));
        let x = Tensor::new(x, &Device::Cpu).unwrap().reshape((64, 1)).unwrap().to_dtype(dtype).unwrap();
        let w = Tensor::ones((64, 1), dtype, &Device::Cpu).unwrap();
        let b = x.squeeze(1).unwrap();
        for act in [Activation::Identity, Activation::Relu] {
            let on = |device: &Device| {
                let [x, w, b] = [&x, &w, &b].map(|t| t.to_device(device).unwrap());
                x.linear(&w, Some(&b), act).unwrap()
            };
            assert_close(&format!("{dtype:?} {act:?}"), &on(&gpu), &on(&Device::Cpu), 0.0);
        }
    }
}

/// On a GPU xWᵀ is rounded, and rounded again with the bias; each gradient is rounded once.
#[test]
fn linear() {
    let Some(gpu) = gpu() else { return };
    for ((dtype, unit), (rows, inputs, outputs)) in HALVES.into_iter().flat_map(|dtype| {
        [(1, 1, 1), (5, 3, 2), (7, 33, 35), (64, 200, 40), (300, 16, 70)].map(|size| (dtype, size))
    }) {
        let ((x, x64), (w, w64)) = (half((rows, inputs), dtype, 1), half((outputs, inputs), dtype, 2));
        let ((b, b64), (g, g64)) = (half(outputs, dtype, 3), half((rows, outputs), dtype, 4));
        let product = |a: &Tensor, b: &Tensor| a.matmul(b).unwrap();
        let abs = |t: &Tensor| t.abs().unwrap();
        for (act, bias) in
            [Activation::Identity, Activation::Relu].into_iter().flat_map(|act| [(act, true), (act, false)])
        {
            let what = format!("linear {dtype:?} {rows} {inputs} {outputs} {act:?}");
            let var = |t: &Tensor| Var::from_tensor(&t.to_device(&gpu).unwrap()).unwrap();
            let (x, w, b) = (var(&x), var(&w), var(&b));
            let y = x.linear(&w, bias.then_some(b.as_tensor()), act).unwrap();
            assert_eq!(y.dtype(), dtype);
            let grads = (&y * g.to_device(&gpu).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();

            let products = product(&x64, &w64.t().unwrap());
            let mut exact = products.clone();
            let mut sums = product(&abs(&x64), &abs(&w64).t().unwrap());
            if bias {
                exact = exact.broadcast_add(&b64).unwrap();
                sums = sums.broadcast_add(&abs(&b64)).unwrap();
            }
            // u of the one and u of the other, and a little of what they are of.
            let of = ((abs(&products) + abs(&exact)).unwrap() * (1.0 + 2.0 * unit)).unwrap();
            let exact = if act == Activation::Relu { exact.relu().unwrap() } else { exact };
            assert_within(&what, &y, &exact, unit, &of, inputs, &sums);

            let mut g = g64.clone();
            if act == Activation::Relu {
                let y = y.to_device(&Device::Cpu).unwrap();
                g = (g * y.gt(0f64).unwrap().to_dtype(DType::F64).unwrap()).unwrap();
            }
            let t = g.t().unwrap();
            let check = |name: &str, var: &Var, exact: Tensor, terms: usize, sums: Tensor| {
                let found = grads.get(var).unwrap();
                assert_eq!(found.dtype(), dtype);
                assert_within(&format!("{what}, {name}"), found, &exact, unit, &exact, terms, &sums);
            };
            check("W", &w, product(&t, &x64), rows, product(&abs(&t), &abs(&x64)));
            check("x", &x, product(&g, &w64), outputs, product(&abs(&g), &abs(&w64)));
            if bias {
                check("b", &b, g.sum(0).unwrap(), rows, abs(&g).sum(0).unwrap());
            }
        }
    }
}

#[test]
fn sums_of_rows() {
    let Some(gpu) = gpu() else { return };
    for ((dtype, unit), (n, units)) in HALVES
        .into_iter()
        .flat_map(|dtype| [(1, 1), (128, 10), (257, 33), (3000, 3)].map(|size| (dtype, size)))
    {
        let (rows, exact) = half((n, units), dtype, 1);
        let found = rows.to_device(&gpu).unwrap().sum_of_rows().unwrap();
        let (sum, sums) = (exact.sum(0).unwrap(), exact.abs().unwrap().sum(0).unwrap());
        assert_within(&format!("sum_of_rows {dtype:?} {n} {units}"), &found, &sum, unit, &sum, n, &sums);
    }
}

/// The output gradients of the layer below: what is masked is exactly 0.
#[test]
fn flow_backward() {
    let Some(gpu) = gpu() else { return };
    for (dtype, unit) in HALVES {
        let (n, losses, out, inputs) = (9, 3, 10, 37);
        let ((deltas, d64), (w, w64)) = (half((n, losses, out), dtype, 1), half((out, inputs), dtype, 2));
        let (a, _) = half((n, inputs), dtype, 3);
        let there = |t: &Tensor| t.to_device(&gpu).unwrap();
        let found = per_sample::backward(&there(&deltas), &there(&w), &there(&a)).unwrap();
        let mask = a.gt(0f64).unwrap().to_dtype(DType::F64).unwrap().unsqueeze(1).unwrap();
        let product = |d: &Tensor, w: &Tensor| {
            let flat = d.reshape((n * losses, out)).unwrap().matmul(w).unwrap();
            flat.reshape((n, losses, inputs)).unwrap().broadcast_mul(&mask).unwrap()
        };
        let (exact, sums) = (product(&d64, &w64), product(&d64.abs().unwrap(), &w64.abs().unwrap()));
        assert_within(&format!("backward {dtype:?}"), &found, &exact, unit, &exact, out, &sums);
        let masked = elements(&found).into_iter().zip(elements(&mask.broadcast_as(found.shape()).unwrap()));
        assert!(masked.clone().all(|(found, mask)| mask > 0.0 || found == 0.0));
    }
}

/// Logits are read as they are and all is in f32; the gradient is rounded once.
#[test]
fn cross_entropy() {
    let Some(gpu) = gpu() else { return };
    for ((dtype, unit), (n, outputs)) in HALVES
        .into_iter()
        .flat_map(|dtype| [(1, 1), (7, 10), (128, 10), (300, 100)].map(|size| (dtype, size)))
    {
        let z = (normal((n, outputs), DType::F32, 1) * 3.0).unwrap().to_dtype(dtype).unwrap();
        for units in [Units::All, Units::First(outputs.div_ceil(2)), Units::Block(outputs.min(5))] {
            let within = if let Units::First(n) = units { n } else { outputs };
            let y = Tensor::from_iter((0..n).map(|i| (i * 7 % within) as u32), &Device::Cpu).unwrap();
            let w = normal(n, DType::F32, 2).abs().unwrap();
            for weights in [None, Some(&w)] {
                let of = |z: &Tensor| {
                    let z = Var::from_tensor(z).unwrap();
                    let w = weights.map(|w| w.to_device(z.device()).unwrap());
                    let y = y.to_device(z.device()).unwrap();
                    let loss = z.cross_entropy(&y, units, w.as_ref()).unwrap();
                    let scaled = (&loss * 1024.0).unwrap().backward().unwrap();
                    let gradient = z.cross_entropy_gradient(&y, units, w.as_ref()).unwrap();
                    (loss, scaled.get(&z).unwrap().clone(), gradient)
                };
                let (loss, scaled, gradient) = of(&z.to_device(&gpu).unwrap());
                let (exact_loss, exact_scaled, exact) = of(&z.to_dtype(DType::F32).unwrap());
                let what = format!("cross_entropy {dtype:?} {n} {outputs} {units:?} {}", weights.is_some());
                assert_close(&what, &loss, &exact_loss, 1e-5);
                for (found, exact, scale) in [(scaled, exact_scaled, 1024.0), (gradient, exact, 1.0)] {
                    assert_eq!(found.dtype(), dtype);
                    let most = elements(&exact).into_iter().fold(0.0, |most: f64, g| most.max(g.abs()));
                    // The exponentials of both differ in their last bits.
                    let sums = (exact.ones_like().unwrap() * most).unwrap();
                    assert_within(&format!("{what}, {scale} times"), &found, &exact, unit, &exact, 16, &sums);
                }
            }
        }
    }
}

/// Of many tensors in one launch, aligned or not: the same bits, and what is not finite is found wherever it is.
#[test]
fn gradients_are_unscaled_and_checked() {
    let Some(gpu) = gpu() else { return };
    let sizes: Vec<usize> =
        [0, 1, 3, 255, 8193, 20_003].into_iter().chain((0..60).map(|i| 17 * i + 1)).collect();
    for (dtype, offset) in FLOATS.into_iter().flat_map(|dtype| [(dtype, 0), (dtype, 1)]) {
        for (bad, at) in
            [(None, 0), (Some(f64::NAN), 5), (Some(f64::INFINITY), 4), (Some(f64::NEG_INFINITY), 65)]
        {
            let mut gradients = lists(&sizes, dtype, 1, offset, &gpu);
            if let Some(bad) = bad {
                let last = Tensor::full(bad, 1, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                for on in &mut gradients {
                    let head = on[at].narrow(0, 0, sizes[at] - 1).unwrap();
                    on[at] = Tensor::cat(&[&head, &last.to_device(head.device()).unwrap()], 0).unwrap();
                }
            }
            let states =
                [&Device::Cpu, &gpu].map(|device| Tensor::new(&[3000f32, 0.0, 4.0, 2.0], device).unwrap());
            for (gradients, state) in gradients.iter().zip(&states) {
                Tensor::unscale_all(&refs(gradients), state).unwrap();
            }
            let what = format!("unscale {dtype:?} offset {offset} {bad:?}");
            for (cpu, gpu) in gradients[0].iter().zip(&gradients[1]) {
                assert_close(&what, gpu, cpu, 0.0);
            }
            assert_eq!(
                elements(&states[1]),
                [3000.0, f64::from(u8::from(bad.is_some())), 4.0, 2.0],
                "{what}"
            );
            assert_eq!(elements(&states[0]), elements(&states[1]));
        }
    }
}

/// The scale goes the same way, and steps are skipped where something was found.
#[test]
fn steps_are_skipped_and_the_scale_follows() {
    let Some(gpu) = gpu() else { return };
    let sizes = [1, 300, 9000];
    let update = ScaleUpdate { growth: 1.7, backoff: 0.3, interval: 2.0 };
    let make = |seed: u64| lists(&sizes, DType::F32, 100 * seed, 0, &gpu);
    let (theta, grad, velocity) = (make(1), make(2), make(3));
    let moments = [0, 1].map(|on: usize| -> Vec<Tensor> {
        theta[on].iter().map(|t| Tensor::stack(&[t, t], 0).unwrap().zeros_like().unwrap()).collect()
    });
    let states = [&Device::Cpu, &gpu].map(|device| Tensor::new(&[1000f32, 0.0, 0.0, 0.0], device).unwrap());
    let overflows = [false, true, false, false, false, true, true, false];
    for (t, overflows) in (1..).zip(overflows) {
        for on in [0, 1] {
            let device = states[on].device();
            let found = states[on].narrow(0, 1, 1).unwrap();
            let bad = Tensor::new(&[if overflows { f32::INFINITY } else { 1.0 }], device).unwrap();
            Tensor::unscale_all(&[&bad], &states[on]).unwrap();
            let (theta, grad) = (refs(&theta[on]), refs(&grad[on]));
            let step = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 0.1 };
            Tensor::sgd_step_unless(Some(&found), &theta, &grad, None, step).unwrap();
            Tensor::sgd_step_unless(Some(&found), &theta, &grad, Some(&refs(&velocity[on])), step).unwrap();
            let step = AdamStep {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.0,
                decoupled: false,
                t,
            };
            Tensor::adam_step_unless(Some(&found), &theta, &grad, &refs(&moments[on]), step).unwrap();
            states[on].update_scale(update).unwrap();
        }
        assert_eq!(elements(&states[0]), elements(&states[1]), "step {t}");
        for lists in [&theta, &velocity, &moments] {
            for (cpu, gpu) in lists[0].iter().zip(&lists[1]) {
                assert_close(&format!("step {t}"), gpu, cpu, 0.0);
            }
        }
    }
    assert_eq!(elements(&states[1])[3], 3.0);
}
