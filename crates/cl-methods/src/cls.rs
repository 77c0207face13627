//! A fast learner and a slow one with a rate of its own, which sleeps over every day (McClelland, McNaughton & O'Reilly 1995). No
//! border of a task is needed.

use candle_core::Tensor;
use cl_core::{Error, Result, Units};
use cl_data::Task;
use cl_nn::Mlp;
use cl_sleep::{Experiences, Interleaved, Keep, Learnt, Replay, Sleep, Tags, Uniform};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples of earlier days that are kept, by reservoir sampling.
    pub memory: usize,
    /// Samples of a day: all of them are kept until the night. A day that is not over when the stream ends has no night.
    pub day: usize,
    /// Steps of a night.
    pub cycles: usize,
    /// Samples of such a step: half of the day, half of what was kept before.
    pub batch: usize,
    /// The slow learner's rate: plain SGD. The fast one's is the protocol's.
    pub lr: f64,
    /// Whether the fast learner begins each day as the slow one is, or goes on.
    pub reset: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 200, day: 500, cycles: 50, batch: 32, lr: 0.05, reset: true }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Cls {
    config: Config,
    /// The slow learner; none before the first night.
    slow: Option<Mlp>,
    today: Experiences,
    memory: Experiences,
}

impl Cls {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        let Config { memory, day, cycles, batch, lr, .. } = config;
        if batch < 2 {
            return Err(Error::invalid(
                "replay batch",
                "a batch has at least two samples, one of the day and an older one",
            ));
        }
        if cycles == 0 {
            return Err(Error::invalid("cycles", "a night has at least one step"));
        }
        if !(lr > 0.0 && lr.is_finite()) {
            return Err(Error::invalid("lr", format!("{lr} is not a positive number")));
        }
        Ok(Self {
            config,
            slow: None,
            today: Experiences::new(day, Keep::Newest, cl_core::rng(seed, "day"))?,
            memory: Experiences::new(memory, Keep::Sample { gain: 0.0 }, cl_core::rng(seed, "memory"))?,
        })
    }

    /// The day and what was kept before it, interleaved, are replayed to the slow learner; then the day is over.
    fn sleep(&mut self, learner: &Learner, units: Units) -> Result<()> {
        let slow = match &self.slow {
            Some(slow) => slow,
            None => self.slow.insert(learner.net.copy()?),
        };
        let lr = self.config.lr;
        let mut learn = |replay: &Replay| match replay.columns.as_slice() {
            [x, y] => slow.descend(x, y, units, None, lr).map(|()| Learnt::default()),
            _ => Err(Error::invalid("memory", "it holds other columns than it was offered")),
        };
        let night = Sleep { cycles: self.config.cycles, batch: self.config.batch, ..Sleep::default() };
        night.run(&mut Interleaved::of(self.today.by(&Uniform)?, self.memory.by(&Uniform)?), &mut learn)?;

        let day = self.today.all()?;
        self.memory.add(&day.iter().collect::<Vec<_>>(), &Tags::default())?;
        self.today.forget(|_| true);
        if self.config.reset {
            learner.net.params().set_values(&slow.params().values()?)?;
        }
        Ok(())
    }
}

impl Method for Cls {
    crate::saved!("cl-methods/cls", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        let samples = match self.memory.all()?.as_slice() {
            [x, y] => Some(cl_data::Samples::new(x.clone(), y.clone())?),
            _ => None,
        };
        let capacity = Some(self.memory.capacity() + self.today.capacity());
        Ok(Vitals::of(Stored { samples, capacity, ..Stored::default() }))
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        learner.learn(batch)?;
        // A batch may be of two days, or of more.
        let mut from = 0;
        while from < batch.samples.len() {
            let room = self.today.capacity() - self.today.len();
            let part = batch.samples.slice(from..batch.samples.len().min(from + room))?;
            self.today.add(&[&part.x, &part.y], &Tags::default())?;
            from += part.len();
            if self.today.len() == self.today.capacity() {
                self.sleep(learner, batch.units)?;
            }
        }
        Ok(())
    }

    /// The slow learner answers, once there is one.
    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        self.slow.as_ref().unwrap_or(&learner.net).predict(x)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, learner, tasks};
    use cl_data::Scenario;

    fn flat(net: &Mlp) -> Vec<f32> {
        net.params().flat().unwrap().to_vec1().unwrap()
    }

    /// Days of 10 samples: while awake the slow learner stays, at night it is trained, half by what it had slept over
    /// before; the fast one wakes up as it is.
    #[test]
    fn learns_by_day_and_consolidates_at_night() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 2, 20), learner(Scenario::Class, 2));
        learner.optimizer.set_lr(0.1).unwrap();
        let config = Config { memory: 8, day: 10, cycles: 5, batch: 6, lr: 0.05, reset: true };
        let mut method = Cls::new(config, 3).unwrap();
        let mut nights = 0;
        for step in 0..8 {
            let (fast, slow) = (flat(&learner.net), method.slow.as_ref().map(flat));
            method
                .observe(&mut learner, &batch(&tasks[step / 4], 5 * (step % 4), 5 * (step % 4) + 5))
                .unwrap();
            assert_ne!(flat(&learner.net), fast);
            if step % 2 == 1 {
                nights += 1;
                assert!(method.today.is_empty() && method.memory.len() == 8);
                assert_eq!(method.memory.seen(), 10 * nights);
                assert_eq!(
                    flat(&learner.net),
                    flat(method.slow.as_ref().unwrap()),
                    "it wakes up as the slow one is"
                );
                assert_ne!(method.slow.as_ref().map(flat), slow);
            } else {
                assert_eq!(method.slow.as_ref().map(flat), slow, "the slow one does not learn awake");
            }
        }
        let x = batch(&tasks[0], 0, 3).samples.x;
        let found = method.predict(&learner, &tasks[0], &x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found, method.slow.unwrap().predict(&x).unwrap().to_vec2::<f32>().unwrap());
    }

    /// Batches that do not fit into days are cut: nothing is lost.
    #[test]
    fn a_batch_may_be_of_several_days() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 1, 20), learner(Scenario::Class, 1));
        learner.optimizer.set_lr(0.01).unwrap();
        let mut method = Cls::new(Config { memory: 50, day: 6, cycles: 1, ..Config::default() }, 3).unwrap();
        for (from, to, kept, waiting) in [(0, 4, 0, 4), (4, 9, 6, 3), (9, 28, 24, 4), (28, 30, 30, 0)] {
            method.observe(&mut learner, &batch(&tasks[0], from, to)).unwrap();
            assert_eq!((method.memory.len(), method.today.len()), (kept, waiting), "{from}..{to}");
        }
    }

    /// The night is plain SGD on interleaved batches: the same sources of the same seed, by hand.
    #[test]
    fn a_night_is_interleaved_replay() {
        use cl_sleep::Source as _;
        let (tasks, mut learner) = (tasks(Scenario::Domain, 1, 20), learner(Scenario::Domain, 1));
        let config = Config { memory: 8, day: 10, cycles: 4, batch: 6, lr: 0.05, reset: false };
        let mut method = Cls::new(config, 3).unwrap();
        let memory = |capacity, keep, name| Experiences::new(capacity, keep, cl_core::rng(3, name)).unwrap();
        let mut before = memory(8, Keep::Sample { gain: 0.0 }, "memory");
        let mut today = memory(10, Keep::Newest, "day");
        let mut by_hand: Option<Mlp> = None;
        for day in 0..3 {
            let batch = batch(&tasks[0], 10 * day, 10 * day + 10);
            let columns = [&batch.samples.x, &batch.samples.y];
            today.add(&columns, &Tags::default()).unwrap();
            method.observe(&mut learner, &batch).unwrap();
            let slow = by_hand.get_or_insert_with(|| learner.net.copy().unwrap());
            for _ in 0..4 {
                let mut source = Interleaved::of(today.by(&Uniform).unwrap(), before.by(&Uniform).unwrap());
                let replay = source.draw(6).unwrap();
                slow.descend(&replay.columns[0], &replay.columns[1], batch.units, None, 0.05).unwrap();
            }
            let all = today.all().unwrap();
            before.add(&all.iter().collect::<Vec<_>>(), &Tags::default()).unwrap();
            today.forget(|_| true);
            assert_eq!(flat(method.slow.as_ref().unwrap()), flat(slow), "day {day}");
        }
        assert_ne!(flat(&learner.net), flat(method.slow.as_ref().unwrap()), "the fast one goes on as it was");
    }

    #[test]
    fn coefficients_that_are_none_are_refused() {
        let bad = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            Cls::new(config, 0).err().unwrap().to_string()
        };
        assert!(bad(|c| c.batch = 1).contains("two samples"));
        assert!(bad(|c| c.cycles = 0).contains("cycles"));
        assert!(bad(|c| c.lr = 0.0).contains("lr"));
        assert!(bad(|c| c.day = 0).contains("capacity"));
        assert!(bad(|c| c.memory = 0).contains("capacity"));
    }
}
