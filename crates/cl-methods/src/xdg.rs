//! Context-dependent gating (Masse et al. 2018): each task silences another part of the hidden units.
//!
//! The task of a sample must be known when it is tested. In the task scenario it is given; in the domain scenario it is
//! more than the other methods know; in the class scenario this method does not begin.

use candle_core::Tensor;
use cl_core::{Activation, Result, TensorOps};
use cl_data::Task;
use cl_isolate::Gates;
use cl_nn::Mlp;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The fraction of each hidden layer's units that a task silences: 0.8 on permuted MNIST in Masse et al.
    pub fraction: f64,
    /// Where the gates stand.
    pub place: Place,
}

/// Where the gates stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// m ⊙ f(Wx + b), as Masse et al. have it: a silent unit is 0.
    Activation,
    /// f(m ⊙ Wx + b), as the code of van de Ven et al. 2022 has it: a silent unit is f(b), and its bias is trained.
    BeforeBias,
}

impl Default for Config {
    fn default() -> Self {
        Self { fraction: 0.8, place: Place::Activation }
    }
}

#[derive(Serialize, Deserialize)]
pub struct XdG {
    place: Place,
    /// All tasks' gates: they follow from a seed.
    gates: Gates,
}

impl XdG {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        Ok(Self { place: config.place, gates: Gates::new(config.fraction, seed)? })
    }

    /// The output units with the gates of a task; those of the output layer are all open.
    fn forward(&self, net: &Mlp, task: usize, x: &Tensor) -> Result<Tensor> {
        let (mut h, mut heads) = (x.clone(), Vec::new());
        for (i, layer) in net.layers().enumerate() {
            let (w, b) = (&layer.weight, layer.bias.as_tensor());
            match (layer.activation, self.place) {
                (Activation::Identity, _) => heads.push(h.linear(w, Some(b), Activation::Identity)?),
                (f, Place::Activation) => h = self.gates.gate(&h.linear(w, Some(b), f)?, task, i)?,
                (Activation::Relu, Place::BeforeBias) => {
                    let wx = h.linear(w, None, Activation::Identity)?;
                    h = self.gates.gate(&wx, task, i)?.broadcast_add(b)?.relu()?;
                }
            }
        }
        Ok(Tensor::cat(&heads, 1)?)
    }
}

impl Method for XdG {
    crate::saved!("cl-methods/xdg", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::apart())
    }

    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        learner.give_task("XdG")
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let outputs = self.forward(&learner.net, learner.task, &batch.samples.x)?;
        learner.step(&outputs.cross_entropy(&batch.samples.y, batch.units, None)?)
    }

    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(&learner.net, task.index, x)?.detach())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// A network with masked weights, by hand: W with zero rows, and for the gates behind the activation also b.
    #[test]
    fn a_gated_network_is_one_of_masked_weights() {
        for (scenario, place) in [(Scenario::Task, Place::BeforeBias), (Scenario::Domain, Place::Activation)]
        {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            let mut xdg = XdG::new(Config { fraction: 0.6, place }, 5).unwrap();
            let gates = Gates::new(0.6, 5).unwrap();
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                xdg.begin_task(&mut learner, task).unwrap();
                let open: Vec<f32> =
                    gates.open(k, 0, 8).into_iter().map(|o| f32::from(u8::from(o))).collect();
                assert_eq!(open.iter().sum::<f32>(), 4.0, "4 of 8 are silent");
                let mask = Tensor::new(open, &candle_core::Device::Cpu).unwrap();
                let batch = batch(task, 0, 9);
                let by_hand = |learner: &Learner| {
                    let [first, last] = &learner.net.layers().collect::<Vec<_>>()[..] else { panic!() };
                    let w = first.weight.broadcast_mul(&mask.unsqueeze(1).unwrap()).unwrap();
                    let b = match place {
                        Place::BeforeBias => first.bias.as_tensor().clone(),
                        Place::Activation => (first.bias.as_tensor() * &mask).unwrap(),
                    };
                    let h = batch.samples.x.linear(&w, Some(&b), Activation::Relu).unwrap();
                    h.linear(&last.weight, Some(last.bias.as_tensor()), Activation::Identity).unwrap()
                };
                let found = xdg.predict(&learner, task, &batch.samples.x).unwrap();
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_close(&flat(&found), &flat(&by_hand(&learner)), 1e-6);
                let loss = by_hand(&learner).cross_entropy(&batch.samples.y, batch.units, None).unwrap();
                let expected = gradient(&learner, &loss);
                assert!(expected.contains(&0.0));
                let found = moved(&mut learner, |learner| xdg.observe(learner, &batch).unwrap());
                assert_close(&found, &expected, 1e-5);
            }
        }
    }
}
