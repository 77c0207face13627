//! The rows of a memory on a device: a tensor a field, and what does not go there on the host.

use candle_core::{Device, Tensor};
use cl_core::{
    Error, Result,
    ring::{gather_rows, write_rows},
    snapshot::tensor::TensorData,
    sum_tree::{NOTHING, PriorityTree},
};

use crate::Schema;

/// A ring of rows: the slots below `near_rows` on the device, the others on the host.
#[derive(Debug)]
pub(super) struct Store {
    schema: Schema,
    capacity: usize,
    device: Device,
    near_rows: usize,
    /// A tensor (near_rows, row...) a field; none where there is no such row.
    near: Vec<Tensor>,
    /// The same of the other rows.
    far: Vec<Tensor>,
}

impl Store {
    /// Rows of zeros, as many on the device as go into these bytes, beside the priorities of all.
    ///
    /// # Errors
    /// [`Error::Invalid`] where not even those do, and on more bytes than can be addressed.
    pub(super) fn new(
        schema: Schema,
        capacity: usize,
        bytes: Option<usize>,
        device: &Device,
    ) -> Result<Self> {
        let row = schema.bytes();
        if row.checked_mul(capacity).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            let why = format!("{capacity} rows of {row} bytes are more than can be addressed");
            return Err(Error::invalid("capacity", why));
        }
        let near_rows = match bytes {
            Some(bytes) => {
                let tree = PriorityTree::bytes(capacity);
                let left = bytes.checked_sub(tree).ok_or_else(|| {
                    let why = format!("{bytes}: the priorities of {capacity} rows alone take {tree}");
                    Error::invalid("device_bytes", why)
                })?;
                left.checked_div(row).unwrap_or(capacity).min(capacity)
            }
            None => capacity,
        };
        let zeros = |rows: usize, device: &Device| -> Result<Vec<Tensor>> {
            let fields = schema.fields().iter().filter(|_| rows > 0);
            let zeros =
                fields.map(|field| Tensor::zeros([&[rows], &field.shape[..]].concat(), field.dtype, device));
            Ok(zeros.collect::<Result<_, _>>()?)
        };
        let (near, far) = (zeros(near_rows, device)?, zeros(capacity - near_rows, &Device::Cpu)?);
        Ok(Self { schema, capacity, device: device.clone(), near_rows, near, far })
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn near_rows(&self) -> usize {
        self.near_rows
    }

    /// Writes `n` rows of a batch, which was checked and is on the device or on the CPU, from slot `start` on, and round the end.
    pub(super) fn write(&self, start: usize, batch: &[&Tensor], n: usize) -> Result<()> {
        if self.far.is_empty() && batch.iter().all(|tensor| tensor.device().same_device(&self.device)) {
            return write_rows(&refs(&self.near), start, batch);
        }
        let (mut slot, mut row) = (start, 0);
        while row < n {
            let near = slot < self.near_rows;
            let end = if near { self.near_rows } else { self.capacity };
            let rows = (n - row).min(end - slot);
            // Not a view: candle would move all that is behind it.
            let part = |tensor: &&Tensor| tensor.narrow(0, row, rows)?.force_contiguous();
            let part: Vec<Tensor> = batch.iter().map(part).collect::<Result<_, _>>()?;
            if near {
                write_rows(&refs(&self.near), slot, &refs(&moved(&part, &self.device)?))?;
            } else {
                let part = moved(&part, &Device::Cpu)?;
                write_rows(&refs(&self.far), slot - self.near_rows, &refs(&part))?;
            }
            row += rows;
            slot = (slot + rows) % self.capacity;
        }
        Ok(())
    }

    /// Copies of the rows in these slots, on the device; zeros for a slot that there is not.
    pub(super) fn gather(&self, slots: &Tensor) -> Result<Vec<Tensor>> {
        if self.far.is_empty() {
            return gather_rows(&refs(&self.near), slots);
        }
        let n = slots.elem_count() as u32;
        // Where each row is among those of the device, and behind them those of the host.
        let (mut places, mut far) = (Vec::new(), Vec::new());
        for (i, slot) in (0..n).zip(slots.to_vec1::<u32>()?) {
            let beyond = (slot as usize).checked_sub(self.near_rows).filter(|_| slot != NOTHING);
            places.push(match beyond {
                Some(_) => {
                    far.push(slot - self.near_rows as u32);
                    if self.near.is_empty() { far.len() as u32 - 1 } else { n + far.len() as u32 - 1 }
                }
                None if self.near.is_empty() => NOTHING,
                None => i,
            });
        }
        let here = |slots: Vec<u32>, device: &Device| Tensor::from_slice(&slots, slots.len(), device);
        let near = if self.near.is_empty() { Vec::new() } else { gather_rows(&refs(&self.near), slots)? };
        if far.is_empty() && !near.is_empty() {
            return Ok(near);
        }
        let far = moved(&gather_rows(&refs(&self.far), &here(far, &Device::Cpu)?)?, &self.device)?;
        let both = match near.is_empty() {
            true => far,
            false => {
                let both = near.iter().zip(&far).map(|(near, far)| Tensor::cat(&[near, far], 0));
                both.collect::<Result<_, _>>()?
            }
        };
        gather_rows(&refs(&both), &here(places, &self.device)?)
    }

    /// The first `n` slots of every field, as data.
    pub(super) fn data(&self, n: usize) -> Result<Vec<TensorData>> {
        let field = |i: usize| -> Result<TensorData> {
            let near = n.min(self.near_rows);
            let mut parts = Vec::new();
            for (tensors, rows) in [(&self.near, near), (&self.far, n - near)] {
                if let Some(tensor) = tensors.get(i) {
                    parts.push(tensor.narrow(0, 0, rows)?.force_contiguous()?.to_device(&Device::Cpu)?);
                }
            }
            TensorData::new(&Tensor::cat(&parts, 0)?)
        };
        (0..self.schema.fields().len()).map(field).collect()
    }
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

fn moved(tensors: &[Tensor], device: &Device) -> Result<Vec<Tensor>> {
    Ok(tensors.iter().map(|tensor| tensor.to_device(device)).collect::<Result<_, _>>()?)
}
