//! The loop: steps, state at the border of tasks, evaluation, progress.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result, Units};
use cl_data::{LastBatch, Order, Samples, Scenario, Stream, Task};
use cl_methods::train::{Budget, Progress, Training, accuracy, train};
use cl_methods::{Batch, Learner, Method, Protocol};
use cl_nn::Mlp;
use common::{protocol, stream};

/// Fine-tuning that writes down what it sees.
#[derive(Default)]
struct Probe {
    /// Steps that the optimizer had taken at the beginning of each task.
    at_begin: Vec<u64>,
    /// The phase and the size of every batch.
    batches: Vec<(usize, usize)>,
    /// Every sample that was trained on.
    inputs: Vec<Vec<f32>>,
    ended: usize,
}

impl Method for Probe {
    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        assert_eq!(learner.task, task.index);
        self.at_begin.push(learner.optimizer.steps("layers.0.weight"));
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.batches.push((learner.task, batch.samples.len()));
        self.inputs.extend(batch.samples.x.to_vec2::<f32>()?);
        learner.step(&learner.loss(batch)?)
    }

    fn end_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        self.ended += 1;
        Ok(())
    }
}

fn probe(stream: &Stream, protocol: &Protocol) -> (Probe, Vec<Progress>) {
    let (mut probe, mut calls) = (Probe::default(), Vec::new());
    let progress = &mut |progress| {
        calls.push(progress);
        Ok(())
    };
    let outcome = train(stream, &mut probe, protocol, 0, progress).unwrap();
    assert_eq!(outcome.r.len(), stream.tasks.len());
    assert!(outcome.r.iter().all(|row| row.len() == stream.tasks.len()));
    assert_eq!(outcome.samples, probe.batches.iter().map(|b| b.1 as u64).sum::<u64>());
    (probe, calls)
}

#[test]
fn the_optimizer_keeps_its_state_unless_the_protocol_resets_it() {
    let stream = stream(Scenario::Task, 3);
    assert_eq!(probe(&stream, &protocol(4)).0.at_begin, [0, 4, 8]);
    let reset = Protocol { reset_optimizer: true, ..protocol(4) };
    assert_eq!(probe(&stream, &reset).0.at_begin, [0, 0, 0]);
}

#[test]
fn a_budget_is_steps_or_passes_over_the_data() {
    let stream = stream(Scenario::Domain, 3);
    let sizes = |protocol: &Protocol| probe(&stream, protocol).0.batches;
    let steps = sizes(&protocol(4));
    assert_eq!(steps, [[(0, 32); 4], [(1, 32); 4], [(2, 32); 4]].concat());

    let epochs = |last_batch| Protocol { budget: Budget::Epochs(2), last_batch, ..protocol(0) };
    let (kept, dropped) = (sizes(&epochs(LastBatch::Keep)), sizes(&epochs(LastBatch::Drop)));
    let quarter = Protocol { budget: Budget::Epochs(2).part(4), ..epochs(LastBatch::Keep) };
    let part = sizes(&quarter);
    for (phase, task) in stream.tasks.iter().enumerate() {
        let n = task.train.len();
        let seen = |batches: &[(usize, usize)]| -> (usize, usize) {
            let of = batches.iter().filter(|b| b.0 == phase);
            (of.clone().count(), of.map(|b| b.1).sum())
        };
        assert_ne!(n % 32, 0);
        assert_eq!(seen(&kept), (2 * n.div_ceil(32), 2 * n));
        assert_eq!(seen(&dropped), (2 * (n / 32), 2 * (n / 32) * 32));
        // A part of them: the same steps, fewer.
        assert_eq!(seen(&part), (n.div_ceil(32).div_ceil(2), n.div_ceil(32).div_ceil(2) * 32));
    }
}

/// A stream whose order is what it is about is seen in that order, again and again.
#[test]
fn samples_come_as_given_where_the_protocol_says_so() {
    let stream = stream(Scenario::Class, 2);
    let seen = |order, seed| {
        let mut seen = Probe::default();
        let protocol =
            Protocol { order, budget: Budget::Epochs(2), last_batch: LastBatch::Keep, ..protocol(0) };
        train(&stream, &mut seen, &protocol, seed, &mut |_| Ok(())).unwrap();
        seen.inputs
    };
    let given: Vec<Vec<f32>> = stream
        .tasks
        .iter()
        .flat_map(|task| {
            let x = task.train.all().unwrap().x.to_vec2::<f32>().unwrap();
            [x.clone(), x].concat()
        })
        .collect();
    assert_eq!(seen(Order::AsGiven, 0), given);
    assert_eq!(seen(Order::AsGiven, 1), given);
    assert_ne!(seen(Order::Shuffled, 0), given);
}

#[test]
fn progress_counts_every_step_and_brackets_every_evaluation() {
    let stream = stream(Scenario::Domain, 2);
    let calls = probe(&stream, &protocol(2)).1;
    let step = |done| Progress::Step { done, total: 4 };
    let evaluation = [Progress::Evaluate, Progress::Resume];
    let expected =
        [&evaluation[..], &[step(0), step(1)], &evaluation, &[step(2), step(3)], &evaluation].concat();
    assert_eq!(calls, expected);
}

/// ctrl-C: the step that was announced is not taken any more.
#[test]
fn an_error_from_progress_ends_the_run() {
    let stream = stream(Scenario::Domain, 3);
    let mut probe = Probe::default();
    let stop = &mut |progress| match progress {
        Progress::Step { done: 6, .. } => Err(Error::Interrupted),
        _ => Ok(()),
    };
    let error = train(&stream, &mut probe, &protocol(4), 0, stop).unwrap_err();
    assert!(matches!(error, Error::Interrupted));
    assert_eq!((probe.batches.len(), probe.ended), (6, 1));
}

#[test]
fn an_error_from_a_method_ends_the_run() {
    struct Broken;
    impl Method for Broken {
        fn observe(&mut self, _: &mut Learner, _: &Batch) -> Result<()> {
            Err(Error::invalid("method", "broken"))
        }
    }
    let error = train(&stream(Scenario::Task, 2), &mut Broken, &protocol(4), 0, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "method: broken");
}

/// A protocol that cannot be followed is an error at once.
#[test]
fn a_bad_protocol_is_an_error() {
    let stream = stream(Scenario::Task, 2);
    for bad in [
        Protocol { hidden: vec![0], ..protocol(4) },
        Protocol { batch: 0, ..protocol(4) },
        Protocol { batch: 10_000, ..protocol(4) },
        Protocol { optimizer: cl_nn::OptimizerConfig::adam(-1.0), ..protocol(4) },
    ] {
        let mut probe = Probe::default();
        assert!(train(&stream, &mut probe, &bad, 0, &mut |_| Ok(())).is_err(), "{bad:?}");
        assert!(probe.batches.is_empty());
    }
}

/// R is the accuracy of the network as it is when a task has ended: among the units of the task where that
/// is given; otherwise among all, whichever were active in training.
#[test]
fn r_holds_the_accuracy_of_every_task_after_every_task() {
    #[derive(Default)]
    struct Keep(Vec<Mlp>);
    impl Method for Keep {
        fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
            learner.step(&learner.loss(batch)?)
        }
        fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
            self.0.push(learner.net.copy()?);
            Ok(())
        }
    }
    for (scenario, units) in
        [(Scenario::Task, Units::Block(2)), (Scenario::Domain, Units::All), (Scenario::Class, Units::All)]
    {
        let mut stream = stream(scenario, 3);
        if scenario == Scenario::Class {
            (2..).step_by(2).zip(&mut stream.tasks).for_each(|(n, task)| task.units = Units::First(n));
        }
        let mut method = Keep::default();
        let outcome = train(&stream, &mut method, &protocol(15), 0, &mut |_| Ok(())).unwrap();
        let r = |units: Units| -> Vec<Vec<f64>> {
            let of = |net: &Mlp| {
                stream
                    .tasks
                    .iter()
                    .map(|task| accuracy(|x| net.predict(x), &task.test, units).unwrap())
                    .collect()
            };
            method.0.iter().map(of).collect()
        };
        assert_eq!(outcome.r, r(units), "{scenario}");
        assert_eq!(outcome.r == r(Units::Block(2)), scenario != Scenario::Class);
    }
}

/// A network that answers 1 where its only input is positive, else 0.
fn sign() -> Mlp {
    let net = Mlp::new(&[1, 4], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "")).unwrap();
    // Outputs (0, x, −9, 0.5 + 2x): units 2 and 3 are another head, where 3 wins over 2 unless x = −9.
    let flat = [0f32, 1., 0., 2., 0., 0., -9., 0.5];
    net.params().set_flat(&Tensor::new(&flat, &Device::Cpu).unwrap()).unwrap();
    net
}

fn samples(x: Vec<f32>, y: Vec<u32>) -> Samples {
    let n = y.len();
    Samples::new(
        Tensor::from_vec(x, (n, 1), &Device::Cpu).unwrap(),
        Tensor::from_vec(y, n, &Device::Cpu).unwrap(),
    )
    .unwrap()
}

/// Sizes that nothing divides; only the last, or only the first, sample is right.
#[test]
fn evaluation_counts_every_sample() {
    for n in [1usize, 2, 999, 1000, 1001, 2500] {
        for right in [0, n / 2, n - 1] {
            let x = (0..n).map(|i| if i == right { 1.0 } else { -1.0 }).collect();
            let found =
                accuracy(|x| sign().predict(x), &samples(x, vec![1; n]).into(), Units::Block(2)).unwrap();
            assert_eq!(found, 1.0 / n as f64, "{n} samples, number {right} is right");
        }
    }
}

#[test]
fn evaluation_decides_among_the_units_of_the_task() {
    let of = |x: f32, y: u32, units| {
        accuracy(|x| sign().predict(x), &samples(vec![x], vec![y]).into(), units).unwrap()
    };
    // x = 2: outputs 0, 2, −9, 4.5.
    assert_eq!([0, 1, 2, 3].map(|y| of(2.0, y, Units::All)), [0., 0., 0., 1.]);
    assert_eq!([0, 1].map(|y| of(2.0, y, Units::First(2))), [0., 1.]);
    assert_eq!([0, 1, 2, 3].map(|y| of(2.0, y, Units::Block(2))), [0., 1., 0., 1.]);
    assert_eq!(of(0.0, 0, Units::First(2)), 1.0, "the first of equals");
}

/// The bits are those of the network after each task, among the units that decide; where an output is not finite there are
/// none, and the accuracies are there all the same.
#[test]
fn what_is_known_is_measured_in_bits() {
    let stream = stream(Scenario::Task, 3);
    let mut probe = Probe::default();
    let protocol_of_15 = protocol(15);
    let mut training = Training::new(&stream, &mut probe, &protocol_of_15, 0).unwrap();
    let outcome = training.run(&mut |_| Ok(())).unwrap();
    let bits = outcome.bits.unwrap();
    assert_eq!((bits.len(), outcome.r.len()), (3, 3));
    for (task, &found) in stream.tasks.iter().zip(&bits[2]) {
        let samples = task.test.all().unwrap();
        let logits = training.learner().net.predict(&samples.x).unwrap();
        let expected = cl_metrics::retention(&logits, &samples.y, Units::Block(2)).unwrap();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    assert!(outcome.stability.unwrap() > 0.0);

    let wild = Protocol { optimizer: cl_nn::OptimizerConfig::sgd(1e30), ..protocol(3) };
    let outcome = train(&stream, &mut Probe::default(), &wild, 0, &mut |_| Ok(())).unwrap();
    assert_eq!((outcome.bits, outcome.stability), (None, None));
    assert_eq!(outcome.r.len(), 3);

    // A network that does not change is as sure as before.
    struct Idle;
    impl Method for Idle {
        fn observe(&mut self, _: &mut Learner, _: &Batch) -> Result<()> {
            Ok(())
        }
    }
    assert_eq!(train(&stream, &mut Idle, &protocol(3), 0, &mut |_| Ok(())).unwrap().stability, None);
}
