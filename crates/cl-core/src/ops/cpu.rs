//! What the CPU loops of all operations share: typed slices, matrix products, wide instructions.

use std::borrow::Cow;

use candle_core::{CpuStorage, DType, Layout, Storage, Tensor, WithDType};
use half::slice::HalfFloatSliceExt as _;
use half::vec::HalfFloatVecExt as _;
use half::{bf16, f16};

use crate::{Error, Result};

/// The floating-point types that the operations are written for: f32 to train, f64 to check gradients.
pub(crate) trait Real: WithDType {
    fn exp(self) -> Self;
    /// eˣ in arithmetic that vectorizes: f32 within two units in the last place, 0 below −87; f64 as [`exp`](Self::exp).
    fn fast_exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    /// The elements of a storage of this type.
    fn elements(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! real {
    ($($t:ty: $variant:ident, $fast_exp:expr;)*) => {$(
        impl Real for $t {
            #[inline(always)]
            fn exp(self) -> Self { <$t>::exp(self) }
            #[inline(always)]
            fn fast_exp(self) -> Self { $fast_exp(self) }
            #[inline(always)]
            fn ln(self) -> Self { <$t>::ln(self) }
            #[inline(always)]
            fn sqrt(self) -> Self { <$t>::sqrt(self) }
            fn elements(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(elements) => Some(elements),
                    _ => None,
                }
            }
        }
    )*};
}
real!(f32: F32, exp_f32; f64: F64, f64::exp;);

/// The floating-point types that operands are stored in: those that are computed in, and the 16-bit ones, which become f32 to
/// be computed with. Of these each result is rounded once, to the nearest, ties to even: by a part of 2⁻¹¹ (f16, down to 2⁻¹⁴,
/// below which the steps are 2⁻²⁴ wide) or 2⁻⁸ (bf16) at most.
pub(crate) trait Stored: WithDType {
    /// What is computed in.
    type Real: Real;
    /// As numbers to compute with. Exact.
    fn widened(stored: &[Self]) -> Cow<'_, [Self::Real]>;
    /// What was computed, to be stored.
    fn rounded(computed: Vec<Self::Real>) -> Vec<Self>;
}

macro_rules! stored {
    ($($real:ident)* ; $($half:ident)*) => {
        $(impl Stored for $real {
            type Real = Self;
            fn widened(stored: &[Self]) -> Cow<'_, [Self]> { Cow::Borrowed(stored) }
            fn rounded(computed: Vec<Self>) -> Vec<Self> { computed }
        })*
        $(impl Stored for $half {
            type Real = f32;
            fn widened(stored: &[Self]) -> Cow<'_, [f32]> { Cow::Owned(stored.to_f32_vec()) }
            fn rounded(computed: Vec<f32>) -> Vec<Self> { Vec::from_f32_slice(&computed) }
        })*
    };
}
stored!(f32 f64; f16 bf16);

/// The dtype that tensors of this one are computed in.
pub(crate) fn computed_in(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// eˣ = 2ⁿ·eʳ with |r| ≤ ½ ln 2, and eʳ by the polynomial of Cephes' `expf` (S. L. Moshier). NaN stays NaN.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Added to a number of a few hundred at most, it leaves no bits behind the point: the sum is rounded to a whole number,
    // which then stands in its last bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    // ln 2 in two parts, of which the first has few bits: n times it is exact.
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let within = if x > 88.0 { 88.0 } else { x };
    let within = if within < -87.0 { -87.0 } else { within };
    let rounded = within * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = within - n * LN2[0] - n * LN2[1];
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 23));
    let power = if x < -87.0 { 0.0 } else { power };
    let power = if x > 88.0 { f32::INFINITY } else { power };
    if x.is_nan() { x } else { power }
}

/// So many zeros.
pub(crate) fn zeros<T: Real>(n: usize) -> Vec<T> {
    vec![T::zero(); n]
}

/// 1/(1 + e⁻ˣ), which vectorizes.
#[inline(always)]
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (T::zero() - x).fast_exp())
}

/// tanh x = 2σ(2x) − 1, which vectorizes: within 10⁻⁷ in f32.
#[inline(always)]
pub(crate) fn tanh<T: Real>(x: T) -> T {
    let s = sigmoid(x + x);
    s + s - T::one()
}

/// Runs `$body` with `$T` bound to the float type of `$storage`, or refuses the dtype.
macro_rules! for_float {
    ($name:expr, $storage:expr, $T:ident => $body:expr) => {
        match {
            #[allow(unused_imports)] // a tensor has `dtype` of its own, a storage through this trait
            use candle_core::backend::BackendStorage as _;
            $storage.dtype()
        } {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, $name).bt()),
        }
    };
}
pub(crate) use for_float;

/// [`for_float`] for operations that take the 16-bit floats too: `$T` is one of [`Stored`].
macro_rules! for_stored {
    ($name:expr, $storage:expr, $T:ident => $body:expr) => {
        match {
            #[allow(unused_imports)] // as above
            use candle_core::backend::BackendStorage as _;
            $storage.dtype()
        } {
            candle_core::DType::F16 => {
                type $T = half::f16;
                $body
            }
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            _ => $crate::ops::cpu::for_float!($name, $storage, $T => $body),
        }
    };
}
pub(crate) use for_stored;

/// The elements of a contiguous operand.
pub(crate) fn slice<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<T>()?[from..to]),
        None => candle_core::bail!("a contiguous operand is needed, call contiguous() first"),
    }
}

/// The elements of a contiguous destination.
pub(crate) fn slice_mut<'a, T: Real>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [T]> {
    match (layout.contiguous_offsets(), T::elements(storage)) {
        (Some((from, to)), Some(elements)) => Ok(&mut elements[from..to]),
        (None, _) => candle_core::bail!("an operation in place needs a contiguous destination"),
        (_, None) => candle_core::bail!("an operation in place needs operands of one dtype"),
    }
}

/// Calls `f` with the elements of a tensor on the CPU.
pub(crate) fn with_slice<T: WithDType, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[T]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => candle_core::bail!("this operation has no kernel for {:?} yet", tensor.device()),
    }
}

/// Refuses destinations that an operation in place cannot write to.
pub(crate) fn check_in_place(op: &'static str, destination: &Tensor, others: &[&Tensor]) -> Result<()> {
    if !destination.is_contiguous() {
        return Err(Error::invalid(op, "the destination must be contiguous"));
    }
    for other in others {
        same_shape(op, destination, other)?;
    }
    Ok(())
}

/// [`check_in_place`] for lists of tensors: as many of `others` as there are destinations.
pub(crate) fn check_lists(op: &'static str, destinations: &[&Tensor], others: &[&[&Tensor]]) -> Result<()> {
    if let Some((first, rest)) = destinations.split_first() {
        rest.iter().try_for_each(|destination| same_place(op, first, destination))?;
    }
    for other in others {
        if other.len() != destinations.len() {
            let tensors = |n: usize| format!("{n} tensors");
            return Err(Error::mismatch(op, tensors(destinations.len()), tensors(other.len())));
        }
        for (destination, other) in destinations.iter().zip(*other) {
            check_in_place(op, destination, &[other])?;
        }
    }
    Ok(())
}

/// The same tensors, contiguous.
#[cfg(feature = "cuda")]
pub(crate) fn contiguous(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    Ok(tensors.iter().map(|tensor| tensor.contiguous()).collect::<Result<_, _>>()?)
}

/// References to them, for an operation that takes those.
#[cfg(feature = "cuda")]
pub(crate) fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

/// Refuses operands on two devices.
pub(crate) fn same_place(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    let (one, other) = (a.device().location(), b.device().location());
    if one != other {
        let got = format!("one on {other:?}: move it with to_device()");
        return Err(Error::mismatch(op, format!("operands on one device, {one:?}"), got));
    }
    Ok(())
}

/// Refuses operands of different shape or dtype, or on two devices: a kernel follows pointers wherever they lead.
pub(crate) fn same_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    same_place(op, a, b)?;
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        let text = |t: &Tensor| format!("{:?} {:?}", t.dtype(), t.dims());
        return Err(Error::mismatch(op, text(a), text(b)));
    }
    Ok(())
}

/// Runs an element-wise loop with the widest instructions of this machine. Additions and products are
/// never contracted or reordered, so every machine gives the same bits.
#[inline(always)]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// A loop that is too long for the compiler to make it part of each instruction set's code of its own accord, as it does with the
/// closures of [`wide`]: [`run`](Self::run) is marked `#[inline(always)]`.
pub(crate) trait WideLoop {
    fn run(self);
}

/// [`wide`], for a long loop.
pub(crate) fn wide_loop(of: impl WideLoop) {
    struct Inlined<L>(L);
    impl<L: WideLoop> pulp::NullaryFnOnce for Inlined<L> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.0.run();
        }
    }
    pulp::Arch::new().dispatch(Inlined(of));
}

/// Σᵢ term(aᵢ, bᵢ, ..) over slices of one length: in f64 over blocks, in fixed lanes within a block, so
/// that it vectorizes and its value does not depend on the machine.
#[inline(always)]
pub(crate) fn sum<T: Real, const N: usize>(slices: [&[T]; N], term: impl Fn([T; N]) -> T) -> f64 {
    const LANES: usize = 32;
    const BLOCK: usize = 32 * LANES;
    let n = slices.first().map_or(0, |slice| slice.len());
    assert!(slices.iter().all(|slice| slice.len() == n), "slices of one length");
    let mut total = 0.0;
    for start in (0..n).step_by(BLOCK) {
        let block = slices.map(|slice| &slice[start..(start + BLOCK).min(n)]);
        let len = block[0].len();
        let mut lanes = [T::zero(); LANES];
        for i in (0..len - len % LANES).step_by(LANES) {
            // Arrays of a known length: no bounds are checked within, so this becomes wide instructions.
            let rows = block.map(|slice| slice[i..].first_chunk::<LANES>().expect("LANES are left"));
            for (lane, sum) in lanes.iter_mut().enumerate() {
                *sum += term(rows.map(|row| row[lane]));
            }
        }
        for (lane, i) in (len - len % LANES..len).enumerate() {
            lanes[lane] += term(block.map(|slice| slice[i]));
        }
        total += lanes.iter().map(|lane| lane.to_f64()).sum::<f64>();
    }
    total
}

/// Numbers that are added side by side in the loops below, so that they vectorize; their order is fixed, and so is the result.
pub(crate) const SIDE_BY_SIDE: usize = 16;

/// Σ aᵢbᵢ, for short rows.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let (chunks, rest) = a.as_chunks::<SIDE_BY_SIDE>();
    let (others, others_rest) = b.as_chunks::<SIDE_BY_SIDE>();
    let mut lanes = [T::zero(); SIDE_BY_SIDE];
    for (a, b) in chunks.iter().zip(others) {
        for lane in 0..SIDE_BY_SIDE {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let mut sum = folded(lanes);
    for (&a, &b) in rest.iter().zip(others_rest) {
        sum += a * b;
    }
    sum
}

/// Σ aᵢ, for short rows.
#[inline(always)]
pub(crate) fn total<T: Real>(a: &[T]) -> T {
    let (chunks, rest) = a.as_chunks::<SIDE_BY_SIDE>();
    let mut lanes = [T::zero(); SIDE_BY_SIDE];
    for a in chunks {
        for lane in 0..SIDE_BY_SIDE {
            lanes[lane] += a[lane];
        }
    }
    rest.iter().fold(folded(lanes), |sum, &a| sum + a)
}

#[inline(always)]
fn folded<T: Real>(lanes: [T; SIDE_BY_SIDE]) -> T {
    lanes.iter().fold(T::zero(), |sum, &lane| sum + lane)
}

/// y ← y + a·x.
#[inline(always)]
pub(crate) fn axpy<T: Real>(y: &mut [T], a: T, x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += a * x);
}

/// A matrix in memory, any strides: `rows` × `cols`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// A row-major matrix.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
        Self { data, rows, cols, row_stride: cols as isize, col_stride: 1 }
    }

    /// Its transpose; nothing moves.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// The product a·b, row-major.
pub(crate) fn matmul<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>) -> Vec<T> {
    let n = a.rows * b.cols;
    if a.cols == 0 || n == 0 {
        return vec![T::zero(); n];
    }
    let mut out = Vec::with_capacity(n);
    // SAFETY: `product` writes each of the n elements, which lie within the capacity, and reads none.
    // Zeroing them first was a tenth of a small training step.
    unsafe {
        product(out.as_mut_ptr(), false, T::one(), a, b);
        out.set_len(n);
    }
    out
}

/// out ← scale·a·b, row-major.
pub(crate) fn matmul_into<T: Real>(out: &mut [T], scale: T, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    assert_eq!(out.len(), a.rows * b.cols, "the room of a matrix product");
    match a.cols {
        0 => out.fill(T::zero()),
        _ if out.is_empty() => {}
        // SAFETY: `out` holds rows × cols initialised elements.
        _ => unsafe { product(out.as_mut_ptr(), false, scale, a, b) },
    }
}

/// out ← out + a·b, row-major.
pub(crate) fn matmul_add<T: Real>(out: &mut [T], a: Matrix<'_, T>, b: Matrix<'_, T>) {
    matmul_add_scaled(out, T::one(), a, b);
}

/// out ← out + scale·a·b, row-major.
pub(crate) fn matmul_add_scaled<T: Real>(out: &mut [T], scale: T, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    assert_eq!(out.len(), a.rows * b.cols, "the sum of a matrix product");
    if a.cols > 0 && !out.is_empty() {
        // SAFETY: `out` holds rows × cols initialised elements.
        unsafe { product(out.as_mut_ptr(), true, scale, a, b) }
    }
}

/// # Safety
/// `out` is valid for writes of `a.rows * b.cols` elements, and for reads if `add`.
unsafe fn product<T: Real>(out: *mut T, add: bool, scale: T, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    assert_eq!(a.cols, b.rows, "a matrix product");
    let threads = candle_core::utils::get_num_threads();
    // Below this many multiplications a second thread costs more than it brings.
    let parallelism = if threads > 1 && a.rows * a.cols * b.cols >= 1 << 24 {
        gemm::Parallelism::Rayon(threads)
    } else {
        gemm::Parallelism::None
    };
    // SAFETY: `Matrix` is only made from slices of rows × cols elements, transposed at most, so every
    // element addressed lies in them; `out` by the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            b.cols as isize,
            add,
            a.data.as_ptr(),
            a.col_stride,
            a.row_stride,
            b.data.as_ptr(),
            b.col_stride,
            b.row_stride,
            T::one(),
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::Real;

    /// Against f64, over all that is neither 0 nor infinite, and at the ends.
    #[test]
    fn the_fast_exponential_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in 0..=2_000_000 {
            let x = -87.0 + 175.0 * step as f32 / 2_000_000.0;
            let exact = f64::from(x).exp();
            // The distance between neighbouring numbers at the exact value.
            let unit = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            worst = worst.max((f64::from(x.fast_exp()) - exact).abs() / unit);
        }
        assert!(worst <= 2.0, "{worst} units");
        assert_eq!([0f32, -87.01, -1e30, f32::NEG_INFINITY].map(Real::fast_exp), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!([88.01f32, f32::INFINITY].map(Real::fast_exp), [f32::INFINITY; 2]);
        assert!(f32::NAN.fast_exp().is_nan());
    }
}
