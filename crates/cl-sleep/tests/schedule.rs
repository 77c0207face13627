//! When to sleep.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use cl_sleep::{AnyOf, AtTaskEnds, Event, Every, OnDrift, Schedule, WhenIdle};
use proptest::prelude::*;
use rand::Rng as _;

fn came(n: u64) -> Event {
    Event::Experienced { n, loss: None }
}

fn lost(loss: f64) -> Event {
    Event::Experienced { n: 1, loss: Some(loss) }
}

proptest! {
    /// It is due whenever a multiple of n was reached, however large the batches are; once, where one spans several.
    #[test]
    fn every_n_of_any_batches(n in 1..50u64, batches in prop::collection::vec(0..120u64, 0..100)) {
        let (mut every, mut seen) = (Every::new(n).unwrap(), 0);
        for batch in batches {
            let due = (seen + batch) / n > seen / n;
            prop_assert_eq!(every.due(came(batch)), due);
            // Nothing else counts.
            prop_assert!(!every.due(Event::TaskEnded) && !every.due(Event::Idle(Duration::MAX)));
            seen += batch;
        }
    }
}

#[test]
fn every_0_is_refused() {
    let error = Every::new(0).unwrap_err().to_string();
    assert!(error.contains("name 1 or more"), "{error}");
}

#[test]
fn every_is_saved_with_where_it_is() {
    let mut every = Every::new(10).unwrap();
    every.due(came(7));
    let mut restored: Every = serde_json::from_str(&serde_json::to_string(&every).unwrap()).unwrap();
    assert!(!restored.due(came(2)) && restored.due(came(1)));
}

#[test]
fn at_task_ends_and_when_idle() {
    let mut ends = AtTaskEnds;
    assert!(ends.due(Event::TaskEnded) && !ends.due(came(100)) && !ends.due(Event::Idle(Duration::MAX)));
    let mut idle = WhenIdle(Duration::from_secs(2));
    let after = |millis| Event::Idle(Duration::from_millis(millis));
    assert!(!idle.due(after(1_999)) && idle.due(after(2_000)) && idle.due(after(10_000)));
    assert!(!idle.due(Event::TaskEnded) && !idle.due(came(100)));
}

/// Says yes to nothing, and counts.
struct Counted(Rc<Cell<u32>>, bool);

impl Schedule for Counted {
    fn due(&mut self, _event: Event) -> bool {
        self.0.set(self.0.get() + 1);
        self.1
    }
}

/// One that says yes does not keep the others from hearing.
#[test]
fn any_of_tells_all() {
    let told = Rc::new(Cell::new(0));
    let counted = |due| -> Box<dyn Schedule> { Box::new(Counted(Rc::clone(&told), due)) };
    let mut any = AnyOf(vec![counted(false), counted(true), counted(false)]);
    assert!(any.due(came(1)));
    assert_eq!(told.get(), 3);
    let mut none = AnyOf(vec![counted(false)]);
    assert!(!none.due(came(1)) && !AnyOf::default().due(came(1)));
    // Each keeps its own count.
    let mut both = AnyOf(vec![Box::new(Every::new(4).unwrap()), Box::new(Every::new(6).unwrap())]);
    let due: Vec<u32> = (1..=12).filter(|_| both.due(came(1))).collect();
    assert_eq!(due.len(), 4); // 4, 6, 8, 12
}

/// How many losses it takes until an alarm; none within `most`.
fn delay(drift: &mut OnDrift, most: usize, mut loss: impl FnMut() -> f64) -> Option<usize> {
    (1..=most).find(|_| drift.due(lost(loss())))
}

/// Losses of 0.5 ± 0.1, uniform. With a tolerance of 0.05 the sum drifts down by that a step, and its rises above the least so far
/// have a standard deviation of 0.058 a step: an alarm at 2 needs a rise whose probability falls as e^(−2·0.05·2/0.0033) ≈ e^(−60).
/// None of 200 streams of 1,000 may have one; by chance one in 10²⁰ runs of this test would fail.
#[test]
fn no_false_alarms() {
    for seed in 0..200 {
        let (mut drift, mut rng) = (OnDrift::new(0.05, 2.0).unwrap(), cl_core::rng(seed, "losses"));
        assert_eq!(delay(&mut drift, 1_000, || rng.random_range(0.4..0.6)), None);
    }
}

/// After a rise by h the sum grows by h·n/(n+k) − δ with the k-th loss: it needs little more than threshold/(h − δ) losses.
/// Noise of a standard deviation of 0.058 a loss moves that by less than five of its own, and one for rounding: of 800 streams one
/// would be further off in 5 of 10,000 runs with other seeds.
#[test]
fn a_rise_is_found_when_it_should_be() {
    for (rise, threshold) in [(1.0, 2.0), (0.5, 2.0), (0.5, 5.0), (0.2, 2.0)] {
        // Without noise.
        let mut exact = OnDrift::new(0.05, threshold).unwrap();
        assert_eq!(delay(&mut exact, 1_000, || 0.5), None);
        let right = delay(&mut exact, 1_000, || 0.5 + rise).unwrap();
        let (mut sum, mut k) = (0.0, 0);
        while sum <= threshold {
            k += 1;
            sum += rise * 1_000.0 / (1_000.0 + f64::from(k)) - 0.05;
        }
        assert_eq!(right, k as usize);
        for seed in 0..200 {
            let (mut drift, mut rng) = (OnDrift::new(0.05, threshold).unwrap(), cl_core::rng(seed, "losses"));
            assert_eq!(delay(&mut drift, 1_000, || rng.random_range(0.4..0.6)), None);
            let found = delay(&mut drift, 1_000, || rng.random_range(0.4..0.6) + rise).unwrap();
            let noise = 5.0 * 0.058 * (right as f64).sqrt() / (rise - 0.05) + 1.0;
            assert!(found.abs_diff(right) as f64 <= noise, "{found}, not {right}, after a rise of {rise}");
        }
    }
}

#[test]
fn what_gets_better_is_no_drift() {
    let (mut drift, mut loss) = (OnDrift::new(0.0, 0.5).unwrap(), 2.0);
    assert_eq!(
        delay(&mut drift, 10_000, || {
            loss *= 0.999;
            loss
        }),
        None
    );
}

/// After an alarm it begins anew, at the level that is then.
#[test]
fn an_alarm_is_given_once() {
    let mut drift = OnDrift::new(0.05, 2.0).unwrap();
    assert_eq!(delay(&mut drift, 100, || 0.5), None);
    assert!(delay(&mut drift, 10, || 1.5).is_some());
    assert_eq!(delay(&mut drift, 1_000, || 1.5), None);
    assert!(delay(&mut drift, 10, || 2.5).is_some());
}

#[test]
fn losses_that_are_none_are_not_counted() {
    let mut drift = OnDrift::new(0.05, 2.0).unwrap();
    delay(&mut drift, 50, || 0.5);
    let before = drift;
    for event in [lost(f64::NAN), lost(f64::INFINITY), came(10), Event::TaskEnded, Event::Idle(Duration::MAX)]
    {
        assert!(!drift.due(event));
        assert_eq!(drift, before);
    }
    for (delta, threshold) in [(-0.1, 1.0), (f64::NAN, 1.0), (0.1, 0.0), (0.1, f64::INFINITY)] {
        let error = OnDrift::new(delta, threshold).unwrap_err().to_string();
        assert!(error.contains("the first is at least 0, the second above"), "{error}");
    }
}

/// What comes from a file is what could be made.
#[test]
fn what_no_constructor_makes_is_not_read() {
    assert!(serde_json::from_str::<Every>(r#"{"n":0,"since":0}"#).is_err());
    assert!(serde_json::from_str::<cl_sleep::Ema>("2.0").is_err());
    let ema = cl_sleep::Ema::new(0.9).unwrap();
    assert_eq!(serde_json::from_str::<cl_sleep::Ema>(&serde_json::to_string(&ema).unwrap()).unwrap(), ema);
}
