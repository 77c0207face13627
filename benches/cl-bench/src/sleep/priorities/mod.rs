//! The suite `sleep-priorities`: what each priority of consolidation is good for.
//!
//! One network learns streams of handwritten digits as they come, and sleeps between them over a memory that it keeps. Awake it learns
//! the same whatever the priority, and in sleep as many experiences are replayed; which ones differs, and with salience also which are
//! kept. Every priority is run on every stream, and compared with uniform replay seed by seed.

mod findings;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Units};
use cl_data::Samples;
use cl_methods::losses;
use cl_nn::Mlp;
use cl_sleep::interference::loss_rise;
use cl_sleep::{
    Experiences, Importance, Interference, Keep, Learnt, Priority, Recency, Replay, ReplayCount, Salience,
    Sleep, Surprise, Tags, Uniform,
};
use serde::{Deserialize, Serialize};

use crate::experiment::{Experiment, Measured, Run};
use crate::images::images;
use crate::report::study::Study;
use streams::{Segment, Stream};

/// What is held fixed over all streams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The data set.
    pub data: String,
    /// Units of the one hidden layer.
    pub hidden: usize,
    /// The learning rate, awake and asleep: plain SGD.
    pub lr: f64,
    /// Experiences of a step, awake and asleep.
    pub batch: usize,
    /// What a full tag counts more than none, in what is kept and in what is replayed.
    pub gain: f64,
    /// In prioritizing by surprise.
    pub surprise: Surprise,
    /// In prioritizing by recency and importance.
    pub recency: Recency,
    /// In prioritizing by interference.
    pub interference: Interference,
    /// In prioritizing by replay count.
    pub replay_count: ReplayCount,
    /// The sizes of the streams.
    pub sizes: Sizes,
    /// The first seed; those below were used to choose what stands here.
    pub first_seed: u64,
}

/// How long the streams are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Images of a list that is learnt by heart.
    pub list: usize,
    /// Lists.
    pub lists: usize,
    /// Images of a day in the streams with a rule.
    pub day: usize,
    /// Test images of an exam.
    pub exam: usize,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            data: "mnist".into(),
            hidden: 100,
            lr: 0.1,
            batch: 10,
            gain: 4.0,
            surprise: Surprise { exponent: 1.0, floor: 0.05 },
            recency: Recency { half_life: 150.0 },
            interference: Interference { exponent: 1.0, floor: 0.05 },
            replay_count: ReplayCount { exponent: 0.7 },
            sizes: Sizes { list: 60, lists: 5, day: 300, exam: 1000 },
            first_seed: 1000,
        }
    }
}

/// A stream that is made for a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Lists learnt by heart, more than can be kept; a random half of each is tagged.
    Tagged,
    /// A rule, and a tenth of exceptions.
    Exceptions,
    /// A world whose rule changes every day, seen through labels of which half are worthless, and said to be.
    Changing,
    /// Old knowledge of two kinds, of which what comes now overwrites one.
    Overwriting,
    /// Lists learnt in little sleep, the first of which have had many nights.
    Crowded,
}

impl Of {
    const ALL: [Self; 5] = [Self::Tagged, Self::Exceptions, Self::Changing, Self::Overwriting, Self::Crowded];

    /// The priority that it is made for.
    const fn made_for(self) -> Policy {
        match self {
            Self::Tagged => Policy::Salience,
            Self::Exceptions => Policy::Surprise,
            Self::Changing => Policy::RecencyAndImportance,
            Self::Overwriting => Policy::Interference,
            Self::Crowded => Policy::ReplayCount,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tagged => "tagged",
            Self::Exceptions => "exceptions",
            Self::Changing => "changing",
            Self::Overwriting => "overwriting",
            Self::Crowded => "crowded",
        }
    }
}

/// What is replayed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// All alike.
    Uniform,
    /// [`Salience`], which what is kept follows too.
    Salience,
    /// [`Surprise`].
    Surprise,
    /// [`Recency`] × [`Importance`].
    RecencyAndImportance,
    /// [`Interference`], measured before each sleep: by how much another step on what just came would raise the loss.
    Interference,
    /// [`ReplayCount`].
    ReplayCount,
}

impl Policy {
    const ALL: [Self; 6] = [
        Self::Uniform,
        Self::Salience,
        Self::Surprise,
        Self::RecencyAndImportance,
        Self::Interference,
        Self::ReplayCount,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Salience => "salience",
            Self::Surprise => "surprise",
            Self::RecencyAndImportance => "recency × importance",
            Self::Interference => "interference",
            Self::ReplayCount => "replay count",
        }
    }
}

/// What one run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What comes.
    pub stream: Of,
    /// What is replayed of it.
    pub policy: Policy,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.stream.name(), self.policy.name())
    }
}

impl Experiment for Protocol {
    const NAME: &'static str = "sleep-priorities";
    const SEEDS: u64 = 20;
    type Part = Part;

    fn parts(&self) -> Vec<Part> {
        let of = |stream| Policy::ALL.map(|policy| Part { stream, policy });
        Of::ALL.into_iter().flat_map(of).collect()
    }

    /// Values: the accuracy in each exam at the end, under its name; `score`, their mean over those that count; of each night the
    /// accuracy on what was seen, `before` it and `after`.
    fn measure(&self, part: &Part, seed: u64) -> Result<Measured> {
        let (images, seed) = (images(&self.data)?, self.first_seed + seed);
        let stream = Stream::new(part.stream, &images, &self.sizes, seed)?;
        let mut life = Life::new(self, part.policy, &stream, images.train.features(), seed)?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (day, segment) in stream.segments.iter().enumerate() {
            life.wake(segment)?;
            let seen = stream.seen(day)?;
            before.push(life.accuracy(&seen)?);
            life.sleep(segment, &stream.night)?;
            after.push(life.accuracy(&seen)?);
        }
        let mut values = BTreeMap::from([("before".to_owned(), before), ("after".to_owned(), after)]);
        let mut score = Vec::new();
        for exam in &stream.exams {
            let accuracy = life.accuracy(&exam.samples)?;
            values.insert(exam.name.into(), vec![accuracy]);
            if exam.counts {
                score.push(accuracy);
            }
        }
        values.insert("score".into(), vec![score.iter().sum::<f64>() / score.len() as f64]);
        Ok(Measured { values, ..Measured::default() })
    }

    fn study(&self, runs: &[&Run<Part>]) -> Result<Study> {
        findings::study(self, runs)
    }
}

/// A network, what it remembers, and what it replays of that.
struct Life<'a> {
    protocol: &'a Protocol,
    policy: Policy,
    priority: Box<dyn Priority>,
    net: Mlp,
    memory: Experiences,
}

impl<'a> Life<'a> {
    fn new(
        protocol: &'a Protocol,
        policy: Policy,
        stream: &Stream,
        inputs: usize,
        seed: u64,
    ) -> Result<Self> {
        let &Protocol { gain, surprise, recency, interference, replay_count, .. } = protocol;
        let priority: Box<dyn Priority> = match policy {
            Policy::Uniform => Box::new(Uniform),
            Policy::Salience => Box::new(Salience { gain }),
            Policy::Surprise => Box::new(surprise),
            Policy::RecencyAndImportance => Box::new(recency.and(Importance { exponent: 1.0 })),
            Policy::Interference => Box::new(interference),
            Policy::ReplayCount => Box::new(replay_count),
        };
        let keep = Keep::Sample { gain: if policy == Policy::Salience { gain } else { 0.0 } };
        let widths = [inputs, protocol.hidden, 10];
        let net = Mlp::new(&widths, DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
        let memory = Experiences::new(stream.memory, keep, cl_core::rng(seed, "memory"))?;
        Ok(Self { protocol, policy, priority, net, memory })
    }

    /// Learns what comes, and keeps it.
    fn wake(&mut self, segment: &Segment) -> Result<()> {
        let Segment { samples, salience, importance, passes } = segment;
        let surprise = self.losses(&samples.x, &samples.y)?;
        for _ in 0..*passes {
            for batch in samples.chunks(self.protocol.batch)? {
                self.learn(&batch?)?;
            }
        }
        let tags = Tags {
            salience: Some(salience),
            importance: Some(importance),
            surprise: Some(&surprise),
            ..Tags::default()
        };
        self.memory.add(&[&samples.x, &samples.y], &tags)?;
        Ok(())
    }

    fn sleep(&mut self, segment: &Segment, night: &Sleep) -> Result<()> {
        if self.policy == Policy::Interference {
            self.measure_interference(&segment.samples)?;
        }
        let (net, lr) = (&self.net, self.protocol.lr);
        let mut learn = |replay: &Replay| {
            let [x, y] = replay.columns.as_slice() else {
                return Err(cl_core::Error::invalid("replay", "it has other columns than were kept"));
            };
            let surprise = losses_of(net, x, y)?;
            net.descend(x, y, Units::All, None, lr)?;
            let loss = surprise.iter().map(|x| f64::from(*x)).sum::<f64>() / surprise.len() as f64;
            Ok(Learnt { loss, surprise: Some(surprise), interference: None })
        };
        night.run(&mut self.memory.by(&self.priority)?, &mut learn)?;
        Ok(())
    }

    /// By how much one more step on what just came would raise the loss of each memory.
    fn measure_interference(&mut self, samples: &Samples) -> Result<()> {
        let all = self.memory.all()?;
        let [x, y] = all.as_slice() else { return Ok(()) };
        let gradients = self.net.gradients(&samples.x, &samples.y, Units::All, None)?;
        let losses = || losses(&self.net.predict(x)?, y, Units::All);
        let rise = loss_rise(self.net.params(), &gradients, self.protocol.lr, losses)?;
        self.memory.traces_mut().zip(rise).for_each(|(trace, rise)| trace.interference = rise);
        Ok(())
    }

    fn learn(&self, batch: &Samples) -> Result<()> {
        self.net.descend(&batch.x, &batch.y, Units::All, None, self.protocol.lr)
    }

    fn losses(&self, x: &Tensor, y: &Tensor) -> Result<Vec<f32>> {
        losses_of(&self.net, x, y)
    }

    fn accuracy(&self, samples: &Samples) -> Result<f64> {
        let found = self.net.predict(&samples.x)?.argmax(1)?.to_vec1::<u32>()?;
        let right = found.iter().zip(samples.labels()?).filter(|(found, y)| **found == *y).count();
        Ok(right as f64 / samples.len() as f64)
    }
}

fn losses_of(net: &Mlp, x: &Tensor, y: &Tensor) -> Result<Vec<f32>> {
    Ok(losses(&net.predict(x)?, y, Units::All)?.into_iter().map(|loss| loss as f32).collect())
}
