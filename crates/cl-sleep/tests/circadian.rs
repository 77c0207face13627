//! The two-process clock.
#![allow(clippy::unwrap_used)]

use cl_core::snapshot::{self, Kind};
use cl_sleep::{Circadian, Rhythm, State};
use proptest::prelude::*;

/// Without a rhythm the two processes are all there is, and can be solved.
const STEADY: Rhythm =
    Rhythm { rise: 18.2, fall: 4.2, upper: 0.67, lower: 0.17, amplitude: 0.0, period: 24.0 };

/// Lets a clock run in steps until its state changes; returns the time of it.
fn until_change(clock: &mut Circadian, step: f64) -> f64 {
    let (state, mut time) = (clock.state(), 0.0);
    while clock.state() == state {
        clock.advance(step);
        time += step;
        assert!(time < 1e6, "it never changes");
    }
    time
}

/// From lower to upper S takes rise·ln((1−lower)/(1−upper)), and back fall·ln(upper/lower).
#[test]
fn days_and_nights_are_as_long_as_the_equations_say() {
    let day = 18.2 * (0.83f64 / 0.33).ln();
    let night = 4.2 * (0.67f64 / 0.17).ln();
    for step in [0.001, 0.01] {
        let mut clock = Circadian::new(STEADY).unwrap();
        for _ in 0..3 {
            assert!((until_change(&mut clock, step) - day).abs() < 2.0 * step, "a day of {day}");
            assert_eq!(clock.state(), State::Asleep);
            assert!((until_change(&mut clock, step) - night).abs() < 2.0 * step, "a night of {night}");
            assert_eq!(clock.state(), State::Awake);
        }
    }
}

/// One who follows the rhythm sleeps at the same time every day: entrained to 24 hours, though without it a day and a night
/// together take 22.5.
#[test]
fn the_rhythm_sets_the_time_of_sleep() {
    let mut clock = Circadian::new(Circadian::HUMAN).unwrap();
    let (mut time, mut fell_asleep, mut before) = (0.0, Vec::new(), State::Awake);
    while time < 24.0 * 60.0 {
        time += 0.01;
        let state = clock.advance(0.01);
        if (before, state) == (State::Awake, State::Asleep) {
            fell_asleep.push(time);
        }
        before = state;
    }
    let days: Vec<f64> = fell_asleep.windows(2).skip(20).map(|pair| pair[1] - pair[0]).collect();
    assert!(days.len() > 30);
    assert!(days.iter().all(|day| (day - 24.0).abs() < 0.05), "{days:?}");
    let mut free = Circadian::new(STEADY).unwrap();
    let alone = until_change(&mut free, 0.01) + until_change(&mut free, 0.01);
    assert!((22.0..23.0).contains(&alone), "{alone}");
}

proptest! {
    /// Within a state it does not matter in how many steps the time passes.
    #[test]
    fn one_step_or_many(total in 0.0..12.0f64, parts in 1..200usize, nap in any::<bool>()) {
        let mut one = Circadian::new(STEADY).unwrap();
        if nap {
            until_change(&mut one, 0.01);
        }
        let (state, mut many) = (one.state(), one);
        let total = if nap { total / 3.0 } else { total };
        one.advance(total);
        (0..parts).for_each(|_| _ = many.advance(total / parts as f64));
        prop_assert!((one.pressure() - many.pressure()).abs() < 1e-9);
        prop_assert_eq!(one.state(), state);
        prop_assert_eq!(many.state(), state);
    }

    /// The unit of time is nobody's business: in steps of a tenth of an hour it is the same clock.
    #[test]
    fn in_any_unit(scale in 0.01..1000.0f64, times in prop::collection::vec(0.0..5.0f64, 1..100)) {
        let of = |scale: f64| {
            let Rhythm { rise, fall, period, .. } = Circadian::HUMAN;
            Circadian::new(Rhythm { rise: rise * scale, fall: fall * scale, period: period * scale, ..Circadian::HUMAN })
        };
        let (mut hours, mut other) = (of(1.0).unwrap(), of(scale).unwrap());
        for time in times {
            // Where it is within rounding of a threshold one may be across it.
            hours.advance(time);
            other.advance(time * scale);
            prop_assert!((hours.pressure() - other.pressure()).abs() < 1e-6);
        }
    }

    #[test]
    fn the_pressure_is_between_0_and_1(times in prop::collection::vec(prop_oneof![0.0..50.0f64, Just(1e300), Just(0.0)], 0..100)) {
        let mut clock = Circadian::new(Circadian::HUMAN).unwrap();
        for time in times {
            clock.advance(time);
            prop_assert!((0.0..=1.0).contains(&clock.pressure()));
        }
    }
}

/// A process that was not asked for long: one crossing is seen, and the next when it is asked again.
#[test]
fn one_big_step_crosses_once() {
    let mut clock = Circadian::new(STEADY).unwrap();
    assert_eq!(clock.advance(1_000.0), State::Asleep);
    assert_eq!(clock.advance(0.0), State::Asleep);
    assert_eq!(clock.advance(1_000.0), State::Awake);
}

#[test]
fn time_does_not_go_back() {
    let mut clock = Circadian::new(Circadian::HUMAN).unwrap();
    clock.advance(5.0);
    let before = clock;
    for time in [-1.0, f64::NAN, f64::NEG_INFINITY, f64::INFINITY] {
        clock.advance(time);
        assert_eq!(clock, before);
    }
}

#[test]
fn rhythms_that_are_none() {
    let human = Circadian::HUMAN;
    let bad = [
        (Rhythm { rise: 0.0, ..human }, "0 is not a positive time"),
        (Rhythm { fall: -1.0, ..human }, "-1 is not a positive time"),
        (Rhythm { period: f64::NAN, ..human }, "NaN is not a positive time"),
        (Rhythm { rise: f64::INFINITY, ..human }, "inf is not a positive time"),
        (Rhythm { upper: 0.95, ..human }, "must reach 0.17 and 0.95"),
        (Rhythm { lower: 0.05, ..human }, "must reach 0.05"),
        (Rhythm { lower: 0.7, ..human }, "must reach 0.7"),
        (Rhythm { amplitude: -0.1, ..human }, "up to -0.1"),
        (Rhythm { amplitude: f64::NAN, ..human }, "up to NaN"),
        (Rhythm { upper: f64::NAN, ..human }, "NaN"),
    ];
    for (rhythm, why) in bad {
        let error = Circadian::new(rhythm).unwrap_err().to_string();
        assert!(error.starts_with("rhythm: ") && error.contains(why), "{error}");
    }
}

#[test]
fn saved_in_the_middle_of_a_night() {
    let mut clock = Circadian::new(Circadian::HUMAN).unwrap();
    until_change(&mut clock, 0.1);
    clock.advance(1.0);
    const KIND: Kind = Kind::new("test/clock", 1);
    let mut restored: Circadian =
        snapshot::from_bytes(&snapshot::to_bytes(KIND, &clock).unwrap(), KIND).unwrap();
    assert_eq!(restored, clock);
    for _ in 0..1_000 {
        assert_eq!(restored.advance(0.1), clock.advance(0.1));
        assert_eq!(restored.pressure().to_bits(), clock.pressure().to_bits());
    }
    assert!(
        serde_json::from_str::<Rhythm>(
            r#"{"rise":1,"fall":1,"upper":0.7,"lower":0.2,"amplitude":0,"period":1,"x":1}"#
        )
        .is_err()
    );
}
