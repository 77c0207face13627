//! The memory that ER and A-GEM share: as many samples of every class, replayed in shuffled epochs.

use cl_core::{Result, Rng, Units};
use cl_data::{Batches, LastBatch, Samples, Scenario, Task};
use cl_replay::{Budget, ClassBalanced};
use rand::RngCore as _;

use crate::Learner;

/// Samples of earlier tasks, and how they are drawn (van de Ven et al. 2022): without replacement until too
/// few are left for a batch, then shuffled again. Where the task is given, as many are drawn from each
/// earlier task, ⌈batch/(k−1)⌉; otherwise over all.
pub(crate) struct Memory {
    store: ClassBalanced,
    batch: usize,
    rng: Rng,
    /// Each pool is replayed in epochs of its own.
    pools: Vec<Pool>,
}

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
        Ok(Self { store, batch, rng: cl_core::rng(seed, "replay"), pools: Vec::new() })
    }

    /// Keeps samples of each class of a task that has been learned.
    pub(crate) fn keep(&mut self, learner: &Learner, task: &Task) -> Result<()> {
        let y = task.train.labels()?;
        let per_task = learner.classes_per_task as u32;
        let keys: Vec<u32> = y.iter().map(|y| task.index as u32 * per_task + y % per_task).collect();
        self.store.fill_groups(&keys, &task.train.x, &task.train.y)?;
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
        let drawn = self
            .pools
            .iter_mut()
            .map(|pool| pool.samples.gather(pool.batches.next_batch()))
            .collect::<Result<Vec<_>>>()?;
        Ok(match drawn.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            more => Some(Samples::concat(&more.iter().collect::<Vec<_>>())?),
        })
    }
}
