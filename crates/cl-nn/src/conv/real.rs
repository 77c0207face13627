//! What the loops need of f32 and f64, and of candle's storages.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, WithDType};
use gemm::Parallelism;

/// An element type: f32 or f64.
pub(super) trait Real: WithDType {
    fn is_nan(self) -> bool;
    fn neg_infinity() -> Self;
}

impl Real for f32 {
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn neg_infinity() -> Self {
        Self::NEG_INFINITY
    }
}

impl Real for f64 {
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn neg_infinity() -> Self {
        Self::NEG_INFINITY
    }
}

/// The elements of a contiguous operand of a custom operation.
pub(super) fn elements<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("a contiguous operand was expected, got {layout:?}")
    };
    Ok(&T::cpu_storage_as_slice(storage)?[from..to])
}

/// Calls `f` with the elements of a contiguous tensor on the CPU.
pub(super) fn with_elements<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(elements(storage, layout)?),
        _ => candle_core::bail!("a tensor on the CPU was expected"),
    }
}

/// A contiguous tensor on the CPU.
pub(super) fn tensor<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// A matrix within a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// `rows` × `cols`, row after row.
    pub(super) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} matrix");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose; nothing is moved.
    pub(super) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `dst = lhs · rhs`, or `dst += lhs · rhs`; `dst` row after row. One thread: the callers divide their
/// work by images.
pub(super) fn product<T: Real>(dst: &mut [T], lhs: Matrix<'_, T>, rhs: Matrix<'_, T>, add: bool) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert_eq!(k, rhs.rows, "inner sizes");
    assert_eq!(dst.len(), m * n, "size of the product");
    if dst.is_empty() {
        return;
    }
    // SAFETY: every index that the strides reach lies within the three slices, as `Matrix::new` and
    // the assertions above check; `dst` is borrowed mutably and so aliases neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
            add,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
