//! The functions of CUDA as a program calls them: driver, products, random numbers, and the record of what was asked for.
#![allow(clippy::unwrap_used)]

use std::ffi::{CStr, c_char, c_int, c_longlong, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;

use cuda_emulator as _;

type Handle = *mut c_void;

unsafe extern "C" {
    fn cuInit(flags: c_uint) -> u32;
    fn cuDeviceGetCount(count: *mut c_int) -> u32;
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> u32;
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) -> u32;
    fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: Handle) -> u32;
    fn cuMemFreeAsync(address: u64, stream: Handle) -> u32;
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) -> u32;
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) -> u32;
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> u32;
    fn cuMemsetD8Async(at: u64, value: u8, count: usize, stream: Handle) -> u32;
    fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> u32;
    fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> u32;
    fn cuLaunchKernel(
        function: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared: c_uint,
        stream: Handle,
        arguments: *const *const c_void,
        extra: *const *const c_void,
    ) -> u32;
    fn cuGetErrorName(code: u32, text: *mut *const c_char) -> u32;
    fn cublasGemmStridedBatchedEx(
        handle: Handle,
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
        algorithm: c_int,
    ) -> u32;
    fn curandCreateGenerator(generator: *mut Handle, kind: c_uint) -> u32;
    fn curandSetPseudoRandomGeneratorSeed(generator: Handle, seed: u64) -> u32;
    fn curandGenerateUniform(generator: Handle, at: u64, count: usize) -> u32;
    fn curandGenerateNormalDouble(generator: Handle, at: u64, count: usize, mean: f64, std: f64) -> u32;
    fn engram_emulator_record_start();
    fn engram_emulator_record_take(buffer: *mut c_char, length: usize) -> usize;
}

/// A call that must succeed.
macro_rules! cuda {
    ($call:expr) => {{
        // SAFETY: the arguments are as CUDA's documentation asks for them.
        let code = unsafe { $call };
        assert_eq!(code, 0, stringify!($call));
    }};
}

/// The device is one for all tests, and so is its record.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn upload<T: Copy>(values: &[T]) -> u64 {
    let (mut address, bytes) = (0, size_of_val(values));
    cuda!(cuMemAllocAsync(&mut address, bytes, null_mut()));
    cuda!(cuMemcpyHtoDAsync_v2(address, values.as_ptr().cast(), bytes, null_mut()));
    address
}

fn download<T: Copy + Default>(address: u64, count: usize) -> Vec<T> {
    let mut values = vec![T::default(); count];
    cuda!(cuMemcpyDtoHAsync_v2(values.as_mut_ptr().cast(), address, size_of_val(&values[..]), null_mut()));
    values
}

const SCALE: &CStr = c".version 9.0
.target sm_90
.address_size 64
.visible .entry scale(.param .u64 x, .param .f32 by, .param .u32 n)
{
    .reg .pred %p<2>;
    .reg .b32 %r<4>;
    .reg .f32 %f<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [x];
    ld.param.f32 %f1, [by];
    ld.param.u32 %r2, [n];
    mov.u32 %r1, %tid.x;
    setp.ge.u32 %p1, %r1, %r2;
    @%p1 ret;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd2, %rd1, %rd2;
    ld.global.f32 %f2, [%rd2];
    mul.f32 %f2, %f2, %f1;
    st.global.f32 [%rd2], %f2;
    ret;
}";

fn scale(x: u64, by: f32, n: u32) -> u32 {
    let (mut module, mut function) = (null_mut(), null_mut());
    cuda!(cuModuleLoadData(&mut module, SCALE.as_ptr().cast()));
    cuda!(cuModuleGetFunction(&mut function, module, c"scale".as_ptr()));
    let arguments = [(&raw const x).cast::<c_void>(), (&raw const by).cast(), (&raw const n).cast()];
    // SAFETY: a pointer for each argument of the kernel.
    unsafe { cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, null_mut(), arguments.as_ptr(), null()) }
}

#[test]
fn a_launch_and_the_record_of_it() {
    let _one = ONE_AT_A_TIME.lock();
    cuda!(cuInit(0));
    let (mut count, mut major, mut name) = (0, 0, [0; 64]);
    cuda!(cuDeviceGetCount(&mut count));
    cuda!(cuDeviceGetAttribute(&mut major, 75, 0));
    cuda!(cuDeviceGetName(name.as_mut_ptr(), 64, 0));
    assert_eq!((count, major), (1, 9));
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }, c"Emulated (no GPU)");

    // SAFETY: takes nothing.
    unsafe { engram_emulator_record_start() };
    let x = upload(&[1f32, 2.0, 3.0]);
    assert_eq!(scale(x, 0.5, 3), 0);
    let y = upload(&[0f32; 3]);
    cuda!(cuMemcpyDtoDAsync_v2(y, x, 12, null_mut()));
    assert_eq!(download::<f32>(y, 3), [0.5, 1.0, 1.5]);
    cuda!(cuMemsetD8Async(y, 0, 8, null_mut()));
    assert_eq!(download::<f32>(y, 3), [0.0, 0.0, 1.5]);
    let mut text = [0u8; 512];
    // SAFETY: one byte is there.
    let wanted = unsafe { engram_emulator_record_take(text.as_mut_ptr().cast(), 1) };
    assert!(wanted > 1, "too small: nothing is taken");
    // SAFETY: so many bytes are there.
    let length = unsafe { engram_emulator_record_take(text.as_mut_ptr().cast(), 512) };
    let expected = "htod 12 bytes
launch scale grid=(1,1,1) block=(32,1,1) shared=0
htod 12 bytes
dtod 12 bytes
dtoh 12 bytes
memset 8 bytes
dtoh 12 bytes
";
    assert_eq!(std::str::from_utf8(&text[..length]).unwrap(), expected);

    // One element too many; the next launch is none the worse.
    let code = scale(x, 2.0, 4);
    let mut text = null();
    cuda!(cuGetErrorName(code, &mut text));
    // SAFETY: a name of the library, which ends with a zero.
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"CUDA_ERROR_ILLEGAL_ADDRESS");
    assert_eq!(scale(x, 2.0, 3), 0);
    cuda!(cuMemFreeAsync(x, null_mut()));
    assert_eq!(scale(x, 2.0, 3), 700, "used after it was freed");
    // SAFETY: copies of what is not there are refused before anything is read.
    assert_eq!(unsafe { cuMemcpyDtoHAsync_v2([0u8; 16].as_mut_ptr().cast(), y, 13, null_mut()) }, 1);
}

/// Every combination of transposed operands, with gaps between columns, a batch, factors: f32, f64 and bf16.
#[test]
fn products() {
    let _one = ONE_AT_A_TIME.lock();
    let (m, n, k, batch) = (5, 9, 7, 2);
    let number = |i: usize, seed: usize| ((i * 7 + seed * 3) % 13) as f64 - 6.0;
    for (dtype, compute) in [(0, 68), (1, 70), (14, 68)] {
        for (ta, tb) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (lda, ldb, ldc) = (if ta == 1 { k } else { m } + 1, if tb == 1 { n } else { k } + 2, m + 3);
            let (a_size, b_size, c_size) = (lda * m.max(k), ldb * n.max(k), ldc * n);
            let fill =
                |size: usize, seed: usize| (0..size * batch).map(|i| number(i, seed)).collect::<Vec<f64>>();
            let (a, b, c) = (fill(a_size, 1), fill(b_size, 2), fill(c_size, 3));
            let to = |x: &[f64]| match dtype {
                0 => upload(&x.iter().map(|&x| x as f32).collect::<Vec<f32>>()),
                1 => upload(x),
                _ => upload(&x.iter().map(|&x| ((x as f32).to_bits() >> 16) as u16).collect::<Vec<u16>>()),
            };
            let (on_a, on_b, on_c) = (to(&a), to(&b), to(&c));
            let (alpha, beta) = (2f64, -1f64);
            let (alpha32, beta32) = (2f32, -1f32);
            let factors: [*const c_void; 2] = if compute == 70 {
                [(&raw const alpha).cast(), (&raw const beta).cast()]
            } else {
                [(&raw const alpha32).cast(), (&raw const beta32).cast()]
            };
            cuda!(cublasGemmStridedBatchedEx(
                null_mut(),
                ta,
                tb,
                m as c_int,
                n as c_int,
                k as c_int,
                factors[0],
                on_a,
                dtype,
                lda as c_int,
                a_size as c_longlong,
                on_b,
                dtype,
                ldb as c_int,
                b_size as c_longlong,
                factors[1],
                on_c,
                dtype,
                ldc as c_int,
                c_size as c_longlong,
                batch as c_int,
                compute,
                -1,
            ));
            let found: Vec<f64> = match dtype {
                0 => download::<f32>(on_c, c_size * batch).into_iter().map(f64::from).collect(),
                1 => download(on_c, c_size * batch),
                _ => {
                    let bits = download::<u16>(on_c, c_size * batch).into_iter();
                    bits.map(|bits| f64::from(f32::from_bits(u32::from(bits) << 16))).collect()
                }
            };
            for (i, found) in found.into_iter().enumerate() {
                let (index, column, row) = (i / c_size, i % c_size / ldc, i % ldc);
                let at = |x: &[f64], size: usize, ld: usize, t: u32, row: usize, column: usize| {
                    x[index * size + if t == 1 { row * ld + column } else { column * ld + row }]
                };
                let expected = if row < m {
                    let products =
                        (0..k).map(|l| at(&a, a_size, lda, ta, row, l) * at(&b, b_size, ldb, tb, l, column));
                    alpha * products.sum::<f64>() + beta * c[i]
                } else {
                    c[i] // between the columns nothing is written
                };
                // A bfloat16 has 8 bits.
                let tolerance = if dtype == 14 { expected.abs() / 256.0 } else { 0.0 };
                assert!(
                    (found - expected).abs() <= tolerance,
                    "type {dtype}, {ta}{tb}: {found}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn random_numbers_by_their_seed() {
    let _one = ONE_AT_A_TIME.lock();
    let (mut generator, count) = (null_mut(), 40_000);
    cuda!(curandCreateGenerator(&mut generator, 100));
    let room = upload(&vec![0f64; count]);
    let normals = |seed| {
        cuda!(curandSetPseudoRandomGeneratorSeed(generator, seed));
        cuda!(curandGenerateNormalDouble(generator, room, count, 3.0, 2.0));
        download::<f64>(room, count)
    };
    let first = normals(1);
    assert_eq!(first, normals(1));
    assert_ne!(first, normals(2));
    let mean = first.iter().sum::<f64>() / count as f64;
    let variance = first.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
    // Six standard errors: 0.06 and 0.17. A fixed seed, so it cannot fail by chance.
    assert!((mean - 3.0).abs() < 0.06 && (variance - 4.0).abs() < 0.17, "mean {mean}, variance {variance}");
    // SAFETY: an odd number is refused, as by cuRAND.
    assert_eq!(unsafe { curandGenerateNormalDouble(generator, room, 3, 0.0, 1.0) }, 105);
    cuda!(curandGenerateUniform(generator, room, count));
    let uniforms = download::<f32>(room, count);
    assert!(uniforms.iter().all(|&x| x > 0.0 && x <= 1.0));
    let mean = uniforms.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
    assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
}
