//! Images to columns and back.
//!
//! Inside, channels come last: what a row of the kernel covers is then one contiguous piece of the
//! padded image, whatever the stride, the products find every operand in the order they like, and
//! ReLU and pooling run along the channels.

use std::ops::Range;

use super::{geometry::Geometry, real::Real};

/// Images (c, h, w) into padded images (h + 2p, w + 2p, c).
pub(super) fn pad<T: Real>(g: &Geometry, images: &[T], padded: &mut [T]) {
    if g.padding > 0 {
        padded.fill(T::zero());
    }
    for (image, padded) in images.chunks_exact(g.image()).zip(padded.chunks_exact_mut(g.padded_image())) {
        for y in 0..g.h {
            let inside = inside(g, y);
            transpose(&image[y * g.w..], g.h * g.w, &mut padded[inside], g.c, (g.c, g.w));
        }
    }
}

/// The inverse of [`pad`]; the border is dropped.
pub(super) fn crop<T: Real>(g: &Geometry, padded: &[T], images: &mut [T]) {
    for (image, padded) in images.chunks_exact_mut(g.image()).zip(padded.chunks_exact(g.padded_image())) {
        for y in 0..g.h {
            transpose(&padded[inside(g, y)], g.c, &mut image[y * g.w..], g.h * g.w, (g.w, g.c));
        }
    }
}

/// Row `y` of the image within the padded image.
fn inside(g: &Geometry, y: usize) -> Range<usize> {
    let from = ((y + g.padding) * g.padded_w() + g.padding) * g.c;
    from..from + g.w * g.c
}

/// One row of columns for each position of the kernel in `rows` of the result, counted through all
/// images: what the kernel covers, in the order (kh, kw, c).
pub(super) fn im2col<T: Real>(g: &Geometry, padded: &[T], rows: Range<usize>, columns: &mut [T]) {
    for (row, columns) in rows.zip(columns.chunks_exact_mut(g.ow * g.patch())) {
        for (x, column) in columns.chunks_exact_mut(g.patch()).enumerate() {
            for (ki, part) in column.chunks_exact_mut(g.kw * g.c).enumerate() {
                part.copy_from_slice(&padded[covered(g, row, x, ki)]);
            }
        }
    }
}

/// The adjoint of [`im2col`]: adds every element of the columns to the pixel it came from.
pub(super) fn col2im<T: Real>(g: &Geometry, columns: &[T], rows: Range<usize>, padded: &mut [T]) {
    for (row, columns) in rows.zip(columns.chunks_exact(g.ow * g.patch())) {
        for (x, column) in columns.chunks_exact(g.patch()).enumerate() {
            for (ki, part) in column.chunks_exact(g.kw * g.c).enumerate() {
                for (pixel, &part) in padded[covered(g, row, x, ki)].iter_mut().zip(part) {
                    *pixel += part;
                }
            }
        }
    }
}

/// What row `ki` of the kernel covers at position `x` in `row` of the result.
fn covered(g: &Geometry, row: usize, x: usize, ki: usize) -> Range<usize> {
    let (image, oy) = (row / g.oh, row % g.oh);
    let pixel = (oy * g.stride + ki) * g.padded_w() + x * g.stride;
    let from = image * g.padded_image() + pixel * g.c;
    from..from + g.kw * g.c
}

/// Side of the blocks in which [`transpose`] moves: small enough to stay in registers.
const SIDE: usize = 4;

/// A matrix of `rows` × `cols`, its rows `from_pitch` apart, into its transpose with rows `to_pitch`
/// apart.
pub(super) fn transpose<T: Real>(
    from: &[T],
    from_pitch: usize,
    to: &mut [T],
    to_pitch: usize,
    (rows, cols): (usize, usize),
) {
    for i in (0..rows).step_by(SIDE) {
        for j in (0..cols).step_by(SIDE) {
            let (height, width) = (SIDE.min(rows - i), SIDE.min(cols - j));
            if (height, width) == (SIDE, SIDE) {
                let mut block = [[T::zero(); SIDE]; SIDE];
                for (r, row) in block.iter_mut().enumerate() {
                    row.copy_from_slice(&from[(i + r) * from_pitch + j..][..SIDE]);
                }
                for c in 0..SIDE {
                    let column: [T; SIDE] = std::array::from_fn(|r| block[r][c]);
                    to[(j + c) * to_pitch + i..][..SIDE].copy_from_slice(&column);
                }
            } else {
                for r in i..i + height {
                    for c in j..j + width {
                        to[c * to_pitch + r] = from[r * from_pitch + c];
                    }
                }
            }
        }
    }
}
