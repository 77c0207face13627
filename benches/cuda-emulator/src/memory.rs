//! The memory of the device: allocations of host memory, so that a device pointer is a host address. Every access of a copy
//! or a kernel is looked up here.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, VecDeque};

use crate::fault::{Fault, Kind, Result};

/// What the hardware aligns allocations to.
const ALIGN: usize = 256;
/// Freed memory is kept up to this size, so that a use of it is told from a use of what was allocated there later.
const KEPT: usize = 64 << 20;
/// What fresh memory is filled with: NaN in every floating type.
const POISON: u8 = 0xff;
/// Reported as the size of the device's memory.
pub const TOTAL: usize = 16 << 30;

/// An allocation.
#[derive(Debug)]
struct Allocation {
    size: usize,
    alive: bool,
    /// Which bytes were written, where that is checked.
    written: Option<Vec<bool>>,
}

/// All allocations, by their address.
#[derive(Debug, Default)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    freed: VecDeque<u64>,
    freed_bytes: usize,
    /// Bytes that are allocated.
    pub used: usize,
    /// Reading what was never written is an error.
    pub check_initialised: bool,
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size.max(1), ALIGN).expect("a size that was allocated, or is refused before")
}

impl Memory {
    /// Fresh memory, poisoned. Of no bytes too: in the order of a stream the hardware gives that.
    ///
    /// # Errors
    /// More than there is.
    pub fn allocate(&mut self, size: usize) -> Result<u64> {
        let none = || Fault::new(Kind::OutOfMemory, format!("no memory for {size} bytes"));
        if size > TOTAL - self.used.min(TOTAL) {
            return Err(none());
        }
        // SAFETY: the layout's size is not zero.
        let pointer = unsafe { alloc(layout(size)) };
        if pointer.is_null() {
            return Err(none());
        }
        // SAFETY: so many bytes were just allocated there, or more.
        unsafe { pointer.write_bytes(POISON, size) };
        let address = pointer.expose_provenance() as u64;
        let written = self.check_initialised.then(|| vec![false; size]);
        self.allocations.insert(address, Allocation { size, alive: true, written });
        self.used += size;
        Ok(address)
    }

    /// Gives memory back.
    ///
    /// # Errors
    /// No allocation begins there, or it was freed already.
    pub fn free(&mut self, address: u64) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        match self.allocations.get_mut(&address) {
            Some(allocation) if allocation.alive => {
                allocation.alive = false;
                allocation.written = None;
                self.used -= allocation.size;
                self.freed_bytes += allocation.size;
                self.freed.push_back(address);
            }
            Some(_) => return Err(Fault::new(Kind::InvalidValue, format!("{address:#x} is freed twice"))),
            None => {
                return Err(Fault::new(
                    Kind::InvalidValue,
                    format!("{address:#x} is freed, but no allocation begins there"),
                ));
            }
        }
        while self.freed_bytes > KEPT {
            let Some(oldest) = self.freed.pop_front() else { break };
            let Some(allocation) = self.allocations.remove(&oldest) else { continue };
            self.freed_bytes -= allocation.size;
            // SAFETY: allocated here with this layout, and out of the map: nobody else frees it.
            unsafe {
                dealloc(std::ptr::with_exposed_provenance_mut(oldest as usize), layout(allocation.size));
            };
        }
        Ok(())
    }

    /// The allocation that holds these bytes: from where to where it goes.
    ///
    /// # Errors
    /// There is none, or it is freed.
    pub fn find(&self, address: u64, size: usize) -> Result<(u64, u64)> {
        let before = self.allocations.range(..=address).next_back();
        let inside = |base: u64, allocation: &Allocation| {
            (address - base) as usize <= allocation.size
                && allocation.size - (address - base) as usize >= size
        };
        match before {
            Some((&base, allocation)) if inside(base, allocation) && allocation.alive => {
                Ok((base, base + allocation.size as u64))
            }
            Some((&base, allocation)) if inside(base, allocation) => Err(illegal(format!(
                "{size} bytes at {address:#x}, which is {} bytes into memory of {} bytes that was freed",
                address - base,
                allocation.size
            ))),
            Some((&base, allocation))
                if allocation.alive && address - base < (allocation.size as u64) + (1 << 20) =>
            {
                Err(illegal(format!(
                    "{size} bytes at {address:#x}, which is {} bytes into an allocation of {} bytes",
                    address - base,
                    allocation.size
                )))
            }
            _ => Err(illegal(format!("{size} bytes at {address:#x}, where nothing is allocated"))),
        }
    }

    /// The bytes of a range that must have been written.
    ///
    /// # Errors
    /// As [`Self::find`]; one was never written.
    pub fn read(&self, address: u64, size: usize) -> Result<&[u8]> {
        if size == 0 {
            return Ok(&[]);
        }
        self.find(address, size)?;
        if self.check_initialised {
            self.assert_written(address, size)?;
        }
        // SAFETY: the range lies in a live allocation, which was filled when it was made, and is borrowed as the memory is.
        Ok(unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address as usize), size) })
    }

    /// The bytes of a range, to be written all of them.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn write(&mut self, address: u64, size: usize) -> Result<&mut [u8]> {
        if size == 0 {
            return Ok(&mut []);
        }
        self.find(address, size)?;
        self.mark_written(address, size);
        // SAFETY: as in `read`, and the memory is borrowed exclusively.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address as usize), size)
        })
    }

    /// Remembers that these bytes hold something, where that is checked.
    pub fn mark_written(&mut self, address: u64, size: usize) {
        if !self.check_initialised {
            return;
        }
        if let Some((base, allocation)) = self.allocations.range_mut(..=address).next_back()
            && let Some(written) = &mut allocation.written
        {
            let from = (address - base) as usize;
            if let Some(range) = written.get_mut(from..from + size) {
                range.fill(true);
            }
        }
    }

    /// Fails where one of these bytes was never written, where that is checked.
    ///
    /// # Errors
    /// One was not.
    pub fn assert_written(&self, address: u64, size: usize) -> Result<()> {
        if let Some((base, allocation)) = self.allocations.range(..=address).next_back()
            && let Some(written) = &allocation.written
        {
            let from = (address - base) as usize;
            let range = written.get(from..from + size).unwrap_or(&[]);
            if let Some(first) = range.iter().position(|&byte| !byte) {
                return Err(illegal(format!(
                    "{size} bytes at {address:#x} are read, but byte {} of this allocation of {} bytes was never written",
                    from + first,
                    allocation.size
                )));
            }
        }
        Ok(())
    }
}

fn illegal(text: String) -> Fault {
    Fault::new(Kind::IllegalAddress, text)
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (address, allocation) in std::mem::take(&mut self.allocations) {
            // SAFETY: allocated here with this layout, and out of the map.
            unsafe {
                dealloc(std::ptr::with_exposed_provenance_mut(address as usize), layout(allocation.size));
            };
        }
    }
}
