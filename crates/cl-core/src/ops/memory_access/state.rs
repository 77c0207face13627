//! What a memory holds between steps.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Storage, Tensor};
use serde::{Deserialize, Serialize};

use super::layout::{Cells, Sizes};
use super::{MemoryAccess, Number};
use crate::ops::cpu::wide;
use crate::{Error, Result};

/// Where the backward pass of a step leaves the gradient of the state that it began with.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Storage>>>);

impl Slot {
    pub(super) fn take(&self) -> Option<Storage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where a state goes on in two ways, their gradients add up.
    pub(super) fn add<T: Number>(&self, mut gradient: Storage) -> candle_core::Result<()> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut gradient, slot.as_mut()) {
            (_, None) => {}
            (Storage::Cpu(sum), Some(Storage::Cpu(other))) => {
                let (Some(sum), Some(other)) = (T::elements(sum), T::elements(other)) else {
                    candle_core::bail!("memory_access: gradients of one dtype are needed")
                };
                wide(|| sum.iter_mut().zip(other.iter()).for_each(|(sum, &other)| *sum += other));
            }
            #[cfg(feature = "cuda")]
            (Storage::Cuda(sum), Some(Storage::Cuda(other))) => super::cuda::add::<T>(sum, other)?,
            _ => candle_core::bail!("memory_access: gradients of a state on two devices"),
        }
        *slot = Some(gradient);
        Ok(())
    }
}

/// What a [`MemoryAccess`] holds after a step, for each sequence of a batch: passed in and out, saved and restored with serde,
/// made anew for an episode.
///
/// What it shows is data: the gradient between steps goes beside the graph.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct MemoryState {
    shape: Sizes,
    /// (batch, [`Sizes::state`]), outside of the graph.
    pub(super) cells: Tensor,
    /// What was read last (batch, heads·width), in the graph.
    pub(super) reads: Tensor,
    pub(super) slot: Slot,
}

impl MemoryState {
    /// The state before the first step, all zero: nothing is stored, nothing used, nothing read.
    ///
    /// Without allocation all slots would be written alike for ever: give them [contents](Self::with_contents) that differ.
    ///
    /// # Errors
    /// No slots, no batch; a dtype that is not floating point.
    pub fn new(
        access: &MemoryAccess,
        slots: usize,
        batch: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        access.check()?;
        for (name, size) in [("slots", slots), ("batch", batch)] {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::invalid("dtype", format!("{dtype:?}: a memory is of f32 or f64")));
        }
        let MemoryAccess { width, heads, allocation, link, .. } = *access;
        let shape = Sizes { batch, slots, width, heads, allocation, link };
        Ok(Self {
            shape,
            cells: Tensor::zeros((batch, shape.state()), dtype, device)?,
            reads: Tensor::zeros((batch, heads * width), dtype, device)?,
            slot: Slot::default(),
        })
    }

    /// The same with these contents (batch, slots, width), outside of the graph.
    ///
    /// # Errors
    /// Another shape or dtype.
    pub fn with_contents(&self, contents: &Tensor) -> Result<Self> {
        let Sizes { batch, slots, width, .. } = self.shape;
        if contents.dims() != [batch, slots, width] || contents.dtype() != self.cells.dtype() {
            return Err(Error::mismatch(
                "contents of a memory",
                format!("{:?} {:?}", self.cells.dtype(), [batch, slots, width]),
                format!("{:?} {:?}", contents.dtype(), contents.dims()),
            ));
        }
        let at = self.shape.cells().contents;
        let rest = self.cells.narrow(1, at.end, self.shape.state() - at.end)?;
        let cells = Tensor::cat(&[&contents.detach().flatten_from(1)?, &rest], 1)?;
        Ok(Self { cells, ..self.detach() })
    }

    /// The same, cut off from the graph: no gradient goes beyond it.
    pub fn detach(&self) -> Self {
        Self {
            shape: self.shape,
            cells: self.cells.clone(),
            reads: self.reads.detach(),
            slot: Slot::default(),
        }
    }

    /// The state after a step.
    pub(super) fn after(&self, cells: Tensor, reads: Tensor, slot: Slot) -> Self {
        Self { shape: self.shape, cells, reads, slot }
    }

    /// The sizes, if it is a state of such a memory.
    pub(super) fn sizes(&self, access: &MemoryAccess) -> Result<Sizes> {
        let Sizes { width, heads, allocation, link, .. } = self.shape;
        let same =
            (width, heads, allocation, link) == (access.width, access.heads, access.allocation, access.link);
        match same {
            true => Ok(self.shape),
            false => {
                let text = |width, heads, allocation, link| {
                    format!("width {width}, {heads} heads, allocation {allocation}, link {link}")
                };
                Err(Error::mismatch(
                    "memory state",
                    text(access.width, access.heads, access.allocation, access.link),
                    text(width, heads, allocation, link),
                ))
            }
        }
    }

    /// How many sequences it is of.
    pub fn batch(&self) -> usize {
        self.shape.batch
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.shape.slots
    }

    /// What was read last (batch, heads·width): zeros at first. In the graph.
    pub fn reads(&self) -> &Tensor {
        &self.reads
    }

    fn part(&self, part: impl Fn(Cells) -> std::ops::Range<usize>, dims: &[usize]) -> Result<Tensor> {
        let range = part(self.shape.cells());
        let dims = [&[self.shape.batch], dims].concat();
        Ok(self.cells.narrow(1, range.start, range.len())?.contiguous()?.reshape(dims)?)
    }

    /// M (batch, slots, width).
    ///
    /// # Errors
    /// candle's own, here and below.
    pub fn contents(&self) -> Result<Tensor> {
        self.part(|cells| cells.contents, &[self.shape.slots, self.shape.width])
    }

    /// The write weights of the last step (batch, slots).
    pub fn write_weights(&self) -> Result<Tensor> {
        self.part(|cells| cells.write, &[self.shape.slots])
    }

    /// The read weights of the last step (batch, heads, slots).
    pub fn read_weights(&self) -> Result<Tensor> {
        self.part(|cells| cells.reads, &[self.shape.heads, self.shape.slots])
    }

    /// Usage (batch, slots); None without allocation.
    pub fn usage(&self) -> Result<Option<Tensor>> {
        self.shape.allocation.then(|| self.part(|cells| cells.usage, &[self.shape.slots])).transpose()
    }

    /// Precedence (batch, slots); None without links.
    pub fn precedence(&self) -> Result<Option<Tensor>> {
        self.shape.link.then(|| self.part(|cells| cells.precedence, &[self.shape.slots])).transpose()
    }

    /// Links (batch, slots, slots); None without them.
    pub fn links(&self) -> Result<Option<Tensor>> {
        let slots = self.shape.slots;
        self.shape.link.then(|| self.part(|cells| cells.links, &[slots, slots])).transpose()
    }
}

/// Its serde form.
#[derive(Serialize, Deserialize)]
struct Saved {
    slots: usize,
    width: usize,
    heads: usize,
    allocation: bool,
    link: bool,
    #[serde(with = "crate::snapshot::tensor")]
    cells: Tensor,
    #[serde(with = "crate::snapshot::tensor")]
    reads: Tensor,
}

impl From<MemoryState> for Saved {
    fn from(state: MemoryState) -> Self {
        let Sizes { slots, width, heads, allocation, link, .. } = state.shape;
        Self { slots, width, heads, allocation, link, cells: state.cells, reads: state.reads.detach() }
    }
}

impl TryFrom<Saved> for MemoryState {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { slots, width, heads, allocation, link, cells, reads } = saved;
        let (batch, each) = match (cells.dims(), reads.dims()) {
            ([batch, each], [other, _]) if batch == other => (*batch, *each),
            _ => {
                return Err(Error::mismatch(
                    "saved memory state",
                    "(batch, ..)",
                    format!("{:?}", cells.dims()),
                ));
            }
        };
        // None of its parts is larger than the whole: so their sizes can be added up.
        let largest = width.max(heads).max(if link { slots } else { 0 });
        let fits = slots.checked_mul(largest).is_some_and(|part| part <= each);
        let shape = Sizes { batch, slots, width, heads, allocation, link };
        if !fits
            || each != shape.state()
            || reads.dims()[1] != heads * width
            || reads.dtype() != cells.dtype()
        {
            let found =
                format!("{:?} {:?}, {:?} {:?}", cells.dtype(), cells.dims(), reads.dtype(), reads.dims());
            return Err(Error::mismatch(
                "saved memory state",
                format!("cells and reads of {slots} slots of {width}, {heads} heads"),
                found,
            ));
        }
        let access = MemoryAccess { width, heads, allocation, link, ..MemoryAccess::default() };
        let one = Self::new(&access, 1, 1, cells.dtype(), &Device::Cpu)?;
        if slots == 0 || batch == 0 {
            return Err(Error::invalid("saved memory state", "it has no slots, or no sequences"));
        }
        Ok(Self { shape, cells, reads, ..one })
    }
}
