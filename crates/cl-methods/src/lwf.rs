//! Learning without Forgetting (Li & Hoiem 2017): on the inputs of the new task, the network should go on
//! answering as it did before.

use candle_core::{D, Module, Tensor};
use cl_core::{Error, Result, TensorOps};
use cl_data::{Scenario, Task};
use cl_nn::Mlp;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// How the loss of the new task and the distillation loss are weighed; k is the number of tasks so far,
/// the new one counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// new + (k−1)·distillation in the task and domain scenario, new + distillation in the class scenario
    /// (van de Ven et al. 2022).
    PerTask,
    /// (1/k)·new + (1−1/k)·T²·distillation, the distillation a mean over the units too, as the code of
    /// van de Ven & Tolias 2018 had it (summed over units since May 2019).
    Share,
}

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Temperature T of the distillation.
    pub temperature: f64,
    /// How the two losses are weighed.
    pub weighting: Weighting,
}

impl Default for Config {
    fn default() -> Self {
        Self { temperature: 2.0, weighting: Weighting::PerTask }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Lwf {
    config: Config,
    teacher: Option<Mlp>,
}

impl Lwf {
    pub fn new(config: Config) -> Result<Self> {
        if !(config.temperature > 0.0 && config.temperature.is_finite()) {
            return Err(Error::invalid(
                "temperature",
                format!("{} is not a positive number", config.temperature),
            ));
        }
        Ok(Self { config, teacher: None })
    }

    /// The outputs that the teacher is asked for: how many units, from the first, and in blocks of how many.
    /// One block for each earlier task where the task is given; otherwise all that are active.
    fn teacher_units(learner: &Learner, batch: &Batch) -> (usize, usize) {
        let outputs = learner.net.outputs();
        match (learner.scenario, batch.units) {
            (Scenario::Task, _) => (learner.task * learner.classes_per_task, learner.classes_per_task),
            (_, cl_core::Units::First(n)) => (n.min(outputs), n.min(outputs)),
            _ => (outputs, outputs),
        }
    }
}

impl Method for Lwf {
    crate::saved!("cl-methods/lwf", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals { protects: self.teacher.is_some(), ..Vitals::default() })
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Some(teacher) = &self.teacher else {
            return learner.learn(batch);
        };
        let k = (learner.task + 1) as f64;
        let x = &batch.samples.x;
        let logits = learner.net.forward(x)?;
        let new = logits.cross_entropy(&batch.samples.y, batch.units, None)?;
        let (units, block) = Self::teacher_units(learner, batch);
        // With units that appeared since, the teacher gives them no probability at all.
        let known = match batch.units {
            cl_core::Units::First(_) => learner.task * learner.classes_per_task,
            _ => units,
        };
        let old = distillation(&logits, &teacher.predict(x)?, units, known, block, self.config.temperature)?;
        // Summed over the blocks; the mean over blocks is what the papers weigh.
        let mean = (old * (block as f64 / units as f64))?;
        let loss = match (self.config.weighting, learner.scenario) {
            (Weighting::PerTask, Scenario::Class) => (new + mean)?,
            (Weighting::PerTask, _) => (new + (mean * (k - 1.0))?)?,
            (Weighting::Share, _) => {
                let scale = self.config.temperature.powi(2) / block as f64;
                ((new / k)? + (mean * ((1.0 - 1.0 / k) * scale))?)?
            }
        };
        learner.step(&loss)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.teacher = Some(learner.net.copy()?);
        Ok(())
    }
}

/// −(1/n) Σ Σ softmax(teacher/T) · log softmax(student/T), the softmaxes over blocks of `block` of the first
/// `units` outputs, of which the teacher knows the first `known`.
fn distillation(
    student: &Tensor,
    teacher: &Tensor,
    units: usize,
    known: usize,
    block: usize,
    temperature: f64,
) -> Result<Tensor> {
    let n = student.dim(0)?;
    let blocks = |logits: &Tensor, units: usize, block: usize| -> Result<Tensor> {
        Ok((logits.narrow(1, 0, units)?.reshape((n, units / block, block))? / temperature)?)
    };
    let z = blocks(student, units, block)?;
    let teacher = blocks(teacher, known, block.min(known))?;
    let p = teacher.broadcast_sub(&teacher.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?.exp()?;
    let p = match units - known {
        0 => p,
        new => p.pad_with_zeros(D::Minus1, 0, new)?,
    };
    // Σp = 1 in each block, so −Σ p (z − lse) = lse − Σ p z.
    let terms = (z.log_sum_exp(D::Minus1)? - (z * p)?.sum(D::Minus1)?)?;
    Ok((terms.sum_all()? / n as f64)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device, Var};

    fn logits(seed: u64) -> Var {
        cl_core::init::Init::Normal(1.5)
            .var((3, 6), DType::F64, &Device::Cpu, &mut cl_core::rng(seed, ""))
            .unwrap()
    }

    /// Against the definition, written with loops.
    #[test]
    fn is_the_cross_entropy_of_the_softened_teacher() {
        let (student, teacher) = (logits(1), logits(2));
        for (units, known, block) in [(6, 6, 6), (4, 4, 2), (6, 4, 6), (6, 6, 3)] {
            let found = distillation(&student, &teacher, units, known, block, 2.0).unwrap();
            let (s, t) = (student.to_vec2::<f64>().unwrap(), teacher.to_vec2::<f64>().unwrap());
            let mut expected = 0.0;
            for (s, t) in s.iter().zip(&t) {
                for start in (0..units).step_by(block) {
                    let soft = |z: &[f64]| -> Vec<f64> {
                        let exp: Vec<f64> = z.iter().map(|z| (z / 2.0).exp()).collect();
                        exp.iter().map(|e| e / exp.iter().sum::<f64>()).collect()
                    };
                    let q = soft(&s[start..start + block]);
                    let p = soft(&t[start..(start + block).min(known)]);
                    expected -= p.iter().zip(&q).map(|(p, q)| p * q.ln()).sum::<f64>() / 3.0;
                }
            }
            let found = found.to_scalar::<f64>().unwrap();
            assert!((found - expected).abs() < 1e-12, "{units} {known} {block}: {found} against {expected}");
        }
    }

    /// Where student and teacher agree the gradient vanishes; elsewhere it must not (avalanche#1260).
    #[test]
    fn pulls_towards_the_teacher() {
        let gradient = |student: &Var, teacher: &Var| {
            let loss = distillation(student, teacher, 6, 6, 2, 2.0).unwrap();
            let gradient = loss.backward().unwrap().get(student).unwrap().sqr().unwrap();
            gradient.sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        assert!(gradient(&logits(1), &logits(1)) < 1e-20);
        assert!(gradient(&logits(1), &logits(2)) > 1e-4);
    }
}
