//! A-GEM against equation 11 in plain candle, and what follows from it.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use cl_core::{Error, Params, Result};
use cl_project::{AGem, Projection};
use proptest::prelude::*;

/// Shapes of three parameters, one of them empty of neighbours, one a matrix, one a scalar.
const SHAPES: [&[usize]; 3] = [&[3, 5], &[7], &[]];
const N: usize = 15 + 7 + 1;

/// One vector cut into tensors of [`SHAPES`].
fn cut(flat: &[f64], dtype: DType) -> Vec<Tensor> {
    let mut rest = flat;
    SHAPES
        .iter()
        .map(|&shape| {
            let (head, tail) = rest.split_at(shape.iter().product());
            rest = tail;
            Tensor::from_slice(head, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        })
        .collect()
}

fn flat(tensors: &[Tensor]) -> Vec<f64> {
    let vector = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    tensors.iter().flat_map(vector).collect::<Vec<f64>>()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Parameters, and a store in which their gradients are `gradients`, by way of a loss that is linear.
fn store(gradients: &[Tensor]) -> (Params, GradStore) {
    let mut params = Params::new();
    let mut loss = Tensor::zeros((), gradients[0].dtype(), &Device::Cpu).unwrap();
    for (i, g) in gradients.iter().enumerate() {
        let var = Var::zeros(g.dims(), g.dtype(), &Device::Cpu).unwrap();
        loss = (loss + (var.as_tensor() * g).unwrap().sum_all().unwrap()).unwrap();
        params.push(format!("p{i}"), var).unwrap();
    }
    (params, loss.backward().unwrap())
}

/// The gradient after A-GEM, and what it found.
fn projected(agem: AGem, g: &[f64], r: &[f64], dtype: DType) -> (Vec<f64>, Projection) {
    let (params, mut grads) = store(&cut(g, dtype));
    let found = agem.project(&mut grads, &params, &cut(r, dtype)).unwrap();
    (flat(&params.gradients(&grads).unwrap()), found)
}

/// Equation 11 by candle's own operations, in f64.
fn project_plain(g: &[f64], r: &[f64], eps: f64) -> Result<Vec<f64>> {
    let (g, r) = (Tensor::new(g, &Device::Cpu)?, Tensor::new(r, &Device::Cpu)?);
    let dot = (&g * &r)?.sum_all()?.to_scalar::<f64>()?;
    if dot >= 0.0 {
        return Ok(g.to_vec1()?);
    }
    let factor = dot / (r.sqr()?.sum_all()?.to_scalar::<f64>()? + eps);
    Ok((g - (r * factor)?)?.to_vec1()?)
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn vector() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-10.0..10.0f64, N)
}

proptest! {
    #[test]
    fn is_equation_11(g in vector(), r in vector(), eps in prop::sample::select(vec![0.0, 1e-7, 1.0])) {
        let (ours, found) = projected(AGem { eps }, &g, &r, DType::F64);
        let plain = project_plain(&g, &r, eps).unwrap();
        prop_assert!(close(&ours, &plain, 1e-10), "{ours:?} {plain:?}");
        prop_assert!((found.dot - dot(&g, &r)).abs() < 1e-9);
        prop_assert_eq!(found.conflict, found.dot < 0.0);

        let single = |v: &[f64]| v.iter().map(|&v| f64::from(v as f32)).collect::<Vec<_>>();
        let (g, r) = (single(&g), single(&r));
        prop_assume!(dot(&g, &r).abs() > 1e-3);
        let (ours, _) = projected(AGem { eps }, &g, &r, DType::F32);
        prop_assert!(close(&ours, &project_plain(&g, &r, eps).unwrap(), 1e-4));
    }

    /// Either orthogonal to the reference, or bit for bit what it was; never against it.
    #[test]
    fn agrees_with_the_reference_afterwards(g in vector(), r in vector()) {
        let (after, found) = projected(AGem { eps: 0.0 }, &g, &r, DType::F64);
        if found.conflict {
            prop_assert!(dot(&after, &r).abs() <= 1e-12 * norm(&g) * norm(&r));
            prop_assert!(norm(&after) <= norm(&g));
        } else {
            prop_assert_eq!(&after, &g);
        }
        prop_assert!(dot(&after, &r) >= -1e-12 * norm(&g) * norm(&r));
    }

    /// A second projection moves the gradient by no more than rounding.
    #[test]
    fn is_idempotent(g in vector(), r in vector()) {
        let (once, _) = projected(AGem::default(), &g, &r, DType::F64);
        let (twice, _) = projected(AGem::default(), &once, &r, DType::F64);
        prop_assert!(close(&once, &twice, 1e-7));
    }

    /// The length of the reference does not matter, that of the gradient carries over.
    #[test]
    fn scales_as_it_should(g in vector(), r in vector(), exponent in -8..8i32) {
        let scale = 2f64.powi(exponent);
        let times = |v: &[f64]| v.iter().map(|v| v * scale).collect::<Vec<_>>();
        let agem = AGem { eps: 0.0 };
        let (plain, _) = projected(agem, &g, &r, DType::F64);
        prop_assert!(close(&projected(agem, &g, &times(&r), DType::F64).0, &plain, 1e-12));
        prop_assert!(close(&projected(agem, &times(&g), &r, DType::F64).0, &times(&plain), 1e-12 * scale));
    }

    /// Of all gradients that do not conflict, it is the nearest: what the paper derives equation 11 from.
    #[test]
    fn is_the_nearest_without_conflict(g in vector(), r in vector(), other in vector()) {
        prop_assume!(dot(&other, &r) >= 0.0);
        let (after, _) = projected(AGem { eps: 0.0 }, &g, &r, DType::F64);
        let distance = |v: &[f64]| norm(&v.iter().zip(&g).map(|(v, g)| v - g).collect::<Vec<_>>());
        prop_assert!(distance(&after) <= distance(&other) + 1e-9);
    }
}

#[test]
fn epsilon_stands_beside_the_squared_reference() {
    let (g, r) = ([-1.0; N], [1.0; N]);
    let (after, found) = projected(AGem { eps: N as f64 }, &g, &r, DType::F64);
    assert!(close(&after, &[-0.5; N], 1e-12), "{after:?}");
    assert_eq!((found.dot, found.reference_sq, found.conflict), (-(N as f64), N as f64, true));
    assert_eq!(AGem::default().eps, 1e-7);
}

#[test]
fn a_reference_of_zeros_changes_nothing() {
    let g: Vec<f64> = (0..N).map(|i| i as f64 - 9.0).collect();
    for eps in [0.0, 1e-7] {
        let (after, found) = projected(AGem { eps }, &g, &[0.0; N], DType::F64);
        assert_eq!(after, g);
        assert_eq!((found.dot, found.conflict), (0.0, false));
    }
}

#[test]
fn a_parameter_without_gradient_is_named_unless_frozen() {
    let g = cut(&[-1.0; N], DType::F32);
    let (mut params, mut grads) = store(&g);
    params.push("unused", Var::zeros(2, DType::F32, &Device::Cpu).unwrap()).unwrap();
    let r = [cut(&[1.0; N], DType::F32), vec![Tensor::ones(2, DType::F32, &Device::Cpu).unwrap()]].concat();
    match AGem::default().project(&mut grads, &params, &r) {
        Err(Error::NoGradient { parameters }) => assert_eq!(parameters, ["unused"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(flat(&g), [-1.0; N], "unchanged");

    params.freeze("unused", true).unwrap();
    assert!(AGem::default().project(&mut grads, &params, &r[..3]).unwrap().conflict);
}

/// A frozen parameter takes no part, though the store has its gradient.
#[test]
fn frozen_parameters_are_left_alone() {
    let (mut params, mut grads) = store(&cut(&[-1.0; N], DType::F64));
    params.freeze("p1", true).unwrap();
    let mut r = cut(&[1.0; N], DType::F64);
    r.remove(1);
    let found = AGem::default().project(&mut grads, &params, &r).unwrap();
    assert_eq!(found.dot, -16.0);
    let frozen = grads.get(&params.get("p1").unwrap().var).unwrap();
    assert_eq!(frozen.to_vec1::<f64>().unwrap(), [-1.0; 7]);
}

#[test]
fn a_reference_that_does_not_fit_is_refused() {
    let (params, mut grads) = store(&cut(&[-1.0; N], DType::F32));
    let r = cut(&[1.0; N], DType::F32);
    let other_shape = [r[0].clone(), Tensor::ones(8, DType::F32, &Device::Cpu).unwrap(), r[2].clone()];
    for reference in [&r[..2], &other_shape, &cut(&[1.0; N], DType::F64)] {
        let error = AGem::default().project(&mut grads, &params, reference).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }
    for eps in [-1.0, f64::NAN] {
        let error = AGem { eps }.project(&mut grads, &params, &r).unwrap_err();
        assert!(error.to_string().contains("eps"), "{error}");
    }
    assert_eq!(flat(&params.gradients(&grads).unwrap()), [-1.0; N], "unchanged");
}

/// A view, and one tensor as the gradient of two parameters: each is projected once, and what was taken
/// from the store before stays.
#[test]
fn gradients_that_share_memory() {
    let device = Device::Cpu;
    let matrix = Tensor::new(&[[-1f64, -3.0], [-2.0, -4.0]], &device).unwrap();
    let (params, mut grads) = store(&[matrix.clone(), matrix.clone()]);
    let transposed = matrix.t().unwrap();
    for param in params.iter() {
        grads.insert(&param.var, transposed.clone());
    }
    let ones = Tensor::ones((2, 2), DType::F64, &device).unwrap();
    let found = AGem { eps: 0.0 }.project(&mut grads, &params, &[ones.clone(), ones]).unwrap();
    // gᵀr = −20, rᵀr = 8: 2.5 is added to every entry.
    assert!(found.conflict);
    for gradient in params.gradients(&grads).unwrap() {
        assert_eq!(gradient.to_vec2::<f64>().unwrap(), [[1.5, 0.5], [-0.5, -1.5]]);
    }
    assert_eq!(matrix.to_vec2::<f64>().unwrap(), [[-1.0, -3.0], [-2.0, -4.0]]);
}
