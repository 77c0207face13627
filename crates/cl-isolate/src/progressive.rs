//! Progressive networks: Rusu et al. 2016, "Progressive Neural Networks", arXiv 1606.04671.

use std::collections::HashSet;
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::snapshot::Kind;
use cl_core::{Activation, Error, Params, Result, Rng, TensorOps};
use serde::{Deserialize, Serialize};

/// A stack of layers h ← f(Wh + b), cut before its nonlinearities, where lateral input is added.
///
/// Implement it for a network of your own; [`MlpColumn`] is one of linear layers. Activations are
/// (n, features) or feature maps (n, channels, ..): what is called a width here is dimension 1.
pub trait Column {
    /// How many layers it has, the output layer counted.
    fn layers(&self) -> usize;

    /// The width that layer `layer` takes.
    fn inputs(&self, layer: usize) -> usize;

    /// The width that [`affine`](Self::affine) of this layer gives.
    fn outputs(&self, layer: usize) -> usize;

    /// Wh + b of layer `layer`.
    ///
    /// # Errors
    /// An activation that does not fit.
    fn affine(&self, layer: usize, h: &Tensor) -> Result<Tensor>;

    /// f of layer `layer`, and what stands between it and the next one: pooling, flattening.
    ///
    /// # Errors
    /// Those of its operations.
    fn activate(&self, layer: usize, a: &Tensor) -> Result<Tensor>;

    /// All its parameters.
    ///
    /// # Errors
    /// Those of [`Params::push`].
    fn params(&self) -> Result<Params>;

    /// Brings lateral input, which has the extent of what layer `layer` takes, to that of `like`, what
    /// its affine map gives: for a convolution with a stride, say. As it is where they are equal already.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where they are not.
    fn align(&self, layer: usize, lateral: Tensor, like: &Tensor) -> Result<Tensor> {
        if lateral.dims() == like.dims() {
            return Ok(lateral);
        }
        let expected = format!("{:?}, as layer {layer} gives", like.dims());
        Err(Error::mismatch("lateral input", expected, format!("{:?}: write Column::align", lateral.dims())))
    }
}

/// What brings the activations of earlier columns into a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lateral {
    /// U σ(V [αⱼ hʲ] + c) into each layer but the first: the paper's equation 2.
    #[default]
    Adapter,
    /// Σⱼ (Uⱼ hʲ + cⱼ) into each layer, as the code of Chaudhry et al. 2019 (A-GEM) has it: without projection, σ
    /// and α, a matrix and a bias for each earlier column. In the first layer, too: hʲ is then x for every j.
    Linear,
}

impl Lateral {
    /// The layers of column `k`, of so many, that have lateral input.
    fn layers(self, k: usize, layers: usize) -> Range<usize> {
        match self {
            _ if k == 0 => 0..0,
            Self::Adapter => 1..layers,
            Self::Linear => 0..layers,
        }
    }
}

/// What the adapters are made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterConfig {
    /// What brings the activations of earlier columns in.
    pub lateral: Lateral,
    /// The width that earlier activations are projected to. `None`, the default, is that of the layer's
    /// own input, as in the paper. Linear maps have none.
    pub width: Option<usize>,
    /// Each α begins uniform in (−`alpha`, `alpha`). The default is 0.1; the paper says "random small
    /// values". Linear maps have none.
    pub alpha: f64,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self { lateral: Lateral::Adapter, width: None, alpha: 0.1 }
    }
}

impl AdapterConfig {
    fn check(&self) -> Result<()> {
        if self.width == Some(0) {
            return Err(Error::invalid("width of the adapters", "it must be at least 1"));
        }
        if !(self.alpha.is_finite() && self.alpha >= 0.0) {
            return Err(Error::invalid("alpha", format!("{} is not a number of at least 0", self.alpha)));
        }
        Ok(())
    }
}

/// A column of its own for every task, which sees the activations of the columns before it.
///
/// Layer i of column k is (the paper's equation 2)
///
/// > hᵢᵏ = f(Wᵢᵏ hᵢ₋₁ᵏ + bᵢᵏ + Uᵢᵏ σ(Vᵢᵏ [α₁ hᵢ₋₁¹; ..; αₖ₋₁ hᵢ₋₁ᵏ⁻¹] + cᵢᵏ))
///
/// with σ the ReLU, one learned scalar α for each earlier column, and V a projection of their joined
/// activations. The first layer has no lateral input: all columns see the same x. On feature maps V and U act
/// on each position, as 1×1 convolutions (the paper's U has the size of the layer's own kernel).
/// [`Lateral::Linear`] has simpler maps.
///
/// Only the last column and its adapters are trained: they alone are in [`params`](Self::params), and the
/// activations of earlier columns are computed outside of the graph. An earlier task's output never changes,
/// to the last bit. The price is memory: a column a task, and adapters that grow with the number of columns
/// before, so that all of them together grow with the square of the number of tasks;
/// [`memory`](Self::memory) counts.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_isolate::{AdapterConfig, MlpColumn, Progressive};
///
/// let mut rng = cl_core::rng(0, "weights");
/// let mut net = Progressive::new(AdapterConfig::default())?;
/// let x = Tensor::zeros((3, 8), DType::F32, &Device::Cpu)?;
/// for task in 0..2 {
///     let column = MlpColumn::new(&[8, 16, 16, 4], DType::F32, &Device::Cpu, &mut rng)?;
///     net.add(column, &mut rng)?;
///     let loss = net.forward(&x, task)?.sqr()?.mean_all()?;
///     let gradients = net.params()?.gradients(&loss.backward()?)?; // and a step of any optimizer
///     assert_eq!(gradients.len(), if task == 0 { 6 } else { 6 + 2 * 4 });
/// }
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Saved<C>", bound(deserialize = "C: Column + Deserialize<'de>"))]
pub struct Progressive<C> {
    config: AdapterConfig,
    columns: Vec<C>,
    /// For each column, those of its layers that have one; the first column has none.
    adapters: Vec<Vec<Map>>,
}

/// Lateral input of one layer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Map {
    Adapter(Adapter),
    Linear(Linear),
}

/// Σⱼ (Uⱼ hʲ + cⱼ).
#[derive(Debug, Serialize, Deserialize)]
struct Linear {
    /// U (outputs, inputs of all earlier columns).
    #[serde(with = "cl_core::snapshot::tensor")]
    weight: Var,
    /// c (earlier columns, outputs).
    #[serde(with = "cl_core::snapshot::tensor")]
    bias: Var,
}

/// U σ(V [αⱼ hʲ] + c).
#[derive(Debug, Serialize, Deserialize)]
struct Adapter {
    /// α (earlier columns).
    #[serde(with = "cl_core::snapshot::tensor")]
    alpha: Var,
    /// V (width, inputs of all earlier columns).
    #[serde(with = "cl_core::snapshot::tensor")]
    project: Var,
    /// c (width).
    #[serde(with = "cl_core::snapshot::tensor")]
    bias: Var,
    /// U (outputs, width). It has no bias: the layer has one.
    #[serde(with = "cl_core::snapshot::tensor")]
    expand: Var,
}

/// What one column has; see [`Progressive::memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnMemory {
    /// Elements of the column's own parameters.
    pub weights: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Elements of its adapters.
    pub adapter_weights: usize,
    /// Their bytes.
    pub adapter_bytes: usize,
}

impl<C> Progressive<C> {
    /// For [`snapshot`](cl_core::snapshot).
    pub const KIND: Kind = Kind::new("cl-isolate/progressive", 2);
}

impl<C: Column> Progressive<C> {
    /// A network without columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a width of 0, or an α that is no number of at least 0.
    pub fn new(config: AdapterConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, columns: Vec::new(), adapters: Vec::new() })
    }

    /// Adds the column of the next task, whose number it gives, and draws its adapters: α, V, c and U, layer
    /// by layer; V and U uniform within 1/√inputs, and c as V. Linear maps: U, c. The columns before are trained
    /// no more.
    ///
    /// Columns may have other widths, but as many layers.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another number of layers, or of inputs; [`Error::Invalid`] on a column without
    /// layers or parameters, or one that shares a variable with an earlier column.
    pub fn add(&mut self, column: C, rng: &mut Rng) -> Result<usize> {
        let params = column.params()?;
        let Some(first) = params.iter().next() else {
            return Err(Error::invalid("column", "it has no parameters"));
        };
        let (dtype, device) = (first.var.dtype(), first.var.device().clone());
        check_columns(self.columns.iter().chain([&column]))?;
        let adapter = |layer| {
            let earlier: Vec<usize> = self.columns.iter().map(|column| column.inputs(layer)).collect();
            let outputs = column.outputs(layer);
            Ok(match self.config.lateral {
                Lateral::Adapter => {
                    let width = self.config.width.unwrap_or(column.inputs(layer));
                    let alpha = Init::Uniform(self.config.alpha);
                    Map::Adapter(Adapter::new(&earlier, width, outputs, alpha, dtype, &device, rng)?)
                }
                Lateral::Linear => Map::Linear(Linear::new(&earlier, outputs, dtype, &device, rng)?),
            })
        };
        let layers = self.config.lateral.layers(self.columns.len(), column.layers());
        self.adapters.push(layers.map(adapter).collect::<Result<_>>()?);
        self.columns.push(column);
        Ok(self.columns.len() - 1)
    }

    /// The output of the network of `task`: x (n, inputs), or feature maps (n, channels, ..). Columns up to
    /// that of the task take part, later ones do not. Differentiable only for the last task.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a task without a column; those of the columns.
    pub fn forward(&self, x: &Tensor, task: usize) -> Result<Tensor> {
        let Some(columns) = self.columns.get(..task.saturating_add(1)).filter(|c| c.len() > task) else {
            let why = format!("task {task} has no column: there are {}", self.columns.len());
            return Err(Error::invalid("task", why));
        };
        let layers = columns[task].layers();
        let mut h = vec![x.clone(); columns.len()];
        for layer in 0..layers {
            let mut next = Vec::with_capacity(columns.len());
            for (k, column) in columns.iter().enumerate() {
                // Nothing sees the outputs of earlier columns.
                if layer + 1 == layers && k < task {
                    continue;
                }
                let mut a = column.affine(layer, &h[k])?;
                let with = self.config.lateral.layers(k, layers);
                if with.contains(&layer) {
                    let lateral = self.adapters[k][layer - with.start].forward(&h[..k])?;
                    a = (&a + column.align(layer, lateral, &a)?)?;
                }
                let y = column.activate(layer, &a)?;
                let trains = k + 1 == self.columns.len();
                next.push(if trains { y } else { y.detach() });
            }
            h = next;
        }
        Ok(h.pop().expect("the column of the task gives its output"))
    }

    /// How many tasks have a column.
    pub fn tasks(&self) -> usize {
        self.columns.len()
    }

    /// The column of each task.
    pub fn columns(&self) -> &[C] {
        &self.columns
    }

    /// What trains: the parameters of the last column as `columns.2`, of its adapters as
    /// `adapters.2.1.alpha`, `.project`, `.bias`, `.expand`, where 2 is the task and 1 the layer; of linear maps
    /// `.weight` and `.bias` (earlier columns, outputs).
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no column.
    pub fn params(&self) -> Result<Params> {
        match self.columns.len().checked_sub(1) {
            Some(last) => self.params_of(last),
            None => Err(Error::invalid("progressive network", "it has no column: call add")),
        }
    }

    /// The same of the column of `task`: to look at, or to save.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a task without a column.
    pub fn params_of(&self, task: usize) -> Result<Params> {
        let Some(column) = self.columns.get(task) else {
            let why = format!("task {task} has no column: there are {}", self.columns.len());
            return Err(Error::invalid("task", why));
        };
        let mut params = Params::new();
        params.extend(&format!("columns.{task}"), column.params()?)?;
        let layers = self.config.lateral.layers(task, column.layers());
        for (layer, adapter) in layers.zip(&self.adapters[task]) {
            params.extend(&format!("adapters.{task}.{layer}"), adapter.params()?)?;
        }
        Ok(params)
    }

    /// What the column of each task has.
    ///
    /// # Errors
    /// Those of [`Column::params`].
    pub fn memory(&self) -> Result<Vec<ColumnMemory>> {
        let bytes = |params: &Params| -> usize {
            params.iter().map(|p| p.var.elem_count() * p.var.dtype().size_in_bytes()).sum()
        };
        let of_column = |(column, adapters): (&C, &Vec<Map>)| {
            let params = column.params()?;
            let mut memory = ColumnMemory {
                weights: params.numel(),
                bytes: bytes(&params),
                adapter_weights: 0,
                adapter_bytes: 0,
            };
            for adapter in adapters {
                let params = adapter.params()?;
                memory.adapter_weights += params.numel();
                memory.adapter_bytes += bytes(&params);
            }
            Ok(memory)
        };
        self.columns.iter().zip(&self.adapters).map(of_column).collect()
    }
}

/// Columns that can stand beside one another.
fn check_columns<'a, C: Column + 'a>(columns: impl Iterator<Item = &'a C>) -> Result<()> {
    let (mut first, mut seen) = (None, HashSet::new());
    for column in columns {
        let layers = column.layers();
        if layers == 0 {
            return Err(Error::invalid("column", "it has no layers"));
        }
        let shape = (layers, column.inputs(0));
        let expected = *first.get_or_insert(shape);
        if shape != expected {
            let text = |(layers, inputs)| format!("{layers} layers on {inputs} inputs");
            return Err(Error::mismatch("column", text(expected), text(shape)));
        }
        for param in column.params()?.iter() {
            if !seen.insert(param.var.id()) {
                let why =
                    format!("its {} is a variable of another column: training would change that", param.name);
                return Err(Error::invalid("column", why));
            }
        }
    }
    Ok(())
}

impl Map {
    /// From the activations of the earlier columns, (n, inputs, ..) each, to (n, outputs, ..).
    fn forward(&self, earlier: &[Tensor]) -> Result<Tensor> {
        match self {
            Self::Adapter(adapter) => adapter.forward(earlier),
            Self::Linear(linear) => linear.forward(earlier),
        }
    }

    fn params(&self) -> Result<Params> {
        match self {
            Self::Adapter(adapter) => adapter.params(),
            Self::Linear(linear) => linear.params(),
        }
    }

    /// Whether it is of this kind, and goes from columns of these widths to `outputs`.
    fn fits(&self, kind: Lateral, earlier: &[usize], outputs: usize, dtype: DType) -> bool {
        match self {
            Self::Adapter(adapter) => kind == Lateral::Adapter && adapter.fits(earlier, outputs, dtype),
            Self::Linear(linear) => kind == Lateral::Linear && linear.fits(earlier, outputs, dtype),
        }
    }
}

impl Linear {
    fn new(earlier: &[usize], outputs: usize, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        let inputs = earlier.iter().sum::<usize>();
        let bound = Init::Uniform(1.0 / (inputs as f64).sqrt());
        Ok(Self {
            weight: Init::FanIn.var((outputs, inputs), dtype, device, rng)?,
            bias: bound.var((earlier.len(), outputs), dtype, device, rng)?,
        })
    }

    fn forward(&self, earlier: &[Tensor]) -> Result<Tensor> {
        // On feature maps the channels go last and come back.
        let joined = Tensor::cat(earlier, 1)?;
        let last = joined.rank() - 1;
        let lateral = joined.transpose(1, last)?.linear(
            &self.weight,
            Some(&self.bias.sum(0)?),
            Activation::Identity,
        )?;
        Ok(lateral.transpose(1, last)?)
    }

    fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.push("weight", self.weight.clone())?;
        params.push("bias", self.bias.clone())?;
        Ok(params)
    }

    fn fits(&self, earlier: &[usize], outputs: usize, dtype: DType) -> bool {
        self.weight.dims() == [outputs, earlier.iter().sum()]
            && self.bias.dims() == [earlier.len(), outputs]
            && [&self.weight, &self.bias].iter().all(|v| v.dtype() == dtype)
    }
}

impl Adapter {
    fn new(
        earlier: &[usize],
        width: usize,
        outputs: usize,
        alpha: Init,
        dtype: DType,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        let inputs = earlier.iter().sum::<usize>();
        let bound = Init::Uniform(1.0 / (inputs as f64).sqrt());
        Ok(Self {
            alpha: alpha.var(earlier.len(), dtype, device, rng)?,
            project: Init::FanIn.var((width, inputs), dtype, device, rng)?,
            bias: bound.var(width, dtype, device, rng)?,
            expand: Init::FanIn.var((outputs, width), dtype, device, rng)?,
        })
    }

    fn forward(&self, earlier: &[Tensor]) -> Result<Tensor> {
        let scale = |(j, h): (usize, &Tensor)| h.broadcast_mul(&self.alpha.narrow(0, j, 1)?);
        let scaled = earlier.iter().enumerate().map(scale).collect::<Result<Vec<_>, _>>()?;
        let joined = Tensor::cat(&scaled, 1)?;
        // On feature maps the channels go last and come back.
        let last = joined.rank() - 1;
        joined
            .transpose(1, last)?
            .linear(&self.project, Some(self.bias.as_tensor()), Activation::Relu)?
            .linear(&self.expand, None, Activation::Identity)
            .and_then(|lateral| Ok(lateral.transpose(1, last)?))
    }

    fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.push("alpha", self.alpha.clone())?;
        params.push("project", self.project.clone())?;
        params.push("bias", self.bias.clone())?;
        params.push("expand", self.expand.clone())?;
        Ok(params)
    }

    /// Whether it goes from columns of these widths to `outputs`.
    fn fits(&self, earlier: &[usize], outputs: usize, dtype: DType) -> bool {
        let width = self.bias.elem_count();
        width > 0
            && self.alpha.dims() == [earlier.len()]
            && self.project.dims() == [width, earlier.iter().sum()]
            && self.bias.dims() == [width]
            && self.expand.dims() == [outputs, width]
            && [&self.alpha, &self.project, &self.bias, &self.expand].iter().all(|v| v.dtype() == dtype)
    }
}

#[derive(Deserialize)]
struct Saved<C> {
    config: AdapterConfig,
    columns: Vec<C>,
    adapters: Vec<Vec<Map>>,
}

impl<C: Column> TryFrom<Saved<C>> for Progressive<C> {
    type Error = Error;

    fn try_from(Saved { config, columns, adapters }: Saved<C>) -> Result<Self> {
        config.check()?;
        check_columns(columns.iter())?;
        let refused = || Error::invalid("saved progressive network", "its adapters fit other columns");
        if adapters.len() != columns.len() {
            return Err(refused());
        }
        for (k, (column, adapters)) in columns.iter().zip(&adapters).enumerate() {
            let dtype = column.params()?.iter().next().map(|p| p.var.dtype()).ok_or_else(refused)?;
            let layers = config.lateral.layers(k, column.layers());
            let fits = |(layer, adapter): (usize, &Map)| {
                let earlier: Vec<usize> = columns[..k].iter().map(|earlier| earlier.inputs(layer)).collect();
                adapter.fits(config.lateral, &earlier, column.outputs(layer), dtype)
            };
            if adapters.len() != layers.len() || !layers.zip(adapters).all(fits) {
                return Err(refused());
            }
        }
        Ok(Self { config, columns, adapters })
    }
}

/// A column of linear layers with ReLU between them, on flat inputs (n, inputs).
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "SavedMlp")]
pub struct MlpColumn {
    /// W (outputs, inputs) of each layer.
    #[serde(with = "cl_core::snapshot::tensor")]
    weights: Vec<Var>,
    /// b (outputs).
    #[serde(with = "cl_core::snapshot::tensor")]
    biases: Vec<Var>,
}

impl MlpColumn {
    /// A column of these widths, inputs first, outputs last; weights and biases uniform within 1/√inputs,
    /// layer by layer, weights first: PyTorch's default.
    ///
    /// # Errors
    /// [`Error::Invalid`] on fewer than two widths, or a width of 0.
    pub fn new(widths: &[usize], dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        if widths.len() < 2 || widths.contains(&0) {
            let why = format!("two or more positive numbers are needed, inputs first, not {widths:?}");
            return Err(Error::invalid("widths of the column", why));
        }
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for pair in widths.windows(2) {
            weights.push(Init::FanIn.var((pair[1], pair[0]), dtype, device, rng)?);
            let bound = Init::Uniform(1.0 / (pair[0] as f64).sqrt());
            biases.push(bound.var(pair[1], dtype, device, rng)?);
        }
        Ok(Self { weights, biases })
    }
}

impl Column for MlpColumn {
    fn layers(&self) -> usize {
        self.weights.len()
    }

    fn inputs(&self, layer: usize) -> usize {
        self.weights[layer].dims()[1]
    }

    fn outputs(&self, layer: usize) -> usize {
        self.weights[layer].dims()[0]
    }

    fn affine(&self, layer: usize, h: &Tensor) -> Result<Tensor> {
        h.linear(&self.weights[layer], Some(self.biases[layer].as_tensor()), Activation::Identity)
    }

    fn activate(&self, layer: usize, a: &Tensor) -> Result<Tensor> {
        Ok(if layer + 1 < self.layers() { a.relu()? } else { a.clone() })
    }

    /// `layers.0.weight`, `layers.0.bias`, and so on.
    fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        for (i, (weight, bias)) in self.weights.iter().zip(&self.biases).enumerate() {
            params.push(format!("layers.{i}.weight"), weight.clone())?;
            params.push(format!("layers.{i}.bias"), bias.clone())?;
        }
        Ok(params)
    }
}

#[derive(Deserialize)]
struct SavedMlp {
    #[serde(with = "cl_core::snapshot::tensor")]
    weights: Vec<Var>,
    #[serde(with = "cl_core::snapshot::tensor")]
    biases: Vec<Var>,
}

impl TryFrom<SavedMlp> for MlpColumn {
    type Error = Error;

    fn try_from(SavedMlp { weights, biases }: SavedMlp) -> Result<Self> {
        let layers = weights.len() == biases.len() && !weights.is_empty();
        let layer = |(w, b): (&Var, &Var)| {
            w.rank() == 2 && w.elem_count() > 0 && b.dims() == &w.dims()[..1] && w.dtype() == b.dtype()
        };
        let joint =
            |pair: &[Var]| pair[1].dims()[1] == pair[0].dims()[0] && pair[1].dtype() == pair[0].dtype();
        let right = layers
            && weights.iter().zip(&biases).all(layer)
            && weights.windows(2).all(joint)
            && weights[0].dtype().is_float();
        if !right {
            return Err(Error::invalid(
                "saved column",
                "its weights and biases do not make a stack of layers",
            ));
        }
        Ok(Self { weights, biases })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn normal(shape: &[usize], seed: u64) -> Tensor {
        let var = Init::Normal(1.0).var(shape, DType::F64, &Device::Cpu, &mut cl_core::rng(seed, "test"));
        var.unwrap().as_detached_tensor()
    }

    /// The adapter's gradient against central differences, on vectors and on feature maps.
    #[test]
    fn gradient() {
        const STEP: f64 = 1e-5;
        for rest in [&[][..], &[2, 3]] {
            let h = [3, 4].map(|inputs| normal(&[&[5, inputs], rest].concat(), inputs as u64));
            let mut rng = cl_core::rng(1, "weights");
            let adapter =
                Adapter::new(&[3, 4], 2, 6, Init::Uniform(1.0), DType::F64, &Device::Cpu, &mut rng).unwrap();
            let loss = || adapter.forward(&h).unwrap().sqr().unwrap().sum_all().unwrap();
            let params = adapter.params().unwrap();
            let gradients = params.gradients(&loss().backward().unwrap()).unwrap();
            for (param, gradient) in params.iter().zip(&gradients) {
                let values: Vec<f64> = param.var.flatten_all().unwrap().to_vec1().unwrap();
                let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                for i in 0..values.len() {
                    let at = |step: f64| {
                        let mut moved = values.clone();
                        moved[i] += step;
                        let moved = Tensor::from_vec(moved, param.var.shape(), &Device::Cpu).unwrap();
                        param.var.set(&moved).unwrap();
                        loss().to_scalar::<f64>().unwrap()
                    };
                    let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                    at(0.0);
                    let error = (gradient[i] - difference).abs();
                    let name = &param.name;
                    assert!(
                        error < 1e-7 * difference.abs().max(1.0),
                        "{name} {i}: {} {difference}",
                        gradient[i]
                    );
                }
            }
        }
    }

    /// U σ(V [α₁h¹; α₂h²] + c) written out for every element.
    #[test]
    fn adapter_is_the_equation() {
        let h = [normal(&[2, 3], 3), normal(&[2, 4], 4)];
        let mut rng = cl_core::rng(2, "weights");
        let a = Adapter::new(&[3, 4], 2, 3, Init::Uniform(1.0), DType::F64, &Device::Cpu, &mut rng).unwrap();
        let found: Vec<Vec<f64>> = a.forward(&h).unwrap().to_vec2().unwrap();
        let (alpha, c) = (a.alpha.to_vec1::<f64>().unwrap(), a.bias.to_vec1::<f64>().unwrap());
        let (v, u) = (a.project.to_vec2::<f64>().unwrap(), a.expand.to_vec2::<f64>().unwrap());
        let h = h.map(|h| h.to_vec2::<f64>().unwrap());
        for (n, row) in found.iter().enumerate() {
            let joined: Vec<f64> =
                (0..2).flat_map(|j| h[j][n].iter().map(|x| x * alpha[j]).collect::<Vec<_>>()).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let hidden: Vec<f64> = (0..2).map(|i| (dot(&v[i], &joined) + c[i]).max(0.0)).collect();
            for (found, u) in row.iter().zip(&u) {
                assert!((found - dot(u, &hidden)).abs() < 1e-12);
            }
        }
    }
}
