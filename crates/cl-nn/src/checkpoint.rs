//! Recomputation of activations: memory for time.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Storage, Tensor, Var,
};
use cl_core::{Error, Params, Result};

type Segment = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

/// y = f(x) of which the graph keeps x and y only: what is in between is computed again in the backward pass (Chen, Xu, Zhang &
/// Guestrin 2016). A stack of n layers in √n such segments needs memory for about 2√n activations in place of n, and one more forward
/// pass.
///
/// `params` are those that `f` uses; their gradients arrive as ever, and so does that of `x`. Until the backward pass their values
/// must stay, and `f` must give the same twice: no random numbers that are not drawn anew from the same seed. On the CPU that is looked at,
/// and anything else is an error of the backward pass. Gradients of gradients do not go through it.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use cl_nn::{Mlp, checkpoint};
///
/// let rng = &mut cl_core::rng(0, "weights");
/// let (lower, upper) = (Mlp::new(&[8, 64, 16], DType::F32, &Device::Cpu, rng)?, Mlp::new(&[16, 64, 1], DType::F32, &Device::Cpu, rng)?);
/// let x = Tensor::ones((4, 8), DType::F32, &Device::Cpu)?;
///
/// let segment = lower.clone(); // the same variables
/// let features = checkpoint(lower.params(), &x, move |x| Ok(segment.forward(x)?))?;
/// let loss = upper.forward(&features)?.sqr()?.mean_all()?;
/// let gradients = loss.backward()?;
/// assert_eq!(lower.params().gradients(&gradients)?.len(), 4);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// Those of `f`. In the backward pass: [`Error::NoGradient`] for a parameter that is
/// trained and that `f` does not use.
pub fn checkpoint(
    params: &Params,
    x: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let names = params.trainable().map(|param| param.name.clone()).collect();
    let vars: Vec<Var> = params.trainable().map(|param| param.var.clone()).collect();
    // Nothing of this graph lives on, and what it gives may be a part of something: what an operation gives is a whole.
    let y = f(&x.detach())?.detach().force_contiguous()?;
    // candle's operations take three tensors at most, and the parameters together would be a copy of them: each has a token of one
    // number in its place, through which its gradient comes back.
    let notes: Vec<Note> = vars.iter().map(|_| Note::default()).collect();
    let nothing = Tensor::zeros(1, x.dtype(), x.device())?;
    let tokens = vars.iter().zip(&notes).map(|(var, note)| {
        let token = Tensor::zeros(1, var.dtype(), var.device())?;
        var.as_tensor().apply_op1(Token { token, note: note.clone() })?.to_dtype(x.dtype())
    });
    let tokens = std::iter::once(Ok(nothing)).chain(tokens).collect::<Result<Vec<_>, _>>()?;
    let recompute = Recompute { y: Note::default(), f: Arc::new(f), vars, names, notes };
    recompute.y.put(y);
    Ok(x.apply_op2(&Tensor::cat(&tokens, 0)?, recompute)?)
}

/// A tensor on its way from one operation to another: the gradient of a parameter, from the function to the parameter.
#[derive(Clone, Default)]
struct Note(Arc<Mutex<Option<Tensor>>>);

impl Note {
    fn put(&self, gradient: Tensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
    }

    fn take(&self) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What stands for a parameter in the graph.
struct Token {
    token: Tensor,
    note: Note,
}

struct Recompute {
    /// Of the forward pass, until it is the operation's result.
    y: Note,
    f: Arc<Segment>,
    vars: Vec<Var>,
    names: Vec<String>,
    notes: Vec<Note>,
}

impl Recompute {
    fn result(&self) -> candle_core::Result<Tensor> {
        self.y
            .take()
            .ok_or_else(|| candle_core::Error::Msg("checkpoint: its result was asked for twice".into()).bt())
    }

    /// The gradient of x; those of the parameters are noted.
    fn gradients(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let input = Var::from_tensor(&x.detach())?;
        let again = (self.f)(input.as_tensor())?;
        if y.device().is_cpu() && !same(&again.detach(), y)? {
            let why = "it gave another result in the backward pass than in the forward pass: it draws random numbers, or its \
                       parameters were changed in between";
            return Err(Error::invalid("checkpointed function", why));
        }
        let mut gradients = (again * grad.detach())?.sum_all()?.backward()?;
        let missing = self.names.iter().zip(&self.vars).filter(|(_, var)| gradients.get(var).is_none());
        let missing: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
        if !missing.is_empty() {
            return Err(Error::NoGradient { parameters: missing });
        }
        for (var, note) in self.vars.iter().zip(&self.notes) {
            if let Some(gradient) = gradients.remove(var) {
                note.put(gradient);
            }
        }
        match gradients.remove(&input) {
            Some(gradient) => Ok(gradient),
            None => Ok(x.zeros_like()?),
        }
    }
}

/// To the last bit, where NaN is NaN.
fn same(a: &Tensor, b: &Tensor) -> Result<bool> {
    if a.dims() != b.dims() {
        return Ok(false);
    }
    let is_nan = |t: &Tensor| t.ne(t);
    let both_nan = (is_nan(a)? * is_nan(b)?)?;
    let as_same = (a.eq(b)? + both_nan)?.to_dtype(DType::F32)?;
    Ok(as_same.min_all()?.to_scalar::<f32>()? > 0.0)
}

const ELSEWHERE: &str = "checkpoint: what f makes of x is on another device";

/// What an operation gives that was computed before.
fn on_cpu(known: &Tensor) -> candle_core::Result<(CpuStorage, Shape)> {
    let (storage, layout) = known.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, known.shape().clone())),
        _ => candle_core::bail!("{ELSEWHERE}"),
    }
}

fn on_cuda(known: &Tensor) -> candle_core::Result<(CudaStorage, Shape)> {
    let (storage, layout) = known.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, known.shape().clone())),
        _ => candle_core::bail!("{ELSEWHERE}"),
    }
}

impl CustomOp1 for Token {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        on_cpu(&self.token)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        on_cuda(&self.token)
    }

    /// The function was gone through already: it is further on in the graph.
    fn bwd(&self, _var: &Tensor, _token: &Tensor, _grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(self.note.take())
    }
}

impl CustomOp2 for Recompute {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        on_cpu(&self.result()?)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        on_cuda(&self.result()?)
    }

    fn bwd(
        &self,
        x: &Tensor,
        tokens: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let of_x = self.gradients(x, y, grad).map_err(candle_core::Error::wrap)?;
        Ok((Some(of_x), Some(tokens.zeros_like()?)))
    }
}
