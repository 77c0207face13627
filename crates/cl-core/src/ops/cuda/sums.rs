//! Sums over the rows of a matrix, by the kernel of `linear`.

use candle_core::{CudaDevice, Result, Tensor, WithDType as _};

use super::{
    Element, Float, TICKETS, device_of, grid, launch, partials, scratch_pointer, tensor_pointer, tickets,
};
use crate::kernels::LINEAR;

/// Columns that a block takes: `COLUMNS` of the kernel.
const COLUMNS: usize = 32;
/// Rows that a block should have at least.
const ROWS: usize = 256;

/// What is summed, and where it goes. Pointers of 0 are left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnSums<T: Element> {
    /// The matrix (rows, columns).
    pub g: u64,
    /// Only elements count where this one, of the same shape, is above 0.
    pub y: u64,
    /// Takes the elements that count, zeros elsewhere; of the same shape.
    pub masked: u64,
    /// (columns) ← keep·out + scale·sum.
    pub out: u64,
    /// 0 where what is there is not to be read.
    pub keep: T::Real,
    /// See `out`.
    pub scale: T::Real,
}

/// Runs it; the sums are made in the same order on every machine, those of f16 and bf16 in f32.
pub(crate) fn column_sums<T: Element>(
    device: &CudaDevice,
    sums: ColumnSums<T>,
    rows: usize,
    columns: usize,
) -> Result<()> {
    if columns == 0 {
        return Ok(());
    }
    let across = columns.div_ceil(COLUMNS);
    let parts = if across > TICKETS { 1 } else { rows.div_ceil(ROWS).clamp(1, 64) };
    let partial = partials::<T::Real>(device, parts * columns)?;
    let ColumnSums { g, y, masked, out, keep, scale } = sums;
    launch!(
        device,
        LINEAR,
        T,
        "column_sums",
        grid(across, parts),
        g,
        y,
        masked,
        out,
        rows as u64,
        columns as u32,
        keep,
        scale,
        scratch_pointer(device, &partial),
        tickets(device)?,
    )
}

/// out (columns) ← out + scale · Σ of the rows (n, columns), in place.
pub(crate) fn add_sum_of_rows<T: Float + Element<Real = T>>(
    out: &Tensor,
    scale: T,
    rows: &Tensor,
) -> Result<()> {
    let (n, columns) = rows.dims2()?;
    let rows = rows.contiguous()?;
    let sums = ColumnSums::<T> {
        g: tensor_pointer::<T>(&rows)?,
        y: 0,
        masked: 0,
        out: tensor_pointer::<T>(out)?,
        keep: T::one(),
        scale,
    };
    column_sums(&device_of(out)?, sums, n, columns)
}

/// Σ of the rows (n, columns): (columns).
pub(crate) fn sum_of_rows<T: Element>(rows: &Tensor) -> Result<Tensor> {
    let (n, columns) = rows.dims2()?;
    let rows = rows.contiguous()?;
    // SAFETY: the kernel writes all of it; of no rows too.
    let out = unsafe { Tensor::empty(columns, rows.dtype(), rows.device())? };
    let sums = ColumnSums::<T> {
        g: tensor_pointer::<T>(&rows)?,
        y: 0,
        masked: 0,
        out: tensor_pointer::<T>(&out)?,
        keep: T::Real::from_f64(0.0),
        scale: T::Real::from_f64(1.0),
    };
    column_sums(&device_of(&out)?, sums, n, columns)?;
    Ok(out)
}
