//! Rounding that Rust has no operation for: to half precision, and to a direction.

/// IEEE half precision, by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct F16(pub u16);

/// bfloat16, by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bf16(pub u16);

/// Where a result goes that lies between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearer one, of two equally near ones to the even one.
    Nearest,
    /// To the one nearer to zero.
    Zero,
    /// To the smaller one.
    Down,
    /// To the greater one.
    Up,
}

impl Rounding {
    /// By its PTX modifier.
    pub fn of(modifier: &str) -> Option<Self> {
        Some(match modifier {
            "rn" => Self::Nearest,
            "rz" => Self::Zero,
            "rm" => Self::Down,
            "rp" => Self::Up,
            _ => return None,
        })
    }
}

/// The bits, without NaN's, of `x` in the format with `mantissa` explicit bits and the smallest normal exponent `least`.
/// Rounded once, also to subnormal numbers.
pub fn narrow(x: f64, mantissa: u32, least: i32, rounding: Rounding) -> u64 {
    let bits = x.to_bits();
    let negative = bits >> 63 == 1;
    let width = 64 - (3 - 2 * i64::from(least)).leading_zeros();
    let infinity = ((1u64 << width) - 1) << mantissa;
    let sign = u64::from(negative) << (mantissa + width);
    if x.is_infinite() {
        return sign | infinity;
    }
    let field = (bits >> 52 & 0x7ff) as i32;
    let exponent = field.max(1) - 1023;
    let significand = bits & ((1 << 52) - 1) | u64::from(field != 0) << 52;
    if significand == 0 {
        return sign;
    }
    // The last place of the result lies this many places above the last place of `x`.
    let shift = 52 - mantissa + (least - exponent).max(0) as u32;
    let (kept, rest, half) = if shift > 63 {
        (0, significand, u64::MAX)
    } else {
        (significand >> shift, significand & ((1 << shift) - 1), 1u64 << (shift - 1))
    };
    let up = match rounding {
        Rounding::Nearest => rest > half || (rest == half && kept & 1 == 1),
        Rounding::Zero => false,
        Rounding::Down => negative && rest != 0,
        Rounding::Up => !negative && rest != 0,
    };
    // A carry out of the mantissa goes into the exponent by itself.
    let magnitude = kept + u64::from(up) + (((exponent - least).max(0) as u64) << mantissa);
    if magnitude < infinity {
        return sign | magnitude;
    }
    let away = match rounding {
        Rounding::Nearest => true,
        Rounding::Zero => false,
        Rounding::Down => negative,
        Rounding::Up => !negative,
    };
    sign | if away { infinity } else { infinity - 1 }
}

/// A format of sixteen bits.
pub trait Half: Copy {
    /// Exact.
    fn wide(self) -> f32;
    /// Rounded once.
    fn round(x: f64, rounding: Rounding) -> Self;
    /// To the nearest.
    #[inline(always)]
    fn nearest(x: f64) -> Self {
        Self::round(x, Rounding::Nearest)
    }
}

impl Half for F16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        let bits = u32::from(self.0);
        let (sign, exponent, mantissa) = (bits >> 15 << 31, bits >> 10 & 31, bits & 0x3ff);
        match exponent {
            0 => f32::from_bits(sign | (mantissa as f32 * (1.0 / 16_777_216.0)).to_bits()),
            31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
            _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
        }
    }
    fn round(x: f64, rounding: Rounding) -> Self {
        if x.is_nan() { Self(0x7fff) } else { Self(narrow(x, 10, -14, rounding) as u16) }
    }
}

impl Half for Bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    fn round(x: f64, rounding: Rounding) -> Self {
        if x.is_nan() { Self(0x7fff) } else { Self(narrow(x, 7, -126, rounding) as u16) }
    }
}

/// An f64 to f32, to a direction.
pub fn to_f32(x: f64, rounding: Rounding) -> f32 {
    if x.is_nan() { f32::NAN } else { f32::from_bits(narrow(x, 23, -126, rounding) as u32) }
}

/// a + b, where inexact with the last bit set: rounding it once more to fewer bits gives what one rounding of the exact sum
/// gives (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
pub fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if !sum.is_finite() {
        return sum;
    }
    let error = sum_error(a, b, sum);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

/// What a + b is beyond its rounded sum, exactly.
fn sum_error(a: f64, b: f64, sum: f64) -> f64 {
    let b_in_sum = sum - a;
    let a_in_sum = sum - b_in_sum;
    (a - a_in_sum) + (b - b_in_sum)
}

/// a + b in f64 to a direction.
pub fn add_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = a + b;
    if !sum.is_finite() {
        let overflowed = sum.is_infinite() && a.is_finite() && b.is_finite();
        let stays = overflowed
            && match rounding {
                Rounding::Nearest => false,
                Rounding::Zero => true,
                Rounding::Down => sum > 0.0,
                Rounding::Up => sum < 0.0,
            };
        return if stays { f64::MAX.copysign(sum) } else { sum };
    }
    toward(sum, sum_error(a, b, sum), rounding)
}

/// `rounded` is nearest to the exact `rounded + error`; moved to the direction's neighbour.
pub fn toward(rounded: f64, error: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Zero if error != 0.0 && (error > 0.0) != (rounded > 0.0) => {
            if rounded > 0.0 {
                rounded.next_down()
            } else {
                rounded.next_up()
            }
        }
        Rounding::Down if error < 0.0 => rounded.next_down(),
        Rounding::Up if error > 0.0 => rounded.next_up(),
        _ => rounded,
    }
}

/// a · b + c of half precision, rounded once: the product is exact in f64.
#[inline(always)]
pub fn half_fma<T: Half>(a: T, b: T, c: T) -> T {
    T::nearest(add_to_odd(f64::from(a.wide()) * f64::from(b.wide()), f64::from(c.wide())))
}

/// To the 10 bits of mantissa that tf32 has: to the nearest, ties away from zero.
pub fn to_tf32(x: f32) -> f32 {
    if x.is_nan() || x.is_infinite() { x } else { f32::from_bits(x.to_bits().wrapping_add(0x1000) & !0x1fff) }
}

/// With `ftz` a subnormal number is zero.
pub fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}
