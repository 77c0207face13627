//! The loop: task by task, batch by batch, and the accuracy on every task after each.

use candle_core::{DType, Device, Tensor};
use cl_core::init::Init;
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result, Units};
use cl_data::{Batches, Order, Samples, Scenario, Stream, Task, TaskSamples};
use cl_metrics::Retention;
use cl_nn::{LossScale, LossScaler, Mlp, Optimizer};
use serde::{Deserialize, Serialize};

use crate::observer::Step;
use crate::posterior::Posterior;
pub use crate::protocol::{Budget, Heads, Protocol, Weights};
use crate::{Batch, Learner, Method, Observer};
pub use cl_nn::Precision;

/// What a run gives: fractions, not percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Accuracy of the untrained network on every task.
    pub baseline: Vec<f64>,
    /// `r[i][j]`: accuracy on the test samples of task j after training phase i. A method that trains on
    /// everything at once has one phase.
    pub r: Vec<Vec<f64>>,
    /// Samples of the stream that were trained on, replayed ones not counted.
    pub samples: u64,
    /// `bits[i][j]`: what the network knows of the test samples of task j after phase i, in bits per sample
    /// ([`cl_metrics::Retention`]), its outputs taken as logits. Nothing where an output was not finite.
    pub bits: Option<Vec<Vec<f64>>>,
    /// How far the last task has moved what is known of the parameters: KL(p(θ|D_old) ‖ p(θ|D_all)) in bits, by the Laplace
    /// approximation with a diagonal Fisher information of 500 training samples and a prior of precision 1. Nothing where
    /// there is one phase only, or the learner's network has not changed.
    pub stability: Option<f64>,
}

/// Where a run is; given to the caller's callback before every step and around every evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Before a step: `done` of `total` steps of the whole run are taken.
    Step {
        /// Steps taken.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// Training pauses for an evaluation.
    Evaluate,
    /// The evaluation is over.
    Resume,
}

/// Trains one network on a stream. All randomness comes from `seed`. `progress` is called as the run goes
/// on; an error from it, such as [`cl_core::Error::Interrupted`], ends the run.
pub fn train(
    stream: &Stream,
    method: &mut dyn Method,
    protocol: &Protocol,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Outcome> {
    Training::new(stream, method, protocol, seed)?.run(progress)
}

/// A run that can be stopped anywhere, saved, and gone on with: bit for bit as if it had never stopped.
///
/// ```
/// use cl_data::{ClassOrder, Scenario};
/// use cl_methods::train::{Budget, Progress, Training};
/// use cl_methods::{Protocol, Registry};
///
/// let stream = cl_data::split(&cl_data::load("digits")?, 5, Scenario::Domain, ClassOrder::Fixed)?;
/// let protocol = Protocol { hidden: vec![20], budget: Budget::Iterations(10), ..Protocol::default() };
/// let build = || Registry::standard().build("ER", &serde_json::json!({}), 0);
///
/// // Stopped before the 26th of 50 steps, in the middle of the third task.
/// let (mut method, mut halves) = (build()?, Vec::new());
/// let mut training = Training::new(&stream, &mut *method, &protocol, 0)?;
/// let stopped = training.run(&mut |progress| match progress {
///     Progress::Step { done: 25, .. } => Err(cl_core::Error::Interrupted),
///     _ => Ok(()),
/// });
/// assert!(stopped.is_err());
/// halves.push(training.save()?);
///
/// // Elsewhere, later.
/// let mut method = build()?;
/// let mut training = Training::restore(&stream, &mut *method, &protocol, 0, &halves[0])?;
/// let outcome = training.run(&mut |_| Ok(()))?;
/// let in_one = Training::new(&stream, &mut *build()?, &protocol, 0)?.run(&mut |_| Ok(()))?;
/// assert_eq!(outcome, in_one);
/// # Ok::<(), cl_core::Error>(())
/// ```
pub struct Training<'a> {
    stream: &'a Stream,
    method: &'a mut dyn Method,
    protocol: &'a Protocol,
    seed: u64,
    curriculum: Vec<Task>,
    learner: Learner,
    outcome: Outcome,
    at: At,
    /// Steps taken in all.
    done: usize,
    /// What was known of the parameters before the last task.
    before: Option<Posterior>,
    /// What the present phase draws its batches from.
    data: Option<Samples>,
    observer: Option<&'a mut Observer>,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum At {
    /// Before an evaluation: of the untrained network, or after a phase.
    Evaluation,
    /// Between phases.
    Border,
    /// `left` steps before the end of a phase.
    Phase { batches: Box<Batches>, left: usize },
}

/// What is saved of a run.
#[derive(Serialize, Deserialize)]
struct State<N = Mlp, O = Optimizer, S = LossScaler> {
    /// What the run is of: stream, protocol and seed in words. Another one cannot go on with it.
    of: String,
    outcome: Outcome,
    before: Option<Posterior>,
    at: At,
    done: usize,
    net: N,
    optimizer: O,
    scaler: Option<S>,
    method: Vec<u8>,
}

const KIND: Kind = Kind::new("cl-methods/training", 3);

impl<'a> Training<'a> {
    /// A run before its first step.
    ///
    /// # Errors
    /// A protocol that cannot be followed, such as a half precision with a method that has none.
    pub fn new(
        stream: &'a Stream,
        method: &'a mut dyn Method,
        protocol: &'a Protocol,
        seed: u64,
    ) -> Result<Self> {
        let curriculum = method.curriculum(stream)?;
        let inputs: usize = stream.image.iter().product();
        let widths: Vec<usize> =
            std::iter::once(inputs).chain(protocol.hidden.iter().copied()).chain([stream.outputs]).collect();
        let heads = match (protocol.heads, stream.scenario) {
            (Heads::Apart, Scenario::Task) => stream.tasks.len(),
            _ => 1,
        };
        let rng = &mut cl_core::rng(seed, "weights");
        let net = Mlp::with_heads(&widths, heads, DType::F32, &Device::Cpu, rng)?;
        let rng = &mut cl_core::rng(seed, "weights");
        match protocol.weights {
            Weights::FanIn => {}
            Weights::Xavier => net.draw(Init::Xavier, Init::Zeros, rng)?,
            Weights::Truncated => net.draw(Init::Truncated(0.1), Init::Constant(0.1), rng)?,
            Weights::Small => net.draw(Init::Uniform(0.01), Init::Zeros, rng)?,
        }
        if protocol.precision != Precision::F32 && !method.can_train_in_half() {
            let why = format!(
                "this method trains in f32 only, not in {}: its steps are not all the learner's",
                protocol.precision
            );
            return Err(Error::invalid("precision", why));
        }
        let scaler = match protocol.precision {
            Precision::F16 => Some(LossScaler::new(LossScale::default(), &Device::Cpu)?),
            Precision::F32 | Precision::Bf16 => None,
        };
        let learner = Learner {
            net,
            optimizer: Optimizer::new(protocol.optimizer)?,
            precision: protocol.precision,
            scaler,
            scenario: stream.scenario,
            task: 0,
            classes_per_task: stream.tasks.first().map_or(1, |task| task.classes.len()),
        };
        let outcome = Outcome {
            baseline: Vec::new(),
            r: Vec::new(),
            samples: 0,
            bits: Some(Vec::new()),
            stability: None,
        };
        let at = At::Evaluation;
        Ok(Self {
            stream,
            method,
            protocol,
            seed,
            curriculum,
            learner,
            outcome,
            at,
            done: 0,
            before: None,
            data: None,
            observer: None,
        })
    }

    /// The same run on another device, such as a GPU: the network and the samples of a phase are there, what is drawn is drawn on
    /// the CPU as ever. A run that is restored goes there by [`snapshot::tensor::on`].
    ///
    /// # Errors
    /// A method that keeps something on the CPU; a run that is looked at, or has begun elsewhere.
    pub fn on(mut self, device: &Device) -> Result<Self> {
        let here = self.learner.device().same_device(device);
        let wrong = |why: &str| Err(Error::invalid("device", why));
        if device.is_cpu() && here {
            return Ok(self);
        }
        if !self.method.can_leave_the_cpu() {
            return wrong(
                "this method learns on the CPU only: it keeps samples or networks of its own there",
            );
        }
        if self.observer.is_some() {
            return wrong("a run that is looked at is on the CPU");
        }
        if !here && self.done > 0 {
            return wrong("the run has begun on another: restore it with cl_core::snapshot::tensor::on");
        }
        self.learner.net = self.learner.net.to_device(device)?;
        self.learner.scaler =
            self.learner.scaler.as_ref().map(|scaler| scaler.to_device(device)).transpose()?;
        Ok(self)
    }

    /// The same run, looked at as it goes on. What it does and saves stays as it is; `progress` is told of a look as of an
    /// evaluation.
    pub fn watched(mut self, observer: &'a mut Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// On to the end. An error from `progress`, which is called before every step and around every evaluation, stops
    /// the run there: it can be saved, or gone on with.
    ///
    /// # Errors
    /// Those of the method and of `progress`.
    pub fn run(&mut self, progress: &mut dyn FnMut(Progress) -> Result<()>) -> Result<Outcome> {
        if self.observer.is_some() && !self.learner.device().is_cpu() {
            return Err(Error::invalid("device", "a run that is looked at is on the CPU"));
        }
        loop {
            // The phase that runs, or comes.
            let (phase, phases) = (self.outcome.r.len(), self.curriculum.len());
            let Some(task) = self.curriculum.get(phase) else { return Ok(self.outcome.clone()) };
            match &mut self.at {
                At::Evaluation => {
                    progress(Progress::Evaluate)?;
                    let (row, bits) = evaluate(&*self.method, &self.learner, self.stream)?;
                    if self.outcome.baseline.is_empty() {
                        self.outcome.baseline = row;
                    } else {
                        self.outcome.r.push(row);
                        match (&mut self.outcome.bits, bits) {
                            (Some(all), Some(bits)) => all.push(bits),
                            _ => self.outcome.bits = None,
                        }
                        self.look_at_parameters()?;
                    }
                    if let Some(observer) = &mut self.observer {
                        observer.evaluated(&self.learner, &self.outcome)?;
                    }
                    self.at = At::Border;
                    progress(Progress::Resume)?;
                }
                At::Border => {
                    self.learner.task = phase;
                    if self.protocol.reset_optimizer {
                        self.learner.optimizer.reset();
                    }
                    let data = self.method.data(task)?.to_device(&self.learner.device())?;
                    let Protocol { batch, order, last_batch, .. } = *self.protocol;
                    let batches = match order {
                        Order::Shuffled => {
                            let rng = cl_core::rng(self.seed, &format!("batches of phase {phase}"));
                            Batches::new(data.len(), batch, rng, last_batch)?
                        }
                        Order::AsGiven => Batches::in_order(data.len(), batch, last_batch)?,
                    };
                    let left = steps(self.protocol.budget, &batches, self.stream.tasks.len(), phases);
                    self.method.begin_task(&mut self.learner, task)?;
                    self.data = Some(data);
                    self.at = At::Phase { batches: Box::new(batches), left };
                }
                At::Phase { left: 0, .. } => {
                    self.method.end_task(&mut self.learner, task)?;
                    self.data = None;
                    self.at = At::Evaluation;
                }
                At::Phase { batches, left } => {
                    // Phases to come are taken to be as long as this one.
                    let each = steps(self.protocol.budget, batches, self.stream.tasks.len(), phases);
                    let total = self.done + *left + each * (phases - phase - 1);
                    progress(Progress::Step { done: self.done, total })?;
                    let data = match &self.data {
                        Some(data) => data,
                        None => self.data.insert(self.method.data(task)?.to_device(&self.learner.device())?),
                    };
                    let step = Step { phase, done: self.done, left: *left, of: each };
                    if let Some(observer) = self.observer.as_mut().filter(|observer| observer.is_due(step)) {
                        progress(Progress::Evaluate)?;
                        let samples = data.gather(batches.clone().next_batch())?;
                        let batch = Batch { samples, units: task.units };
                        observer.look(&*self.method, &self.learner, &batch, &self.curriculum, step)?;
                        progress(Progress::Resume)?;
                    }
                    let batch = Batch { samples: data.gather(batches.next_batch())?, units: task.units };
                    self.outcome.samples += batch.samples.len() as u64;
                    self.method.observe(&mut self.learner, &batch)?;
                    self.done += 1;
                    *left -= 1;
                }
            }
        }
    }

    /// Before and after the last task.
    fn look_at_parameters(&mut self) -> Result<()> {
        let (phase, phases) = (self.outcome.r.len(), self.curriculum.len());
        if phases > 1 && phase + 1 >= phases {
            let now = Posterior::after(&self.curriculum[..phase], &self.learner.net)?;
            match &self.before {
                None => self.before = Some(now),
                Some(before) => self.outcome.stability = before.divergence(&now)?,
            }
        }
        Ok(())
    }

    /// The run as it stands, between two steps.
    ///
    /// # Errors
    /// The method cannot be saved.
    pub fn save(&self) -> Result<Vec<u8>> {
        let state = State {
            of: self.identity(),
            outcome: self.outcome.clone(),
            before: self.before.clone(),
            at: self.at.clone(),
            done: self.done,
            net: &self.learner.net,
            optimizer: &self.learner.optimizer,
            scaler: self.learner.scaler.as_ref(),
            method: self.method.save()?,
        };
        snapshot::to_bytes(KIND, &state)
    }

    /// A run that [`save`](Self::save) has kept; `stream`, `protocol` and `seed` are as they were, `method` is made with the
    /// same coefficients.
    ///
    /// # Errors
    /// What is not a saved run, or one of another stream, protocol, seed or method.
    pub fn restore(
        stream: &'a Stream,
        method: &'a mut dyn Method,
        protocol: &'a Protocol,
        seed: u64,
        saved: &[u8],
    ) -> Result<Self> {
        let state: State = snapshot::from_bytes(saved, KIND)?;
        let mut new = Self::new(stream, method, protocol, seed)?;
        let wrong = |why: String| Error::invalid("saved run", why);
        if state.of != new.identity() {
            return Err(wrong(format!("it is of {}, not of {}", state.of, new.identity())));
        }
        let fits = |row: &Vec<f64>| row.len() == stream.tasks.len();
        let shapes = |net: &Mlp| net.params().iter().map(|p| p.var.dims().to_vec()).collect::<Vec<_>>();
        if state.outcome.r.len() > new.curriculum.len()
            || !state.outcome.r.iter().all(fits)
            || shapes(&state.net) != shapes(&new.learner.net)
            || state.scaler.is_some() != new.learner.scaler.is_some()
        {
            return Err(wrong("its parts do not fit together".to_owned()));
        }
        new.method.restore(&state.method)?;
        new.learner.net = state.net;
        new.learner.optimizer = state.optimizer;
        new.learner.scaler = state.scaler;
        new.learner.task = match state.at {
            // The next phase sets it when it begins.
            At::Border => state.outcome.r.len().saturating_sub(1),
            At::Phase { .. } | At::Evaluation => state.outcome.r.len(),
        };
        (new.outcome, new.before) = (state.outcome, state.before);
        (new.at, new.done) = (state.at, state.done);
        Ok(new)
    }

    /// The network as it is now.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// What a saved run must agree in with the one that goes on.
    fn identity(&self) -> String {
        let Stream { name, scenario, tasks, outputs, class_order, image } = self.stream;
        let sizes: Vec<_> = tasks.iter().map(|task| (task.train.len(), task.test.len())).collect();
        format!(
            "{name}, {scenario}, samples {sizes:?}, {outputs} outputs, classes {class_order:?}, images {image:?}, seed {}, {:?}",
            self.seed, self.protocol
        )
    }
}

/// Steps of a phase: the budget is for each task, and a phase may be of all of them.
fn steps(budget: Budget, batches: &Batches, tasks: usize, phases: usize) -> usize {
    match budget {
        Budget::Iterations(n) => n * tasks / phases,
        budget => budget.steps(batches.per_epoch()),
    }
}

/// Accuracy on the test samples of every task, and the bits that are known of them, if all outputs are finite. Where the
/// task is given, the decision is among its units; otherwise among all, those of classes not yet seen included.
fn evaluate(method: &dyn Method, learner: &Learner, stream: &Stream) -> Result<(Vec<f64>, Option<Vec<f64>>)> {
    let (mut accuracies, mut bits) = (Vec::new(), Some(Vec::new()));
    for task in &stream.tasks {
        let units = match task.units {
            Units::Block(n) => Units::Block(n),
            Units::All | Units::First(_) => Units::All,
        };
        let mut retention = Some(Retention::new(units));
        accuracies.push(count_right(
            |x| method.predict(learner, task, &x.to_device(&learner.device())?),
            &task.test,
            units,
            |logits, y| {
                // It refuses what is not finite; the accuracy is known all the same.
                retention = retention.take().and_then(|mut r| r.add(logits, y).ok().map(|()| r));
            },
        )?);
        let of_task = retention.and_then(|retention| retention.bits().ok());
        bits = bits.zip(of_task).map(|(mut bits, of_task): (Vec<f64>, f64)| {
            bits.push(of_task);
            bits
        });
    }
    Ok((accuracies, bits))
}

/// So few that they stay in the caches, and that the memory for them is the same again and again.
const EVALUATED_AT_A_TIME: usize = 250;

/// The fraction of samples whose most active unit of what is predicted, among `units`, is the target. Every sample counts.
///
/// # Errors
/// No samples.
pub fn accuracy(
    predict: impl Fn(&Tensor) -> Result<Tensor>,
    samples: &TaskSamples,
    units: Units,
) -> Result<f64> {
    count_right(predict, samples, units, |_, _| {})
}

/// The same; what is predicted, and the targets, are shown.
fn count_right(
    predict: impl Fn(&Tensor) -> Result<Tensor>,
    samples: &TaskSamples,
    units: Units,
    mut shown: impl FnMut(&Tensor, &Tensor),
) -> Result<f64> {
    if samples.is_empty() {
        return Err(Error::invalid("test samples", "there are none to be right about"));
    }
    let mut right = 0usize;
    for from in (0..samples.len()).step_by(EVALUATED_AT_A_TIME) {
        let chunk = samples.slice(from..samples.len().min(from + EVALUATED_AT_A_TIME))?;
        let logits = predict(&chunk.x)?.to_device(&Device::Cpu)?;
        shown(&logits, &chunk.y);
        let logits = logits.to_vec2::<f32>()?;
        for (logits, y) in logits.iter().zip(chunk.labels()?) {
            let range = units.range(y as usize, logits.len());
            let best =
                range.clone().fold(range.start, |best, i| if logits[i] > logits[best] { i } else { best });
            right += usize::from(best == y as usize);
        }
    }
    Ok(right as f64 / samples.len() as f64)
}
