//! What reaches System 2, and what comes out.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use cl_core::Error;
use cl_dual_process::{
    Always, Arbiter, Budget, Cascade, Confidence, Costs, Deadline, First, Integrate, Never, System,
    Threshold, TopShare, from_fn, right,
};
use proptest::prelude::*;

fn rows(numbers: &[i8]) -> Tensor {
    let numbers: Vec<f32> = numbers.iter().map(|&x| f32::from(x) / 16.0).collect();
    let n = numbers.len();
    Tensor::from_vec(numbers, (n, 1), &Device::Cpu).unwrap()
}

fn fast(x: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::cat(&[x, &(x * 0.3)?, &x.neg()?], 1)
}

fn slow(x: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::cat(&[&x.sqr()?, x, &(x + 1.0)?], 1)
}

fn bits(logits: &Tensor) -> Vec<u32> {
    logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

fn numbers() -> impl Strategy<Value = Vec<i8>> {
    proptest::collection::vec(any::<i8>(), 1..30)
}

proptest! {
    #[test]
    fn never_is_system_1_and_always_system_2(numbers in numbers()) {
        let x = rows(&numbers);
        let answered = Cascade::new(fast, slow, Never).answer(&x).unwrap();
        prop_assert_eq!(bits(&answered.logits), bits(&fast(&x).unwrap()));
        prop_assert!(answered.deferred.is_empty());
        let answered = Cascade::new(fast, slow, Always).answer(&x).unwrap();
        prop_assert_eq!(bits(&answered.logits), bits(&slow(&x).unwrap()));
        prop_assert_eq!(answered.deferred.len(), numbers.len());
    }

    /// Each row is answered by the system that it was given to, in its place; System 2 sees deferred rows alone, once.
    #[test]
    fn only_deferred_rows_reach_system_2(rows_and_choice in proptest::collection::vec((any::<i8>(), any::<bool>()), 1..30)) {
        let (numbers, defer): (Vec<i8>, Vec<bool>) = rows_and_choice.into_iter().unzip();
        let x = rows(&numbers);
        let seen = RefCell::new(Vec::new());
        let watched = from_fn(|x: &Tensor| {
            seen.borrow_mut().extend(x.flatten_all()?.to_vec1::<f32>()?);
            Ok(slow(x)?)
        });
        let chosen = defer.clone();
        let arbiter = move |_: &First| Ok(chosen.clone());
        let answered = Cascade::new(fast, watched, arbiter).answer(&x).unwrap();
        let sent: Vec<f32> = numbers.iter().zip(&defer).filter(|(_, d)| **d).map(|(&x, _)| f32::from(x) / 16.0).collect();
        prop_assert_eq!(&*seen.borrow(), &sent);
        for (row, &deferred) in defer.iter().enumerate() {
            let one = x.narrow(0, row, 1).unwrap();
            let expected = if deferred { slow(&one) } else { fast(&one) };
            prop_assert_eq!(bits(&answered.logits.narrow(0, row, 1).unwrap()), bits(&expected.unwrap()));
        }
        let costs = Costs { fast: 3, slow: 100 };
        prop_assert_eq!(answered.multiply_adds(&costs), 3 * numbers.len() as u64 + 100 * sent.len() as u64);
        prop_assert!((answered.share() - sent.len() as f64 / numbers.len() as f64).abs() < 1e-12);
    }

    /// Whatever comes, no more was ever spent than came in, and a share of 1 spends all.
    #[test]
    fn a_budget_is_kept_at_every_moment(batches in proptest::collection::vec(numbers(), 1..20), percent in 0..=100u32) {
        let costs = Costs { fast: 10, slow: 1000 };
        let per_row = 10.0 + f64::from(percent) * 10.0;
        let mut budget = Budget::new(Confidence::MaxSoftmax, costs, per_row, 5.0, 50).unwrap();
        prop_assert!((budget.share() - f64::from(percent) / 100.0).abs() < 1e-12);
        let (mut deferred, mut rows_so_far) = (0, 0);
        for numbers in batches {
            let first = First::of(&fast, &rows(&numbers)).unwrap();
            let chosen = budget.defer(&first).unwrap();
            deferred += chosen.iter().filter(|&&d| d).count();
            rows_so_far += numbers.len();
            prop_assert!(deferred as f64 <= f64::from(percent) / 100.0 * rows_so_far as f64 + 1e-6);
            prop_assert!(percent < 100 || deferred == rows_so_far);
        }
    }

    /// A share of each batch, and no row that is left out has a higher score.
    #[test]
    fn the_highest_share_is_deferred(numbers in numbers(), percent in 0..=100usize) {
        let first = First::of(&fast, &rows(&numbers)).unwrap();
        let share = percent as f64 / 100.0;
        let chosen = TopShare { score: Confidence::Margin, share }.defer(&first).unwrap();
        let most = percent * numbers.len() / 100;
        prop_assert_eq!(chosen.iter().filter(|&&d| d).count(), most);
        let doubt = Confidence::Margin.doubt(&first.logits).unwrap();
        let least = doubt.iter().zip(&chosen).filter(|(_, d)| **d).map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        prop_assert!(doubt.iter().zip(&chosen).all(|(x, d)| *d || *x <= least));
    }
}

/// A stream that is easy for a while: what is left over is spent later, up to the burst.
#[test]
fn a_budget_saves_up() {
    let costs = Costs { fast: 0, slow: 100 };
    let mut budget = Budget::new(
        |first: &First| Ok(first.x.flatten_all()?.to_vec1::<f32>()?.iter().map(|&x| f64::from(x)).collect()),
        costs,
        10.0,
        3.0,
        1000,
    )
    .unwrap();
    // 100 equal rows: none is above the threshold, which is their score; ten deferrals come in, and three are kept.
    let easy = First::of(&fast, &rows(&[0; 100])).unwrap();
    assert!(budget.defer(&easy).unwrap().iter().all(|d| !d));
    let hard = First::of(&fast, &rows(&[9; 8])).unwrap();
    assert_eq!(budget.defer(&hard).unwrap().iter().filter(|&&d| d).count(), 3);
}

#[test]
fn a_deadline_sends_what_fits() {
    let first = First::of(&fast, &rows(&[9, 0, 3, -7])).unwrap();
    let arbiter = |until, per_row| Deadline {
        score: Confidence::MaxSoftmax,
        above: 0.0,
        per_batch: Duration::from_secs(10),
        per_row,
        until,
    };
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    assert_eq!(arbiter(now, hour).defer(&first).unwrap(), [false; 4], "it is over");
    let two = now + 2 * hour + Duration::from_secs(600);
    // The most doubtful, which are those around 0.
    assert_eq!(arbiter(two, hour).defer(&first).unwrap(), [false, true, true, false]);
    assert_eq!(arbiter(now + hour, Duration::ZERO).defer(&first).unwrap(), [true; 4]);
}

#[test]
fn two_answers_become_one() {
    let a = Tensor::new(&[[0.8f64.ln(), 0.2f64.ln()]], &Device::Cpu).unwrap();
    let b = Tensor::new(&[[0.4f64.ln() + 7.0, 0.6f64.ln() + 7.0]], &Device::Cpu).unwrap();
    let p = |integrate: Integrate| {
        let logits = integrate.of(&a, &b).unwrap().to_vec2::<f64>().unwrap().remove(0);
        logits.into_iter().map(f64::exp).collect::<Vec<_>>()
    };
    let close = |found: Vec<f64>, expected: [f64; 2]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, {expected:?}");
    };
    close(p(Integrate::Mixture { weight: 0.25 }), [0.7, 0.3]);
    let weighted = |a: f64, b: f64| a.powf(0.75) * b.powf(0.25);
    let (x, y) = (weighted(0.8, 0.4), weighted(0.2, 0.6));
    close(p(Integrate::Product { weight: 0.25 }), [x / (x + y), y / (x + y)]);
    close(p(Integrate::ByConfidence), [(0.64 + 0.24) / 1.4, (0.16 + 0.36) / 1.4]);
    assert_eq!(Integrate::Replace.of(&a, &b).unwrap().to_vec2::<f64>().unwrap(), b.to_vec2::<f64>().unwrap());
    assert!(Integrate::Mixture { weight: 1.5 }.of(&a, &b).unwrap_err().to_string().contains("1.5"));
    // In a cascade rows that are not deferred come as log-probabilities too.
    let x = rows(&[16, -16]);
    let arbiter = |_: &First| Ok(vec![true, false]);
    let mut cascade = Cascade::new(fast, slow, arbiter).integrating(Integrate::Mixture { weight: 0.5 });
    let sums = cascade.answer(&x).unwrap().logits.exp().unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
}

/// Doubts of probabilities by hand, and large logits that are neither NaN nor all alike.
#[test]
fn doubts_are_those_of_the_probabilities() {
    let p = [0.7f64, 0.2, 0.1];
    let logits = Tensor::new(&[p.map(f64::ln), [50.0, 0.0, 0.0], [60.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let max = Confidence::MaxSoftmax.doubt(&logits).unwrap();
    assert!((max[0] - 0.3).abs() < 1e-12);
    assert!(max[1] > max[2] && max[2] > 0.0, "1 − p has an order where p rounds to 1: {max:?}");
    assert!((Confidence::Margin.doubt(&logits).unwrap()[0] - 0.5).abs() < 1e-12);
    let entropy = -p.iter().map(|p| p * p.ln()).sum::<f64>() / 3f64.ln();
    assert!((Confidence::Entropy.doubt(&logits).unwrap()[0] - entropy).abs() < 1e-12);
}

fn says<T>(result: cl_core::Result<T>, what: &str) {
    match result {
        Ok(_) => panic!("accepted; expected an error with {what}"),
        Err(error) => assert!(error.to_string().contains(what), "{error}"),
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let x = rows(&[1, 2, 3]);
    says(Cascade::new(fast, slow, Never).answer(&x.narrow(0, 0, 0).unwrap()), "no rows");
    let two_rows = |x: &Tensor| slow(&x.narrow(0, 0, 2)?);
    says(
        Cascade::new(fast, two_rows, Always).answer(&x),
        "System 2: expected an answer (3, 3), as System 1 gives it, got [2, 3]",
    );
    says(Cascade::new(two_rows, slow, Always).answer(&x), "System 1");
    let two_classes = |x: &Tensor| slow(x)?.narrow(1, 0, 2);
    says(Cascade::new(fast, two_classes, Always).answer(&x), "got [3, 2]");
    says(Cascade::new(fast, slow, |_: &First| Ok(vec![true])).answer(&x), "a decision for each of 3 rows");
    let nan = |x: &Tensor| fast(&(x / 0.0)?.mul(&x.zeros_like()?)?);
    says(Cascade::new(fast, nan, Always).answer(&x), "logits of System 2: number 0 of row 0 is NaN");
    let threshold = Threshold { score: Confidence::Entropy, above: 0.5 };
    says(Cascade::new(nan, slow, threshold).answer(&x), "NaN");
    says(Cascade::new(fast, slow, Threshold { above: f64::NAN, ..threshold }).answer(&x), "threshold");
    says(Cascade::new(fast, slow, TopShare { score: Confidence::Entropy, share: 1.1 }).answer(&x), "1.1");
    let one = |x: &Tensor| -> candle_core::Result<Tensor> { x.narrow(1, 0, 1) };
    says(Cascade::new(one, slow, threshold).answer(&x), "nothing to choose between");
    let scored = |_: &First| Ok(vec![0.0, f64::NAN, 0.0]);
    says(Cascade::new(fast, slow, Threshold { score: scored, above: 0.0 }).answer(&x), "row 1");
    let fails = from_fn(|_: &Tensor| Err(Error::Interrupted));
    says(Cascade::new(fast, fails, Always).answer(&x), "interrupted");
    let costs = Costs { fast: 10, slow: 100 };
    says(Budget::new(Confidence::Margin, costs, 9.0, 1.0, 10), "do not pay for System 1");
    says(Budget::new(Confidence::Margin, costs, 20.0, 0.5, 10), "burst");
    says(Budget::new(Confidence::Margin, costs, 20.0, 1.0, 0), "window");
    says(right(&fast(&x).unwrap(), &[0, 1]), "3 rows");
    says(right(&fast(&x).unwrap(), &[0, 1, 3]), "none of 3 classes");
}

/// Systems of different kinds in one list.
#[test]
fn boxed_systems_are_systems() {
    let both: Vec<Box<dyn System>> = vec![Box::new(fast), Box::new(from_fn(|x: &Tensor| Ok(slow(x)?)))];
    let ensemble = cl_dual_process::Ensemble::new(both).unwrap();
    let x = rows(&[5, -3]);
    let p = ensemble.answer(&x).unwrap().exp().unwrap().to_vec2::<f32>().unwrap();
    let softmax = |logits: &Tensor| {
        let all = logits.exp().unwrap();
        all.broadcast_div(&all.sum_keepdim(1).unwrap()).unwrap().to_vec2::<f32>().unwrap()
    };
    let (a, b) = (softmax(&fast(&x).unwrap()), softmax(&slow(&x).unwrap()));
    for row in 0..2 {
        for class in 0..3 {
            assert!((p[row][class] - 0.5 * (a[row][class] + b[row][class])).abs() < 1e-6);
        }
    }
    says(cl_dual_process::Ensemble::<Box<dyn System>>::new(vec![]), "no members");
}
