//! The samples of a task, whose inputs are made when they are asked for.

use std::ops::Range;
use std::sync::Arc;

use cl_core::Result;

use super::Transform;
use crate::Samples;
use crate::dataset::check_width;

/// The samples of a task. What the task does to its inputs is done to the rows that are asked for: twenty permutations
/// of a data set share one copy of it.
#[derive(Clone, Debug)]
pub struct TaskSamples {
    plain: Samples,
    transform: Arc<Transform>,
    image: [usize; 3],
}

impl TaskSamples {
    /// Samples with inputs of this form (channels, rows, columns), to be transformed.
    ///
    /// # Errors
    /// As [`Transform::apply`].
    pub fn new(plain: Samples, transform: Arc<Transform>, image: [usize; 3]) -> Result<Self> {
        check_width(&plain, image)?;
        transform.check(image)?;
        Ok(Self { plain, transform, image })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// The number of values of one input.
    pub fn features(&self) -> usize {
        self.plain.features()
    }

    /// The labels as numbers.
    pub fn labels(&self) -> Result<Vec<u32>> {
        self.plain.labels()
    }

    /// All of them, transformed: a copy, unless nothing is done to them.
    pub fn all(&self) -> Result<Samples> {
        self.transform.apply(&self.plain, self.image)
    }

    /// The samples with these row numbers, in this order; a row may come more than once.
    ///
    /// # Errors
    /// As [`Samples::gather`].
    pub fn gather(&self, rows: &[u32]) -> Result<Samples> {
        self.transform.apply(&self.plain.gather(rows)?, self.image)
    }

    /// The first `n` of them, or all where there are no more.
    ///
    /// # Errors
    /// None of its own.
    pub fn first(&self, n: usize) -> Result<Self> {
        let plain = self.plain.slice(0..n.min(self.len()))?;
        Ok(Self { plain, transform: self.transform.clone(), image: self.image })
    }

    /// The samples of a range of rows.
    ///
    /// # Errors
    /// As [`Samples::slice`].
    pub fn slice(&self, rows: Range<usize>) -> Result<Samples> {
        self.transform.apply(&self.plain.slice(rows)?, self.image)
    }
}

impl From<Samples> for TaskSamples {
    /// As they are.
    fn from(plain: Samples) -> Self {
        let image = [1, 1, plain.features()];
        Self { plain, transform: Arc::new(Transform::None), image }
    }
}
