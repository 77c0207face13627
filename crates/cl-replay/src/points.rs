//! Points from a tensor, and the distance of two.

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};

/// The rows of a tensor of features, checked and on the host.
pub(crate) struct Points {
    dimension: usize,
    values: Vec<f32>,
}

impl Points {
    /// From (n, d) of any float dtype; `dimension` is what d has to be, where that is known.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another shape, [`Error::Invalid`] on d = 0 and on a value that is not finite
    /// in f32.
    pub(crate) fn new(what: &'static str, features: &Tensor, dimension: Option<usize>) -> Result<Self> {
        let (n, d) = features.dims2().map_err(|_| {
            Error::mismatch(what, "one row of features a sample, (n, d)", format!("{:?}", features.dims()))
        })?;
        if d == 0 || dimension.is_some_and(|dimension| dimension != d) {
            let expected = dimension.map_or("at least one feature".into(), |d| format!("{d} features"));
            return Err(Error::mismatch(what, expected, format!("{d}")));
        }
        let values = features.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        debug_assert_eq!(values.len(), n * d);
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, column, value) = (at / d, at % d, values[at]);
            return Err(Error::invalid(what, format!("feature {column} of row {row} is {value}")));
        }
        Ok(Self { dimension: d, values })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dimension..][..self.dimension]
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}

/// ‖a − b‖² in f64: a difference of two f32 and its square are exact there, only the sum is rounded, always
/// in the same order. Whoever compares distances gets the same number for the same two points.
pub(crate) fn squared_distance<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let square = |a: T, b: T| (a.into() - b.into()).powi(2);
    let mut lanes = [0f64; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            lanes[i] += square(a[i], b[i]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += square(a, b);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
