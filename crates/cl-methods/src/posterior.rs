//! What is believed of the parameters after some tasks: for the stability term of [`Outcome`](crate::train::Outcome).

use candle_core::{Device, Tensor};
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
        let device = net.params().iter().next().map_or(Device::Cpu, |param| param.var.device().clone());
        let Samples { x, y } = Samples::concat(&probe.iter().collect::<Vec<_>>())?.to_device(&device)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, learner, tasks};
    use cl_data::Scenario;

    /// Of few samples all are looked at: the divergence is that of the two Gaussians, each of its own samples.
    #[test]
    fn it_is_the_divergence_of_both_posteriors() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 2, 20), learner(Scenario::Domain, 2));
        learner.optimizer.set_lr(0.1).unwrap();
        let by_hand = |tasks: &[Task], net: &Mlp| {
            let all: Vec<Samples> = tasks.iter().map(|task| task.train.all().unwrap()).collect();
            let Samples { x, y } = Samples::concat(&all.iter().collect::<Vec<_>>()).unwrap();
            let rng = &mut cl_core::rng(9, "another");
            let fisher = Fisher::Exact.estimate(net, &x, &y, Units::All, rng).unwrap();
            (net.params().values().unwrap(), fisher, y.elem_count())
        };
        let old = (Posterior::after(&tasks[..1], &learner.net).unwrap(), by_hand(&tasks[..1], &learner.net));
        assert_eq!(old.0.divergence(&Posterior::after(&tasks, &learner.net).unwrap()).unwrap(), None);
        learner.learn(&batch(&tasks[1], 0, 9)).unwrap();
        let all = (Posterior::after(&tasks, &learner.net).unwrap(), by_hand(&tasks, &learner.net));
        let ((t0, f0, n0), (t1, f1, n1)) = (old.1, all.1);
        assert_eq!((n0, n1), (40, 80));
        let expected = stability(
            Laplace { theta: &t0, fisher: &f0, samples: n0 },
            Laplace { theta: &t1, fisher: &f1, samples: n1 },
            PRIOR,
        );
        let (found, expected) = (old.0.divergence(&all.0).unwrap().unwrap(), expected.unwrap());
        assert!((found - expected).abs() < 1e-6 * expected && found > 0.0, "{found} {expected}");
    }
}
