//! The memory of Chaudhry et al. 2019: the newest samples of every class of every task.

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use cl_data::Samples;
use cl_replay::Rings;
use rand::Rng as _;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner};

/// A ring for each class of the present task, and what the rings of the earlier tasks held. Only these are drawn.
#[derive(Serialize, Deserialize)]
pub(crate) struct RingMemory {
    per_class: usize,
    /// Of the present task, one for each of its classes.
    rings: Option<Rings>,
    /// Of the earlier ones, one behind the other.
    past: Option<Samples>,
    /// Where each of them ends.
    ends: Vec<usize>,
    rng: Rng,
}

impl RingMemory {
    pub(crate) fn new(per_class: usize, seed: u64) -> Result<Self> {
        if per_class == 0 {
            return Err(Error::invalid("per_class", "a memory has room for at least one sample of a class"));
        }
        let rng = cl_core::rng(seed, "ring memory");
        Ok(Self { per_class, rings: None, past: None, ends: Vec::new(), rng })
    }

    /// Takes in a batch of the present task.
    pub(crate) fn offer(&mut self, learner: &Learner, batch: &Batch) -> Result<()> {
        if self.rings.is_none() {
            // Nothing is drawn from the rings: they are used whole.
            let rng = cl_core::rng(0, "rings");
            self.rings = Some(Rings::new(self.per_class, learner.classes_per_task, rng)?);
        }
        let Samples { x, y } = &batch.samples;
        let rings = self.rings.as_mut().expect("it was just made");
        rings.offer(&batch.samples.labels()?, x, y)
    }

    /// After a task: what its rings hold is of the past.
    pub(crate) fn end_task(&mut self) -> Result<()> {
        let Some(rings) = self.rings.take() else { return Ok(()) };
        let classes = rings.counts().map(|(class, _)| rings.group(class));
        let (x, y): (Vec<Tensor>, Vec<Tensor>) = classes.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let new = Samples::new(Tensor::cat(&x, 0)?, Tensor::cat(&y, 0)?)?;
        let all = match &self.past {
            Some(past) => Samples::concat(&[past, &new])?,
            None => new,
        };
        self.ends.push(all.len());
        self.past = Some(all);
        Ok(())
    }

    /// `n` samples of all earlier tasks, without replacement; all of them where there are no more.
    pub(crate) fn draw(&mut self, n: usize) -> Result<Option<Samples>> {
        let Some(past) = &self.past else { return Ok(None) };
        if n >= past.len() {
            return Ok(Some(past.clone()));
        }
        let rows: Vec<u32> =
            index::sample(&mut self.rng, past.len(), n).iter().map(|row| row as u32).collect();
        past.gather(&rows).map(Some)
    }

    /// All samples of one earlier task, which is drawn.
    pub(crate) fn draw_task(&mut self) -> Result<Option<Samples>> {
        let Some(past) = &self.past else { return Ok(None) };
        let task = self.rng.random_range(0..self.ends.len());
        let start = task.checked_sub(1).map_or(0, |before| self.ends[before]);
        past.slice(start..self.ends[task]).map(Some)
    }
}
