//! A whole step of the DNC's memory (Graves et al. 2016, methods): what the controller asks for is written and read, in one
//! node of the graph with a backward pass by hand.
//!
//! | operand | shape | |
//! |---|---|---|
//! | ξ | (b, [`MemoryAccess::interface`]) | what the controller asks for, before the non-linearities |
//! | state | [`MemoryState`] | contents, usage, links, weightings of the step before |
//! | result | (b, heads · width) and a state | what was read, and the state after |
//!
//! ξ holds, one behind the other: read keys (heads · width), read strengths (heads), write key (width), write strength, erase
//! vector (width), write vector (width), with allocation free gates (heads) and the allocation gate, the write gate, and with
//! links the read modes (heads · 3). The order of computation, w⁻ and M⁻ the ones before:
//!
//! | | |
//! |---|---|
//! | usage | u = (u⁻ + w⁻ − u⁻∘w⁻) ∘ ∏ᵣ(1 − fᵣ w⁻ʳ) |
//! | allocation | a of u, see `TensorOps::allocation` |
//! | content | C(M, k, β) = softmax(β cos(M, k)), cos(x, y) = x·y / √(x² + ε)√(y² + ε), ε = 10⁻⁶ |
//! | write weights | w = g_w (g_a a + (1 − g_a) C(M⁻, k, β)) |
//! | contents | M = M⁻∘(1 − w eᵀ) + w vᵀ |
//! | links | L′ of w and p⁻, see `TensorOps::link`; p = (1 − Σw) p⁻ + w |
//! | read weights | wʳ = π₁ L′ᵀw⁻ʳ + π₂ C(M, kʳ, βʳ) + π₃ L′w⁻ʳ |
//! | reads | r = Mᵀwʳ |
//!
//! **The gradient of the state goes beside the graph.** A state is large: 16 sequences over 128 slots of 64 hold 1.7 MB, and
//! candle adds up gradients in fresh copies. So the graph has what was read as its node, which each step takes as an operand of
//! the step before, and the gradient of the state is handed from the backward pass of a step to that of the one before in
//! place. What a state shows ([`MemoryState::contents`] and its kin) is therefore data, outside of the graph.
//!
//! On a GPU a step is one launch and its backward pass another, with a block of threads for each sequence: many sequences fill a
//! GPU, one does not. Slots that are in use alike but for rounding may be taken in another order there than on the CPU.

mod backward;
#[cfg(feature = "cuda")]
mod cuda;
mod forward;
mod layout;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Storage, Tensor};

use super::cpu::{Real, WideLoop, for_float, wide_loop, with_slice, zeros};
use crate::{Error, Result};
use layout::{Parts, Sizes};
use state::Slot;

pub use state::MemoryState;

// What a step is written for: with the feature, a type that kernels have too.
#[cfg(not(feature = "cuda"))]
use super::cpu::Real as Number;
#[cfg(feature = "cuda")]
use super::cuda::Float as Number;

/// ε under the roots of norms: DeepMind's code has the same; the paper has none and no gradient at 0.
const EPSILON: f64 = 1e-6;

/// How a strength β ≥ 0 follows from what the controller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// 1 + ln(1 + eˣ) ≥ 1, the paper's.
    #[default]
    Oneplus,
    /// ln(1 + eˣ), that of DeepMind's code and of the package `dnc`.
    Softplus,
}

/// The order of the three read modes within ξ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeOrder {
    /// Backward, content, forward: the paper's.
    #[default]
    BackwardContentForward,
    /// Backward, forward, content: that of DeepMind's code and of the package `dnc`.
    BackwardForwardContent,
}

impl ModeOrder {
    /// Where backward, content and forward are.
    fn places(self) -> [usize; 3] {
        match self {
            Self::BackwardContentForward => [0, 1, 2],
            Self::BackwardForwardContent => [0, 2, 1],
        }
    }
}

/// What kind of memory it is, and the conventions that implementations differ in; the default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryAccess {
    /// How many numbers a slot holds.
    pub width: usize,
    /// How many read heads there are.
    pub heads: usize,
    /// Whether free slots are found by their usage. Without it what is written goes where the write key says.
    pub allocation: bool,
    /// Whether reads can follow the order of writing. It is slots² numbers, and as much work, for every sequence and step.
    pub link: bool,
    /// The strengths of keys.
    pub strength: Strength,
    /// The order of read modes.
    pub modes: ModeOrder,
    /// Whether no gradient goes from usage into the write weights before it, as in DeepMind's code.
    pub stop_usage_gradient: bool,
    /// Whether keys and write vectors go through tanh, as in the package `dnc`.
    pub tanh: bool,
}

impl Default for MemoryAccess {
    fn default() -> Self {
        Self {
            width: 16,
            heads: 1,
            allocation: true,
            link: true,
            strength: Strength::Oneplus,
            modes: ModeOrder::BackwardContentForward,
            stop_usage_gradient: false,
            tanh: false,
        }
    }
}

impl MemoryAccess {
    /// The length of ξ: heads·width + 3·width + 5·heads + 3 with everything.
    pub fn interface(&self) -> usize {
        Parts::of(self).end
    }

    /// One step: what is read (batch, heads·width), and the state after it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where ξ is not (batch, [`interface`](Self::interface)) or the state is that of another memory;
    /// [`Error::Invalid`] for a memory without heads or width.
    pub fn step(&self, interface: &Tensor, state: &MemoryState) -> Result<(Tensor, MemoryState)> {
        self.check()?;
        let sizes = state.sizes(self)?;
        let parts = Parts::of(self);
        let expected = [sizes.batch, parts.end];
        if interface.dims() != expected || interface.dtype() != state.cells.dtype() {
            return Err(Error::mismatch(
                "memory step",
                format!("an interface {:?} {expected:?}", state.cells.dtype()),
                format!("{:?} {:?}", interface.dtype(), interface.dims()),
            ));
        }
        if !interface.device().same_device(state.cells.device()) {
            let on = |device: &Device| format!("an interface on {:?}", device.location());
            return Err(Error::mismatch("memory step", on(state.cells.device()), on(interface.device())));
        }
        let interface = interface.contiguous()?;
        let found = self.found(sizes, &interface, &state.cells)?;
        let after = Slot::default();
        let op = Access {
            access: *self,
            sizes,
            reads: Mutex::new(Some(found.reads)),
            old: state.cells.clone(),
            new: found.new.clone(),
            trace: found.trace,
            orders: found.orders,
            before: state.slot.clone(),
            after: after.clone(),
        };
        let reads = interface.apply_op2(&state.reads, op)?;
        Ok((reads.clone(), state.after(found.new, reads, after)))
    }

    /// The step, outside of the graph.
    fn found(&self, sizes: Sizes, interface: &Tensor, cells: &Tensor) -> candle_core::Result<Found> {
        #[cfg(feature = "cuda")]
        if interface.device().is_cuda() {
            return for_float!("memory_access", interface, T => {
                cuda::forward::<T>(self, sizes, &interface.detach(), cells)
            });
        }
        for_float!("memory_access", interface, T => {
            let mut step = forward::Step::<T>::new(self, sizes);
            with_slice::<T, _>(interface, |xi| with_slice(cells, |old| {
                wide_loop(Run { step: &mut step, interface: xi, old });
                Ok(())
            }))?;
            let forward::Step { reads, new, trace, orders, .. } = step;
            let (batch, device) = (sizes.batch, interface.device());
            Ok(Found {
                reads: Storage::Cpu(<T as candle_core::WithDType>::to_cpu_storage_owned(reads)),
                new: Tensor::from_vec(new, cells.shape(), device)?,
                trace: Tensor::from_vec(trace, (batch, sizes.trace()), device)?,
                orders: Tensor::from_vec(orders, (batch, if sizes.allocation { sizes.slots } else { 0 }), device)?,
            })
        })
    }

    fn check(&self) -> Result<()> {
        for (name, size) in [("width", self.width), ("heads", self.heads)] {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        Ok(())
    }
}

/// What a step finds.
struct Found {
    /// What was read (batch, heads · width): it becomes the result of the node.
    reads: Storage,
    /// The state after (batch, [`Sizes::state`]).
    new: Tensor,
    /// What the backward pass needs again (batch, [`Sizes::trace`]).
    trace: Tensor,
    /// The slots of each sequence in ascending order of usage (batch, slots), u32; of no meaning without allocation.
    orders: Tensor,
}

/// The forward loop over a batch.
struct Run<'a, 'b, T> {
    step: &'a mut forward::Step<T>,
    interface: &'b [T],
    old: &'b [T],
}

impl<T: Real> WideLoop for Run<'_, '_, T> {
    #[inline(always)]
    fn run(self) {
        for b in 0..self.step.sizes.batch {
            self.step.sequence(b, self.interface, self.old);
        }
    }
}

/// A step in the graph.
struct Access {
    access: MemoryAccess,
    sizes: Sizes,
    /// What was read: a custom operation has one result, and the step has three, so that it is computed before.
    reads: Mutex<Option<Storage>>,
    old: Tensor,
    new: Tensor,
    trace: Tensor,
    orders: Tensor,
    before: Slot,
    after: Slot,
}

impl Access {
    /// What was read, as the result of the node.
    fn result(&self) -> candle_core::Result<(Storage, Shape)> {
        match self.reads.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reads) => Ok((reads, Shape::from((self.sizes.batch, self.sizes.heads * self.sizes.width)))),
            None => candle_core::bail!("memory_access: a step is taken once"),
        }
    }

    /// The gradient of ξ, and that of the state before, which is made in place of that after; None for one of 0.
    fn backward<T: Number>(
        &self,
        interface: &Tensor,
        grad: &Tensor,
        after: Option<Storage>,
    ) -> candle_core::Result<(Tensor, Storage)> {
        #[cfg(feature = "cuda")]
        if interface.device().is_cuda() {
            return cuda::backward::<T>(self, interface, grad, after);
        }
        let mut storage = match after {
            Some(Storage::Cpu(storage)) => storage,
            Some(_) => candle_core::bail!("memory_access: the gradient of a state on another device"),
            None => T::to_cpu_storage_owned(zeros(self.new.elem_count())),
        };
        let Some(g) = T::elements(&mut storage) else {
            candle_core::bail!("memory_access: a gradient of another dtype")
        };
        let mut back = backward::Step::<T>::new(&self.access, self.sizes);
        with_slice::<T, _>(interface, |xi| {
            with_slice(&self.old, |old| {
                with_slice(&self.new, |new| {
                    with_slice(&self.trace, |trace| {
                        with_slice(&self.orders, |orders| {
                            with_slice(grad, |reads| {
                                let given = backward::Given { xi, old, new, trace, orders, reads };
                                wide_loop(Back { step: &mut back, given, g });
                                Ok(())
                            })
                        })
                    })
                })
            })
        })?;
        let gxi = Tensor::from_vec(back.gxi, interface.shape(), interface.device())?;
        Ok((gxi, Storage::Cpu(storage)))
    }
}

impl CustomOp2 for Access {
    fn name(&self) -> &'static str {
        "memory_access"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.result()? {
            (Storage::Cpu(reads), shape) => Ok((reads, shape)),
            _ => candle_core::bail!("memory_access: what was read is on another device"),
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
        match self.result()? {
            (Storage::Cuda(reads), shape) => Ok((reads, shape)),
            _ => candle_core::bail!("memory_access: what was read is on another device"),
        }
    }

    fn bwd(
        &self,
        interface: &Tensor,
        before: &Tensor,
        _reads: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        if super::second_order() {
            candle_core::bail!(
                "memory_access: its gradient cannot be differentiated again; leave CANDLE_GRAD_DO_NOT_DETACH unset"
            )
        }
        let after = self.after.take();
        for_float!("memory_access", interface, T => {
            let (gxi, of_state) = self.backward::<T>(interface, grad, after)?;
            let gxi = interface.track_op().then_some(gxi);
            if !before.track_op() {
                return Ok((gxi, None));
            }
            self.before.add::<T>(of_state)?;
            Ok((gxi, Some(before.zeros_like()?)))
        })
    }
}

/// The backward loop over a batch.
struct Back<'a, 'b, T> {
    step: &'a mut backward::Step<T>,
    given: backward::Given<'b, T>,
    g: &'a mut [T],
}

impl<T: Real> WideLoop for Back<'_, '_, T> {
    #[inline(always)]
    fn run(self) {
        for b in 0..self.step.sizes.batch {
            self.step.sequence(b, self.given, self.g);
        }
    }
}
