//! Rotated streams: each task turns the images by an angle of its own.

use cl_core::{Error, Result};
use rand::Rng as _;

use super::{Scenario, Stream, Transform, transformed};
use crate::DataSet;

/// A task for each angle in `degrees`, counter-clockwise, with all classes. Labels as in
/// [`permuted`](crate::permuted); how an image is turned, at [`Transform::Rotation`].
///
/// # Errors
/// [`Error::Invalid`] for no angles and for one that is not finite.
pub fn rotated(data: &DataSet, degrees: &[f32], scenario: Scenario) -> Result<Stream> {
    let transforms = degrees.iter().map(|&degrees| Transform::Rotation { degrees });
    transformed("rotated", data, transforms.collect(), scenario)
}

/// `n` angles drawn uniformly from `[0, max)` degrees, in the order drawn. The first `n` are the same
/// for every greater `n`.
///
/// # Errors
/// [`Error::Invalid`] unless `max` is positive and finite.
pub fn rotation_angles(n: usize, max: f32, seed: u64) -> Result<Vec<f32>> {
    if !max.is_finite() || max <= 0.0 {
        return Err(Error::invalid("max", format!("{max} degrees: a finite angle above 0")));
    }
    let mut rng = cl_core::rng(seed, "rotation angles");
    Ok((0..n).map(|_| rng.random_range(0.0..max)).collect())
}
