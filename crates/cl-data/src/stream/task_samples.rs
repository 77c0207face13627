//! The samples of a task, whose inputs are made when they are asked for.

use std::ops::Range;
use std::sync::Arc;

use cl_core::{Error, Result};

use super::Transform;
use crate::Samples;
use crate::dataset::check_width;

/// The samples of a task. What the task does to its inputs is done to the rows that are asked for: twenty permutations
/// of a data set, or of parts that are drawn from it, share one copy of it.
#[derive(Clone, Debug)]
pub struct TaskSamples {
    plain: Samples,
    /// Which of them, in which order, where it is not all.
    chosen: Option<Arc<[u32]>>,
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
        Ok(Self { plain, chosen: None, transform, image })
    }

    /// These rows of them, in this order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row that there is not.
    pub fn choose(&self, rows: &[u32]) -> Result<Self> {
        if let Some(row) = rows.iter().find(|&&row| row as usize >= self.len()) {
            return Err(Error::invalid("row", format!("{row}, but there are {}", self.len())));
        }
        let chosen: Arc<[u32]> = match &self.chosen {
            Some(chosen) => rows.iter().map(|&row| chosen[row as usize]).collect(),
            None => rows.into(),
        };
        Ok(Self { chosen: Some(chosen), ..self.clone() })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.plain.len(), |chosen| chosen.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values of one input.
    pub fn features(&self) -> usize {
        self.plain.features()
    }

    /// The labels as numbers.
    pub fn labels(&self) -> Result<Vec<u32>> {
        let labels = self.plain.labels()?;
        Ok(match &self.chosen {
            Some(chosen) => chosen.iter().map(|&row| labels[row as usize]).collect(),
            None => labels,
        })
    }

    /// All of them, transformed: a copy, unless nothing is done to them.
    pub fn all(&self) -> Result<Samples> {
        match &self.chosen {
            Some(chosen) => self.transform.apply(&self.plain.gather(chosen)?, self.image),
            None => self.transform.apply(&self.plain, self.image),
        }
    }

    /// The samples with these row numbers, in this order; a row may come more than once.
    ///
    /// # Errors
    /// As [`Samples::gather`].
    pub fn gather(&self, rows: &[u32]) -> Result<Samples> {
        match &self.chosen {
            Some(_) => self.choose(rows)?.all(),
            None => self.transform.apply(&self.plain.gather(rows)?, self.image),
        }
    }

    /// The first `n` of them, or all where there are no more.
    ///
    /// # Errors
    /// None of its own.
    pub fn first(&self, n: usize) -> Result<Self> {
        self.choose(&(0..n.min(self.len()) as u32).collect::<Vec<_>>())
    }

    /// The samples of a range of rows.
    ///
    /// # Errors
    /// As [`Samples::slice`].
    pub fn slice(&self, rows: Range<usize>) -> Result<Samples> {
        match &self.chosen {
            Some(chosen) => {
                let chosen = chosen.get(rows.clone()).ok_or_else(|| {
                    Error::invalid("rows", format!("{rows:?}, but there are {}", self.len()))
                })?;
                self.transform.apply(&self.plain.gather(chosen)?, self.image)
            }
            None => self.transform.apply(&self.plain.slice(rows)?, self.image),
        }
    }
}

impl From<Samples> for TaskSamples {
    /// As they are.
    fn from(plain: Samples) -> Self {
        let image = [1, 1, plain.features()];
        Self { plain, chosen: None, transform: Arc::new(Transform::None), image }
    }
}
