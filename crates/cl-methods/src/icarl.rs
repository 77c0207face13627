//! iCaRL (Rebuffi et al. 2017), as van de Ven et al. 2022 run it: exemplars by herding, binary losses, and an answer by the
//! nearest mean of exemplars.

use std::collections::BTreeMap;

use candle_core::{Module, Tensor};
use cl_core::{Error, Result};
use cl_data::{Samples, Scenario, Task};
use cl_nn::Mlp;
use cl_replay::herding;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Exemplars kept of each class.
    pub per_class: usize,
    /// T: the old network's logits are divided by it before they become targets. The paper has 1.
    pub temperature: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_class: 100, temperature: 2.0 }
    }
}

/// It is meant for the class scenario. Where the task is given, the same network decides among the classes of the task.
/// In the domain scenario no class is new after the first task: nothing is distilled, and a class has exemplars of every
/// task, whose mean is one.
#[derive(Serialize, Deserialize)]
pub struct Icarl {
    config: Config,
    /// P_y: of each output unit, in the order of choice.
    exemplars: BTreeMap<u32, Samples>,
    /// The network after the last task.
    old: Option<Mlp>,
}

impl Icarl {
    pub fn new(config: Config) -> Result<Self> {
        if config.per_class == 0 {
            return Err(Error::invalid("per_class", "0: a class has at least one exemplar"));
        }
        if !(config.temperature > 0.0 && config.temperature.is_finite()) {
            let why = format!("{} is not a positive number", config.temperature);
            return Err(Error::invalid("temperature", why));
        }
        Ok(Self { config, exemplars: BTreeMap::new(), old: None })
    }
}

/// φ(x)/‖φ(x)‖, φ what comes into the output layer; outside of the graph.
fn features(net: &Mlp, x: &Tensor) -> Result<Tensor> {
    let hidden = net.layers().filter(|layer| layer.activation != cl_nn::Activation::Identity);
    let mut features = x.detach();
    for layer in hidden {
        features = layer.forward(&features)?.detach();
    }
    unit(&features)
}

/// Rows of length 1; those of 0 stay.
fn unit(rows: &Tensor) -> Result<Tensor> {
    let length = rows.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(rows.broadcast_div(&length.maximum(1e-12)?)?)
}

/// The direction of the mean of rows: (n, d) → (1, d).
fn mean(features: &Tensor) -> Result<Tensor> {
    unit(&features.mean_keepdim(0)?)
}

/// (1/n) Σ Σ −t log σ(z) − (1 − t) log(1 − σ(z)), summed over units, a mean over samples.
fn binary_cross_entropy(z: &Tensor, targets: &Tensor) -> Result<Tensor> {
    // log(1 + eᶻ) = max(z, 0) + log(1 + e^−|z|)
    let softplus = (z.relu()? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    Ok(((softplus - (z * targets)?)?.sum_all()? / z.dim(0)? as f64)?)
}

fn sigmoid(z: &Tensor) -> Result<Tensor> {
    Ok((((z * 0.5)?.tanh()? + 1.0)? * 0.5)?)
}

impl Method for Icarl {
    crate::saved!("cl-methods/icarl", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        let samples = match self.exemplars.is_empty() {
            true => None,
            false => Some(Samples::concat(&self.exemplars.values().collect::<Vec<_>>())?),
        };
        // Exemplars are a part of the training data: no draw leaves them out.
        Ok(Vitals { memory: Some(Stored { samples, ..Stored::default() }), ..Vitals::apart() })
    }

    /// D: the new samples and all exemplars (algorithm 3).
    fn data(&self, task: &Task) -> Result<Samples> {
        let new = task.train.all()?;
        Samples::concat(&std::iter::once(&new).chain(self.exemplars.values()).collect::<Vec<_>>())
    }

    /// Binary cross-entropy over the units so far; the targets of those of earlier tasks are what the old network says, for
    /// new samples and exemplars alike (algorithm 3).
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Samples { x, y } = &batch.samples;
        let (known, active) = match learner.scenario {
            Scenario::Domain => (0, learner.net.outputs()),
            _ => (learner.task * learner.classes_per_task, (learner.task + 1) * learner.classes_per_task),
        };
        let units = Tensor::arange(0, active as u32, y.device())?.unsqueeze(0)?;
        let mut targets = y.unsqueeze(1)?.broadcast_eq(&units)?.to_dtype(x.dtype())?;
        if let Some(old) = self.old.as_ref().filter(|_| known > 0) {
            let says = sigmoid(&(old.predict(x)?.narrow(1, 0, known)? / self.config.temperature)?)?;
            targets = Tensor::cat(&[&says, &targets.narrow(1, known, active - known)?], 1)?;
        }
        let z = learner.net.forward(x)?.narrow(1, 0, active)?;
        learner.step(&binary_cross_entropy(&z, &targets)?)
    }

    /// y* = argmin ‖φ(x) − μ_y‖, μ_y the mean of the exemplars (algorithm 1), as scores −‖φ(x) − μ_y‖² of the units, −∞
    /// without exemplars.
    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        if self.exemplars.is_empty() {
            return learner.net.predict(x);
        }
        let features_of_x = features(&learner.net, x)?;
        let none = Tensor::full(f32::NEG_INFINITY, x.dim(0)?, x.device())?;
        let scores = (0..learner.net.outputs() as u32).map(|unit| {
            let Some(exemplars) = self.exemplars.get(&unit) else { return Ok(none.clone()) };
            let mean = mean(&features(&learner.net, &exemplars.x)?)?;
            Ok(features_of_x.broadcast_sub(&mean)?.sqr()?.sum(1)?.neg()?)
        });
        Ok(Tensor::stack(&scores.collect::<Result<Vec<_>>>()?, 1)?)
    }

    /// Algorithm 4, for each class of the task.
    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let train = task.train.all()?;
        let mut rows_of = BTreeMap::<u32, Vec<u32>>::new();
        for (row, label) in train.labels()?.into_iter().enumerate() {
            rows_of.entry(label).or_default().push(row as u32);
        }
        for (label, rows) in rows_of {
            let samples = train.gather(&rows)?;
            let features = features(&learner.net, &samples.x)?;
            let k = self.config.per_class.min(samples.len());
            let chosen = samples.gather(&herding(&features, &mean(&features)?.squeeze(0)?, k)?)?;
            let exemplars = match self.exemplars.get(&label) {
                Some(of_earlier_tasks) => Samples::concat(&[of_earlier_tasks, &chosen])?,
                None => chosen,
            };
            self.exemplars.insert(label, exemplars);
        }
        self.old = Some(learner.net.copy()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_core::Params;

    fn flat(params: &Params) -> Vec<f32> {
        params.flat().unwrap().to_vec1().unwrap()
    }

    /// The gradient of the logits is σ(z) − t, written with loops; old units have the old network's answers as targets, units
    /// to come take no part.
    #[test]
    fn the_loss_is_the_papers() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.1).unwrap();
            let mut icarl = Icarl::new(Config { per_class: 5, temperature: 2.0 }).unwrap();
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                let old = learner.net.copy().unwrap();
                for step in 0..2 {
                    let batch = batch(task, 8 * step, 8 * step + 8);
                    let x = &batch.samples.x;
                    let z = learner.net.predict(x).unwrap().to_vec2::<f32>().unwrap();
                    let says = old.predict(x).unwrap().to_vec2::<f32>().unwrap();
                    let (known, active) = match scenario {
                        Scenario::Domain => (0, 2),
                        _ => (2 * k, 2 * k + 2),
                    };
                    let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
                    let mut deltas = Vec::new();
                    for (row, label) in batch.samples.labels().unwrap().into_iter().enumerate() {
                        for unit in 0..learner.net.outputs() {
                            let target = match unit < known {
                                true => sigmoid(says[row][unit] / 2.0),
                                false => f32::from(u8::from(unit == label as usize)),
                            };
                            let delta = (sigmoid(z[row][unit]) - target) / 8.0;
                            deltas.push(if unit < active { delta } else { 0.0 });
                        }
                    }
                    let deltas = Tensor::from_vec(deltas, (8, learner.net.outputs()), x.device()).unwrap();
                    let loss = (learner.net.forward(x).unwrap() * deltas).unwrap().sum_all().unwrap();
                    let expected = gradient(&learner, &loss);
                    let found = moved(&mut learner, |learner| icarl.observe(learner, &batch).unwrap());
                    assert_close(&found.iter().map(|step| step / 0.1).collect::<Vec<_>>(), &expected, 1e-4);
                }
                icarl.end_task(&mut learner, task).unwrap();
                assert_eq!(flat(icarl.old.as_ref().unwrap().params()), flat(learner.net.params()));
            }
        }
    }

    #[test]
    fn the_loss_is_finite_where_sigmoids_are_0_or_1() {
        let z = Tensor::new(&[[-200f32, 200.0, 0.0]], &candle_core::Device::Cpu).unwrap();
        let targets = Tensor::new(&[[1f32, 1.0, 0.5]], z.device()).unwrap();
        let loss = binary_cross_entropy(&z, &targets).unwrap().to_scalar::<f32>().unwrap();
        assert!((loss - (200.0 + 2f32.ln())).abs() < 1e-3, "{loss}");
    }

    /// As many exemplars of each class as there should be, beside the new samples in the next task; each sample's class is
    /// that of the nearest mean, among the classes seen.
    #[test]
    fn exemplars_answer_and_are_trained_on() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 3, 20), learner(Scenario::Class, 3));
        let mut icarl = Icarl::new(Config { per_class: 5, temperature: 2.0 }).unwrap();
        let x = &tasks[0].test.all().unwrap().x;
        let net = learner.net.predict(x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(icarl.predict(&learner, &tasks[0], x).unwrap().to_vec2::<f32>().unwrap(), net);
        for (k, task) in tasks.iter().enumerate() {
            assert_eq!(icarl.data(task).unwrap().len(), 40 + 10 * k);
            icarl.end_task(&mut learner, task).unwrap();
            let scores = icarl.predict(&learner, task, x).unwrap().to_vec2::<f32>().unwrap();
            let of_x = features(&learner.net, x).unwrap().to_vec2::<f32>().unwrap();
            for (unit, exemplars) in &icarl.exemplars {
                assert_eq!(exemplars.labels().unwrap(), vec![*unit; 5]);
                let rows = features(&learner.net, &exemplars.x).unwrap().to_vec2::<f32>().unwrap();
                let mut mean: Vec<f32> = (0..8).map(|i| rows.iter().map(|row| row[i]).sum::<f32>()).collect();
                let length = mean.iter().map(|m| m * m).sum::<f32>().sqrt();
                mean.iter_mut().for_each(|m| *m /= length);
                for (scores, of_x) in scores.iter().zip(&of_x) {
                    let distance: f32 = of_x.iter().zip(&mean).map(|(a, b)| (a - b).powi(2)).sum();
                    assert!((scores[*unit as usize] + distance).abs() < 1e-5);
                }
            }
            assert!(scores.iter().all(|scores| scores[2 * k + 2..].iter().all(|&s| s == f32::NEG_INFINITY)));
        }
    }

    /// Domains share their classes: each has exemplars of all of them.
    #[test]
    fn a_class_of_several_domains_has_exemplars_of_each() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 3, 20), learner(Scenario::Domain, 3));
        let mut icarl = Icarl::new(Config { per_class: 4, temperature: 2.0 }).unwrap();
        for task in &tasks {
            icarl.end_task(&mut learner, task).unwrap();
        }
        assert_eq!(icarl.exemplars.values().map(Samples::len).collect::<Vec<_>>(), [12, 12]);
    }

    #[test]
    fn bad_coefficients_are_refused() {
        for (per_class, temperature) in [(0, 2.0), (5, 0.0), (5, f64::NAN), (5, f64::INFINITY)] {
            assert!(Icarl::new(Config { per_class, temperature }).is_err());
        }
    }
}
