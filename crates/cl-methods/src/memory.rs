//! The memory that ER and A-GEM share: as many samples of every class, replayed in shuffled epochs.

use cl_core::{Result, Rng, Units};
use cl_data::{Batches, LastBatch, Samples, Scenario, Task};
use cl_replay::{Budget, ClassBalanced};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Learner, Stored};

/// Samples of earlier tasks, and how they are drawn (van de Ven et al. 2022): without replacement until too
/// few are left for a batch, then shuffled again. Where the task is given, as many are drawn from each
/// earlier task, ⌈batch/(k−1)⌉; otherwise over all.
#[derive(Serialize, Deserialize)]
pub(crate) struct Memory {
    store: ClassBalanced,
    batch: usize,
    rng: Rng,
    /// Each pool is replayed in epochs of its own.
    pools: Vec<Pool>,
    /// What was drawn of each group of the store.
    #[serde(skip)]
    drawn: Tally,
}

#[derive(Serialize, Deserialize)]
struct Pool {
    samples: Samples,
    batches: Batches,
}

impl Memory {
    pub(crate) fn new(per_class: usize, batch: usize, seed: u64) -> Result<Self> {
        if batch == 0 {
            return Err(cl_core::Error::invalid("replay batch", "a batch has at least one sample"));
        }
        let store = ClassBalanced::new(Budget::PerGroup(per_class), cl_core::rng(seed, "memory"))?;
        Ok(Self {
            store,
            batch,
            rng: cl_core::rng(seed, "replay"),
            pools: Vec::new(),
            drawn: Tally::default(),
        })
    }

    /// Keeps samples of each class of a task that has been learned.
    pub(crate) fn keep(&mut self, learner: &Learner, task: &Task) -> Result<()> {
        let y = task.train.labels()?;
        let per_task = learner.classes_per_task as u32;
        let keys: Vec<u32> = y.iter().map(|y| task.index as u32 * per_task + y % per_task).collect();
        let train = task.train.all()?.to_device(&learner.device())?;
        self.store.fill_groups(&keys, &train.x, &train.y)?;
        let pools = match task.units {
            Units::Block(_) if learner.scenario == Scenario::Task => task.index + 1,
            _ => 1,
        };
        self.pools = (0..pools).map(|pool| self.pool(pool, pools, per_task)).collect::<Result<_>>()?;
        Ok(())
    }

    fn pool(&mut self, pool: usize, pools: usize, classes_per_task: u32) -> Result<Pool> {
        let samples = if pools == 1 {
            let (x, y) = self.store.all()?;
            Samples::new(x, y)?
        } else {
            let first = pool as u32 * classes_per_task;
            let classes = (first..first + classes_per_task)
                .map(|class| self.store.group(class).and_then(|(x, y)| Samples::new(x, y)))
                .collect::<Result<Vec<_>>>()?;
            Samples::concat(&classes.iter().collect::<Vec<_>>())?
        };
        let batch = self.batch.div_ceil(pools).min(samples.len());
        let rng = cl_core::rng(self.rng.next_u64(), "pool");
        let batches = Batches::new(samples.len(), batch, rng, LastBatch::Drop)?;
        Ok(Pool { samples, batches })
    }

    /// A batch of earlier tasks; nothing before the first task has ended.
    pub(crate) fn draw(&mut self) -> Result<Option<Samples>> {
        // Each pool holds as many groups as the next, one behind the other.
        let groups: Vec<(u32, usize)> = self.store.counts().collect();
        let each = groups.len().div_ceil(self.pools.len().max(1)).max(1);
        let mut drawn = Vec::new();
        for (pool, groups) in self.pools.iter_mut().zip(groups.chunks(each)) {
            let rows = pool.batches.next_batch();
            self.drawn.count(rows.iter().filter_map(|row| group_of(groups, *row as usize)));
            drawn.push(pool.samples.gather(rows)?);
        }
        Ok(match drawn.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            more => Some(Samples::concat(&more.iter().collect::<Vec<_>>())?),
        })
    }
}

impl Memory {
    /// What is stored, and what was drawn of it.
    pub(crate) fn stored(&self, learner: &Learner) -> Result<Stored> {
        if self.store.is_empty() {
            return Ok(Stored { drawn: self.drawn.by_task(1), ..Stored::default() });
        }
        let (x, y) = self.store.all()?;
        let per_task = learner.classes_per_task.max(1);
        let task = |(key, n): (u32, usize)| std::iter::repeat_n(key as usize / per_task, n);
        Ok(Stored {
            samples: Some(Samples::new(x, y)?),
            tasks: Some(self.store.counts().flat_map(task).collect()),
            capacity: match self.store.budget() {
                Budget::Total(n) => Some(n),
                Budget::PerGroup(n) => Some(n * self.store.counts().count()),
            },
            drawn: self.drawn.by_task(per_task),
        })
    }
}

/// The group of a row, of groups that lie one behind the other.
fn group_of(groups: &[(u32, usize)], row: usize) -> Option<u32> {
    let mut end = 0;
    groups
        .iter()
        .find(|(_, n)| {
            end += n;
            row < end
        })
        .map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;
    use crate::testing::{learner, tasks};

    /// Task, class and number of each drawn sample; its label must be that of the task.
    fn rows(samples: &Samples, scenario: Scenario) -> Vec<(usize, u32, usize)> {
        let (x, y) = (samples.x.to_vec2::<f32>().unwrap(), samples.labels().unwrap());
        x.iter()
            .zip(y)
            .map(|(x, y)| {
                let (task, class) = (x[0] as usize, x[1] as u32);
                let first = if scenario == Scenario::Domain { 0 } else { 2 * task as u32 };
                assert_eq!(y, first + class);
                (task, class, x[2] as usize)
            })
            .collect()
    }

    #[test]
    fn holds_as_many_of_each_class_and_draws_from_earlier_tasks_only() {
        for scenario in Scenario::ALL {
            let (tasks, learner) = (tasks(scenario, 5, 150), learner(scenario, 5));
            let mut memory = Memory::new(100, 32, 0).unwrap();
            assert!(memory.draw().unwrap().is_none());
            for (k, task) in tasks.iter().enumerate() {
                memory.keep(&learner, task).unwrap();
                let counts: Vec<_> = memory.store.counts().collect();
                assert_eq!(counts, (0..2 * (k as u32 + 1)).map(|class| (class, 100)).collect::<Vec<_>>());
                let (x, y) = memory.store.all().unwrap();
                let held = rows(&Samples::new(x, y).unwrap(), scenario);
                assert_eq!(held.iter().collect::<HashSet<_>>().len(), 200 * (k + 1), "no sample twice");

                let mut seen = HashSet::new();
                for _ in 0..50 {
                    let drawn = rows(&memory.draw().unwrap().unwrap(), scenario);
                    assert!(drawn.iter().all(|row| held.contains(row)), "what was not kept cannot be drawn");
                    seen.extend(drawn.iter().map(|row| row.0));
                    let of = |task| drawn.iter().filter(|row| row.0 == task).count();
                    match scenario {
                        // ⌈32/k⌉ of each earlier task: 32, 16, 11, 8, 7.
                        Scenario::Task => {
                            (0..=k).for_each(|task| assert_eq!(of(task), 32usize.div_ceil(k + 1)));
                        }
                        Scenario::Domain | Scenario::Class => assert_eq!(drawn.len(), 32),
                    }
                }
                assert_eq!(seen, (0..=k).collect());
            }
        }
    }

    /// 200 samples, batches of 64: three without a repetition, then all are shuffled again.
    #[test]
    fn replays_in_epochs() {
        let (tasks, learner) = (tasks(Scenario::Domain, 1, 150), learner(Scenario::Domain, 1));
        let mut memory = Memory::new(100, 64, 0).unwrap();
        memory.keep(&learner, &tasks[0]).unwrap();
        let mut epoch = || -> Vec<_> {
            (0..3).flat_map(|_| rows(&memory.draw().unwrap().unwrap(), Scenario::Domain)).collect()
        };
        let (first, second) = (epoch(), epoch());
        for epoch in [&first, &second] {
            assert_eq!(epoch.iter().collect::<HashSet<_>>().len(), 192);
        }
        assert_ne!(first, second);
    }

    #[test]
    fn a_batch_is_no_larger_than_the_memory() {
        let (tasks, learner) = (tasks(Scenario::Class, 2, 3), learner(Scenario::Class, 2));
        let mut memory = Memory::new(100, 32, 0).unwrap();
        memory.keep(&learner, &tasks[0]).unwrap();
        assert_eq!(memory.draw().unwrap().unwrap().len(), 6);
        memory.keep(&learner, &tasks[1]).unwrap();
        assert_eq!(memory.draw().unwrap().unwrap().len(), 12);
    }

    #[test]
    fn comes_from_the_seed() {
        let draws = |seed| {
            let (tasks, learner) = (tasks(Scenario::Task, 3, 150), learner(Scenario::Task, 3));
            let mut memory = Memory::new(100, 32, seed).unwrap();
            tasks.iter().for_each(|task| memory.keep(&learner, task).unwrap());
            rows(&memory.draw().unwrap().unwrap(), Scenario::Task)
        };
        assert_eq!(draws(0), draws(0));
        assert_ne!(draws(0), draws(1));
    }

    #[test]
    fn an_empty_batch_or_memory_is_refused() {
        assert!(Memory::new(100, 0, 0).is_err());
        assert!(Memory::new(0, 32, 0).is_err());
    }
}
