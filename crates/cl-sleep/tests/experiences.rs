//! The fast memory: what stays, what is drawn, and that nothing of it gets mixed up.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use cl_core::Error;
use cl_core::snapshot::{self, Kind};
use cl_replay::Offer;
use cl_sleep::{
    Experiences, Fading, Interleaved, Keep, Learnt, Priority, ReplayCount, Salience, Source, Surprise, Tags,
    Trace, Uniform,
};
use proptest::prelude::*;

fn memory(capacity: usize, keep: Keep, seed: u64) -> Experiences {
    Experiences::new(capacity, keep, cl_core::rng(seed, "memory")).unwrap()
}

/// Experiences whose content is their number.
fn numbered(from: u64, n: usize) -> [Tensor; 2] {
    let x: Vec<f32> = (from..from + n as u64).map(|i| i as f32).collect();
    let y: Vec<u32> = (from..from + n as u64).map(|i| i as u32).collect();
    [Tensor::from_vec(x, (n, 1), &Device::Cpu).unwrap(), Tensor::from_vec(y, n, &Device::Cpu).unwrap()]
}

fn add(memory: &mut Experiences, n: usize, tags: &Tags<'_>) -> Vec<Offer> {
    let [x, y] = numbered(memory.seen(), n);
    memory.add(&[&x, &y], tags).unwrap()
}

fn contents(memory: &Experiences) -> Vec<u64> {
    let all = memory.all().unwrap();
    let Some(y) = all.get(1) else { return Vec::new() };
    y.to_vec1::<u32>().unwrap().into_iter().map(u64::from).collect()
}

fn ids(memory: &Experiences) -> Vec<u64> {
    memory.traces().map(|trace| trace.id).collect()
}

proptest! {
    /// Whatever comes and is forgotten in whatever order: content and trace belong together, there are never more than fit, the
    /// newest stay where that is the rule, and a saved memory goes on as this one.
    #[test]
    fn content_and_trace_stay_together(
        capacity in 1usize..20,
        newest in any::<bool>(),
        steps in prop::collection::vec((0usize..12, 0u64..5), 1..12),
    ) {
        let keep = if newest { Keep::Newest } else { Keep::Sample { gain: 2.0 } };
        let mut memory = memory(capacity, keep, 1);
        let mut forgotten = std::collections::BTreeSet::new();
        for (n, forget) in steps {
            if n > 0 {
                let salience: Vec<f32> = (0..n).map(|i| (i % 3) as f32 / 2.0).collect();
                let offers = add(&mut memory, n, &Tags { salience: Some(&salience), ..Tags::default() });
                prop_assert_eq!(offers.len(), n);
                prop_assert!(offers.iter().filter_map(|offer| offer.slot()).all(|slot| slot < capacity));
            }
            if forget > 0 {
                let gone: Vec<u64> = ids(&memory).into_iter().filter(|id| id % 5 == forget).collect();
                prop_assert_eq!(memory.forget(|trace| trace.id % 5 == forget), gone.len());
                forgotten.extend(gone);
            }
            prop_assert_eq!(contents(&memory), ids(&memory));
            prop_assert_eq!(memory.len(), ids(&memory).len());
            prop_assert!(memory.len() <= capacity);
            prop_assert!(ids(&memory).iter().all(|id| *id < memory.seen() && !forgotten.contains(id)));
            if newest && forgotten.is_empty() {
                let mut held = ids(&memory);
                held.sort_unstable();
                let first = memory.seen().saturating_sub(capacity as u64);
                prop_assert_eq!(held, (first..memory.seen()).collect::<Vec<_>>());
            }
        }
        const KIND: Kind = Kind::new("test/experiences", 1);
        let mut twin: Experiences = snapshot::from_bytes(&snapshot::to_bytes(KIND, &memory).unwrap(), KIND).unwrap();
        let draw = |memory: &mut Experiences| {
            add(memory, 7, &Tags::default());
            memory.by(&Uniform).unwrap().draw(5).unwrap().ids
        };
        prop_assert_eq!(draw(&mut memory), draw(&mut twin));
        prop_assert_eq!(contents(&memory), contents(&twin));
    }
}

/// Weighted sampling without replacement: of 40 tagged among 200, with five times the weight, beside the law's expectation taken by
/// drawing one after the other.
#[test]
fn a_tag_stays_as_often_as_its_weight_says() {
    let (n, capacity, gain, rounds) = (200usize, 50usize, 4.0, 400);
    let salience: Vec<f32> = (0..n).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect();
    // Sequential draws in proportion to weight, without replacement.
    let mut expected = 0.0;
    {
        use rand::Rng as _;
        let mut rng = cl_core::rng(0, "law");
        for _ in 0..rounds {
            let mut weights: Vec<f64> = salience.iter().map(|s| 1.0 + gain * f64::from(*s)).collect();
            for _ in 0..capacity {
                let mut mass = rng.random::<f64>() * weights.iter().sum::<f64>();
                let at = weights
                    .iter()
                    .position(|w| {
                        mass -= w;
                        mass < 0.0
                    })
                    .unwrap();
                expected += f64::from(salience[at]);
                weights[at] = 0.0;
            }
        }
    }
    let mut found = [0.0; 2];
    for (found, gain) in found.iter_mut().zip([gain, 0.0]) {
        for seed in 0..rounds {
            let mut memory = memory(capacity, Keep::Sample { gain }, seed);
            add(&mut memory, n, &Tags { salience: Some(&salience), ..Tags::default() });
            *found += memory.traces().map(|trace| f64::from(trace.salience)).sum::<f64>();
        }
    }
    let mean = |sum: f64| sum / rounds as f64;
    // The deviation of one round is below 3: of the mean of 400, below 0.15.
    assert!((mean(found[0]) - mean(expected)).abs() < 0.6, "{} {}", mean(found[0]), mean(expected));
    assert!((mean(found[1]) - 10.0).abs() < 0.6, "uniform keeps a quarter of 40: {}", mean(found[1]));
    assert!(mean(expected) > 20.0);
}

/// Where the reservoir is uniform, early and late experiences stay alike.
#[test]
fn the_uniform_sample_has_no_place_in_time() {
    let mut quarter = [0u32; 4];
    for seed in 0..300 {
        let mut memory = memory(40, Keep::Sample { gain: 0.0 }, seed);
        for _ in 0..20 {
            add(&mut memory, 20, &Tags::default());
        }
        ids(&memory).into_iter().for_each(|id| quarter[id as usize / 100] += 1);
    }
    // 12 000 in all; the deviation of a quarter's count is below 48.
    assert!(quarter.iter().all(|n| n.abs_diff(3000) < 200), "{quarter:?}");
}

/// Draws are in proportion, and what is said of them is what they are.
#[test]
fn draws_are_in_proportion_to_the_priority() {
    let mut memory = memory(10, Keep::Newest, 0);
    let surprise: Vec<f32> = (0..10).map(|i| i as f32).collect();
    add(&mut memory, 10, &Tags { surprise: Some(&surprise), ..Tags::default() });
    let priority = Surprise { exponent: 1.0, floor: 0.0 };
    let mut counts = [0.0; 10];
    let mut source = memory.by(&priority).unwrap();
    for _ in 0..2000 {
        let replay = source.draw(10).unwrap();
        for (id, reason) in replay.ids.iter().zip(&replay.reasons) {
            assert_eq!(
                (reason.id, reason.factors.as_slice()),
                (*id, &[("surprise".to_owned(), *id as f64)][..])
            );
            assert!((reason.probability - *id as f64 / 45.0).abs() < 1e-6);
            counts[*id as usize] += 1.0;
        }
        assert_eq!(
            replay.columns[1].to_vec1::<u32>().unwrap().iter().map(|y| u64::from(*y)).collect::<Vec<_>>(),
            replay.ids
        );
    }
    for (id, count) in counts.iter().enumerate() {
        let expected = 20_000.0 * id as f64 / 45.0;
        assert!((count - expected).abs() < 5.0 * expected.sqrt() + 1.0, "{id}: {count} {expected}");
    }
}

/// What the learner says changes what is drawn next, in the same sleep.
#[test]
fn what_is_learnt_counts_at_once() {
    let mut memory = memory(4, Keep::Newest, 0);
    add(&mut memory, 4, &Tags::default());
    let priority = ReplayCount { exponent: 60.0 };
    let mut source = memory.by(&priority).unwrap();
    let mut seen = Vec::new();
    for _ in 0..8 {
        let replay = source.draw(1).unwrap();
        source
            .learnt(&replay, &Learnt { loss: 1.0, surprise: Some(vec![0.25]), interference: Some(vec![3.0]) })
            .unwrap();
        seen.extend(replay.ids);
    }
    for round in seen.chunks(4) {
        let round: std::collections::BTreeSet<_> = round.iter().collect();
        assert_eq!(round.len(), 4, "turn by turn: {seen:?}");
    }
    assert!(memory.traces().all(|t| (t.replays, t.surprise, t.interference) == (2, 0.25, 3.0)));
    // What nobody measured yet has the largest that is known.
    memory.traces_mut().for_each(|trace| trace.surprise = 7.0);
    add(&mut memory, 1, &Tags::default());
    assert!(memory.traces().all(|trace| trace.surprise == 7.0));
}

/// What is replayed fades, and is forgotten when it has; forgotten slots are not drawn.
#[test]
fn what_has_faded_is_forgotten() {
    let mut memory = memory(6, Keep::Newest, 0);
    add(&mut memory, 6, &Tags::default());
    let only = |trace: &Trace, _now: u64| if trace.id < 2 { 1.0 } else { 0.0 };
    {
        let mut source = memory.by(&only).unwrap();
        let fading = Fading { rate: 0.5, forget_below: 0.3 };
        let mut gone = 0;
        for _ in 0..2 {
            let replay = source.draw(2).unwrap();
            assert_eq!(replay.ids, [0, 1], "one of each half");
            gone += source.fade(&replay, fading).unwrap();
        }
        assert_eq!(gone, 2);
        assert!(source.draw(1).unwrap_err().to_string().contains("nothing to draw"));
    }
    assert_eq!(ids(&memory), [2, 3, 4, 5]);
    // What had faded before is forgotten too, though it was not replayed.
    memory.traces_mut().filter(|trace| trace.id > 3).for_each(|trace| trace.strength = 0.1);
    {
        let mut source = memory.by(&Uniform).unwrap();
        let replay = source.draw(1).unwrap();
        assert_eq!(source.fade(&replay, Fading { rate: 0.0, forget_below: 0.3 }).unwrap(), 2);
        assert!((0..20).all(|_| source.draw(5).unwrap().ids.iter().all(|id| *id < 4)));
    }
    memory.forget(|trace| trace.id > 1);
    add(&mut memory, 4, &Tags::default());
    assert_eq!(ids(&memory), [6, 7, 8, 9]);
    memory.forget(|trace| trace.id > 7);
    add(&mut memory, 2, &Tags::default());
    assert_eq!((ids(&memory), contents(&memory)), (vec![6, 7, 10, 11], vec![6, 7, 10, 11]));
}

#[test]
fn interleaves_and_gives_back_to_each_its_own() {
    let (mut first, mut second) = (memory(4, Keep::Newest, 0), memory(4, Keep::Newest, 1));
    let draws = |first: &mut Experiences, second: &mut Experiences| {
        let mut both = Interleaved::of(first.by(&Uniform).unwrap(), second.by(&Uniform).unwrap());
        let replay = both.draw(5).unwrap();
        let surprise: Vec<f32> = (0..5).map(|i| 10.0 + i as f32).collect();
        both.learnt(&replay, &Learnt { loss: 0.0, surprise: Some(surprise), interference: None }).unwrap();
        let short = Learnt { loss: 0.0, surprise: Some(vec![1.0]), interference: None };
        assert!(matches!(both.learnt(&replay, &short), Err(Error::Mismatch { .. })));
        replay
    };
    let empty = Interleaved::of(first.by(&Uniform).unwrap(), second.by(&Uniform).unwrap()).is_empty();
    assert!(empty);
    add(&mut first, 4, &Tags::default());
    assert_eq!(draws(&mut first, &mut second).columns[0].dims(), [5, 1], "all of the one");
    add(&mut second, 4, &Tags::default());
    let before: u32 = first.traces().map(|trace| trace.replays).sum();
    let replay = draws(&mut first, &mut second);
    assert_eq!((replay.ids.len(), replay.columns[0].dims()), (5, &[5, 1][..]));
    assert_eq!(replay.reasons.iter().map(|reason| reason.memory).collect::<Vec<_>>(), [0, 0, 0, 1, 1]);
    let replays = |memory: &Experiences| memory.traces().map(|trace| trace.replays).sum::<u32>();
    assert_eq!((replays(&first) - before, replays(&second)), (3, 2));
    assert!(second.traces().filter(|t| t.replays > 0).all(|t| t.surprise >= 13.0));
}

/// Everything that is wrong is refused with its name, and changes nothing.
#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let refused = |result: Result<Experiences, Error>| result.err().unwrap().to_string();
    assert!(refused(Experiences::new(0, Keep::Newest, cl_core::rng(0, "m"))).contains("capacity"));
    assert!(refused(Experiences::new(1, Keep::Sample { gain: -1.0 }, cl_core::rng(0, "m"))).contains("gain"));

    let mut memory = memory(3, Keep::Newest, 0);
    add(&mut memory, 2, &Tags::default());
    let [x, y] = numbered(2, 2);
    let before = snapshot::to_bytes(Kind::new("test/m", 1), &memory).unwrap();
    let mut bad = |columns: &[&Tensor], tags: Tags<'_>| memory.add(columns, &tags).unwrap_err().to_string();
    assert!(bad(&[&x], Tags::default()).contains("column"));
    assert!(bad(&[&y, &x], Tags::default()).contains("rows of"));
    assert!(bad(&[&x, &y.narrow(0, 0, 1).unwrap()], Tags::default()).contains("2 rows"));
    let tag = |salience: &'static [f32]| Tags { salience: Some(salience), ..Tags::default() };
    assert!(bad(&[&x, &y], tag(&[0.5, 1.5])).contains("[0, 1]"));
    assert!(bad(&[&x, &y], tag(&[0.5])).contains("2 numbers"));
    assert!(bad(&[&x, &y], tag(&[0.5, f32::NAN])).contains("salience"));
    assert!(
        bad(&[&x, &y], Tags { importance: Some(&[1.0, -1.0]), ..Tags::default() }).contains("importance")
    );
    assert!(
        bad(&[&x, &y], Tags { surprise: Some(&[1.0, f32::INFINITY]), ..Tags::default() })
            .contains("surprise")
    );
    assert!(before == snapshot::to_bytes(Kind::new("test/m", 1), &memory).unwrap());

    // Priorities that are none.
    let nan = |_: &Trace, _: u64| f64::NAN;
    assert!(memory.by(&nan).err().unwrap().to_string().contains("NaN"));
    assert!(memory.by(&Salience { gain: -3.0 }).is_ok(), "no tag, no harm");
    memory.traces_mut().for_each(|trace| trace.salience = 1.0);
    assert!(memory.by(&Salience { gain: -3.0 }).err().unwrap().to_string().contains("salience"));
    let zero = |_: &Trace, _: u64| 0.0;
    let mut source = memory.by(&zero).unwrap();
    assert!(source.is_empty() && source.draw(1).unwrap_err().to_string().contains("nothing to draw"));
    let mut source = memory.by(&Uniform).unwrap();
    let replay = source.draw(2).unwrap();
    let short = Learnt { loss: 0.0, surprise: Some(vec![0.0]), interference: None };
    assert!(matches!(source.learnt(&replay, &short), Err(Error::Mismatch { .. })));
    memory.forget(|_| true);
    assert!(memory.is_empty() && memory.all().unwrap().is_empty());
    assert!(memory.by(&Uniform).unwrap().draw(1).unwrap_err().to_string().contains("add some"));
}

/// A first batch that cannot be kept leaves a memory as good as new.
#[test]
fn a_first_batch_that_cannot_be_kept_leaves_nothing_behind() {
    use candle_core::DType;
    let mut memory = memory(4, Keep::Sample { gain: 1.0 }, 0);
    let before = snapshot::to_bytes(Kind::new("test/m", 1), &memory).unwrap();
    let eight = Tensor::zeros((3, 2), DType::F8E4M3, &Device::Cpu).unwrap();
    assert!(memory.add(&[&eight], &Tags::default()).unwrap_err().to_string().contains("f8e4m3"));
    assert!(before == snapshot::to_bytes(Kind::new("test/m", 1), &memory).unwrap());
    add(&mut memory, 3, &Tags::default());
    assert_eq!((memory.len(), contents(&memory)), (3, vec![0, 1, 2]));
}

/// What is to be replayed once is, and then the sleep is over; what it was is told.
#[test]
fn a_sleep_ends_when_nothing_is_left_to_replay() {
    use cl_sleep::{Ended, Replay, Sleep};
    let mut memory = memory(10, Keep::Newest, 0);
    add(&mut memory, 10, &Tags::default());
    let once = |trace: &Trace, _: u64| if trace.replays == 0 { 1.0 } else { 0.0 };
    let mut learn = |_: &Replay| Ok(Learnt::from(1.0));
    let night = Sleep { cycles: 100, batch: 1, ..Sleep::default() };
    let slept = night.run(&mut memory.by(&once).unwrap(), &mut learn).unwrap();
    assert_eq!((slept.ended, slept.losses.len()), (Ended::Empty, 10));
    assert!(slept.replayed.values().all(|(times, _)| *times == 1) && slept.replayed.len() == 10);
    let again = night.run(&mut memory.by(&once).unwrap(), &mut learn).unwrap();
    assert_eq!((again.ended, again.losses.len()), (Ended::Empty, 0));
}

/// What has lost strength in a cycle is drawn by what is left of it in the next.
#[test]
fn fading_counts_at_once() {
    let mut memory = memory(2, Keep::Newest, 0);
    add(&mut memory, 2, &Tags::default());
    let priority = cl_sleep::Strength { exponent: 1.0 };
    let mut source = memory.by(&priority).unwrap();
    let replay = source.draw(1).unwrap();
    source.learnt(&replay, &Learnt::from(0.0)).unwrap();
    source.fade(&replay, Fading { rate: 0.5, forget_below: 0.0 }).unwrap();
    for reason in source.draw(40).unwrap().reasons {
        let faded = reason.id == replay.ids[0];
        assert_eq!(reason.factors[0].1, if faded { 0.5 } else { 1.0 });
        assert!((reason.probability - if faded { 1.0 / 3.0 } else { 2.0 / 3.0 }).abs() < 1e-6);
    }
}

/// The scale of a priority does not matter, however small or large.
#[test]
fn the_scale_of_a_priority_does_not_matter() {
    let draw = |scale: f64| {
        let mut memory = memory(50, Keep::Newest, 3);
        add(&mut memory, 50, &Tags::default());
        let priority = move |trace: &Trace, _: u64| scale * (1.0 + trace.id as f64);
        memory.by(&priority).unwrap().draw(40).unwrap().ids
    };
    let one = draw(1.0);
    for scale in [1e-300, 1e-30, 1e30, 1e290] {
        assert_eq!(draw(scale), one, "{scale}");
    }
}

/// The product of priorities is the product, whatever way it is put together.
#[test]
fn priorities_multiply() {
    let trace = Trace {
        id: 3,
        salience: 0.5,
        importance: 2.0,
        surprise: 3.0,
        interference: 0.5,
        replays: 3,
        strength: 0.25,
    };
    let three =
        Salience { gain: 2.0 }.and(Surprise { exponent: 2.0, floor: 1.0 }).and(ReplayCount { exponent: 0.5 });
    assert_eq!(three.of(&trace, 9), 2.0 * 16.0 * 0.5);
    assert_eq!(three.reasons(&trace, 9), [("salience", 2.0), ("surprise", 16.0), ("replay count", 0.5)]);
    let boxed: Box<dyn Priority> = Box::new(three);
    assert_eq!((boxed.of(&trace, 9), boxed.reasons(&trace, 9).len()), (32.0 * 0.5, 3));
    assert_eq!(cl_sleep::Strength { exponent: 2.0 }.of(&trace, 9), 0.0625);
    assert_eq!(cl_sleep::Interference { exponent: 1.0, floor: 0.5 }.of(&trace, 9), 1.0);
    assert_eq!(cl_sleep::Recency { half_life: 3.0 }.of(&trace, 9), 0.25);
}
