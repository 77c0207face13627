//! What threads do together: barriers, shuffles, votes, products of matrices.

use super::opcode::Opcode;
use super::{Decoder, at, invalid};
use crate::execute::lanes::{self, Compare};
use crate::fault::Result;
use crate::program::{AtBarrier, Mma, Op, Reduction, Reg, Shuffle, Vote};
use crate::ptx::body::Operand;

/// `testp` and `isspacep` as comparisons of a value with itself.
pub(super) fn test(op: &Opcode<'_>) -> Option<Compare> {
    Some(match (op.parts[1], op.last()) {
        ("shared" | "shared::cta", _) => |r, a, b| lanes::compare(r, a, b, |a: u64, _| a >> 60 == 1),
        ("local", _) => |r, a, b| lanes::compare(r, a, b, |a: u64, _| a >> 60 == 2),
        ("param", _) => |r, a, b| lanes::compare(r, a, b, |a: u64, _| a >> 60 == 3),
        ("global", _) => |r, a, b| lanes::compare(r, a, b, |a: u64, _| a >> 60 == 0),
        ("finite", "f32") => |r, a, b| lanes::compare(r, a, b, |a: f32, _| a.is_finite()),
        ("finite", "f64") => |r, a, b| lanes::compare(r, a, b, |a: f64, _| a.is_finite()),
        ("infinite", "f32") => |r, a, b| lanes::compare(r, a, b, |a: f32, _| a.is_infinite()),
        ("infinite", "f64") => |r, a, b| lanes::compare(r, a, b, |a: f64, _| a.is_infinite()),
        ("number", "f32") => |r, a, b| lanes::compare(r, a, b, |a: f32, _| !a.is_nan()),
        ("number", "f64") => |r, a, b| lanes::compare(r, a, b, |a: f64, _| !a.is_nan()),
        ("notanumber", "f32") => |r, a, b| lanes::compare(r, a, b, |a: f32, _| a.is_nan()),
        ("notanumber", "f64") => |r, a, b| lanes::compare(r, a, b, |a: f64, _| a.is_nan()),
        ("normal", "f32") => |r, a, b| lanes::compare(r, a, b, |a: f32, _| a.is_normal()),
        ("normal", "f64") => |r, a, b| lanes::compare(r, a, b, |a: f64, _| a.is_normal()),
        ("subnormal", "f32") => |r, a, b| lanes::compare(r, a, b, |a: f32, _| a.is_subnormal()),
        ("subnormal", "f64") => |r, a, b| lanes::compare(r, a, b, |a: f64, _| a.is_subnormal()),
        _ => return None,
    })
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn of_warp(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        Ok(Some(match op.base() {
            "bar" if op.has("warp") => Op::WarpBarrier { members: self.value(at(operands, 0)?, "b32")? },
            "bar" | "barrier" if !op.has("cluster") => return self.barrier(op, operands),
            "shfl" if op.has("sync") => {
                let how = match () {
                    () if op.has("up") => Shuffle::Up,
                    () if op.has("down") => Shuffle::Down,
                    () if op.has("bfly") => Shuffle::Butterfly,
                    () if op.has("idx") => Shuffle::Index,
                    () => return Ok(None),
                };
                let (d, p) = match at(operands, 0)? {
                    Operand::Pair(d, p) => (*d, *p),
                    Operand::Word(d) => (*d, "_"),
                    _ => return Err(invalid("a register expected")),
                };
                Op::Shuffle {
                    how,
                    d: self.destination(&Operand::Word(d))?,
                    p: self.predicate_destination(p)?,
                    a: self.value(at(operands, 1)?, "b32")?,
                    b: self.value(at(operands, 2)?, "b32")?,
                    c: self.value(at(operands, 3)?, "b32")?,
                    members: self.value(at(operands, 4)?, "b32")?,
                }
            }
            "vote" if op.has("sync") => {
                let how = match () {
                    () if op.has("any") => Vote::Any,
                    () if op.has("all") => Vote::All,
                    () if op.has("uni") => Vote::Uniform,
                    () if op.has("ballot") => Vote::Ballot,
                    () => return Ok(None),
                };
                let Operand::Word(name) = at(operands, 0)? else {
                    return Err(invalid("a register expected"));
                };
                let d = if how == Vote::Ballot {
                    self.destination(&operands[0])?
                } else {
                    self.predicate_destination(name)?
                };
                let by = self.condition(at(operands, 1)?)?;
                Op::Vote { how, d, by, members: self.value(at(operands, 2)?, "b32")? }
            }
            "match" if op.has("sync") => {
                let (d, all) = match *at(operands, 0)? {
                    Operand::Pair(d, p) => (d, Some(self.predicate_destination(p)?)),
                    Operand::Word(d) if op.has("all") => (d, Some(self.predicate_destination("_")?)),
                    Operand::Word(d) => (d, None),
                    _ => return Err(invalid("a register expected")),
                };
                Op::Match {
                    all,
                    wide: op.last() == "b64",
                    d: self.destination(&Operand::Word(d))?,
                    a: self.value(at(operands, 1)?, op.last())?,
                    members: self.value(at(operands, 2)?, "b32")?,
                }
            }
            "redux" => {
                let how = match (op.parts.get(2).copied().unwrap_or_default(), op.last()) {
                    ("add", "u32" | "s32") => Reduction::Add,
                    ("min", "u32") => Reduction::MinU,
                    ("max", "u32") => Reduction::MaxU,
                    ("min", "s32") => Reduction::MinS,
                    ("max", "s32") => Reduction::MaxS,
                    ("and", _) => Reduction::And,
                    ("or", _) => Reduction::Or,
                    ("xor", _) => Reduction::Xor,
                    _ => return Ok(None),
                };
                Op::Reduce {
                    how,
                    d: self.destination(at(operands, 0)?)?,
                    a: self.value(at(operands, 1)?, "b32")?,
                    members: self.value(at(operands, 2)?, "b32")?,
                }
            }
            "activemask" => Op::ActiveMask { d: self.destination(at(operands, 0)?)? },
            "mma" => return self.mma(op, operands),
            _ => return Ok(None),
        }))
    }

    fn barrier(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        if op.has("sync") || op.has("arrive") {
            let id = self.value(at(operands, 0)?, "u32")?;
            let count = operands.get(1).map(|operand| self.value(operand, "u32")).transpose()?;
            let what = if op.has("arrive") { AtBarrier::Arrive } else { AtBarrier::Wait };
            return Ok(Some(Op::Barrier { id, count, what }));
        }
        if !op.has("red") {
            return Ok(None);
        }
        let id = self.value(at(operands, 1)?, "u32")?;
        let (count, by) = match operands {
            [_, _, by] => (None, self.condition(by)?),
            [_, _, count, by] => (Some(self.value(count, "u32")?), self.condition(by)?),
            _ => return Err(invalid("a predicate expected")),
        };
        let Operand::Word(name) = operands[0] else { return Err(invalid("a register expected")) };
        let what = match () {
            () if op.has("popc") => AtBarrier::Count(self.destination(&operands[0])?, by),
            () if op.has("and") => AtBarrier::All(self.predicate_destination(name)?, by),
            () if op.has("or") => AtBarrier::Any(self.predicate_destination(name)?, by),
            () => return Ok(None),
        };
        Ok(Some(Op::Barrier { id, count, what }))
    }

    fn mma(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        // mma.sync.aligned.SHAPE.row.col.D.A.B.C
        let ["mma", "sync", "aligned", shape, "row", "col", d_type, a_type, b_type, c_type] = op.parts[..]
        else {
            return Ok(None);
        };
        let k = match shape {
            "m16n8k16" => 16,
            "m16n8k8" => 8,
            "m16n8k4" | "m8n8k4" => 4,
            _ => return Ok(None),
        };
        let (shape, registers) = match (shape.starts_with("m16"), k, (d_type, a_type, b_type, c_type)) {
            (true, 8 | 16, ("f32", "f16", "f16", "f32")) => {
                (Mma::F16 { k, half_sums: false }, [4, k / 4, k / 8])
            }
            (true, 8 | 16, ("f16", "f16", "f16", "f16")) => {
                (Mma::F16 { k, half_sums: true }, [2, k / 4, k / 8])
            }
            (true, 8 | 16, ("f32", "bf16", "bf16", "f32")) => (Mma::Bf16 { k }, [4, k / 4, k / 8]),
            (true, 4 | 8, ("f32", "tf32", "tf32", "f32")) => (Mma::Tf32 { k }, [4, k / 2, k / 4]),
            (false, 4, ("f64", "f64", "f64", "f64")) => (Mma::F64, [2, 1, 1]),
            _ => return Ok(None),
        };
        let d = self.fragment(at(operands, 0)?, registers[0], true)?;
        let a = self.fragment(at(operands, 1)?, registers[1], false)?;
        let b = self.fragment(at(operands, 2)?, registers[2], false)?;
        let c = self.fragment(at(operands, 3)?, registers[0], false)?;
        Ok(Some(Op::Mma { shape, d, a, b, c }))
    }

    fn fragment(&mut self, operand: &Operand<'a>, count: usize, written: bool) -> Result<Box<[Reg]>> {
        let one = [operand.clone()];
        let list = match operand {
            Operand::List(list) => &list[..],
            _ => &one[..],
        };
        if list.len() != count {
            return Err(invalid(format!("a fragment of {count} registers expected, {} found", list.len())));
        }
        list.iter()
            .map(|part| if written { self.destination(part) } else { self.value(part, "b32") })
            .collect()
    }
}
