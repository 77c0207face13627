//! Registers of a warp, and element by element functions over them.

use super::float::{self, Bf16, F16};

/// Threads of a warp.
pub const LANES: usize = 32;

/// One register of all threads of a warp. What a thread holds is in the low bits; those above the register's width are
/// whatever the instruction that wrote it left there, and every reader cuts them off.
pub type Row = [u64; LANES];

/// A function of one register.
pub type One = fn(&mut [Row], u32, u16, u16);
/// A function of two registers.
pub type Two = fn(&mut [Row], u32, u16, u16, u16);
/// A function of three registers.
pub type Three = fn(&mut [Row], u32, u16, u16, u16, u16);
/// A function of four registers.
pub type Four = fn(&mut [Row], u32, u16, [u16; 4]);
/// A comparison: the lanes where it holds.
pub type Compare = fn(&[Row], u16, u16) -> u32;

/// A value that a register can hold.
pub trait Lane: Copy {
    /// From the bits of a register.
    fn of(bits: u64) -> Self;
    /// To the bits of a register.
    fn bits(self) -> u64;
}

macro_rules! whole {
    ($($t:ty),*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn of(bits: u64) -> Self {
                bits as $t
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                self as u64
            }
        }
    )*};
}
whole!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Lane for f32 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        f32::from_bits(bits as u32)
    }
    // The hardware has one NaN.
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(if self.is_nan() { 0x7fff_ffff } else { self.to_bits() })
    }
}

impl Lane for f64 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        f64::from_bits(bits)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Lane for F16 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        F16(bits as u16)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.0)
    }
}

impl Lane for Bf16 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        Bf16(bits as u16)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.0)
    }
}

/// Two in one register, the first in the low half.
impl<T: Lane + float::Half> Lane for (T, T) {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        (T::of(bits), T::of(bits >> 16))
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.0.bits() & 0xffff | (self.1.bits() & 0xffff) << 16
    }
}

/// The indices of the bits that are set.
#[inline(always)]
pub fn each(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            lane
        })
    })
}

/// Each function is compiled twice: for any processor, and for one with wide vectors and fused multiply-add. Both give the
/// same bits: a fused multiply-add is exact either way.
macro_rules! twice {
    ($name:ident, $body:ident, $wide:ident, [$($g:ident),*], ($($p:ident: $t:ty),*), $f:ident: $ft:path $(, -> $r:ty)?) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
        fn $wide<$($g: Lane,)* F: $ft>($($p: $t,)* $f: F) $(-> $r)? {
            $body($($p,)* $f)
        }

        /// See `twice`.
        #[inline(always)]
        pub fn $name<$($g: Lane,)* F: $ft>($($p: $t,)* $f: F) $(-> $r)? {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                // SAFETY: the processor has what it is compiled for; one with AVX2 has the other extensions too.
                return unsafe { $wide($($p,)* $f) };
            }
            $body($($p,)* $f)
        }
    };
}

/// Up to so many lanes are computed one by one; for more all are, which goes in vectors, and those that are wanted kept.
const FEW: u32 = 4;

#[inline(always)]
fn put(d: &mut Row, result: &Row, mask: u32) {
    if mask == u32::MAX {
        *d = *result;
    } else {
        for lane in 0..LANES {
            d[lane] = if mask >> lane & 1 == 1 { result[lane] } else { d[lane] };
        }
    }
}

#[inline(always)]
fn one_body<A: Lane, R: Lane, F: Fn(A) -> R>(rows: &mut [Row], mask: u32, d: u16, a: u16, f: F) {
    let (d, a) = (usize::from(d), usize::from(a));
    if mask.count_ones() > FEW {
        let a = &rows[a];
        let result: Row = std::array::from_fn(|lane| f(A::of(a[lane])).bits());
        put(&mut rows[d], &result, mask);
    } else {
        for lane in each(mask) {
            rows[d][lane] = f(A::of(rows[a][lane])).bits();
        }
    }
}

#[inline(always)]
fn two_body<A: Lane, B: Lane, R: Lane, F: Fn(A, B) -> R>(
    rows: &mut [Row],
    mask: u32,
    d: u16,
    a: u16,
    b: u16,
    f: F,
) {
    let (d, a, b) = (usize::from(d), usize::from(a), usize::from(b));
    if mask.count_ones() > FEW {
        let (a, b) = (&rows[a], &rows[b]);
        let result: Row = std::array::from_fn(|lane| f(A::of(a[lane]), B::of(b[lane])).bits());
        put(&mut rows[d], &result, mask);
    } else {
        for lane in each(mask) {
            rows[d][lane] = f(A::of(rows[a][lane]), B::of(rows[b][lane])).bits();
        }
    }
}

#[inline(always)]
fn three_body<A: Lane, B: Lane, C: Lane, R: Lane, F: Fn(A, B, C) -> R>(
    rows: &mut [Row],
    mask: u32,
    d: u16,
    a: u16,
    b: u16,
    c: u16,
    f: F,
) {
    let (d, a, b, c) = (usize::from(d), usize::from(a), usize::from(b), usize::from(c));
    if mask.count_ones() > FEW {
        let (a, b, c) = (&rows[a], &rows[b], &rows[c]);
        let result: Row =
            std::array::from_fn(|lane| f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane])).bits());
        put(&mut rows[d], &result, mask);
    } else {
        for lane in each(mask) {
            rows[d][lane] = f(A::of(rows[a][lane]), B::of(rows[b][lane]), C::of(rows[c][lane])).bits();
        }
    }
}

#[inline(always)]
fn compare_body<A: Lane, F: Fn(A, A) -> bool>(rows: &[Row], a: u16, b: u16, f: F) -> u32 {
    let (a, b) = (&rows[usize::from(a)], &rows[usize::from(b)]);
    let mut mask = 0;
    for lane in 0..LANES {
        mask |= u32::from(f(A::of(a[lane]), A::of(b[lane]))) << lane;
    }
    mask
}

twice!(one, one_body, one_wide, [A, R], (rows: &mut [Row], mask: u32, d: u16, a: u16), f: Fn(A) -> R);
twice!(two, two_body, two_wide, [A, B, R], (rows: &mut [Row], mask: u32, d: u16, a: u16, b: u16), f: Fn(A, B) -> R);
twice!(three, three_body, three_wide, [A, B, C, R],
    (rows: &mut [Row], mask: u32, d: u16, a: u16, b: u16, c: u16), f: Fn(A, B, C) -> R);
twice!(compare, compare_body, compare_wide, [A], (rows: &[Row], a: u16, b: u16), f: Fn(A, A) -> bool, -> u32);

/// A function of four registers. Rare, so compiled once.
#[inline(always)]
pub fn four<A: Lane, B: Lane, C: Lane, D: Lane, R: Lane>(
    rows: &mut [Row],
    mask: u32,
    d: u16,
    from: [u16; 4],
    f: impl Fn(A, B, C, D) -> R,
) {
    let [p, q, r, s] = from.map(usize::from);
    for lane in each(mask) {
        let result =
            f(A::of(rows[p][lane]), B::of(rows[q][lane]), C::of(rows[r][lane]), D::of(rows[s][lane]));
        rows[usize::from(d)][lane] = result.bits();
    }
}
