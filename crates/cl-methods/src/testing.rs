//! What the tests inside the crate share: tasks whose samples can be told apart, and a learner.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::Units;
use cl_data::{Samples, Scenario, Task, Transform};
use cl_nn::{Mlp, Optimizer, OptimizerConfig, Precision};

use crate::{Batch, Learner, Method};

/// Tasks of two classes, `per_class` samples each. An input is (task, class, number of the sample).
pub fn tasks(scenario: Scenario, count: usize, per_class: usize) -> Vec<Task> {
    let samples = |task: usize| {
        let rows = 2 * per_class;
        let x = (0..rows).flat_map(|i| [task as f32, (i % 2) as f32, (i / 2) as f32]).collect();
        let y = (0..rows).map(|i| (i % 2 + if scenario == Scenario::Domain { 0 } else { 2 * task }) as u32);
        let x = Tensor::from_vec(x, (rows, 3), &Device::Cpu).unwrap();
        Samples::new(x, Tensor::from_iter(y, &Device::Cpu).unwrap()).unwrap()
    };
    let task = |index: usize| Task {
        index,
        classes: vec![2 * index as u32, 2 * index as u32 + 1],
        units: if scenario == Scenario::Task { Units::Block(2) } else { Units::All },
        transform: std::sync::Arc::new(Transform::None),
        train: samples(index).into(),
        test: samples(index).into(),
    };
    (0..count).map(task).collect()
}

/// A learner for such tasks whose step is the whole gradient: θ ← θ − g.
pub fn learner(scenario: Scenario, tasks: usize) -> Learner {
    let outputs = if scenario == Scenario::Domain { 2 } else { 2 * tasks };
    let net = Mlp::new(&[3, 8, outputs], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap();
    let optimizer = Optimizer::new(OptimizerConfig::sgd(1.0)).unwrap();
    Learner {
        net,
        optimizer,
        precision: Precision::F32,
        scaler: None,
        scenario,
        task: 0,
        classes_per_task: 2,
    }
}

/// Rows `from` to `to` of a task.
pub fn batch(task: &Task, from: usize, to: usize) -> Batch {
    Batch { samples: task.train.slice(from..to).unwrap(), units: task.units }
}

/// θ before minus θ after: with the learner above the gradient that was applied.
pub fn moved(learner: &mut Learner, step: impl FnOnce(&mut Learner)) -> Vec<f32> {
    let before = learner.net.params().flat().unwrap();
    step(learner);
    (before - learner.net.params().flat().unwrap()).unwrap().to_vec1().unwrap()
}

/// The gradient of a loss, over all parameters.
pub fn gradient(learner: &Learner, loss: &Tensor) -> Vec<f32> {
    learner.net.params().flat_gradient(&loss.backward().unwrap()).unwrap().to_vec1().unwrap()
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * f.abs().max(e.abs()).max(1.0), "{i}: {f} against {e}");
    }
}

/// Every step is the plain gradient where it agrees with that on what `draw` says was drawn, and has nothing of its
/// direction where it does not. Both occur.
pub fn assert_projected<T>(
    scenario: Scenario,
    method: &mut dyn Method,
    twin: &mut T,
    draw: impl Fn(&mut T, &Learner, &Batch) -> Option<Samples>,
    end_task: impl Fn(&mut T, &Learner, &Task),
) {
    let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
    learner.optimizer.set_lr(0.05).unwrap();
    let (mut conflicts, mut agreements) = (0, 0);
    for (k, task) in tasks.iter().enumerate() {
        learner.task = k;
        for step in 0..20 {
            let batch = batch(task, step, step + 7);
            let plain = gradient(&learner, &learner.loss(&batch).unwrap());
            let reference = draw(twin, &learner, &batch).map(|samples| {
                gradient(&learner, &learner.loss(&Batch { samples, units: task.units }).unwrap())
            });
            let found = moved(&mut learner, |learner| method.observe(learner, &batch).unwrap());
            let found: Vec<f32> = found.iter().map(|step| step / 0.05).collect();
            assert_eq!(reference.is_some(), k > 0);
            let Some(reference) = reference else {
                assert_close(&found, &plain, 1e-4);
                continue;
            };
            if dot(&plain, &reference) >= 0.0 {
                agreements += 1;
                assert_close(&found, &plain, 1e-4);
                continue;
            }
            conflicts += 1;
            let scale = (dot(&reference, &reference) * dot(&plain, &plain)).sqrt();
            let angle = dot(&found, &reference) / scale;
            assert!(angle.abs() < 1e-4, "orthogonal after the projection, not {angle}");
            let factor = (dot(&plain, &reference) / dot(&reference, &reference)) as f32;
            let by_hand: Vec<f32> = plain.iter().zip(&reference).map(|(g, r)| g - factor * r).collect();
            assert_close(&found, &by_hand, 1e-4);
        }
        method.end_task(&mut learner, task).unwrap();
        end_task(twin, &learner, task);
    }
    assert!(conflicts > 0 && agreements > 0, "{scenario}: {conflicts} and {agreements}");
}
