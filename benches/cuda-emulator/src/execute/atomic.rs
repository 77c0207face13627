//! Atomic accesses, one lane after another.

use super::Block;
use super::float::{Bf16, F16, Half};
use super::lanes::{Lane, each};
use super::memory::{Where, bits_of, device_load, device_store};
use crate::fault::{Fault, Kind, Result};
use crate::program::{Address, Atomic, Number, Reg};

fn whole<T: Lane + Ord>(what: Atomic, old: u64, a: u64, add: fn(T, T) -> T) -> u64 {
    let (x, y) = (T::of(old), T::of(a));
    match what {
        Atomic::Add => add(x, y).bits(),
        Atomic::Min => x.min(y).bits(),
        Atomic::Max => x.max(y).bits(),
        _ => bitwise(what, old, a),
    }
}

fn bitwise(what: Atomic, old: u64, a: u64) -> u64 {
    match what {
        Atomic::And => old & a,
        Atomic::Or => old | a,
        Atomic::Xor => old ^ a,
        _ => a,
    }
}

fn half<T: Half>(what: Atomic, old: T, a: T) -> T {
    let (x, y) = (old.wide(), a.wide());
    T::nearest(f64::from(match what {
        Atomic::Min => x.min(y),
        Atomic::Max => x.max(y),
        _ => x + y,
    }))
}

fn pair<T: Half + Lane>(what: Atomic, old: u64, a: u64) -> u64 {
    let (old, a) = (<(T, T)>::of(old), <(T, T)>::of(a));
    (half(what, old.0, a.0), half(what, old.1, a.1)).bits()
}

/// What is there afterwards.
fn result(what: Atomic, number: Number, old: u64, a: u64, b: u64) -> u64 {
    match (what, number) {
        (Atomic::Exchange, _) => a,
        (Atomic::Compare, _) => {
            let mask = if number.size() == 8 { u64::MAX } else { (1 << (8 * number.size())) - 1 };
            if old == a & mask { b } else { old }
        }
        (Atomic::Increment, _) => {
            if old as u32 >= a as u32 {
                0
            } else {
                old + 1
            }
        }
        (Atomic::Decrement, _) => {
            let (old, a) = (old as u32, a as u32);
            u64::from(if old == 0 || old > a { a } else { old - 1 })
        }
        (_, Number::U16) => whole(what, old, a, u16::wrapping_add),
        (_, Number::U32) => whole(what, old, a, u32::wrapping_add),
        (_, Number::S32) => whole(what, old, a, i32::wrapping_add),
        (_, Number::U64) => whole(what, old, a, u64::wrapping_add),
        (_, Number::S64) => whole(what, old, a, i64::wrapping_add),
        (_, Number::F16) => half(what, F16::of(old), F16::of(a)).bits(),
        (_, Number::Bf16) => half(what, Bf16::of(old), Bf16::of(a)).bits(),
        (_, Number::F16x2) => pair::<F16>(what, old, a),
        (_, Number::Bf16x2) => pair::<Bf16>(what, old, a),
        (_, Number::F32) => (f32::of(old) + f32::of(a)).bits(),
        (_, Number::F64) => (f64::of(old) + f64::of(a)).bits(),
    }
}

impl Block<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn atomic(
        &mut self,
        index: usize,
        active: u32,
        at: Address,
        (what, number): (Atomic, Number),
        d: Option<Reg>,
        [a, b]: [Reg; 2],
        pc: usize,
    ) -> Result<()> {
        let size = number.size();
        for lane in each(active) {
            let place = self.locate((index, lane), &at, size, pc, "changes")?;
            let rows = &self.warps[index].rows;
            let (a, b) = (rows[usize::from(a)][lane], rows[usize::from(b)][lane]);
            let old = match place {
                Where::Global(address) => {
                    if self.memory.check_initialised {
                        self.of_lane(index, lane);
                        self.memory.assert_written(address, size)?;
                    }
                    let old = device_load(address, size);
                    device_store(address, size, result(what, number, old, a, b));
                    old
                }
                Where::Shared(offset) => {
                    self.shared_write(index, lane, offset, size, true, false)?;
                    let old = bits_of(&self.shared[offset..], size);
                    let new = result(what, number, old, a, b).to_le_bytes();
                    self.shared[offset..offset + size].copy_from_slice(&new[..size]);
                    old
                }
                Where::Local(_) | Where::Param(_) => {
                    self.of_lane(index, lane);
                    return Err(Fault::new(
                        Kind::IllegalAddress,
                        "changes atomically what is neither global nor shared",
                    ));
                }
            };
            if let Some(d) = d {
                self.warps[index].rows[usize::from(d)][lane] = old;
            }
        }
        Ok(())
    }
}
