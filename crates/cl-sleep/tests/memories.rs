//! Episodes and prototypes, interference, and the two learners together.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Module as _, Tensor};
use cl_core::{Error, TensorOps as _, Units};
use cl_nn::Mlp;
use cl_replay::scores::LayerGradients;
use cl_sleep::interference::{gradient_conflict, loss_rise};
use cl_sleep::{
    AnyOf, AtTaskEnds, Complementary, Direction, Event, Every, Experiences, Hippocampus, Keep, Learnt,
    Priority, Prototypes, Recency, Replay, ReplayCount, Salience, Sleep, Tags, Uniform,
};
use proptest::prelude::*;

fn episode(steps: std::ops::Range<u32>) -> Vec<Tensor> {
    let places: Vec<u32> = steps.collect();
    let rewards: Vec<f32> = places.iter().map(|x| *x as f32).collect();
    let n = places.len();
    vec![
        Tensor::from_vec(places, n, &Device::Cpu).unwrap(),
        Tensor::from_vec(rewards, (n, 1), &Device::Cpu).unwrap(),
    ]
}

#[test]
fn episodes_come_back_forward_and_reverse() {
    let mut hippocampus = Hippocampus::new(3, Uniform, cl_core::rng(0, "replay")).unwrap();
    let mut ids = Vec::new();
    for at in 0..5u32 {
        ids.push(hippocampus.store(episode(10 * at..10 * at + 1 + at), 0.0).unwrap());
    }
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert_eq!(
        hippocampus.episodes().iter().map(|e| (e.trace.id, e.len())).collect::<Vec<_>>(),
        [(2, 3), (3, 4), (4, 5)]
    );
    let back = hippocampus.replay(3, Direction::Reverse).unwrap();
    assert_eq!(back[0].to_vec1::<u32>().unwrap(), [33, 32, 31, 30]);
    assert_eq!(back[1].to_vec2::<f32>().unwrap(), [[33.0], [32.0], [31.0], [30.0]]);
    let there = hippocampus.replay(3, Direction::Forward).unwrap();
    assert_eq!(there[0].to_vec1::<u32>().unwrap(), [30, 31, 32, 33]);
    assert_eq!(hippocampus.episodes()[1].trace.replays, 2);
    assert!(hippocampus.replay(0, Direction::Forward).unwrap_err().to_string().contains("number 0"));
    hippocampus.trace_mut(2).unwrap().surprise = 9.0;

    // Saved and restored it draws on as it would have.
    const KIND: cl_core::snapshot::Kind = cl_core::snapshot::Kind::new("test/hippocampus", 1);
    let saved = cl_core::snapshot::to_bytes(KIND, &hippocampus).unwrap();
    let mut twin: Hippocampus<Uniform> = cl_core::snapshot::from_bytes(&saved, KIND).unwrap();
    let draws = |h: &mut Hippocampus<Uniform>| (0..20).map(|_| h.draw().unwrap()).collect::<Vec<_>>();
    let drawn = draws(&mut hippocampus);
    assert_eq!(draws(&mut twin), drawn);
    assert!([2, 3, 4].iter().all(|id| drawn.contains(id)));
}

/// What matters least leaves, and what matters most is drawn most, in proportion.
#[test]
fn episodes_stay_and_are_drawn_by_priority() {
    let priority = Salience { gain: 9.0 }.and(ReplayCount { exponent: 0.0 });
    let mut hippocampus = Hippocampus::new(2, priority, cl_core::rng(0, "replay")).unwrap();
    for salience in [1.0, 0.2, 0.0, 0.0, 0.1] {
        hippocampus.store(episode(0..2), salience).unwrap();
    }
    assert_eq!(hippocampus.episodes().iter().map(|e| e.trace.id).collect::<Vec<_>>(), [0, 1]);
    let first = (0..4000).filter(|_| hippocampus.draw().unwrap() == 0).count() as f64 / 4000.0;
    assert!((first - 10.0 / 12.8).abs() < 0.03, "{first}");
    // By recency the oldest leaves, and of equal ones the older.
    let mut newest = Hippocampus::new(1, Recency { half_life: 1.0 }, cl_core::rng(0, "replay")).unwrap();
    (0..3).for_each(|_| {
        newest.store(episode(0..1), 0.0).unwrap();
    });
    assert_eq!(newest.episodes()[0].trace.id, 2);
}

#[test]
fn bad_episodes_are_refused() {
    let mut hippocampus = Hippocampus::new(2, Uniform, cl_core::rng(0, "replay")).unwrap();
    assert!(hippocampus.draw().is_err());
    let bad = [
        (vec![], 0.0, "no step"),
        (episode(0..0), 0.0, "no step"),
        (vec![episode(0..2).remove(0), episode(0..3).remove(1)], 0.0, "2 steps"),
        (episode(0..2), 1.5, "salience"),
        (episode(0..2), f32::NAN, "salience"),
    ];
    for (steps, salience, says) in bad {
        let error = hippocampus.store(steps, salience).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(hippocampus.episodes().is_empty());
    assert_eq!(hippocampus.store(episode(0..1), 0.0).unwrap(), 0, "what was refused has no number");
    assert!(Hippocampus::new(0, Uniform, cl_core::rng(0, "replay")).is_err());
    let none = |_: &cl_sleep::Trace, _: u64| f64::INFINITY;
    let mut hippocampus = Hippocampus::new(2, none, cl_core::rng(0, "replay")).unwrap();
    assert!(hippocampus.store(episode(0..1), 0.0).unwrap_err().to_string().contains("finite"));
    assert!(hippocampus.episodes().is_empty());
}

proptest! {
    /// Counts add up to what came, a label never gets lost or mixed, after a night there are no two of one label
    /// within reach, nor more than there is room for, and the weighted mean of a label's prototypes is the mean of what came.
    #[test]
    fn prototypes_keep_their_rule(
        points in prop::collection::vec((-5f32..5.0, -5f32..5.0, 0u32..3), 1..60),
        radius in 0.0f64..3.0,
        merge in 0.0f64..3.0,
        most in 3usize..10,
    ) {
        let mut semantic = Prototypes::new(radius, merge, most).unwrap();
        for &(x, y, label) in &points {
            let at = semantic.learn(&[x, y], label).unwrap();
            prop_assert_eq!(semantic.all()[at].label, label);
        }
        let left = semantic.settle();
        prop_assert_eq!(left, semantic.all().len());
        prop_assert!(left <= most);
        for label in 0..3 {
            let own: Vec<_> = semantic.all().iter().filter(|p| p.label == label).collect();
            let came: Vec<_> = points.iter().filter(|p| p.2 == label).collect();
            prop_assert_eq!(own.iter().map(|p| p.count).sum::<u64>(), came.len() as u64);
            prop_assert_eq!(own.is_empty(), came.is_empty());
            for (mean, at) in [(0, 0), (1, 1)] {
                let sum: f64 = own.iter().map(|p| p.count as f64 * f64::from(p.center[at])).sum();
                let all: f64 = came.iter().map(|p| f64::from(if mean == 0 { p.0 } else { p.1 })).sum();
                prop_assert!((sum - all).abs() < 1e-2, "{} {}", sum, all);
            }
            for (a, first) in own.iter().enumerate() {
                for second in &own[a + 1..] {
                    let d = first.center.iter().zip(&second.center).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
                    prop_assert!(d > merge, "{}", d);
                }
            }
        }
    }
}

#[test]
fn bad_patterns_are_refused() {
    assert!(Prototypes::new(-1.0, 0.0, 1).is_err() && Prototypes::new(1.0, f64::NAN, 1).is_err());
    assert!(Prototypes::new(1.0, 1.0, 0).is_err());
    let mut semantic = Prototypes::new(1.0, 1.0, 5).unwrap();
    assert!(semantic.nearest(&[1.0]).unwrap().is_none());
    semantic.learn(&[1.0, 2.0], 0).unwrap();
    assert!(matches!(semantic.learn(&[1.0], 0), Err(Error::Mismatch { .. })));
    assert!(semantic.learn(&[1.0, f32::NAN], 0).is_err() && semantic.nearest(&[]).is_err());
    assert_eq!(semantic.all()[0].count, 1);
}

fn net_and_data() -> (Mlp, [Tensor; 2], [Tensor; 2]) {
    let net = Mlp::new(&[4, 6, 3], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap();
    let x = Tensor::from_iter((0..40).map(|i| ((i * 7919) % 13) as f32 / 6.0 - 1.0), &Device::Cpu).unwrap();
    let x = x.reshape((10, 4)).unwrap();
    let y = Tensor::from_iter((0..10u32).map(|i| i % 3), &Device::Cpu).unwrap();
    let cut = |t: &Tensor, from, n| t.narrow(0, from, n).unwrap().contiguous().unwrap();
    (net, [cut(&x, 0, 6), cut(&y, 0, 6)], [cut(&x, 6, 4), cut(&y, 6, 4)])
}

fn loss_of(net: &Mlp, x: &Tensor, y: &Tensor, row: usize) -> f64 {
    let (x, y) = (x.narrow(0, row, 1).unwrap(), y.narrow(0, row, 1).unwrap());
    let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap();
    f64::from(loss.to_scalar::<f32>().unwrap())
}

/// The rise is that of a step taken on a copy, and the network is as it was, also where a measurement fails.
#[test]
fn a_virtual_step_leaves_the_network_as_it_was() {
    let (net, [old_x, old_y], [x, y]) = net_and_data();
    let bits = |net: &Mlp| net.params().flat().unwrap().to_vec1::<f32>().unwrap();
    let before = bits(&net);
    let gradients = net.gradients(&x, &y, Units::All, None).unwrap();
    let losses = || Ok((0..6).map(|row| loss_of(&net, &old_x, &old_y, row)).collect());
    let rise = loss_rise(net.params(), &gradients, 0.5, losses).unwrap();
    assert_eq!(bits(&net), before);
    let copy = net.copy().unwrap();
    copy.descend(&x, &y, Units::All, None, 0.5).unwrap();
    for (row, rise) in rise.iter().enumerate() {
        let expected = (loss_of(&copy, &old_x, &old_y, row) - loss_of(&net, &old_x, &old_y, row)).max(0.0);
        assert!((f64::from(*rise) - expected).abs() < 1e-5, "{row}: {rise} {expected}");
    }
    assert!(rise.iter().any(|r| *r > 0.0) && rise.contains(&0.0), "{rise:?}");
    let mut asked = 0;
    let failing = || {
        asked += 1;
        if asked == 1 { Ok(vec![0.0]) } else { Err(Error::Interrupted) }
    };
    assert!(loss_rise(net.params(), &gradients, 0.5, failing).is_err());
    assert_eq!(bits(&net), before);
    let mut asked = 0;
    let diverging = || {
        asked += 1;
        Ok(vec![if asked == 1 { 0.0 } else { f64::NAN }])
    };
    assert!(loss_rise(net.params(), &gradients, 0.5, diverging).unwrap_err().to_string().contains("NaN"));
    assert_eq!(bits(&net), before);
    assert!(matches!(
        loss_rise(net.params(), &gradients[1..], 0.5, || Ok(vec![])),
        Err(Error::Mismatch { .. })
    ));
}

/// The conflict of two gradients is that of the gradients themselves.
#[test]
fn a_conflict_is_a_negative_cosine() {
    let (net, old, new) = net_and_data();
    let layers = |[x, y]: &[Tensor; 2]| -> Vec<LayerGradients> {
        let n = y.dim(0).unwrap() as f64;
        let of_each = |z: &Tensor| Ok((z.cross_entropy_gradient(y, Units::All, None)? * n)?);
        let all = net.layer_gradients(x, of_each).unwrap();
        all.into_iter().map(|[inputs, deltas]| LayerGradients { inputs, deltas, bias: true }).collect()
    };
    let found = gradient_conflict(&layers(&old), &layers(&new)).unwrap();
    let flat = |x: &Tensor, y: &Tensor| -> Vec<f64> {
        let gradients = net.gradients(x, y, Units::All, None).unwrap();
        gradients
            .iter()
            .flat_map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .map(f64::from)
            .collect()
    };
    let mean = flat(&new[0], &new[1]);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (row, found) in found.iter().enumerate() {
        let own = flat(&old[0].narrow(0, row, 1).unwrap(), &old[1].narrow(0, row, 1).unwrap());
        let cosine = dot(&own, &mean) / (dot(&own, &own) * dot(&mean, &mean)).sqrt();
        assert!((f64::from(*found) - (-cosine).max(0.0)).abs() < 1e-4, "{row}: {found} {cosine}");
    }
    assert!(found.iter().any(|c| *c > 0.05) && found.contains(&0.0), "{found:?}");
}

/// The two learners: who learns when, what is kept, and that a failed sleep loses no experience.
#[test]
fn two_learners_take_turns() {
    let (fast, slow) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let fail = std::cell::Cell::new(false);
    let mut brain = Complementary {
        fast: |columns: &[&Tensor]| {
            fast.set(fast.get() + columns[0].dim(0)?);
            Ok(Some(vec![0.5; columns[0].dim(0)?]))
        },
        slow: |replay: &Replay| {
            if fail.get() {
                return Err(Error::Interrupted);
            }
            slow.set(slow.get() + replay.ids.len());
            Ok(Learnt::from(1.0))
        },
        memory: Experiences::new(30, Keep::Newest, cl_core::rng(0, "memory")).unwrap(),
        priority: Uniform,
        schedule: AnyOf(vec![Box::new(Every::new(20).unwrap()), Box::new(AtTaskEnds)]),
        sleep: Sleep { cycles: 3, batch: 4, ..Sleep::default() },
    };
    assert!(brain.told(Event::TaskEnded).unwrap().is_none(), "nothing to sleep over");
    let x = Tensor::zeros((8, 2), DType::F32, &Device::Cpu).unwrap();
    let mut nights = Vec::new();
    for step in 0..6 {
        if brain.experience(&[&x], &Tags::default()).unwrap().is_some() {
            nights.push(step);
        }
    }
    assert_eq!((nights, fast.get(), slow.get()), (vec![2, 4], 48, 24));
    assert!(brain.told(Event::TaskEnded).unwrap().is_some());
    assert_eq!((slow.get(), brain.memory.len()), (36, 30));
    assert!(brain.memory.traces().all(|trace| trace.surprise == 0.5));
    // The fast learner's error is believed where the tags say nothing.
    let surprise = [2.0; 8];
    brain.experience(&[&x], &Tags { surprise: Some(&surprise), ..Tags::default() }).unwrap();
    assert_eq!(brain.memory.traces().filter(|trace| trace.surprise == 2.0).count(), 8);
    fail.set(true);
    let seen = brain.memory.seen();
    assert!(matches!(brain.experience(&[&x], &Tags::default()), Err(Error::Interrupted)));
    assert_eq!(brain.memory.seen(), seen + 8, "what came is kept");
    fail.set(false);
    assert!(brain.sleep_now().is_ok());
}
