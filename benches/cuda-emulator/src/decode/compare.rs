//! The comparisons of `setp`, by operator and type.

// With NaN `a < b || a > b` is not `a != b`.
#![allow(clippy::double_comparisons)]

use crate::execute::float::{Bf16, F16, Half as _};
use crate::execute::lanes::{self, Compare};

/// The function of a comparison.
pub fn comparison(how: &str, ty: &str) -> Option<Compare> {
    macro_rules! whole {
        ($T:ty) => {
            match how {
                "eq" => Some(|r, a, b| lanes::compare(r, a, b, |a: $T, b: $T| a == b)),
                "ne" => Some(|r, a, b| lanes::compare(r, a, b, |a: $T, b: $T| a != b)),
                "lt" | "lo" => Some(|r, a, b| lanes::compare(r, a, b, |a: $T, b: $T| a < b)),
                "le" | "ls" => Some(|r, a, b| lanes::compare(r, a, b, |a: $T, b: $T| a <= b)),
                "gt" | "hi" => Some(|r, a, b| lanes::compare(r, a, b, |a: $T, b: $T| a > b)),
                "ge" | "hs" => Some(|r, a, b| lanes::compare(r, a, b, |a: $T, b: $T| a >= b)),
                _ => None,
            }
        };
    }
    // The plain ones do not hold where one is NaN; those with a `u` do.
    macro_rules! floating {
        ($T:ty, |$x:ident| $wide:expr) => {
            match how {
                "eq" => floating!(@ $T, |$x| $wide, |a, b| a == b),
                "ne" => floating!(@ $T, |$x| $wide, |a, b| a < b || a > b),
                "lt" => floating!(@ $T, |$x| $wide, |a, b| a < b),
                "le" => floating!(@ $T, |$x| $wide, |a, b| a <= b),
                "gt" => floating!(@ $T, |$x| $wide, |a, b| a > b),
                "ge" => floating!(@ $T, |$x| $wide, |a, b| a >= b),
                "equ" => floating!(@ $T, |$x| $wide, |a, b| !(a < b || a > b)),
                "neu" => floating!(@ $T, |$x| $wide, |a, b| a != b),
                "ltu" => floating!(@ $T, |$x| $wide, |a, b| !(a >= b)),
                "leu" => floating!(@ $T, |$x| $wide, |a, b| !(a > b)),
                "gtu" => floating!(@ $T, |$x| $wide, |a, b| !(a <= b)),
                "geu" => floating!(@ $T, |$x| $wide, |a, b| !(a < b)),
                "num" => floating!(@ $T, |$x| $wide, |a, b| !a.is_nan() && !b.is_nan()),
                "nan" => floating!(@ $T, |$x| $wide, |a, b| a.is_nan() || b.is_nan()),
                _ => None,
            }
        };
        (@ $T:ty, |$x:ident| $wide:expr, |$a:ident, $b:ident| $e:expr) => {
            Some(|r, a, b| {
                #[allow(clippy::neg_cmp_op_on_partial_ord)]
                lanes::compare(r, a, b, |a: $T, b: $T| {
                    let ($a, $b) = ({ let $x = a; $wide }, { let $x = b; $wide });
                    $e
                })
            })
        };
    }
    match ty {
        "b16" | "u16" => whole!(u16),
        "s16" => whole!(i16),
        "b32" | "u32" => whole!(u32),
        "s32" => whole!(i32),
        "b64" | "u64" => whole!(u64),
        "s64" => whole!(i64),
        "f32" => floating!(f32, |x| x),
        "f64" => floating!(f64, |x| x),
        "f16" => floating!(F16, |x| x.wide()),
        "bf16" => floating!(Bf16, |x| x.wide()),
        _ => None,
    }
}
