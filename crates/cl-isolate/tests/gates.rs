//! The gates of XdG.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_isolate::Gates;

#[test]
fn as_many_as_the_reference_silences() {
    // int(gating_prop * n_units) of Python 3.
    for (fraction, units, silent) in [
        (0.8, 1000, 800),
        (0.9, 400, 360),
        (0.8, 7, 5),
        (0.29, 100, 28),
        (0.7, 10, 7),
        (0.0, 5, 0),
        (0.99, 1, 0),
    ] {
        let gates = Gates::new(fraction, 3).unwrap();
        assert_eq!(gates.silent(units), silent, "{fraction} of {units}");
        let open = gates.open(0, 0, units);
        assert_eq!((open.len(), open.iter().filter(|open| !**open).count()), (units, silent));
    }
}

#[test]
fn follow_from_seed_task_and_layer() {
    let gates = Gates::new(0.5, 1).unwrap();
    let mut seen = std::collections::HashSet::new();
    for (seed, task, layer) in [(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (1, 11, 1), (1, 1, 11), (2, 0, 0)]
    {
        let open = Gates::new(0.5, seed).unwrap().open(task, layer, 64);
        assert_eq!(open, Gates::new(0.5, seed).unwrap().open(task, layer, 64));
        assert!(seen.insert(open), "seed {seed}, task {task}, layer {layer}");
    }
    let text = serde_json::to_string(&gates).unwrap();
    assert_eq!(serde_json::from_str::<Gates>(&text).unwrap(), gates);
}

/// Every unit is silent for 0.8 of the tasks, and every pair for as many as without replacement. Σ z² over 50
/// units is chi-squared with 49 degrees of freedom (times 49/50); a right sampler exceeds 95 with one seed
/// in 10 000.
#[test]
fn silent_units_are_uniform() {
    const UNITS: usize = 50;
    const TASKS: usize = 4000;
    let gates = Gates::new(0.8, 5).unwrap();
    let mut silent = [0.0; UNITS];
    let mut pairs = 0.0;
    for task in 0..TASKS {
        let open = gates.open(task, 1, UNITS);
        silent.iter_mut().zip(&open).for_each(|(n, open)| *n += f64::from(!open));
        pairs += open.windows(2).filter(|pair| !pair[0] && !pair[1]).count() as f64;
    }
    let (n, p) = (TASKS as f64, 0.8);
    let chi: f64 = silent.iter().map(|s| (s - n * p).powi(2) / (n * p * (1.0 - p))).sum();
    assert!(chi < 95.0, "{chi}");
    // Neighbours are no likelier together than others: 40·39 / (50·49) of 49 pairs. One task's count varies
    // by about 2.2, so that the mean of 4000 lies within 0.14 (four standard errors).
    let expected = 49.0 * (40.0 * 39.0) / (50.0 * 49.0);
    assert!((pairs / n - expected).abs() < 0.14, "{} {expected}", pairs / n);
}

#[test]
fn gate_silences_units_channels_and_their_gradients() {
    let gates = Gates::new(0.5, 9).unwrap();
    let open: Vec<f64> = gates.open(2, 1, 6).into_iter().map(f64::from).collect();
    for (dtype, rest) in [(DType::F32, &[][..]), (DType::F64, &[2, 3])] {
        let shape = [&[4, 6], rest].concat();
        let h = Var::from_tensor(
            &Tensor::full(2f32, shape.clone(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap(),
        )
        .unwrap();
        let y = gates.gate(&h, 2, 1).unwrap();
        assert_eq!((y.dims(), y.dtype()), (shape.as_slice(), dtype));
        let gradient = y.sum_all().unwrap().backward().unwrap().remove(&h).unwrap();
        for (t, scale) in [(&y, 2.0), (&gradient, 1.0)] {
            let t = t.to_dtype(DType::F64).unwrap().reshape((4, 6, ())).unwrap().to_vec3::<f64>().unwrap();
            for row in t {
                for (unit, open) in row.iter().zip(&open) {
                    assert!(unit.iter().all(|v| *v == scale * open));
                }
            }
        }
    }
}

#[test]
fn errors() {
    for fraction in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(Gates::new(fraction, 0).unwrap_err().to_string().contains("[0, 1)"));
    }
    assert!(serde_json::from_str::<Gates>(r#"{"fraction": 1.5, "seed": 0}"#).is_err());
    let vector = Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap();
    assert!(
        Gates::new(0.5, 0).unwrap().gate(&vector, 0, 0).unwrap_err().to_string().contains("(n, units, ..)")
    );
}
