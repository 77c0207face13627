//! `retrieve` against the matrix of queries × keys.
#![allow(clippy::unwrap_used)]

use candle_core::{CustomOp3, D, DType, Device, Tensor, Var};

use super::{Asked, Log, Retrieve, Sizes};
use crate::TensorOps;
use crate::ops::testing::{assert_close, assert_gradients, elements, normal, strided};

const LOWEST: f64 = f64::NEG_INFINITY;

/// The same with the whole matrix: result and log-sum-exp.
fn whole(q: &Tensor, k: &Tensor, v: &Tensor, beta: f64, mask: Option<&Tensor>) -> (Tensor, Tensor) {
    let mut s =
        (q.broadcast_matmul(&k.transpose(D::Minus1, D::Minus2).unwrap().contiguous().unwrap()).unwrap()
            * beta)
            .unwrap();
    if let Some(mask) = mask {
        s = s.broadcast_add(mask).unwrap();
    }
    let top = s.max_keepdim(D::Minus1).unwrap().detach();
    let e = s.broadcast_sub(&top).unwrap().exp().unwrap();
    let sum = e.sum_keepdim(D::Minus1).unwrap();
    let p = e.broadcast_div(&sum).unwrap();
    let log = (top + sum.log().unwrap()).unwrap().squeeze(D::Minus1).unwrap();
    (p.broadcast_matmul(v).unwrap(), log)
}

/// Sizes below, at and above those of the blocks; keys of each batch and shared; with values as wide as they come.
#[test]
fn is_the_softmax_of_the_whole_matrix() {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 2e-5 } else { 1e-12 };
        for (n, m, d, v) in [
            (1, 1, 1, 1),
            (2, 300, 37, 5),
            (1, 257, 64, 64),
            (3, 7, 5, 2),
            (128, 512, 8, 8),
            (129, 513, 4, 3),
            (5, 1100, 16, 20),
        ] {
            for beta in [0.0, 0.3, -1.0, 4.0] {
                let q = normal(&[2, n, d], dtype, 1);
                for shared in [false, true] {
                    let of = |rows: usize, columns: usize, seed| match shared {
                        true => normal(&[rows, columns], dtype, seed),
                        false => normal(&[2, rows, columns], dtype, seed),
                    };
                    let (k, values) = (of(m, d, 2), of(m, v, 3));
                    let (expected, log) = whole(&q, &k, &values, beta, None);
                    assert_close(&q.retrieve(&k, &values, beta, None).unwrap(), &expected, tolerance);
                    assert_close(&q.log_partition(&k, beta, None).unwrap(), &log, tolerance);
                    let q = strided(&q);
                    let found = q.retrieve(&strided(&k), &strided(&values), beta, None).unwrap();
                    assert_close(&found, &expected, tolerance);
                }
            }
        }
    }
    // More dimensions, and fewer.
    let (q, k) = (normal(&[2, 3, 4, 5], DType::F64, 1), normal(&[2, 3, 6, 5], DType::F64, 2));
    assert_close(&q.retrieve(&k, &k, 1.0, None).unwrap(), &whole(&q, &k, &k, 1.0, None).0, 1e-12);
    let (q, k) = (normal(&[4, 5], DType::F64, 1), normal(&[6, 5], DType::F64, 2));
    assert_close(&q.retrieve(&k, &k, 1.0, None).unwrap(), &whole(&q, &k, &k, 1.0, None).0, 1e-12);
}

/// Scores of thousands neither overflow nor vanish, in whatever block the largest is.
#[test]
fn the_largest_score_may_come_late_and_be_huge() {
    for dtype in [DType::F32, DType::F64] {
        let m = 1500;
        for at in [0, 511, 512, 1499] {
            let k: Vec<f64> = (0..m).map(|j| if j == at { 3e4 } else { -3e4 + j as f64 }).collect();
            let k = Tensor::from_vec(k, (m, 1), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let values = Tensor::arange(0u32, m as u32, &Device::Cpu).unwrap();
            let values = values.to_dtype(dtype).unwrap().unsqueeze(1).unwrap();
            let q = Tensor::ones((1, 1), dtype, &Device::Cpu).unwrap();
            assert_eq!(elements(&q.retrieve(&k, &values, 1.0, None).unwrap()), [at as f64]);
            assert_eq!(elements(&q.log_partition(&k, 1.0, None).unwrap()), [3e4]);
        }
    }
}

fn masks(n: usize, m: usize, dtype: DType) -> Vec<Tensor> {
    let hidden = |rows: &[usize]| {
        let total: usize = rows.iter().product();
        let mask: Vec<f64> =
            (0..total * m).map(|i| if i % 3 == 1 { LOWEST } else { 0.1 * (i % 7) as f64 }).collect();
        let dims = [rows, &[m]].concat();
        Tensor::from_vec(mask, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    vec![hidden(&[]), hidden(&[n]), hidden(&[1]), hidden(&[2, 1]), hidden(&[2, n]), hidden(&[1, n])]
}

#[test]
fn masks_hide_and_shift() {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 2e-5 } else { 1e-12 };
        for (n, m) in [(3, 8), (130, 700)] {
            let (q, k, v) =
                (normal(&[2, n, 4], dtype, 1), normal(&[2, m, 4], dtype, 2), normal(&[2, m, 3], dtype, 3));
            for mask in masks(n, m, dtype) {
                let (expected, log) = whole(&q, &k, &v, 0.7, Some(&mask));
                assert_close(&q.retrieve(&k, &v, 0.7, Some(&mask)).unwrap(), &expected, tolerance);
                assert_close(&q.log_partition(&k, 0.7, Some(&mask)).unwrap(), &log, tolerance);
            }
        }
    }
}

/// A query that sees no key: zeros, in the first block, in the last, and in all; and a gradient of zeros.
#[test]
fn who_sees_nothing_gets_nothing() {
    let (n, m) = (3, 1030);
    let (q, k) = (normal(&[n, 2], DType::F64, 1), normal(&[m, 2], DType::F64, 2));
    let seen = [0..512, 1024..1030, 0..0];
    let mask: Vec<f64> = seen
        .iter()
        .flat_map(|seen| (0..m).map(move |j| if seen.contains(&j) { 0.0 } else { LOWEST }))
        .collect();
    let mask = Tensor::from_vec(mask, (n, m), &Device::Cpu).unwrap();
    let found = q.retrieve(&k, &k, 1.0, Some(&mask)).unwrap();
    for (i, seen) in seen.iter().take(2).enumerate() {
        let row = |t: &Tensor, from, len| t.narrow(0, from, len).unwrap();
        let some = row(&k, seen.start, seen.len());
        assert_close(&row(&found, i, 1), &whole(&row(&q, i, 1), &some, &some, 1.0, None).0, 1e-12);
    }
    assert_eq!(elements(&found)[4..], [0.0, 0.0]);
    assert_eq!(elements(&q.log_partition(&k, 1.0, Some(&mask)).unwrap())[2], LOWEST);
    let grads = found.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = elements(grads.get(&q).unwrap());
    assert_eq!(gradient[4..], [0.0, 0.0]);
    assert!(gradient.iter().chain(&elements(grads.get(&k).unwrap())).all(|g| g.is_finite()));
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for shared in [false, true] {
        let dims = |rows: usize, columns: usize| match shared {
            true => vec![rows, columns],
            false => vec![2, rows, columns],
        };
        let q = normal(&[2, 3, 4], DType::F64, 1);
        let (k, v) = (normal(&dims(5, 4), DType::F64, 2), normal(&dims(5, 2), DType::F64, 3));
        let weight = normal(&[2, 3, 2], DType::F64, 4);
        for mask in [None].into_iter().chain(masks(3, 5, DType::F64).into_iter().map(Some)) {
            assert_gradients(&[&q, &k, &v], || {
                let found = q.retrieve(&k, &v, 0.8, mask.as_ref()).unwrap();
                let log = q.log_partition(&k, 0.8, mask.as_ref()).unwrap();
                ((found * weight.as_tensor()).unwrap().sum_all().unwrap()
                    + log.sqr().unwrap().sum_all().unwrap())
                .unwrap()
            });
        }
    }
}

/// The gradients that can be differentiated again are the same, in the result and in L, where nothing is seen too.
#[test]
fn differentiable_gradients_are_those_of_the_loops() {
    for shared in [false, true] {
        let batches = if shared { 1 } else { 2 };
        let q = normal(&[2, 3, 4], DType::F64, 1);
        let (k, v) = (normal(&[batches, 5, 4], DType::F64, 2), normal(&[batches, 5, 2], DType::F64, 3));
        let grads = [normal(&[2, 3, 2], DType::F64, 4), normal(&[2, 3], DType::F64, 5)];
        let mut hidden = vec![0.0; 2 * 3 * 5];
        hidden[5..10].fill(LOWEST);
        hidden[11] = LOWEST;
        let hidden = Tensor::from_vec(hidden, (2, 3, 5), &Device::Cpu).unwrap();
        for mask in [None, Some(hidden)] {
            for (asked, grad) in [Asked::Result, Asked::Log].into_iter().zip(&grads) {
                let v = if asked == Asked::Log { v.narrow(2, 0, 0).unwrap() } else { v.as_tensor().clone() };
                let sizes = Sizes { batch: 2, n: 3, m: 5, d: 4, v: v.dim(2).unwrap() };
                let log = Log::default();
                let op = || Retrieve { sizes, beta: 0.8, mask: mask.clone(), asked, log: log.clone() };
                let result = q.apply_op3(&k, &v.contiguous().unwrap(), op()).unwrap();
                let found = op().differentiable(&q, &k, &v, grad).unwrap();
                let expected = op().bwd(&q, &k, &v, &result, grad).unwrap();
                for (found, expected) in [(found.0, expected.0), (found.1, expected.1), (found.2, expected.2)]
                {
                    assert_close(&found.unwrap(), &expected.unwrap(), 1e-12);
                }
            }
        }
    }
}

/// Blocks that do not fill, and operands that need no gradient, against the whole matrix.
#[test]
fn gradients_of_many_blocks_are_those_of_the_whole_matrix() {
    for shared in [false, true] {
        let (n, m) = (260, 1030);
        let of = |columns: usize, seed| match shared {
            true => normal(&[m, columns], DType::F64, seed),
            false => normal(&[2, m, columns], DType::F64, seed),
        };
        let q = normal(&[2, n, 3], DType::F64, 1);
        let (k, v) = (of(3, 2), of(4, 3));
        let loss = |found: Tensor| found.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let expected = loss(whole(&q, &k, &v, 0.5, None).0);
        let found = loss(q.retrieve(&k, &v, 0.5, None).unwrap());
        for var in [&q, &k, &v] {
            assert_close(found.get(var).unwrap(), expected.get(var).unwrap(), 1e-11);
        }
        for needed in 0..3 {
            let mut given: Vec<Tensor> = [&q, &k, &v].iter().map(|var| var.as_detached_tensor()).collect();
            let vars: [&Var; 3] = [&q, &k, &v];
            given[needed] = vars[needed].as_tensor().clone();
            let found = loss(given[0].retrieve(&given[1], &given[2], 0.5, None).unwrap());
            assert_close(found.get(vars[needed]).unwrap(), expected.get(vars[needed]).unwrap(), 1e-11);
        }
    }
}

/// Both in one pass are what each is by itself, gradients too.
#[test]
fn both_in_one_pass() {
    let q = normal(&[2, 3, 4], DType::F64, 1);
    let (k, v) = (normal(&[5, 4], DType::F64, 2), normal(&[5, 2], DType::F64, 3));
    assert_gradients(&[&q, &k, &v], || {
        let (found, log) = q.retrieve_with_log_partition(&k, &v, 0.8, None).unwrap();
        (found.sqr().unwrap().sum_all().unwrap() + log.sqr().unwrap().sum_all().unwrap()).unwrap()
    });
    let (found, log) = q.retrieve_with_log_partition(&k, &v, 0.8, None).unwrap();
    assert_eq!(elements(&found), elements(&q.retrieve(&k, &v, 0.8, None).unwrap()));
    assert_eq!(elements(&log), elements(&q.log_partition(&k, 0.8, None).unwrap()));
}

/// Half precision is f32 from what it holds, rounded once; L stays f32; the gradients are half.
#[test]
fn half_precision_is_computed_in_f32() {
    for dtype in [DType::F16, DType::BF16] {
        let half = |dims: &[usize], seed| normal(dims, DType::F32, seed).to_dtype(dtype).unwrap();
        let (q, k, v) = (half(&[3, 4], 1), half(&[50, 4], 2), half(&[50, 2], 3));
        let wide = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let found = q.retrieve(&k, &v, 0.8, None).unwrap();
        let expected = wide(&q).retrieve(&wide(&k), &wide(&v), 0.8, None).unwrap().to_dtype(dtype).unwrap();
        assert_eq!(found.dtype(), dtype);
        assert_eq!(elements(&found), elements(&expected));
        let log = q.log_partition(&k, 0.8, None).unwrap();
        assert_eq!(log.dtype(), DType::F32);
        assert_eq!(elements(&log), elements(&wide(&q).log_partition(&wide(&k), 0.8, None).unwrap()));
        let q = Var::from_tensor(&q).unwrap();
        let grads = q.retrieve(&k, &v, 0.8, None).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&q).unwrap().dtype(), dtype);
    }
}

/// What is no number is seen in the result, not hidden by a comparison.
#[test]
fn what_is_no_number_shows() {
    let q = Tensor::new(&[[1f32], [f32::NAN]], &Device::Cpu).unwrap();
    let k = Tensor::new(&[[1f32], [2.0]], &Device::Cpu).unwrap();
    let found = elements(&q.retrieve(&k, &k, 1.0, None).unwrap());
    assert!(found[0].is_finite() && found[1].is_nan(), "{found:?}");
    let k = Tensor::new(&[[f32::NAN], [2.0]], &Device::Cpu).unwrap();
    let one = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
    assert!(elements(&one.retrieve(&k, &k, 1.0, None).unwrap())[0].is_nan());
}

#[test]
fn what_does_not_fit_is_refused() {
    let t = |dims: &[usize]| normal(dims, DType::F32, 0).as_tensor().clone();
    let refused = |q: Tensor, k: Tensor, v: Tensor, beta: f64, mask: Option<Tensor>, says: &str| {
        let error = q.retrieve(&k, &v, beta, mask.as_ref()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(t(&[3]), t(&[4, 2]), t(&[4, 2]), 1.0, None, "queries (.., n, d)");
    refused(t(&[3, 2]), t(&[4, 3]), t(&[4, 2]), 1.0, None, "keys");
    refused(t(&[3, 2]), t(&[5, 4, 2]), t(&[4, 2]), 1.0, None, "keys");
    refused(t(&[3, 2]), t(&[4, 2]), t(&[5, 2]), 1.0, None, "values");
    refused(t(&[3, 2]), t(&[4, 2]), t(&[4, 2]).to_dtype(DType::F64).unwrap(), 1.0, None, "values");
    refused(t(&[3, 2]), t(&[0, 2]), t(&[0, 2]), 1.0, None, "no keys");
    refused(t(&[3, 2]), t(&[4, 2]), t(&[4, 2]), f64::NAN, None, "beta");
    for mask in [&[3][..], &[2, 4], &[1, 3, 4], &[3, 5]] {
        refused(t(&[3, 2]), t(&[4, 2]), t(&[4, 2]), 1.0, Some(t(mask)), "a mask");
    }
    // No queries are no error.
    assert_eq!(t(&[0, 2]).retrieve(&t(&[4, 2]), &t(&[4, 3]), 1.0, None).unwrap().dims(), [0, 3]);
    assert_eq!(t(&[2, 0, 2]).retrieve(&t(&[4, 2]), &t(&[4, 3]), 1.0, None).unwrap().dims(), [2, 0, 3]);
}
