//! The memory of Chaudhry et al. 2019: the newest samples of every class of every task.

use std::ops::Range;

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use cl_data::Samples;
use cl_replay::Rings;
use rand::Rng as _;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Stored};

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
    /// What was drawn of each task.
    #[serde(skip)]
    drawn: Tally,
}

impl RingMemory {
    pub(crate) fn new(per_class: usize, seed: u64) -> Result<Self> {
        if per_class == 0 {
            return Err(Error::invalid("per_class", "a memory has room for at least one sample of a class"));
        }
        let rng = cl_core::rng(seed, "ring memory");
        Ok(Self { per_class, rings: None, past: None, ends: Vec::new(), rng, drawn: Tally::default() })
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
            self.drawn.add(spans(&self.ends).map(|(task, rows)| (task, rows.len() as u64)));
            return Ok(Some(past.clone()));
        }
        let rows: Vec<u32> =
            index::sample(&mut self.rng, past.len(), n).iter().map(|row| row as u32).collect();
        let task = |row: &u32| self.ends.partition_point(|end| *end <= *row as usize) as u32;
        self.drawn.count(rows.iter().map(task));
        past.gather(&rows).map(Some)
    }

    /// All samples of one earlier task, which is drawn.
    pub(crate) fn draw_task(&mut self) -> Result<Option<Samples>> {
        let Some(past) = &self.past else { return Ok(None) };
        let task = self.rng.random_range(0..self.ends.len());
        let start = task.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.drawn.add([(task as u32, (self.ends[task] - start) as u64)]);
        past.slice(start..self.ends[task]).map(Some)
    }

    /// What is stored of earlier tasks, and what was drawn of it.
    pub(crate) fn stored(&self) -> Stored {
        let tasks = spans(&self.ends).flat_map(|(task, rows)| rows.map(move |_| task as usize));
        Stored {
            samples: self.past.clone(),
            tasks: Some(tasks.collect()),
            capacity: None,
            drawn: self.drawn.by_task(1),
        }
    }
}

/// The rows of each task.
fn spans(ends: &[usize]) -> impl Iterator<Item = (u32, Range<usize>)> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    (0..).zip(starts.zip(ends).map(|(start, end)| start..*end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;
    use crate::testing::{batch, learner, tasks};
    use cl_data::Scenario;

    /// Task, class and number of each drawn sample.
    fn rows(samples: &Samples) -> Vec<(usize, usize, usize)> {
        let x = samples.x.to_vec2::<f32>().unwrap();
        x.iter().map(|x| (x[0] as usize, x[1] as usize, x[2] as usize)).collect()
    }

    /// 20 samples of each class come by, the newest three stay, and are drawn once their task is over.
    #[test]
    fn the_newest_of_each_class_of_each_earlier_task() {
        for scenario in Scenario::ALL {
            let (tasks, learner) = (tasks(scenario, 4, 20), learner(scenario, 4));
            let mut memory = RingMemory::new(3, 0).unwrap();
            for (k, task) in tasks.iter().enumerate() {
                for from in [0, 11, 22, 33] {
                    memory.offer(&learner, &batch(task, from, (from + 11).min(40))).unwrap();
                    let drawn = memory.draw(100).unwrap();
                    assert_eq!(drawn.map_or(0, |drawn| drawn.len()), 6 * k, "nothing of the present task");
                }
                memory.end_task().unwrap();
                let all: HashSet<_> = rows(&memory.draw(100).unwrap().unwrap()).into_iter().collect();
                let newest = (0..=k).flat_map(|t| (0..2).flat_map(move |c| (17..20).map(move |n| (t, c, n))));
                assert_eq!(all, newest.collect(), "{scenario}");

                let (mut seen, mut of) = (HashSet::new(), HashSet::new());
                for _ in 0..60 {
                    let drawn = rows(&memory.draw(5).unwrap().unwrap());
                    assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 5, "no sample twice");
                    seen.extend(drawn);
                    let one = rows(&memory.draw_task().unwrap().unwrap());
                    assert!(one.len() == 6 && one.iter().all(|row| row.0 == one[0].0));
                    of.insert(one[0].0);
                }
                // With another seed a sample of 24 would be missed once in 2·10⁵ (60 draws of 5), a task of 4 in 10⁷.
                assert_eq!(seen, all);
                assert_eq!(of.len(), k + 1);
            }
        }
    }

    #[test]
    fn comes_from_the_seed() {
        let draws = |seed| {
            let (tasks, learner) = (tasks(Scenario::Domain, 1, 20), learner(Scenario::Domain, 1));
            let mut memory = RingMemory::new(10, seed).unwrap();
            memory.offer(&learner, &batch(&tasks[0], 0, 40)).unwrap();
            memory.end_task().unwrap();
            rows(&memory.draw(8).unwrap().unwrap())
        };
        assert_eq!(draws(0), draws(0));
        assert_ne!(draws(0), draws(1));
    }

    #[test]
    fn no_room_is_refused() {
        assert!(RingMemory::new(0, 0).is_err());
    }
}
