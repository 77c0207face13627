//! What is believed of the parameters after some tasks: for the stability term of [`Outcome`](crate::train::Outcome).

use candle_core::Tensor;
use cl_core::{Result, Units};
use cl_data::{Samples, Task};
use cl_metrics::{Laplace, stability};
use cl_nn::Mlp;
use cl_regularize::Fisher;
use serde::{Deserialize, Serialize};

/// Training samples that the Fisher information is estimated on, over all tasks so far.
const PROBE: usize = 500;
/// Precision of the prior of every parameter.
const PRIOR: f64 = 1.0;

/// N(θ, (n·F + prior)⁻¹): the Laplace approximation of p(θ|D) with a diagonal Fisher information.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Posterior {
    #[serde(with = "cl_core::snapshot::tensor")]
    theta: Vec<Tensor>,
    #[serde(with = "cl_core::snapshot::tensor")]
    fisher: Vec<Tensor>,
    /// n, of all samples: those looked at stand for the others.
    samples: usize,
}

impl Posterior {
    /// After these tasks. Nothing is drawn: rows are taken at even distances.
    pub(crate) fn after(tasks: &[Task], net: &Mlp) -> Result<Self> {
        let each = (PROBE / tasks.len().max(1)).max(1);
        let of_task = |task: &Task| -> Result<Samples> {
            let n = task.train.len();
            let rows: Vec<u32> = (0..each.min(n)).map(|i| (i * n / each.min(n)) as u32).collect();
            task.train.gather(&rows)
        };
        let probe = tasks.iter().map(of_task).collect::<Result<Vec<_>>>()?;
        let Samples { x, y } = Samples::concat(&probe.iter().collect::<Vec<_>>())?;
        let units = tasks.last().map_or(Units::All, |task| task.units);
        // The expectation over classes draws nothing.
        let fisher = Fisher::Exact.estimate(net, &x, &y, units, &mut cl_core::rng(0, "unused"))?;
        let samples = tasks.iter().map(|task| task.train.len()).sum();
        Ok(Self { theta: net.params().values()?, fisher, samples })
    }

    fn laplace(&self) -> Laplace<'_> {
        Laplace { theta: &self.theta, fisher: &self.fisher, samples: self.samples }
    }

    /// KL(self ‖ all), in bits. None where no parameter has moved, as with methods that answer by other networks, and where
    /// a number is not finite.
    pub(crate) fn divergence(&self, all: &Self) -> Result<Option<f64>> {
        for (before, after) in self.theta.iter().zip(&all.theta) {
            if before.ne(after)?.to_dtype(candle_core::DType::F32)?.sum_all()?.to_scalar::<f32>()? > 0.0 {
                let bits = stability(self.laplace(), all.laplace(), PRIOR);
                return Ok(bits.ok().filter(|bits| bits.is_finite()));
            }
        }
        Ok(None)
    }
}
