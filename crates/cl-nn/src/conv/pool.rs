//! Max-pooling.

use std::{hint::select_unpredictable, sync::OnceLock};

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Module, Shape, Tensor};
use cl_core::{Error, Result};

use super::{
    geometry,
    real::{Real, elements, tensor, with_elements},
};

/// A window of `kernel` × `kernel` pixels that moves by `stride`; as a layer, [`max_pool2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MaxPool2d {
    /// Side of the window in pixels; at least 1.
    pub kernel: usize,
    /// Pixels between neighbouring windows; at least 1.
    pub stride: usize,
}

impl MaxPool2d {
    /// Windows side by side.
    pub fn new(kernel: usize) -> Self {
        Self { kernel, stride: kernel }
    }

    /// Windows that fit wholly into a plane of `h` × `w` pixels.
    pub(super) fn positions(self, h: usize, w: usize) -> Result<(usize, usize)> {
        if u32::try_from(h * w).is_err() {
            return Err(Error::invalid(
                "x",
                format!("max_pool2d takes planes of up to 2^32 pixels, got {h} x {w}"),
            ));
        }
        let positions = |size| geometry::positions("max_pool2d", size, 0, self.kernel, self.stride);
        Ok((positions(h)?, positions(w)?))
    }
}

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        max_pool2d(x, self.kernel, self.stride).map_err(super::layer::candle_error)
    }
}

/// The largest element of each window of `kernel` × `kernel` pixels of `x` (n, c, h, w), the windows
/// `stride` apart: (n, c, ⌊(h − kernel) / stride⌋ + 1, ⌊(w − kernel) / stride⌋ + 1). NaN wins.
///
/// f32 or f64, on the CPU, any strides in memory. The gradient of a window goes to its first maximum,
/// as in PyTorch.
///
/// ```
/// use candle_core::{Device, Var};
///
/// let x = Var::new(&[[[[1f32, 2.], [3., 4.]]]], &Device::Cpu)?;
/// let gradients = cl_nn::max_pool2d(&x, 2, 2)?.backward()?;
/// let gradient = gradients.get(&x).expect("x is a variable").flatten_all()?;
/// assert_eq!(gradient.to_vec1::<f32>()?, [0., 0., 0., 1.]);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// Another rank or dtype, a window larger than the image, a kernel or stride of zero, a tensor on a GPU.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let &[n, c, h, w] = x.dims() else {
        return Err(Error::mismatch("max_pool2d", "images of shape (n, c, h, w)", format!("{:?}", x.dims())));
    };
    check("x", x)?;
    let pool = MaxPool2d { kernel, stride };
    let (oh, ow) = pool.positions(h, w)?;
    let op = Pooling { pool, planes: n * c, h, w, oh, ow, winners: OnceLock::new() };
    Ok(x.contiguous()?.apply_op1(op)?.reshape((n, c, oh, ow))?)
}

/// An error unless these operations can read the tensor.
pub(super) fn check(name: &'static str, tensor: &Tensor) -> Result<()> {
    if !tensor.device().is_cpu() {
        return Err(Error::invalid(name, "is on a GPU; this operation runs on the CPU: move it there"));
    }
    if !matches!(tensor.dtype(), DType::F32 | DType::F64) {
        return Err(Error::invalid(
            name,
            format!("has elements of {:?}; f32 or f64 are taken", tensor.dtype()),
        ));
    }
    Ok(())
}

/// One application, from forward to backward.
struct Pooling {
    pool: MaxPool2d,
    planes: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    /// The place of each maximum in its plane; filled by the forward pass.
    winners: OnceLock<Vec<u32>>,
}

impl Pooling {
    fn forward<T: Real>(&self, x: &[T]) -> Vec<T> {
        let MaxPool2d { kernel, stride } = self.pool;
        let mut result = vec![T::neg_infinity(); self.planes * self.oh * self.ow];
        let mut winners = vec![0; result.len()];
        let rows = result.chunks_exact_mut(self.ow).zip(winners.chunks_exact_mut(self.ow));
        for (row, (best, winners)) in rows.enumerate() {
            let (plane, top) = (row / self.oh * self.h * self.w, row % self.oh * stride);
            let first = (top * self.w) as u32;
            winners.iter_mut().zip((first..).step_by(stride)).for_each(|(winner, place)| *winner = place);
            for (y, x_offset) in (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x))) {
                let from = (top + y) * self.w + x_offset;
                let values = x[plane + from..].iter().step_by(stride);
                let places = (from as u32..).step_by(stride);
                for (((best, winner), &v), place) in
                    best.iter_mut().zip(&mut *winners).zip(values).zip(places)
                {
                    // No branch: which pixel wins cannot be predicted.
                    let better = (v > *best) | v.is_nan();
                    *best = select_unpredictable(better, v, *best);
                    *winner = select_unpredictable(better, place, *winner);
                }
            }
        }
        // A second forward of the same operation does not happen: each call makes its own.
        let _ = self.winners.set(winners);
        result
    }

    fn backward<T: Real>(&self, upstream: &[T]) -> Vec<T> {
        let (plane, windows) = (self.h * self.w, self.oh * self.ow);
        let mut gradient = vec![T::zero(); self.planes * plane];
        let winners = self.winners.get().map_or(&[][..], Vec::as_slice);
        let planes = upstream.chunks_exact(windows).zip(winners.chunks_exact(windows));
        for (gradient, (upstream, winners)) in gradient.chunks_exact_mut(plane).zip(planes) {
            for (&part, &winner) in upstream.iter().zip(winners) {
                gradient[winner as usize] += part;
            }
        }
        gradient
    }
}

impl CustomOp1 for Pooling {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let result = match x {
            CpuStorage::F32(_) => CpuStorage::F32(self.forward(elements(x, layout)?)),
            CpuStorage::F64(_) => CpuStorage::F64(self.forward(elements(x, layout)?)),
            _ => candle_core::bail!("max_pool2d takes f32 or f64"),
        };
        Ok((result, Shape::from((self.planes, self.oh, self.ow))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, upstream: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let upstream = upstream.contiguous()?;
        let gradient = match x.dtype() {
            DType::F32 => with_elements(&upstream, |u| tensor(self.backward::<f32>(u), x.shape())),
            _ => with_elements(&upstream, |u| tensor(self.backward::<f64>(u), x.shape())),
        };
        gradient.map(Some)
    }
}
