#![allow(clippy::unwrap_used)]
use super::*;
use candle_core::Device;
use cl_core::init::Init;

fn config() -> SpikingConfig {
    SpikingConfig { thresholds: vec![6.0, 8.0, 5.0], ..SpikingConfig::default() }
}

/// Weights of 12-9-7-3 units, half of them small enough to move.
fn weights() -> Vec<Var> {
    let mut rng = cl_core::rng(3, "weights");
    [(9, 12), (7, 9), (3, 7)]
        .map(|shape| Init::Uniform(0.02).var(shape, DType::F32, &Device::Cpu, &mut rng).unwrap())
        .into()
}

const RATES: [f32; 12] = [0.0, 0.1, 0.9, 0.5, 0.3, 0.0, 0.7, 1.0, 0.2, 0.4, 0.6, 3.0];
const LARGEST: [f64; 3] = [0.05, 0.02, 0.01];

fn values(weights: &[Var]) -> Vec<Vec<Vec<f32>>> {
    weights.iter().map(|w| w.to_vec2().unwrap()).collect()
}

fn run(weights: &[Var], window: Option<Window>, steps: usize, seed: u64) -> SpikingReport {
    let input = SpikingInput { rates: &RATES, window };
    let sleep = SpikingSleep::new(config()).unwrap();
    let weights: Vec<&Var> = weights.iter().collect();
    sleep.run(&weights, &LARGEST, input, steps, &mut cl_core::rng(seed, "sleep")).unwrap()
}

/// The algorithm as it is written, dense and in f64; what it draws is drawn in the same order.
fn plain(weights: &[Var], window: Option<Window>, steps: usize, seed: u64) -> (Vec<Vec<Vec<f64>>>, Vec<u64>) {
    let SpikingConfig { dt, rate, decay, thresholds, gain, increase, decrease, width } = config();
    let mut w: Vec<Vec<Vec<f64>>> = values(weights)
        .iter()
        .map(|w| w.iter().map(|row| row.iter().map(|&w| f64::from(w)).collect()).collect())
        .collect();
    let mut alpha = Vec::new();
    let mut before = 1.0;
    for (w, a) in w.iter().zip(LARGEST) {
        let f = w.iter().flatten().fold(a, |most, &w| most.max(w)) / before;
        alpha.push(gain / f);
        before = f;
    }
    let mut membranes: Vec<Vec<f64>> = w.iter().map(|w| vec![0.0; w.len()]).collect();
    let mut counts = vec![0; 4];
    let mut rng = cl_core::rng(seed, "sleep");
    let g = |w: f64| 2.0 * (1.0 - 1.0 / (1.0 + (-w / width).exp()));
    for _ in 0..steps {
        let seen: Vec<usize> = match window {
            None => (0..12).collect(),
            Some(Window { image: [channels, rows, columns], side }) => {
                let (top, left) = (rng.random_range(0..=rows - side), rng.random_range(0..=columns - side));
                let within = |from: usize, at: usize| (from..from + side).contains(&at);
                let all = (0..channels * rows * columns)
                    .filter(|at| within(top, at / columns % rows) && within(left, at % columns));
                all.collect()
            }
        };
        let mut spikes = vec![false; 12];
        for unit in seen {
            let p = (2.0 * dt * rate * f64::from(RATES[unit])).min(1.0);
            spikes[unit] = f64::from(rng.random::<f32>()) < p;
        }
        counts[0] += spikes.iter().filter(|&&s| s).count() as u64;
        for l in 0..3 {
            let mut above = Vec::new();
            for (i, v) in membranes[l].iter_mut().enumerate() {
                let sum: f64 = w[l][i].iter().zip(&spikes).filter(|(_, s)| **s).map(|(w, _)| w).sum();
                *v = decay * *v + alpha[l] * sum;
                above.push(*v >= thresholds[l]);
            }
            for (i, _) in above.iter().enumerate().filter(|(_, fired)| **fired) {
                membranes[l][i] = 0.0;
                for (w, &pre) in w[l][i].iter_mut().zip(&spikes) {
                    *w += if pre { increase * g(*w) } else { -decrease * g(*w) };
                }
            }
            counts[l + 1] += above.iter().filter(|&&s| s).count() as u64;
            spikes = above;
        }
    }
    (w, counts)
}

/// With and without a window; few enough steps that f32 and f64 spike at the same time.
#[test]
fn sleep_is_the_algorithm() {
    for window in
        [None, Some(Window { image: [2, 2, 3], side: 2 }), Some(Window { image: [1, 3, 4], side: 3 })]
    {
        let found = weights();
        let (expected, counts) = plain(&found, window, 300, 1);
        let before = values(&found);
        let report = run(&found, window, 300, 1);
        let counted: Vec<u64> = report
            .rates
            .iter()
            .zip([12, 9, 7, 3])
            .map(|(r, n)| (r * f64::from(n * 300)).round() as u64)
            .collect();
        assert_eq!(counted, counts, "{window:?}");
        assert!(counts.iter().all(|&count| count > 10), "{counts:?}");
        for (l, (found, expected)) in values(&found).iter().zip(&expected).enumerate() {
            let (mut change, mut size) = (0.0, 0.0);
            for ((f, e), b) in
                found.iter().flatten().zip(expected.iter().flatten()).zip(before[l].iter().flatten())
            {
                assert!((f64::from(*f) - e).abs() < 2e-5, "{f} {e}");
                change += (e - f64::from(*b)).powi(2);
                size += f64::from(*b).powi(2);
            }
            let moved = (change / size).sqrt();
            assert!((report.moved[l] - moved).abs() < 1e-3 * moved && moved > 0.01, "{moved} {report:?}");
        }
    }
}

#[test]
fn a_seed_is_enough_and_no_steps_change_nothing() {
    let of = |seed, steps| {
        let weights = weights();
        let report = run(&weights, None, steps, seed);
        (values(&weights), report)
    };
    assert_eq!(of(1, 200), of(1, 200));
    assert_ne!(of(1, 200).0, of(2, 200).0);
    let (still, report) = of(1, 0);
    assert_eq!((still, report.moved), (values(&weights()), vec![0.0; 3]));
    assert_eq!(report.rates, [0.0; 4]);
}

/// Against the standard library's in f64, over all that a weight can be.
#[test]
fn g_is_as_exact_as_an_f32() {
    let rule = Rule::of(&SpikingConfig::default());
    for at in -4000..=4000i16 {
        let w = f32::from(at) * 2.3e-5;
        let exact = 2.0 / (1.0 + (f64::from(w) / 0.001).exp());
        let found = f64::from(rule.g(w));
        // The exponent itself is an f32: its last bit is worth as much as it is large.
        let tolerance = 3e-7 + 1e-7 * (f64::from(w) / 0.001).abs();
        assert!((found - exact).abs() <= tolerance * exact + 1e-37, "{w}: {found} {exact}");
    }
    assert_eq!((rule.g(f32::MIN), rule.g(f32::MAX) < 1e-30), (2.0, true));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_changed() {
    for wrong in [
        SpikingConfig { dt: 0.0, ..config() },
        SpikingConfig { rate: f64::NAN, ..config() },
        SpikingConfig { decay: 1.1, ..config() },
        SpikingConfig { thresholds: vec![], ..config() },
        SpikingConfig { thresholds: vec![1.0, -1.0, 1.0], ..config() },
        SpikingConfig { gain: -1.0, ..config() },
        SpikingConfig { increase: -0.1, ..config() },
        SpikingConfig { decrease: f64::INFINITY, ..config() },
        SpikingConfig { width: 0.0, ..config() },
    ] {
        assert!(SpikingSleep::new(wrong.clone()).is_err(), "{wrong:?}");
    }
    let sleep = SpikingSleep::new(config()).unwrap();
    let good = weights();
    let before = values(&good);
    let all: Vec<&Var> = good.iter().collect();
    let refused = |weights: &[&Var], largest: &[f64], rates: &[f32], window: Option<Window>| -> String {
        let input = SpikingInput { rates, window };
        sleep.run(weights, largest, input, 50, &mut cl_core::rng(0, "sleep")).unwrap_err().to_string()
    };
    assert!(refused(&all[..2], &LARGEST[..2], &RATES, None).contains("2 layers"));
    assert!(refused(&all, &LARGEST[..2], &RATES, None).contains("largest"));
    assert!(refused(&all, &[0.1, f64::NAN, 0.1], &RATES, None).contains("layer 1"));
    assert!(refused(&all, &LARGEST, &RATES[..5], None).contains("12 input"));
    let mut rates = RATES;
    rates[4] = -0.5;
    assert!(refused(&all, &LARGEST, &rates, None).contains("-0.5"));
    let window = |image, side| Some(Window { image, side });
    assert!(refused(&all, &LARGEST, &RATES, window([1, 3, 4], 4)).contains("3 × 4"));
    assert!(refused(&all, &LARGEST, &RATES, window([1, 3, 4], 0)).contains("side of 0"));
    assert!(refused(&all, &LARGEST, &RATES, window([1, 3, 3], 2)).contains("12 pixels"));
    assert!(refused(&[all[0], all[2], all[1]], &LARGEST, &RATES, None).contains("(outputs, 9)"));
    let var = |rows: usize, columns: usize, value: f64, dtype: DType| {
        Var::from_tensor(
            &Tensor::full(value, (rows, columns), &Device::Cpu).unwrap().to_dtype(dtype).unwrap(),
        )
        .unwrap()
    };
    let other = var(7, 9, 0.1, DType::F64);
    assert!(refused(&[all[0], &other, all[2]], &LARGEST, &RATES, None).contains("F64"));
    let other = var(7, 9, f64::NAN, DType::F32);
    assert!(refused(&[all[0], &other, all[2]], &LARGEST, &RATES, None).contains("NaN"));
    let other = var(7, 9, -0.1, DType::F32);
    let error = refused(&[all[0], &other, all[2]], &[0.1, 0.0, 0.1], &RATES, None);
    assert!(error.contains("layer 1") && error.contains("above 0"), "{error}");
    assert_eq!(values(&good), before);
}
