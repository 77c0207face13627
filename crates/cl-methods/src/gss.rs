//! GSS-greedy (Aljundi et al. 2019): a memory of samples whose gradients point in different directions.

use std::ops::Range;

use cl_core::{Error, Result, Rng};
use cl_data::Samples;
use cl_replay::scores::gradient_products;
use rand::Rng as _;
use rand::seq::{SliceRandom as _, index};
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept.
    pub memory: usize,
    /// Samples replayed after each step.
    pub batch: usize,
    /// n: gradients of the memory that a new sample is compared with, each of a batch of it.
    pub directions: usize,
    /// Steps on each new batch, with as many replayed batches.
    pub iterations: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 300, batch: 10, directions: 10, iterations: 3 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct GssGreedy {
    config: Config,
    rng: Rng,
    memory: Option<Samples>,
    /// Of each kept sample, how like its gradient was to those of the memory when it came: from −1 to 1.
    scores: Vec<f64>,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

impl GssGreedy {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        let Config { memory, batch, directions, iterations } = config;
        let sizes =
            [("memory", memory), ("batch", batch), ("directions", directions), ("iterations", iterations)];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(Error::invalid(name, "0: at least 1 is needed"));
        }
        Ok(Self {
            config,
            rng: cl_core::rng(seed, "gss"),
            memory: None,
            scores: Vec::new(),
            drawn: Tally::default(),
        })
    }

    /// The rows of the memory in a random order.
    fn shuffled(&mut self) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.scores.len() as u32).collect();
        rows.shuffle(&mut self.rng);
        rows
    }

    /// How like the gradients of new samples are to those of up to n batches of the memory, drawn without replacement. None
    /// where nothing is kept.
    fn likeness(&mut self, learner: &Learner, batch: &Batch) -> Result<Option<Likeness>> {
        let mut rows = self.shuffled();
        rows.truncate(self.config.directions.saturating_mul(self.config.batch));
        let Some(memory) = &self.memory else { return Ok(None) };
        let samples = Samples::concat(&[&memory.gather(&rows)?, &batch.samples])?;
        let layers = learner.layer_gradients(&Batch { samples, units: batch.units })?;
        let products = gradient_products(&layers, &layers)?.to_vec2::<f32>()?;
        // The gradient of a mean loss points where the sum of the gradients does.
        let product = |a: Range<usize>, b: &Range<usize>| -> f64 {
            products[a].iter().flat_map(|row| &row[b.clone()]).map(|&p| f64::from(p)).sum()
        };
        let length = |of: &Range<usize>| product(of.clone(), of).max(0.0).sqrt().max(1e-12);
        let (kept, all) = (rows.len(), products.len());
        let batches = (0..kept).step_by(self.config.batch).map(|at| at..kept.min(at + self.config.batch));
        let directions: Vec<_> = batches.map(|rows| (length(&rows), rows)).collect();
        let most = |of: Range<usize>| {
            let cosine = |(length_of, rows): &(f64, Range<usize>)| {
                product(of.clone(), rows) / (length_of * length(&of))
            };
            directions.iter().map(cosine).fold(f64::MIN, f64::max)
        };
        Ok(Some(Likeness {
            batch: most(kept..all),
            each: (kept..all).map(|row| most(row..row + 1)).collect(),
        }))
    }

    /// Algorithm 2: what becomes of a batch that was trained on.
    fn offer(&mut self, learner: &Learner, batch: &Batch) -> Result<()> {
        let likeness = self
            .likeness(learner, batch)?
            .unwrap_or_else(|| Likeness { batch: 0.1, each: vec![0.1; batch.samples.len()] });
        let new = &batch.samples;
        let free = self.config.memory - self.scores.len();
        if free > 0 {
            let n = free.min(new.len());
            let added = new.slice(0..n)?;
            self.memory = Some(match &self.memory {
                Some(memory) => Samples::concat(&[memory, &added])?,
                None => Samples::concat(&[&added])?,
            });
            self.scores.extend(&likeness.each[..n]);
            return Ok(());
        }
        // A batch that the memory's gradients agree with brings nothing new.
        if likeness.batch >= 0.0 {
            return Ok(());
        }
        let (least, most) = self.scores.iter().fold((f64::MAX, f64::MIN), |(l, m), &s| (l.min(s), m.max(s)));
        let weight = |row: usize| (self.scores[row] - least) / (most - least + 0.01);
        let n = new.len().min((0..self.scores.len()).filter(|&row| weight(row) > 0.0).count());
        let candidates = index::sample_weighted(&mut self.rng, self.scores.len(), weight, n)
            .map_err(|e| Error::invalid("scores", format!("{e}: {:?}", self.scores)))?;
        // Which row of the memory and the batch together each place of the memory takes.
        let mut rows: Vec<u32> = (0..self.scores.len() as u32).collect();
        for (at, place) in candidates.into_iter().enumerate() {
            let score = likeness.each[at];
            let (old, new) = ((self.scores[place] + 1.0) / 2.0, (score + 1.0) / 2.0);
            if self.rng.random::<f64>() * (old + new) < old {
                rows[place] = (self.scores.len() + at) as u32;
                self.scores[place] = score;
            }
        }
        if let Some(memory) = &self.memory {
            self.memory = Some(Samples::concat(&[memory, new])?.gather(&rows)?);
        }
        Ok(())
    }
}

/// The largest cosine with a direction of the memory: of the gradient of a whole batch, and of each of its samples.
struct Likeness {
    batch: f64,
    each: Vec<f64>,
}

/// As the authors train with any memory: for each new batch some steps, each on the batch and then on one of the memory,
/// whose batches come in a new random order.
pub(crate) fn rehearse(
    learner: &mut Learner,
    batch: &Batch,
    memory: Option<&Samples>,
    size: usize,
    iterations: usize,
    rng: &mut Rng,
    drawn: &mut Tally,
) -> Result<()> {
    let mut rows: Vec<u32> = (0..memory.map_or(0, Samples::len) as u32).collect();
    rows.shuffle(rng);
    let mut replayed = rows.chunks(size).cycle();
    for _ in 0..iterations {
        learner.learn(batch)?;
        if let (Some(memory), Some(rows)) = (memory, replayed.next()) {
            let samples = memory.gather(rows)?;
            drawn.labels(&samples.y)?;
            learner.learn(&Batch { samples, units: batch.units })?;
        }
    }
    Ok(())
}

impl Method for GssGreedy {
    crate::saved!("cl-methods/gss-greedy", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(Stored {
            samples: self.memory.clone(),
            capacity: Some(self.config.memory),
            drawn: self.drawn.by_class(),
            ..Stored::default()
        }))
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Config { batch: size, iterations, .. } = self.config;
        rehearse(learner, batch, self.memory.as_ref(), size, iterations, &mut self.rng, &mut self.drawn)?;
        self.offer(learner, batch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, tasks};
    use cl_data::Scenario;

    /// Gradients of one direction for all of the memory: what agrees with it is not looked at, what goes against it takes
    /// places, and the more often the less like the memory it is.
    #[test]
    fn samples_that_point_elsewhere_take_places() {
        let (tasks, learner) = (tasks(Scenario::Domain, 1, 40), learner(Scenario::Domain, 1));
        let task = &tasks[0];
        // Rows are of class 0 and 1 in turn: the gradients of one class go against those of the other.
        let of_class = |class: usize, n: usize| {
            let rows: Vec<u32> = (0..n).map(|i| (2 * i + class) as u32).collect();
            Batch { samples: task.train.gather(&rows).unwrap(), units: task.units }
        };
        let cosine = {
            let unit = |batch: &Batch| {
                let g = gradient(&learner, &learner.loss(batch).unwrap());
                let length = g.iter().map(|g| g * g).sum::<f32>().sqrt();
                g.iter().map(|g| g / length).collect::<Vec<f32>>()
            };
            unit(&of_class(0, 10)).iter().zip(unit(&of_class(1, 10))).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!(cosine < 0.0, "{cosine}");

        let mut taken = 0;
        for seed in 0..20 {
            let config = Config { memory: 20, batch: 10, directions: 2, iterations: 1 };
            let mut gss = GssGreedy::new(config, seed).unwrap();
            for _ in 0..2 {
                gss.offer(&learner, &of_class(0, 10)).unwrap();
            }
            let classes = |gss: &GssGreedy| gss.memory.as_ref().unwrap().labels().unwrap();
            assert_eq!((classes(&gss), gss.scores.len()), (vec![0; 20], 20));
            assert!(gss.scores[..10].iter().all(|&score| score == 0.1));
            assert!(gss.scores[10..].iter().all(|&score| score > 0.0 && score <= 1.0 + 1e-6));
            let before = (gss.memory.as_ref().unwrap().x.to_vec2::<f32>().unwrap(), gss.scores.clone());
            let same = task.train.gather(&[20, 22, 24, 26, 28, 30, 32, 34, 36, 38]).unwrap();
            gss.offer(&learner, &Batch { samples: same, units: task.units }).unwrap();
            let after = (gss.memory.as_ref().unwrap().x.to_vec2::<f32>().unwrap(), gss.scores.clone());
            assert_eq!(after, before, "more of the same is not taken");
            gss.offer(&learner, &of_class(1, 10)).unwrap();
            // What was least like the memory is never given up.
            let least = before.1.iter().copied().fold(f64::MAX, f64::min);
            let kept = before.1.iter().zip(classes(&gss)).filter(|(score, _)| **score == least);
            assert!(kept.map(|(_, class)| class).all(|class| class == 0));
            let new = classes(&gss).iter().filter(|&&class| class == 1).count();
            assert_eq!(new, gss.scores.iter().filter(|&&score| score < 0.0).count());
            taken += new;
        }
        // Each of 10 candidates goes with (1 + old) / (2 + old + new), most of old near 1 and new below 0.
        assert!((100..=195).contains(&taken), "{taken} of 200");
    }

    /// Before anything is kept: as many plain steps on the batch as there are iterations.
    #[test]
    fn every_iteration_is_a_step() {
        let tasks = tasks(Scenario::Domain, 1, 20);
        let now = batch(&tasks[0], 0, 6);
        for iterations in 1..4 {
            let [mut found, mut expected] = [0, 1].map(|_| learner(Scenario::Domain, 1));
            let mut gss = GssGreedy::new(Config { iterations, ..Config::default() }, 0).unwrap();
            gss.observe(&mut found, &now).unwrap();
            for _ in 0..iterations {
                expected.step(&expected.loss(&now).unwrap()).unwrap();
            }
            let flat = |learner: &Learner| learner.net.params().flat().unwrap().to_vec1::<f32>().unwrap();
            assert_close(&flat(&found), &flat(&expected), 1e-6);
        }
    }

    #[test]
    fn it_never_keeps_more_than_it_should() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 3, 20), learner(Scenario::Class, 3));
        learner.optimizer.set_lr(0.05).unwrap();
        let config = Config { memory: 25, batch: 6, directions: 3, iterations: 2 };
        let mut gss = GssGreedy::new(config, 1).unwrap();
        for task in &tasks {
            for step in 0..6 {
                gss.observe(&mut learner, &batch(task, 5 * step, 5 * step + 7)).unwrap();
                let kept = gss.memory.as_ref().unwrap();
                assert!(kept.len() == gss.scores.len() && kept.len() <= 25);
                assert!(gss.scores.iter().all(|score| (-1.0 - 1e-6..=1.0 + 1e-6).contains(score)));
            }
        }
        assert_eq!(gss.scores.len(), 25);
        for bad in [Config { memory: 0, ..config }, Config { directions: 0, ..config }] {
            assert!(GssGreedy::new(bad, 0).is_err());
        }
    }
}
