//! States that are parameters: what is asked of every set.

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Error, Params, Result, Rng};

use super::{Config, Hopfield};

/// Learned states that ask the same of sets of any size: each set becomes `queries` patterns, whatever the order of its own
/// (`HopfieldPooling` of Ramsauer et al. 2021).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_hopfield::layers::{Config, Pooling};
///
/// let config = Config { stored: 5, outputs: 3, ..Config::default() };
/// let layer = Pooling::new(2, config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let bags = Tensor::zeros((4, 1000, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&bags, None)?.dims(), [4, 2, 3]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pooling {
    hopfield: Hopfield,
    /// (queries, state)
    queries: Var,
}

impl Pooling {
    /// With so many states and weights drawn anew.
    ///
    /// # Errors
    /// As [`Hopfield::new`]; no queries.
    pub fn new(queries: usize, config: Config, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        if queries == 0 {
            return Err(Error::invalid("queries", "0: at least 1 is needed"));
        }
        let hopfield = Hopfield::new(config, dtype, device, rng)?;
        let queries = Init::Normal(1.0).var((queries, config.state), dtype, device, rng)?;
        Ok(Self { hopfield, queries })
    }

    /// `queries`, and the parameters of [`Hopfield`].
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.push("queries", self.queries.clone())?;
        params.extend("hopfield", self.hopfield.params()?)?;
        Ok(params)
    }

    /// Of sets of stored patterns (b, m, stored): (b, queries, outputs). `mask` as in [`Hopfield::forward`].
    ///
    /// # Errors
    /// As [`Hopfield::forward`].
    pub fn forward(&self, stored: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (n, state) = self.queries.dims2()?;
        let sets = stored.dims().first().copied().unwrap_or(0);
        let queries = self.queries.unsqueeze(0)?.broadcast_as((sets, n, state))?;
        self.hopfield.forward(&queries, stored, mask)
    }
}
