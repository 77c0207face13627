//! The products of cuBLAS that candle calls, column by column, summed in order of k.

use std::ffi::{c_int, c_longlong, c_uint, c_void};

use crate::driver::{emulator, give, handle};
use crate::execute::float::{Bf16, F16, Half};
use crate::fault::{Fault, Kind, Result};
use crate::launch::Emulator;

/// The types of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    F16,
    Bf16,
    F32,
    F64,
}

impl Type {
    /// By `cudaDataType`.
    fn of(code: c_uint) -> Result<Self> {
        Ok(match code {
            0 => Self::F32,
            1 => Self::F64,
            2 => Self::F16,
            14 => Self::Bf16,
            _ => return Err(Fault::new(Kind::NotSupported, format!("elements of cudaDataType {code}"))),
        })
    }

    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// What sums are made in.
trait Sum:
    Copy + Default + std::ops::Mul<Output = Self> + std::ops::AddAssign + std::ops::Add<Output = Self> + PartialEq
{
    fn read(bytes: &[u8], of: Type) -> Self;
    fn write(self, bytes: &mut [u8], of: Type);
}

fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

impl Sum for f32 {
    #[inline(always)]
    fn read(bytes: &[u8], of: Type) -> Self {
        match of {
            Type::F16 => F16(u16::from_le_bytes(word(bytes))).wide(),
            Type::Bf16 => Bf16(u16::from_le_bytes(word(bytes))).wide(),
            Type::F32 => f32::from_le_bytes(word(bytes)),
            Type::F64 => f64::from_le_bytes(word(bytes)) as f32,
        }
    }
    #[inline(always)]
    fn write(self, bytes: &mut [u8], of: Type) {
        match of {
            Type::F16 => bytes.copy_from_slice(&F16::nearest(f64::from(self)).0.to_le_bytes()),
            Type::Bf16 => bytes.copy_from_slice(&Bf16::nearest(f64::from(self)).0.to_le_bytes()),
            Type::F32 => bytes.copy_from_slice(&self.to_le_bytes()),
            Type::F64 => bytes.copy_from_slice(&f64::from(self).to_le_bytes()),
        }
    }
}

impl Sum for f64 {
    #[inline(always)]
    fn read(bytes: &[u8], of: Type) -> Self {
        if of == Type::F64 { f64::from_le_bytes(word(bytes)) } else { f64::from(f32::read(bytes, of)) }
    }
    #[inline(always)]
    fn write(self, bytes: &mut [u8], of: Type) {
        if of == Type::F64 {
            bytes.copy_from_slice(&self.to_le_bytes());
        } else {
            (self as f32).write(bytes, of);
        }
    }
}

/// A matrix in column order: address, distance of columns, of matrices of a batch, whether it is transposed.
#[derive(Debug, Clone, Copy)]
struct Matrix {
    at: u64,
    of: Type,
    leading: usize,
    stride: i64,
    transposed: bool,
}

impl Matrix {
    /// Where its `batch`-th matrix begins.
    fn begin(&self, batch: usize) -> u64 {
        self.at.wrapping_add_signed(self.stride * batch as i64 * self.of.size() as i64)
    }

    /// Its elements in column order, without gaps.
    fn packed<S: Sum>(
        &self,
        emulator: &Emulator,
        batch: usize,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<S>> {
        let (stored_rows, stored_columns) = if self.transposed { (columns, rows) } else { (rows, columns) };
        let size = self.of.size();
        if self.leading < stored_rows {
            return Err(Fault::new(
                Kind::InvalidValue,
                format!("columns {} apart of {stored_rows} rows", self.leading),
            ));
        }
        let span = (self.leading * (stored_columns - 1) + stored_rows) * size;
        let bytes = emulator.read(self.begin(batch), span)?;
        let element = |row: usize, column: usize| {
            let at = (column * self.leading + row) * size;
            S::read(&bytes[at..at + size], self.of)
        };
        let mut packed = Vec::with_capacity(rows * columns);
        for column in 0..columns {
            for row in 0..rows {
                packed.push(if self.transposed { element(column, row) } else { element(row, column) });
            }
        }
        Ok(packed)
    }
}

/// C += A B, all in column order, four columns at a time. As plain multiplications and sums, so that every processor gives
/// the same bits.
#[inline(always)]
fn accumulate<S: Sum>(c: &mut [S], a: &[S], b: &[S], m: usize, k: usize) {
    for (c, b) in c.chunks_mut(4 * m).zip(b.chunks(4 * k)) {
        if c.len() == 4 * m {
            let (c0, rest) = c.split_at_mut(m);
            let (c1, rest) = rest.split_at_mut(m);
            let (c2, c3) = rest.split_at_mut(m);
            for (l, a) in a.chunks_exact(m).enumerate() {
                let [b0, b1, b2, b3] = [b[l], b[k + l], b[2 * k + l], b[3 * k + l]];
                for i in 0..m {
                    c0[i] += a[i] * b0;
                    c1[i] += a[i] * b1;
                    c2[i] += a[i] * b2;
                    c3[i] += a[i] * b3;
                }
            }
        } else {
            for (c, b) in c.chunks_mut(m).zip(b.chunks(k)) {
                for (a, &b) in a.chunks_exact(m).zip(b) {
                    for (c, &a) in c.iter_mut().zip(a) {
                        *c += a * b;
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn accumulate_wide<S: Sum>(c: &mut [S], a: &[S], b: &[S], m: usize, k: usize) {
    accumulate(c, a, b, m, k);
}

/// C = α A B + β C for each of a batch.
fn product<S: Sum>(
    emulator: &mut Emulator,
    [m, n, k]: [usize; 3],
    batch: usize,
    (alpha, beta): (S, S),
    [a, b, c]: [Matrix; 3],
) -> Result<()> {
    emulator.record.add(|| format!("gemm {m} {n} {k} {batch} {}", a.of.name()));
    if m == 0 || n == 0 {
        return Ok(());
    }
    for index in 0..batch {
        let mut sums = vec![S::default(); m * n];
        if k > 0 {
            let left: Vec<S> = a.packed(emulator, index, m, k)?;
            let right: Vec<S> = b.packed(emulator, index, k, n)?;
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has what it is compiled for.
                unsafe { accumulate_wide(&mut sums, &left, &right, m, k) };
            } else {
                accumulate(&mut sums, &left, &right, m, k);
            }
            #[cfg(not(target_arch = "x86_64"))]
            accumulate(&mut sums, &left, &right, m, k);
        }
        let size = c.of.size();
        if c.leading < m {
            return Err(Fault::new(Kind::InvalidValue, format!("columns {} apart of {m} rows", c.leading)));
        }
        for (column, sums) in sums.chunks(m).enumerate() {
            let at = c.begin(index) + (column * c.leading * size) as u64;
            if beta != S::default() {
                emulator.read(at, m * size)?;
            }
            let bytes = emulator.write(at, m * size)?;
            for (&sum, bytes) in sums.iter().zip(bytes.chunks_mut(size)) {
                let scaled = alpha * sum;
                let value = if beta == S::default() { scaled } else { scaled + beta * S::read(bytes, c.of) };
                value.write(bytes, c.of);
            }
        }
    }
    Ok(())
}

fn answer(result: Result<()>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(fault) => {
            eprintln!("cuda-emulator: a product of cuBLAS: {fault}");
            match fault.kind {
                Kind::InvalidValue => 7,
                Kind::NotSupported => 15,
                _ => 13,
            }
        }
    }
}

fn scale<T: Copy>(pointer: *const T) -> Result<T> {
    if pointer.is_null() {
        return Err(Fault::new(Kind::InvalidValue, "a null pointer for a factor"));
    }
    // SAFETY: by cuBLAS's contract it points to a factor of this type; factors lie on the host, as nothing here lets the caller
    // choose the device.
    Ok(unsafe { pointer.read_unaligned() })
}

#[unsafe(no_mangle)]
extern "C" fn cublasCreate_v2(to: *mut *mut c_void) -> u32 {
    answer(give(to, handle(0x10)))
}

#[unsafe(no_mangle)]
extern "C" fn cublasDestroy_v2(_handle: *mut c_void) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetStream_v2(_handle: *mut c_void, _stream: *mut c_void) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetMathMode(_handle: *mut c_void, _mode: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetWorkspace_v2(_handle: *mut c_void, _workspace: u64, _bytes: usize) -> u32 {
    0
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
extern "C" fn cublasGemmStridedBatchedEx(
    _handle: *mut c_void,
    a_op: c_uint,
    b_op: c_uint,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    a_type: c_uint,
    lda: c_int,
    a_stride: c_longlong,
    b: u64,
    b_type: c_uint,
    ldb: c_int,
    b_stride: c_longlong,
    beta: *const c_void,
    c: u64,
    c_type: c_uint,
    ldc: c_int,
    c_stride: c_longlong,
    batch: c_int,
    compute: c_uint,
    _algorithm: c_int,
) -> u32 {
    let run = || {
        let sizes = [m, n, k].map(|size| size.max(0) as usize);
        let matrix = |at, of, leading: c_int, stride, op| -> Result<Matrix> {
            Ok(Matrix {
                at,
                of: Type::of(of)?,
                leading: leading.max(0) as usize,
                stride,
                transposed: op != 0,
            })
        };
        let matrices = [
            matrix(a, a_type, lda, a_stride, a_op)?,
            matrix(b, b_type, ldb, b_stride, b_op)?,
            matrix(c, c_type, ldc, c_stride, 0)?,
        ];
        let (batch, mut emulator) = (batch.max(0) as usize, emulator());
        match compute {
            // Factors are f16; the sums are made in f32.
            64 | 65 => {
                let of = |pointer: *const c_void| scale(pointer.cast::<u16>()).map(|bits| F16(bits).wide());
                product(&mut emulator, sizes, batch, (of(alpha)?, of(beta)?), matrices)
            }
            68 | 69 | 74 | 75 | 77 | 78 => {
                let of = |pointer: *const c_void| scale(pointer.cast::<f32>());
                product(&mut emulator, sizes, batch, (of(alpha)?, of(beta)?), matrices)
            }
            70 | 71 | 79 => {
                let of = |pointer: *const c_void| scale(pointer.cast::<f64>());
                product(&mut emulator, sizes, batch, (of(alpha)?, of(beta)?), matrices)
            }
            _ => Err(Fault::new(Kind::NotSupported, format!("cublasComputeType {compute}"))),
        }
    };
    answer(run())
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
extern "C" fn cublasGemmEx(
    handle: *mut c_void,
    a_op: c_uint,
    b_op: c_uint,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    a_type: c_uint,
    lda: c_int,
    b: u64,
    b_type: c_uint,
    ldb: c_int,
    beta: *const c_void,
    c: u64,
    c_type: c_uint,
    ldc: c_int,
    compute: c_uint,
    algorithm: c_int,
) -> u32 {
    cublasGemmStridedBatchedEx(
        handle, a_op, b_op, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0, 1,
        compute, algorithm,
    )
}

/// The functions of one type: plain, and of a batch.
macro_rules! typed {
    ($plain:ident, $batched:ident, $T:ty, $type:literal, $compute:literal) => {
        #[unsafe(no_mangle)]
        #[allow(clippy::too_many_arguments)]
        extern "C" fn $plain(
            handle: *mut c_void,
            a_op: c_uint,
            b_op: c_uint,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $T,
            a: u64,
            lda: c_int,
            b: u64,
            ldb: c_int,
            beta: *const $T,
            c: u64,
            ldc: c_int,
        ) -> u32 {
            $batched(handle, a_op, b_op, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1)
        }

        #[unsafe(no_mangle)]
        #[allow(clippy::too_many_arguments)]
        extern "C" fn $batched(
            handle: *mut c_void,
            a_op: c_uint,
            b_op: c_uint,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $T,
            a: u64,
            lda: c_int,
            a_stride: c_longlong,
            b: u64,
            ldb: c_int,
            b_stride: c_longlong,
            beta: *const $T,
            c: u64,
            ldc: c_int,
            c_stride: c_longlong,
            batch: c_int,
        ) -> u32 {
            cublasGemmStridedBatchedEx(
                handle,
                a_op,
                b_op,
                m,
                n,
                k,
                alpha.cast(),
                a,
                $type,
                lda,
                a_stride,
                b,
                $type,
                ldb,
                b_stride,
                beta.cast(),
                c,
                $type,
                ldc,
                c_stride,
                batch,
                $compute,
                -1,
            )
        }
    };
}
typed!(cublasSgemm_v2, cublasSgemmStridedBatched, f32, 0, 68);
typed!(cublasDgemm_v2, cublasDgemmStridedBatched, f64, 1, 70);
