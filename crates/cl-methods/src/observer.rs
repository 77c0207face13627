//! Watches a run and says what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};
use cl_core::{Result, Units};
use cl_data::{Samples, Task, TaskSamples};
use cl_metrics::diagnose::{
    self, Curve, Finding, Importance, Measure, Memory, Observation, Priorities, Trace, counts,
};

use crate::learner::losses;
use crate::train::{Outcome, accuracy};
use crate::{Batch, Drawn, Learner, Method, Stored, Vitals};

/// Looks at each task.
const LOOKS: usize = 20;

/// Training samples of each earlier task that the gradient of the past is taken on.
const PROBES: usize = 32;

/// Test samples of the present task that its learning curve is measured on.
const TESTED: usize = 200;

/// Stored samples whose losses are measured.
const MEASURED: usize = 100;

/// Watches a [`Training`](crate::train::Training) and fills a [`Trace`]: twenty looks a task, evenly spaced. It draws no
/// random numbers and changes nothing: a watched run gives the same numbers, bit for bit.
///
/// It sees what the method's [`vitals`](Method::vitals) tell, and measures with the learner's network: loss and gradient
/// of the batch that comes, the cosine with the gradient on samples of earlier tasks, and how the present task is
/// learned. Of a run that was restored it sees what comes then.
///
/// ```
/// use cl_data::{ClassOrder, Scenario};
/// use cl_metrics::diagnose::Kind;
/// use cl_methods::train::{Budget, Training};
/// use cl_methods::{Observer, Protocol, Registry};
///
/// let stream = cl_data::split(&cl_data::load("digits")?, 5, Scenario::Class, ClassOrder::Fixed)?;
/// let protocol = Protocol { hidden: vec![32], budget: Budget::Iterations(60), ..Protocol::default() };
/// let mut method = Registry::standard().build("None", &serde_json::json!({}), 0)?;
/// let mut observer = Observer::new();
/// Training::new(&stream, &mut *method, &protocol, 0)?.watched(&mut observer).run(&mut |_| Ok(()))?;
/// assert_eq!(observer.findings()[0].kind, Kind::ForgettingUnprotected);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Observer {
    trace: Trace,
    phase: Option<Phase>,
    /// What was drawn of each task when it was looked at last.
    drawn: BTreeMap<usize, u64>,
    /// The importance that was seen last.
    importance: Vec<Tensor>,
    /// The task of each class, where no two tasks share one.
    task_of: Option<BTreeMap<u32, usize>>,
    /// Bytes that the memory of samples may take.
    budget: Option<u64>,
}

/// What is kept for the phase that runs.
#[derive(Debug)]
struct Phase {
    index: usize,
    steps: usize,
    /// Samples of the tasks before; none in the first.
    probes: Option<Samples>,
    tested: TaskSamples,
    units: Units,
    /// The sketch of the importance, once there is one: it changes between tasks.
    importance: Option<Importance>,
}

/// A step that is about to be taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The phase it is of.
    pub(crate) phase: usize,
    /// Steps taken in the run before it.
    pub(crate) done: usize,
    /// Steps of its phase that are left, itself included.
    pub(crate) left: usize,
    /// Steps of its phase.
    pub(crate) of: usize,
}

impl Step {
    /// Steps taken in the phase before it.
    fn within(self) -> usize {
        self.of.saturating_sub(self.left)
    }
}

impl Observer {
    /// One that has seen nothing yet. It is for one run.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, for a memory of samples that may take so many bytes: inputs and labels are counted, as they are stored.
    pub fn with_budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// What was seen so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What is wrong with what was seen so far: [`diagnose`](fn@cl_metrics::diagnose::diagnose).
    pub fn findings(&self) -> Vec<Finding> {
        diagnose::diagnose(&self.trace)
    }

    /// Whether it looks before this step.
    pub(crate) fn is_due(&self, step: Step) -> bool {
        let nth = |within: usize| within * LOOKS / step.of.max(1);
        let seen = self.trace.observations.last().is_some_and(|last| last.step == step.done as u64);
        // A run that was stopped after a look comes by again.
        !seen && step.within().checked_sub(1).is_none_or(|before| nth(before) < nth(step.within()))
    }

    /// Before a step on this batch.
    pub(crate) fn look(
        &mut self,
        method: &dyn Method,
        learner: &Learner,
        batch: &Batch,
        curriculum: &[Task],
        step: Step,
    ) -> Result<()> {
        if self.phase.as_ref().is_none_or(|phase| phase.index != step.phase) {
            self.phase = Some(self.begin(curriculum, step)?);
        }
        let mut vitals = method.vitals(learner)?;
        self.trace.lambda = vitals.lambda.or(self.trace.lambda);
        self.trace.protects |= vitals.protects;
        let mut seen = Observation { step: step.done as u64, task: step.phase, ..Observation::default() };
        if let Some(penalty) = &vitals.penalty {
            seen.penalty = Some(scalar(penalty)?);
            seen.penalty_gradient_norm = Some(gradient_norm(learner, penalty)?);
        }
        seen.priorities = Priorities::of(&vitals.priorities);
        seen.importance = self.importance(std::mem::take(&mut vitals.importance))?;
        let Some(phase) = &self.phase else { return Ok(()) };
        if !vitals.apart {
            let gradients = gradients_in_full(learner, batch)?;
            seen.loss = Some(scalar(&learner.loss(batch)?)?);
            seen.gradient_norm = Some(diagnose::norm(&gradients)?);
            if let Some(samples) = phase.probes.clone() {
                let past = gradients_in_full(learner, &Batch { samples, units: batch.units })?;
                seen.cosine = diagnose::cosine(&gradients, &past)?;
            }
            if step.within() == 0 {
                let (task, measure) = (step.phase, Measure::Accuracy);
                self.trace.curves.push(Curve { task, measure, points: Vec::new() });
            }
            self.measure(learner, step.within())?;
        }
        if let Some(stored) = &vitals.memory {
            seen.memory = Some(self.memory(learner, batch.units, stored, &vitals)?);
        }
        self.trace.observations.push(seen);
        Ok(())
    }

    /// After an evaluation.
    pub(crate) fn evaluated(&mut self, learner: &Learner, outcome: &Outcome) -> Result<()> {
        self.trace.baseline.clone_from(&outcome.baseline);
        self.trace.rows.clone_from(&outcome.r);
        match &self.phase {
            Some(phase) if phase.index + 1 == outcome.r.len() => self.measure(learner, phase.steps),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, curriculum: &[Task], step: Step) -> Result<Phase> {
        if self.trace.classes.is_empty() {
            let classes = |task: &Task| -> Result<Vec<u32>> {
                Ok(task.train.labels()?.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
            };
            self.trace.classes = curriculum.iter().map(classes).collect::<Result<_>>()?;
            let of_task = |(task, classes): (usize, &Vec<u32>)| {
                classes.iter().map(|class| (*class, task)).collect::<Vec<_>>()
            };
            let all: Vec<_> = self.trace.classes.iter().enumerate().flat_map(of_task).collect();
            let task_of: BTreeMap<_, _> = all.iter().copied().collect();
            self.task_of = (task_of.len() == all.len()).then_some(task_of);
        }
        let (past, task) = (&curriculum[..step.phase], &curriculum[step.phase]);
        let probes = past.iter().map(|task| task.train.gather(&evenly(task.train.len(), PROBES)));
        let probes = probes.collect::<Result<Vec<_>>>()?;
        Ok(Phase {
            index: step.phase,
            steps: step.of,
            probes: match probes.as_slice() {
                [] => None,
                probes => Some(Samples::concat(&probes.iter().collect::<Vec<_>>())?),
            },
            tested: task.test.choose(&evenly(task.test.len(), TESTED))?,
            units: task.units,
            importance: None,
        })
    }

    /// A point of the learning curve of the present task, where that was seen from its beginning.
    fn measure(&mut self, learner: &Learner, steps: usize) -> Result<()> {
        let Some(phase) = &self.phase else { return Ok(()) };
        let curve = self.trace.curves.last_mut().filter(|curve| curve.task == phase.index);
        if let Some(curve) = curve {
            let right = accuracy(|x| learner.net.predict(x), &phase.tested, phase.units)?;
            curve.points.push((steps as u64, right));
        }
        Ok(())
    }

    /// The sketch of an importance; its change since the task before stands in the first look at it only.
    fn importance(&mut self, now: Vec<Tensor>) -> Result<Option<Importance>> {
        let Some(phase) = self.phase.as_mut().filter(|_| !now.is_empty()) else { return Ok(None) };
        if let Some(seen) = phase.importance {
            return Ok(Some(Importance { change: None, ..seen }));
        }
        let before = Some(self.importance.as_slice()).filter(|before| !before.is_empty());
        phase.importance = Some(Importance::of(&now, before)?);
        self.importance = now;
        Ok(phase.importance)
    }

    fn memory(
        &mut self,
        learner: &Learner,
        units: Units,
        stored: &Stored,
        vitals: &Vitals,
    ) -> Result<Memory> {
        let capacity = stored.capacity.map(|n| n as u64);
        let mut memory = Memory { capacity, budget: self.budget, ..Memory::default() };
        if let Some(samples) = &stored.samples {
            let bytes = |tensor: &Tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
            memory.bytes = Some(bytes(&samples.x) + bytes(&samples.y));
            let labels = samples.labels()?;
            memory.by_class = counts(labels.iter().copied());
            memory.by_task = match (&stored.tasks, &self.task_of) {
                (Some(tasks), _) => counts(tasks.iter().copied()),
                (None, Some(of)) => counts(labels.iter().filter_map(|class| of.get(class).copied())),
                (None, None) => BTreeMap::new(),
            };
            if !vitals.apart {
                let some = samples.gather(&evenly(samples.len(), MEASURED))?;
                memory.losses = losses(&learner.net.predict(&some.x)?, &some.y, units)?;
                memory.losses.retain(|loss| loss.is_finite());
            }
        }
        let drawn = match (&stored.drawn, &self.task_of) {
            (Some(Drawn::ByTask(drawn)), _) => Some(drawn.clone()),
            (Some(Drawn::ByClass(drawn)), Some(of)) => {
                let mut tasks = BTreeMap::new();
                for (class, n) in drawn {
                    if let Some(task) = of.get(class) {
                        *tasks.entry(*task).or_default() += n;
                    }
                }
                Some(tasks)
            }
            _ => None,
        };
        if let Some(drawn) = drawn {
            let new = |task, n: u64| n.saturating_sub(self.drawn.get(task).copied().unwrap_or(0));
            let since = drawn.iter().map(|(task, n)| (*task, new(task, *n)));
            memory.drawn = Some(since.filter(|(_, n)| *n > 0).collect());
            self.drawn = drawn;
        }
        Ok(memory)
    }
}

/// Up to `most` of `n` rows, evenly spaced.
fn evenly(n: usize, most: usize) -> Vec<u32> {
    let some = n.min(most);
    (0..some).map(|i| (i * n / some) as u32).collect()
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.to_scalar()?)
}

/// Of a penalty, which need not reach every parameter, or any.
/// The gradients of a batch in f32 whatever the precision of training is: where it scales its loss, an overflow of a look would
/// cost a step.
fn gradients_in_full(learner: &Learner, batch: &Batch) -> Result<Vec<Tensor>> {
    learner.net.gradients(&batch.samples.x, &batch.samples.y, batch.units, None)
}

fn gradient_norm(learner: &Learner, penalty: &Tensor) -> Result<f64> {
    if !penalty.track_op() {
        return Ok(0.0);
    }
    let gradients = penalty.backward()?;
    let reached = learner.net.params().trainable().filter_map(|param| gradients.get(param.var.as_tensor()));
    diagnose::norm(&reached.cloned().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, learner, tasks};
    use cl_data::Scenario;
    use cl_nn::{LossScale, LossScaler, Precision};

    /// With a scale that every gradient overflows by, what a look measures leaves no trace in it: the next step is taken.
    #[test]
    fn a_look_costs_no_step() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 1, 20), learner(Scenario::Domain, 1));
        learner.precision = Precision::F16;
        let config = LossScale::Static(2f64.powi(100));
        learner.scaler = Some(LossScaler::new(config, &candle_core::Device::Cpu).unwrap());
        let state = |learner: &Learner| serde_json::to_string(&learner.scaler).unwrap();
        let (batch, before) = (batch(&tasks[0], 0, 8), state(&learner));
        assert!(diagnose::norm(&gradients_in_full(&learner, &batch).unwrap()).unwrap() > 0.0);
        assert_eq!(state(&learner), before);
        learner.gradients_of(&batch).unwrap();
        assert_ne!(state(&learner), before, "a step does overflow");
    }
}
