//! Loads, stores, copies to shared memory: every access is checked to lie where it may.

use super::lanes::{LANES, Row, each};
use super::{Block, Pending};
use crate::fault::{Fault, Kind, Result};
use crate::program::{Address, Reg};
use crate::ptx::module::Space;

/// Where an access goes, after the spaces are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Global(u64),
    Shared(usize),
    /// Index into the warp's own memory.
    Local(usize),
    Param(usize),
}

/// The bytes of a value of so many bytes, as a register holds it.
#[inline(always)]
pub(super) fn bits_of(bytes: &[u8], size: usize) -> u64 {
    match (size, bytes) {
        (1, [a, ..]) => u64::from(*a),
        (2, [a, b, ..]) => u64::from(u16::from_le_bytes([*a, *b])),
        (4, [a, b, c, d, ..]) => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        (8, [a, b, c, d, e, f, g, h, ..]) => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        _ => 0,
    }
}

fn extend(bits: u64, size: usize, signed: bool) -> u64 {
    match (size, signed) {
        (1, true) => bits as i8 as u64,
        (2, true) => bits as i16 as u64,
        (4, true) => bits as i32 as u64,
        _ => bits,
    }
}

/// Memory of the device at an address that was checked.
#[inline(always)]
pub(super) fn device_load(address: u64, size: usize) -> u64 {
    let address = address as usize;
    // SAFETY: `locate` found so many bytes there in a live allocation, which is filled when it is made, and looked at the
    // alignment.
    unsafe {
        match size {
            1 => u64::from(std::ptr::with_exposed_provenance::<u8>(address).read()),
            2 => u64::from(std::ptr::with_exposed_provenance::<u16>(address).read()),
            4 => u64::from(std::ptr::with_exposed_provenance::<u32>(address).read()),
            _ => std::ptr::with_exposed_provenance::<u64>(address).read(),
        }
    }
}

/// See [`device_load`].
#[inline(always)]
pub(super) fn device_store(address: u64, size: usize, bits: u64) {
    let address = address as usize;
    // SAFETY: as in `device_load`; the memory is borrowed exclusively while a kernel runs.
    unsafe {
        match size {
            1 => std::ptr::with_exposed_provenance_mut::<u8>(address).write(bits as u8),
            2 => std::ptr::with_exposed_provenance_mut::<u16>(address).write(bits as u16),
            4 => std::ptr::with_exposed_provenance_mut::<u32>(address).write(bits as u32),
            _ => std::ptr::with_exposed_provenance_mut::<u64>(address).write(bits),
        }
    }
}

impl Block<'_> {
    /// Checks an access of `size` bytes by a lane, aligned to `size`.
    #[inline]
    pub(super) fn locate(
        &mut self,
        (index, lane): (usize, usize),
        at: &Address,
        size: usize,
        pc: usize,
        does: &str,
    ) -> Result<Where> {
        let address = self.warps[index].rows[usize::from(at.base)][lane].wrapping_add_signed(at.offset);
        let (space, address) = match at.space {
            Space::Generic => match address >> 60 {
                1 => (Space::Shared, address & 0xffff_ffff),
                2 => (Space::Local, address & 0xffff_ffff),
                3 => (Space::Param, address & 0xffff_ffff),
                _ => (Space::Global, address),
            },
            space => (space, address),
        };
        if address & (size as u64 - 1) != 0 {
            return Err(self.refused(index, lane, Kind::MisalignedAddress, || {
                format!("{does} {size} bytes at {address:#x}, which is no multiple of {size}")
            }));
        }
        match space {
            Space::Global | Space::Const | Space::Generic => {
                let (from, to) = self.last[pc];
                let room = to.wrapping_sub(from).checked_sub(size as u64);
                if room.is_none_or(|room| address.wrapping_sub(from) > room) {
                    match self.memory.find(address, size) {
                        Ok(found) => self.last[pc] = found,
                        Err(fault) => {
                            return Err(
                                self.refused(index, lane, fault.kind, || format!("{does} {}", fault.text))
                            );
                        }
                    }
                }
                Ok(Where::Global(address))
            }
            Space::Shared => {
                let (offset, bytes) = (address as u32 as usize, self.shared.len());
                if offset + size > bytes {
                    return Err(self.refused(index, lane, Kind::IllegalAddress, || {
                        format!("{does} {size} bytes at {offset} of shared memory, of which the block has {bytes} bytes")
                    }));
                }
                Ok(Where::Shared(offset))
            }
            Space::Local => {
                let (offset, bytes) = (address as usize, self.program.local);
                if offset.saturating_add(size) > bytes {
                    return Err(self.refused(index, lane, Kind::IllegalAddress, || {
                        format!("{does} {size} bytes at {offset} of local memory, of which a thread has {bytes} bytes")
                    }));
                }
                Ok(Where::Local(lane * bytes + offset))
            }
            Space::Param => {
                let (offset, bytes) = (address as usize, self.arguments.len());
                if offset.saturating_add(size) > bytes {
                    return Err(self.refused(index, lane, Kind::IllegalAddress, || {
                        format!("{does} {size} bytes at {offset} of the arguments, which are {bytes} bytes")
                    }));
                }
                Ok(Where::Param(offset))
            }
        }
    }

    #[cold]
    fn refused(&mut self, index: usize, lane: usize, kind: Kind, text: impl FnOnce() -> String) -> Fault {
        self.at.thread = Some(self.warps[index].thread(lane));
        Fault::new(kind, text())
    }

    /// The same fault with the lane that it happened to.
    pub(super) fn of_lane(&mut self, index: usize, lane: usize) {
        self.at.thread = Some(self.warps[index].thread(lane));
    }

    /// The addresses of a warp's lanes, if all active ones lie in the allocation that this instruction touched last and are
    /// aligned: the usual case, without a look at each.
    #[inline(always)]
    fn usual(&self, index: usize, active: u32, at: &Address, size: usize, pc: usize) -> Option<Row> {
        let base = &self.warps[index].rows[usize::from(at.base)];
        let (from, to) = self.last[pc];
        let room = to.wrapping_sub(from).checked_sub(size as u64)?;
        let addresses: Row = std::array::from_fn(|lane| base[lane].wrapping_add_signed(at.offset));
        let mut good = 0;
        for (lane, address) in addresses.iter().enumerate() {
            let fits = address.wrapping_sub(from) <= room && address & (size as u64 - 1) == 0;
            good |= u32::from(fits) << lane;
        }
        (active & !good == 0).then_some(addresses)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn load(
        &mut self,
        index: usize,
        active: u32,
        at: &Address,
        size: usize,
        signed: bool,
        to: &[Option<Reg>],
        pc: usize,
    ) -> Result<()> {
        let whole = size * to.len();
        let of_device = matches!(at.space, Space::Global | Space::Generic);
        if of_device
            && !self.memory.check_initialised
            && let Some(addresses) = self.usual(index, active, at, whole, pc)
        {
            for (i, register) in to.iter().enumerate() {
                let Some(register) = register else { continue };
                let row = &mut self.warps[index].rows[usize::from(*register)];
                let offset = (i * size) as u64;
                let mut each_lane = |read: &dyn Fn(u64) -> u64| {
                    for lane in each(active) {
                        row[lane] = read(addresses[lane] + offset);
                    }
                };
                match (size, signed) {
                    (4, false) => each_lane(&|address| device_load(address, 4)),
                    (8, _) => each_lane(&|address| device_load(address, 8)),
                    _ => each_lane(&|address| extend(device_load(address, size), size, signed)),
                }
            }
            return Ok(());
        }
        if at.space == Space::Param {
            // An argument is the same for all.
            let base = &self.warps[index].rows[usize::from(at.base)];
            let first = active.trailing_zeros() as usize;
            if each(active).all(|lane| base[lane] == base[first]) {
                let place = self.locate((index, first), at, whole, pc, "reads")?;
                let Where::Param(offset) = place else { return Ok(()) };
                for (i, register) in to.iter().enumerate() {
                    let Some(register) = register else { continue };
                    let bits = extend(bits_of(&self.arguments[offset + i * size..], size), size, signed);
                    let row = &mut self.warps[index].rows[usize::from(*register)];
                    for (lane, value) in row.iter_mut().enumerate() {
                        *value = if active >> lane & 1 == 1 { bits } else { *value };
                    }
                }
                return Ok(());
            }
        }
        for lane in each(active) {
            let place = self.locate((index, lane), at, whole, pc, "reads")?;
            match place {
                Where::Global(address) if self.memory.check_initialised => {
                    self.of_lane(index, lane);
                    self.memory.assert_written(address, whole)?;
                }
                Where::Shared(offset) if self.races.is_some() => {
                    let who = self.toucher(index, lane);
                    if let Some(races) = &mut self.races
                        && let Err(fault) = races.read(offset, whole, who)
                    {
                        self.of_lane(index, lane);
                        return Err(fault);
                    }
                }
                _ => {}
            }
            for (i, register) in to.iter().enumerate() {
                let Some(register) = register else { continue };
                let at = i * size;
                let bits = match place {
                    Where::Global(address) => device_load(address + at as u64, size),
                    Where::Shared(offset) => bits_of(&self.shared[offset + at..], size),
                    Where::Local(offset) => bits_of(&self.warps[index].local[offset + at..], size),
                    Where::Param(offset) => bits_of(&self.arguments[offset + at..], size),
                };
                self.warps[index].rows[usize::from(*register)][lane] = extend(bits, size, signed);
            }
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        index: usize,
        active: u32,
        at: &Address,
        size: usize,
        from: &[Reg],
        pc: usize,
    ) -> Result<()> {
        let whole = size * from.len();
        let of_device = matches!(at.space, Space::Global | Space::Generic);
        if of_device
            && !self.memory.check_initialised
            && let Some(addresses) = self.usual(index, active, at, whole, pc)
        {
            for (i, &register) in from.iter().enumerate() {
                let row = &self.warps[index].rows[usize::from(register)];
                let offset = (i * size) as u64;
                for lane in each(active) {
                    device_store(addresses[lane] + offset, size, row[lane]);
                }
            }
            return Ok(());
        }
        for lane in each(active) {
            let place = self.locate((index, lane), at, whole, pc, "writes")?;
            if let Where::Global(address) = place {
                if at.space == Space::Const {
                    return Err(
                        self.refused(index, lane, Kind::IllegalAddress, || "writes a constant".into())
                    );
                }
                self.memory.mark_written(address, whole);
            }
            if let Where::Shared(offset) = place
                && self.races.is_some()
            {
                let same = from.iter().enumerate().all(|(i, &register)| {
                    let bits = self.warps[index].rows[usize::from(register)][lane];
                    let mask = if size == 8 { u64::MAX } else { (1 << (8 * size)) - 1 };
                    bits_of(&self.shared[offset + i * size..], size) == bits & mask
                });
                self.shared_write(index, lane, offset, whole, false, same)?;
            }
            for (i, &register) in from.iter().enumerate() {
                let bits = self.warps[index].rows[usize::from(register)][lane];
                let (at, bytes) = (i * size, bits.to_le_bytes());
                match place {
                    Where::Global(address) => device_store(address + at as u64, size, bits),
                    Where::Shared(offset) => {
                        self.shared[offset + at..][..size].copy_from_slice(&bytes[..size]);
                    }
                    Where::Local(offset) => {
                        self.warps[index].local[offset + at..][..size].copy_from_slice(&bytes[..size]);
                    }
                    Where::Param(_) => {
                        return Err(
                            self.refused(index, lane, Kind::IllegalAddress, || "writes an argument".into())
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks for races of a write to shared memory.
    pub(super) fn shared_write(
        &mut self,
        index: usize,
        lane: usize,
        offset: usize,
        size: usize,
        atomic: bool,
        same: bool,
    ) -> Result<()> {
        let who = self.toucher(index, lane);
        if let Some(races) = &mut self.races
            && let Err(fault) = races.write(offset, size, who, atomic, same)
        {
            self.of_lane(index, lane);
            return Err(fault);
        }
        Ok(())
    }

    /// `cp.async`: nothing lands before the thread waits for it; until then there is what shows.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn copy(
        &mut self,
        index: usize,
        active: u32,
        to: &Address,
        from: &Address,
        size: usize,
        read: Option<Reg>,
        pc: usize,
    ) -> Result<()> {
        for lane in each(active) {
            let read = read
                .map_or(size, |register| self.warps[index].rows[usize::from(register)][lane] as u32 as usize);
            if read > size {
                return Err(self.refused(index, lane, Kind::InvalidValue, || {
                    format!("cp.async of {size} bytes is to read {read} bytes")
                }));
            }
            let Where::Shared(offset) = self.locate((index, lane), to, size, pc, "copies to")? else {
                return Err(self
                    .refused(index, lane, Kind::IllegalAddress, || "cp.async goes to shared memory".into()));
            };
            let mut source = 0;
            if read > 0 {
                // Its source is aligned to the whole size, however much is read.
                let base =
                    self.warps[index].rows[usize::from(from.base)][lane].wrapping_add_signed(from.offset);
                if !base.is_multiple_of(size as u64) {
                    return Err(self.refused(index, lane, Kind::MisalignedAddress, || {
                        format!("copies {size} bytes from {base:#x}, which is no multiple of {size}")
                    }));
                }
                if let Err(fault) = self.memory.find(base, read) {
                    return Err(self.refused(index, lane, fault.kind, || format!("copies {}", fault.text)));
                }
                source = base;
            }
            let who = self.toucher(index, lane);
            if let Some(races) = &mut self.races
                && let Err(fault) = races.copy_begins(offset, size, who)
            {
                self.of_lane(index, lane);
                return Err(fault);
            }
            self.shared[offset..offset + size].fill(0xff);
            let copies = &mut self.warps[index].copies[lane];
            let group = copies.committed;
            copies.pending.push_back(Pending { group, to: offset, from: source, size, read });
        }
        Ok(())
    }

    pub(super) fn copy_wait(&mut self, index: usize, active: u32, left: Option<u32>, _: usize) -> Result<()> {
        for lane in each(active) {
            loop {
                let copies = &mut self.warps[index].copies[lane];
                let Some(&pending) = copies.pending.front() else { break };
                let done = match left {
                    Some(left) => pending.group + left < copies.committed,
                    None => true,
                };
                if !done {
                    break;
                }
                copies.pending.pop_front();
                let Pending { to, from, size, read, .. } = pending;
                self.of_lane(index, lane);
                let bytes = self.memory.read(from, read)?;
                self.shared[to..to + read].copy_from_slice(bytes);
                self.shared[to + read..to + size].fill(0);
                let who = self.toucher(index, lane);
                if let Some(races) = &mut self.races {
                    races.copy_lands(to, size, who);
                }
            }
        }
        Ok(())
    }

    /// The addresses of the rows of 8×8 matrices, one a lane, and their 16 bytes.
    fn matrix_row(
        &mut self,
        index: usize,
        lane: usize,
        at: &Address,
        pc: usize,
        does: &str,
    ) -> Result<usize> {
        match self.locate((index, lane), at, 16, pc, does)? {
            Where::Shared(offset) => Ok(offset),
            _ => {
                Err(self
                    .refused(index, lane, Kind::IllegalAddress, || "a matrix lies in shared memory".into()))
            }
        }
    }

    /// `ldmatrix`: lane i of each eight has the address of a row; lane l gets elements 2 (l mod 4) and the next of row l / 4,
    /// or with `.trans` of column l / 4.
    pub(super) fn load_matrix(
        &mut self,
        index: usize,
        at: &Address,
        to: &[Reg],
        transposed: bool,
        pc: usize,
    ) -> Result<()> {
        let mut matrices = Vec::with_capacity(to.len());
        for matrix in 0..to.len() {
            let mut rows = [[0u16; 8]; 8];
            for (row, elements) in rows.iter_mut().enumerate() {
                let lane = matrix * 8 + row;
                let offset = self.matrix_row(index, lane, at, pc, "reads")?;
                // All threads of the warp read; the one that has the address stands for them.
                let who = self.toucher(index, lane);
                if let Some(races) = &mut self.races
                    && let Err(fault) = races.read(offset, 16, who)
                {
                    self.of_lane(index, lane);
                    return Err(fault);
                }
                for (i, element) in elements.iter_mut().enumerate() {
                    *element = bits_of(&self.shared[offset + 2 * i..], 2) as u16;
                }
            }
            matrices.push(rows);
        }
        let warp = &mut self.warps[index];
        for (rows, &register) in matrices.iter().zip(to) {
            for lane in 0..LANES {
                let (i, j) = (lane / 4, 2 * (lane % 4));
                let (low, high) =
                    if transposed { (rows[j][i], rows[j + 1][i]) } else { (rows[i][j], rows[i][j + 1]) };
                warp.rows[usize::from(register)][lane] = u64::from(low) | u64::from(high) << 16;
            }
        }
        Ok(())
    }

    /// `stmatrix`, the other way round.
    pub(super) fn store_matrix(
        &mut self,
        index: usize,
        at: &Address,
        from: &[Reg],
        transposed: bool,
        pc: usize,
    ) -> Result<()> {
        for (matrix, &register) in from.iter().enumerate() {
            let fragment = self.warps[index].rows[usize::from(register)];
            let mut rows = [[0u16; 8]; 8];
            for (lane, bits) in fragment.iter().enumerate() {
                let (i, j) = (lane / 4, 2 * (lane % 4));
                let (low, high) = (*bits as u16, (*bits >> 16) as u16);
                if transposed {
                    (rows[j][i], rows[j + 1][i]) = (low, high);
                } else {
                    (rows[i][j], rows[i][j + 1]) = (low, high);
                }
            }
            for (row, elements) in rows.iter().enumerate() {
                let lane = matrix * 8 + row;
                let offset = self.matrix_row(index, lane, at, pc, "writes")?;
                self.shared_write(index, lane, offset, 16, false, false)?;
                for (i, element) in elements.iter().enumerate() {
                    self.shared[offset + 2 * i..][..2].copy_from_slice(&element.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// What a thread has at an address of its own, for a message.
    pub(super) fn local_value(&mut self, index: usize, lane: usize, at: &Address, size: usize) -> u64 {
        let address =
            self.warps[index].rows[usize::from(at.base)][lane].wrapping_add_signed(at.offset) as usize;
        let start = lane * self.program.local + address;
        self.warps[index].local.get(start..start + size).map_or(0, |bytes| bits_of(bytes, size))
    }

    /// A text that ends with a zero, for a message.
    pub(super) fn text(&self, address: u64) -> String {
        let Ok((_, end)) = self.memory.find(address, 1) else { return "?".into() };
        let bytes = self.memory.read(address, (end - address) as usize).unwrap_or(&[]);
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}
