//! The kernels of the ring, and the tables of what they copy.

use std::collections::BTreeMap;

use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaDevice, Tensor};

use crate::kernels::RING;
use crate::ops::cuda::{
    THREADS, blocks, device_of, grid, launch_plain, scratch_pointer, tensor_pointer, with_storage,
};
use crate::{Error, Result};

/// Tensors of one launch: `FIELDS` of the kernel.
const FIELDS: usize = 32;

/// As the kernels have it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Fields {
    from: [u64; FIELDS],
    to: [u64; FIELDS],
    units: [u64; FIELDS],
    width: [u32; FIELDS],
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Fields {}

/// Calls `launch` for every [`FIELDS`] pairs of tensors (from, to) with rows of equal bytes: the table, how many there are, and
/// the most units that `n` rows of one have.
fn each(
    pairs: &[(&Tensor, &Tensor)],
    n: usize,
    mut launch: impl FnMut(Fields, usize, usize) -> Result<()>,
) -> Result<()> {
    let full: Vec<_> = pairs.iter().filter(|(_, to)| to.elem_count() > 0).collect();
    for part in full.chunks(FIELDS) {
        let mut fields =
            Fields { from: [0; FIELDS], to: [0; FIELDS], units: [0; FIELDS], width: [0; FIELDS] };
        let mut most = 0;
        for (at, (from, to)) in part.iter().enumerate() {
            let (from_at, to_at) = (address(from)?, address(to)?);
            let bytes = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
            if from_at < to_at + bytes(to) && to_at < from_at + bytes(from) {
                let why = "the rows are a part of what they are written to: copy() them first";
                return Err(Error::invalid("rows", why));
            }
            let row = to.dims()[1..].iter().product::<usize>() * to.dtype().size_in_bytes();
            // The largest power of two, up to 16, that divides all three.
            let width = 1 << (from_at | to_at | row as u64 | 16).trailing_zeros();
            (fields.from[at], fields.to[at]) = (from_at, to_at);
            (fields.units[at], fields.width[at]) = ((row / width) as u64, width as u32);
            most = most.max(n * (row / width));
        }
        launch(fields, part.len(), most)?;
    }
    Ok(())
}

/// Where the elements of a contiguous tensor begin, whatever they are.
fn address(tensor: &Tensor) -> Result<u64> {
    let address = with_storage(tensor, |storage, layout| {
        let size = layout.start_offset() * tensor.dtype().size_in_bytes();
        let device = &storage.device;
        macro_rules! start {
            ($($variant:ident),*) => {
                match &storage.slice {
                    $(CudaStorageSlice::$variant(slice) => Some(scratch_pointer(device, slice)),)*
                    _ => None,
                }
            };
        }
        let start = start!(U8, U32, I16, I32, I64, BF16, F16, F32, F64, F8E4M3);
        Ok(start.map(|start| start + size as u64))
    })?;
    address.ok_or_else(|| {
        let why = format!("{} is less than a byte an element: it cannot be kept", tensor.dtype().as_str());
        Error::invalid("dtype", why)
    })
}

pub(super) fn write_rows(
    stores: &[&Tensor],
    start: usize,
    batch: &[Tensor],
    n: usize,
    capacity: usize,
) -> Result<()> {
    let device = device_of(stores[0])?;
    let pairs: Vec<_> = batch.iter().zip(stores.iter().copied()).collect();
    each(&pairs, n, |fields, count, most| {
        Ok(launch_plain!(
            &device,
            RING,
            "ring_write",
            grid(blocks(most, THREADS), count),
            fields,
            n as u64,
            start as u64,
            capacity as u64,
        )?)
    })
}

pub(super) fn place_rows(stores: &[&Tensor], places: &BTreeMap<u32, u32>, batch: &[Tensor]) -> Result<()> {
    let (device, n) = (device_of(stores[0])?, places.len());
    // Slots, then rows: one copy to the device.
    let all: Vec<u32> = places.keys().chain(places.values()).copied().collect();
    let all = device.clone_htod(&all)?;
    let at = scratch_pointer(&device, &all);
    let pairs: Vec<_> = batch.iter().zip(stores.iter().copied()).collect();
    each(&pairs, n, |fields, count, most| {
        Ok(launch_plain!(
            &device,
            RING,
            "ring_place",
            grid(blocks(most, THREADS), count),
            fields,
            at,
            n as u64
        )?)
    })
}

pub(super) fn gather_rows(stores: &[&Tensor], indices: &Tensor, capacity: usize) -> Result<Vec<Tensor>> {
    let (device, n): (CudaDevice, usize) = (device_of(stores[0])?, indices.elem_count());
    let room = |store: &&Tensor| {
        let shape = [&[n], &store.dims()[1..]].concat();
        // SAFETY: the kernel writes all of it.
        unsafe { Tensor::empty(shape, store.dtype(), store.device()) }
    };
    let rows: Vec<Tensor> = stores.iter().map(room).collect::<Result<_, _>>()?;
    let pairs: Vec<_> = stores.iter().copied().zip(&rows).collect();
    each(&pairs, n, |fields, count, most| {
        Ok(launch_plain!(
            &device,
            RING,
            "ring_gather",
            grid(blocks(most, THREADS), count),
            fields,
            tensor_pointer::<u32>(indices)?,
            n as u64,
            capacity as u64,
        )?)
    })?;
    Ok(rows)
}
