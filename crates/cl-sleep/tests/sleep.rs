//! The sleep phase: when it ends, what it lets go of, what it says.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_hopfield::Store;
use cl_hopfield::continuous::Steps;
use cl_sleep::{
    Converged, Dreams, Ended, Experiences, Fading, Keep, Learnt, Replay, ReplayCount, Sleep, Slept, Source,
    Tags, Uniform,
};
use proptest::prelude::*;

/// A memory of so many numbers, each its own.
fn memory(n: usize) -> Experiences {
    let mut memory = Experiences::new(n.max(1), Keep::Newest, cl_core::rng(0, "memory")).unwrap();
    if n > 0 {
        let x = Tensor::arange(0f32, n as f32, &Device::Cpu).unwrap();
        memory.add(&[&x], &Tags::default()).unwrap();
    }
    memory
}

fn nothing(_replay: &Replay) -> cl_core::Result<Learnt> {
    Ok(Learnt::from(1.0))
}

/// A night of these losses, as many as there are or fewer.
fn night(sleep: Sleep, losses: &[f64]) -> Slept {
    let mut losses = losses.iter();
    let mut learn = |_: &Replay| Ok(Learnt::from(*losses.next().unwrap()));
    sleep.run(&mut memory(10).by(&Uniform).unwrap(), &mut learn).unwrap()
}

proptest! {
    /// By a clock that only the cycles move: the deadline is kept, but for a last cycle that is longer than all before it.
    #[test]
    fn the_deadline_is_kept(lengths in prop::collection::vec(1..50u64, 1..60), time in 0..500u64) {
        let now = Cell::new(Duration::ZERO);
        let mut cycle = 0;
        let mut learn = |_: &Replay| {
            now.set(now.get() + Duration::from_millis(lengths[cycle]));
            cycle += 1;
            Ok(Learnt::from(1.0))
        };
        let time = Duration::from_millis(time);
        let sleep = Sleep { cycles: lengths.len(), batch: 4, time: Some(time), ..Sleep::default() };
        let slept = sleep.run_by(&|| now.get(), &|| false, &mut memory(10).by(&Uniform).unwrap(), &mut learn).unwrap();
        let done = slept.losses.len();
        prop_assert_eq!(slept.took, Duration::from_millis(lengths[..done].iter().sum()));
        let longest = |n: usize| lengths[..n].iter().copied().max().unwrap_or(0);
        if slept.took > time {
            prop_assert!(lengths[done - 1] > longest(done - 1));
        }
        match slept.ended {
            Ended::Cycles => prop_assert_eq!(done, lengths.len()),
            // And it is used: another of the longest would not have fitted.
            Ended::Deadline => prop_assert!(slept.took + Duration::from_millis(longest(done)) >= time),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// As the definition has it, cycle by cycle.
    #[test]
    fn converged_is_what_it_says(
        losses in prop::collection::vec(0.0..10.0f64, 1..60), window in 1..12usize, tolerance in 0.0..0.5f64,
    ) {
        let sleep = Sleep { cycles: losses.len(), batch: 4, converged: Some(Converged { window, tolerance }), ..Sleep::default() };
        let slept = night(sleep, &losses);
        let holds = |n: usize| n >= 2 * window && {
            let mean = |losses: &[f64]| losses.iter().sum::<f64>() / window as f64;
            mean(&losses[n - window..n]) > mean(&losses[n - 2 * window..n - window]) * (1.0 - tolerance) + 1e-12
        };
        let first = (1..=losses.len()).find(|&n| holds(n));
        // Equal up to rounding may be either.
        prop_assume!(first.unwrap_or(losses.len()) == slept.losses.len() || !holds(slept.losses.len()));
        prop_assert_eq!(slept.losses.len(), first.unwrap_or(losses.len()));
        prop_assert_eq!(slept.ended == Ended::Converged, first.is_some());
    }
}

#[test]
fn a_loss_that_falls_goes_on_and_one_that_does_not_ends() {
    let converged = Some(Converged { window: 5, tolerance: 0.01 });
    let sleep = Sleep { cycles: 60, batch: 4, converged, ..Sleep::default() };
    let falling: Vec<f64> = (0..60).map(|i| 0.9f64.powi(i)).collect();
    let slept = night(sleep, &falling);
    assert_eq!((slept.ended, slept.losses.len()), (Ended::Cycles, 60));
    let level: Vec<f64> = (0..60).map(|i| 0.9f64.powi(i.min(20))).collect();
    let slept = night(sleep, &level);
    assert_eq!(slept.ended, Ended::Converged);
    assert!((25..=30).contains(&slept.losses.len()), "{}", slept.losses.len());
}

/// It is asked before each cycle, so no cycle is done by half.
#[test]
fn woken() {
    for after in [0, 1, 7] {
        let asked = Cell::new(0);
        let wake = || {
            asked.set(asked.get() + 1);
            asked.get() > after
        };
        let mut memory = memory(10);
        let slept =
            Sleep::default().run_until(&wake, &mut memory.by(&Uniform).unwrap(), &mut nothing).unwrap();
        assert_eq!((slept.ended, slept.losses.len()), (Ended::Woken, after));
        assert_eq!(memory.traces().map(|trace| trace.replays).sum::<u32>() as usize, after * 32);
    }
}

#[test]
fn with_nothing_to_replay() {
    let mut memory = memory(0);
    let slept = Sleep::default().run(&mut memory.by(&Uniform).unwrap(), &mut nothing).unwrap();
    assert_eq!((slept.ended, slept.losses.len(), slept.forgotten), (Ended::Empty, 0, 0));
    let slept = Sleep { cycles: 0, ..Sleep::default() };
    let slept = slept.run(&mut self::memory(3).by(&Uniform).unwrap(), &mut nothing).unwrap();
    assert_eq!(slept.ended, Ended::Cycles);
}

/// Each replay takes its part; what is below the limit is gone, and the others are as they were.
#[test]
fn fading_forgets() {
    let mut memory = memory(100);
    let fading = Some(Fading { rate: 0.5, forget_below: 0.2 }); // three replays: 1/8
    let sleep = Sleep { cycles: 20, batch: 10, fading, ..Sleep::default() };
    let slept = sleep.run(&mut memory.by(&ReplayCount { exponent: 1.0 }).unwrap(), &mut nothing).unwrap();
    assert_eq!(slept.replayed.values().map(|(times, _)| u64::from(*times)).sum::<u64>(), 200);
    assert_eq!(memory.len() + slept.forgotten, 100);
    assert!(slept.forgotten > 0 && slept.forgotten < 100);
    let kept: Vec<f32> = memory.all().unwrap()[0].to_vec1().unwrap();
    for (trace, x) in memory.traces().zip(kept) {
        assert_eq!(x, trace.id as f32, "its content is its own");
        assert_eq!(trace.strength, 0.5f32.powi(trace.replays as i32));
        assert!(trace.replays < 3);
    }
    let there: Vec<u64> = memory.traces().map(|trace| trace.id).collect();
    for ((_, id), (times, _)) in &slept.replayed {
        // Gone with the third, or with more of one batch.
        assert_eq!(there.contains(id), *times < 3, "{id} {times}");
    }
    // To the end, and then it is over.
    let sleep = Sleep { cycles: 10_000, ..sleep };
    let slept = sleep.run(&mut memory.by(&Uniform).unwrap(), &mut nothing).unwrap();
    assert_eq!((slept.ended, memory.len()), (Ended::Empty, 0));
    // And a new day fills it again.
    memory.add(&[&Tensor::arange(0f32, 30., &Device::Cpu).unwrap()], &Tags::default()).unwrap();
    assert_eq!((memory.len(), memory.traces().map(|trace| trace.id).min()), (30, Some(100)));
}

/// A loss that is not finite ends it, names the cycle, and lets go of nothing that the cycle replayed.
#[test]
fn losses_that_are_not_finite() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut memory = memory(5);
        let mut cycle = 0;
        let mut learn = |_: &Replay| {
            cycle += 1;
            Ok(Learnt::from(if cycle == 4 { bad } else { 1.0 }))
        };
        let fading = Some(Fading { rate: 0.01, forget_below: 0.0 });
        let sleep = Sleep { batch: 10, fading, ..Sleep::default() };
        let error = sleep.run(&mut memory.by(&Uniform).unwrap(), &mut learn).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("in cycle 3") && text.contains("lower the slow learner's rate"), "{text}");
        assert_eq!(memory.traces().map(|trace| trace.replays).sum::<u32>(), 30);
    }
}

#[test]
fn what_the_learner_says_must_fit() {
    let mut memory = memory(5);
    for (surprise, why) in [(vec![1.0; 3], "4 numbers"), (vec![-1.0; 4], "-1"), (vec![f32::NAN; 4], "NaN")] {
        let mut learn =
            |_: &Replay| Ok(Learnt { loss: 1.0, surprise: Some(surprise.clone()), interference: None });
        let sleep = Sleep { batch: 4, ..Sleep::default() };
        let error = sleep.run(&mut memory.by(&Uniform).unwrap(), &mut learn).unwrap_err().to_string();
        assert!(error.contains("surprise") && error.contains(why), "{error}");
    }
    let mut fails = |_: &Replay| Err(Error::invalid("optimizer", "diverged"));
    let error = Sleep::default().run(&mut memory.by(&Uniform).unwrap(), &mut fails).unwrap_err().to_string();
    assert_eq!(error, "optimizer: diverged");
    assert!(memory.traces().all(|trace| trace.replays == 0));
}

#[test]
fn nights_that_are_none() {
    let good = Sleep::default();
    let converged = |window, tolerance| Some(Converged { window, tolerance });
    let fading = |rate, forget_below| Some(Fading { rate, forget_below });
    for (sleep, why) in [
        (Sleep { batch: 0, ..good }, "at least one experience"),
        (Sleep { converged: converged(0, 0.1), ..good }, "a window of 0"),
        (Sleep { converged: converged(3, f64::NAN), ..good }, "a tolerance of NaN"),
        (Sleep { fading: fading(1.1, 0.1), ..good }, "a rate of 1.1"),
        (Sleep { fading: fading(-0.1, 0.1), ..good }, "a rate of -0.1"),
        (Sleep { fading: fading(0.1, f64::NAN), ..good }, "forgets below NaN"),
    ] {
        let mut memory = memory(3);
        let error = sleep.run(&mut memory.by(&Uniform).unwrap(), &mut nothing).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(memory.traces().all(|trace| trace.replays == 0));
    }
}

/// Generated replay: what was experienced is noisy, and an associative memory that knows the patterns dreams of them as they are.
#[test]
fn a_hopfield_store_dreams() {
    let patterns = [[4f32, 0., 0., 0.], [0., 4., 0., 0.], [0., 0., 4., 4.]];
    let mut store = Store::new(4).unwrap();
    for pattern in &patterns {
        store.insert(pattern).unwrap();
    }
    let mut rng = cl_core::rng(0, "noise");
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for i in 0..30 {
        use rand::Rng as _;
        x.extend(patterns[i % 3].map(|x| x + rng.random_range(-0.8..0.8f32)));
        y.push((i % 3) as u32);
    }
    let x = Tensor::from_vec(x, (30, 4), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, 30, &Device::Cpu).unwrap();
    let mut memory = Experiences::new(30, Keep::Newest, cl_core::rng(0, "memory")).unwrap();
    memory.add(&[&x, &y], &Tags::default()).unwrap();

    let (mut worst, mut drawn) = (0f32, 0);
    let mut learn = |replay: &Replay| {
        let labels = replay.columns[1].to_vec1::<u32>()?;
        for (x, label) in replay.columns[0].to_vec2::<f32>()?.iter().zip(labels) {
            let off = x.iter().zip(patterns[label as usize]).map(|(x, right)| (x - right).abs());
            worst = off.fold(worst, f32::max);
            drawn += 1;
        }
        Ok(Learnt::from(0.0))
    };
    let complete = |columns: &[Tensor]| {
        Ok(vec![store.retrieve(&columns[0], 1.0, Steps::Exactly(3))?.state, columns[1].clone()])
    };
    let mut dreams = Dreams::of(memory.by(&Uniform).unwrap(), complete);
    let slept = Sleep { cycles: 10, batch: 12, ..Sleep::default() }.run(&mut dreams, &mut learn).unwrap();
    assert_eq!((slept.ended, drawn), (Ended::Cycles, 120));
    assert!(worst < 0.01, "{worst}");
    // It is still known of whom it was dreamt.
    assert_eq!(memory.traces().map(|trace| trace.replays).sum::<u32>(), 120);
    assert_eq!(slept.replayed.values().map(|(times, _)| *times).sum::<u32>(), 120);
    // Dreams of another number of rows are refused.
    let mut bad =
        Dreams::of(memory.by(&Uniform).unwrap(), |columns: &[Tensor]| Ok(vec![columns[0].narrow(0, 0, 1)?]));
    assert!(bad.draw(2).unwrap_err().to_string().contains("columns of 2 rows"));
}

/// What a generator makes up is nobody's experience: nothing is counted, and nothing fades.
#[test]
fn made_up_by_a_model() {
    struct Generator(u32);
    impl Source for Generator {
        fn draw(&mut self, n: usize) -> cl_core::Result<Replay> {
            self.0 += 1;
            Ok(Replay::made_up(vec![Tensor::zeros((n, 2), DType::F32, &Device::Cpu)?]))
        }
    }
    let mut generator = Generator(0);
    let fading = Some(Fading { rate: 1.0, forget_below: 0.5 });
    let sleep = Sleep { cycles: 7, batch: 3, fading, ..Sleep::default() };
    let slept = sleep.run(&mut generator, &mut nothing).unwrap();
    assert_eq!((slept.losses.len(), generator.0, slept.forgotten), (7, 7, 0));
    assert!(slept.replayed.is_empty());
}

/// Where there is nothing left to learn it ends, be the loss 0 or below.
#[test]
fn a_loss_that_stays_has_converged() {
    for loss in [0.0, 3.0, -10.0] {
        let mut memory = Experiences::new(4, Keep::Newest, cl_core::rng(0, "memory")).unwrap();
        memory.add(&[&Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap()], &Tags::default()).unwrap();
        let mut learn = |_: &Replay| Ok(Learnt::from(loss));
        let converged = Some(Converged { window: 5, tolerance: 0.1 });
        let night = Sleep { cycles: 100, batch: 2, converged, ..Sleep::default() };
        let slept = night.run(&mut memory.by(&Uniform).unwrap(), &mut learn).unwrap();
        assert_eq!((slept.ended, slept.losses.len()), (Ended::Converged, 10), "{loss}");
    }
}
