//! GSS-IQP (Aljundi et al. 2019): the memory is the subset of what it holds and of what has come since whose gradients
//! differ most, found by an integer quadratic programme. With a random subset instead it is that paper's Rand.

use candle_core::Tensor;
use cl_core::{Error, Result, Rng, Units};
use cl_data::Samples;
use cl_replay::gss;
use cl_replay::scores::gradient_cosine;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use crate::gss::rehearse;
use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// Which subset is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// That of the smallest sum of cosines between gradients (eq. 6).
    Iqp,
    /// A random one. What came lately is as likely to be kept as what was kept before: no reservoir.
    Random,
}

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept.
    pub memory: usize,
    /// Samples that are gathered before a new subset is chosen, and not replayed until then.
    pub recent: usize,
    /// Samples replayed after each step.
    pub batch: usize,
    /// Steps on each new batch, with as many replayed batches.
    pub iterations: usize,
    /// Which subset is kept.
    pub choice: Choice,
    /// Nodes of branch and bound after which the search gives up. With 0 it ends with a subset that no exchange of two
    /// samples makes better.
    pub nodes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 300, recent: 100, batch: 10, iterations: 3, choice: Choice::Iqp, nodes: 0 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct GssIqp {
    config: Config,
    rng: Rng,
    memory: Option<Samples>,
    recent: Option<Samples>,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

impl GssIqp {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        let Config { memory, recent, batch, iterations, .. } = config;
        let sizes = [("memory", memory), ("recent", recent), ("batch", batch), ("iterations", iterations)];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(Error::invalid(name, "0: at least 1 is needed"));
        }
        Ok(Self {
            config,
            rng: cl_core::rng(seed, "gss"),
            memory: None,
            recent: None,
            drawn: Tally::default(),
        })
    }

    /// The rows of `all` that are kept, by the gradients that the network has now.
    fn choose(&mut self, learner: &Learner, all: &Samples, units: Units) -> Result<Vec<u32>> {
        let k = self.config.memory;
        if self.config.choice == Choice::Random {
            let rows = index::sample(&mut self.rng, all.len(), k);
            return Ok(rows.into_iter().map(|row| row as u32).collect());
        }
        let gradients = learner.layer_gradients(&Batch { samples: all.clone(), units })?;
        let cosines = gradient_cosine(&gradients, &gradients)?;
        // A gradient of 0 has no direction, and costs nothing. It takes part only where there are too few others.
        let lengths: Vec<f32> = (0..all.len())
            .map(|i| cosines.get(i)?.get(i)?.to_scalar())
            .collect::<candle_core::Result<_>>()?;
        let with: Vec<u32> = (0..all.len() as u32).filter(|&row| lengths[row as usize] > 0.5).collect();
        if with.len() < k {
            return Ok(gss::select(&cosines, k, self.config.nodes)?.rows);
        }
        let rows = Tensor::from_slice(&with, with.len(), cosines.device())?;
        let cosines = cosines.index_select(&rows, 0)?.index_select(&rows, 1)?;
        let chosen = gss::select(&cosines, k, self.config.nodes)?.rows;
        Ok(chosen.into_iter().map(|row| with[row as usize]).collect())
    }
}

impl Method for GssIqp {
    crate::saved!("cl-methods/gss-iqp", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(Stored {
            samples: self.memory.clone(),
            capacity: Some(self.config.memory),
            drawn: self.drawn.by_class(),
            ..Stored::default()
        }))
    }

    /// Steps as those of GSS-greedy; then algorithm 1, once enough samples have come.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Config { memory, recent, batch: size, iterations, .. } = self.config;
        rehearse(learner, batch, self.memory.as_ref(), size, iterations, &mut self.rng, &mut self.drawn)?;
        let new = match &self.recent {
            Some(recent) => Samples::concat(&[recent, &batch.samples])?,
            None => batch.samples.clone(),
        };
        if new.len() < recent {
            self.recent = Some(new);
            return Ok(());
        }
        let all = match &self.memory {
            Some(memory) => Samples::concat(&[&new, memory])?,
            None => new,
        };
        self.memory = Some(match all.len() > memory {
            true => all.gather(&self.choose(learner, &all, batch.units)?)?,
            false => all,
        });
        self.recent = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, gradient, learner, tasks};
    use cl_data::{Scenario, Task};
    use cl_nn::Mlp;

    /// The cosines of the gradients of single samples, one backward pass each.
    fn cosines(learner: &Learner, samples: &Samples, units: Units) -> Vec<Vec<f64>> {
        let of = |row| Batch { samples: samples.slice(row..row + 1).unwrap(), units };
        let unit = |row| -> Vec<f64> {
            let g = gradient(learner, &learner.loss(&of(row)).unwrap());
            let length = g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            g.iter().map(|&g| f64::from(g) / length).collect()
        };
        let units: Vec<Vec<f64>> = (0..samples.len()).map(unit).collect();
        let dot = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        units.iter().map(|a| units.iter().map(|b| dot(a, b)).collect()).collect()
    }

    /// A few samples of each task, all different.
    fn mixed(tasks: &[Task], each: usize) -> Samples {
        let parts: Vec<Samples> = tasks.iter().map(|task| task.train.slice(3..3 + each).unwrap()).collect();
        Samples::concat(&parts.iter().collect::<Vec<_>>()).unwrap()
    }

    /// Against backward passes of single samples, in every scenario, and with heads of their own.
    #[test]
    fn gradients_are_those_of_single_samples() {
        for (scenario, heads) in Scenario::ALL.into_iter().map(|s| (s, 1)).chain([(Scenario::Task, 3)]) {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            if heads > 1 {
                let rng = &mut cl_core::rng(1, "weights");
                let cpu = &candle_core::Device::Cpu;
                learner.net =
                    Mlp::with_heads(&[3, 8, 7, 6], heads, candle_core::DType::F32, cpu, rng).unwrap();
            }
            let (samples, units) = (mixed(&tasks, 4), tasks[0].units);
            let expected = cosines(&learner, &samples, units);
            let layers = learner.layer_gradients(&Batch { samples: samples.clone(), units }).unwrap();
            let found = gradient_cosine(&layers, &layers).unwrap().to_vec2::<f32>().unwrap();
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{scenario} {found} {expected}");
            }
        }
    }

    /// Of all subsets, the one with the least sum of cosines; a random one costs more.
    #[test]
    fn keeps_the_subset_that_brute_force_keeps() {
        let (tasks, learner) = (tasks(Scenario::Class, 3, 20), learner(Scenario::Class, 3));
        let (samples, units) = (mixed(&tasks, 4), tasks[0].units);
        let matrix = cosines(&learner, &samples, units);
        let cost = |rows: &[u32]| -> f64 {
            let pairs = rows.iter().flat_map(|&i| rows.iter().map(move |&j| (i, j)));
            pairs.map(|(i, j)| matrix[i as usize][j as usize]).sum()
        };
        for k in [3, 5, 8] {
            let subsets = (0u32..1 << 12).filter(|bits| bits.count_ones() as usize == k);
            let rows = |bits: u32| (0..12).filter(|row| bits & (1 << row) != 0).collect::<Vec<u32>>();
            let best = subsets.map(|bits| cost(&rows(bits))).fold(f64::INFINITY, f64::min);
            for nodes in [0, 100_000] {
                let config = Config { memory: k, nodes, ..Config::default() };
                let chosen = GssIqp::new(config, 0).unwrap().choose(&learner, &samples, units).unwrap();
                assert!(chosen.len() == k && cost(&chosen) < best + 1e-3, "{k}: {} {best}", cost(&chosen));
            }
            let config = Config { memory: k, choice: Choice::Random, ..Config::default() };
            let mut random = GssIqp::new(config, 0).unwrap();
            let draws = (0..50).map(|_| cost(&random.choose(&learner, &samples, units).unwrap()));
            assert!(draws.sum::<f64>() / 50.0 > best + 0.3);
        }
    }

    /// Everything is kept until there is too much; a choice comes only when enough is gathered. A random choice forgets: the
    /// first of four tasks is nearly gone, where a reservoir would hold a quarter of it.
    #[test]
    fn a_choice_comes_when_enough_is_gathered() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 4, 50), learner(Scenario::Class, 4));
        learner.optimizer.set_lr(0.01).unwrap();
        let mut first = [0; 2];
        for (at, choice) in [Choice::Iqp, Choice::Random].into_iter().enumerate() {
            let config = Config { memory: 40, recent: 20, batch: 5, iterations: 1, choice, nodes: 0 };
            let mut gss = GssIqp::new(config, 1).unwrap();
            let mut seen = 0;
            for task in &tasks {
                for step in 0..10 {
                    gss.observe(&mut learner, &batch(task, 10 * step, 10 * step + 10)).unwrap();
                    seen += 10;
                    let len = |samples: &Option<Samples>| samples.as_ref().map_or(0, Samples::len);
                    assert_eq!(len(&gss.recent), seen % 20);
                    assert_eq!(len(&gss.memory), (seen - seen % 20).min(40));
                }
            }
            let labels = gss.memory.as_ref().unwrap().labels().unwrap();
            first[at] = labels.iter().filter(|&&label| label < 2).count();
        }
        assert!(first[1] <= 2, "{first:?}");
    }

    #[test]
    fn bad_coefficients_are_refused() {
        let config = Config::default();
        for bad in [
            Config { memory: 0, ..config },
            Config { recent: 0, ..config },
            Config { batch: 0, ..config },
            Config { iterations: 0, ..config },
        ] {
            assert!(GssIqp::new(bad, 0).is_err(), "{bad:?}");
        }
    }
}
