//! Gradient episodic memory: Lopez-Paz & Ranzato 2017.

use candle_core::{DType, Tensor, backprop::GradStore};
use cl_core::{Error, Params, Result};

use crate::dual::minimise;

/// The gradient nearest to g that agrees with those of all earlier tasks: minimise ½‖g̃ − g‖² where ⟨g̃, gₖ⟩ ≥ 0 for
/// every task k (equations 8 to 11), solved in its dual, which has a variable v a task: g̃ = g + Σ vₖ gₖ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gem {
    /// γ in v ≥ γ: how much more than needed the gradients of the memory are followed, where g disagrees with any.
    pub margin: f64,
    /// What is added to the diagonal of the products of the gradients, so that equal ones or zeros can be among them.
    pub eps: f64,
}

impl Default for Gem {
    /// Those of the paper's experiments and of its code.
    fn default() -> Self {
        Self { margin: 0.5, eps: 1e-3 }
    }
}

/// What [`Gem::project`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// ⟨g, gₖ⟩ for every task, before the projection.
    pub dots: Vec<f64>,
    /// v, where g disagreed with a task and was changed.
    pub dual: Option<Vec<f64>>,
}

impl Gem {
    /// Whether margin and eps are such as [`project`](Self::project) takes.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a negative margin, or an eps that is not above 0.
    pub fn check(&self) -> Result<()> {
        if !(self.margin >= 0.0 && self.margin.is_finite()) {
            return Err(Error::invalid("margin", format!("{} is not a number from 0 on", self.margin)));
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(Error::invalid("eps", format!("{} is not a number above 0", self.eps)));
        }
        Ok(())
    }

    /// Projects the gradients of the trainable `params` in `grads` against those of `memories`: for each earlier task
    /// one tensor per trainable parameter, in their order. They stay as they are where they agree with all tasks.
    ///
    /// The store gets new tensors; those taken from it before stay as they were.
    ///
    /// # Errors
    /// [`Error::NoGradient`] names the parameters that the loss does not reach; [`Error::Mismatch`] where a memory
    /// has another number of tensors or elements; [`Error::Invalid`] on a negative margin, an eps that is not above 0,
    /// or gradients that are not finite. `grads` is then unchanged.
    pub fn project(
        &self,
        grads: &mut GradStore,
        params: &Params,
        memories: &[Vec<Tensor>],
    ) -> Result<Agreement> {
        self.check()?;
        if memories.is_empty() {
            return Ok(Agreement { dots: Vec::new(), dual: None });
        }
        let gradients = params.gradients(grads)?;
        let g = flat(&gradients)?;
        let rows: Vec<Tensor> =
            memories.iter().map(|memory| row(memory, &gradients)).collect::<Result<_>>()?;
        let m = Tensor::stack(&rows, 0)?; // (tasks, parameters)
        let to_f64 = |tensor: Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        let dots = to_f64(m.matmul(&g.unsqueeze(1)?)?)?;
        if dots.iter().all(|&dot| dot >= 0.0) {
            return Ok(Agreement { dots, dual: None });
        }
        let mut p = to_f64(m.matmul(&m.t()?)?)?;
        for k in 0..memories.len() {
            p[k * (memories.len() + 1)] += self.eps;
        }
        let v = minimise(&p, &dots, self.margin)?;
        let weights = Tensor::from_slice(&v, (1, v.len()), g.device())?.to_dtype(g.dtype())?;
        let projected = (weights.matmul(&m)?.squeeze(0)? + g)?;
        let mut start = 0;
        for (param, gradient) in params.trainable().zip(&gradients) {
            let n = gradient.elem_count();
            let part = projected.narrow(0, start, n)?.reshape(gradient.shape())?.contiguous()?;
            grads.insert(&param.var, part);
            start += n;
        }
        Ok(Agreement { dots, dual: Some(v) })
    }
}

/// All tensors one behind the other.
fn flat(tensors: &[Tensor]) -> Result<Tensor> {
    let parts: Vec<Tensor> = tensors.iter().map(|t| t.detach().flatten_all()).collect::<Result<_, _>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// The gradients of a task, where they are shaped as those of the loss.
fn row(memory: &[Tensor], gradients: &[Tensor]) -> Result<Tensor> {
    let shapes =
        |tensors: &[Tensor]| -> Vec<Vec<usize>> { tensors.iter().map(|t| t.dims().to_vec()).collect() };
    if shapes(memory) != shapes(gradients) {
        let (expected, got) = (format!("gradients {:?}", shapes(gradients)), format!("{:?}", shapes(memory)));
        return Err(Error::mismatch("project", expected, got));
    }
    flat(memory)
}
