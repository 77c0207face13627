//! A coreset that covers all points: greedy k-center.

use candle_core::Tensor;
use cl_core::{Error, Result};

use crate::points::{Points, squared_distance};

/// What [`k_center`] chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Centers {
    /// The rows that were chosen, in the order in which they were.
    pub rows: Vec<u32>,
    /// The largest distance of a point to the nearest of them.
    pub radius: f64,
}

/// Chooses `k` of `points` (n, d), such that every point has a chosen one near: first the row `first`, then
/// always the point that is farthest from all chosen ones (Gonzalez 1985), of equally far ones the first.
///
/// No choice of k points has less than half the radius of this one. A point that is there several times is
/// chosen a second time only when no other is left, and never the same row. It takes n·k distances.
///
/// ```
/// use candle_core::{Device, Tensor};
///
/// let points = Tensor::new(&[[0f32], [1.0], [9.0], [10.0], [10.0]], &Device::Cpu)?;
/// let centers = cl_replay::k_center(&points, 3, 0)?;
/// assert_eq!((centers.rows, centers.radius), (vec![0, 3, 1], 1.0));
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] where `points` is not a matrix, [`Error::Invalid`] on a feature that is not finite, on
/// a `first` that is not a row, and on a `k` of zero or above n.
pub fn k_center(points: &Tensor, k: usize, first: usize) -> Result<Centers> {
    let points = Points::new("k_center", points, None)?;
    let n = points.len();
    if k == 0 || k > n || first >= n || n > u32::MAX as usize {
        return Err(Error::invalid(
            "k_center",
            format!("{k} centers beginning with row {first} cannot be chosen from {n} points"),
        ));
    }
    // The squared distance to the nearest center; −1 for a center itself, so that it is never the farthest.
    let mut nearest = vec![f64::INFINITY; n];
    let (mut rows, mut next) = (Vec::with_capacity(k), first);
    let mut radius = 0.0;
    for _ in 0..k {
        rows.push(next as u32);
        nearest[next] = -1.0;
        let center = points.row(next);
        let mut farthest = -1.0;
        for (i, (nearest, point)) in nearest.iter_mut().zip(points.rows()).enumerate() {
            if *nearest >= 0.0 {
                *nearest = nearest.min(squared_distance(point, center));
                if *nearest > farthest {
                    (farthest, next) = (*nearest, i);
                }
            }
        }
        radius = farthest.max(0.0).sqrt();
    }
    Ok(Centers { rows, radius })
}
