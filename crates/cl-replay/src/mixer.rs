//! One batch from several memories.

use candle_core::{Device, Tensor};
use cl_core::{Error, Result};

use crate::{Draw, Fields, Item, Items, PrioritizedItems, PrioritizedTrajectories, Trajectories};

/// A memory that a mixture can draw from.
pub trait Source {
    /// Whether there is anything to draw.
    fn can_sample(&self) -> bool;

    /// `n` samples: fields (n, ...), which they are, and importance weights f32 (n) if there are any.
    ///
    /// # Errors
    /// Those of the memory.
    fn take(&mut self, n: usize) -> Result<(Fields, Vec<Item>, Option<Tensor>)>;
}

macro_rules! uniform {
    ($($memory:ty),*) => {$(
        impl Source for $memory {
            fn can_sample(&self) -> bool {
                Self::can_sample(self)
            }
            fn take(&mut self, n: usize) -> Result<(Fields, Vec<Item>, Option<Tensor>)> {
                let sample = self.sample(n, Draw::WithReplacement)?;
                Ok((sample.fields, sample.items, None))
            }
        }
    )*};
}
uniform!(Items, Trajectories);

/// A prioritized memory and the β to draw from it with.
#[derive(Debug)]
pub struct WithBeta<'m, M>(pub &'m mut M, pub f64);

macro_rules! prioritized {
    ($($memory:ty),*) => {$(
        impl Source for WithBeta<'_, $memory> {
            fn can_sample(&self) -> bool {
                self.0.can_sample()
            }
            fn take(&mut self, n: usize) -> Result<(Fields, Vec<Item>, Option<Tensor>)> {
                let sample = self.0.sample(n, self.1)?;
                Ok((sample.fields, sample.items, Some(sample.weights)))
            }
        }
    )*};
}
prioritized!(PrioritizedItems, PrioritizedTrajectories);

/// A batch from several memories, one behind the other.
#[derive(Debug, Clone)]
pub struct Mixed {
    /// Every field as (batch, ...).
    pub fields: Fields,
    /// From which memory each sample is.
    pub source: Vec<usize>,
    /// Which of its items: give those of a prioritized memory back to that memory.
    pub items: Vec<Item>,
    /// Importance weights: f32 (batch), 1 where the memory has none.
    pub weights: Tensor,
}

/// Draws a batch of `n` from several memories of one schema, to each the share of its proportion: of the memories,
/// those with the largest remainders get one sample more, the first of several equals first. Only the share is
/// drawn.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, Items, Schema, mix};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("x", DType::F32, [])])?;
/// let (mut recent, mut old) = (
///     Items::new(schema.clone(), 10, cl_core::rng(0, "recent"))?,
///     Items::new(schema, 1000, cl_core::rng(0, "old"))?,
/// );
/// recent.add(&[("x", &Tensor::zeros(10, DType::F32, &Device::Cpu)?)])?;
/// old.add(&[("x", &Tensor::ones(500, DType::F32, &Device::Cpu)?)])?;
/// let batch = mix(&mut [&mut recent, &mut old], &[1.0, 2.0], 30)?;
/// assert_eq!(batch.fields.get("x")?.sum_all()?.to_scalar::<f32>()?, 20.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Invalid`] on proportions that are negative, not finite or all zero, and where a memory that has a share
/// is not ready; nothing is drawn then. [`Error::Mismatch`] where numbers or schemas differ.
pub fn mix(sources: &mut [&mut dyn Source], proportions: &[f64], n: usize) -> Result<Mixed> {
    if sources.len() != proportions.len() {
        let got = format!("{} proportions", proportions.len());
        return Err(Error::mismatch("mix", format!("{} proportions", sources.len()), got));
    }
    let shares = shares(proportions, n)?;
    if let Some(at) = (0..sources.len()).find(|&at| shares[at] > 0 && !sources[at].can_sample()) {
        return Err(Error::invalid("mix", format!("memory {at} has nothing to draw yet")));
    }
    let mut mixed: Option<(Fields, Vec<Tensor>)> = None;
    let (mut parts, mut source, mut items) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (memory, &share)) in
        sources.iter_mut().zip(&shares).enumerate().filter(|(_, (_, share))| **share > 0)
    {
        let (fields, drawn, weights) = memory.take(share)?;
        let weights = match weights {
            Some(weights) => weights,
            None => Tensor::ones(share, candle_core::DType::F32, &Device::Cpu)?,
        };
        source.extend(std::iter::repeat_n(at, share));
        items.extend(drawn);
        parts.push(fields);
        let (first, all) = mixed.get_or_insert_with(|| (parts[0].clone(), Vec::new()));
        if first.schema != parts[parts.len() - 1].schema {
            return Err(Error::mismatch("mix", "memories of one schema", format!("memory {at} has another")));
        }
        all.push(weights);
    }
    let Some((first, weights)) = mixed else {
        return Err(Error::invalid("mix", "a batch of 0 has no sample"));
    };
    let column = |at: usize| -> Result<Tensor> {
        let tensors: Vec<&Tensor> = parts.iter().map(|fields| &fields.tensors[at]).collect();
        Ok(Tensor::cat(&tensors, 0)?)
    };
    let tensors = (0..first.tensors.len()).map(column).collect::<Result<_>>()?;
    let fields = Fields { schema: first.schema, tensors };
    Ok(Mixed { fields, source, items, weights: Tensor::cat(&weights, 0)? })
}

/// How many of `n` go to each, by the largest remainder.
fn shares(proportions: &[f64], n: usize) -> Result<Vec<usize>> {
    let total: f64 = proportions.iter().sum();
    let fine = proportions.iter().all(|&p| p.is_finite() && p >= 0.0) && total.is_finite() && total > 0.0;
    if !fine {
        let why = format!("{proportions:?}: finite numbers from 0 on are needed, at least one above it");
        return Err(Error::invalid("proportions", why));
    }
    let exact: Vec<f64> = proportions.iter().map(|p| p / total * n as f64).collect();
    let mut shares: Vec<usize> = exact.iter().map(|share| share.floor() as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).filter(|&at| proportions[at] > 0.0).collect();
    let remainder = |at: usize| exact[at] - exact[at].floor();
    order.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)).then(a.cmp(&b)));
    let given: usize = shares.iter().sum();
    for &at in order.iter().cycle().take(n.saturating_sub(given)) {
        shares[at] += 1;
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::shares;

    #[test]
    fn shares_are_those_of_the_largest_remainder() {
        assert_eq!(shares(&[1.0, 1.0], 7).unwrap(), [4, 3]);
        assert_eq!(shares(&[0.5, 0.3, 0.2], 10).unwrap(), [5, 3, 2]);
        assert_eq!(shares(&[1.0, 1.0, 1.0], 32).unwrap(), [11, 11, 10]);
        assert_eq!(shares(&[0.1, 0.9], 4).unwrap(), [0, 4]);
        assert_eq!(shares(&[0.0, 3.0], 5).unwrap(), [0, 5]);
        for wrong in [&[0.0, 0.0][..], &[-1.0, 2.0], &[f64::NAN, 1.0], &[]] {
            assert!(shares(wrong, 4).is_err());
        }
    }
}
