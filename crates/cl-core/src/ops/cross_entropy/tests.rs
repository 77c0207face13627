#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use crate::ops::testing::{
    HALVES, assert_close, assert_gradients, assert_rounded, elements, normal, strided,
};
use crate::{TensorOps, Units};

/// From the definition, with loops.
fn plain(z: &Tensor, y: &[u32], units: Units, w: Option<&[f64]>) -> f64 {
    let outputs = z.dims()[1];
    let mut total = 0.0;
    for (i, (row, &y)) in elements(z).chunks(outputs).zip(y).enumerate() {
        let sum: f64 = units.range(y as usize, outputs).map(|u| row[u].exp()).sum();
        total += w.map_or(1.0 / y_len(z), |w| w[i]) * (sum.ln() - row[y as usize]);
    }
    total
}

fn y_len(z: &Tensor) -> f64 {
    z.dims()[0] as f64
}

fn targets(y: &[u32]) -> Tensor {
    Tensor::new(y, &Device::Cpu).unwrap()
}

const CASES: [(Units, [u32; 4]); 4] = [
    (Units::All, [0, 5, 3, 3]),
    (Units::First(4), [0, 3, 1, 2]),
    (Units::Block(2), [0, 5, 3, 2]),
    (Units::Block(3), [0, 5, 3, 2]),
];

#[test]
fn equals_the_definition() {
    for (units, y) in CASES {
        let z = normal(&[4, 6], DType::F64, 1);
        let w = [0.5, 0.0, 2.0, 0.1];
        let weights = Tensor::new(&w, &Device::Cpu).unwrap();
        let mean = z.cross_entropy(&targets(&y), units, None).unwrap().to_scalar::<f64>().unwrap();
        let sum = z.cross_entropy(&targets(&y), units, Some(&weights)).unwrap().to_scalar::<f64>().unwrap();
        assert!((mean - plain(&z, &y, units, None)).abs() < 1e-12, "{units:?}");
        assert!((sum - plain(&z, &y, units, Some(&w))).abs() < 1e-12, "{units:?}");
    }
}

#[test]
fn gradients() {
    let weights = Tensor::new(&[0.5, 0.0, 2.0, 0.1], &Device::Cpu).unwrap();
    for (units, y) in CASES {
        let z = normal(&[4, 6], DType::F64, 1);
        assert_gradients(&[&z], || z.cross_entropy(&targets(&y), units, None).unwrap());
        assert_gradients(&[&z], || z.cross_entropy(&targets(&y), units, Some(&weights)).unwrap());
        // The incoming gradient is not always 1.
        assert_gradients(&[&z], || (z.cross_entropy(&targets(&y), units, None).unwrap() * -3.5).unwrap());
    }
}

#[test]
fn inactive_units_get_exactly_no_gradient() {
    let z = normal(&[4, 6], DType::F32, 1);
    let loss = z.cross_entropy(&targets(&[0, 5, 3, 2]), Units::Block(2), None).unwrap();
    let g = loss.backward().unwrap().get(&z).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(g[0][2..], [0.0; 4]);
    assert_eq!(g[1][..4], [0.0; 4]);
    assert!(g.iter().all(|row| row.iter().sum::<f32>().abs() < 1e-6));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Also against candle-nn's, which knows neither units nor weights.
    #[test]
    fn equals_candle_nn(n in 1usize..9, outputs in 1usize..30, seed: u64) {
        let z = normal(&[n, outputs], DType::F32, seed);
        let y: Vec<u32> = (0..n).map(|i| (seed.wrapping_add(7 * i as u64) % outputs as u64) as u32).collect();
        let ours = z.cross_entropy(&targets(&y), Units::All, None).unwrap();
        let theirs = candle_nn::loss::cross_entropy(&z, &targets(&y)).unwrap();
        assert_close(&ours, &theirs, 1e-5);
        let (ours, theirs) = (ours.backward().unwrap(), theirs.backward().unwrap());
        assert_close(ours.get(&z).unwrap(), theirs.get(&z).unwrap(), 1e-5);
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let z = Var::new(&[[1e4f32, -1e4, 0.0], [-1e4, -1e4, -1e4]], &Device::Cpu).unwrap();
    let loss = z.cross_entropy(&targets(&[1, 2]), Units::All, None).unwrap();
    let value = loss.to_scalar::<f32>().unwrap();
    assert!((value - (2e4 + 3f32.ln()) / 2.0).abs() < 1.0, "{value}");
    assert!(elements(loss.backward().unwrap().get(&z).unwrap()).iter().all(|g| g.is_finite()));
}

#[test]
fn strided_logits() {
    let z = normal(&[4, 6], DType::F64, 1);
    let loss = |z: &Tensor| z.cross_entropy(&targets(&[0, 5, 3, 3]), Units::All, None).unwrap();
    assert_close(&loss(&strided(&z)), &loss(&z), 0.0);
}

/// Of logits in f16 and bf16 the loss is that of the same numbers in f32, to the last bit, and the gradient is rounded once.
#[test]
fn halves_are_computed_in_f32() {
    for ((dtype, _), (units, y)) in HALVES.into_iter().flat_map(|half| CASES.map(|case| (half, case))) {
        let z = (normal(&[4, 6], DType::F32, 1).as_tensor() * 4.0).unwrap().to_dtype(dtype).unwrap();
        let [half, wide] =
            [z.clone(), z.to_dtype(DType::F32).unwrap()].map(|z| Var::from_tensor(&z).unwrap());
        let weights = Tensor::new(&[0.5f32, 0.0, 2.0, 0.1], &Device::Cpu).unwrap();
        for w in [None, Some(&weights)] {
            let [loss, exact] = [&half, &wide].map(|z| z.cross_entropy(&targets(&y), units, w).unwrap());
            assert_eq!(loss.dtype(), DType::F32);
            assert_eq!(loss.to_scalar::<f32>().unwrap(), exact.to_scalar::<f32>().unwrap());
            let grads = (loss * -3.5).unwrap().backward().unwrap();
            let exact = (exact * -3.5).unwrap().backward().unwrap();
            let (found, exact) = (grads.get(&half).unwrap(), exact.get(&wide).unwrap());
            assert_eq!(found.dtype(), dtype);
            assert_rounded(found, exact, 0.0, exact);
            let [found, exact] =
                [&half, &wide].map(|z| z.cross_entropy_gradient(&targets(&y), units, w).unwrap());
            assert_rounded(&found, &exact, 0.0, &exact);
        }
        let wrong = weights.to_dtype(dtype).unwrap();
        let error = half.cross_entropy(&targets(&y), units, Some(&wrong)).unwrap_err().to_string();
        assert!(error.contains("weights F32 [4]"), "{error}");
    }
}

/// What a scale of the loss is for: a probability of 10⁻⁸ is 0 in f16, and is kept where the loss is multiplied by 2¹⁶, though
/// the loss itself is then beyond f16.
#[test]
fn a_scale_keeps_what_f16_would_lose() {
    let z = Var::new(&[[0f32, 18.42]], &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
    let z = Var::from_tensor(&z).unwrap();
    let gradient = |scale: f64| {
        let loss = (z.cross_entropy(&targets(&[0]), Units::All, None).unwrap() * scale).unwrap();
        assert!(loss.to_scalar::<f32>().unwrap().is_finite());
        elements(loss.backward().unwrap().get(&z).unwrap())
    };
    let y = |scale: f64| {
        let loss = (z.cross_entropy(&targets(&[1]), Units::All, None).unwrap() * scale).unwrap();
        elements(loss.backward().unwrap().get(&z).unwrap())[0]
    };
    assert_eq!(y(1.0), 0.0);
    assert!((y(65536.0) / 65536.0 / 1e-8 - 1.0).abs() < 0.01, "{}", y(65536.0) / 65536.0);
    assert_eq!(gradient(32768.0), [-32768.0, 32768.0]);
    assert!(gradient(65536.0).iter().all(|g| g.is_infinite()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let z = normal(&[4, 6], DType::F32, 1);
    let error = |y: &[u32], units| z.cross_entropy(&targets(y), units, None).unwrap_err().to_string();
    assert!(error(&[0, 1, 2], Units::All).contains("targets U32 [4]"));
    assert!(error(&[0, 1, 2, 6], Units::All).contains("target 6 is not an active unit (All of 6 outputs)"));
    assert!(error(&[0, 1, 2, 4], Units::First(4)).contains("target 4"));
    let wrong = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    assert!(z.cross_entropy(&wrong, Units::All, None).is_err());
    assert!(z.cross_entropy(&targets(&[0; 4]), Units::All, Some(&targets(&[1; 4]))).is_err());
    let none = normal(&[0, 6], DType::F32, 1);
    let empty = Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap();
    assert!(none.cross_entropy(&empty, Units::All, None).unwrap_err().to_string().contains("empty"));
}
