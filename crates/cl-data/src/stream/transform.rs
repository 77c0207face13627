//! What a task does to the inputs of its data set.

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Samples;
use crate::dataset::check_width;

/// What a task does to the inputs: part of the task, so that it can be stored, compared and applied
/// to other samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Nothing.
    None,
    /// Pixel `i` of the new image is pixel `permutation[i]` of the old one, in every channel.
    Permutation(Vec<u32>),
    /// The image turned about its centre, counter-clockwise; outside of the image all is zero. Multiples of 90°
    /// are exact for square images.
    Rotation {
        /// The angle.
        degrees: f32,
        /// What a new pixel is.
        #[serde(default)]
        pixels: Pixels,
    },
}

/// What a pixel of a turned image is, which comes from between the old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pixels {
    /// The mean of the four old ones around the point that it comes from, weighted by nearness.
    #[default]
    Bilinear,
    /// The old one that the point lies in: what PIL's `rotate` does by default, and with it most published tables.
    Nearest,
}

impl Transform {
    /// The samples with transformed inputs; `image` is channels, rows, columns.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the inputs are not such images, [`Error::Invalid`] for a permutation
    /// that is none of their pixels and for an angle that is not finite.
    pub fn apply(&self, samples: &Samples, image: [usize; 3]) -> Result<Samples> {
        check_width(samples, image)?;
        self.check(image)?;
        let [_, rows, columns] = image;
        let pixels = rows * columns;
        match self {
            Self::None => Ok(samples.clone()),
            Self::Permutation(permutation) => samples.map_inputs(samples.features(), |x, out| {
                for plane in x.chunks_exact(pixels.max(1)) {
                    out.extend(permutation.iter().map(|&from| plane[from as usize]));
                }
            }),
            Self::Rotation { degrees, pixels: Pixels::Nearest } => {
                let weights = rotation(*degrees, Pixels::Nearest, rows, columns);
                // All the weight is on the first, or there is none: then the pixel is a zero that lies behind the plane. A
                // source that may be none took twice the time, a third of an evaluation.
                let source =
                    |&[(at, weight), ..]: &Source| if weight > 0.0 { at as u32 } else { pixels as u32 };
                let sources: Vec<u32> = weights.iter().map(source).collect();
                samples.map_inputs(samples.features(), |x, out| {
                    let mut padded = vec![0f32; pixels + 1];
                    for plane in x.chunks_exact(pixels.max(1)) {
                        padded[..pixels].copy_from_slice(plane);
                        out.extend(sources.iter().map(|&from| padded[from as usize]));
                    }
                })
            }
            Self::Rotation { degrees, pixels: Pixels::Bilinear } => {
                let sources = rotation(*degrees, Pixels::Bilinear, rows, columns);
                samples.map_inputs(samples.features(), |x, out| {
                    for plane in x.chunks_exact(pixels.max(1)) {
                        let pixel =
                            |source: &Source| source.iter().map(|&(at, w)| w * plane[at]).sum::<f32>();
                        out.extend(sources.iter().map(pixel));
                    }
                })
            }
        }
    }
}

impl Transform {
    /// Whether it can be done to images of these channels, rows and columns.
    pub(crate) fn check(&self, image: [usize; 3]) -> Result<()> {
        match self {
            Self::Permutation(permutation) => check_permutation(permutation, image[1] * image[2]),
            Self::Rotation { degrees, .. } if !degrees.is_finite() => {
                Err(Error::invalid("degrees", format!("{degrees}: a finite angle")))
            }
            _ => Ok(()),
        }
    }
}

fn check_permutation(permutation: &[u32], pixels: usize) -> Result<()> {
    let mut seen = vec![false; pixels];
    let new = |&at: &u32| seen.get_mut(at as usize).is_some_and(|seen| !std::mem::replace(seen, true));
    if permutation.len() == pixels && permutation.iter().all(new) {
        return Ok(());
    }
    Err(Error::invalid("permutation", format!("it must hold each of 0..{pixels} once")))
}

/// The pixels that make up a new one, with their weights.
type Source = [(usize, f32); 4];

/// For each pixel of the turned image, where it comes from. Weights of pixels outside are 0.
fn rotation(degrees: f32, pixels: Pixels, rows: usize, columns: usize) -> Vec<Source> {
    let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
    let (middle_row, middle_column) = (rows as f64 / 2.0 - 0.5, columns as f64 / 2.0 - 0.5);
    let mut sources = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            // Turned back, clockwise, with the second axis pointing up.
            let (right, up) = (column as f64 - middle_column, middle_row - row as f64);
            let from_row = snap(middle_row - (up * cos - right * sin));
            let from_column = snap(middle_column + (right * cos + up * sin));
            let (from_row, from_column) = match pixels {
                Pixels::Bilinear => (from_row, from_column),
                Pixels::Nearest => ((from_row + 0.5).floor(), (from_column + 0.5).floor()),
            };
            let (top, left) = (from_row.floor(), from_column.floor());
            let (down, along) = (from_row - top, from_column - left);
            sources.push(
                [
                    (top, left, (1.0 - down) * (1.0 - along)),
                    (top, left + 1.0, (1.0 - down) * along),
                    (top + 1.0, left, down * (1.0 - along)),
                    (top + 1.0, left + 1.0, down * along),
                ]
                .map(|(row, column, weight)| {
                    let inside = (0.0..rows as f64).contains(&row) && (0.0..columns as f64).contains(&column);
                    if inside { (row as usize * columns + column as usize, weight as f32) } else { (0, 0.0) }
                }),
            );
        }
    }
    sources
}

/// Takes rounding errors away from whole numbers, so that right angles are exact.
fn snap(coordinate: f64) -> f64 {
    let whole = coordinate.round();
    if (coordinate - whole).abs() < 1e-9 { whole } else { coordinate }
}
