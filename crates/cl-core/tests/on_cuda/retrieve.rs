//! `retrieve` and `log_partition`, forward and backward, against the CPU.

use candle_core::{DType, Device, Tensor, Var};
use cl_core::TensorOps as _;

use super::{assert_close, elements, gpu, normal};

const ALL: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

/// Of the largest element. f32: three products of TF32 for one. Half precision: both sides have the same operands, which are
/// exact, and both round the result once; on the GPU the weights (or dS) are rounded too, each by half a unit of the last place
/// (2⁻¹¹ or 2⁻⁸ of itself, at most 1), so that a sum of them is off by no more than that of the sum of its terms' sizes: a few
/// units of the largest element with values of both signs.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e-5,
        DType::F64 => 1e-12,
        DType::F16 => 4.0 / 2048.0,
        _ => 4.0 / 256.0,
    }
}

/// Result, L and all gradients of both, of operands of `dtype`, with another factor for each element.
fn compare(what: &str, [q, k, v]: [&Tensor; 3], beta: f64, mask: Option<&Tensor>, gpu: &Device) {
    let dtype = q.dtype();
    let on = |device: &Device| {
        let var = |t: &Tensor| Var::from_tensor(&t.to_device(device).unwrap()).unwrap();
        let (q, k, v) = (var(q), var(k), var(v));
        let mask = mask.map(|mask| mask.to_device(device).unwrap());
        let result = q.retrieve(&k, &v, beta, mask.as_ref()).unwrap();
        let log = q.log_partition(&k, beta, mask.as_ref()).unwrap();
        let mut found = vec![("result", result.clone()), ("log", log.clone())];
        // L is −∞ where nothing is seen: times 0 it would be no number.
        let seen = log.gt(f64::from(f32::MIN)).unwrap();
        let log = seen.where_cond(&log, &log.zeros_like().unwrap()).unwrap();
        for (name, of) in [("result", &result), ("log", &log)] {
            if of.elem_count() == 0 {
                continue;
            }
            let factor = normal(of.shape(), DType::F32, 99).to_dtype(of.dtype()).unwrap();
            let loss = (of * factor.to_device(device).unwrap()).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            for (operand, var) in [("q", &q), ("k", &k), ("v", &v)] {
                if let Some(grad) = grads.get(var) {
                    let name = match (name, operand) {
                        ("result", "q") => "∂result/∂q",
                        ("result", "k") => "∂result/∂k",
                        ("result", _) => "∂result/∂v",
                        (_, "q") => "∂log/∂q",
                        _ => "∂log/∂k",
                    };
                    found.push((name, grad.clone()));
                }
            }
        }
        found
    };
    let (cpu, there) = (on(&Device::Cpu), on(gpu));
    assert_eq!(cpu.len(), there.len(), "{what}");
    for ((name, c), (_, g)) in cpu.iter().zip(&there) {
        // Of queries and keys they are differences, of which little may be left: of one key, nothing.
        if name.ends_with("/∂q") || name.ends_with("/∂k") {
            let least = elements(c).iter().fold(0f64, |most, x| most.max(x.abs()));
            let (floor, tolerance) = (if dtype.size_in_bytes() == 2 { 1.0 } else { 0.1 }, tolerance(dtype));
            if least < floor {
                let off =
                    elements(g).iter().zip(elements(c)).fold(0f64, |most, (g, c)| most.max((g - c).abs()));
                assert!(off <= tolerance * floor, "{what}, {dtype:?}, {name}: off by {off}");
                continue;
            }
        }
        let tolerance =
            if *name == "log" { tolerance(DType::F32).min(tolerance(dtype)) } else { tolerance(dtype) };
        assert_close(&format!("{what}, {dtype:?}, {name}"), g, c, tolerance);
    }
}

fn operands(dtype: DType, batch: &[usize], [n, m, d, v]: [usize; 4], shared: bool) -> [Tensor; 3] {
    let of = |batch: &[usize], rows: usize, columns: usize, seed| {
        normal([batch, &[rows, columns]].concat(), DType::F32, seed).to_dtype(dtype).unwrap()
    };
    let keys = if shared { &[][..] } else { batch };
    [of(batch, n, d, 1), of(keys, m, d, 2), of(keys, m, v, 3)]
}

/// β for scores of about ±1, whatever the width.
fn moderate(d: usize) -> f64 {
    1.0 / (d as f64).sqrt()
}

/// Sizes at and beside those of tiles, warps and fragments; widths that are filled up, and more than there is a fast variant for.
#[test]
fn sizes_of_all_kinds() {
    let Some(gpu) = gpu() else { return };
    for dtype in ALL {
        for [n, m, d, v] in [
            [1, 1, 1, 1],
            [15, 17, 3, 8],
            [17, 63, 8, 3],
            [63, 65, 33, 1],
            [65, 129, 64, 64],
            [129, 15, 80, 33],
            [1, 1000, 64, 128],
            [16, 300, 128, 80],
            [70, 100, 128, 128],
            [5, 40, 200, 16],
            [3, 40, 300, 260],
        ] {
            let [q, k, values] = operands(dtype, &[], [n, m, d, v], false);
            compare(&format!("{n} {m} {d} {v}"), [&q, &k, &values], moderate(d), None, &gpu);
        }
    }
}

/// Keys of each batch, of all, and only keys or only values of all.
#[test]
fn batches_and_what_they_share() {
    let Some(gpu) = gpu() else { return };
    for dtype in ALL {
        let [q, k, v] = operands(dtype, &[2, 3], [5, 37, 8, 4], false);
        compare("of each batch", [&q, &k, &v], 0.4, None, &gpu);
        let [_, all_k, all_v] = operands(dtype, &[2, 3], [5, 37, 8, 4], true);
        compare("shared", [&q, &all_k, &all_v], 0.4, None, &gpu);
        compare("shared keys", [&q, &all_k, &v], 0.4, None, &gpu);
        compare("shared values", [&q, &k, &all_v], -0.4, None, &gpu);
    }
}

/// Every shape of mask, and queries that see nothing.
#[test]
fn masks_hide_and_shift() {
    let Some(gpu) = gpu() else { return };
    let (n, m) = (19, 70);
    for dtype in ALL {
        for shared in [false, true] {
            let [q, k, v] = operands(dtype, &[2], [n, m, 16, 5], shared);
            for rows in [&[][..], &[n], &[1], &[2, 1], &[2, n], &[1, n]] {
                let total: usize = rows.iter().product();
                // The last row sees nothing, others two keys of three.
                let hides = |i: usize| i % 3 == 1 || (i / m == total - 1 && total > 1);
                let mask: Vec<f32> = (0..total * m)
                    .map(|i| if hides(i) { f32::NEG_INFINITY } else { 0.125 * (i % 7) as f32 })
                    .collect();
                let mask = Tensor::from_vec(mask, [rows, &[m]].concat(), &Device::Cpu).unwrap();
                let mask = mask.to_dtype(dtype).unwrap();
                compare(&format!("mask {rows:?}"), [&q, &k, &v], 0.25, Some(&mask), &gpu);
            }
        }
    }
}

/// No temperature, a negative one, and one at which only the nearest key is left.
#[test]
fn temperatures() {
    let Some(gpu) = gpu() else { return };
    for dtype in ALL {
        let [q, k, v] = operands(dtype, &[], [20, 90, 16, 16], false);
        for beta in [0.0, -0.25, 1.0] {
            compare(&format!("β {beta}"), [&q, &k, &v], beta, None, &gpu);
        }
        let v_there = v.to_device(&gpu).unwrap();
        // Each key is its own nearest by far: 64·16.
        let signs: Vec<f32> =
            (0..90 * 16).map(|i| if (i / 16) >> (i % 16 % 7) & 1 == 1 { 8.0 } else { -8.0 }).collect();
        let k = Tensor::from_vec(signs, (90, 16), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let k = k.to_device(&gpu).unwrap();
        assert_close("saturated", &k.retrieve(&k, &v_there, 8.0, None).unwrap(), &v, 1e-6);
    }
}

/// Scores of ±3·10⁴ neither overflow nor vanish, in whatever tile the largest is.
#[test]
fn the_largest_score_may_come_late_and_be_huge() {
    let Some(gpu) = gpu() else { return };
    let m = 300;
    for dtype in ALL {
        for at in [0, 63, 64, 299] {
            let k: Vec<f32> = (0..m).map(|j| if j == at { 3e4 } else { -3e4 + j as f32 }).collect();
            let k = Tensor::from_vec(k, (m, 1), &gpu).unwrap().to_dtype(dtype).unwrap();
            let v: Vec<f32> = (0..m).map(|j| (j % 256) as f32).collect();
            let v = Tensor::from_vec(v, (m, 1), &gpu).unwrap().to_dtype(dtype).unwrap();
            let q = Tensor::ones((1, 1), dtype, &gpu).unwrap();
            let found = elements(&q.retrieve(&k, &v, 1.0, None).unwrap())[0];
            assert!((found - (at % 256) as f64).abs() <= 1e-4, "{dtype:?}: {found}");
            let (log, score) = (elements(&q.log_partition(&k, 1.0, None).unwrap())[0], elements(&k)[at]);
            assert!((log - score).abs() <= 1e-5 * score, "{dtype:?}: {log}");
        }
    }
}

/// Views that begin at element 1, where no wide read is aligned.
#[test]
fn views_that_begin_anywhere() {
    let Some(gpu) = gpu() else { return };
    for dtype in ALL {
        let view = |rows: usize, columns: usize, seed| {
            let all = normal(rows * columns + 1, DType::F32, seed).to_dtype(dtype).unwrap();
            let there = all.to_device(&gpu).unwrap();
            let of = |t: Tensor| t.narrow(0, 1, rows * columns).unwrap().reshape((rows, columns)).unwrap();
            (of(all), of(there))
        };
        let ((q, q_there), (k, k_there), (v, v_there)) = (view(17, 16, 1), view(70, 16, 2), view(70, 8, 3));
        let found = q_there.retrieve(&k_there, &v_there, 0.25, None).unwrap();
        assert_close(
            &format!("{dtype:?}"),
            &found,
            &q.retrieve(&k, &v, 0.25, None).unwrap(),
            tolerance(dtype),
        );
    }
}

/// Gradients that are not asked for are left out, whichever they are, and change nothing of the others.
#[test]
fn only_what_is_needed() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::BF16] {
        let given = operands(dtype, &[], [20, 40, 16, 24], false).map(|t| t.to_device(&gpu).unwrap());
        let vars = given.clone().map(|t| Var::from_tensor(&t).unwrap());
        let loss = |[q, k, v]: [&Tensor; 3]| {
            q.retrieve(k, v, 0.25, None).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap()
        };
        let whole = loss([&vars[0], &vars[1], &vars[2]]);
        for which in 0..3 {
            let mut some = [&given[0], &given[1], &given[2]];
            some[which] = &vars[which];
            let one = loss(some);
            let (one, all) = (one.get(&vars[which]).unwrap(), whole.get(&vars[which]).unwrap());
            assert_close(&format!("{dtype:?}, operand {which}"), one, all, tolerance(dtype));
        }
    }
}

/// What is no number is seen in the result; nothing gives nothing.
#[test]
fn no_numbers_and_nothing() {
    let Some(gpu) = gpu() else { return };
    for dtype in ALL {
        let tensor = |x: &[f32]| Tensor::new(x, &gpu).unwrap().to_dtype(dtype).unwrap().unsqueeze(1).unwrap();
        let (q, k) = (tensor(&[1.0, f32::NAN]), tensor(&[1.0, 2.0]));
        let found = elements(&q.retrieve(&k, &k, 1.0, None).unwrap());
        assert!(found[0].is_finite() && found[1].is_nan(), "{dtype:?} {found:?}");
        let k = tensor(&[f32::NAN, 2.0]);
        assert!(elements(&q.retrieve(&k, &k, 1.0, None).unwrap())[0].is_nan(), "{dtype:?}");
        let none = Tensor::zeros((2, 0, 3), dtype, &gpu).unwrap();
        let k = Tensor::zeros((4, 3), dtype, &gpu).unwrap();
        assert_eq!(none.retrieve(&k, &k, 1.0, None).unwrap().dims(), [2, 0, 3]);
    }
}

/// Both in one pass are the same as each by itself, with gradients of both.
#[test]
fn both_in_one_pass() {
    let Some(gpu) = gpu() else { return };
    for dtype in ALL {
        let [q, k, v] = operands(dtype, &[], [20, 70, 16, 8], false).map(|t| t.to_device(&gpu).unwrap());
        let q = Var::from_tensor(&q).unwrap();
        let sum = |t: &Tensor| t.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap();
        let (result, log) = q.retrieve_with_log_partition(&k, &v, 0.25, None).unwrap();
        let found = (sum(&result) + sum(&log)).unwrap().backward().unwrap();
        let (alone, log_alone) =
            (q.retrieve(&k, &v, 0.25, None).unwrap(), q.log_partition(&k, 0.25, None).unwrap());
        let expected = (sum(&alone) + sum(&log_alone)).unwrap().backward().unwrap();
        assert_eq!(elements(&result), elements(&alone));
        assert_close(&format!("{dtype:?}"), &log, &log_alone, 1e-6);
        assert_close(
            &format!("{dtype:?}"),
            found.get(&q).unwrap(),
            expected.get(&q).unwrap(),
            tolerance(dtype),
        );
    }
}
