//! System 1 answers all rows, System 2 those that are deferred.

use candle_core::Tensor;
use cl_core::{Error, Result};

use crate::arbiter::Arbiter;
use crate::budget::Costs;
use crate::integrate::Integrate;
use crate::rows::{Rows, log_probabilities};
use crate::system::{First, System, check_answer};

/// Two systems and what decides between them.
#[derive(Debug, Clone)]
pub struct Cascade<S1, S2, A> {
    /// Answers every row.
    pub fast: S1,
    /// Answers deferred rows, all of a batch in one call.
    pub slow: S2,
    /// Which rows are deferred.
    pub arbiter: A,
    /// What becomes of the two answers to a deferred row.
    pub integrate: Integrate,
}

/// A batch, answered.
#[derive(Debug, Clone)]
pub struct Answered {
    /// (n, classes), the rows in the order in which they came.
    pub logits: Tensor,
    /// The numbers of the rows that System 2 answered, ascending.
    pub deferred: Vec<usize>,
    /// What System 1 said of all of them.
    pub first: First,
}

impl Answered {
    /// The part of the batch that was deferred.
    pub fn share(&self) -> f64 {
        self.deferred.len() as f64 / self.first.len().max(1) as f64
    }

    /// What the batch took.
    pub fn multiply_adds(&self, costs: &Costs) -> u64 {
        self.first.len() as u64 * costs.fast + self.deferred.len() as u64 * costs.slow
    }
}

impl<S1: System, S2: System, A: Arbiter> Cascade<S1, S2, A> {
    /// One in which System 2's answer replaces System 1's.
    pub fn new(fast: S1, slow: S2, arbiter: A) -> Self {
        Self { fast, slow, arbiter, integrate: Integrate::Replace }
    }

    /// The same with another integration.
    #[must_use]
    pub fn integrating(self, integrate: Integrate) -> Self {
        Self { integrate, ..self }
    }

    /// Answers a batch (n, ..). Only deferred rows are gathered and sent on; where there are none, System 2 is not asked.
    ///
    /// # Errors
    /// Those of the systems and the arbiter; an empty batch; an answer with another number of rows or classes than it should have; one
    /// of System 2 that is not finite.
    pub fn answer(&mut self, x: &Tensor) -> Result<Answered> {
        let first = First::of(&self.fast, x)?;
        let deferred = deferred_rows(&mut self.arbiter, &first)?;
        if deferred.is_empty() {
            return Ok(Answered { logits: first.logits.clone(), deferred, first });
        }
        let second = self.slow.answer(&take(x, &deferred)?)?;
        let logits = merge(&first, &deferred, &second, self.integrate)?;
        Ok(Answered { logits, deferred, first })
    }
}

/// Asks an arbiter.
pub(crate) fn deferred_rows(arbiter: &mut impl Arbiter, first: &First) -> Result<Vec<usize>> {
    let defer = arbiter.defer(first)?;
    if defer.len() != first.len() {
        let expected = format!("a decision for each of {} rows", first.len());
        return Err(Error::mismatch("arbiter", expected, defer.len().to_string()));
    }
    Ok(defer.iter().enumerate().filter(|(_, defer)| **defer).map(|(row, _)| row).collect())
}

/// Some rows of a batch, in this order.
pub(crate) fn take(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    if x.dims().first() == Some(&rows.len()) && rows.iter().enumerate().all(|(at, row)| at == *row) {
        return Ok(x.clone());
    }
    let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
    let rows = Tensor::from_slice(&rows, rows.len(), x.device())?;
    Ok(x.contiguous()?.index_select(&rows, 0)?)
}

/// System 1's answers, with those of System 2 to deferred rows (at least one) in their places.
pub(crate) fn merge(
    first: &First,
    deferred: &[usize],
    second: &Tensor,
    integrate: Integrate,
) -> Result<Tensor> {
    let classes = first.logits.dim(1)?;
    check_answer("System 2", second, deferred.len(), Some(classes))?;
    Rows::logits("logits of System 2", second)?;
    let second = second.detach().to_dtype(first.logits.dtype())?.to_device(first.logits.device())?;
    let second = integrate.of(&take(&first.logits, deferred)?, &second)?;
    let n = first.len();
    if deferred.len() == n {
        return Ok(second);
    }
    // What is not deferred has to be on the same scale as what is.
    let first = match integrate {
        Integrate::Replace => first.logits.clone(),
        _ => log_probabilities(&first.logits)?,
    };
    let mut from: Vec<usize> = (0..n).collect();
    deferred.iter().enumerate().for_each(|(at, &row)| from[row] = n + at);
    take(&Tensor::cat(&[&first, &second], 0)?, &from)
}
