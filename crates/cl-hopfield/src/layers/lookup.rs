//! Stored patterns that are parameters: a memory that is learned.

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Error, Params, Result, Rng};

use super::{Config, Hopfield};

/// Learned patterns that every state is compared with: prototypes, or a memory that training fills (`HopfieldLayer` of
/// Ramsauer et al. 2021).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_hopfield::layers::{Config, Lookup};
///
/// let config = Config { state: 8, outputs: 3, ..Config::default() };
/// let layer = Lookup::new(500, config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let states = Tensor::zeros((2, 7, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&states)?.dims(), [2, 7, 3]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lookup {
    hopfield: Hopfield,
    /// (patterns, stored)
    patterns: Var,
}

impl Lookup {
    /// With so many patterns and weights drawn anew.
    ///
    /// # Errors
    /// As [`Hopfield::new`]; no patterns.
    pub fn new(
        patterns: usize,
        config: Config,
        dtype: DType,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        if patterns == 0 {
            return Err(Error::invalid("patterns", "0: at least 1 is needed"));
        }
        let hopfield = Hopfield::new(config, dtype, device, rng)?;
        let patterns = Init::Normal(1.0).var((patterns, config.stored), dtype, device, rng)?;
        Ok(Self { hopfield, patterns })
    }

    /// `patterns`, and the parameters of [`Hopfield`].
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.push("patterns", self.patterns.clone())?;
        params.extend("hopfield", self.hopfield.params()?)?;
        Ok(params)
    }

    /// What states (b, n, state) find: (b, n, outputs).
    ///
    /// # Errors
    /// As [`Hopfield::forward`].
    pub fn forward(&self, states: &Tensor) -> Result<Tensor> {
        self.hopfield.forward_shared(states, &self.patterns, None)
    }
}
