//! `cvt`: between whole and floating types, with every rounding.

use super::elementwise::Elementwise;
use super::opcode::Opcode;
use crate::execute::float::{self, Bf16, F16, Half as _, Rounding};
use crate::execute::lanes;

macro_rules! op {
    (|$a:ident: $A:ty| $e:expr) => {
        Some(Elementwise::One(|rows, mask, d, a| lanes::one(rows, mask, d, a, |$a: $A| $e)))
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty| $e:expr) => {
        Some(Elementwise::Two(|rows, mask, d, a, b| lanes::two(rows, mask, d, a, b, |$a: $A, $b: $B| $e)))
    };
}

/// The same for a type by its name.
macro_rules! with_whole {
    ($name:expr, $T:ident => $e:expr) => {
        match $name {
            "u8" | "b8" => {
                type $T = u8;
                $e
            }
            "s8" => {
                type $T = i8;
                $e
            }
            "u16" | "b16" => {
                type $T = u16;
                $e
            }
            "s16" => {
                type $T = i16;
                $e
            }
            "u32" | "b32" => {
                type $T = u32;
                $e
            }
            "s32" => {
                type $T = i32;
                $e
            }
            "u64" | "b64" => {
                type $T = u64;
                $e
            }
            "s64" => {
                type $T = i64;
                $e
            }
            _ => None,
        }
    };
}

fn is_whole(name: &str) -> bool {
    matches!(name, "u8" | "s8" | "u16" | "s16" | "u32" | "s32" | "u64" | "s64" | "b8" | "b16" | "b32" | "b64")
}

fn saturated(x: f64) -> f64 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) + 0.0 }
}

fn relu(x: f32) -> f64 {
    // NaN stays.
    if x < 0.0 { 0.0 } else { f64::from(x) }
}

/// The function of a `cvt`.
pub fn convert(op: &Opcode<'_>) -> Option<Elementwise> {
    let count = op.parts.len();
    if count < 3 {
        return None;
    }
    let (to, from) = (op.parts[count - 2], op.parts[count - 1]);
    let modifiers = &op.parts[1..count - 2];
    let has = |name: &str| modifiers.contains(&name);
    let only = |known: &[&str]| modifiers.iter().all(|modifier| known.contains(modifier));
    match (is_whole(to), is_whole(from)) {
        (true, true) if only(&[]) => with_whole!(from, S => with_whole!(to, D => op!(|a: S| a as D))),
        (true, true) if only(&["sat"]) => with_whole!(from, S => with_whole!(to, D => {
            op!(|a: S| i128::from(a).clamp(i128::from(D::MIN), i128::from(D::MAX)) as D)
        })),
        // Rust's `as` clamps and takes NaN for zero, as the hardware.
        (true, false) => {
            let rounding = modifiers.iter().copied().find(|modifier| modifier.ends_with('i'))?;
            if !only(&[rounding, "ftz", "sat"]) {
                return None;
            }
            macro_rules! rounded {
                ($S:ty, |$a:ident| $wide:expr) => {
                    match rounding {
                        "rni" => with_whole!(to, D => op!(|$a: $S| $wide.round_ties_even() as D)),
                        "rzi" => with_whole!(to, D => op!(|$a: $S| $wide as D)),
                        "rmi" => with_whole!(to, D => op!(|$a: $S| $wide.floor() as D)),
                        "rpi" => with_whole!(to, D => op!(|$a: $S| $wide.ceil() as D)),
                        _ => None,
                    }
                };
            }
            match from {
                "f32" => rounded!(f32, |a| a),
                "f64" => rounded!(f64, |a| a),
                "f16" => rounded!(F16, |a| a.wide()),
                "bf16" => rounded!(Bf16, |a| a.wide()),
                _ => None,
            }
        }
        (false, true) if only(&["rn"]) => match to {
            "f32" => with_whole!(from, S => op!(|a: S| a as f32)),
            "f64" => with_whole!(from, S => op!(|a: S| a as f64)),
            // Beyond 2^53 an odd last bit stands for what is cut off, so that it is rounded once.
            "f16" => with_whole!(from, S => op!(|a: S| F16::nearest(whole_to_odd(a as i128)))),
            "bf16" => with_whole!(from, S => op!(|a: S| Bf16::nearest(whole_to_odd(a as i128)))),
            _ => None,
        },
        (false, true) if to == "f32" && only(&["rz", "rm", "rp"]) => match modifiers.first().copied() {
            Some("rz") => {
                with_whole!(from, S => op!(|a: S| float::to_f32(whole_to_odd(a as i128), Rounding::Zero)))
            }
            Some("rm") => {
                with_whole!(from, S => op!(|a: S| float::to_f32(whole_to_odd(a as i128), Rounding::Down)))
            }
            Some("rp") => {
                with_whole!(from, S => op!(|a: S| float::to_f32(whole_to_odd(a as i128), Rounding::Up)))
            }
            _ => None,
        },
        (false, false) => between_floats(modifiers, to, from, &has, &only),
        _ => None,
    }
}

/// With an odd last bit where it is not exact.
fn whole_to_odd(a: i128) -> f64 {
    let high = (a >> 32) as f64 * 4_294_967_296.0;
    float::add_to_odd(high, (a & 0xffff_ffff) as f64)
}

fn between_floats(
    modifiers: &[&str],
    to: &str,
    from: &str,
    has: &dyn Fn(&str) -> bool,
    only: &dyn Fn(&[&str]) -> bool,
) -> Option<Elementwise> {
    // To a whole number, in the same type.
    if to == from {
        if only(&["sat"]) && has("sat") {
            return match to {
                "f32" => op!(|a: f32| saturated(f64::from(a)) as f32),
                "f64" => op!(|a: f64| saturated(a)),
                _ => None,
            };
        }
        if only(&["ftz", "sat"]) && has("ftz") && to == "f32" {
            return if has("sat") {
                op!(|a: f32| saturated(f64::from(float::flush(a))) as f32)
            } else {
                op!(|a: f32| float::flush(a))
            };
        }
        let rounding = modifiers.iter().copied().find(|modifier| modifier.ends_with('i'))?;
        if !only(&[rounding, "ftz"]) {
            return None;
        }
        return match (rounding, to) {
            ("rni", "f32") => op!(|a: f32| a.round_ties_even()),
            ("rzi", "f32") => op!(|a: f32| a.trunc()),
            ("rmi", "f32") => op!(|a: f32| a.floor()),
            ("rpi", "f32") => op!(|a: f32| a.ceil()),
            ("rni", "f64") => op!(|a: f64| a.round_ties_even()),
            ("rzi", "f64") => op!(|a: f64| a.trunc()),
            ("rmi", "f64") => op!(|a: f64| a.floor()),
            ("rpi", "f64") => op!(|a: f64| a.ceil()),
            ("rni", "f16") => op!(|a: F16| F16::nearest(f64::from(a.wide().round_ties_even()))),
            ("rzi", "f16") => op!(|a: F16| F16::nearest(f64::from(a.wide().trunc()))),
            ("rmi", "f16") => op!(|a: F16| F16::nearest(f64::from(a.wide().floor()))),
            ("rpi", "f16") => op!(|a: F16| F16::nearest(f64::from(a.wide().ceil()))),
            ("rni", "bf16") => op!(|a: Bf16| Bf16::nearest(f64::from(a.wide().round_ties_even()))),
            ("rzi", "bf16") => op!(|a: Bf16| Bf16::nearest(f64::from(a.wide().trunc()))),
            ("rmi", "bf16") => op!(|a: Bf16| Bf16::nearest(f64::from(a.wide().floor()))),
            ("rpi", "bf16") => op!(|a: Bf16| Bf16::nearest(f64::from(a.wide().ceil()))),
            _ => None,
        };
    }
    if from == "f32" && matches!(to, "f16x2" | "bf16x2") && only(&["rn", "rz", "relu"]) {
        // The first operand is the upper half.
        return match (to, has("rz"), has("relu")) {
            ("f16x2", false, false) => {
                op!(|a: f32, b: f32| (F16::nearest(f64::from(b)), F16::nearest(f64::from(a))))
            }
            ("bf16x2", false, false) => {
                op!(|a: f32, b: f32| (Bf16::nearest(f64::from(b)), Bf16::nearest(f64::from(a))))
            }
            ("f16x2", false, true) => op!(|a: f32, b: f32| (F16::nearest(relu(b)), F16::nearest(relu(a)))),
            ("bf16x2", false, true) => op!(|a: f32, b: f32| (Bf16::nearest(relu(b)), Bf16::nearest(relu(a)))),
            ("f16x2", true, false) => op!(|a: f32, b: f32| (
                F16::round(f64::from(b), Rounding::Zero),
                F16::round(f64::from(a), Rounding::Zero)
            )),
            ("bf16x2", true, false) => op!(|a: f32, b: f32| (
                Bf16::round(f64::from(b), Rounding::Zero),
                Bf16::round(f64::from(a), Rounding::Zero)
            )),
            _ => None,
        };
    }
    if to == "tf32" && from == "f32" {
        return op!(|a: f32| float::to_tf32(a));
    }
    if !only(&["rn", "rz", "rm", "rp", "ftz", "sat", "relu"]) {
        return None;
    }
    let rounding = modifiers.iter().copied().find(|modifier| Rounding::of(modifier).is_some());
    let (relu_, sat, ftz) = (has("relu"), has("sat"), has("ftz"));
    match (from, to, rounding) {
        ("f32", "f64", None) if !sat => match ftz {
            false => op!(|a: f32| f64::from(a)),
            true => op!(|a: f32| f64::from(float::flush(a))),
        },
        ("f16", "f32", None) if !sat => op!(|a: F16| a.wide()),
        ("bf16", "f32", None) if !sat => op!(|a: Bf16| a.wide()),
        ("f16", "f64", None) if !sat => op!(|a: F16| f64::from(a.wide())),
        ("bf16", "f64", None) if !sat => op!(|a: Bf16| f64::from(a.wide())),
        ("f16", "f32", None) => op!(|a: F16| saturated(f64::from(a.wide())) as f32),
        ("f64", "f32", Some("rn")) => match (ftz, sat) {
            (false, false) => op!(|a: f64| a as f32),
            (true, false) => op!(|a: f64| float::flush(a as f32)),
            (_, true) => op!(|a: f64| saturated(a) as f32),
        },
        ("f64", "f32", Some("rz")) if !sat => op!(|a: f64| float::to_f32(a, Rounding::Zero)),
        ("f64", "f32", Some("rm")) if !sat => op!(|a: f64| float::to_f32(a, Rounding::Down)),
        ("f64", "f32", Some("rp")) if !sat => op!(|a: f64| float::to_f32(a, Rounding::Up)),
        ("f32", "f16", Some("rn")) if relu_ => op!(|a: f32| F16::nearest(relu(a))),
        ("f32", "bf16", Some("rn")) if relu_ => op!(|a: f32| Bf16::nearest(relu(a))),
        ("f32", "f16", Some("rn")) if sat => op!(|a: f32| F16::nearest(saturated(f64::from(a)))),
        ("f32", "f16", Some("rn")) => op!(|a: f32| F16::nearest(f64::from(a))),
        ("f32", "bf16", Some("rn")) => op!(|a: f32| Bf16::nearest(f64::from(a))),
        ("f64", "f16", Some("rn")) => op!(|a: f64| F16::nearest(a)),
        ("f64", "bf16", Some("rn")) => op!(|a: f64| Bf16::nearest(a)),
        ("f32", "f16", Some("rz")) => op!(|a: f32| F16::round(f64::from(a), Rounding::Zero)),
        ("f32", "bf16", Some("rz")) => op!(|a: f32| Bf16::round(f64::from(a), Rounding::Zero)),
        ("f32", "f16", Some("rm")) => op!(|a: f32| F16::round(f64::from(a), Rounding::Down)),
        ("f32", "bf16", Some("rm")) => op!(|a: f32| Bf16::round(f64::from(a), Rounding::Down)),
        ("f32", "f16", Some("rp")) => op!(|a: f32| F16::round(f64::from(a), Rounding::Up)),
        ("f32", "bf16", Some("rp")) => op!(|a: f32| Bf16::round(f64::from(a), Rounding::Up)),
        ("f16", "bf16", Some("rn")) => op!(|a: F16| Bf16::nearest(f64::from(a.wide()))),
        ("bf16", "f16", Some("rn")) => op!(|a: Bf16| F16::nearest(f64::from(a.wide()))),
        _ => None,
    }
}
