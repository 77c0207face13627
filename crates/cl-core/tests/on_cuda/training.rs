//! The operations of a training step.

use candle_core::{DType, Device, Tensor};
use cl_core::{Activation, AdamStep, Quadratic, SgdStep, TensorOps, Units, per_sample, project};

use super::{FLOATS, assert_close, compare, gpu, lists, normal, refs, tolerance};

/// More tensors than one launch takes, empty ones and large ones among them.
fn sizes() -> Vec<usize> {
    let mut sizes = vec![0, 1, 3, 255, 1024, 8192, 8193, 100_003];
    sizes.extend((0..60).map(|i| 17 * i + 1));
    sizes
}

/// What goes element by element is the same to the last bit.
#[test]
fn streaming_operations_give_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    for (dtype, offset) in FLOATS.into_iter().flat_map(|dtype| [(dtype, 0), (dtype, 1)]) {
        let make = |seed: u64| lists(&sizes(), dtype, 1000 * seed, offset, &gpu);
        let run = |what: &str, changed: &[&[Vec<Tensor>; 2]], f: &dyn Fn(usize)| {
            f(0);
            f(1);
            for lists in changed {
                for (cpu, gpu) in lists[0].iter().zip(&lists[1]) {
                    assert_close(
                        &format!("{what} {dtype:?} offset {offset} of {}", cpu.elem_count()),
                        gpu,
                        cpu,
                        0.0,
                    );
                }
            }
        };
        let (theta, grad, third, fourth) = (make(1), make(2), make(3), make(4));
        for weight_decay in [0.0, 0.1] {
            let step = SgdStep { lr: 0.1, momentum: 0.9, weight_decay };
            run("sgd", &[&theta], &|on| {
                Tensor::sgd_step_all(&refs(&theta[on]), &refs(&grad[on]), None, step).unwrap();
            });
            run("momentum", &[&theta, &third], &|on| {
                let velocities = refs(&third[on]);
                Tensor::sgd_step_all(&refs(&theta[on]), &refs(&grad[on]), Some(&velocities), step).unwrap();
            });
        }
        run("accumulate_sq", &[&third], &|on| {
            Tensor::accumulate_sq_all(&refs(&third[on]), &refs(&grad[on]), 0.9, 0.3).unwrap();
        });
        run("path_integral", &[&third, &fourth], &|on| {
            let [omega, grad, theta, before] = [&third, &grad, &theta, &fourth].map(|lists| refs(&lists[on]));
            Tensor::path_integral_all(&omega, &grad, &theta, &before).unwrap();
        });
        let zeros = |on: usize| -> Vec<Tensor> {
            theta[on].iter().map(|t| Tensor::stack(&[t, t], 0).unwrap().zeros_like().unwrap()).collect()
        };
        let moments = [zeros(0), zeros(1)];
        for (t, decoupled) in [(1, false), (2, true), (3, false)] {
            let step =
                AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled, t };
            run("adam", &[&theta, &moments], &|on| {
                Tensor::adam_step_all(&refs(&theta[on]), &refs(&grad[on]), &refs(&moments[on]), step)
                    .unwrap();
            });
        }
    }
}

/// A gradient of any strides, and one that is a transposed view.
#[test]
fn strided_gradients() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        let (theta, grad) = (normal((30, 50), dtype, 1), normal((50, 30), dtype, 2));
        let (there, grad_there) = (theta.to_device(&gpu).unwrap(), grad.to_device(&gpu).unwrap());
        let step = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0 };
        theta.sgd_step(&grad.t().unwrap(), None, step).unwrap();
        there.sgd_step(&grad_there.t().unwrap(), None, step).unwrap();
        assert_close("strided sgd", &there, &theta, 0.0);
    }
}

#[test]
fn linear() {
    let Some(gpu) = gpu() else { return };
    for (dtype, (rows, inputs, outputs)) in FLOATS.into_iter().flat_map(|dtype| {
        [(1, 1, 1), (5, 3, 2), (128, 784, 400), (1000, 33, 70), (700, 10, 2100)].map(|size| (dtype, size))
    }) {
        for act in [Activation::Identity, Activation::Relu] {
            let inputs = [
                normal((rows, inputs), dtype, 1),
                normal((outputs, inputs), dtype, 2),
                normal(outputs, dtype, 3),
            ];
            let what = format!("linear {dtype:?} {rows} {outputs} {act:?}");
            compare(&what, &inputs, &gpu, tolerance(dtype), &|t| {
                t[0].linear(&t[1], Some(&t[2]), act).unwrap()
            });
            compare(&what, &inputs[..2], &gpu, tolerance(dtype), &|t| t[0].linear(&t[1], None, act).unwrap());
        }
    }
}

#[test]
fn cross_entropy() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (n, outputs) in [(1, 1), (7, 10), (128, 10), (3000, 100), (5, 1000)] {
            let logits = (normal((n, outputs), dtype, 1) * 3.0).unwrap();
            for units in [Units::All, Units::First(outputs.div_ceil(2)), Units::Block(outputs.min(5))] {
                let within = if let Units::First(n) = units { n } else { outputs };
                let y: Vec<u32> = (0..n).map(|i| (i * 7 % within) as u32).collect();
                let y = Tensor::from_vec(y, n, &Device::Cpu).unwrap();
                let w = normal(n, dtype, 2).abs().unwrap();
                for weights in [None, Some(&w)] {
                    let loss = |z: &Tensor| {
                        let device = z.device();
                        let w = weights.map(|w| w.to_device(device).unwrap());
                        z.cross_entropy(&y.to_device(device).unwrap(), units, w.as_ref()).unwrap()
                    };
                    let what =
                        format!("cross_entropy {dtype:?} {n} {outputs} {units:?} {}", weights.is_some());
                    compare(&what, std::slice::from_ref(&logits), &gpu, tolerance(dtype), &|t| loss(&t[0]));
                    let gradient = |device: &Device| {
                        let (z, y) = (logits.to_device(device).unwrap(), y.to_device(device).unwrap());
                        let w = weights.map(|w| w.to_device(device).unwrap());
                        z.cross_entropy_gradient(&y, units, w.as_ref()).unwrap()
                    };
                    assert_close(&what, &gradient(&gpu), &gradient(&Device::Cpu), tolerance(dtype));
                }
            }
        }
    }
}

/// Nothing is read back to be checked; what is wrong shows.
#[test]
fn a_target_that_is_no_unit_makes_the_loss_nan() {
    let Some(gpu) = gpu() else { return };
    let z = normal((4, 10), DType::F32, 1).to_device(&gpu).unwrap();
    for (bad, units) in
        [(10u32, Units::All), (u32::MAX, Units::All), (7, Units::First(5)), (12, Units::Block(5))]
    {
        let y = Tensor::new(&[1, 2, bad, 3], &gpu).unwrap();
        assert!(z.cross_entropy(&y, units, None).unwrap().to_scalar::<f32>().unwrap().is_nan());
        let g = z.cross_entropy_gradient(&y, units, None).unwrap().to_vec2::<f32>().unwrap();
        assert!(g[2].iter().all(|g| g.is_nan()) && g[0].iter().all(|g| g.is_finite()), "{bad} {g:?}");
    }
}

#[test]
fn quadratic_penalty() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (n, terms) in [(1, 1), (7, 2), (1000, 1), (4097, 3), (300_000, 1), (100, 50), (1000, 97), (5, 0)]
        {
            let theta = normal(n, dtype, 1);
            let bowls: Vec<[Tensor; 2]> = (0..terms)
                .map(|k| [normal(n, dtype, 10 + k).abs().unwrap(), normal(n, dtype, 1000 + k)])
                .collect();
            compare(&format!("penalty {dtype:?} {n} {terms}"), &[theta], &gpu, tolerance(dtype), &|t| {
                let bowls: Vec<Quadratic> = bowls
                    .iter()
                    .map(|[importance, anchor]| Quadratic {
                        importance: importance.to_device(t[0].device()).unwrap(),
                        anchor: anchor.to_device(t[0].device()).unwrap(),
                    })
                    .collect();
                t[0].quadratic_penalty(&bowls).unwrap()
            });
        }
    }
}

/// More parameters and more anchors than one launch takes, in one sum; some parameters have no anchor, or no element.
#[test]
fn penalty_of_all_parameters() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (sizes, terms) in [
            (vec![(300, 784), (300, 1), (10, 300), (10, 1)], 1u64),
            ((0..60).map(|i| (i, 17)).collect(), 3),
            (vec![(2, 3), (9000, 1), (1, 5)], 100),
            (vec![(0, 4)], 2),
        ] {
            let thetas: Vec<Tensor> =
                sizes.iter().zip(0..).map(|(&size, seed)| normal(size, dtype, seed)).collect();
            let bowls: Vec<Vec<[Tensor; 2]>> = (0..)
                .zip(&sizes)
                .map(|(i, &size): (u64, _)| {
                    let some = |k| {
                        [normal(size, dtype, 1000 * i + k).sqr().unwrap(), normal(size, dtype, 7000 * i + k)]
                    };
                    (0..if i % 3 == 2 { 0 } else { terms }).map(some).collect()
                })
                .collect();
            compare(&format!("penalty of all {dtype:?} {terms}"), &thetas, &gpu, tolerance(dtype), &|t| {
                let there = |[importance, anchor]: &[Tensor; 2]| Quadratic {
                    importance: importance.to_device(t[0].device()).unwrap(),
                    anchor: anchor.to_device(t[0].device()).unwrap(),
                };
                let bowls: Vec<Vec<Quadratic>> =
                    bowls.iter().map(|bowls| bowls.iter().map(there).collect()).collect();
                let bowls: Vec<&[Quadratic]> = bowls.iter().map(Vec::as_slice).collect();
                Tensor::quadratic_penalty_all(&t.iter().collect::<Vec<_>>(), &bowls).unwrap()
            });
        }
    }
}

#[test]
fn penalty_added_to_gradients() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        let make = |seed: u64| lists(&sizes(), dtype, 1000 * seed, 0, &gpu);
        let (g, theta, f, a) = (make(1), make(2), make(3), make(4));
        for on in [0, 1] {
            // Parameter i has i mod 4 terms.
            let terms: Vec<Vec<Quadratic>> = (0..theta[on].len())
                .map(|i| {
                    let term = Quadratic { importance: f[on][i].clone(), anchor: a[on][i].clone() };
                    vec![term; i % 4]
                })
                .collect();
            let terms: Vec<&[Quadratic]> = terms.iter().map(Vec::as_slice).collect();
            Tensor::add_penalty_gradient_all(&refs(&g[on]), &refs(&theta[on]), &terms, 0.7).unwrap();
        }
        for (cpu, gpu) in g[0].iter().zip(&g[1]) {
            assert_close(&format!("add_penalty_gradient {dtype:?}"), gpu, cpu, tolerance(dtype));
        }
    }
}

#[test]
fn sums_of_rows() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (n, units) in [(1, 1), (128, 10), (257, 33), (5000, 2000), (100_000, 3)] {
            let rows = normal((n, units), dtype, 1);
            let there = rows.to_device(&gpu).unwrap().sum_of_rows().unwrap();
            assert_close(
                &format!("sum_of_rows {n} {units}"),
                &there,
                &rows.sum_of_rows().unwrap(),
                tolerance(dtype),
            );
        }
    }
}

#[test]
fn products_in_place() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (n, inputs, outputs) in [(1, 1, 1), (10, 7, 5), (128, 300, 40), (2000, 17, 10)] {
            let (a, d) = (normal((n, inputs), dtype, 1), normal((n, outputs), dtype, 2));
            let (w, b) = (normal((outputs, inputs), dtype, 3), normal(outputs, dtype, 4));
            let on = |device: &Device| {
                let [a, d, w, b] = [&a, &d, &w, &b].map(|t| t.to_device(device).unwrap().copy().unwrap());
                w.descend(Some(&b), &a, &d, 0.1).unwrap();
                let squares = d.sqr().unwrap();
                a.per_sample_sq(&squares, &w, Some(&b)).unwrap();
                [w, b, a.per_sample_norm_sq(&d, true).unwrap()]
            };
            for (g, c) in on(&gpu).iter().zip(&on(&Device::Cpu)) {
                assert_close(&format!("descend, per_sample {dtype:?} {n} {inputs}"), g, c, tolerance(dtype));
            }
            let classes = 3;
            let deltas = normal((n, classes, outputs), dtype, 5);
            let activation = normal((n, inputs), dtype, 6);
            let on = |device: &Device| {
                let [deltas, w, activation] =
                    [&deltas, &w, &activation].map(|t| t.to_device(device).unwrap());
                [
                    per_sample::sum_of_squares(&deltas).unwrap(),
                    per_sample::backward(&deltas, &w, &activation).unwrap(),
                ]
            };
            for (g, c) in on(&gpu).iter().zip(&on(&Device::Cpu)) {
                assert_close(&format!("per_sample {dtype:?} {n} {inputs}"), g, c, tolerance(dtype));
            }
        }
    }
}

#[test]
fn projection() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for sign in [1.0, -1.0] {
            let [mut cpu, mut there] = lists(&sizes(), dtype, 1, 0, &gpu);
            let [noise, noise_there] = lists(&sizes(), dtype, 500, 0, &gpu);
            let reference = |g: &[Tensor], noise: &[Tensor]| -> Vec<Tensor> {
                g.iter().zip(noise).map(|(g, n)| ((g * sign).unwrap() + n).unwrap()).collect()
            };
            let (r, r_there) = (reference(&cpu, &noise), reference(&there, &noise_there));
            let (found, found_there) =
                (project(&cpu, &r, 1e-9).unwrap(), project(&there, &r_there, 1e-9).unwrap());
            assert_eq!(found.conflict, sign < 0.0);
            assert_eq!(found.conflict, found_there.conflict);
            assert!((found.dot - found_there.dot).abs() <= tolerance(dtype) * found.dot.abs());
            assert!(
                (found.reference_sq - found_there.reference_sq).abs()
                    <= tolerance(dtype) * found.reference_sq
            );
            for (g, c) in there.drain(..).zip(cpu.drain(..)) {
                assert_close(&format!("project {dtype:?}"), &g, &c, tolerance(dtype));
            }
        }
    }
}

/// What has no kernel yet says so; operands on two devices are refused.
#[test]
fn errors() {
    let Some(gpu) = gpu() else { return };
    let (cpu, there) =
        (normal((4, 8), DType::F32, 1), normal((4, 8), DType::F32, 1).to_device(&gpu).unwrap());
    assert!(there.retrieve(&there, &there, 1.0, None).unwrap_err().to_string().contains("retrieve"));
    let step = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0 };
    let error = there.sgd_step(&cpu, None, step).unwrap_err().to_string();
    assert!(error.contains("to_device"), "{error}");
    let error = cl_core::device("cuda:4000").unwrap_err().to_string();
    assert!(error.contains("4000"), "{error}");
}
