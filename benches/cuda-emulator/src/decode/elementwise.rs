//! Instructions that go element by element, by their opcode.
//!
//! `approx` functions are computed in f64 and rounded, which is nearer to the true value than what the hardware gives.

// With NaN `a < b || a > b` is not `a != b`.
#![allow(clippy::double_comparisons)]

use super::opcode::Opcode;
use crate::execute::float::{self, Bf16, F16, Half as _, Rounding};
use crate::execute::lanes::{self, Four, One, Three, Two};

/// A function that goes element by element.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Elementwise {
    One(One),
    Two(Two),
    Three(Three),
    Four(Four),
}

/// A closure as a function of registers.
macro_rules! op {
    (|$a:ident: $A:ty| $e:expr) => {
        Some(Elementwise::One(|rows, mask, d, a| lanes::one(rows, mask, d, a, |$a: $A| $e)))
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty| $e:expr) => {
        Some(Elementwise::Two(|rows, mask, d, a, b| lanes::two(rows, mask, d, a, b, |$a: $A, $b: $B| $e)))
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| $e:expr) => {
        Some(Elementwise::Three(|rows, mask, d, a, b, c| {
            lanes::three(rows, mask, d, a, b, c, |$a: $A, $b: $B, $c: $C| $e)
        }))
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty, $d:ident: $D:ty| $e:expr) => {
        Some(Elementwise::Four(|rows, mask, d, from| {
            lanes::four(rows, mask, d, from, |$a: $A, $b: $B, $c: $C, $d: $D| $e)
        }))
    };
}

/// The same for each whole type, called `T` in the expression.
macro_rules! whole {
    ($type:expr, |$($a:ident),+| $e:expr) => {
        match $type {
            "b8" | "u8" => { type T = u8; op!(|$($a: T),+| $e) }
            "b16" | "u16" => { type T = u16; op!(|$($a: T),+| $e) }
            "s16" => { type T = i16; op!(|$($a: T),+| $e) }
            "b32" | "u32" => { type T = u32; op!(|$($a: T),+| $e) }
            "s32" => { type T = i32; op!(|$($a: T),+| $e) }
            "b64" | "u64" => { type T = u64; op!(|$($a: T),+| $e) }
            "s64" => { type T = i64; op!(|$($a: T),+| $e) }
            _ => None,
        }
    };
}

/// The same for each floating type: computed in `$wide`, which is f32 for the halves, and rounded once. The halves' results
/// are right for + - * /, as f32 has more than twice their bits.
macro_rules! floating {
    ($type:expr, |$($a:ident),+| $e:expr) => {
        match $type {
            "f32" => op!(|$($a: f32),+| $e),
            "f64" => op!(|$($a: f64),+| $e),
            "f16" => op!(|$($a: F16),+| { $(let $a = $a.wide();)+ F16::nearest(f64::from($e)) }),
            "bf16" => op!(|$($a: Bf16),+| { $(let $a = $a.wide();)+ Bf16::nearest(f64::from($e)) }),
            "f16x2" => op!(|$($a: (F16, F16)),+| (
                { $(let $a = $a.0.wide();)+ F16::nearest(f64::from($e)) },
                { $(let $a = $a.1.wide();)+ F16::nearest(f64::from($e)) },
            )),
            "bf16x2" => op!(|$($a: (Bf16, Bf16)),+| (
                { $(let $a = $a.0.wide();)+ Bf16::nearest(f64::from($e)) },
                { $(let $a = $a.1.wide();)+ Bf16::nearest(f64::from($e)) },
            )),
            _ => None,
        }
    };
}

/// What a directed rounding, a flush or a saturation makes of an f32 operation: computed in f64 with an odd last bit where
/// inexact, then rounded once.
macro_rules! directed {
    ($rounding:expr, |$($a:ident),+| $e:expr) => {
        match $rounding {
            Rounding::Nearest => op!(|$($a: f32),+| { $(let $a = f64::from($a);)+ float::to_f32($e, Rounding::Nearest) }),
            Rounding::Zero => op!(|$($a: f32),+| { $(let $a = f64::from($a);)+ float::to_f32($e, Rounding::Zero) }),
            Rounding::Down => op!(|$($a: f32),+| { $(let $a = f64::from($a);)+ float::to_f32($e, Rounding::Down) }),
            Rounding::Up => op!(|$($a: f32),+| { $(let $a = f64::from($a);)+ float::to_f32($e, Rounding::Up) }),
        }
    };
}

fn saturated(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) + 0.0 }
}

/// PTX's: where one is NaN the other; -0 is below +0.
fn smaller<T: Copy + PartialOrd>(a: T, b: T, negative: bool) -> T {
    #[allow(clippy::eq_op)]
    if a != a {
        b
    } else if b != b {
        a
    } else if a == b {
        if negative { a } else { b }
    } else if a < b {
        a
    } else {
        b
    }
}

fn greater<T: Copy + PartialOrd>(a: T, b: T, negative: bool) -> T {
    #[allow(clippy::eq_op)]
    if a != a {
        b
    } else if b != b {
        a
    } else if a == b {
        if negative { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// The function of an opcode, if it goes element by element and is known.
pub fn elementwise(op: &Opcode<'_>) -> Option<Elementwise> {
    let ty = op.last();
    match op.base() {
        "mov" if op.only(&[]) => op!(|a: u64| a),
        "cvta" => op!(|a: u64| a),
        "add" | "sub" | "mul" | "fma" | "mad" | "div" if float_type(ty) => arithmetic(op, ty),
        "add" if op.only(&[]) => whole!(ty, |a, b| a.wrapping_add(b)),
        "sub" if op.only(&[]) => whole!(ty, |a, b| a.wrapping_sub(b)),
        "add" if ty == "s32" && op.only(&["sat"]) => op!(|a: i32, b: i32| a.saturating_add(b)),
        "sub" if ty == "s32" && op.only(&["sat"]) => op!(|a: i32, b: i32| a.saturating_sub(b)),
        "mul" | "mad" => multiply(op, ty),
        // What a division by zero gives is not specified; the hardware gives ones.
        "div" if op.only(&[]) => whole!(ty, |a, b| if b == 0 { !(0 as T) } else { a.wrapping_div(b) }),
        "rem" if op.only(&[]) => whole!(ty, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
        "neg" if ty == "f32" => op!(|a: u32| a ^ 1 << 31),
        "neg" if ty == "f64" => op!(|a: u64| a ^ 1 << 63),
        "neg" if matches!(ty, "f16" | "bf16") => op!(|a: u16| a ^ 1 << 15),
        "neg" if matches!(ty, "f16x2" | "bf16x2") => op!(|a: u32| a ^ 0x8000_8000),
        "neg" => whole!(ty, |a| a.wrapping_neg()),
        "abs" if ty == "f32" => op!(|a: u32| a & !(1 << 31)),
        "abs" if ty == "f64" => op!(|a: u64| a & !(1 << 63)),
        "abs" if matches!(ty, "f16" | "bf16") => op!(|a: u16| a & !(1 << 15)),
        "abs" if matches!(ty, "f16x2" | "bf16x2") => op!(|a: u32| a & 0x7fff_7fff),
        "abs" => match ty {
            "s16" => op!(|a: i16| a.wrapping_abs()),
            "s32" => op!(|a: i32| a.wrapping_abs()),
            "s64" => op!(|a: i64| a.wrapping_abs()),
            _ => None,
        },
        "copysign" if ty == "f32" => op!(|a: u32, b: u32| b & !(1 << 31) | a & 1 << 31),
        "copysign" if ty == "f64" => op!(|a: u64, b: u64| b & !(1 << 63) | a & 1 << 63),
        "min" | "max" => extreme(op, ty),
        "and" => whole!(ty, |a, b| a & b),
        "or" => whole!(ty, |a, b| a | b),
        "xor" => whole!(ty, |a, b| a ^ b),
        "not" => whole!(ty, |a| !a),
        "cnot" => whole!(ty, |a| (a == 0) as T),
        "shl" => match ty {
            "b16" => op!(|a: u16, b: u32| a.checked_shl(b).unwrap_or(0)),
            "b32" => op!(|a: u32, b: u32| a.checked_shl(b).unwrap_or(0)),
            "b64" => op!(|a: u64, b: u32| a.checked_shl(b).unwrap_or(0)),
            _ => None,
        },
        "shr" => match ty {
            "b16" | "u16" => op!(|a: u16, b: u32| a.checked_shr(b).unwrap_or(0)),
            "b32" | "u32" => op!(|a: u32, b: u32| a.checked_shr(b).unwrap_or(0)),
            "b64" | "u64" => op!(|a: u64, b: u32| a.checked_shr(b).unwrap_or(0)),
            "s16" => op!(|a: i16, b: u32| a >> b.min(15)),
            "s32" => op!(|a: i32, b: u32| a >> b.min(31)),
            "s64" => op!(|a: i64, b: u32| a >> b.min(63)),
            _ => None,
        },
        "shf" => match (op.has("l"), op.has("wrap")) {
            (true, true) => op!(|a: u32, b: u32, c: u32| funnel(a, b, c & 31, true)),
            (true, false) => op!(|a: u32, b: u32, c: u32| funnel(a, b, c.min(32), true)),
            (false, true) => op!(|a: u32, b: u32, c: u32| funnel(a, b, c & 31, false)),
            (false, false) => op!(|a: u32, b: u32, c: u32| funnel(a, b, c.min(32), false)),
        },
        "popc" if ty == "b32" => op!(|a: u32| a.count_ones()),
        "popc" if ty == "b64" => op!(|a: u64| a.count_ones()),
        "clz" if ty == "b32" => op!(|a: u32| a.leading_zeros()),
        "clz" if ty == "b64" => op!(|a: u64| a.leading_zeros()),
        "brev" if ty == "b32" => op!(|a: u32| a.reverse_bits()),
        "brev" if ty == "b64" => op!(|a: u64| a.reverse_bits()),
        "bfind" => find(op, ty),
        "bfe" => match ty {
            "u32" => op!(|a: u32, b: u32, c: u32| field(u64::from(a), b, c, 32, false) as u32),
            "s32" => op!(|a: i32, b: u32, c: u32| field(a as u32 as u64, b, c, 32, true) as u32),
            "u64" => op!(|a: u64, b: u32, c: u32| field(a, b, c, 64, false)),
            "s64" => op!(|a: u64, b: u32, c: u32| field(a, b, c, 64, true)),
            _ => None,
        },
        "bfi" => match ty {
            "b32" => {
                op!(|a: u32, b: u32, c: u32, d: u32| insert(u64::from(a), u64::from(b), c, d, 32) as u32)
            }
            "b64" => op!(|a: u64, b: u64, c: u32, d: u32| insert(a, b, c, d, 64)),
            _ => None,
        },
        "bmsk" => match op.has("wrap") {
            false => op!(|a: u32, b: u32| insert(u64::MAX, 0, a & 0xff, b & 0xff, 32) as u32),
            true => op!(|a: u32, b: u32| insert(u64::MAX, 0, a & 31, b & 31, 32) as u32),
        },
        "prmt" if op.only(&[]) => op!(|a: u32, b: u32, c: u32| permute(a, b, c)),
        "lop3" => op!(|a: u32, b: u32, c: u32, table: u32| lookup(a, b, c, table)),
        "dp4a" => match (op.parts[1], op.parts[2]) {
            ("u32", "u32") => op!(|a: u32, b: u32, c: u32| dot4(a, b, c, false, false)),
            ("s32", "s32") => op!(|a: u32, b: u32, c: u32| dot4(a, b, c, true, true)),
            ("s32", "u32") => op!(|a: u32, b: u32, c: u32| dot4(a, b, c, true, false)),
            ("u32", "s32") => op!(|a: u32, b: u32, c: u32| dot4(a, b, c, false, true)),
            _ => None,
        },
        "sad" => match ty {
            "u32" => op!(|a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c)),
            "s32" => op!(|a: i32, b: i32, c: u32| a.abs_diff(b).wrapping_add(c)),
            _ => None,
        },
        "slct" => slct(op),
        "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => function(op, ty),
        "set" => set(op),
        "cvt" => super::convert::convert(op),
        _ => None,
    }
}

fn float_type(ty: &str) -> bool {
    matches!(ty, "f32" | "f64" | "f16" | "bf16" | "f16x2" | "bf16x2")
}

fn arithmetic(op: &Opcode<'_>, ty: &str) -> Option<Elementwise> {
    let rounding = op.rounding();
    let base = op.base();
    if op.only(&["rn", "full", "approx"]) {
        return match base {
            "add" => floating!(ty, |a, b| a + b),
            "sub" => floating!(ty, |a, b| a - b),
            "mul" => floating!(ty, |a, b| a * b),
            "div" => match ty {
                "f32" => op!(|a: f32, b: f32| a / b),
                "f64" => op!(|a: f64, b: f64| a / b),
                _ => None,
            },
            _ => match ty {
                "f32" => op!(|a: f32, b: f32, c: f32| a.mul_add(b, c)),
                "f64" => op!(|a: f64, b: f64, c: f64| a.mul_add(b, c)),
                "f16" => op!(|a: F16, b: F16, c: F16| float::half_fma(a, b, c)),
                "bf16" => op!(|a: Bf16, b: Bf16, c: Bf16| float::half_fma(a, b, c)),
                "f16x2" => op!(|a: (F16, F16), b: (F16, F16), c: (F16, F16)| (
                    float::half_fma(a.0, b.0, c.0),
                    float::half_fma(a.1, b.1, c.1)
                )),
                "bf16x2" => op!(|a: (Bf16, Bf16), b: (Bf16, Bf16), c: (Bf16, Bf16)| (
                    float::half_fma(a.0, b.0, c.0),
                    float::half_fma(a.1, b.1, c.1)
                )),
                _ => None,
            },
        };
    }
    if op.only(&["rn", "rz", "rm", "rp"]) {
        return match (base, ty) {
            ("add", "f32") => directed!(rounding, |a, b| float::add_to_odd(a, b)),
            ("sub", "f32") => directed!(rounding, |a, b| float::add_to_odd(a, -b)),
            ("mul", "f32") => directed!(rounding, |a, b| a * b),
            ("fma" | "mad", "f32") => directed!(rounding, |a, b, c| float::add_to_odd(a * b, c)),
            ("add", "f64") => match rounding {
                Rounding::Nearest => None,
                Rounding::Zero => op!(|a: f64, b: f64| float::add_f64(a, b, Rounding::Zero)),
                Rounding::Down => op!(|a: f64, b: f64| float::add_f64(a, b, Rounding::Down)),
                Rounding::Up => op!(|a: f64, b: f64| float::add_f64(a, b, Rounding::Up)),
            },
            _ => None,
        };
    }
    // Flushed, saturated: operands and result, for f32 to the nearest.
    if ty == "f32" && op.only(&["rn", "ftz", "full", "approx"]) {
        return match base {
            "add" => op!(|a: f32, b: f32| float::flush(float::flush(a) + float::flush(b))),
            "sub" => op!(|a: f32, b: f32| float::flush(float::flush(a) - float::flush(b))),
            "mul" => op!(|a: f32, b: f32| float::flush(float::flush(a) * float::flush(b))),
            "div" => op!(|a: f32, b: f32| float::flush(float::flush(a) / float::flush(b))),
            _ => op!(|a: f32, b: f32, c: f32| float::flush(
                float::flush(a).mul_add(float::flush(b), float::flush(c))
            )),
        };
    }
    if ty == "f32" && op.only(&["rn", "sat"]) {
        return match base {
            "add" => op!(|a: f32, b: f32| saturated(a + b)),
            "sub" => op!(|a: f32, b: f32| saturated(a - b)),
            "mul" => op!(|a: f32, b: f32| saturated(a * b)),
            "fma" => op!(|a: f32, b: f32, c: f32| saturated(a.mul_add(b, c))),
            _ => None,
        };
    }
    None
}

fn multiply(op: &Opcode<'_>, ty: &str) -> Option<Elementwise> {
    let add = op.base() == "mad";
    if op.only(&["lo"]) {
        return if add {
            whole!(ty, |a, b, c| a.wrapping_mul(b).wrapping_add(c))
        } else {
            whole!(ty, |a, b| a.wrapping_mul(b))
        };
    }
    if op.only(&["wide"]) {
        return match (ty, add) {
            ("u16", false) => op!(|a: u16, b: u16| u32::from(a) * u32::from(b)),
            ("s16", false) => op!(|a: i16, b: i16| i32::from(a) * i32::from(b)),
            ("u32", false) => op!(|a: u32, b: u32| u64::from(a) * u64::from(b)),
            ("s32", false) => op!(|a: i32, b: i32| i64::from(a) * i64::from(b)),
            ("u16", true) => op!(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c)),
            ("s16", true) => op!(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c)),
            ("u32", true) => op!(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c)),
            ("s32", true) => op!(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c)),
            _ => None,
        };
    }
    if op.only(&["hi"]) {
        return match (ty, add) {
            ("u16", false) => op!(|a: u16, b: u16| ((u32::from(a) * u32::from(b)) >> 16) as u16),
            ("s16", false) => op!(|a: i16, b: i16| ((i32::from(a) * i32::from(b)) >> 16) as i16),
            ("u32", false) => op!(|a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32),
            ("s32", false) => op!(|a: i32, b: i32| ((i64::from(a) * i64::from(b)) >> 32) as i32),
            ("u64", false) => op!(|a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 64) as u64),
            ("s64", false) => op!(|a: i64, b: i64| ((i128::from(a) * i128::from(b)) >> 64) as i64),
            ("u32", true) => {
                op!(|a: u32, b: u32, c: u32| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c))
            }
            ("s32", true) => {
                op!(|a: i32, b: i32, c: i32| (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c))
            }
            ("u64", true) => {
                op!(|a: u64, b: u64, c: u64| (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c))
            }
            ("s64", true) => {
                op!(|a: i64, b: i64, c: i64| (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c))
            }
            _ => None,
        };
    }
    None
}

fn extreme(op: &Opcode<'_>, ty: &str) -> Option<Elementwise> {
    /// Both halves of a pair, or one value, by the bits of f32.
    fn of(a: f32, b: f32, max: bool, nan: bool) -> f32 {
        if nan && (a.is_nan() || b.is_nan()) {
            f32::NAN
        } else if max {
            greater(a, b, a.is_sign_negative())
        } else {
            smaller(a, b, a.is_sign_negative())
        }
    }
    macro_rules! extremes {
        ($max:literal, $nan:literal) => {
            match ty {
                "f32" => op!(|a: f32, b: f32| of(a, b, $max, $nan)),
                "f64" if !$nan && $max => op!(|a: f64, b: f64| greater(a, b, a.is_sign_negative())),
                "f64" if !$nan => op!(|a: f64, b: f64| smaller(a, b, a.is_sign_negative())),
                "f16" => op!(|a: F16, b: F16| F16::nearest(f64::from(of(a.wide(), b.wide(), $max, $nan)))),
                "bf16" => {
                    op!(|a: Bf16, b: Bf16| Bf16::nearest(f64::from(of(a.wide(), b.wide(), $max, $nan))))
                }
                "f16x2" => op!(|a: (F16, F16), b: (F16, F16)| (
                    F16::nearest(f64::from(of(a.0.wide(), b.0.wide(), $max, $nan))),
                    F16::nearest(f64::from(of(a.1.wide(), b.1.wide(), $max, $nan)))
                )),
                "bf16x2" => op!(|a: (Bf16, Bf16), b: (Bf16, Bf16)| (
                    Bf16::nearest(f64::from(of(a.0.wide(), b.0.wide(), $max, $nan))),
                    Bf16::nearest(f64::from(of(a.1.wide(), b.1.wide(), $max, $nan)))
                )),
                _ => None,
            }
        };
    }
    let max = op.base() == "max";
    match (float_type(ty), max) {
        (false, true) if op.only(&[]) => whole!(ty, |a, b| a.max(b)),
        (false, false) if op.only(&[]) => whole!(ty, |a, b| a.min(b)),
        (true, true) if op.only(&["NaN"]) && op.has("NaN") => extremes!(true, true),
        (true, false) if op.only(&["NaN"]) && op.has("NaN") => extremes!(false, true),
        (true, true) if op.only(&[]) => extremes!(true, false),
        (true, false) if op.only(&[]) => extremes!(false, false),
        _ => None,
    }
}

fn function(op: &Opcode<'_>, ty: &str) -> Option<Elementwise> {
    macro_rules! approximate {
        (|$x:ident| $e:expr) => {
            match (ty, op.has("ftz")) {
                ("f32", false) => op!(|a: f32| {
                    let $x = f64::from(a);
                    ($e) as f32
                }),
                ("f32", true) => op!(|a: f32| {
                    let $x = f64::from(float::flush(a));
                    float::flush(($e) as f32)
                }),
                ("f16", _) => op!(|a: F16| {
                    let $x = f64::from(a.wide());
                    F16::nearest($e)
                }),
                ("bf16", _) => op!(|a: Bf16| {
                    let $x = f64::from(a.wide());
                    Bf16::nearest($e)
                }),
                ("f16x2", _) => op!(|a: (F16, F16)| (
                    {
                        let $x = f64::from(a.0.wide());
                        F16::nearest($e)
                    },
                    {
                        let $x = f64::from(a.1.wide());
                        F16::nearest($e)
                    }
                )),
                ("bf16x2", _) => op!(|a: (Bf16, Bf16)| (
                    {
                        let $x = f64::from(a.0.wide());
                        Bf16::nearest($e)
                    },
                    {
                        let $x = f64::from(a.1.wide());
                        Bf16::nearest($e)
                    }
                )),
                _ => None,
            }
        };
    }
    match (op.base(), ty) {
        // The hardware gives the upper half of the result; the rest is zero.
        ("rcp", "f64") if op.has("approx") => op!(|a: f64| (1.0 / a).to_bits() & !0xffff_ffff),
        ("rsqrt", "f64") if op.has("approx") => op!(|a: f64| (1.0 / a.sqrt()).to_bits() & !0xffff_ffff),
        ("rcp", "f64") if op.only(&["rn"]) => op!(|a: f64| 1.0 / a),
        ("sqrt", "f64") if op.only(&["rn"]) => op!(|a: f64| a.sqrt()),
        ("rcp", "f32") if op.only(&["rn"]) => op!(|a: f32| 1.0 / a),
        ("sqrt", "f32") if op.only(&["rn"]) => op!(|a: f32| a.sqrt()),
        ("rcp" | "sqrt", _) if !op.only(&["rn", "approx", "ftz"]) => None,
        ("rcp", _) => approximate!(|x| 1.0 / x),
        ("sqrt", _) => approximate!(|x| x.sqrt()),
        ("rsqrt", _) => approximate!(|x| 1.0 / x.sqrt()),
        ("ex2", _) => approximate!(|x| x.exp2()),
        ("lg2", _) => approximate!(|x| x.log2()),
        ("sin", _) => approximate!(|x| x.sin()),
        ("cos", _) => approximate!(|x| x.cos()),
        ("tanh", _) => approximate!(|x| x.tanh()),
        _ => None,
    }
}

fn set(op: &Opcode<'_>) -> Option<Elementwise> {
    // set.CmpOp.dtype.stype
    let [_, how, .., to, from] = op.parts[..] else { return None };
    if op.parts.len() != 4 && !(op.parts.len() == 5 && op.has("ftz")) {
        return None;
    }
    macro_rules! by {
        ($T:ty, |$a:ident, $b:ident| $e:expr) => {
            match to {
                "u32" | "s32" => op!(|$a: $T, $b: $T| if $e { u32::MAX } else { 0 }),
                "f32" => op!(|$a: $T, $b: $T| if $e { 1f32 } else { 0.0 }),
                "f16" => op!(|$a: $T, $b: $T| if $e { F16(0x3c00) } else { F16(0) }),
                "bf16" => op!(|$a: $T, $b: $T| if $e { Bf16(0x3f80) } else { Bf16(0) }),
                "u16" | "s16" => op!(|$a: $T, $b: $T| if $e { u16::MAX } else { 0 }),
                _ => None,
            }
        };
    }
    macro_rules! compared {
        ($T:ty, |$x:ident| $wide:expr) => {
            match how {
                "eq" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide == y
                }),
                "ne" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide < y || $wide > y
                }),
                "lt" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide < y
                }),
                "le" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide <= y
                }),
                "gt" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide > y
                }),
                "ge" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide >= y
                }),
                "neu" => by!($T, |a, b| {
                    let ($x, y) = (a, {
                        let $x = b;
                        $wide
                    });
                    $wide != y
                }),
                _ => None,
            }
        };
    }
    match from {
        "f16" => compared!(F16, |x| x.wide()),
        "bf16" => compared!(Bf16, |x| x.wide()),
        "f32" => compared!(f32, |x| x),
        "f64" => compared!(f64, |x| x),
        "u32" | "b32" => compared!(u32, |x| x),
        "s32" => compared!(i32, |x| x),
        "u64" => compared!(u64, |x| x),
        "s64" => compared!(i64, |x| x),
        _ => None,
    }
}

fn slct(op: &Opcode<'_>) -> Option<Elementwise> {
    match op.last() {
        "s32" => op!(|a: u64, b: u64, c: i32| if c >= 0 { a } else { b }),
        "f32" => op!(|a: u64, b: u64, c: f32| if c >= 0.0 { a } else { b }),
        _ => None,
    }
}

fn find(op: &Opcode<'_>, ty: &str) -> Option<Elementwise> {
    if op.only(&["shiftamt"]) && op.has("shiftamt") {
        return match ty {
            "u32" => op!(|a: u32| if a == 0 { u32::MAX } else { a.leading_zeros() }),
            "u64" => op!(|a: u64| if a == 0 { u32::MAX } else { a.leading_zeros() }),
            _ => None,
        };
    }
    match ty {
        "u32" => op!(|a: u32| if a == 0 { u32::MAX } else { 31 - a.leading_zeros() }),
        "u64" => op!(|a: u64| if a == 0 { u32::MAX } else { 63 - a.leading_zeros() }),
        "s32" => op!(|a: i32| {
            let a = if a < 0 { !a } else { a };
            if a == 0 { u32::MAX } else { 31 - a.leading_zeros() }
        }),
        _ => None,
    }
}

fn funnel(low: u32, high: u32, by: u32, left: bool) -> u32 {
    let both = u64::from(high) << 32 | u64::from(low);
    if left { ((both << by) >> 32) as u32 } else { (both >> by) as u32 }
}

fn field(a: u64, position: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let sign_at = (position + length).saturating_sub(1).min(width - 1);
    let sign = signed && length != 0 && a >> sign_at & 1 == 1;
    let mut result = if sign { u64::MAX } else { 0 };
    for i in 0..length.min(width) {
        if position + i < width {
            let bit = a >> (position + i) & 1;
            result = result & !(1 << i) | bit << i;
        }
    }
    result
}

fn insert(a: u64, b: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if position >= width || length == 0 {
        return b;
    }
    let mask = if length >= 64 { u64::MAX } else { (1u64 << length) - 1 } << position;
    b & !mask | a << position & mask
}

fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let mut result = [0u8; 4];
    for (i, to) in result.iter_mut().enumerate() {
        let nibble = selector >> (4 * i) & 0xf;
        let byte = bytes[(nibble & 7) as usize];
        *to = if nibble & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 };
    }
    u32::from_le_bytes(result)
}

fn lookup(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8u32 {
        if table >> row & 1 == 1 {
            let pick = |x: u32, bit: u32| if row >> bit & 1 == 1 { x } else { !x };
            result |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    result
}

fn dot4(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let wide = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    products.fold(c, |sum, (a, b)| sum.wrapping_add((wide(a, a_signed) * wide(b, b_signed)) as u32))
}
