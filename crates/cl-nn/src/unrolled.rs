//! A fully connected layer at many time steps, whose weights get their gradient once.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Storage, Tensor};
use cl_core::{Activation, Error, Result, TensorOps as _};

use crate::Linear;

/// A [`Linear`] layer within one unrolled sequence: [`Linear::unrolled`] begins it.
///
/// Where a layer is used at T steps, candle makes T gradients of its weights and adds them up, each as large as the weights.
/// Here each step notes its inputs and the gradient of its outputs, and the weights' gradient is one product over all steps.
/// It is the same gradient but for rounding. It can be used for one sequence or many; in a loop of training it is begun anew with
/// each step of the optimizer.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_nn::{Activation, Linear};
///
/// let layer = Linear::new(3, 3, Activation::Relu, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let unrolled = layer.unrolled()?;
/// let mut x = Tensor::ones((5, 3), DType::F32, &Device::Cpu)?;
/// for _ in 0..10 {
///     x = unrolled.forward(&x)?;
/// }
/// assert_eq!(x.sum_all()?.backward()?.get(&layer.weight).unwrap().dims(), [3, 3]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Unrolled {
    weight: Tensor,
    bias: Tensor,
    activation: Activation,
    /// One number that stands for the weights in the graph, so that every step comes after it.
    token: Tensor,
    notes: Notes,
}

/// Inputs (n, in) and gradients of outputs (n, out), a pair for each step that the backward pass has come by.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<(Tensor, Tensor)>>>);

impl Notes {
    fn add(&self, inputs: Tensor, gradient: Tensor) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((inputs, gradient));
    }

    fn take(&self) -> Vec<(Tensor, Tensor)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Linear {
    /// The layer for a sequence, see [`Unrolled`].
    ///
    /// # Errors
    /// candle's own.
    pub fn unrolled(&self) -> Result<Unrolled> {
        let notes = Notes::default();
        let token = self.weight.apply_op2(&self.bias, Begin { notes: notes.clone() })?;
        Ok(Unrolled {
            weight: self.weight.as_detached_tensor(),
            bias: self.bias.as_detached_tensor(),
            activation: self.activation,
            token,
            notes,
        })
    }
}

impl Unrolled {
    /// act(xWᵀ + b) of x (n, in): (n, out).
    ///
    /// # Errors
    /// Another shape or dtype.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (x, (outputs, inputs)) = (x.contiguous()?, self.weight.dims2()?);
        match *x.dims() {
            [_, wide] if wide == inputs && x.dtype() == self.weight.dtype() => {}
            ref other => {
                let expected = format!("x {:?} of (n, {inputs})", self.weight.dtype());
                return Err(Error::mismatch("unrolled", expected, format!("{:?} {other:?}", x.dtype())));
            }
        }
        let found = match x.device().is_cpu() {
            true => {
                // As W·xᵀ: for few rows the product takes W as it lies in memory, where x·Wᵀ takes more than twice as long.
                let found =
                    self.weight.matmul(&x.detach().t()?)?.t()?.contiguous()?.reshape(((), outputs))?;
                let found = found.broadcast_add(&self.bias)?;
                match self.activation {
                    Activation::Identity => found,
                    Activation::Relu => found.relu()?,
                }
            }
            false => x.detach().linear(&self.weight, Some(&self.bias), self.activation)?,
        };
        let step = Step {
            found,
            weight: self.weight.clone(),
            activation: self.activation,
            notes: self.notes.clone(),
        };
        Ok(x.apply_op2(&self.token, step)?)
    }
}

/// Where the weights enter the graph.
struct Begin {
    notes: Notes,
}

impl CustomOp2 for Begin {
    fn name(&self) -> &'static str {
        "unrolled"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        weight: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let device = &weight.device;
        let token = candle_core::CudaStorage::wrap_cuda_slice(device.alloc_zeros::<f32>(1)?, device.clone());
        Ok((token, Shape::from(1)))
    }

    /// All steps have been gone by: they are further on in the graph.
    fn bwd(
        &self,
        _weight: &Tensor,
        _bias: &Tensor,
        _token: &Tensor,
        _: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (inputs, gradients): (Vec<Tensor>, Vec<Tensor>) = self.notes.take().into_iter().unzip();
        let (x, g) = (Tensor::cat(&inputs, 0)?, Tensor::cat(&gradients, 0)?);
        let ones = Tensor::ones((1, g.dim(0)?), g.dtype(), g.device())?;
        Ok((Some(g.t()?.matmul(&x)?), Some(ones.matmul(&g)?.squeeze(0)?)))
    }
}

/// The layer at one time step.
struct Step {
    found: Tensor,
    weight: Tensor,
    activation: Activation,
    notes: Notes,
}

impl CustomOp2 for Step {
    fn name(&self) -> &'static str {
        "unrolled"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (storage, _) = self.found.storage_and_layout();
        match &*storage {
            Storage::Cpu(found) => Ok((found.clone(), self.found.shape().clone())),
            _ => candle_core::bail!("unrolled: inputs on the CPU, weights on {:?}", self.found.device()),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage as _;
        let (storage, layout) = self.found.storage_and_layout();
        match &*storage {
            Storage::Cuda(found) => Ok((found.try_clone(layout)?, self.found.shape().clone())),
            _ => candle_core::bail!("unrolled: inputs on {:?}, weights on the CPU", self.found.device()),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        if std::env::var("CANDLE_GRAD_DO_NOT_DETACH").is_ok_and(|v| !v.is_empty() && v != "0") {
            candle_core::bail!(
                "unrolled: its gradient cannot be differentiated again; use Linear::forward, or leave \
                 CANDLE_GRAD_DO_NOT_DETACH unset"
            )
        }
        let g = match self.activation {
            Activation::Identity => grad.contiguous()?,
            Activation::Relu => (grad * y.gt(0f64)?.to_dtype(y.dtype())?)?,
        };
        let gx = x.track_op().then(|| g.matmul(&self.weight)).transpose()?;
        self.notes.add(x.detach(), g);
        Ok((gx, Some(token.zeros_like()?)))
    }
}
