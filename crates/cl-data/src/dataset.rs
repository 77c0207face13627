//! A data set before it is cut into tasks.

use candle_core::Tensor;
use cl_core::{Error, Result};

use crate::{Locations, Samples, digits, manifest};

/// A data set for classification, whole in memory.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The name it is loaded by.
    pub name: String,
    /// The samples to learn from; labels are classes.
    pub train: Samples,
    /// The samples to evaluate on; labels are classes.
    pub test: Samples,
    /// The number of classes; labels are `0..classes`.
    pub classes: usize,
    /// Channels, rows and columns of an input. Features are in this order.
    pub image: [usize; 3],
}

/// The names that [`load`] knows: the built-in one, then those with a manifest.
pub fn names() -> Vec<&'static str> {
    [digits::NAME].into_iter().chain(crate::manifests().iter().map(|m| m.name.as_str())).collect()
}

/// The data set `name`, with pixels in `[0, 1]` and no normalisation.
///
/// `digits` is part of the program. The others are looked for in `$CL_DATA_DIR/<name>/`, then in the
/// user's cache folder, and are downloaded there if they are in neither; see [`Locations`].
///
/// # Errors
/// [`Error::Invalid`] for an unknown name, [`Error::Unavailable`] if files are missing and cannot be
/// downloaded, [`Error::Format`] for a file that is not the one in the manifest.
pub fn load(name: &str) -> Result<DataSet> {
    match name {
        digits::NAME => digits::load(),
        _ => Locations::from_env().load(manifest(name)?),
    }
}

impl DataSet {
    /// The set with each pixel `v` replaced by `(v − mean) / std`.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless both are finite and `std` is positive.
    pub fn normalised(self, mean: f32, std: f32) -> Result<Self> {
        if !mean.is_finite() || !std.is_finite() || std <= 0.0 {
            return Err(Error::invalid("mean, std", format!("{mean}, {std}: finite numbers, std above 0")));
        }
        let normalised = |samples: Samples| -> Result<Samples> {
            let cpu = samples.x.device();
            let x = samples.x.broadcast_sub(&Tensor::new(mean, cpu)?)?;
            Samples::new(x.broadcast_div(&Tensor::new(std, cpu)?)?, samples.y)
        };
        Ok(Self { train: normalised(self.train)?, test: normalised(self.test)?, ..self })
    }

    /// The set with `pixels` zeros added on each of the four sides: 2 makes 32×32 of 28×28.
    ///
    /// Pad before [`normalised`](Self::normalised), so that the border is background.
    pub fn padded(self, pixels: usize) -> Result<Self> {
        let [channels, rows, columns] = self.image;
        let image = [channels, rows + 2 * pixels, columns + 2 * pixels];
        let padded = |samples: &Samples| -> Result<Samples> {
            check_width(samples, self.image)?;
            let (border, [_, height, width]) = (pixels, image);
            samples.map_inputs(image.iter().product(), |x, out| {
                out.resize(samples.len() * channels * height * width, 0.0);
                let planes = out.chunks_exact_mut((height * width).max(1));
                for (to, from) in planes.zip(x.chunks_exact((rows * columns).max(1))) {
                    for (row, line) in from.chunks_exact(columns.max(1)).enumerate() {
                        to[(row + border) * width + border..][..columns].copy_from_slice(line);
                    }
                }
            })
        };
        Ok(Self { train: padded(&self.train)?, test: padded(&self.test)?, image, ..self })
    }
}

/// Inputs must be as wide as the image says.
pub(crate) fn check_width(samples: &Samples, image: [usize; 3]) -> Result<()> {
    let [c, h, w] = image;
    if samples.features() == c * h * w {
        return Ok(());
    }
    Err(Error::mismatch(
        "image",
        format!("inputs of {c}·{h}·{w} features"),
        format!("{} features", samples.features()),
    ))
}
