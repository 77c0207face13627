//! Products of small matrices by a warp.
//!
//! The fragments are those of the PTX ISA, section "Matrix multiply-accumulate operation using mma instruction": with g = lane / 4
//! and t = lane mod 4, a register of A or B holds neighbours along k, a register of C neighbours along n. Products are summed in
//! order of k after C, in f32 (in f64 for f64). The hardware does not say in which order it sums.

// A lane is an index into several registers.
#![allow(clippy::needless_range_loop)]

use super::float::{Bf16, F16, Half as _};
use super::lanes::{LANES, Row};
use crate::program::{Mma, Reg};

/// Multiplies: rows of A, columns of B and C in the warp's registers.
pub fn multiply(rows: &mut [Row], shape: Mma, d: &[Reg], a: &[Reg], b: &[Reg], c: &[Reg]) {
    match shape {
        Mma::F16 { k, half_sums } => halves(rows, k, half_sums, [d, a, b, c], |bits| F16(bits).wide()),
        Mma::Bf16 { k } => halves(rows, k, false, [d, a, b, c], |bits| Bf16(bits).wide()),
        Mma::Tf32 { k } => tf32(rows, k, d, a, b, c),
        Mma::F64 => f64s(rows, d, a, b, c),
    }
}

/// C of 16×8, from what each register of a lane holds.
fn sums(rows: &[Row], c: &[Reg], half: bool) -> [[f32; 8]; 16] {
    let mut sums = [[0f32; 8]; 16];
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for i in 0..4 {
            let (row, column) = (g + 8 * (i / 2), 2 * t + i % 2);
            sums[row][column] = if half {
                F16((rows[usize::from(c[i / 2])][lane] >> (16 * (i % 2))) as u16).wide()
            } else {
                f32::from_bits(rows[usize::from(c[i])][lane] as u32)
            };
        }
    }
    sums
}

fn write(rows: &mut [Row], d: &[Reg], sums: &[[f32; 8]; 16], half: bool) {
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for i in 0..2 {
            let [x, y] = [sums[g + 8 * i][2 * t], sums[g + 8 * i][2 * t + 1]];
            if half {
                let [x, y] = [x, y].map(|sum| u64::from(F16::nearest(f64::from(sum)).0));
                rows[usize::from(d[i])][lane] = x | y << 16;
            } else {
                rows[usize::from(d[2 * i])][lane] = u64::from(x.to_bits());
                rows[usize::from(d[2 * i + 1])][lane] = u64::from(y.to_bits());
            }
        }
    }
}

fn product(sums: &mut [[f32; 8]; 16], k: usize, a: &[[f32; 16]; 16], b: &[[f32; 8]; 16]) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (a, b) in a.iter().zip(b).take(k) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
}

fn halves(rows: &mut [Row], k: usize, half_sums: bool, [d, a, b, c]: [&[Reg]; 4], wide: impl Fn(u16) -> f32) {
    let (mut left, mut right) = ([[0f32; 16]; 16], [[0f32; 8]; 16]);
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for (i, &register) in a.iter().enumerate() {
            // Rows g and g + 8 come one after another, then the next eight of k.
            let bits = rows[usize::from(register)][lane];
            let (row, column) = (g + 8 * (i % 2), 2 * t + 8 * (i / 2));
            left[row][column] = wide(bits as u16);
            left[row][column + 1] = wide((bits >> 16) as u16);
        }
        for (i, &register) in b.iter().enumerate() {
            let bits = rows[usize::from(register)][lane];
            right[2 * t + 8 * i][g] = wide(bits as u16);
            right[2 * t + 8 * i + 1][g] = wide((bits >> 16) as u16);
        }
    }
    let mut sums = sums(rows, c, half_sums);
    product(&mut sums, k, &left, &right);
    write(rows, d, &sums, half_sums);
}

fn tf32(rows: &mut [Row], k: usize, d: &[Reg], a: &[Reg], b: &[Reg], c: &[Reg]) {
    // The hardware does not look at the low thirteen bits.
    let wide = |bits: u64| f32::from_bits(bits as u32 & !0x1fff);
    let (mut left, mut right) = ([[0f32; 16]; 16], [[0f32; 8]; 16]);
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for (i, &register) in a.iter().enumerate() {
            left[g + 8 * (i % 2)][t + 4 * (i / 2)] = wide(rows[usize::from(register)][lane]);
        }
        for (i, &register) in b.iter().enumerate() {
            right[t + 4 * i][g] = wide(rows[usize::from(register)][lane]);
        }
    }
    let mut sums = sums(rows, c, false);
    product(&mut sums, k, &left, &right);
    write(rows, d, &sums, false);
}

fn f64s(rows: &mut [Row], d: &[Reg], a: &[Reg], b: &[Reg], c: &[Reg]) {
    let (a, b) = (rows[usize::from(a[0])], rows[usize::from(b[0])]);
    let of = |row: &Row, at: usize| f64::from_bits(row[at]);
    let mut results = [[0f64; 2]; LANES];
    for (lane, result) in results.iter_mut().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        for (i, sum) in result.iter_mut().enumerate() {
            *sum = of(&rows[usize::from(c[i])], lane);
            for k in 0..4 {
                *sum = of(&a, 4 * g + k).mul_add(of(&b, 4 * (2 * t + i) + k), *sum);
            }
        }
    }
    for (lane, result) in results.iter().enumerate() {
        for (i, sum) in result.iter().enumerate() {
            rows[usize::from(d[i])][lane] = sum.to_bits();
        }
    }
}
