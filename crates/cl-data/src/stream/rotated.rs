//! Rotated streams: each task turns the images by an angle of its own.

use cl_core::{Error, Result};
use rand::Rng as _;

use super::{Pixels, Scenario, Stream, TrainSamples, Transform, transformed};
use crate::DataSet;

/// A task for each angle in `degrees`, counter-clockwise, with all classes. Labels as in
/// [`permuted`](crate::permuted); how an image is turned, at [`Transform::Rotation`].
///
/// # Errors
/// [`Error::Invalid`] for no angles and for one that is not finite.
pub fn rotated(data: &DataSet, degrees: &[f32], pixels: Pixels, scenario: Scenario) -> Result<Stream> {
    let transforms = degrees.iter().map(|&degrees| Transform::Rotation { degrees, pixels });
    transformed("rotated", data, transforms.collect(), TrainSamples::All, scenario)
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

/// `n` angles that rise: one drawn uniformly from each of `n` equal parts of `[0, max)` degrees (the tasks of
/// Lopez-Paz & Ranzato 2017, of which each is like its neighbours).
///
/// # Errors
/// As [`rotation_angles`].
pub fn rising_angles(n: usize, max: f32, seed: u64) -> Result<Vec<f32>> {
    let within = rotation_angles(n, max, seed)?;
    Ok((0u16..).zip(within).map(|(part, angle)| (f32::from(part) * max + angle) / n as f32).collect())
}
