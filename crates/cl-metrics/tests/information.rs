//! Bits that are known by hand, what holds for all, and what is refused.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::Units;
use cl_metrics::{Gaussian, InformationMatrix, Laplace, Retention, gaussian_kl, retention, stability};
use proptest::prelude::*;
use rand::Rng as _;
use rand_distr::StandardNormal;

fn logits(rows: &[&[f64]]) -> Tensor {
    let flat: Vec<f64> = rows.concat();
    Tensor::from_vec(flat, (rows.len(), rows[0].len()), &Device::Cpu).unwrap()
}

fn targets(y: &[u32]) -> Tensor {
    Tensor::new(y, &Device::Cpu).unwrap()
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9, "{got} instead of {want}");
}

/// p = 3/4 for three right answers and one wrong: H(D|θ) = (3 log₂(4/3) + log₂ 4) / 4. Labels 3:1.
#[test]
fn the_bits_of_four_samples_by_hand() {
    let z = 3f64.ln();
    let x = logits(&[&[z, 0.0], &[z, 0.0], &[z, 0.0], &[z, 0.0]]);
    let mut known = Retention::new(Units::All);
    known.add(&x, &targets(&[0, 0, 0, 1])).unwrap();
    let cross = (3.0 * (4.0f64 / 3.0).log2() + 2.0) / 4.0;
    near(known.model_entropy().unwrap(), cross);
    near(known.label_entropy().unwrap(), cross);
    // It knows the frequencies and nothing else.
    near(known.bits().unwrap(), 0.0);
    near(retention(&x, &targets(&[0, 0, 0, 0]), Units::All).unwrap(), -(4.0f64 / 3.0).log2());
}

#[test]
fn nothing_known_everything_known_and_less_than_nothing() {
    let y = targets(&[0, 1, 2, 3]);
    let zeros = Tensor::zeros((4, 4), DType::F32, &Device::Cpu).unwrap();
    near(retention(&zeros, &y, Units::All).unwrap(), 0.0);
    let right = (Tensor::eye(4, DType::F32, &Device::Cpu).unwrap() * 1000.0).unwrap();
    near(retention(&right, &y, Units::All).unwrap(), 2.0);
    // Sure and wrong: 1000 nats for each sample.
    let wrong = retention(&right, &targets(&[1, 2, 3, 0]), Units::All).unwrap();
    near(wrong, 2.0 - 1000.0 / 2f64.ln());
}

#[test]
fn inactive_units_do_not_take_part() {
    let x = logits(&[&[0.0, 0.0, 50.0, f64::NAN], &[0.0, 0.0, 50.0, f64::NAN]]);
    near(retention(&x, &targets(&[0, 1]), Units::First(2)).unwrap(), 0.0);
    near(retention(&x, &targets(&[0, 1]), Units::Block(2)).unwrap(), 0.0);
    assert!(retention(&x, &targets(&[0, 1]), Units::All).is_err());
}

/// Two heads: which one is given, so there is one bit to know, not two.
#[test]
fn a_given_task_is_not_counted_as_known() {
    let zeros = Tensor::zeros((4, 4), DType::F32, &Device::Cpu).unwrap();
    let mut heads = Retention::new(Units::Block(2));
    heads.add(&zeros, &targets(&[0, 1, 2, 3])).unwrap();
    near(heads.label_entropy().unwrap(), 1.0);
    near(heads.bits().unwrap(), 0.0);
}

#[test]
fn a_unit_that_is_ruled_out_is_no_unit() {
    let x = logits(&[&[0.0, 0.0, f64::NEG_INFINITY], &[0.0, 0.0, f64::NEG_INFINITY]]);
    near(retention(&x, &targets(&[0, 1]), Units::All).unwrap(), 0.0);
    assert!(retention(&x, &targets(&[0, 2]), Units::All).is_err());
}

#[test]
fn what_cannot_be_measured_is_refused_and_changes_nothing() {
    let ok = logits(&[&[1.0, 0.0], &[0.0, 1.0]]);
    let mut known = Retention::new(Units::First(2));
    assert!(known.bits().unwrap_err().to_string().contains("no samples"));
    known.add(&ok, &targets(&[0, 1])).unwrap();
    let before = known.clone();
    let mut refused = |x: &Tensor, y: &Tensor| known.add(x, y).unwrap_err().to_string();
    let nan = logits(&[&[1.0, 0.0], &[f64::NAN, 1.0]]);
    assert!(refused(&nan, &targets(&[0, 1])).contains("sample 1"));
    assert!(refused(&logits(&[&[f64::INFINITY, 0.0]]), &targets(&[0])).contains("finite"));
    assert!(refused(&ok, &targets(&[0, 2])).contains("not an active unit"));
    assert!(refused(&ok, &targets(&[0])).contains("targets U32 [2]"));
    assert!(refused(&ok, &targets(&[0, 1]).to_dtype(DType::I64).unwrap()).contains("I64"));
    assert!(refused(&logits(&[&[1.0, 0.0, 0.0]]), &targets(&[0])).contains("expected 2 outputs"));
    let empty = Tensor::zeros((0, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(refused(&empty, &Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap()).contains("empty"));
    assert_eq!(known, before);
}

#[test]
fn forgetting_is_what_was_known_best_since_it_was_learned() {
    let rows = vec![vec![0.8, 5.0, -1.0], vec![0.9, 0.7, 0.0], vec![-0.1, 0.6, 1.0]];
    let bits = InformationMatrix::new(rows).unwrap();
    let got = bits.forgetting();
    // Task 2 had 5 bits before it was learned; that does not count.
    for (got, want) in got.concat().iter().zip([0.0, 0.0, 0.0, 1.0, 0.1, 0.0]) {
        near(*got, want);
    }
    near(bits.mean_forgetting().unwrap(), 0.55);
    assert_eq!(InformationMatrix::new(vec![vec![1.0]]).unwrap().mean_forgetting(), None);
}

#[test]
fn a_malformed_information_matrix_is_refused_with_the_cell() {
    let refused = |rows| InformationMatrix::new(rows).unwrap_err().to_string();
    assert!(refused(vec![]).contains("no row"));
    assert!(refused(vec![vec![0.0; 2]; 3]).contains("3 values in row 1"));
    assert!(refused(vec![vec![0.0; 2], vec![0.0, f64::NAN]]).contains("I[2, 2]: NaN"));
}

/// Of N(μ,σ²) and N(ν,τ²), as textbooks print it: ln(τ/σ) + (σ² + (μ−ν)²)/(2τ²) − ½.
#[test]
fn one_dimension_has_a_closed_form() {
    for (mu, sigma, nu, tau) in [(0.0, 1.0, 0.0, 2.0), (1.0, 0.5, -2.0, 3.0), (0.3, 2.0, 0.4, 0.1)] {
        let (p, q): (f64, f64) = (1.0 / (sigma * sigma), 1.0 / (tau * tau));
        let got =
            gaussian_kl(Gaussian { mean: &[mu], precision: &[p] }, Gaussian { mean: &[nu], precision: &[q] });
        let d: f64 = mu - nu;
        let nats = (tau / sigma).ln() + (sigma * sigma + d * d) / (2.0 * tau * tau) - 0.5;
        near(got.unwrap(), nats / 2f64.ln());
    }
}

/// For Q = P(1 + d): (d − ln(1 + d))/2 nats, d²/4 for a small d, where that difference has no digits left.
#[test]
fn small_divergences_keep_their_digits() {
    let d = 2f64.powi(-40);
    let (p, q) =
        (Gaussian { mean: &[0.0], precision: &[1.0] }, Gaussian { mean: &[0.0], precision: &[1.0 + d] });
    let want = d * d / 4.0 / 2f64.ln();
    assert!((gaussian_kl(p, q).unwrap() / want - 1.0).abs() < 1e-9);
}

/// 𝔼_p[log₂ p − log₂ q] over 200 000 draws: five standard errors, missed by chance once in 2 million seeds.
#[test]
fn the_divergence_is_what_drawing_finds() {
    let (mu, p, nu, q) = ([0.5, -1.0, 2.0], [4.0f64, 1.0, 0.5], [0.0, -0.5, 2.0], [2.0f64, 3.0, 0.4]);
    let mut rng = cl_core::rng(0, "monte carlo");
    let n = 200_000;
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..n {
        let nats: f64 = (0..3)
            .map(|j| {
                let x = mu[j] + rng.sample::<f64, _>(StandardNormal) / p[j].sqrt();
                let log = |mean: f64, precision: f64| 0.5 * (precision.ln() - precision * (x - mean).powi(2));
                log(mu[j], p[j]) - log(nu[j], q[j])
            })
            .sum();
        sum += nats / 2f64.ln();
        squares += (nats / 2f64.ln()).powi(2);
    }
    let mean = sum / f64::from(n);
    let error = ((squares / f64::from(n) - mean * mean) / f64::from(n)).sqrt();
    let got =
        gaussian_kl(Gaussian { mean: &mu, precision: &p }, Gaussian { mean: &nu, precision: &q }).unwrap();
    assert!((got - mean).abs() < 5.0 * error, "{got}, drawn {mean} ± {error}");
}

/// Every parameter counts, with the precision n·F + prior.
#[test]
fn stability_is_the_divergence_of_all_parameters() {
    let t = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let (theta, moved) = ([t(&[1.0, 2.0]), t(&[3.0])], [t(&[1.5, 2.0]), t(&[2.0])]);
    let (f_old, f_all) = ([t(&[0.5, 0.0]), t(&[0.25])], [t(&[0.25, 0.5]), t(&[0.0])]);
    let old = Laplace { theta: &theta, fisher: &f_old, samples: 4 };
    let all = Laplace { theta: &moved, fisher: &f_all, samples: 8 };
    let one = |m: f64, p: f64, n: f64, q: f64| {
        gaussian_kl(Gaussian { mean: &[m], precision: &[p] }, Gaussian { mean: &[n], precision: &[q] })
            .unwrap()
    };
    let want = one(1.0, 2.1, 1.5, 2.1) + one(2.0, 0.1, 2.0, 4.1) + one(3.0, 1.1, 2.0, 0.1);
    near(stability(old, all, 0.1).unwrap(), want);

    let refused = |old, all, prior| stability(old, all, prior).unwrap_err().to_string();
    assert!(refused(old, all, 0.0).contains("prior: 0"));
    assert!(refused(old, all, f64::NAN).contains("NaN"));
    let ones = [t(&[1.0]), t(&[1.0])];
    let (negative, nan) = ([t(&[0.5, -1.0]), t(&[0.0])], [t(&[f32::NAN, 2.0]), t(&[3.0])]);
    assert!(refused(old, Laplace { fisher: &negative, ..all }, 1.0).contains("-1 in parameter 0"));
    assert!(refused(Laplace { theta: &nan, ..old }, all, 1.0).contains("finite"));
    assert!(refused(Laplace { theta: &theta[..1], ..old }, all, 1.0).contains("four lists of 1"));
    assert!(
        refused(Laplace { theta: &f_old, fisher: &ones, samples: 1 }, all, 1.0)
            .contains("[2] for parameter 0")
    );
    let none = Laplace { theta: &[], fisher: &[], samples: 1 };
    assert!(refused(none, none, 1.0).contains("no parameters"));
}

#[test]
fn a_divergence_of_nothing_or_of_no_gaussian_is_refused() {
    let kl = |m: &[f64], p: &[f64], n: &[f64], q: &[f64]| {
        gaussian_kl(Gaussian { mean: m, precision: p }, Gaussian { mean: n, precision: q })
            .unwrap_err()
            .to_string()
    };
    assert!(kl(&[], &[], &[], &[]).contains("no dimensions"));
    assert!(kl(&[0.0], &[1.0], &[0.0], &[1.0, 1.0]).contains("four lists of 1"));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(kl(&[0.0], &[1.0], &[0.0], &[bad]).contains("precision"));
        assert!(kl(&[0.0], &[bad], &[0.0], &[1.0]).contains("precision"));
    }
    assert!(kl(&[f64::NAN], &[1.0], &[0.0], &[1.0]).contains("mean"));
    assert!(kl(&[1e300], &[1.0], &[0.0], &[1.0]).contains("too far apart"));
}

fn gaussians() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    let precision = (-9.0..9.0f64).prop_map(f64::exp);
    (prop::collection::vec(-5.0..5.0f64, 4), prop::collection::vec(precision, 4))
}

proptest! {
    #[test]
    fn a_divergence_is_zero_for_equals_alone(p in gaussians(), q in gaussians(), j in 0..4usize, e in -15..0i32) {
        let of = |p: &(Vec<f64>, Vec<f64>), q: &(Vec<f64>, Vec<f64>)| gaussian_kl(
            Gaussian { mean: &p.0, precision: &p.1 }, Gaussian { mean: &q.0, precision: &q.1 }).unwrap();
        prop_assert!(of(&p, &q) > 0.0);
        prop_assert_eq!(of(&p, &p), 0.0);
        // However little one precision or one mean differs.
        let mut near = p.clone();
        near.1[j] *= 1.0 + 10f64.powi(e);
        prop_assert!(near == p || of(&p, &near) > 0.0);
        let mut near = p.clone();
        near.0[j] += 10f64.powi(e);
        prop_assert!(near == p || of(&p, &near) > 0.0);
    }

    #[test]
    fn chunks_give_what_the_whole_gives(
        rows in prop::collection::vec((prop::collection::vec(-30.0..30.0f64, 6), 0..6u32), 1..30),
        cut in 1..29usize,
        units in prop::sample::select(vec![Units::All, Units::Block(2), Units::Block(4), Units::First(6)]),
    ) {
        let x = logits(&rows.iter().map(|r| &r.0[..]).collect::<Vec<_>>());
        let y = targets(&rows.iter().map(|r| r.1).collect::<Vec<_>>());
        let mut known = Retention::new(units);
        for from in (0..rows.len()).step_by(cut) {
            let len = cut.min(rows.len() - from);
            known.add(&x.narrow(0, from, len).unwrap(), &y.narrow(0, from, len).unwrap()).unwrap();
        }
        prop_assert_eq!(known.bits().unwrap(), retention(&x, &y, units).unwrap());
        prop_assert!(known.model_entropy().unwrap() >= 0.0);
        let most = match units { Units::Block(n) => n as f64, _ => 6.0 }.log2();
        prop_assert!((0.0..=most + 1e-12).contains(&known.label_entropy().unwrap()));
    }

    #[test]
    fn forgetting_is_never_negative(rows in (1..6usize).prop_flat_map(|t|
        prop::collection::vec(prop::collection::vec(-5.0..3.0f64, t), t)))
    {
        let bits = InformationMatrix::new(rows).unwrap();
        for (t, row) in bits.forgetting().iter().enumerate() {
            prop_assert!(row.iter().all(|f| *f >= 0.0));
            prop_assert_eq!((row.len(), row[t]), (t + 1, 0.0));
        }
    }
}
