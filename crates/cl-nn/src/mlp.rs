//! The multi-layer perceptron.

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Activation, Error, Params, Result, Rng};

use crate::{Linear, PerSample};

/// Linear layers with ReLU between them, over flat inputs (n, inputs).
///
/// Several heads are blocks of the output layer: with one head of `k` units per task, task `t` owns the
/// units `t·k..(t+1)·k`, and [`Units::Block`](cl_core::Units::Block) keeps loss and prediction within
/// the block of each sample. A batch may then mix tasks.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use cl_core::{TensorOps, Units};
/// use cl_nn::Mlp;
///
/// // Five tasks of two classes: five heads of two units.
/// let net = Mlp::new(&[64, 100, 100, 10], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let x = Tensor::zeros((3, 64), DType::F32, &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 3, 8], &Device::Cpu)?; // of tasks 0, 1 and 4
/// let loss = net.forward(&x)?.cross_entropy(&y, Units::Block(2), None)?;
/// let gradients = net.params().gradients(&loss.backward()?)?;
/// assert_eq!(gradients.len(), 6);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Linear>,
    params: Params,
}

impl Mlp {
    /// A network of these widths, inputs first, outputs last, initialised as PyTorch does.
    ///
    /// # Errors
    /// Fewer than two widths, or a width of 0.
    pub fn new(widths: &[usize], dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        if widths.len() < 2 || widths.contains(&0) {
            return Err(Error::invalid(
                "widths of the network",
                format!("two or more positive numbers are needed, inputs first, outputs last, not {widths:?}"),
            ));
        }
        let mut layers = Vec::new();
        let mut params = Params::new();
        for (i, pair) in widths.windows(2).enumerate() {
            let last = i + 2 == widths.len();
            let activation = if last { Activation::Identity } else { Activation::Relu };
            let layer = Linear::new(pair[0], pair[1], activation, dtype, device, rng)?;
            params.extend(&format!("layers.{i}"), layer.params()?)?;
            layers.push(layer);
        }
        Ok(Self { layers, params })
    }

    /// `layers.0.weight`, `layers.0.bias`, and so on, inputs first.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// To freeze parameters or put them in groups.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// The layers, inputs first.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// Units of the output layer.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.bias.elem_count())
    }

    /// A network of the same weights that shares nothing with this one.
    pub fn copy(&self) -> Result<Self> {
        let mut layers = Vec::new();
        let mut params = Params::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let copy = |var: &candle_core::Var| -> Result<_> {
                Ok(candle_core::Var::from_tensor(&var.as_detached_tensor().copy()?)?)
            };
            let layer = Linear {
                weight: copy(&layer.weight)?,
                bias: copy(&layer.bias)?,
                activation: layer.activation,
            };
            params.extend(&format!("layers.{i}"), layer.params()?)?;
            layers.push(layer);
        }
        for param in self.params.iter().filter(|p| p.frozen) {
            params.freeze(&param.name, true)?;
        }
        for param in self.params.iter().filter(|p| !p.group.is_empty()) {
            params.set_group(&param.name, &param.group)?;
        }
        Ok(Self { layers, params })
    }

    /// The logits, outside of the graph: no gradient will be asked for.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.activations(x)?.pop().expect("a network has at least one layer"))
    }

    /// The input of every layer, and the logits last; outside of the graph.
    fn activations(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut all = vec![x.detach()];
        for layer in &self.layers {
            let input = all.last().expect("the input is there");
            let (weight, bias) = (layer.weight.as_detached_tensor(), layer.bias.as_detached_tensor());
            all.push(cl_core::TensorOps::linear(input, &weight, Some(&bias), layer.activation)?);
        }
        Ok(all)
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))
    }
}

impl PerSample for Mlp {
    fn params(&self) -> &Params {
        &self.params
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.predict(x)
    }

    fn add_squared_gradients(
        &self,
        x: &Tensor,
        losses: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
        sums: &[Tensor],
    ) -> Result<()> {
        use cl_core::per_sample::{backward, sum_of_squares};
        let mut activations = self.activations(x)?;
        let logits = activations.pop().expect("the logits are last");
        let mut deltas = losses(&logits)?;
        let mut sums = crate::per_sample::sums_of_all(&self.params, sums)?;
        for (i, (layer, input)) in self.layers.iter().zip(&activations).enumerate().rev() {
            let bias = sums.pop().expect("two sums a layer");
            let weight = sums.pop().expect("two sums a layer");
            let squares = sum_of_squares(&deltas)?;
            cl_core::TensorOps::per_sample_sq(input, &squares, &weight, Some(&bias))?;
            if i > 0 {
                deltas = backward(&deltas, &layer.weight.as_detached_tensor(), input)?;
            }
        }
        Ok(())
    }
}
