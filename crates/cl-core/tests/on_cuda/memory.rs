//! The operations of the differentiable neural computer.

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{MemoryAccess, MemoryState, ModeOrder, Strength, TensorOps};

use super::{FLOATS, assert_close, compare, elements, gpu, normal, tolerance};

/// Numbers between 0 and 1, ends included.
fn unit(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    ((normal(shape, dtype, seed) * 0.6).unwrap() + 0.5).unwrap().clamp(0.0, 1.0).unwrap()
}

/// As [`unit`], of five values: many are equal.
fn ties(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    ((unit(shape, dtype, seed) * 4.0).unwrap().round().unwrap() / 4.0).unwrap()
}

/// Rows of every length that is sorted in another way: one thread and many, shared memory and beyond; more rows than blocks.
#[test]
fn allocation() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (rows, n) in [(1, 1), (3, 5), (2, 33), (7, 100), (2, 1000), (1, 4096), (1, 4097), (2100, 3)] {
            for usage in [unit(&[rows, n], dtype, 1), ties(&[rows, n], dtype, 2)] {
                let what = format!("allocation {dtype:?} {rows} {n}");
                compare(&what, &[usage], &gpu, tolerance(dtype), &|t| t[0].allocation().unwrap());
            }
        }
        for filled in [0.0, 1.0] {
            let usage = Tensor::full(filled, (2, 50), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            compare("usages of 0 or 1", &[usage], &gpu, 0.0, &|t| t[0].allocation().unwrap());
        }
        let usage = unit(&[40, 30], dtype, 3);
        compare("strided allocation", &[usage], &gpu, tolerance(dtype), &|t| {
            t[0].t().unwrap().allocation().unwrap()
        });
        let usage = unit(&[101], dtype, 4);
        compare("allocation from the second element on", &[usage], &gpu, tolerance(dtype), &|t| {
            t[0].narrow(0, 1, 100).unwrap().allocation().unwrap()
        });
        for dims in [&[0][..], &[2, 0], &[0, 3]] {
            let none = Tensor::zeros(dims, dtype, &gpu).unwrap();
            assert_eq!(none.allocation().unwrap().dims(), dims);
        }
    }
}

/// Powers of two are multiplied without rounding: with another order of the slots, the weights would be others.
#[test]
fn allocation_has_the_order_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let nan = f64::NAN;
    let rows = [
        vec![0.5; 64],
        (0..64).map(|i| [0.5, 1.0, 0.25, 0.5][i % 4]).collect(),
        vec![nan, 0.5, nan, 0.25, 0.5],
        // By its bits this one comes first.
        vec![0.5, -nan, 0.25, nan],
        vec![0.0, 0.5, -0.0, 0.25, -0.0, 0.0],
        vec![2.0, 0.5, -0.5, 4.0, -0.25, -0.5, 2.0],
    ];
    for (row, dtype) in rows.iter().flat_map(|row| FLOATS.map(|dtype| (row, dtype))) {
        let usage = Tensor::new(row.as_slice(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let what = format!("{dtype:?} {row:?}");
        let there = usage.to_device(&gpu).unwrap().allocation().unwrap();
        assert_close(&what, &there, &usage.allocation().unwrap(), 0.0);
        compare(&what, &[usage], &gpu, tolerance(dtype), &|t| t[0].allocation().unwrap());
    }
}

#[test]
fn lstm_cell() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (n, h) in [(1, 1), (3, 5), (4, 64), (2, 33), (128, 256)] {
            let inputs = [normal((n, 4 * h), dtype, 1), normal((n, h), dtype, 2)];
            let what = format!("lstm_cell {dtype:?} {n} {h}");
            compare(&what, &inputs, &gpu, tolerance(dtype), &|t| t[0].lstm_cell(&t[1]).unwrap());
            let turned = [normal((4 * h, n), dtype, 3), normal((h, n), dtype, 4)];
            compare(&format!("strided {what}"), &turned, &gpu, tolerance(dtype), &|t| {
                t[0].t().unwrap().lstm_cell(&t[1].t().unwrap()).unwrap()
            });
        }
        // Gates of thousands are shut or open.
        let inputs = [(normal((4, 8), dtype, 1) * 1e4).unwrap(), normal((4, 2), dtype, 2)];
        compare("saturated lstm_cell", &inputs, &gpu, tolerance(dtype), &|t| t[0].lstm_cell(&t[1]).unwrap());
        // Cells that are data get no gradient.
        let cells = normal((3, 5), dtype, 2);
        compare("lstm_cell of data", &[normal((3, 20), dtype, 1)], &gpu, tolerance(dtype), &|t| {
            t[0].lstm_cell(&cells.to_device(t[0].device()).unwrap()).unwrap()
        });
        let none = |dims: (usize, usize)| Tensor::zeros(dims, dtype, &gpu).unwrap();
        assert_eq!(none((0, 16)).lstm_cell(&none((0, 4))).unwrap().dims(), [2, 0, 4]);
    }
}

#[test]
fn link() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (batch, n) in [(&[][..], 1), (&[3], 5), (&[2, 2], 33), (&[1], 64), (&[2], 65), (&[2], 200)] {
            let dims = |last: &[usize]| [batch, last].concat();
            let inputs =
                [normal(dims(&[n, n]), dtype, 1), normal(dims(&[n]), dtype, 2), normal(dims(&[n]), dtype, 3)];
            let what = format!("link {dtype:?} {batch:?} {n}");
            compare(&what, &inputs, &gpu, tolerance(dtype), &|t| t[0].link(&t[1], &t[2]).unwrap());
            let last = inputs[0].rank() - 1;
            compare(&format!("strided {what}"), &inputs, &gpu, tolerance(dtype), &|t| {
                t[0].transpose(last - 1, last).unwrap().link(&t[1], &t[2]).unwrap()
            });
        }
        // Views that begin at the second element.
        let inputs = [normal(2 * 49 + 1, dtype, 1), normal(15, dtype, 2), normal(15, dtype, 3)];
        compare("link of unaligned views", &inputs, &gpu, tolerance(dtype), &|t| {
            let of = |i: usize, dims: &[usize]| {
                t[i].narrow(0, 1, dims.iter().product()).unwrap().reshape(dims).unwrap()
            };
            of(0, &[2, 7, 7]).link(&of(1, &[2, 7]), &of(2, &[2, 7])).unwrap()
        });
        for (batch, n) in [(0, 4), (2, 0)] {
            let zeros = |dims: &[usize]| Tensor::zeros(dims, dtype, &gpu).unwrap();
            let row = zeros(&[batch, n]);
            assert_eq!(zeros(&[batch, n, n]).link(&row, &row).unwrap().dims(), [batch, n, n]);
        }
    }
}

/// Every option, each at least once both ways.
fn kinds(width: usize, heads: usize) -> Vec<MemoryAccess> {
    let paper = MemoryAccess { width, heads, ..MemoryAccess::default() };
    let deepmind = MemoryAccess {
        strength: Strength::Softplus,
        modes: ModeOrder::BackwardForwardContent,
        stop_usage_gradient: true,
        tanh: true,
        ..paper
    };
    vec![
        paper,
        deepmind,
        MemoryAccess { link: false, ..paper },
        MemoryAccess { allocation: false, ..paper },
        MemoryAccess { allocation: false, link: false, tanh: true, ..paper },
    ]
}

/// A memory whose contents differ. Slots that are alike would be in use alike but for rounding, which decides which of them is the
/// first that is free: another one on a GPU.
fn begin(access: &MemoryAccess, slots: usize, batch: usize, dtype: DType, device: &Device) -> MemoryState {
    let contents = normal((batch, slots, access.width), dtype, 9).to_device(device).unwrap();
    MemoryState::new(access, slots, batch, dtype, device).unwrap().with_contents(&contents).unwrap()
}

/// All that is read in steps with these interfaces, side by side, and the state after them.
fn steps(access: &MemoryAccess, slots: usize, interfaces: &[Tensor]) -> (Tensor, MemoryState) {
    let first = &interfaces[0];
    let mut state = begin(access, slots, first.dims()[0], first.dtype(), first.device());
    let mut all = Vec::new();
    for interface in interfaces {
        let (reads, after) = access.step(interface, &state).unwrap();
        all.push(reads);
        state = after;
    }
    (Tensor::cat(&all, 1).unwrap(), state)
}

fn parts(state: &MemoryState) -> Vec<(&'static str, Tensor)> {
    let all = [
        ("contents", Some(state.contents().unwrap())),
        ("write weights", Some(state.write_weights().unwrap())),
        ("read weights", Some(state.read_weights().unwrap())),
        ("usage", state.usage().unwrap()),
        ("precedence", state.precedence().unwrap()),
        ("links", state.links().unwrap()),
    ];
    all.into_iter().filter_map(|(name, part)| Some((name, part?))).collect()
}

/// Fails where steps, states or gradients differ by more than rounding.
fn assert_steps(access: &MemoryAccess, slots: usize, batch: usize, count: u64, dtype: DType, gpu: &Device) {
    let what = format!("{dtype:?} {batch} sequences, {slots} slots, {access:?}");
    let tolerance = tolerance(dtype);
    let inputs: Vec<Tensor> =
        (0..count).map(|t| normal((batch, access.interface()), dtype, 20 + t)).collect();
    compare(&what, &inputs, gpu, tolerance, &|t| steps(access, slots, t).0);
    let there: Vec<Tensor> = inputs.iter().map(|t| t.to_device(gpu).unwrap()).collect();
    let (on_gpu, on_cpu) = (steps(access, slots, &there).1, steps(access, slots, &inputs).1);
    for ((name, found), (_, expected)) in parts(&on_gpu).iter().zip(&parts(&on_cpu)) {
        assert_close(&format!("{name}, {what}"), found, expected, tolerance);
    }
}

#[test]
fn memory_access() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for (width, heads) in [(3, 2), (1, 1), (20, 5)] {
            // Numbers have the cosines 1 and −1 but for rounding: in f32 it decides which slot is in use less.
            let width = if dtype == DType::F32 { width.max(2) } else { width };
            for access in kinds(width, heads) {
                for (slots, batch) in [(1, 1), (5, 2), (17, 3)] {
                    assert_steps(&access, slots, batch, 4, dtype, &gpu);
                }
            }
        }
    }
}

/// Sizes at which a block does a phase in another way: more columns than lanes, than warps, more slots than are sorted in shared
/// memory.
#[test]
fn larger_memories() {
    let Some(gpu) = gpu() else { return };
    for dtype in FLOATS {
        for access in kinds(70, 3) {
            assert_steps(&access, 130, 2, 2, dtype, &gpu);
        }
    }
    let access = MemoryAccess { width: 4, heads: 1, ..MemoryAccess::default() };
    assert_steps(&access, 520, 1, 2, DType::F32, &gpu);
    let access = MemoryAccess { link: false, ..access };
    assert_steps(&access, 2050, 2, 2, DType::F64, &gpu);
    assert_steps(&access, 4100, 2, 2, DType::F32, &gpu);
}

/// A state that goes on in two ways gets the gradients of both; and the same graph gives the same bits twice.
#[test]
fn a_state_may_go_on_in_two_ways() {
    let Some(gpu) = gpu() else { return };
    for (dtype, access) in
        FLOATS.into_iter().flat_map(|dtype| kinds(3, 2).into_iter().map(move |a| (dtype, a)))
    {
        let inputs: Vec<Tensor> = (0..4).map(|t| normal((2, access.interface()), dtype, 20 + t)).collect();
        let forked = |t: &[Tensor]| {
            let (_, middle) = steps(&access, 4, &t[..2]);
            let ways = [&t[2], &t[3]].map(|way| access.step(way, &middle).unwrap().0.sqr().unwrap());
            (&ways[0] + &ways[1]).unwrap()
        };
        compare("two ways", &inputs, &gpu, tolerance(dtype), &forked);
        let vars: Vec<Var> =
            inputs.iter().map(|t| Var::from_tensor(&t.to_device(&gpu).unwrap()).unwrap()).collect();
        let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let loss = forked(&tensors).sum_all().unwrap();
        let (first, second) = (loss.backward().unwrap(), loss.backward().unwrap());
        for var in &vars {
            assert_eq!(elements(first.get(var).unwrap()), elements(second.get(var).unwrap()));
        }
    }
}

/// Empty slots, all in use alike: to the last bit, in the first two steps.
#[test]
fn an_empty_memory() {
    let Some(gpu) = gpu() else { return };
    for (dtype, access) in kinds(3, 2).into_iter().flat_map(|access| FLOATS.map(|dtype| (dtype, access))) {
        let inputs: Vec<Tensor> = (0..2).map(|t| normal((2, access.interface()), dtype, 20 + t)).collect();
        compare(&format!("empty {dtype:?} {access:?}"), &inputs, &gpu, tolerance(dtype), &|t| {
            let state = MemoryState::new(&access, 40, 2, dtype, t[0].device()).unwrap();
            let (first, state) = access.step(&t[0], &state).unwrap();
            Tensor::cat(&[first, access.step(&t[1], &state).unwrap().0], 1).unwrap()
        });
    }
}

/// Interfaces so large that gates are shut or open and a softmax has one winner: usages of exactly 0 and 1.
#[test]
fn loud_interfaces() {
    let Some(gpu) = gpu() else { return };
    for access in kinds(3, 2) {
        let loud = |by: f64| -> Vec<Tensor> {
            (0..4).map(|t| (normal((2, access.interface()), DType::F64, 20 + t) * by).unwrap()).collect()
        };
        let there: Vec<Tensor> = loud(50.0).iter().map(|t| t.to_device(&gpu).unwrap()).collect();
        let (found, expected) = (steps(&access, 5, &there), steps(&access, 5, &loud(50.0)));
        assert_close("loud reads", &found.0, &expected.0, 1e-11);
        for ((name, found), (_, expected)) in parts(&found.1).iter().zip(&parts(&expected.1)) {
            assert_close(&format!("loud {name}"), found, expected, 1e-11);
        }
        // There, gradients are what rounding leaves of 0.
        compare("rather loud", &loud(5.0), &gpu, 1e-11, &|t| steps(&access, 5, t).0);
    }
}

/// What is no number is seen in what is read, and ends on a GPU as on the CPU.
#[test]
fn an_interface_that_is_no_number_is_seen() {
    let Some(gpu) = gpu() else { return };
    let access = kinds(3, 2)[0];
    let nan = Tensor::full(f32::NAN, (2, access.interface()), &gpu).unwrap();
    let fine = normal((2, access.interface()), DType::F32, 1).to_device(&gpu).unwrap();
    let (reads, _) = steps(&access, 5, &[fine.clone(), nan, fine]);
    let reads = reads.to_vec2::<f32>().unwrap();
    assert!(reads.iter().all(|row| row[..6].iter().all(|x| x.is_finite())));
    assert!(reads.iter().all(|row| row[6..].iter().all(|x| x.is_nan())));
}

#[test]
fn an_interface_on_another_device_is_refused() {
    let Some(gpu) = gpu() else { return };
    let access = kinds(3, 2)[0];
    let state = begin(&access, 5, 2, DType::F32, &gpu);
    let error = access.step(&normal((2, access.interface()), DType::F32, 1), &state).unwrap_err().to_string();
    assert!(error.contains("Cuda") && error.contains("Cpu"), "{error}");
}
