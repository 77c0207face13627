//! The kernels of `quadratic_penalty`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{Quadratic, differentiable};
use crate::kernels::QUADRATIC_PENALTY;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{
    CHUNK, Float, TENSORS, device_of, grid, launch, partials, pointer, room, scratch_pointer, stream,
    tensor_pointer, tickets,
};

/// Anchors of one launch: `TERMS` of the kernel.
const TERMS: usize = 96;

/// Parameters and anchors of a launch: `Bowls` of the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Bowls {
    gradient: [u64; TENSORS],
    theta: [u64; TENSORS],
    sizes: [u64; TENSORS],
    importance: [u64; TERMS],
    anchor: [u64; TERMS],
    adds: u64,
    ends: [u32; TENSORS],
    terms: [u32; TENSORS],
    add: u32,
}

// SAFETY: plain numbers, laid out as in C; what the compiler may put behind the last one the kernel does not read.
unsafe impl DeviceRepr for Bowls {}

impl Bowls {
    const NONE: Self = Self {
        gradient: [0; TENSORS],
        theta: [0; TENSORS],
        sizes: [0; TENSORS],
        importance: [0; TERMS],
        anchor: [0; TERMS],
        adds: 0,
        ends: [0; TENSORS],
        terms: [0; TENSORS],
        add: 0,
    };
}

/// The launches of a penalty: each with as many parameters and anchors as go in.
struct Launches<'a> {
    device: &'a CudaDevice,
    /// Where the sum goes.
    value: u64,
    bowls: Bowls,
    tensors: usize,
    terms: usize,
}

impl Launches<'_> {
    /// A parameter that begins at `theta`, has `n` elements, and whose gradient goes to `gradient`, if that is not 0.
    fn add<T: Float>(&mut self, theta: u64, n: usize, gradient: u64, terms: &[Quadratic]) -> Result<()> {
        let mut rest = terms;
        // Once without anchors too: the gradient is to be zeros then.
        loop {
            if self.tensors == TENSORS || (self.terms == TERMS && !rest.is_empty()) {
                self.launch::<T>()?;
            }
            let (now, later) = rest.split_at(rest.len().min(TERMS - self.terms));
            for term in now {
                self.bowls.importance[self.terms] = tensor_pointer::<T>(&term.importance)?;
                self.bowls.anchor[self.terms] = tensor_pointer::<T>(&term.anchor)?;
                self.terms += 1;
            }
            let at = self.tensors;
            let before = if at == 0 { 0 } else { self.bowls.ends[at - 1] };
            self.bowls.ends[at] = before + n.div_ceil(CHUNK) as u32;
            self.bowls.terms[at] = self.terms as u32;
            (self.bowls.theta[at], self.bowls.sizes[at], self.bowls.gradient[at]) =
                (theta, n as u64, gradient);
            self.bowls.adds |= u64::from(rest.len() < terms.len()) << at;
            self.tensors += 1;
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// What has gone in, if anything has.
    fn launch<T: Float>(&mut self) -> Result<()> {
        let Some(last) = self.tensors.checked_sub(1) else { return Ok(()) };
        let blocks = self.bowls.ends[last] as usize;
        let partial = partials::<f64>(self.device, blocks)?;
        launch!(
            self.device,
            QUADRATIC_PENALTY,
            T,
            "quadratic_penalty",
            grid(blocks, 1),
            self.bowls,
            self.value,
            scratch_pointer(self.device, &partial),
            tickets(self.device)?,
        )?;
        self.bowls = Bowls { add: 1, ..Bowls::NONE };
        (self.tensors, self.terms) = (0, 0);
        Ok(())
    }
}

/// The sum of the penalties of all parameters, in as few launches as it takes; the backward pass is one.
///
/// An operation of candle has at most three operands. So the parameters are tied to a chain of nodes, one each: the last one
/// has the value and, as the backward pass comes to it first, scales the gradients of all.
pub(super) fn penalty(thetas: &[&Tensor], terms: Vec<Vec<Quadratic>>) -> crate::Result<Tensor> {
    let thetas = contiguous(thetas)?;
    let all = Arc::new(All {
        thetas: thetas.iter().map(Tensor::detach).collect(),
        terms,
        gradients: Mutex::default(),
    });
    all.with_gradient(thetas.iter().any(Tensor::track_op));
    let node = |i: usize| Node { all: all.clone(), i };
    let mut sum = thetas[0].apply_op1(node(0))?;
    for (i, theta) in thetas.iter().enumerate().skip(1) {
        sum = sum.apply_op2(theta, node(i))?;
    }
    Ok(sum)
}

/// What the nodes share.
struct All {
    thetas: Vec<Tensor>,
    terms: Vec<Vec<Quadratic>>,
    gradients: Mutex<Gradients>,
}

/// Of all parameters, one behind the other.
#[derive(Default)]
struct Gradients {
    wanted: bool,
    /// Left by the forward pass.
    plain: Option<Tensor>,
    /// Left by the backward pass of the last node for the others.
    scaled: Option<Tensor>,
}

impl All {
    fn gradients(&self) -> MutexGuard<'_, Gradients> {
        self.gradients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_gradient(&self, wanted: bool) {
        self.gradients().wanted = wanted;
    }

    /// Where the gradient of each parameter begins, which is at a multiple of 16 bytes, and how long all are.
    fn places(&self) -> (Vec<usize>, usize) {
        let mut end: usize = 0;
        let starts = self.thetas.iter().map(|theta| {
            let start = end.next_multiple_of(4);
            end = start + theta.elem_count();
            start
        });
        (starts.collect(), end)
    }

    /// The value, and the gradients beside it.
    fn forward<T: Float>(&self) -> Result<CudaStorage> {
        let device = &device_of(&self.thetas[0])?;
        let value = if self.thetas.iter().all(|theta| theta.elem_count() == 0) {
            CudaStorage::wrap_cuda_slice(device.alloc_zeros::<T>(1)?, device.clone())
        } else {
            room::<T>(device, 1)?
        };
        let (starts, length) = self.places();
        let mut gradients = self.gradients();
        if gradients.wanted {
            let like = &self.thetas[0];
            let gaps = length > self.thetas.iter().map(Tensor::elem_count).sum();
            gradients.plain = Some(match gaps {
                true => Tensor::zeros(length, like.dtype(), like.device())?, // they are scaled with the rest
                // SAFETY: all of it is written below.
                false => unsafe { Tensor::empty(length, like.dtype(), like.device())? },
            });
        }
        let into = gradients.plain.as_ref().map(tensor_pointer::<T>).transpose()?;
        let value_at = pointer::<T>(&value, &Layout::contiguous(()))?;
        let mut launches = Launches { device, value: value_at, bowls: Bowls::NONE, tensors: 0, terms: 0 };
        for ((theta, terms), start) in self.thetas.iter().zip(&self.terms).zip(starts) {
            let n = theta.elem_count();
            if n > 0 {
                let gradient = into.map_or(0, |into| into + (start * size_of::<T>()) as u64);
                launches.add::<T>(tensor_pointer::<T>(theta)?, n, gradient, terms)?;
            }
        }
        launches.launch::<T>()?;
        Ok(value)
    }
}

/// Where a parameter is tied to the sum.
struct Node {
    all: Arc<All>,
    i: usize,
}

impl Node {
    fn is_last(&self) -> bool {
        self.i + 1 == self.all.thetas.len()
    }

    /// The sum from the last node; a number that nobody reads from those before it.
    fn forward(&self, theta: &CudaStorage) -> Result<(CudaStorage, Shape)> {
        let value = for_float!("quadratic_penalty", theta, T => {
            if self.is_last() { self.all.forward::<T>() } else { room::<T>(&theta.device, 1) }
        })?;
        Ok((value, Shape::from(())))
    }

    /// The gradient of its parameter, where that of the sum is `grad`.
    fn gradient(&self, theta: &Tensor, grad: &Tensor) -> Result<Tensor> {
        if crate::ops::second_order() {
            return differentiable(theta, &self.all.terms[self.i], grad);
        }
        let mut gradients = self.all.gradients();
        if self.is_last() {
            let Some(plain) = &gradients.plain else {
                candle_core::bail!("quadratic_penalty: the forward pass left no gradient");
            };
            gradients.scaled = Some(plain.broadcast_mul(grad)?); // grad is not read back
        }
        let Some(scaled) = &gradients.scaled else {
            candle_core::bail!("quadratic_penalty: the backward pass did not begin at its end");
        };
        let part =
            scaled.narrow(0, self.all.places().0[self.i], theta.elem_count())?.reshape(theta.shape())?;
        if self.i == 0 {
            gradients.scaled = None;
        }
        Ok(part)
    }
}

/// Only for tensors on a GPU.
fn elsewhere<R>() -> Result<R> {
    candle_core::bail!(
        "quadratic_penalty: parameters on the CPU and on a GPU in one sum: move them with to_device()"
    )
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        "quadratic_penalty"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        elsewhere()
    }

    fn cuda_fwd(&self, theta: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.forward(theta)
    }

    fn bwd(&self, theta: &Tensor, _sum: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(theta, grad).map(Some)
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        "quadratic_penalty"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        elsewhere()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        theta: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward(theta)
    }

    fn bwd(
        &self,
        _before: &Tensor,
        theta: &Tensor,
        _sum: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(self.gradient(theta, grad)?)))
    }
}

/// g ← g + scale·Σₖ Fₖ (θ − θ*ₖ): a launch for the first terms of all tensors, one for the second ones, and so on.
pub(super) fn add_gradient(
    gradients: &[&Tensor],
    thetas: &[&Tensor],
    terms: &[Vec<Quadratic>],
    scale: f64,
) -> crate::Result<()> {
    let Some(first) = gradients.first() else { return Ok(()) };
    let thetas = contiguous(thetas)?;
    let most = terms.iter().map(Vec::len).max().unwrap_or(0);
    for k in 0..most {
        let with: Vec<usize> = (0..terms.len()).filter(|&i| terms[i].len() > k).collect();
        let of = |f: &dyn Fn(usize) -> Tensor| -> Vec<Tensor> { with.iter().map(|&i| f(i)).collect() };
        let (g, t) = (of(&|i| gradients[i].clone()), of(&|i| thetas[i].clone()));
        let (f, a) = (of(&|i| terms[i][k].importance.clone()), of(&|i| terms[i][k].anchor.clone()));
        for_float!("add_penalty_gradient", first, T => {
            stream::<T, 4>([&refs(&g), &refs(&t), &refs(&f), &refs(&a)], |device, table, blocks| {
                launch!(device, QUADRATIC_PENALTY, T, "add_penalty_gradient", grid(blocks, 1), table, scale as T)
            })
        })?;
    }
    Ok(())
}
