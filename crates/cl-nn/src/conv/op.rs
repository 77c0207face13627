//! The convolution as one operation of candle's graph.

use std::{hint::select_unpredictable, ops::Range, sync::OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
use cl_core::{Error, Result};
use rayon::prelude::*;

use super::{
    Conv2dConfig, MaxPool2d,
    geometry::Geometry,
    im2col::{col2im, crop, im2col, pad, transpose},
    real::{Matrix, Real, elements, product, tensor, with_elements},
};

/// Convolves images `x` (n, c, h, w) with kernels `weight` (o, c, kh, kw) and adds `bias` (o):
/// (n, o, oh, ow), where oh = ⌊(h + 2·padding − kh) / stride⌋ + 1, ow likewise.
///
/// All f32 or all f64, on the CPU, any strides in memory. Gradients go to whichever of the three is
/// tracked; that of data is not computed.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_nn::{Conv2dConfig, conv2d};
///
/// let x = Tensor::new(&[[[[1f32, 2., 3.], [4., 5., 6.]]]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[[[1f32, 1.]]]], &Device::Cpu)?;
/// let sums = conv2d(&x, &weight, None, Conv2dConfig::default())?;
/// assert_eq!(sums.squeeze(0)?.squeeze(0)?.to_vec2::<f32>()?, [[3., 5.], [9., 11.]]);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// Shapes that do not fit, a kernel larger than the padded image, a stride of zero, another dtype, a
/// tensor on a GPU.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig) -> Result<Tensor> {
    apply(x, weight, bias, config, Then::Nothing)
}

/// [`conv2d`], then max(0, ·), then max-pooling if asked for; in one pass, which keeps nothing of the
/// large result between but the place of each maximum.
///
/// The gradient at 0 is 0, as PyTorch's, and goes to the first maximum of each window. The bias is
/// added after pooling, which is the same up to ties that rounding makes.
///
/// # Errors
/// As [`conv2d`] and [`super::max_pool2d`].
pub fn conv2d_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    pool: Option<MaxPool2d>,
) -> Result<Tensor> {
    apply(x, weight, bias, config, pool.map_or(Then::Relu, Then::ReluPool))
}

/// What follows the convolution.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    Relu,
    ReluPool(MaxPool2d),
}

fn apply(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    then: Then,
) -> Result<Tensor> {
    let g = Geometry::new(x.dims(), weight.dims(), config)?;
    for (name, tensor) in [("x", Some(x)), ("weight", Some(weight)), ("bias", bias)] {
        let Some(tensor) = tensor else { continue };
        super::pool::check(name, tensor)?;
        if tensor.dtype() != x.dtype() {
            let (expected, got) =
                (format!("{:?}, as x is", x.dtype()), format!("{name} of {:?}", tensor.dtype()));
            return Err(Error::mismatch("conv2d", expected, got));
        }
    }
    let bias = match bias {
        Some(bias) if bias.dims() == [g.o] => bias.contiguous()?,
        Some(bias) => {
            return Err(Error::mismatch(
                "conv2d",
                format!("a bias of shape [{}]", g.o),
                format!("{:?}", bias.dims()),
            ));
        }
        None => Tensor::zeros(g.o, x.dtype(), x.device())?,
    };
    let (ph, pw) = match then {
        Then::Nothing | Then::Relu => (g.oh, g.ow),
        Then::ReluPool(pool) => pool.positions(g.oh, g.ow)?,
    };
    let op = Convolution { g, then, ph, pw, winners: OnceLock::new() };
    Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, op)?)
}

/// In `winners` that no position won: the maximum was not above zero.
const NONE: u32 = u32::MAX;

/// One application, from forward to backward.
struct Convolution {
    g: Geometry,
    then: Then,
    /// Height and width of the result.
    ph: usize,
    pw: usize,
    /// The position of each maximum in its image, (n, ph, pw, o); filled by the forward pass if it pools.
    winners: OnceLock<Vec<u32>>,
}

/// The buffers of one worker, for one block of images.
struct Scratch<T> {
    /// Padded images (block, h + 2p, w + 2p, c).
    padded: Vec<T>,
    /// Columns (rows · ow, patch).
    columns: Vec<T>,
    /// Before pooling (block, oh, ow, o).
    wide: Vec<T>,
    /// After pooling, of one image (ph, pw, o).
    pooled: Vec<T>,
}

impl Convolution {
    fn scratch<T: Real>(&self) -> Scratch<T> {
        let g = &self.g;
        let block = g.block::<T>();
        Scratch {
            padded: vec![T::zero(); block * g.padded_image()],
            columns: vec![T::zero(); g.rows::<T>(block) * g.ow * g.patch()],
            wide: vec![T::zero(); block * g.positions() * g.o],
            pooled: vec![T::zero(); self.pooled()],
        }
    }

    /// Elements of one image's result.
    fn pooled(&self) -> usize {
        self.ph * self.pw * self.g.o
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let g = &self.g;
        let kernels = permute(weight, g, |o, k| k * g.o + o);
        let mut result = vec![T::zero(); g.n * self.pooled()];
        let mut winners = match self.then {
            Then::ReluPool(_) => vec![NONE; result.len()],
            Then::Nothing | Then::Relu => Vec::new(),
        };
        let chunk = g.chunk::<T>();
        let mut places = winners.chunks_mut(chunk * self.pooled());
        let jobs: Vec<_> = x
            .chunks(chunk * g.image())
            .zip(result.chunks_mut(chunk * self.pooled()))
            .map(|(x, result)| (x, result, places.next().unwrap_or_default()))
            .collect();
        each(
            g.parallel(),
            jobs,
            || self.scratch(),
            |scratch, (x, result, winners)| {
                self.forward_chunk(scratch, x, &kernels, bias, result, winners);
            },
        );
        if let Then::ReluPool(_) = self.then {
            // A second forward of the same operation does not happen: each call makes its own.
            let _ = self.winners.set(winners);
        }
        result
    }

    /// `kernels` are (patch, o).
    fn forward_chunk<T: Real>(
        &self,
        Scratch { padded, columns, wide, pooled }: &mut Scratch<T>,
        x: &[T],
        kernels: &[T],
        bias: &[T],
        result: &mut [T],
        winners: &mut [u32],
    ) {
        let g = &self.g;
        let (block, plane) = (g.block::<T>(), g.positions() * g.o);
        let mut winners = winners.chunks_mut(self.pooled());
        for (x, result) in x.chunks(block * g.image()).zip(result.chunks_mut(block * self.pooled())) {
            let images = x.len() / g.image();
            pad(g, x, padded);
            for rows in tiles(images * g.oh, g.rows::<T>(block)) {
                let positions = rows.len() * g.ow;
                let columns = &mut columns[..positions * g.patch()];
                im2col(g, padded, rows.clone(), columns);
                product(
                    &mut wide[rows.start * g.ow * g.o..][..positions * g.o],
                    Matrix::new(columns, positions, g.patch()),
                    Matrix::new(kernels, g.patch(), g.o),
                    false,
                );
            }
            for (wide, result) in wide.chunks_exact_mut(plane).zip(result.chunks_exact_mut(self.pooled())) {
                let channels_last = match self.then {
                    Then::Nothing => {
                        add_bias(wide, bias, |v| v);
                        &*wide
                    }
                    Then::Relu => {
                        add_bias(wide, bias, relu);
                        &*wide
                    }
                    Then::ReluPool(pool) => {
                        let winners = winners.next().unwrap_or_default();
                        self.pool(pool, wide, bias, pooled, winners);
                        &*pooled
                    }
                };
                let positions = self.ph * self.pw;
                transpose(channels_last, g.o, result, positions, (positions, g.o));
            }
        }
    }

    /// Pools one image (oh, ow, o) along its channels, then adds the bias and takes the ReLU.
    fn pool<T: Real>(&self, pool: MaxPool2d, wide: &[T], bias: &[T], pooled: &mut [T], winners: &mut [u32]) {
        let g = &self.g;
        let windows = pooled.chunks_exact_mut(g.o).zip(winners.chunks_exact_mut(g.o));
        for (window, (best, winner)) in windows.enumerate() {
            let (top, left) = (window / self.pw * pool.stride, window % self.pw * pool.stride);
            best.fill(T::neg_infinity());
            winner.fill((top * g.ow + left) as u32);
            for (y, x) in (0..pool.kernel).flat_map(|y| (0..pool.kernel).map(move |x| (y, x))) {
                let place = (top + y) * g.ow + left + x;
                let values = &wide[place * g.o..][..g.o];
                for ((best, winner), &v) in best.iter_mut().zip(&mut *winner).zip(values) {
                    // Without a branch, `||` included, this becomes vector instructions.
                    let better = (v > *best) | v.is_nan();
                    *best = select_unpredictable(better, v, *best);
                    *winner = select_unpredictable(better, place as u32, *winner);
                }
            }
            for ((best, winner), &bias) in best.iter_mut().zip(&mut *winner).zip(bias) {
                let v = relu(*best + bias);
                *best = v;
                *winner = if v == T::zero() { NONE } else { *winner };
            }
        }
    }

    fn backward<T: Real>(&self, wanted: [bool; 3], tensors: [&[T]; 4]) -> Gradients<T> {
        let g = &self.g;
        let [x, weight, result, upstream] = tensors;
        let kernels = permute(weight, g, |o, k| o * g.patch() + k);
        let winners: &[u32] = self.winners.get().map_or(&[], Vec::as_slice);
        let chunk = g.chunk::<T>();

        let mut x_gradient = vec![T::zero(); if wanted[0] { x.len() } else { 0 }];
        let mut x_parts = x_gradient.chunks_mut(chunk * g.image());
        let mut winner_parts = winners.chunks(chunk * self.pooled());
        let per_chunk = chunk * self.pooled();
        let mut jobs: Vec<_> = x
            .chunks(chunk * g.image())
            .zip(result.chunks(per_chunk).zip(upstream.chunks(per_chunk)))
            .map(|(x, (result, upstream))| ChunkBackward {
                x,
                result,
                upstream,
                winners: winner_parts.next().unwrap_or_default(),
                x_gradient: x_parts.next(),
                kernels_gradient: wanted[1].then(|| vec![T::zero(); kernels.len()]),
                bias_gradient: wanted[2].then(|| vec![T::zero(); g.o]),
            })
            .collect();
        each(
            g.parallel(),
            jobs.iter_mut().collect(),
            || self.scratch(),
            |scratch, job| {
                self.backward_chunk(scratch, &kernels, job);
            },
        );

        let sum = |parts: &mut dyn Iterator<Item = Vec<T>>, len: usize| {
            let first = parts.next().unwrap_or_else(|| vec![T::zero(); len]);
            parts.fold(first, |mut sum, part| {
                add(&mut sum, &part);
                sum
            })
        };
        let kernels_gradient = wanted[1]
            .then(|| sum(&mut jobs.iter_mut().filter_map(|job| job.kernels_gradient.take()), kernels.len()));
        let bias_gradient =
            wanted[2].then(|| sum(&mut jobs.iter_mut().filter_map(|job| job.bias_gradient.take()), g.o));
        Gradients {
            x: wanted[0].then_some(x_gradient),
            weight: kernels_gradient.map(|kernels| unpermute(&kernels, g)),
            bias: bias_gradient,
        }
    }

    /// `kernels` are (o, patch).
    fn backward_chunk<T: Real>(
        &self,
        Scratch { padded, columns, wide, pooled }: &mut Scratch<T>,
        kernels: &[T],
        job: &mut ChunkBackward<'_, T>,
    ) {
        let g = &self.g;
        let (block, plane, pooled_plane) = (g.block::<T>(), g.positions() * g.o, self.pooled());
        for (i, x) in job.x.chunks(block * g.image()).enumerate() {
            let images = x.len() / g.image();
            for (image, wide) in wide.chunks_exact_mut(plane).take(images).enumerate() {
                let here = (i * block + image) * pooled_plane..(i * block + image + 1) * pooled_plane;
                let winners = job.winners.get(here.clone()).unwrap_or_default();
                self.unpool(&job.upstream[here.clone()], &job.result[here], winners, pooled, wide);
            }
            let wide = &wide[..images * plane];
            if let Some(gradient) = &mut job.bias_gradient {
                let mut sum = vec![T::zero(); g.o];
                wide.chunks_exact(g.o).for_each(|row| add(&mut sum, row));
                add(gradient, &sum);
            }
            if let Some(gradient) = &mut job.kernels_gradient {
                pad(g, x, padded);
                for rows in tiles(images * g.oh, g.rows::<T>(block)) {
                    let positions = rows.len() * g.ow;
                    let columns = &mut columns[..positions * g.patch()];
                    let wide = &wide[rows.start * g.ow * g.o..][..positions * g.o];
                    im2col(g, padded, rows, columns);
                    let columns = Matrix::new(columns, positions, g.patch());
                    product(gradient, columns.t(), Matrix::new(wide, positions, g.o), true);
                }
            }
            if let Some(gradient) = &mut job.x_gradient {
                padded.fill(T::zero());
                for rows in tiles(images * g.oh, g.rows::<T>(block)) {
                    let positions = rows.len() * g.ow;
                    let columns = &mut columns[..positions * g.patch()];
                    let wide = &wide[rows.start * g.ow * g.o..][..positions * g.o];
                    let kernels = Matrix::new(kernels, g.o, g.patch());
                    product(columns, Matrix::new(wide, positions, g.o), kernels, false);
                    col2im(g, columns, rows, padded);
                }
                crop(g, padded, &mut gradient[i * block * g.image()..][..x.len()]);
            }
        }
    }

    /// The gradient of one image before activation and pooling (oh, ow, o), of the one after (o, ph, pw).
    fn unpool<T: Real>(
        &self,
        upstream: &[T],
        result: &[T],
        winners: &[u32],
        pooled: &mut [T],
        wide: &mut [T],
    ) {
        let g = &self.g;
        let positions = self.ph * self.pw;
        match self.then {
            Then::Nothing => transpose(upstream, positions, wide, g.o, (g.o, positions)),
            Then::Relu => {
                for ((to, &gradient), &result) in pooled.iter_mut().zip(upstream).zip(result) {
                    *to = if result == T::zero() { T::zero() } else { gradient };
                }
                transpose(pooled, positions, wide, g.o, (g.o, positions));
            }
            Then::ReluPool(_) => {
                transpose(upstream, positions, pooled, g.o, (g.o, positions));
                wide.fill(T::zero());
                for (gradients, winners) in pooled.chunks_exact(g.o).zip(winners.chunks_exact(g.o)) {
                    for (channel, (&gradient, &winner)) in gradients.iter().zip(winners).enumerate() {
                        if winner != NONE {
                            wide[winner as usize * g.o + channel] += gradient;
                        }
                    }
                }
            }
        }
    }
}

/// One chunk's share of the backward pass.
struct ChunkBackward<'a, T> {
    x: &'a [T],
    result: &'a [T],
    upstream: &'a [T],
    winners: &'a [u32],
    x_gradient: Option<&'a mut [T]>,
    /// (patch, o)
    kernels_gradient: Option<Vec<T>>,
    bias_gradient: Option<Vec<T>>,
}

struct Gradients<T> {
    x: Option<Vec<T>>,
    weight: Option<Vec<T>>,
    bias: Option<Vec<T>>,
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        macro_rules! forward {
            ($t:ty) => {{
                let x = elements::<$t>(x, x_layout)?;
                let (weight, bias) = (elements(weight, weight_layout)?, elements(bias, bias_layout)?);
                <$t as candle_core::WithDType>::to_cpu_storage_owned(self.forward(x, weight, bias))
            }};
        }
        let result = match x {
            CpuStorage::F32(_) => forward!(f32),
            CpuStorage::F64(_) => forward!(f64),
            _ => candle_core::bail!("conv2d takes f32 or f64"),
        };
        Ok((result, Shape::from((self.g.n, self.g.o, self.ph, self.pw))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        result: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => self.bwd_as::<f32>([x, weight, bias], result, upstream),
            _ => self.bwd_as::<f64>([x, weight, bias], result, upstream),
        }
    }
}

impl Convolution {
    fn bwd_as<T: Real>(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        result: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // candle panics if a tracked operand gets no gradient, and pays for one that nobody asked for.
        let wanted = [x, weight, bias].map(Tensor::track_op);
        let upstream = upstream.contiguous()?;
        let gradients = with_elements(x, |x| {
            with_elements(weight, |weight| {
                with_elements(result, |result| {
                    with_elements(&upstream, |upstream| {
                        Ok(self.backward::<T>(wanted, [x, weight, result, upstream]))
                    })
                })
            })
        })?;
        let tensor_of =
            |data: Option<Vec<T>>, like: &Tensor| data.map(|d| tensor(d, like.shape())).transpose();
        Ok((
            tensor_of(gradients.x, x)?,
            tensor_of(gradients.weight, weight)?,
            tensor_of(gradients.bias, bias)?,
        ))
    }
}

/// Works through `jobs`, each worker with its own scratch. The order does not matter to the results.
fn each<J: Send, S: Send>(
    parallel: bool,
    jobs: Vec<J>,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, J) + Sync + Send,
) {
    if parallel {
        jobs.into_par_iter().for_each_init(scratch, work);
    } else if !jobs.is_empty() {
        let mut scratch = scratch();
        jobs.into_iter().for_each(|job| work(&mut scratch, job));
    }
}

/// `0..rows` in pieces of `tile`.
fn tiles(rows: usize, tile: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(tile).map(move |from| from..(from + tile).min(rows))
}

/// A weight (o, c, kh, kw), each element where `place` puts kernel `o`'s element `k` of (kh, kw, c).
fn permute<T: Real>(weight: &[T], g: &Geometry, place: impl Fn(usize, usize) -> usize) -> Vec<T> {
    let mut permuted = vec![T::zero(); weight.len()];
    for_each_element(g, |at, o, k| permuted[place(o, k)] = weight[at]);
    permuted
}

/// Kernels (kh, kw, c, o) back into a weight (o, c, kh, kw).
fn unpermute<T: Real>(kernels: &[T], g: &Geometry) -> Vec<T> {
    let mut weight = vec![T::zero(); kernels.len()];
    for_each_element(g, |at, o, k| weight[at] = kernels[k * g.o + o]);
    weight
}

/// Calls `f` with the place of every element of a weight, its `o` and its place in (kh, kw, c).
fn for_each_element(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let mut at = 0;
    for o in 0..g.o {
        for c in 0..g.c {
            for k in 0..g.kh * g.kw {
                f(at, o, k * g.c + c);
                at += 1;
            }
        }
    }
}

fn add_bias<T: Real>(rows: &mut [T], bias: &[T], then: impl Fn(T) -> T) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (v, &bias) in row.iter_mut().zip(bias) {
            *v = then(*v + bias);
        }
    }
}

fn add<T: Real>(sum: &mut [T], part: &[T]) {
    for (sum, &part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}

/// max(0, v); what is not a number stays so.
fn relu<T: Real>(v: T) -> T {
    if v <= T::zero() { T::zero() } else { v }
}
