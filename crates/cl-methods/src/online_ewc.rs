//! Online EWC (Schwarz et al. 2018, Progress & Compress, §3.2): one penalty, whose Fisher information is
//! carried on and decays.

use cl_core::Result;
use cl_regularize::{Carry, Fisher};
use serde::{Deserialize, Serialize};

use crate::ewc::Ewc;

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in (λ/2) Σ F(θ−θ*)².
    pub lambda: f64,
    /// γ in F ← γF + Fₖ (eq. 9).
    pub decay: f64,
    /// How the Fisher information is estimated.
    pub fisher: Fisher,
}

impl Default for Config {
    fn default() -> Self {
        Self { lambda: 1000.0, decay: 1.0, fisher: Fisher::Exact }
    }
}

/// The same steps as EWC; the penalty is another.
pub fn new(config: Config, seed: u64) -> Result<Ewc> {
    Ewc::with_carry(config.lambda, Carry::Online { decay: config.decay }, config.fisher, seed)
}
