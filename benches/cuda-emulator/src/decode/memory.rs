//! Loads, stores, atomics, copies to shared memory.

use super::opcode::Opcode;
use super::{Decoder, at, invalid};
use crate::fault::Result;
use crate::program::{Address, Atomic, Number, Op, Reg};
use crate::ptx::body::Operand;
use crate::ptx::module::{Space, size_of};

fn space(op: &Opcode<'_>) -> Space {
    op.parts[1..]
        .iter()
        .find_map(|part| {
            Some(match *part {
                "global" => Space::Global,
                "const" => Space::Const,
                "shared" | "shared::cta" => Space::Shared,
                "local" => Space::Local,
                "param" | "param::entry" | "param::func" => Space::Param,
                _ => return None,
            })
        })
        .unwrap_or(Space::Generic)
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn of_memory(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        Ok(Some(match op.base() {
            "ld" | "ldu" => {
                let at_ = self.address(at(operands, 1)?, space(op))?;
                let size = size_of(op.last()).ok_or_else(|| invalid("unknown type"))? as u8;
                let to = match at(operands, 0)? {
                    Operand::List(list) => {
                        list.iter().map(|part| self.loaded(part)).collect::<Result<_>>()?
                    }
                    one => [self.loaded(one)?].into(),
                };
                if size > 8 {
                    return Ok(None);
                }
                Op::Load { at: at_, size, signed: op.last().starts_with('s'), to }
            }
            "st" => {
                let at_ = self.address(at(operands, 0)?, space(op))?;
                let size = size_of(op.last()).ok_or_else(|| invalid("unknown type"))? as u8;
                let from = match at(operands, 1)? {
                    Operand::List(list) => {
                        list.iter().map(|part| self.value(part, op.last())).collect::<Result<_>>()?
                    }
                    one => [self.value(one, op.last())?].into(),
                };
                if size > 8 {
                    return Ok(None);
                }
                Op::Store { at: at_, size, from }
            }
            "atom" | "red" => return self.atomic(op, operands),
            "cp" if op.has("commit_group") => Op::CopyCommit,
            "cp" if op.has("wait_all") => Op::CopyWait { left: None },
            "cp" if op.has("wait_group") => match at(operands, 0)? {
                Operand::Bits(left) => Op::CopyWait { left: Some(*left as u32) },
                _ => return Err(invalid("a literal expected")),
            },
            "cp" if op.has("async") && (op.has("ca") || op.has("cg")) => {
                let to = self.address(at(operands, 0)?, Space::Shared)?;
                let from = self.address(at(operands, 1)?, Space::Global)?;
                let Operand::Bits(size @ (4 | 8 | 16)) = *at(operands, 2)? else {
                    return Err(invalid("a size of 4, 8 or 16 bytes expected"));
                };
                let with_policy = op.has("L2::cache_hint");
                let read = match operands.get(3) {
                    Some(operand) if !(with_policy && operands.len() == 4) => {
                        Some(self.value(operand, "u32")?)
                    }
                    _ => None,
                };
                Op::Copy { to, from, size: size as u8, read }
            }
            "ldmatrix" => {
                let to = self.matrices(at(operands, 0)?, true)?;
                self.matrix_shape(op, to.len())?;
                Op::LoadMatrix {
                    at: self.matrix_address(op, at(operands, 1)?)?,
                    to,
                    transposed: op.has("trans"),
                }
            }
            "stmatrix" => {
                let from = self.matrices(at(operands, 1)?, false)?;
                self.matrix_shape(op, from.len())?;
                Op::StoreMatrix {
                    at: self.matrix_address(op, at(operands, 0)?)?,
                    from,
                    transposed: op.has("trans"),
                }
            }
            _ => return Ok(None),
        }))
    }

    fn loaded(&mut self, operand: &Operand<'a>) -> Result<Option<Reg>> {
        match operand {
            Operand::Word("_") => Ok(None),
            _ => self.destination(operand).map(Some),
        }
    }

    fn matrices(&mut self, operand: &Operand<'a>, written: bool) -> Result<Box<[Reg]>> {
        let Operand::List(list) = operand else { return Err(invalid("a list of registers expected")) };
        list.iter()
            .map(|part| if written { self.destination(part) } else { self.value(part, "b32") })
            .collect()
    }

    fn matrix_shape(&self, op: &Opcode<'_>, registers: usize) -> Result<()> {
        let expected = [("x1", 1), ("x2", 2), ("x4", 4)].into_iter().find(|(name, _)| op.has(name));
        if !op.has("m8n8") || op.last() != "b16" || expected.is_none_or(|(_, count)| count != registers) {
            return Err(invalid("this shape is unknown to the emulator"));
        }
        Ok(())
    }

    fn matrix_address(&mut self, op: &Opcode<'_>, operand: &Operand<'a>) -> Result<Address> {
        self.address(operand, space(op))
    }

    fn atomic(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        let what = op.parts[1..].iter().find_map(|part| {
            Some(match *part {
                "add" => Atomic::Add,
                "min" => Atomic::Min,
                "max" => Atomic::Max,
                "and" => Atomic::And,
                "or" => Atomic::Or,
                "xor" => Atomic::Xor,
                "exch" => Atomic::Exchange,
                "cas" => Atomic::Compare,
                "inc" => Atomic::Increment,
                "dec" => Atomic::Decrement,
                _ => return None,
            })
        });
        let number = match op.last() {
            "b16" | "u16" => Number::U16,
            "b32" | "u32" => Number::U32,
            "s32" => Number::S32,
            "b64" | "u64" => Number::U64,
            "s64" => Number::S64,
            "f16" => Number::F16,
            "bf16" => Number::Bf16,
            "f16x2" => Number::F16x2,
            "bf16x2" => Number::Bf16x2,
            "f32" => Number::F32,
            "f64" => Number::F64,
            _ => return Ok(None),
        };
        let Some(what) = what else { return Ok(None) };
        if op.has("v2") || op.has("v4") || op.has("v8") {
            return Ok(None);
        }
        let (d, rest) = if op.base() == "atom" {
            (self.loaded(at(operands, 0)?)?, &operands[1..])
        } else {
            (None, operands)
        };
        let address = self.address(at(rest, 0)?, space(op))?;
        let a = self.value(at(rest, 1)?, op.last())?;
        let b = if what == Atomic::Compare { self.value(at(rest, 2)?, op.last())? } else { a };
        Ok(Some(Op::Atomic { at: address, what, number, d, a, b }))
    }
}
