//! The functions of CUDA's driver that cudarc and candle call. All work is done before a function returns, so streams and
//! events order nothing. Functions that are not here are missed by name when they are first called.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::execute::Shape;
use crate::fault::{Fault, Kind, Result};
use crate::launch::Emulator;
use crate::memory::TOTAL;

type Handle = *mut c_void;

/// The device of this process.
pub(crate) fn emulator() -> MutexGuard<'static, Emulator> {
    static EMULATOR: LazyLock<Mutex<Emulator>> = LazyLock::new(|| Mutex::new(Emulator::from_environment()));
    EMULATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A result as `CUresult`, its text on the standard error.
fn answer(result: Result<()>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(fault) => {
            eprintln!("cuda-emulator: {fault}");
            fault.kind.code()
        }
    }
}

pub(crate) fn handle(number: usize) -> Handle {
    std::ptr::without_provenance_mut(number)
}

/// Writes to where the caller wants it.
pub(crate) fn give<T>(to: *mut T, value: T) -> Result<()> {
    if to.is_null() {
        return Err(Fault::new(Kind::InvalidValue, "a null pointer for a result"));
    }
    // SAFETY: by CUDA's contract the caller passes where a value of this type can be written.
    unsafe { to.write(value) };
    Ok(())
}

fn name<'a>(text: *const c_char) -> Result<&'a str> {
    if text.is_null() {
        return Err(Fault::new(Kind::InvalidValue, "a null pointer for a name"));
    }
    // SAFETY: by CUDA's contract a text that ends with a zero, which lives as long as the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Fault::new(Kind::InvalidValue, "a name that is not UTF-8"))
}

fn host<'a>(pointer: *const c_void, bytes: usize) -> &'a [u8] {
    if bytes == 0 {
        return &[];
    }
    // SAFETY: by CUDA's contract so many bytes of the host, which live as long as the call.
    unsafe { std::slice::from_raw_parts(pointer.cast(), bytes) }
}

fn host_mut<'a>(pointer: *mut c_void, bytes: usize) -> &'a mut [u8] {
    if bytes == 0 {
        return &mut [];
    }
    // SAFETY: by CUDA's contract so many bytes of the host, which nobody else uses during the call.
    unsafe { std::slice::from_raw_parts_mut(pointer.cast(), bytes) }
}

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The one context there is.
const CONTEXT: usize = 0x10;
/// The one memory pool there is.
const POOL: usize = 0x20;

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    answer(give(version, 13_000))
}

/// NVRTC asks for what is not documented, and goes on without it.
#[unsafe(no_mangle)]
extern "C" fn cuGetExportTable(table: *mut *const c_void, _id: *const c_void) -> u32 {
    let _ = give(table, std::ptr::null());
    Kind::NotFound.code()
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(code: u32, text: *mut *const c_char) -> u32 {
    answer(give(text, error_name(code).as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(code: u32, text: *mut *const c_char) -> u32 {
    answer(give(text, error_text(code).as_ptr()))
}

fn error_name(code: u32) -> &'static CStr {
    match code {
        0 => c"CUDA_SUCCESS",
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        218 => c"CUDA_ERROR_INVALID_PTX",
        500 => c"CUDA_ERROR_NOT_FOUND",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        710 => c"CUDA_ERROR_ASSERT",
        716 => c"CUDA_ERROR_MISALIGNED_ADDRESS",
        719 => c"CUDA_ERROR_LAUNCH_FAILED",
        801 => c"CUDA_ERROR_NOT_SUPPORTED",
        _ => c"CUDA_ERROR_UNKNOWN",
    }
}

fn error_text(code: u32) -> &'static CStr {
    match code {
        0 => c"no error",
        1 => c"invalid argument (the emulator says more on the standard error)",
        2 => c"out of memory",
        218 => c"PTX that the emulator cannot read (it says more on the standard error)",
        500 => c"named symbol not found",
        700 => c"an illegal memory access was encountered (the emulator says more on the standard error)",
        710 => c"device-side assert triggered",
        716 => c"misaligned address (the emulator says more on the standard error)",
        719 => c"unspecified launch failure (the emulator says more on the standard error)",
        801 => c"not supported by the emulator",
        _ => c"unknown error",
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    if ordinal != 0 {
        return 101;
    }
    answer(give(device, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    answer(give(count, 1))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(text: *mut c_char, length: c_int, _device: c_int) -> u32 {
    let name = c"Emulated (no GPU)".to_bytes_with_nul();
    let room = host_mut(text.cast(), length.max(0) as usize);
    let count = name.len().min(room.len());
    room[..count].copy_from_slice(&name[..count]);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], _device: c_int) -> u32 {
    answer(give(uuid, *b"engram-emulator!"))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) -> u32 {
    cuDeviceGetUuid_v2(uuid, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> u32 {
    answer(give(bytes, TOTAL))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, _device: c_int) -> u32 {
    let emulator = emulator();
    let (major, minor) = emulator.capability();
    let found = match attribute {
        // Threads of a block, and in each direction.
        1..=3 => 1024,
        4 => 64,
        // Blocks in each direction.
        5 => i32::MAX,
        6 | 7 => 65_535,
        // Shared memory of a block, constant memory.
        8 => 48 << 10,
        9 => 64 << 10,
        // Threads of a warp.
        10 => 32,
        11 => i32::MAX,
        // Registers of a block.
        12 | 82 => 65_536,
        // Clock in kHz.
        13 => 1_980_000,
        14 => 512,
        // Multiprocessors: few, so that kernels that cut their work by them give a block more than a piece.
        16 => 2,
        // Concurrent kernels, copy engines, unified addresses, stream priorities.
        31 | 40 | 41 | 78 => 1,
        36 => 2_619_000,
        37 => 5120,
        // Level 2 cache.
        38 => 50 << 20,
        39 => 2048,
        75 => major as c_int,
        76 => minor as c_int,
        81 => emulator.most_shared() as c_int + 1024,
        83 => 1,
        97 => emulator.most_shared() as c_int,
        106 => 32,
        111 => 1024,
        // Memory pools.
        115 => 1,
        _ => 0,
    };
    answer(give(value, found))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, _device: c_int) -> u32 {
    answer(give(context, handle(CONTEXT)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> u32 {
    answer(give(context, handle(CURRENT.get())))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> u32 {
    CURRENT.set(context.addr());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(_flags: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetLimit(_limit: c_uint, _value: usize) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> u32 {
    answer(give(least, 0).and_then(|()| give(greatest, 0)))
}

// Streams.

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> u32 {
    answer(give(stream, handle(fresh())))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreateWithPriority(stream: *mut Handle, _flags: c_uint, _priority: c_int) -> u32 {
    answer(give(stream, handle(fresh())))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(_stream: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(_stream: Handle, _event: Handle, _flags: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamIsCapturing(_stream: Handle, status: *mut c_uint) -> u32 {
    answer(give(status, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamAttachMemAsync(_stream: Handle, _address: u64, _bytes: usize, _flags: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc(
    _stream: Handle,
    function: Option<extern "C" fn(Handle)>,
    data: Handle,
) -> u32 {
    if let Some(function) = function {
        function(data);
    }
    0
}

/// A number for a stream or event.
fn fresh() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0x1000);
    NEXT.fetch_add(16, Ordering::Relaxed)
}

// Events: the time when they were recorded.

fn events() -> MutexGuard<'static, HashMap<usize, Option<Instant>>> {
    static EVENTS: LazyLock<Mutex<HashMap<usize, Option<Instant>>>> = LazyLock::new(Mutex::default);
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> u32 {
    let number = fresh();
    events().insert(number, None);
    answer(give(event, handle(number)))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: Handle) -> u32 {
    events().remove(&event.addr());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, _stream: Handle) -> u32 {
    events().insert(event.addr(), Some(Instant::now()));
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(_event: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(_event: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, from: Handle, to: Handle) -> u32 {
    let events = events();
    let recorded = |event: Handle| events.get(&event.addr()).copied().flatten();
    match (recorded(from), recorded(to)) {
        (Some(from), Some(to)) => {
            answer(give(milliseconds, to.saturating_duration_since(from).as_secs_f32() * 1e3))
        }
        _ => 400,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(milliseconds: *mut f32, from: Handle, to: Handle) -> u32 {
    cuEventElapsedTime(milliseconds, from, to)
}

// Memory.

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    if bytes == 0 {
        return answer(Err(Fault::new(Kind::InvalidValue, "an allocation of no bytes")));
    }
    cuMemAllocAsync(address, bytes, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, _stream: Handle) -> u32 {
    let allocated = emulator().allocate(bytes);
    answer(allocated.and_then(|at| give(address, at)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut u64,
    bytes: usize,
    _pool: Handle,
    _stream: Handle,
) -> u32 {
    cuMemAlloc_v2(address, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocManaged(address: *mut u64, bytes: usize, _flags: c_uint) -> u32 {
    cuMemAlloc_v2(address, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    answer(emulator().free(address))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, _stream: Handle) -> u32 {
    cuMemFree_v2(address)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    let used = emulator().memory.used;
    answer(give(free, TOTAL.saturating_sub(used)).and_then(|()| give(total, TOTAL)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(pointer: *mut Handle, bytes: usize, _flags: c_uint) -> u32 {
    // SAFETY: `malloc` takes any size; what it gives is freed by `cuMemFreeHost` alone.
    let memory = unsafe { libc::malloc(bytes.max(1)) };
    if memory.is_null() {
        return Kind::OutOfMemory.code();
    }
    answer(give(pointer, memory))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(pointer: Handle) -> u32 {
    // SAFETY: by CUDA's contract it came from `cuMemHostAlloc`.
    unsafe { libc::free(pointer) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: c_uint, _location: u64) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, _device: c_int) -> u32 {
    answer(give(pool, handle(POOL)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetMemPool(pool: *mut Handle, _device: c_int) -> u32 {
    answer(give(pool, handle(POOL)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceSetMemPool(_device: c_int, _pool: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(_pool: Handle, _attribute: c_uint, _value: Handle) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolGetAttribute(_pool: Handle, _attribute: c_uint, value: Handle) -> u32 {
    answer(give(value.cast::<u64>(), emulator().memory.used as u64))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(_pool: Handle, _keep: usize) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> u32 {
    let mut emulator = emulator();
    emulator.record.add(|| format!("htod {bytes} bytes"));
    answer(emulator.write(to, bytes).map(|room| room.copy_from_slice(host(from, bytes))).map_err(copy))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, _stream: Handle) -> u32 {
    cuMemcpyHtoD_v2(to, from, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> u32 {
    let mut emulator = emulator();
    emulator.record.add(|| format!("dtoh {bytes} bytes"));
    answer(emulator.read(from, bytes).map(|found| host_mut(to, bytes).copy_from_slice(found)).map_err(copy))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, _stream: Handle) -> u32 {
    cuMemcpyDtoH_v2(to, from, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> u32 {
    let mut emulator = emulator();
    emulator.record.add(|| format!("dtod {bytes} bytes"));
    let found = emulator.read(from, bytes).map(<[u8]>::to_vec);
    answer(
        found
            .and_then(|found| emulator.write(to, bytes).map(|room| room.copy_from_slice(&found)))
            .map_err(copy),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, _stream: Handle) -> u32 {
    cuMemcpyDtoD_v2(to, from, bytes)
}

fn copy(fault: Fault) -> Fault {
    // What a copy is told of bad addresses.
    Fault { kind: Kind::InvalidValue, ..fault.within("a copy") }
}

fn fill(at: u64, count: usize, value: &[u8]) -> u32 {
    let mut emulator = emulator();
    let bytes = count * value.len();
    emulator.record.add(|| format!("memset {bytes} bytes"));
    let filled = emulator.write(at, bytes).map(|room| {
        if let [byte] = value {
            return room.fill(*byte);
        }
        for to in room.chunks_mut(value.len()) {
            to.copy_from_slice(value);
        }
    });
    answer(filled.map_err(copy))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(at: u64, value: u8, count: usize) -> u32 {
    fill(at, count, &[value])
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(at: u64, value: u8, count: usize, _stream: Handle) -> u32 {
    fill(at, count, &[value])
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16Async(at: u64, value: u16, count: usize, _stream: Handle) -> u32 {
    fill(at, count, &value.to_le_bytes())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(at: u64, value: u32, count: usize, _stream: Handle) -> u32 {
    fill(at, count, &value.to_le_bytes())
}

// Modules and launches.

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> u32 {
    let load = || {
        if host(image, 4) == b"\x7fELF" {
            return Err(Fault::new(Kind::NotSupported, "a module of machine code: the emulator takes PTX"));
        }
        let loaded = emulator().load(name(image.cast())?)?;
        give(module, handle(loaded))
    };
    answer(load())
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: Handle) -> u32 {
    answer(emulator().unload(module.addr()))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(function: *mut Handle, module: Handle, text: *const c_char) -> u32 {
    let found = name(text).and_then(|name| emulator().kernel(module.addr(), name));
    answer(found.and_then(|kernel| give(function, handle(kernel))))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetGlobal_v2(
    address: *mut u64,
    bytes: *mut usize,
    module: Handle,
    text: *const c_char,
) -> u32 {
    let found = name(text).and_then(|name| emulator().global(module.addr(), name));
    answer(found.and_then(|(at, size)| {
        give(address, at)?;
        if bytes.is_null() { Ok(()) } else { give(bytes, size) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: Handle) -> u32 {
    let mut emulator = emulator();
    let (major, minor) = emulator.capability();
    let found = emulator.program(function.addr()).map(|program| match attribute {
        0 => program.max_threads.unwrap_or(1024) as c_int,
        1 => program.shared as c_int,
        3 => program.local as c_int,
        4 => 32,
        5 | 6 => (major * 10 + minor) as c_int,
        8 => 48 << 10,
        _ => 0,
    });
    answer(found.and_then(|found| give(value, found)))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_uint, value: c_int) -> u32 {
    if attribute != 8 {
        return 0;
    }
    answer(emulator().allow_dynamic(function.addr(), value.max(0) as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(_function: Handle, _config: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    _function: Handle,
    threads: c_int,
    shared: usize,
) -> u32 {
    let by_threads = 2048 / threads.max(1);
    let by_shared = (emulator().most_shared() / shared.max(1)) as c_int;
    answer(give(blocks, by_threads.min(by_shared).min(32)))
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    shared: usize,
    _flags: c_uint,
) -> u32 {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared)
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    _stream: Handle,
    arguments: *const *const c_void,
    extra: *const *const c_void,
) -> u32 {
    let launch = || {
        let mut emulator = emulator();
        let (parameters, size) = emulator.parameters(function.addr())?;
        let mut bytes = vec![0; size];
        if !parameters.is_empty() && (arguments.is_null() || !extra.is_null()) {
            return Err(Fault::new(Kind::NotSupported, "arguments are taken as a list of pointers only"));
        }
        for (index, &(offset, size)) in parameters.iter().enumerate() {
            // SAFETY: by CUDA's contract there is a pointer for each argument of the kernel.
            let argument = unsafe { *arguments.add(index) };
            bytes[offset..offset + size].copy_from_slice(host(argument, size));
        }
        let shape = Shape {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            dynamic: shared as usize,
        };
        emulator.launch(function.addr(), shape, &bytes)
    };
    answer(launch())
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStart() -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStop() -> u32 {
    0
}

// The record, for tests in the same process.

/// Begins a record of launches, copies and products.
#[unsafe(no_mangle)]
extern "C" fn engram_emulator_record_start() {
    emulator().record.start();
}

/// Writes the record as text, a line for each, and ends it. Where the room is too small nothing is written and it goes on.
/// Returns how many bytes it has.
#[unsafe(no_mangle)]
extern "C" fn engram_emulator_record_take(buffer: *mut c_char, length: usize) -> usize {
    let mut emulator = emulator();
    let size = emulator.record.peek().len();
    if size <= length {
        let lines = emulator.record.take();
        host_mut(buffer.cast(), size).copy_from_slice(lines.as_bytes());
    }
    size
}
