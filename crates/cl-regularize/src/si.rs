//! Synaptic Intelligence (Zenke, Poole & Ganguli 2017).

use candle_core::Tensor;
use cl_core::{Params, Quadratic, Result, TensorOps};
use serde::{Deserialize, Serialize};

/// The coefficients of [`Si`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SiConfig {
    /// c in c Σ Ω(θ−θ*)²: the strength of the penalty.
    pub c: f64,
    /// ξ, which keeps Ω finite where a parameter did not move.
    pub xi: f64,
    /// Whether ω below 0 counts as 0: a parameter whose way raised the loss is free, not pushed away (the code of
    /// Chaudhry et al. 2019).
    pub positive: bool,
}

impl Default for SiConfig {
    fn default() -> Self {
        Self { c: 0.1, xi: 0.1, positive: false }
    }
}

/// Importance from the path that training took: what a parameter contributed to the fall of the loss,
/// over how far it went.
// No Clone: it would share the path, which is changed in place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Si {
    config: SiConfig,
    /// ω of the task that runs.
    #[serde(with = "cl_core::snapshot::tensor")]
    path: Vec<Tensor>,
    /// θ before the step that comes.
    #[serde(with = "cl_core::snapshot::tensor")]
    before: Vec<Tensor>,
    /// θ at the start of the task.
    #[serde(with = "cl_core::snapshot::tensor")]
    start: Vec<Tensor>,
    bowls: Vec<Vec<Quadratic>>,
}

impl Si {
    /// Starts at the present values of the parameters.
    ///
    /// # Errors
    /// A negative coefficient; ξ = 0, which divides by zero where a parameter did not move.
    pub fn new(config: SiConfig, params: &Params) -> Result<Self> {
        crate::check_coefficients(&[("c", config.c), ("xi", config.xi)])?;
        if config.xi == 0.0 {
            return Err(cl_core::Error::invalid("xi", "0 divides by zero where a parameter did not move"));
        }
        let (before, start) = (params.values()?, params.values()?);
        let path = start.iter().map(Tensor::zeros_like).collect::<Result<_, _>>()?;
        Ok(Self { config, path, before, start, bowls: Vec::new() })
    }

    /// After each step: ω ← ω − g·Δθ (eq. 3). The paper's g is the gradient of the task's loss; van de Ven
    /// et al. take that of the whole loss, penalty included.
    ///
    /// # Errors
    /// Another number of gradients, another shape or dtype; nothing is changed then.
    pub fn after_step(&mut self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        crate::check_tensors("after_step", params, gradients)?;
        crate::check_tensors("after_step", params, &self.path)?;
        let (path, before) = (crate::refs(&self.path), crate::refs(&self.before));
        Tensor::path_integral_all(&path, &crate::refs(gradients), &crate::tensors(params), &before)
    }

    /// c Σ Ω(θ−θ*)² (eq. 4): a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, 2.0 * self.config.c)
    }

    /// Adds the gradient of [`penalty`](Self::penalty) to gradients of the trainable parameters, in order, in place: what a
    /// training loop that has the gradients of its loss needs, without a graph.
    ///
    /// # Errors
    /// Another number of gradients, another shape or dtype, gradients that are not contiguous; nothing is changed then.
    pub fn add_gradient(&self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        crate::add_gradient(params, &self.bowls, 2.0 * self.config.c, gradients)
    }

    /// After a task: Ω ← Ω + ω / (Δ² + ξ) with Δ the way from the start of the task (eq. 5), ω ← 0, θ* ← θ.
    /// The parameters are not changed.
    pub fn consolidate(&mut self, params: &Params) -> Result<()> {
        let now = params.values()?;
        crate::check_tensors("consolidate", params, &self.path)?;
        let mut bowls = Vec::new();
        for (i, now) in now.iter().enumerate() {
            let way = (now - &self.start[i])?.sqr()?;
            let path = if self.config.positive { self.path[i].relu()? } else { self.path[i].clone() };
            let mut importance = (path / (way + self.config.xi)?)?;
            if let Some(bowl) = self.bowls.get(i) {
                importance = (&bowl[0].importance + importance)?;
            }
            bowls.push(vec![Quadratic { importance, anchor: now.clone() }]);
        }
        self.bowls = bowls;
        self.path = now.iter().map(Tensor::zeros_like).collect::<Result<_, _>>()?;
        self.before = now.iter().map(Tensor::copy).collect::<Result<_, _>>()?;
        self.start = now;
        Ok(())
    }

    /// Ω of each trainable parameter; nothing before the first task ends.
    pub fn importance(&self) -> impl Iterator<Item = &Tensor> {
        self.bowls.iter().map(|bowls| &bowls[0].importance)
    }
}
