//! Gradient descent on one sample after the other, without a graph.

use std::ops::Range;

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor, WithDType};
use cl_core::{Error, Result, Units};

use crate::{Linear, Mlp};

/// The weights of an [`Mlp`], unpacked for many plain steps θ ← θ − η·∇L(x, y), each on the softmax cross-entropy of a
/// single sample: forward, backward and step in one go. Methods of meta-learning take millions of them.
///
/// Weights are kept as (inputs, outputs): an input that is 0, and a hidden unit that is silent, has no part in the
/// products and no gradient, and its row is not touched. Most pixels of handwritten digits are.
/// `cargo xtask bench method-speed` has MER on it beside its peers. One thread; every machine adds in the same order.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_core::Units;
/// use cl_nn::{Mlp, OneByOne};
///
/// let net = Mlp::new(&[2, 32, 2], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let mut steps = OneByOne::of(&net)?;
/// for _ in 0..500 {
///     steps.descend(&x, &y, Units::All, 0.1)?;
/// }
/// steps.write(&net)?;
/// assert_eq!(net.predict(&x)?.argmax(1)?.to_vec1::<u32>()?, [0, 1, 1, 0]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OneByOne {
    layers: Vec<Layer>,
    /// Of each layer the weights (inputs, row), then the biases (row): outputs, and zeros up to a whole number of lanes.
    theta: Vec<f32>,
}

/// Rows are a whole number of these: loops over them have no rest, whatever the machine's width.
const LANES: usize = 16;

/// A layer, and what a step needs room for.
#[derive(Debug, Clone)]
struct Layer {
    outputs: usize,
    /// The outputs, and what fills the last lanes.
    row: usize,
    /// Where its weights begin, and its biases.
    weight: usize,
    bias: usize,
    /// The inputs that are not 0, with their numbers.
    active: Vec<(u32, f32)>,
    /// What it gives, and later the gradient there.
    output: Vec<f32>,
}

impl OneByOne {
    /// A copy of the weights of a network.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of(net: &Mlp) -> Result<Self> {
        let (mut layers, mut end) = (Vec::new(), 0);
        for group in groups(net) {
            let inputs = group.first().map_or(0, |head| head.weight.elem_count() / head.bias.elem_count());
            let outputs: usize = group.iter().map(|head| head.bias.elem_count()).sum();
            let row = outputs.next_multiple_of(LANES);
            let (weight, bias) = (end, end + inputs * row);
            end = bias + row;
            let (active, output) = (Vec::with_capacity(inputs), vec![0.0; row]);
            layers.push(Layer { outputs, row, weight, bias, active, output });
        }
        let mut new = Self { layers, theta: vec![0.0; end] };
        new.read(net)?;
        Ok(new)
    }

    /// Takes over the weights that the network has now.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a network of other widths, another dtype than f32, on another device than the CPU, or with
    /// frozen parameters.
    pub fn read(&mut self, net: &Mlp) -> Result<()> {
        self.check(net)?;
        for (layer, group) in self.layers.iter().zip(groups(net)) {
            let mut first = 0;
            for head in group {
                let units = head.bias.elem_count();
                let weights = &mut self.theta[layer.weight + first..layer.bias];
                with_slice(head.weight.as_tensor(), |from: &[f32]| {
                    transpose(from, from.len() / units, weights, layer.row);
                })?;
                let biases = &mut self.theta[layer.bias + first..][..units];
                with_slice(head.bias.as_tensor(), |from| biases.copy_from_slice(from))?;
                first += units;
            }
        }
        Ok(())
    }

    /// Gives the network the weights as they are here.
    ///
    /// # Errors
    /// As [`read`](Self::read); nothing is written then.
    pub fn write(&self, net: &Mlp) -> Result<()> {
        self.check(net)?;
        for (layer, group) in self.layers.iter().zip(groups(net)) {
            let mut first = 0;
            for head in group {
                let units = head.bias.elem_count();
                let weights =
                    Write { from: &self.theta[layer.weight + first..layer.bias], row: layer.row, units };
                head.weight.inplace_op1(&weights)?;
                let biases = &self.theta[layer.bias + first..][..units];
                head.bias.inplace_op1(&Write { from: biases, row: units, units })?;
                first += units;
            }
        }
        Ok(())
    }

    fn check(&self, net: &Mlp) -> Result<()> {
        let frozen = net.params().iter().any(|param| param.frozen);
        let foreign = net
            .params()
            .iter()
            .find(|param| !param.var.device().is_cpu() || param.var.dtype() != candle_core::DType::F32);
        let why = match foreign {
            _ if frozen => "its parameters are stepped all together: none may be frozen".to_owned(),
            Some(param) => format!("{} is not f32 on the CPU", param.name),
            None if !self.fits(net) => "it is of other widths".to_owned(),
            None => return Ok(()),
        };
        Err(Error::invalid("network", why))
    }

    fn fits(&self, net: &Mlp) -> bool {
        let sizes = |group: &[Linear]| {
            let sum = |size: fn(&Linear) -> usize| group.iter().map(size).sum::<usize>();
            (sum(|head| head.weight.elem_count()), sum(|head| head.bias.elem_count()))
        };
        let own = self
            .layers
            .iter()
            .map(|layer| ((layer.bias - layer.weight) / layer.row * layer.outputs, layer.outputs));
        own.eq(groups(net).map(sizes))
    }

    /// All weights, in an order of their own: to keep them, and to interpolate between two states of one network.
    pub fn theta(&self) -> &[f32] {
        &self.theta
    }

    /// θ ← from + share·(θ − from), where `from` is what [`theta`](Self::theta) once was: the step of Reptile (Nichol et
    /// al. 2018).
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a vector of another length.
    pub fn interpolate(&mut self, from: &[f32], share: f64) -> Result<()> {
        if from.len() != self.theta.len() {
            return Err(Error::mismatch("interpolate", self.theta.len().to_string(), from.len().to_string()));
        }
        let (theta, share) = (&mut self.theta, share as f32);
        wide(|| {
            theta.iter_mut().zip(from).for_each(|(theta, &from)| *theta = from + share * (*theta - from));
        });
        Ok(())
    }

    /// A step of learning rate `lr` for each row of `x` (n, inputs), in order, towards the unit that `y` (n, u32) names
    /// among `units`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for inputs of another width and another number of targets; [`Error::Invalid`] for a target that
    /// is no output unit that takes part. Nothing is changed then.
    pub fn descend(&mut self, x: &Tensor, y: &Tensor, units: Units, lr: f64) -> Result<()> {
        let (inputs, outputs) = match (self.layers.first(), self.layers.last()) {
            (Some(first), Some(last)) => ((first.bias - first.weight) / first.row, last.outputs),
            _ => return Ok(()),
        };
        let (n, width) = x.dims2()?;
        if width != inputs || y.dims() != [n] {
            let found = format!("x {:?}, y {:?}", x.dims(), y.dims());
            return Err(Error::mismatch("descend", format!("x (n, {inputs}), y (n)"), found));
        }
        let targets: Vec<u32> = y.to_vec1()?;
        if let Some(y) = targets.iter().find(|&&y| {
            let y = y as usize;
            y >= outputs || !units.range(y, outputs).contains(&y)
        }) {
            return Err(Error::invalid("target", format!("{y} is none of the output units that take part")));
        }
        let (layers, theta) = (&mut self.layers, &mut self.theta);
        with_slice(x, |x: &[f32]| {
            pulp::Arch::new().dispatch(Steps { layers, theta, x, targets: &targets, units, lr: lr as f32 });
        })
    }
}

/// All steps of a call, in the widest instructions of this machine. (A closure of this size is not inlined into them.)
struct Steps<'a> {
    layers: &'a mut [Layer],
    theta: &'a mut [f32],
    /// Of all samples.
    x: &'a [f32],
    targets: &'a [u32],
    units: Units,
    lr: f32,
}

impl pulp::NullaryFnOnce for Steps<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let outputs = self.layers.last().map_or(0, |layer| layer.outputs);
        let inputs = self.x.len() / self.targets.len().max(1);
        for (x, &y) in self.x.chunks_exact(inputs.max(1)).zip(self.targets) {
            let units = self.units.range(y as usize, outputs);
            step(self.layers, self.theta, x, y as usize, units, self.lr);
        }
    }
}

/// One sample.
#[inline(always)]
fn step(layers: &mut [Layer], theta: &mut [f32], x: &[f32], y: usize, units: Range<usize>, lr: f32) {
    let mut input = x;
    let count = layers.len();
    for (at, layer) in layers.iter_mut().enumerate() {
        select(input, &mut layer.active);
        layer.output.copy_from_slice(&theta[layer.bias..][..layer.row]);
        add_rows(&theta[layer.weight..layer.bias], &layer.active, &mut layer.output);
        if at + 1 < count {
            layer.output.iter_mut().for_each(|output| *output = output.max(0.0));
        }
        input = &layer.output;
    }
    let Some((last, hidden)) = layers.split_last_mut() else { return };
    softmax_gradient(&mut last.output, y, units);
    let mut above = last;
    for below in hidden.iter_mut().rev() {
        let (weights, biases) = above.parts(theta);
        // The gradient below, where a hidden unit is not silent.
        below.output.fill(0.0);
        for &(at, value) in &above.active {
            let weights = &mut weights[at as usize * above.row..][..above.row];
            below.output[at as usize] = dot(weights, &above.output);
            add(weights, -lr * value, &above.output);
        }
        add(biases, -lr, &above.output);
        above = below;
    }
    let (weights, biases) = above.parts(theta);
    for &(at, value) in &above.active {
        add(&mut weights[at as usize * above.row..][..above.row], -lr * value, &above.output);
    }
    add(biases, -lr, &above.output);
}

impl Layer {
    /// Its weights and biases.
    #[inline(always)]
    fn parts<'a>(&self, theta: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        theta[self.weight..self.bias + self.row].split_at_mut(self.bias - self.weight)
    }
}

/// The values that have a part in what follows: pixels that are not black, hidden units that are not silent.
#[inline(always)]
fn select(input: &[f32], active: &mut Vec<(u32, f32)>) {
    // Every value is written, and kept by counting it: no branch that cannot be foreseen.
    active.clear();
    active.resize(input.len() + 1, (0, 0.0));
    let mut count = 0;
    for (at, &value) in (0..).zip(input) {
        active[count] = (at, value);
        count += usize::from(value != 0.0);
    }
    active.truncate(count);
}

/// output += Σ value·row, in the order of the rows; four at a time, for fewer loads and stores of the output.
#[inline(always)]
fn add_rows(weights: &[f32], active: &[(u32, f32)], output: &mut [f32]) {
    let width = output.len();
    let row = |at: u32| &weights[at as usize * width..][..width];
    let mut fours = active.chunks_exact(4);
    for four in fours.by_ref() {
        let &[(a, va), (b, vb), (c, vc), (d, vd)] = four else { return };
        let rows = [row(a), row(b), row(c), row(d)].map(|row| row.as_chunks::<LANES>().0);
        let [a, b, c, d] = rows;
        for ((((to, a), b), c), d) in output.as_chunks_mut::<LANES>().0.iter_mut().zip(a).zip(b).zip(c).zip(d)
        {
            let sum = *to;
            *to = lanes(|i| sum[i] + va * a[i] + vb * b[i] + vc * c[i] + vd * d[i]);
        }
    }
    for &(at, value) in fours.remainder() {
        add(output, value, row(at));
    }
}

/// From the outputs to ∂L/∂output: the softmax over `units` less 1 at the target; 0 elsewhere.
#[inline(always)]
fn softmax_gradient(output: &mut [f32], y: usize, units: Range<usize>) {
    output[..units.start].fill(0.0);
    output[units.end..].fill(0.0);
    let part = &mut output[units.clone()];
    let most = part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    part.iter_mut().for_each(|z| *z = (*z - most).exp());
    let sum: f32 = part.iter().sum();
    part.iter_mut().for_each(|p| *p /= sum);
    output[y] -= 1.0;
}

/// All lanes as one value: nothing is stored before all is read, so that the compiler need not ask what overlaps.
#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    let mut values = [0.0; LANES];
    for (i, value) in values.iter_mut().enumerate() {
        *value = f(i);
    }
    values
}

#[inline(always)]
fn add(to: &mut [f32], factor: f32, from: &[f32]) {
    for (to, from) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(from.as_chunks::<LANES>().0) {
        let old = *to;
        *to = lanes(|i| old[i] + factor * from[i]);
    }
}

/// In as many sums as there are lanes, so that the order does not depend on the machine's width.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        sums = lanes(|i| sums[i] + a[i] * b[i]);
    }
    for half in [8, 4, 2, 1] {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
    }
    sums[0]
}

/// The layers, the heads of the last one together.
fn groups(net: &Mlp) -> impl Iterator<Item = &[Linear]> {
    net.hidden.chunks(1).chain([net.heads.as_slice()])
}

/// The widest instructions of this machine; products and sums are never contracted.
#[inline(always)]
fn wide<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// From rows of `width` to columns: `to` has rows of `row`, of which the first are written.
fn transpose(from: &[f32], width: usize, to: &mut [f32], row: usize) {
    // Blocks of which both sides stay in the cache.
    const BLOCK: usize = 16;
    let rows = from.len() / width.max(1);
    for top in (0..rows).step_by(BLOCK) {
        for left in (0..width).step_by(BLOCK) {
            for column in left..width.min(left + BLOCK) {
                for at in top..rows.min(top + BLOCK) {
                    to[column * row + at] = from[at * width + column];
                }
            }
        }
    }
}

fn with_slice<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((from, to))) => Ok(f(&storage.as_slice::<T>()?[from..to])),
        _ => Err(Error::invalid("tensor", "it is not on the CPU")),
    }
}

/// Puts the first `units` of each row into the destination, whose rows are their columns.
struct Write<'a> {
    from: &'a [f32],
    row: usize,
    units: usize,
}

impl InplaceOp1 for Write<'_> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(to), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("a contiguous destination of f32 is needed")
        };
        let to = &mut to[start..end];
        let width = to.len() / self.units.max(1);
        for top in (0..self.units).step_by(16) {
            for left in (0..width).step_by(16) {
                for unit in top..self.units.min(top + 16) {
                    for column in left..width.min(left + 16) {
                        to[unit * width + column] = self.from[column * self.row + unit];
                    }
                }
            }
        }
        Ok(())
    }
}
