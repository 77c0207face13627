//! The operations that the crates above need and candle lacks, or has only as a chain of temporaries.
//!
//! Each is a folder: `mod.rs` says what it computes and holds candle's custom operation with its
//! gradient, `cpu.rs` the loop where it is long, `tests.rs` compares with the plain composition and
//! with finite differences. A CUDA kernel goes beside them as `kernel.cu`, called from the custom
//! operation's `cuda_fwd`; until it is there, an operation on a CUDA tensor is an error that says so.

mod accumulate_sq;
mod adam_step;
mod allocation;
mod best_pairs;
mod cpu;
mod cross_entropy;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod descend;
mod linear;
mod link;
mod loss_scale;
mod lstm_cell;
mod memory_access;
mod path_integral;
pub mod per_sample;
mod project;
mod quadratic_penalty;
mod retrieve;
pub mod ring;
mod sgd_step;
pub mod sum_tree;
#[cfg(test)]
mod testing;

use candle_core::Tensor;

pub use adam_step::AdamStep;
pub use linear::Activation;
pub use loss_scale::ScaleUpdate;
pub use memory_access::{MemoryAccess, MemoryState, ModeOrder, Strength};
pub use project::{Projection, project};
pub use quadratic_penalty::Quadratic;
pub use sgd_step::SgdStep;

use crate::{Result, Units};

/// The fused operations, on candle's [`Tensor`]. f32 and f64, and f16 and bf16 where networks are trained in them: in
/// [`linear`](Self::linear), [`cross_entropy`](Self::cross_entropy), [`sum_of_rows`](Self::sum_of_rows) and [`retrieve`](Self::retrieve), which
/// compute in f32 and round what they give. Operands of any strides, except that what is changed in place must be contiguous. Operations in place are not recorded in the graph:
/// between a forward and its backward pass they would change the gradient.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use cl_core::{Activation, TensorOps, Units};
///
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let w = Var::new(&[[0.1f32, -0.2], [0.3, 0.4]], &Device::Cpu)?;
/// let loss = x.linear(&w, None, Activation::Identity)?.cross_entropy(&y, Units::All, None)?;
/// let grads = loss.backward()?;
/// assert_eq!(grads.get(&w).unwrap().dims(), [2, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TensorOps: Sized {
    /// act(self·Wᵀ + b): self (.., in), W (out, in), b (out) → (.., out). Differentiable; the gradient
    /// of `self` is left out where it is data.
    fn linear(&self, weight: &Self, bias: Option<&Self>, act: Activation) -> Result<Self>;

    /// Softmax cross-entropy of the logits `self` (n, outputs) and the target units (n) u32 over the
    /// active `units`: the mean, or Σ wᵢℓᵢ where `weights` (n) are given. A scalar, differentiable. Of logits in f16 and bf16 loss
    /// and weights are f32.
    ///
    /// # Errors
    /// An empty batch; a target that is not an active unit.
    fn cross_entropy(&self, targets: &Self, units: Units, weights: Option<&Self>) -> Result<Self>;

    /// The gradient of [`cross_entropy`](Self::cross_entropy) for the logits, of their shape, outside of the graph.
    ///
    /// # Errors
    /// The same.
    fn cross_entropy_gradient(&self, targets: &Self, units: Units, weights: Option<&Self>) -> Result<Self>;

    /// With `self` the weight (out, in) of a linear layer, its `bias` (out), `inputs` (n, in) and output gradients `deltas`
    /// (n, out): a step of gradient descent self ← self − η·deltasᵀ·inputs, bias ← bias − η·Σₙ deltasₙ, in place.
    fn descend(&self, bias: Option<&Self>, inputs: &Self, deltas: &Self, lr: f64) -> Result<()>;

    /// softmax(β·self·keysᵀ + mask)·values, with no matrix of queries × keys: `self` (.., n, d), `keys` (.., m, d) and `values`
    /// (.., m, v), of each batch or shared by all (m, ..) → (.., n, v). `mask` (.., n, m), its leading dimensions 1 or left out
    /// where all share it, is added to the scores: −∞ hides a key, and a query that sees none gets zeros. Differentiable but in
    /// the mask. f16 and bf16 too, summed in f32.
    ///
    /// # Errors
    /// Shapes or dtypes that do not fit, no keys, a β that is not finite.
    fn retrieve(&self, keys: &Self, values: &Self, beta: f64, mask: Option<&Self>) -> Result<Self>;

    /// The log-sum-exp ln Σⱼ exp(β·selfᵢ·keysⱼ + maskᵢⱼ), as [`retrieve`](Self::retrieve) has them: (.., n), in f32 where they are
    /// f16 or bf16. Differentiable.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    fn log_partition(&self, keys: &Self, beta: f64, mask: Option<&Self>) -> Result<Self>;

    /// [`retrieve`](Self::retrieve) and [`log_partition`](Self::log_partition) of the same, both in one pass. Differentiable, with a
    /// backward pass for each that is used. Results over parts of the keys are put together by it: Σ exp(L_c − L)·result_c.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    fn retrieve_with_log_partition(
        &self,
        keys: &Self,
        values: &Self,
        beta: f64,
        mask: Option<&Self>,
    ) -> Result<(Self, Self)>;

    /// The DNC's allocation weighting of the usages `self` (.., n): a\[φⱼ\] = (1 − u\[φⱼ\]) ∏_{i<j} u\[φᵢ\], φ the slots in
    /// ascending order of usage. Of the same shape. Differentiable through the values, at usages of 0 and 1 too.
    ///
    /// # Errors
    /// A scalar.
    fn allocation(&self) -> Result<Self>;

    /// The `top` pairs with the largest sums of a first and a second score, of `self` (.., 2, k): u32 (3, .., top), the pair i·k + j,
    /// i and j, the best first. What is no number counts as the largest. No gradient goes through the choice.
    ///
    /// # Errors
    /// Another shape, more pairs than scores, more than 2¹⁶ scores.
    fn best_pairs(&self, top: usize) -> Result<Self>;

    /// The DNC's temporal links after a step, of the links `self` (.., n, n) before it, what is written `write` (.., n) and the
    /// `precedence` (.., n) before it: L′ᵢⱼ = (1 − wᵢ − wⱼ) Lᵢⱼ + wᵢ pⱼ, L′ᵢᵢ = 0. Differentiable.
    ///
    /// # Errors
    /// Shapes or dtypes that do not fit.
    fn link(&self, write: &Self, precedence: &Self) -> Result<Self>;

    /// The element-wise part of an LSTM: of `self` (n, 4h), what stands before the input, forget, candidate and output gates, and
    /// the `cell` (n, h), the new hidden and cell states (2, n, h). Differentiable.
    ///
    /// # Errors
    /// Shapes or dtypes that do not fit.
    fn lstm_cell(&self, cell: &Self) -> Result<Self>;

    /// ½ Σₖ Σ Fₖ(self − θ*ₖ)² over any number of anchors. A scalar, differentiable in `self`.
    fn quadratic_penalty(&self, terms: &[Quadratic]) -> Result<Self>;

    /// The sum of the [`quadratic_penalty`](Self::quadratic_penalty) of many parameters, in one graph: on a GPU one launch forward
    /// and one backward.
    ///
    /// # Errors
    /// No parameters, or not terms for each.
    fn quadratic_penalty_all(thetas: &[&Self], terms: &[&[Quadratic]]) -> Result<Self>;

    /// g ← g + scale·Σₖ Fₖ (θ − θ*ₖ), in place: what the [`quadratic_penalty`](Self::quadratic_penalty) of each parameter, `scale`
    /// times, adds to gradients that are there already. On a GPU a launch for each k.
    fn add_penalty_gradient_all(
        gradients: &[&Self],
        thetas: &[&Self],
        terms: &[&[Quadratic]],
        scale: f64,
    ) -> Result<()>;

    /// Σₙ of the rows (n, units): (units), outside of the graph.
    fn sum_of_rows(&self) -> Result<Self>;

    /// self ← self − η(μv + g + λ·self), in place, and the velocity with it.
    fn sgd_step(&self, grad: &Self, velocity: Option<&Self>, step: SgdStep) -> Result<()> {
        Self::sgd_step_all(&[self], &[grad], velocity.map(|v| [v]).as_ref().map(<[_; 1]>::as_slice), step)
    }

    /// [`sgd_step`](Self::sgd_step) of many parameters: on a GPU, one launch.
    fn sgd_step_all(
        thetas: &[&Self],
        grads: &[&Self],
        velocities: Option<&[&Self]>,
        step: SgdStep,
    ) -> Result<()> {
        Self::sgd_step_unless(None, thetas, grads, velocities, step)
    }

    /// [`sgd_step_all`](Self::sgd_step_all) unless `found` (1) f32 is not 0: then nothing changes. On a GPU it is looked at there.
    fn sgd_step_unless(
        found: Option<&Self>,
        thetas: &[&Self],
        grads: &[&Self],
        velocities: Option<&[&Self]>,
        step: SgdStep,
    ) -> Result<()>;

    /// One step of Adam or AdamW, in place; `moments` (2, ..self) hold m and v.
    fn adam_step(&self, grad: &Self, moments: &Self, step: AdamStep) -> Result<()> {
        Self::adam_step_all(&[self], &[grad], &[moments], step)
    }

    /// [`adam_step`](Self::adam_step) of many parameters that are at the same step: on a GPU, one launch.
    fn adam_step_all(thetas: &[&Self], grads: &[&Self], moments: &[&Self], step: AdamStep) -> Result<()> {
        Self::adam_step_unless(None, thetas, grads, moments, step)
    }

    /// [`adam_step_all`](Self::adam_step_all) unless `found` (1) f32 is not 0: then nothing changes. On a GPU it is looked at there.
    fn adam_step_unless(
        found: Option<&Self>,
        thetas: &[&Self],
        grads: &[&Self],
        moments: &[&Self],
        step: AdamStep,
    ) -> Result<()>;

    /// g ← g/S in place for gradients of a loss that was multiplied by S; an element that is not finite becomes 0. `state` (4) f32
    /// is S, 1 where such an element was found (what was 1 stays 1), the good steps since S has changed, and the steps that were
    /// skipped. On a GPU one launch, and nothing is read back.
    ///
    /// # Errors
    /// Gradients in f16 or bf16, which cannot hold what the division leaves.
    fn unscale_all(gradients: &[&Self], state: &Self) -> Result<()>;

    /// With `self` the state of [`unscale_all`](Self::unscale_all), after the step: where something was found, which is forgotten
    /// then, S shrinks by `backoff`, and after `interval` steps without it grows by `growth`. S stays within 2⁻¹²⁶ and 2¹²⁶.
    fn update_scale(&self, update: ScaleUpdate) -> Result<()>;

    /// self ← decay·self + scale·g², in place.
    fn accumulate_sq(&self, grad: &Self, decay: f64, scale: f64) -> Result<()> {
        Self::accumulate_sq_all(&[self], &[grad], decay, scale)
    }

    /// [`accumulate_sq`](Self::accumulate_sq) of many sums: on a GPU, one launch.
    fn accumulate_sq_all(sums: &[&Self], grads: &[&Self], decay: f64, scale: f64) -> Result<()>;

    /// self ← self − g·(θ − before), before ← θ, in place (Zenke et al. 2017, eq. 3).
    fn path_integral(&self, grad: &Self, theta: &Self, before: &Self) -> Result<()> {
        Self::path_integral_all(&[self], &[grad], &[theta], &[before])
    }

    /// [`path_integral`](Self::path_integral) of many parameters: on a GPU, one launch.
    fn path_integral_all(omegas: &[&Self], grads: &[&Self], thetas: &[&Self], before: &[&Self])
    -> Result<()>;

    /// With `self` the inputs (n, in) of a linear layer and `squares` (n, out) its squared output
    /// gradients: adds the squared gradients of each sample to `weight_sum` (out, in) and `bias_sum`
    /// (out), in place.
    fn per_sample_sq(&self, squares: &Self, weight_sum: &Self, bias_sum: Option<&Self>) -> Result<()>;

    /// With `self` the inputs (n, in) of a linear layer and `deltas` (n, out) its output gradients: the
    /// squared norm of each sample's gradient, (n).
    fn per_sample_norm_sq(&self, deltas: &Self, bias: bool) -> Result<Self>;
}

impl TensorOps for Tensor {
    fn linear(&self, weight: &Self, bias: Option<&Self>, act: Activation) -> Result<Self> {
        linear::linear(self, weight, bias, act)
    }

    fn cross_entropy(&self, targets: &Self, units: Units, weights: Option<&Self>) -> Result<Self> {
        cross_entropy::cross_entropy(self, targets, units, weights)
    }

    fn cross_entropy_gradient(&self, targets: &Self, units: Units, weights: Option<&Self>) -> Result<Self> {
        cross_entropy::gradient(self, targets, units, weights)
    }

    fn descend(&self, bias: Option<&Self>, inputs: &Self, deltas: &Self, lr: f64) -> Result<()> {
        descend::descend(self, bias, inputs, deltas, lr)
    }

    fn retrieve(&self, keys: &Self, values: &Self, beta: f64, mask: Option<&Self>) -> Result<Self> {
        retrieve::retrieve(self, keys, values, beta, mask)
    }

    fn log_partition(&self, keys: &Self, beta: f64, mask: Option<&Self>) -> Result<Self> {
        retrieve::log_partition(self, keys, beta, mask)
    }

    fn retrieve_with_log_partition(
        &self,
        keys: &Self,
        values: &Self,
        beta: f64,
        mask: Option<&Self>,
    ) -> Result<(Self, Self)> {
        retrieve::retrieve_with_log_partition(self, keys, values, beta, mask)
    }

    fn allocation(&self) -> Result<Self> {
        allocation::allocation(self)
    }

    fn best_pairs(&self, top: usize) -> Result<Self> {
        best_pairs::best_pairs(self, top)
    }

    fn link(&self, write: &Self, precedence: &Self) -> Result<Self> {
        link::link(self, write, precedence)
    }

    fn lstm_cell(&self, cell: &Self) -> Result<Self> {
        lstm_cell::lstm_cell(self, cell)
    }

    fn quadratic_penalty(&self, terms: &[Quadratic]) -> Result<Self> {
        quadratic_penalty::quadratic_penalty(self, terms)
    }

    fn quadratic_penalty_all(thetas: &[&Self], terms: &[&[Quadratic]]) -> Result<Self> {
        quadratic_penalty::quadratic_penalty_all(thetas, terms)
    }

    fn add_penalty_gradient_all(
        gradients: &[&Self],
        thetas: &[&Self],
        terms: &[&[Quadratic]],
        scale: f64,
    ) -> Result<()> {
        quadratic_penalty::add_gradient(gradients, thetas, terms, scale)
    }

    fn sum_of_rows(&self) -> Result<Self> {
        linear::sum_of_rows(self)
    }

    fn sgd_step_unless(
        found: Option<&Self>,
        thetas: &[&Self],
        grads: &[&Self],
        velocities: Option<&[&Self]>,
        step: SgdStep,
    ) -> Result<()> {
        sgd_step::sgd_step(found, thetas, grads, velocities, step)
    }

    fn adam_step_unless(
        found: Option<&Self>,
        thetas: &[&Self],
        grads: &[&Self],
        moments: &[&Self],
        step: AdamStep,
    ) -> Result<()> {
        adam_step::adam_step(found, thetas, grads, moments, step)
    }

    fn unscale_all(gradients: &[&Self], state: &Self) -> Result<()> {
        loss_scale::unscale(gradients, state)
    }

    fn update_scale(&self, update: ScaleUpdate) -> Result<()> {
        loss_scale::update(self, update)
    }

    fn accumulate_sq_all(sums: &[&Self], grads: &[&Self], decay: f64, scale: f64) -> Result<()> {
        accumulate_sq::accumulate_sq(sums, grads, decay, scale)
    }

    fn path_integral_all(
        omegas: &[&Self],
        grads: &[&Self],
        thetas: &[&Self],
        before: &[&Self],
    ) -> Result<()> {
        path_integral::path_integral(omegas, grads, thetas, before)
    }

    fn per_sample_sq(&self, squares: &Self, weight_sum: &Self, bias_sum: Option<&Self>) -> Result<()> {
        per_sample::per_sample_sq(self, squares, weight_sum, bias_sum)
    }

    fn per_sample_norm_sq(&self, deltas: &Self, bias: bool) -> Result<Self> {
        per_sample::per_sample_norm_sq(self, deltas, bias)
    }
}

/// Whether candle keeps the graph of its gradients, which it reads from the environment once per
/// thread. Backward passes are then made of candle's own operations, that they can be differentiated.
fn second_order() -> bool {
    thread_local! {
        static ON: bool =
            std::env::var("CANDLE_GRAD_DO_NOT_DETACH").is_ok_and(|v| !v.is_empty() && v != "0");
    }
    ON.with(|on| *on)
}
