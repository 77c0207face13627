//! Which rows a sample is made of.

use cl_core::{Error, Result, Rng};
use rand::Rng as _;

/// Whether a draw may return a row twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Draw {
    /// Every row of the sample is drawn from all rows, independently of the others.
    WithReplacement,
    /// The rows of the sample are distinct; every set of them is equally likely, in every order.
    WithoutReplacement,
}

impl Draw {
    /// `n` of the numbers below `len`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is nothing to draw from, or less than `n` without replacement. The
    /// generator is not moved then.
    pub(crate) fn indices(self, n: usize, len: usize, rng: &mut Rng) -> Result<Vec<u32>> {
        if len == 0 {
            return Err(Error::invalid("sample", "the memory is empty; offer it samples first"));
        }
        let limit = u32::try_from(len).map_err(|_| {
            Error::invalid("sample", format!("{len} rows are more than can be drawn from ({})", u32::MAX))
        })?;
        match self {
            Self::WithReplacement => Ok((0..n).map(|_| rng.random_range(0..limit)).collect()),
            Self::WithoutReplacement if n > len => Err(Error::invalid(
                "sample",
                format!(
                    "{n} distinct rows were asked for, the memory holds {len}; draw at most that, or with replacement"
                ),
            )),
            Self::WithoutReplacement => {
                Ok(rand::seq::index::sample(rng, len, n).into_iter().map(|i| i as u32).collect())
            }
        }
    }
}
