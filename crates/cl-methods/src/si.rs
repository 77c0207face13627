//! Synaptic Intelligence (Zenke et al. 2017): importance from the path that training took.

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_data::Task;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Which gradient the path integral takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gradient {
    /// That of the task's loss alone, as in the paper.
    Task,
    /// That of the whole loss, penalty included (van de Ven et al. 2022).
    Whole,
}

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// c in c Σ Ω(θ−θ*)².
    pub c: f64,
    /// ξ in Ω = ω/(Δ²+ξ).
    pub xi: f64,
    /// Which gradient the path integral takes.
    pub gradient: Gradient,
    /// What the elements of gradients are clipped to, if they are (Mammoth: 1).
    pub clip: Option<f64>,
    /// Whether ω below 0 counts as 0 (Chaudhry et al. 2019); it takes away from Ω otherwise.
    pub positive: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { c: 0.1, xi: 0.1, gradient: Gradient::Task, clip: None, positive: false }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Si {
    config: Config,
    /// None before the first task: the path begins where the parameters are then.
    si: Option<cl_regularize::Si>,
}

impl Si {
    pub fn new(config: Config) -> Result<Self> {
        // Bad coefficients are refused here, not when the first task begins.
        cl_regularize::Si::new(Self::inner(config), &cl_core::Params::new())?;
        if let Some(clip) = config.clip.filter(|clip| !(*clip > 0.0 && clip.is_finite())) {
            return Err(Error::invalid(
                "clip",
                format!("{clip} is not a positive number; null clips nothing"),
            ));
        }
        Ok(Self { config, si: None })
    }

    fn inner(config: Config) -> cl_regularize::SiConfig {
        cl_regularize::SiConfig { c: config.c, xi: config.xi, positive: config.positive }
    }
}

impl Method for Si {
    crate::saved!("cl-methods/si", 2);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn can_train_in_half(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        let Some(si) = &self.si else { return Ok(Vitals::default()) };
        Ok(Vitals {
            penalty: Some(si.penalty(learner.net.params())?),
            lambda: Some(self.config.c),
            importance: si.importance().cloned().collect(),
            ..Vitals::default()
        })
    }

    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        if self.si.is_none() {
            self.si = Some(cl_regularize::Si::new(Self::inner(self.config), learner.net.params())?);
        }
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let si = self.si.as_mut().expect("begin_task made it");
        let task = learner.gradients_of(batch)?;
        let (step, path) = match self.config.gradient {
            Gradient::Task => (task.iter().map(Tensor::copy).collect::<Result<Vec<_>, _>>()?, task),
            Gradient::Whole => (task.clone(), task),
        };
        si.add_gradient(learner.net.params(), &step)?; // to both, where they are the same
        let clipped = |gradients: Vec<Tensor>| -> Result<Vec<Tensor>> {
            let Some(clip) = self.config.clip else { return Ok(gradients) };
            gradients.iter().map(|g| Ok(g.clamp(-clip, clip)?)).collect()
        };
        let (step, path) = (clipped(step)?, clipped(path)?);
        learner.apply(&step)?;
        si.after_step(learner.net.params(), &path) // ω ← ω − g·Δθ (eq. 3)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.si.as_mut().expect("begin_task made it").consolidate(learner.net.params())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// The step is the gradient, each element within the bounds; the path is that of the clipped gradient.
    #[test]
    fn gradients_are_clipped_element_by_element() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 1, 20), learner(Scenario::Domain, 1));
        let clip = 0.05f32;
        let config = Config {
            c: 1.0,
            xi: 0.5,
            gradient: Gradient::Whole,
            clip: Some(f64::from(clip)),
            positive: false,
        };
        let mut si = Si::new(config).unwrap();
        si.begin_task(&mut learner, &tasks[0]).unwrap();
        let batch = batch(&tasks[0], 0, 9);
        let plain = gradient(&learner, &learner.loss(&batch).unwrap());
        assert!(plain.iter().any(|g| g.abs() > clip) && plain.iter().any(|g| g.abs() < clip && *g != 0.0));
        let found = moved(&mut learner, |learner| si.observe(learner, &batch).unwrap());
        for (found, plain) in found.iter().zip(&plain) {
            assert!((found - plain.clamp(-clip, clip)).abs() < 1e-6, "{found} {plain}");
        }
        // With steps of 1, ω = g² of the clipped gradient, and Δ = g.
        si.end_task(&mut learner, &tasks[0]).unwrap();
        let omega: Vec<f32> =
            si.si.unwrap().importance().flat_map(|t| t.flatten_all().unwrap().to_vec1().unwrap()).collect();
        for (omega, step) in omega.iter().zip(&found) {
            assert!((omega - step * step / (step * step + 0.5)).abs() < 1e-5, "{omega} {step}");
        }
        for bad in [0.0, -1.0, f64::NAN] {
            assert!(Si::new(Config { clip: Some(bad), ..config }).is_err());
        }
    }
}
