//! The record that an emulated GPU keeps of what it is asked to do.

use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Device;

/// The emulated GPU, for one test at a time: the record is of all threads. Where there is none, the reason why nothing is tested.
pub fn gpu() -> Option<(Device, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = match cl_core::device("cuda") {
        Ok(device) => device,
        Err(error) => {
            println!("skipped: {error}");
            return None;
        }
    };
    if function(c"engram_emulator_record_start").is_none() {
        println!("passed over: only an emulated GPU keeps a record of launches");
        return None;
    }
    Some((device, alone))
}

/// Begins a record.
pub fn start() {
    let start = function(c"engram_emulator_record_start").expect("an emulated GPU");
    // SAFETY: the emulator declares it so.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(start) }
    ();
}

/// Ends it: a line for each launch, copy and product, without the sizes of grids.
pub fn take() -> Vec<String> {
    let take = function(c"engram_emulator_record_take").expect("an emulated GPU");
    // SAFETY: the emulator declares it so.
    let take =
        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(*mut u8, usize) -> usize>(take) };
    let mut text = vec![0; 1 << 20];
    let size = take(text.as_mut_ptr(), text.len());
    assert!(size <= text.len(), "a record of {size} bytes");
    let text = std::str::from_utf8(&text[..size]).unwrap();
    text.lines().map(|line| line.split(" grid=").next().unwrap_or_default().to_owned()).collect()
}

/// A function of the library that stands for CUDA's driver, once a device was opened.
fn function(name: &CStr) -> Option<*mut libc::c_void> {
    // SAFETY: both are strings that end with 0; nothing is loaded that is not there already.
    let found = unsafe {
        let library = libc::dlopen(c"libcuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let library = if library.is_null() {
            libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD)
        } else {
            library
        };
        if library.is_null() {
            return None;
        }
        libc::dlsym(library, name.as_ptr())
    };
    (!found.is_null()).then_some(found)
}
