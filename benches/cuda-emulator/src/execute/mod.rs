//! Runs a block: warps of 32 threads, one instruction for all of a warp that stand at it.
//!
//! Each thread has its own place in the program. Of a warp, those at the lowest place go on, until they reach the next ones:
//! so threads that went apart meet again where their ways do. A warp goes on until all its threads wait or are done; then the
//! next one does.

pub mod atomic;
pub mod float;
pub mod lanes;
pub mod memory;
pub mod mma;
pub mod race;
pub mod shuffle;

use std::collections::VecDeque;

use crate::fault::{Fault, Kind, Result};
use crate::memory::Memory;
use crate::program::{AtBarrier, Carry, Condition, Logic, Op, Program, Reg, TRUE};
use lanes::{LANES, Row, each};
use race::{Races, Toucher};

/// Where in the program a launch went wrong, for the message.
#[derive(Debug, Clone, Copy, Default)]
pub struct At {
    /// Index of the instruction.
    pub pc: usize,
    /// The thread, as a number in its block; none where it is the whole warp or block.
    pub thread: Option<u32>,
}

/// A copy to shared memory under way.
#[derive(Debug, Clone, Copy)]
struct Pending {
    group: u32,
    to: usize,
    from: u64,
    size: usize,
    read: usize,
}

/// The copies of a thread.
#[derive(Debug, Clone, Default)]
struct Copies {
    pending: VecDeque<Pending>,
    /// How many groups were committed.
    committed: u32,
}

/// 32 threads.
#[derive(Debug)]
pub struct Warp {
    /// Which of the block it is.
    number: usize,
    rows: Vec<Row>,
    predicates: Vec<u32>,
    carry: u32,
    pc: [u32; LANES],
    /// Threads that are not done.
    live: u32,
    /// Threads that wait at a barrier of the block.
    waiting: u32,
    /// Threads that wait for others of the warp.
    held: u32,
    /// How often the warp has met.
    sync: u32,
    local: Vec<u8>,
    copies: Vec<Copies>,
}

impl Warp {
    /// The number of a thread in its block.
    fn thread(&self, lane: usize) -> u32 {
        (self.number * LANES + lane) as u32
    }
}

/// What a launch is of: the same for all blocks.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Blocks in each direction.
    pub grid: [u32; 3],
    /// Threads of a block in each direction.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic: usize,
}

impl Shape {
    /// Threads of a block.
    pub fn threads(&self) -> usize {
        self.block.iter().map(|&extent| extent as usize).product()
    }
}

/// A block that runs, reused for the next one.
#[derive(Debug)]
pub struct Block<'a> {
    program: &'a Program,
    memory: &'a mut Memory,
    arguments: &'a [u8],
    shape: Shape,
    warps: Vec<Warp>,
    shared: Vec<u8>,
    races: Option<Races>,
    /// The allocation that each instruction touched last: from where to where.
    last: Vec<(u64, u64)>,
    at: At,
    /// Instructions times threads.
    pub executed: u64,
    arrived: [u32; 16],
    reverse: bool,
    copies: bool,
}

/// What goes on after an instruction.
enum Next {
    /// The one behind it.
    On,
    /// Somewhere else.
    To(u32),
    /// The places of the lanes are already written.
    Again,
}

impl<'a> Block<'a> {
    /// For the blocks of a launch. `reverse` runs the last warp first; `spare` are warps of an earlier launch of the program.
    pub fn new(
        program: &'a Program,
        memory: &'a mut Memory,
        arguments: &'a [u8],
        shape: Shape,
        check_races: bool,
        reverse: bool,
        spare: Vec<Warp>,
    ) -> Self {
        let shared = program.shared + shape.dynamic;
        let copies = program.ops.iter().any(|op| matches!(op, Op::Copy { .. }));
        let together = program.ops.iter().any(|op| matches!(op, Op::Barrier { .. }));
        let count = shape.threads().div_ceil(LANES);
        let mut warps = spare;
        let fresh = || {
            // Registers that were never written hold what shows.
            let mut rows = vec![[u64::MAX; LANES]; program.rows];
            for &(register, bits) in &program.constants {
                rows[usize::from(register)] = [bits; LANES];
            }
            Warp {
                number: 0,
                rows,
                predicates: vec![0; program.predicates],
                carry: 0,
                pc: [0; LANES],
                live: 0,
                waiting: 0,
                held: 0,
                sync: 0,
                local: vec![0xff; program.local * LANES],
                copies: if copies { vec![Copies::default(); LANES] } else { Vec::new() },
            }
        };
        warps.resize_with(if together { count } else { 1 }, fresh);
        for warp in &mut warps {
            warp.predicates[usize::from(TRUE)] = u32::MAX;
            let rows = &mut warp.rows;
            for axis in 0..3 {
                rows[3 + axis] = [u64::from(shape.block[axis]); LANES];
                rows[9 + axis] = [u64::from(shape.grid[axis]); LANES];
            }
            for lane in each(u32::MAX) {
                rows[12][lane] = lane as u64;
                rows[15][lane] = 1 << lane;
                rows[16][lane] = (2 << lane) - 1;
                rows[17][lane] = (1 << lane) - 1;
                rows[18][lane] = u64::from(u32::MAX << lane);
                rows[19][lane] = u64::from(!((2u64 << lane) - 1) as u32);
            }
            rows[14] = [count as u64; LANES];
            rows[20] = [shape.dynamic as u64; LANES];
            rows[21] = [shared as u64; LANES];
            for (special, row) in rows.iter_mut().enumerate().take(27).skip(22) {
                *row = [u64::from(special == 23); LANES];
            }
        }
        let races = (check_races && shared > 0).then(|| Races::new(shared, program.granule));
        Self {
            program,
            memory,
            arguments,
            shape,
            warps,
            shared: vec![0xff; shared],
            races,
            last: vec![(0, 0); program.ops.len()],
            at: At::default(),
            executed: 0,
            arrived: [0; 16],
            reverse,
            copies,
        }
    }

    /// The warps, for the next launch.
    pub fn spare(self) -> Vec<Warp> {
        self.warps
    }

    /// Where it went wrong.
    pub fn at(&self) -> At {
        self.at
    }

    /// Runs the block of these coordinates.
    ///
    /// # Errors
    /// What a kernel can do wrong.
    pub fn run(&mut self, block: [u32; 3]) -> Result<()> {
        self.shared.fill(0xff);
        self.arrived = [0; 16];
        if let Some(races) = &mut self.races {
            races.next_block(self.copies);
        }
        let count = self.shape.threads().div_ceil(LANES);
        let in_order = |index: usize, reverse: bool| if reverse { count - 1 - index } else { index };
        if self.warps.len() < count {
            // None waits for another: one after another they use the same registers.
            for index in 0..count {
                self.begin(0, in_order(index, self.reverse), block);
                self.warp(0)?;
            }
            return Ok(());
        }
        for index in 0..count {
            self.begin(index, index, block);
        }
        loop {
            for index in 0..count {
                self.warp(in_order(index, self.reverse))?;
            }
            if self.warps.iter().all(|warp| warp.live == 0) {
                return Ok(());
            }
            self.release()?;
        }
    }

    /// A warp stands at the first instruction. Its registers hold what they held.
    fn begin(&mut self, index: usize, number: usize, block: [u32; 3]) {
        let threads = self.shape.threads();
        let [bx, by, _] = self.shape.block.map(|extent| extent as usize);
        let warp = &mut self.warps[index];
        let lanes = (threads - number * LANES).min(LANES);
        warp.number = number;
        warp.live = if lanes == LANES { u32::MAX } else { (1 << lanes) - 1 };
        (warp.waiting, warp.held, warp.sync, warp.carry) = (0, 0, 1, 0);
        warp.pc = [0; LANES];
        warp.local.fill(0xff);
        warp.copies.fill(Copies::default());
        for lane in 0..LANES {
            let thread = number * LANES + lane;
            let (row, x) = if by == 1 && thread < bx { (0, thread) } else { (thread / bx, thread % bx) };
            warp.rows[0][lane] = x as u64;
            warp.rows[1][lane] = (row % by) as u64;
            warp.rows[2][lane] = (row / by) as u64;
        }
        for (axis, &at) in block.iter().enumerate() {
            warp.rows[6 + axis] = [u64::from(at); LANES];
        }
        warp.rows[13] = [number as u64; LANES];
    }

    /// Runs a warp until none of its threads can go on.
    fn warp(&mut self, index: usize) -> Result<()> {
        loop {
            let warp = &mut self.warps[index];
            let runnable = warp.live & !warp.waiting & !warp.held;
            if runnable == 0 {
                if warp.held != 0 {
                    let lane = warp.held.trailing_zeros();
                    self.at =
                        At { pc: warp.pc[lane as usize] as usize, thread: Some(index as u32 * 32 + lane) };
                    return Err(failed("threads of a warp wait for others that are done or wait elsewhere"));
                }
                return Ok(());
            }
            // Without a branch for each lane, as this is done whenever threads go apart.
            let places: [u32; LANES] =
                std::array::from_fn(|lane| if runnable >> lane & 1 == 1 { warp.pc[lane] } else { u32::MAX });
            let pc = places.iter().fold(u32::MAX, |least, &place| least.min(place));
            let (mut mask, mut next) = (0, u32::MAX);
            for (lane, &place) in places.iter().enumerate() {
                mask |= u32::from(place == pc) << lane;
                next = next.min(if place == pc { u32::MAX } else { place });
            }
            self.group(index, mask, pc as usize, next as usize)?;
        }
    }

    /// Runs threads that stand at one place, until they go apart, wait, are done, or come to where others stand.
    fn group(&mut self, index: usize, mask: u32, mut pc: usize, next: usize) -> Result<()> {
        let program = self.program;
        let lanes = u64::from(mask.count_ones());
        loop {
            let guard = program.guards[pc];
            let warp = &mut self.warps[index];
            let active = mask & holds(warp, guard);
            self.executed += lanes;
            let rows = &mut warp.rows[..];
            let goes = match &program.ops[pc] {
                // Elementwise instructions are by far the most.
                &Op::One(f, d, a) => {
                    f(rows, active, d, a);
                    Next::On
                }
                &Op::Two(f, d, a, b) => {
                    f(rows, active, d, a, b);
                    Next::On
                }
                &Op::Three(f, d, a, b, c) => {
                    f(rows, active, d, a, b, c);
                    Next::On
                }
                &Op::Jump(target) => {
                    if active == mask {
                        Next::To(target)
                    } else if active == 0 {
                        Next::On
                    } else {
                        for lane in each(mask) {
                            warp.pc[lane] = if active >> lane & 1 == 1 { target } else { pc as u32 + 1 };
                        }
                        Next::Again
                    }
                }
                &Op::Compare { holds: compare, p, q, a, b, with } => {
                    let found = compare(rows, a, b);
                    let (p_value, q_value) = match with {
                        None => (found, !found),
                        Some((logic, condition)) => {
                            let other = holds(warp, condition);
                            (combine(logic, found, other), combine(logic, !found, other))
                        }
                    };
                    put(warp, p, active, p_value);
                    put(warp, q, active, q_value);
                    Next::On
                }
                &Op::Select { d, a, b, by } => {
                    let by = holds(warp, by);
                    let rows = &mut warp.rows;
                    let (a, b) = (rows[usize::from(a)], rows[usize::from(b)]);
                    let d = &mut rows[usize::from(d)];
                    for lane in each(u32::MAX) {
                        let value = if by >> lane & 1 == 1 { a[lane] } else { b[lane] };
                        d[lane] = if active >> lane & 1 == 1 { value } else { d[lane] };
                    }
                    Next::On
                }
                _ if active == 0 => Next::On,
                op => {
                    self.at = At { pc, thread: None };
                    self.other(index, op, mask, active, pc)?
                }
            };
            match goes {
                Next::On => pc += 1,
                Next::To(target) => pc = target as usize,
                Next::Again => return Ok(()),
            }
            if pc >= next {
                let warp = &mut self.warps[index];
                for lane in each(mask) {
                    warp.pc[lane] = pc as u32;
                }
                return Ok(());
            }
        }
    }

    fn other(&mut self, index: usize, op: &Op, mask: u32, active: u32, pc: usize) -> Result<Next> {
        let warp = &mut self.warps[index];
        match op {
            Op::Nothing | Op::One(..) | Op::Two(..) | Op::Three(..) => {}
            Op::Jump(_) | Op::Compare { .. } | Op::Select { .. } => {}
            Op::Four(f, d, from) => f(&mut warp.rows, active, *d, *from),
            &Op::Predicate { logic, p, a, b } => {
                let value = combine(logic, holds(warp, a), holds(warp, b));
                put(warp, p, active, value);
            }
            &Op::Carry { function, d, a, b, c, reads, writes } => {
                carry(warp, active, function, [d, a, b, c], reads, writes);
            }
            Op::Pack { d, from, width } => {
                for lane in each(active) {
                    let bits = from.iter().enumerate().fold(0u64, |bits, (i, &register)| {
                        let part = warp.rows[usize::from(register)][lane] & ((1u64 << width) - 1);
                        bits | part << (i as u32 * width)
                    });
                    warp.rows[usize::from(*d)][lane] = bits;
                }
            }
            Op::Unpack { to, a, width } => {
                for lane in each(active) {
                    let bits = warp.rows[usize::from(*a)][lane];
                    for (i, register) in to.iter().enumerate() {
                        if let Some(register) = register {
                            warp.rows[usize::from(*register)][lane] =
                                bits >> (i as u32 * width) & ((1u64 << width) - 1);
                        }
                    }
                }
            }
            Op::JumpTable { table, index: register } => {
                for lane in each(mask) {
                    warp.pc[lane] = if active >> lane & 1 == 1 {
                        let entry = warp.rows[usize::from(*register)][lane] as u32 as usize;
                        *table.get(entry).ok_or_else(|| failed("brx.idx goes past its list of targets"))?
                    } else {
                        pc as u32 + 1
                    };
                }
                return Ok(Next::Again);
            }
            Op::Exit => {
                warp.live &= !active;
                for lane in each(mask) {
                    warp.pc[lane] = pc as u32 + 1;
                }
                return Ok(Next::Again);
            }
            Op::Trap => {
                self.at.thread = Some(warp.thread(active.trailing_zeros() as usize));
                return Err(failed("the kernel executes `trap`"));
            }
            Op::Unknown(what) => return Err(Fault::new(Kind::NotSupported, format!("{what}"))),
            Op::Assert { message, file, line, function } => {
                let lane = active.trailing_zeros() as usize;
                self.at.thread = Some(warp.thread(lane));
                let mut value = |at, size| self.local_value(index, lane, at, size);
                let (message, file, function) = (value(message, 8), value(file, 8), value(function, 8));
                let line = value(line, 4);
                let text = format!(
                    "assertion `{}` failed in {} ({}:{line})",
                    self.text(message),
                    self.text(function),
                    self.text(file)
                );
                return Err(Fault::new(Kind::Assert, text));
            }
            Op::Load { at, size, signed, to } => {
                self.load(index, active, at, usize::from(*size), *signed, to, pc)?;
            }
            Op::Store { at, size, from } => self.store(index, active, at, usize::from(*size), from, pc)?,
            &Op::Atomic { at, what, number, d, a, b } => {
                self.atomic(index, active, at, (what, number), d, [a, b], pc)?;
            }
            &Op::Barrier { id, what, .. } => {
                let id = self.warps[index].rows[usize::from(id)][active.trailing_zeros() as usize];
                if id > 15 {
                    return Err(failed("there are barriers 0 to 15 only"));
                }
                let warp = &mut self.warps[index];
                if what == AtBarrier::Arrive {
                    self.arrived[id as usize] += active.count_ones();
                } else {
                    warp.waiting |= active;
                    for lane in each(mask) {
                        warp.pc[lane] = if active >> lane & 1 == 1 { pc as u32 } else { pc as u32 + 1 };
                    }
                    return Ok(Next::Again);
                }
            }
            &Op::WarpBarrier { members }
            | &Op::Shuffle { members, .. }
            | &Op::Vote { members, .. }
            | &Op::Match { members, .. }
            | &Op::Reduce { members, .. } => return self.together(index, op, mask, active, pc, members),
            &Op::ActiveMask { d } => {
                for lane in each(active) {
                    warp.rows[usize::from(d)][lane] = u64::from(active);
                }
            }
            &Op::Copy { to, from, size, read } => {
                self.copy(index, active, &to, &from, usize::from(size), read, pc)?;
            }
            Op::CopyCommit => {
                for lane in each(active) {
                    warp.copies[lane].committed += 1;
                }
            }
            &Op::CopyWait { left } => self.copy_wait(index, active, left, pc)?,
            Op::LoadMatrix { at, to, transposed } => {
                if let Some(next) = self.whole_warp(index, mask, active, pc)? {
                    return Ok(next);
                }
                self.load_matrix(index, at, to, *transposed, pc)?;
            }
            Op::StoreMatrix { at, from, transposed } => {
                if let Some(next) = self.whole_warp(index, mask, active, pc)? {
                    return Ok(next);
                }
                self.store_matrix(index, at, from, *transposed, pc)?;
            }
            Op::Mma { shape, d, a, b, c } => {
                if let Some(next) = self.whole_warp(index, mask, active, pc)? {
                    return Ok(next);
                }
                mma::multiply(&mut self.warps[index].rows, *shape, d, a, b, c);
            }
        }
        Ok(Next::On)
    }

    /// What is `.aligned` needs all threads of the warp: those that came early wait for the others.
    fn whole_warp(&mut self, index: usize, mask: u32, active: u32, pc: usize) -> Result<Option<Next>> {
        let warp = &mut self.warps[index];
        if active == u32::MAX {
            return Ok(None);
        }
        if warp.live != u32::MAX || active != mask {
            return Err(failed(
                "this instruction needs all 32 threads of the warp, and some are done or do not take part",
            ));
        }
        self.hold(index, mask, active, pc);
        Ok(Some(Next::Again))
    }

    fn hold(&mut self, index: usize, mask: u32, active: u32, pc: usize) {
        let warp = &mut self.warps[index];
        warp.held |= active;
        for lane in each(mask) {
            warp.pc[lane] = if active >> lane & 1 == 1 { pc as u32 } else { pc as u32 + 1 };
        }
        // Once all of them stand here they go on.
        let here =
            each(warp.held).fold(0u32, |here, lane| here | u32::from(warp.pc[lane] == pc as u32) << lane);
        if here == warp.live & !warp.waiting {
            warp.held &= !here;
        }
    }

    /// Lets threads go that have all come to a barrier.
    fn release(&mut self) -> Result<()> {
        let program = self.program;
        let mut waiting = [0u32; 16];
        let mut wanted: [Option<u32>; 16] = [None; 16];
        let mut some = None;
        for warp in &self.warps {
            let mut first: Option<u32> = None;
            for lane in each(warp.waiting) {
                let pc = warp.pc[lane] as usize;
                self.at = At { pc, thread: Some(warp.thread(lane)) };
                some = Some(self.at);
                if *first.get_or_insert(pc as u32) != pc as u32 {
                    return Err(failed("threads of one warp wait at different barriers"));
                }
                let Op::Barrier { id, count, .. } = program.ops[pc] else { continue };
                let id = warp.rows[usize::from(id)][lane] as usize;
                waiting[id] += 1;
                if let Some(count) = count {
                    wanted[id] = Some(warp.rows[usize::from(count)][lane] as u32);
                }
            }
        }
        let live: u32 = self.warps.iter().map(|warp| warp.live.count_ones()).sum();
        let threads = self.shape.threads() as u32;
        let mut released = false;
        for id in 0..16 {
            if waiting[id] == 0 {
                continue;
            }
            let expected = wanted[id].unwrap_or(threads);
            if waiting[id] + self.arrived[id] == expected {
                self.pass(id);
                self.arrived[id] = 0;
                released = true;
            }
        }
        if released {
            return Ok(());
        }
        self.at = some.unwrap_or(self.at);
        let ids: Vec<_> = (0..16).filter(|&id| waiting[id] > 0).collect();
        let counts: Vec<_> = ids.iter().map(|&id| format!("{} at barrier {id}", waiting[id])).collect();
        Err(failed(format!(
            "a barrier that is never passed: of {threads} threads {} are done, and there wait {}",
            threads - live,
            counts.join(", ")
        )))
    }

    /// All threads at this barrier go on, with what it reduces.
    fn pass(&mut self, id: usize) {
        let program = self.program;
        let (mut count, mut all, mut lanes_here) = (0, true, Vec::new());
        for (index, warp) in self.warps.iter().enumerate() {
            let mut here = 0u32;
            for lane in each(warp.waiting) {
                let Op::Barrier { id: register, what, .. } = program.ops[warp.pc[lane] as usize] else {
                    continue;
                };
                if warp.rows[usize::from(register)][lane] as usize != id {
                    continue;
                }
                here |= 1 << lane;
                if let AtBarrier::Count(_, by) | AtBarrier::All(_, by) | AtBarrier::Any(_, by) = what {
                    let holds = holds(warp, by) >> lane & 1 == 1;
                    count += u64::from(holds);
                    all &= holds;
                }
            }
            lanes_here.push((index, here));
        }
        for (index, here) in lanes_here {
            let warp = &mut self.warps[index];
            for lane in each(here) {
                if let Op::Barrier { what, .. } = program.ops[warp.pc[lane] as usize] {
                    match what {
                        AtBarrier::Count(d, _) => warp.rows[usize::from(d)][lane] = count,
                        AtBarrier::All(p, _) => put(warp, p, 1 << lane, if all { u32::MAX } else { 0 }),
                        AtBarrier::Any(p, _) => put(warp, p, 1 << lane, if count > 0 { u32::MAX } else { 0 }),
                        AtBarrier::Wait | AtBarrier::Arrive => {}
                    }
                }
                warp.pc[lane] += 1;
            }
            warp.waiting &= !here;
            warp.sync += 1;
        }
        if let Some(races) = &mut self.races {
            races.barrier();
        }
    }

    fn toucher(&self, index: usize, lane: usize) -> Toucher {
        Toucher { thread: self.warps[index].thread(lane), sync: self.warps[index].sync }
    }
}

/// The lanes where a condition holds.
#[inline(always)]
fn holds(warp: &Warp, condition: Condition) -> u32 {
    let value = warp.predicates[usize::from(condition.register)];
    if condition.negated { !value } else { value }
}

/// Writes a predicate in some lanes.
#[inline(always)]
fn put(warp: &mut Warp, p: Reg, active: u32, value: u32) {
    let old = &mut warp.predicates[usize::from(p)];
    *old = *old & !active | value & active;
}

fn combine(logic: Logic, a: u32, b: u32) -> u32 {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

fn failed(text: impl Into<String>) -> Fault {
    Fault::new(Kind::LaunchFailed, text)
}

fn carry(warp: &mut Warp, active: u32, function: Carry, registers: [Reg; 4], reads: bool, writes: bool) {
    let [d, a, b, c] = registers.map(usize::from);
    for lane in each(active) {
        let (a, b, c) = (warp.rows[a][lane], warp.rows[b][lane], warp.rows[c][lane]);
        let wide = matches!(function, Carry::Add64 | Carry::Sub64 | Carry::MadLow64 | Carry::MadHigh64);
        let bits = if wide { 64 } else { 32 };
        let cut = |x: u64| if wide { x } else { x & 0xffff_ffff };
        let (a, b, c) = (u128::from(cut(a)), u128::from(cut(b)), u128::from(cut(c)));
        let carried = u128::from(reads && warp.carry >> lane & 1 == 1);
        let mask = (1u128 << bits) - 1;
        let exact = match function {
            Carry::Add32 | Carry::Add64 => a + b + carried,
            // The borrow is what goes below zero.
            Carry::Sub32 | Carry::Sub64 => a.wrapping_sub(b).wrapping_sub(carried),
            Carry::MadLow32 | Carry::MadLow64 => ((a * b) & mask) + c + carried,
            Carry::MadHigh32 | Carry::MadHigh64 => ((a * b) >> bits) + c + carried,
        };
        warp.rows[d][lane] = (exact & mask) as u64;
        if writes {
            let out = u32::from(exact > mask);
            warp.carry = warp.carry & !(1 << lane) | out << lane;
        }
    }
}
