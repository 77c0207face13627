//! What a method tells of itself while it is watched.

use std::collections::BTreeMap;

use candle_core::Tensor;
use cl_core::Result;
use cl_data::Samples;
use cl_replay::Reservoir;

/// What a method tells of itself: an [`Observer`](crate::Observer) makes numbers of it. A method tells what it has.
#[derive(Debug, Default)]
pub struct Vitals {
    /// The penalty as it is added to the loss, λ in it: a scalar with its graph. `None` where the method has none.
    pub penalty: Option<Tensor>,
    /// λ as it is configured.
    pub lambda: Option<f64>,
    /// How much each parameter matters, a tensor for each, λ not in it. Empty before the first consolidation, and where
    /// all matter the same on purpose: a uniform importance would be taken for one that has lost its meaning.
    pub importance: Vec<Tensor>,
    /// The memory of samples.
    pub memory: Option<Stored>,
    /// What samples are drawn by, where not all are drawn alike.
    pub priorities: Vec<f64>,
    /// Whether something works against forgetting that none of the above shows, such as the outputs of an old network.
    pub protects: bool,
    /// Whether tasks are answered by other means than the learner's network as it stands: nothing is measured with that
    /// then.
    pub apart: bool,
}

impl Vitals {
    /// Of a method that answers by networks, or parts of one, that each task has to itself.
    pub fn apart() -> Self {
        Self { apart: true, protects: true, ..Self::default() }
    }

    /// Of a method that has a memory.
    pub fn of(memory: Stored) -> Self {
        Self { memory: Some(memory), ..Self::default() }
    }
}

/// A memory of samples.
#[derive(Debug, Default)]
pub struct Stored {
    /// What is stored; `None` where nothing is yet.
    pub samples: Option<Samples>,
    /// The task of each, from 0, where the memory knows it. Where no two tasks share a class, the classes tell.
    pub tasks: Option<Vec<usize>>,
    /// How many samples it may hold.
    pub capacity: Option<usize>,
    /// What was drawn; `None` where it is not counted.
    pub drawn: Option<Drawn>,
}

impl Stored {
    /// Of inputs, targets, and what else a reservoir was offered.
    pub(crate) fn reservoir(memory: &Reservoir, drawn: &Tally) -> Result<Self> {
        let samples = match memory.all_columns()?.as_slice() {
            [x, y, ..] => Some(Samples::new(x.clone(), y.clone())?),
            _ => None,
        };
        Ok(Self { samples, tasks: None, capacity: Some(memory.capacity()), drawn: drawn.by_class() })
    }
}

/// How many samples were drawn, since the method was made or restored: never fewer than at an earlier look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drawn {
    /// Of each task, from 0.
    ByTask(BTreeMap<usize, u64>),
    /// Of each target unit.
    ByClass(BTreeMap<u32, u64>),
}

/// A method's own count of what it draws, by a number that says of which task or class a sample is. It is no part of a
/// saved method: nothing that is learned depends on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(BTreeMap<u32, u64>);

impl Tally {
    pub(crate) fn count(&mut self, keys: impl IntoIterator<Item = u32>) {
        self.add(keys.into_iter().map(|key| (key, 1)));
    }

    pub(crate) fn add(&mut self, counts: impl IntoIterator<Item = (u32, u64)>) {
        for (key, n) in counts {
            *self.0.entry(key).or_default() += n;
        }
    }

    /// Of samples that were counted by their labels. On a GPU they are not read back: a run that is looked at is on the CPU.
    pub(crate) fn labels(&mut self, labels: &Tensor) -> Result<()> {
        if labels.device().is_cpu() {
            self.count(labels.to_vec1::<u32>()?);
        }
        Ok(())
    }

    /// Where the keys are classes.
    pub(crate) fn by_class(&self) -> Option<Drawn> {
        Some(Drawn::ByClass(self.0.clone()))
    }

    /// Where the keys say the task, `of_each` following each other to a task.
    pub(crate) fn by_task(&self, of_each: usize) -> Option<Drawn> {
        let mut tasks = BTreeMap::<usize, u64>::new();
        for (key, n) in &self.0 {
            *tasks.entry(*key as usize / of_each.max(1)).or_default() += n;
        }
        Some(Drawn::ByTask(tasks))
    }
}
