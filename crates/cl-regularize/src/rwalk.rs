//! Riemannian walk (Chaudhry, Dokania, Ajanthan & Torr 2018).

use candle_core::Tensor;
use cl_core::{Params, Quadratic, Result, TensorOps};
use serde::{Deserialize, Serialize};

use crate::running::{Running, unit_range};

/// The coefficients of [`RWalk`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RWalkConfig {
    /// λ in λ Σ (F+s)(θ−θ*)²: without a ½, as in the paper.
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g²: 1−α in the paper.
    pub decay: f64,
    /// Steps between two updates of F and of the scores: Δt in the paper.
    pub every: usize,
    /// Whether g² is the sum over all steps of the task so far, over `every`, and not over the last `every` steps alone. The
    /// authors' code does not begin the sum anew within a task; its F grows, and at the end is one of the whole task.
    pub growing: bool,
    /// ε, which keeps the scores finite where a parameter did not move.
    pub eps: f64,
    /// What stands before F Δθ² in the scores: ½ in the paper, 1 in its authors' code.
    pub kl: f64,
    /// How much of the earlier tasks' scores stays in s ← keep·s + ½·s_task: ½, their mean, in the paper; 1½ in its
    /// authors' code.
    pub keep: f64,
}

impl Default for RWalkConfig {
    fn default() -> Self {
        Self { lambda: 1.0, decay: 0.1, every: 10, growing: false, eps: 1e-3, kl: 0.5, keep: 0.5 }
    }
}

/// Holds each parameter by its Fisher information, a running mean over the steps, and by its score: what it took off the
/// loss, over how far it went, as the distance between the networks' outputs has it.
// No Clone: it would share the path, which is changed in place.
#[derive(Debug, Serialize, Deserialize)]
pub struct RWalk {
    config: RWalkConfig,
    running: Running,
    /// What each parameter took off the loss since the last update.
    #[serde(with = "cl_core::snapshot::tensor")]
    path: Vec<Tensor>,
    /// θ before the step that comes.
    #[serde(with = "cl_core::snapshot::tensor")]
    before: Vec<Tensor>,
    /// θ at the last update.
    #[serde(with = "cl_core::snapshot::tensor")]
    start: Vec<Tensor>,
    /// The scores of the task that runs.
    #[serde(with = "cl_core::snapshot::tensor")]
    of_task: Vec<Tensor>,
    /// Those of the tasks before; empty in the first.
    #[serde(with = "cl_core::snapshot::tensor")]
    scores: Vec<Tensor>,
    bowls: Vec<Vec<Quadratic>>,
}

impl RWalk {
    /// Starts at the present values of the parameters.
    ///
    /// # Errors
    /// A negative coefficient; a decay of 1 or more; a mean over 0 steps; ε = 0, which divides by zero where a parameter
    /// did not move.
    pub fn new(config: RWalkConfig, params: &Params) -> Result<Self> {
        let RWalkConfig { lambda, decay, every, growing, eps, kl, keep } = config;
        crate::check_coefficients(&[("lambda", lambda), ("eps", eps), ("kl", kl), ("keep", keep)])?;
        if eps == 0.0 {
            return Err(cl_core::Error::invalid("eps", "0 divides by zero where a parameter did not move"));
        }
        let running = Running::new(decay, every, growing)?;
        let (before, start) = (params.values()?, params.values()?);
        let (path, of_task) = (zeros(&start)?, zeros(&start)?);
        Ok(Self { config, running, path, before, start, of_task, scores: Vec::new(), bowls: Vec::new() })
    }

    /// After each step. `gradients` are those of the task's loss at the parameters before it.
    ///
    /// # Errors
    /// Another number of gradients, another shape or dtype; nothing is changed then.
    pub fn after_step(&mut self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        crate::check_tensors("after_step", params, gradients)?;
        crate::check_tensors("after_step", params, &self.path)?;
        let full = self.running.observe(params, gradients)?;
        let (path, before) = (crate::refs(&self.path), crate::refs(&self.before));
        // ΔL ← ΔL − g·Δθ (eq. 6)
        Tensor::path_integral_all(&path, &crate::refs(gradients), &crate::tensors(params), &before)?;
        if full {
            self.score(params)?;
            self.running.close()?; // (eq. 10)
        }
        Ok(())
    }

    /// s_task ← s_task + max(ΔL, 0) / (½ F Δθ² + ε) (eq. 8), with F as it was over the steps.
    fn score(&mut self, params: &Params) -> Result<()> {
        let now = params.values()?;
        for (i, now) in now.iter().enumerate() {
            let far = match self.running.fisher().get(i) {
                Some(fisher) => ((fisher * (now - &self.start[i])?.sqr()?)? * self.config.kl)?,
                None => now.zeros_like()?,
            };
            self.of_task[i] = (&self.of_task[i] + (self.path[i].relu()? / (far + self.config.eps)?)?)?;
        }
        self.begin_at(now)
    }

    /// λ Σ (F+s)(θ−θ*)² (eq. 9): a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, 2.0 * self.config.lambda)
    }

    /// After a task: its scores are mixed with those before, s and F are scaled to [0, 1] over all parameters, θ* ← θ.
    /// The parameters are not changed. Steps since the last update of F count for nothing.
    ///
    /// # Errors
    /// Too few steps were observed for a Fisher information.
    pub fn consolidate(&mut self, params: &Params) -> Result<()> {
        crate::check_tensors("consolidate", params, self.running.known()?)?;
        let mix = |(i, new): (usize, &Tensor)| match self.scores.get(i) {
            Some(before) => (before * self.config.keep)? + (new * 0.5)?,
            None => Ok(new.clone()),
        };
        let scores = self.of_task.iter().enumerate().map(mix).collect::<Result<Vec<_>, _>>()?;
        let (fisher, score) = (unit_range(self.running.fisher())?, unit_range(&scores)?);
        let now = params.values()?;
        let bowl = |((anchor, fisher), score): ((&Tensor, &Tensor), &Tensor)| -> Result<Vec<Quadratic>> {
            Ok(vec![Quadratic { importance: (fisher + score)?, anchor: anchor.clone() }])
        };
        self.bowls = now.iter().zip(&fisher).zip(&score).map(bowl).collect::<Result<_>>()?;
        self.scores = scores;
        self.of_task = zeros(&now)?;
        self.running.restart();
        self.begin_at(now)
    }

    fn begin_at(&mut self, now: Vec<Tensor>) -> Result<()> {
        self.path = zeros(&now)?;
        self.before = now.iter().map(Tensor::copy).collect::<Result<_, _>>()?;
        self.start = now;
        Ok(())
    }

    /// F + s of each trainable parameter, as the penalty has them; nothing before the first task ends.
    pub fn importance(&self) -> impl Iterator<Item = &Tensor> {
        self.bowls.iter().map(|bowls| &bowls[0].importance)
    }
}

fn zeros(like: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(like.iter().map(Tensor::zeros_like).collect::<Result<_, _>>()?)
}
