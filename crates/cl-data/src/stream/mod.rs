//! Streams: the tasks that a data set is turned into, one after the other.

mod permuted;
mod rotated;
mod split;
mod task_samples;
mod three_sixty;
mod transform;

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use cl_core::{Error, Result, Units};
use rand::seq::{SliceRandom, index};
use serde::{Deserialize, Serialize};

pub use permuted::{permutations, permuted};
pub use rotated::{rising_angles, rotated, rotation_angles};
pub use split::split;
pub use task_samples::TaskSamples;
pub use three_sixty::three_sixty;
pub use transform::{Pixels, Transform};

use crate::dataset::check_width;
use crate::{DataSet, Samples};

/// What is known about the task of a sample when its class is asked for (van de Ven, Tuytelaars &
/// Tolias 2022).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// The task is given: a block of output units of its own for each task.
    Task,
    /// The task is neither given nor asked for: all tasks share the output units.
    Domain,
    /// The task must be inferred: one output layer over all classes of all tasks.
    Class,
}

impl Scenario {
    /// All of them, in the order of the papers' tables.
    pub const ALL: [Self; 3] = [Self::Task, Self::Domain, Self::Class];

    fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Domain => "domain",
            Self::Class => "class",
        }
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| Error::invalid("scenario", format!("`{name}` is not one of task, domain, class")))
    }
}

/// The order in which [`split`] hands out the classes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassOrder {
    /// 0, 1, 2, … (Hsu et al. 2018).
    Fixed,
    /// Shuffled by this seed (van de Ven et al. 2022).
    Shuffled(u64),
    /// This one: each class of the data set once.
    Given(Vec<u32>),
}

impl ClassOrder {
    /// The classes `0..classes` in this order.
    fn of(self, classes: usize) -> Result<Vec<u32>> {
        let mut order: Vec<u32> = (0..classes as u32).collect();
        match self {
            Self::Fixed => {}
            Self::Shuffled(seed) => order.shuffle(&mut cl_core::rng(seed, "class order")),
            Self::Given(given) => {
                let mut sorted = given.clone();
                sorted.sort_unstable();
                if sorted != order {
                    let why = format!("{given:?} does not name each of the {classes} classes once");
                    return Err(Error::invalid("class order", why));
                }
                order = given;
            }
        }
        Ok(order)
    }
}

/// One task of a [`Stream`].
#[derive(Clone, Debug)]
pub struct Task {
    /// Its place in the stream, from 0.
    pub index: usize,
    /// Its classes, as the data set numbers them, in the order of its output units.
    pub classes: Vec<u32>,
    /// The output units among which a sample of it is decided.
    pub units: Units,
    /// What was done to the inputs.
    pub transform: Arc<Transform>,
    /// The samples to learn from; labels are output units.
    pub train: TaskSamples,
    /// The samples to evaluate on; labels are output units.
    pub test: TaskSamples,
}

/// Tasks to be learned one after the other by one network.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The kind and the data set, as in `split-mnist`.
    pub name: String,
    /// What is known about a sample's task.
    pub scenario: Scenario,
    /// The tasks, in order.
    pub tasks: Vec<Task>,
    /// The output units that the network needs.
    pub outputs: usize,
    /// All classes of the data set, in the order in which the tasks got them.
    pub class_order: Vec<u32>,
    /// Channels, rows and columns of an input.
    pub image: [usize; 3],
}

/// Which training samples of the data set each task of [`transformed`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainSamples {
    /// All of them.
    All,
    /// So many, drawn anew for each task.
    Drawn {
        /// Samples of a task.
        n: usize,
        /// What they are drawn by.
        seed: u64,
    },
}

impl TrainSamples {
    fn of(self, task: usize, train: &TaskSamples) -> Result<TaskSamples> {
        match self {
            Self::All => Ok(train.clone()),
            Self::Drawn { n, .. } if n == 0 || n > train.len() => {
                let why = format!("{n} samples a task: 1 to {} can be drawn", train.len());
                Err(Error::invalid("training samples", why))
            }
            Self::Drawn { n, seed } => {
                let mut rng = cl_core::rng(seed, &format!("training samples of task {task}"));
                let rows: Vec<u32> =
                    index::sample(&mut rng, train.len(), n).into_iter().map(|row| row as u32).collect();
                train.choose(&rows)
            }
        }
    }
}

impl Stream {
    /// The same tasks with some of their training samples.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more samples than a task has, or none.
    pub fn with_train(mut self, train: TrainSamples) -> Result<Self> {
        for task in &mut self.tasks {
            task.train = train.of(task.index, &task.train)?;
        }
        Ok(self)
    }
}

/// A stream whose tasks have all classes and differ in what is done to the inputs: `kind` is the first part of its
/// name, as in `rotated-mnist`.
///
/// Task and class scenario: `y = index·classes + class`; domain scenario: `y = class`.
///
/// # Errors
/// [`Error::Invalid`] for no transforms or one that does not fit, labels that are no classes, and more samples than
/// there are.
pub fn transformed(
    kind: &str,
    data: &DataSet,
    transforms: Vec<Transform>,
    train: TrainSamples,
    scenario: Scenario,
) -> Result<Stream> {
    if transforms.is_empty() {
        return Err(Error::invalid("tasks", "0 tasks: at least 1"));
    }
    labels(data, &data.train)?;
    labels(data, &data.test)?;
    let count = transforms.len();
    let classes: Vec<u32> = (0..data.classes as u32).collect();
    let (outputs, units) = match scenario {
        Scenario::Task => (count * data.classes, Units::Block(data.classes)),
        Scenario::Domain => (data.classes, Units::All),
        Scenario::Class => (count * data.classes, Units::All),
    };
    let task = |(index, transform): (usize, Transform)| -> Result<Task> {
        let first = if scenario == Scenario::Domain { 0 } else { (index * data.classes) as u32 };
        let transform = Arc::new(transform);
        let part = |samples: &Samples| {
            TaskSamples::new(samples.relabel(|class| first + class)?, transform.clone(), data.image)
        };
        let (train, test) = (train.of(index, &part(&data.train)?)?, part(&data.test)?);
        Ok(Task { index, classes: classes.clone(), units, transform, train, test })
    };
    let tasks = transforms.into_iter().enumerate().map(task).collect::<Result<_>>()?;
    let name = format!("{kind}-{}", data.name);
    Ok(Stream { name, scenario, tasks, outputs, class_order: classes, image: data.image })
}

/// The labels of a part of the data set, all of them classes of it.
fn labels(data: &DataSet, samples: &Samples) -> Result<Vec<u32>> {
    check_width(samples, data.image)?;
    let labels = samples.labels()?;
    match labels.iter().find(|&&label| label as usize >= data.classes) {
        Some(label) => {
            Err(Error::invalid("data set", format!("label {label}, but only {} classes", data.classes)))
        }
        None => Ok(labels),
    }
}
