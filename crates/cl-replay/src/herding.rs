//! A coreset whose mean is that of all points: herding.

use candle_core::Tensor;
use cl_core::{Error, Result};

use crate::points::Points;

/// Chooses `k` of `features` (n, d), one after the other, such that after each choice the mean of the chosen ones is as
/// near to `target` (d) as one more can bring it (Welling 2009; Rebuffi et al. 2017, algorithm 4). No row is chosen twice;
/// of equally good ones it is the first. The rows in the order in which they were chosen: any first part of them is a
/// choice of its own, so that a memory is made smaller by leaving out the last ones. It takes n·k products of rows.
///
/// ```
/// use candle_core::{Device, Tensor};
///
/// let features = Tensor::new(&[[0f32], [1.0], [4.0], [9.0]], &Device::Cpu)?;
/// let mean = features.mean(0)?; // 3.5
/// assert_eq!(cl_replay::herding(&features, &mean, 3)?, [2, 1, 3]); // means 4, 2.5, 4.67
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] where `features` is not a matrix or `target` has not as many features, [`Error::Invalid`] on a
/// value that is not finite and on a `k` above n.
pub fn herding(features: &Tensor, target: &Tensor, k: usize) -> Result<Vec<u32>> {
    let points = Points::new("herding", features, None)?;
    let d = features.dim(1)?;
    let target = Points::new("herding's target", &target.unsqueeze(0)?, Some(d))?;
    let n = points.len();
    if k > n || n > u32::MAX as usize {
        return Err(Error::invalid("herding", format!("{k} of {n} samples cannot be chosen")));
    }
    let dot = |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * b).sum::<f64>();
    let squares: Vec<f64> =
        points.rows().map(|row| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()).collect();
    // ‖(φ + Σ chosen)/m − μ‖² is (‖φ‖² + 2 φ·(Σ chosen − m μ)) / m² and what all φ share.
    let mut missing = vec![0.0; d];
    let (mut rows, mut free) = (Vec::with_capacity(k), vec![true; n]);
    for _ in 0..k {
        missing.iter_mut().zip(target.row(0)).for_each(|(missing, &mean)| *missing -= f64::from(mean));
        let mut best = (f64::INFINITY, 0);
        for (row, features) in points.rows().enumerate().filter(|&(row, _)| free[row]) {
            let distance = squares[row] + 2.0 * dot(features, &missing);
            if distance < best.0 {
                best = (distance, row);
            }
        }
        let next = best.1;
        free[next] = false;
        rows.push(next as u32);
        missing.iter_mut().zip(points.row(next)).for_each(|(missing, &x)| *missing += f64::from(x));
    }
    Ok(rows)
}
