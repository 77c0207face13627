//! The functions of cuRAND that candle calls. The numbers are not those of cuRAND: SplitMix64 (Steele, Lea and Flood, "Fast
//! splittable pseudorandom number generators", 2014), normal ones by Box and Muller.

use std::collections::HashMap;
use std::ffi::{c_uint, c_ulonglong, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::driver::{emulator, give, handle};

const NOT_INITIALISED: u32 = 101;
const OUT_OF_RANGE: u32 = 104;
const NOT_A_MULTIPLE: u32 = 105;

/// States of the generators.
fn generators() -> MutexGuard<'static, HashMap<usize, u64>> {
    static GENERATORS: LazyLock<Mutex<HashMap<usize, u64>>> = LazyLock::new(Mutex::default);
    GENERATORS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Above 0 and at most 1, as cuRAND's.
fn uniform(state: &mut u64) -> f64 {
    ((next(state) >> 11) + 1) as f64 / (1u64 << 53) as f64
}

fn normals(state: &mut u64) -> [f64; 2] {
    let radius = (-2.0 * uniform(state).ln()).sqrt();
    let angle = std::f64::consts::TAU * uniform(state);
    [radius * angle.cos(), radius * angle.sin()]
}

#[unsafe(no_mangle)]
extern "C" fn curandCreateGenerator(generator: *mut *mut c_void, _kind: c_uint) -> u32 {
    let mut generators = generators();
    let number = 16 * (generators.keys().max().copied().unwrap_or(0) / 16 + 1);
    generators.insert(number, 0);
    u32::from(give(generator, handle(number)).is_err()) * OUT_OF_RANGE
}

#[unsafe(no_mangle)]
extern "C" fn curandDestroyGenerator(generator: *mut c_void) -> u32 {
    generators().remove(&generator.addr()).map_or(NOT_INITIALISED, |_| 0)
}

#[unsafe(no_mangle)]
extern "C" fn curandSetStream(_generator: *mut c_void, _stream: *mut c_void) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn curandSetPseudoRandomGeneratorSeed(generator: *mut c_void, seed: c_ulonglong) -> u32 {
    generators().insert(generator.addr(), seed).map_or(NOT_INITIALISED, |_| 0)
}

#[unsafe(no_mangle)]
extern "C" fn curandSetGeneratorOffset(generator: *mut c_void, offset: c_ulonglong) -> u32 {
    match generators().get_mut(&generator.addr()) {
        Some(state) => {
            *state = state.wrapping_add(offset.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            0
        }
        None => NOT_INITIALISED,
    }
}

/// Fills so many elements of `N` bytes.
fn fill<const N: usize>(
    generator: *mut c_void,
    at: u64,
    count: usize,
    what: &str,
    element: &mut dyn FnMut(&mut u64) -> [u8; N],
) -> u32 {
    let mut generators = generators();
    let Some(state) = generators.get_mut(&generator.addr()) else { return NOT_INITIALISED };
    let mut emulator = emulator();
    emulator.record.add(|| format!("random {what} {count}"));
    match emulator.write(at, count * N) {
        Ok(room) => {
            for to in room.chunks_mut(N) {
                to.copy_from_slice(&element(state));
            }
            0
        }
        Err(fault) => {
            eprintln!("cuda-emulator: random numbers: {fault}");
            OUT_OF_RANGE
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn curandGenerateUniform(generator: *mut c_void, at: u64, count: usize) -> u32 {
    fill(generator, at, count, "uniform f32", &mut |state| (uniform(state) as f32).to_le_bytes())
}

#[unsafe(no_mangle)]
extern "C" fn curandGenerateUniformDouble(generator: *mut c_void, at: u64, count: usize) -> u32 {
    fill(generator, at, count, "uniform f64", &mut |state| uniform(state).to_le_bytes())
}

#[unsafe(no_mangle)]
extern "C" fn curandGenerateNormal(
    generator: *mut c_void,
    at: u64,
    count: usize,
    mean: f32,
    std: f32,
) -> u32 {
    if count % 2 == 1 {
        return NOT_A_MULTIPLE;
    }
    let mut second = None;
    fill(generator, at, count, "normal f32", &mut |state| {
        let x = second.take().unwrap_or_else(|| {
            let [x, y] = normals(state);
            second = Some(y);
            x
        });
        (x as f32 * std + mean).to_le_bytes()
    })
}

#[unsafe(no_mangle)]
extern "C" fn curandGenerateNormalDouble(
    generator: *mut c_void,
    at: u64,
    count: usize,
    mean: f64,
    std: f64,
) -> u32 {
    if count % 2 == 1 {
        return NOT_A_MULTIPLE;
    }
    let mut second = None;
    fill(generator, at, count, "normal f64", &mut |state| {
        let x = second.take().unwrap_or_else(|| {
            let [x, y] = normals(state);
            second = Some(y);
            x
        });
        (x * std + mean).to_le_bytes()
    })
}
