//! Rows of several tensors at once: written in place, round a ring or one by one, and gathered, in one launch for all of them.
//!
//! | operand | shape | |
//! |---|---|---|
//! | stores | (capacity, row...) each | any dtype, contiguous; changed in place by [`write_rows`] and [`place_rows`] |
//! | batch | (n, row...) each | row shapes, dtypes and device as the stores |
//! | indices | (n) | u32 |
//!
//! Rows are bits here: they come out as they went in, NaNs too. Neither operation is recorded in the graph.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{DType, Tensor};

use super::cpu::with_slice;
use crate::{Error, Result};

/// Writes the rows of a batch into the stores from row `start` on, and round their end to the first.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_core::ring::{gather_rows, write_rows};
///
/// # fn main() -> cl_core::Result<()> {
/// let store = Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu)?;
/// let batch = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// write_rows(&[&store], 2, &[&batch])?;
/// let indices = Tensor::new(&[2u32, 0, 1], &Device::Cpu)?;
/// let rows = gather_rows(&[&store], &indices)?.remove(0);
/// assert_eq!(rows.to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Mismatch`] where a batch is not of its store, or the numbers of rows differ; [`Error::Invalid`] where the stores have
/// no row `start`, less than n rows, or are not contiguous. Nothing is written then.
pub fn write_rows(stores: &[&Tensor], start: usize, batch: &[&Tensor]) -> Result<()> {
    let (n, capacity) = fitted("write_rows", stores, batch)?;
    if n == 0 {
        return Ok(());
    }
    if start >= capacity || n > capacity {
        let why = format!("{n} rows from row {start} on do not go into {capacity} rows");
        return Err(Error::invalid("write_rows", why));
    }
    let batch: Vec<Tensor> = batch.iter().map(|new| new.contiguous()).collect::<Result<_, _>>()?;
    #[cfg(feature = "cuda")]
    if stores[0].device().is_cuda() {
        return cuda::write_rows(stores, start, &batch, n, capacity);
    }
    let first = n.min(capacity - start);
    for (store, new) in stores.iter().zip(&batch).filter(|(store, _)| store.elem_count() > 0) {
        store.slice_set(&new.narrow(0, 0, first)?, 0, start)?;
        if first < n {
            store.slice_set(&new.narrow(0, first, n - first)?, 0, 0)?;
        }
    }
    Ok(())
}

/// Writes rows of a batch into the stores, one by one: of each pair (slot, row) that row of the batch goes to that row of the
/// stores. Of several for one slot the last stays.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_core::ring::place_rows;
///
/// # fn main() -> cl_core::Result<()> {
/// let store = Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu)?;
/// let batch = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// place_rows(&[&store], &[(2, 0), (0, 1)], &[&batch])?;
/// assert_eq!(store.to_vec2::<f32>()?, [[3.0, 4.0], [0.0, 0.0], [1.0, 2.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Mismatch`] where a batch is not of its store, or the numbers of rows differ; [`Error::Invalid`] where the stores have
/// no such slot, the batch no such row, or the stores are not contiguous. Nothing is written then.
pub fn place_rows(stores: &[&Tensor], places: &[(u32, u32)], batch: &[&Tensor]) -> Result<()> {
    let (n, capacity) = fitted("place_rows", stores, batch)?;
    let there = |&&(slot, row): &&(u32, u32)| slot as usize >= capacity || row as usize >= n;
    if let Some((slot, row)) = places.iter().find(there) {
        let why = format!("row {row} of {n} cannot go to slot {slot} of {capacity}");
        return Err(Error::invalid("place_rows", why));
    }
    // A GPU writes all at once: of several for one slot only the last may be among them.
    let mut last = std::collections::BTreeMap::new();
    last.extend(places.iter().copied());
    if last.is_empty() {
        return Ok(());
    }
    let batch: Vec<Tensor> = batch.iter().map(|new| new.contiguous()).collect::<Result<_, _>>()?;
    #[cfg(feature = "cuda")]
    if stores[0].device().is_cuda() {
        return cuda::place_rows(stores, &last, &batch);
    }
    for (store, new) in stores.iter().zip(&batch).filter(|(store, _)| store.elem_count() > 0) {
        for (&slot, &row) in &last {
            store.slice_set(&new.narrow(0, row as usize, 1)?, 0, slot as usize)?;
        }
    }
    Ok(())
}

/// Copies of the rows of the stores at `indices` (n): (n, row...) each. An index that there is not gives a row of zeros, since a
/// GPU is not waited for.
///
/// # Errors
/// [`Error::Mismatch`] where the indices are no vector of u32 on the device of the stores, or the stores differ in their number
/// of rows or their device; [`Error::Invalid`] where they are not contiguous.
pub fn gather_rows(stores: &[&Tensor], indices: &Tensor) -> Result<Vec<Tensor>> {
    let capacity = capacity("gather_rows", stores)?;
    let device = stores[0].device();
    if indices.rank() != 1 || indices.dtype() != DType::U32 || !indices.device().same_device(device) {
        let expected = format!("indices u32 (n) on {:?}", device.location());
        return Err(Error::mismatch("gather_rows", expected, describe(indices, indices.dims())));
    }
    if stores.iter().any(|store| !store.is_contiguous()) {
        return Err(Error::invalid("gather_rows", "the stores must be contiguous"));
    }
    let indices = indices.contiguous()?;
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return cuda::gather_rows(stores, &indices, capacity);
    }
    let inside = |&index: &u32| if (index as usize) < capacity { index } else { u32::MAX };
    let indices: Vec<u32> = with_slice(&indices, |indices: &[u32]| Ok(indices.iter().map(inside).collect()))?;
    let n = indices.len();
    // candle too has zeros for this index.
    let indices = Tensor::from_vec(indices, n, device)?;
    let gather = |store: &&Tensor| -> Result<Tensor> {
        if n == 0 || store.elem_count() == 0 {
            let shape = [&[n], &store.dims()[1..]].concat();
            return Ok(Tensor::zeros(shape, store.dtype(), device)?);
        }
        Ok(store.detach().index_select(&indices, 0)?)
    };
    stores.iter().map(gather).collect()
}

/// How many rows a batch has, if it is one for these stores, and how many they have.
fn fitted(op: &'static str, stores: &[&Tensor], batch: &[&Tensor]) -> Result<(usize, usize)> {
    let capacity = capacity(op, stores)?;
    if batch.len() != stores.len() {
        let tensors = |n: usize| format!("{n} tensors");
        return Err(Error::mismatch(op, tensors(stores.len()), tensors(batch.len())));
    }
    let n = batch[0].dims().first().copied().unwrap_or(0);
    for (store, new) in stores.iter().zip(batch) {
        let fits = new.dims().split_first() == Some((&n, &store.dims()[1..]));
        if !fits || new.dtype() != store.dtype() || !new.device().same_device(store.device()) {
            let expected = [&[n], &store.dims()[1..]].concat();
            return Err(Error::mismatch(op, describe(store, &expected), describe(new, new.dims())));
        }
        if !store.is_contiguous() {
            return Err(Error::invalid(op, "the stores must be contiguous"));
        }
    }
    Ok((n, capacity))
}

/// The number of rows that all stores have.
fn capacity(op: &'static str, stores: &[&Tensor]) -> Result<usize> {
    let Some(&first) = stores.first() else { return Err(Error::invalid(op, "there is no store")) };
    let rows = first.dims().first();
    for store in stores {
        let same = store.dims().first() == rows && store.device().same_device(first.device());
        if !same || store.rank() == 0 {
            let expected = format!("stores (rows, ...) as {}", describe(first, first.dims()));
            return Err(Error::mismatch(op, expected, describe(store, store.dims())));
        }
    }
    Ok(first.dims()[0])
}

fn describe(tensor: &Tensor, dims: &[usize]) -> String {
    format!("{} {dims:?} on {:?}", tensor.dtype().as_str(), tensor.device().location())
}
