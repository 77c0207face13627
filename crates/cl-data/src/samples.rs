//! Samples, whole in memory, and picking rows of them.

use std::ops::Range;

use candle_core::{DType, Device, Storage, Tensor, WithDType};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Inputs and labels of the same number of samples, whole in memory: on the CPU, or on another device after
/// [`to_device`](Self::to_device).
///
/// There is no loader: a mini-batch is [`gather`](Self::gather), one copy of memory per row. Clones
/// and [`slice`](Self::slice)s share their values with the original.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Samples {
    /// Inputs `[n, features]`, f32.
    #[serde(serialize_with = "cl_core::snapshot::tensor::serialize")]
    pub x: Tensor,
    /// Labels `[n]`, u32: classes in a [`DataSet`](crate::DataSet), output units in a
    /// [`Task`](crate::Task).
    #[serde(serialize_with = "cl_core::snapshot::tensor::serialize")]
    pub y: Tensor,
}

/// What serde reads, before it is checked.
#[derive(Deserialize)]
struct Saved {
    #[serde(with = "cl_core::snapshot::tensor")]
    x: Tensor,
    #[serde(with = "cl_core::snapshot::tensor")]
    y: Tensor,
}

impl TryFrom<Saved> for Samples {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        Self::new(saved.x, saved.y)
    }
}

impl Samples {
    /// Samples from inputs `[n, features]` f32 and labels `[n]` u32, both on one device.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another shape or dtype, or two devices.
    pub fn new(x: Tensor, y: Tensor) -> Result<Self> {
        let samples = Self { x: x.contiguous()?, y: y.contiguous()? };
        samples.shape()?;
        Ok(samples)
    }

    /// Samples from values, row by row, and labels.
    pub(crate) fn from_vecs(x: Vec<f32>, features: usize, y: Vec<u32>) -> Result<Self> {
        let n = y.len();
        Self::new(Tensor::from_vec(x, (n, features), &Device::Cpu)?, Tensor::from_vec(y, n, &Device::Cpu)?)
    }

    /// The same samples on a device: those that are there already are not copied.
    ///
    /// # Errors
    /// candle's own, such as too little memory there.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { x: self.x.to_device(device)?, y: self.y.to_device(device)? })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.y.elem_count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values of one input.
    pub fn features(&self) -> usize {
        self.x.dims().last().copied().unwrap_or(0)
    }

    /// The labels as numbers.
    pub fn labels(&self) -> Result<Vec<u32>> {
        Ok(self.y.to_vec1()?)
    }

    /// The samples with these row numbers, in this order; a row may come more than once.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row that is not there.
    pub fn gather(&self, rows: &[u32]) -> Result<Self> {
        let (n, features) = self.shape()?;
        if let Some(row) = rows.iter().find(|&&row| row as usize >= n) {
            return Err(Error::invalid("row", format!("{row} is out of range: there are {n} samples")));
        }
        if !self.x.device().is_cpu() {
            let rows = Tensor::from_slice(rows, rows.len(), self.x.device())?;
            return Ok(Self { x: self.x.index_select(&rows, 0)?, y: self.y.index_select(&rows, 0)? });
        }
        let x = values(&self.x, |x: &[f32]| {
            let mut picked = Vec::with_capacity(rows.len() * features);
            for &row in rows {
                picked.extend_from_slice(&x[row as usize * features..][..features]);
            }
            Ok(picked)
        })?;
        let y = values(&self.y, |y: &[u32]| Ok(rows.iter().map(|&row| y[row as usize]).collect()))?;
        Self::from_vecs(x, features, y)
    }

    /// The samples of a range of rows: a view, nothing is copied.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range that ends behind the last row or before it starts.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self> {
        let (n, _) = self.shape()?;
        if rows.start > rows.end || rows.end > n {
            return Err(Error::invalid("rows", format!("{rows:?} is no range of {n} samples")));
        }
        Ok(Self {
            x: self.x.narrow(0, rows.start, rows.len())?,
            y: self.y.narrow(0, rows.start, rows.len())?,
        })
    }

    /// All samples in order, at most `rows` at a time: views, for evaluation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero rows.
    pub fn chunks(&self, rows: usize) -> Result<impl Iterator<Item = Result<Self>>> {
        if rows == 0 {
            return Err(Error::invalid("rows", "a chunk of 0 rows: at least 1"));
        }
        let n = self.len();
        Ok((0..n).step_by(rows).map(move |from| self.slice(from..n.min(from.saturating_add(rows)))))
    }

    /// The samples of all `parts`, one after the other.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no parts, [`Error::Mismatch`] for parts of different width.
    pub fn concat(parts: &[&Self]) -> Result<Self> {
        let [first, ..] = parts else {
            return Err(Error::invalid("parts", "none given: at least one is needed to know the width"));
        };
        let (_, features) = first.shape()?;
        for part in parts {
            let (_, width) = part.shape()?;
            if width != features {
                return Err(Error::mismatch(
                    "concat",
                    format!("samples of {features} features"),
                    format!("{width} features"),
                ));
            }
        }
        if !first.x.device().is_cpu() {
            let [x, y] = [|part: &Self| part.x.clone(), |part: &Self| part.y.clone()]
                .map(|of| Tensor::cat(&parts.iter().map(|part| of(part)).collect::<Vec<_>>(), 0));
            return Self::new(x?, y?);
        }
        let n = parts.iter().map(|part| part.len()).sum::<usize>();
        let (mut x, mut y) = (Vec::with_capacity(n * features), Vec::with_capacity(n));
        for part in parts {
            append(&part.x, &mut x)?;
            append(&part.y, &mut y)?;
        }
        Self::from_vecs(x, features, y)
    }

    /// The same inputs, not copied, under the labels `label` makes of theirs.
    pub fn relabel(&self, label: impl Fn(u32) -> u32) -> Result<Self> {
        let y: Vec<u32> = values(&self.y, |y: &[u32]| Ok(y.iter().map(|&y| label(y)).collect()))?;
        Self::new(self.x.clone(), Tensor::from_vec(y, self.len(), &Device::Cpu)?)
    }

    /// Other inputs under the same labels: `map` fills the new inputs from the old ones.
    pub(crate) fn map_inputs(
        &self,
        features: usize,
        map: impl FnOnce(&[f32], &mut Vec<f32>),
    ) -> Result<Self> {
        let n = self.len();
        let x = values(&self.x, |x: &[f32]| {
            let mut mapped = Vec::with_capacity(n * features);
            map(x, &mut mapped);
            Ok(mapped)
        })?;
        Self::new(Tensor::from_vec(x, (n, features), &Device::Cpu)?, self.y.clone())
    }

    /// `(n, features)`, after a check of what the public fields hold.
    fn shape(&self) -> Result<(usize, usize)> {
        let describe = |t: &Tensor| format!("{:?} {:?} on {:?}", t.dims(), t.dtype(), t.device().location());
        let wrong = |what, t| Err(Error::mismatch("samples", what, describe(t)));
        let (&[n, features], DType::F32) = (self.x.dims(), self.x.dtype()) else {
            return wrong("inputs [n, features] F32".to_owned(), &self.x);
        };
        if (self.y.dims(), self.y.dtype()) != (&[n], DType::U32)
            || !self.x.device().same_device(self.y.device())
        {
            return wrong(format!("labels [{n}] U32 on {:?}", self.x.device().location()), &self.y);
        }
        Ok((n, features))
    }
}

/// Copies the values of a CPU tensor to the end of `to`.
fn append<T: WithDType>(tensor: &Tensor, to: &mut Vec<T>) -> Result<()> {
    values(tensor, |from| {
        to.extend_from_slice(from);
        Ok(())
    })
}

/// What `read` makes of the values of a CPU tensor, in order and without a copy if it is contiguous.
pub(crate) fn values<T: WithDType, R>(tensor: &Tensor, read: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((from, to))) => read(&storage.as_slice::<T>()?[from..to]),
        _ => Err(Error::mismatch(
            "samples",
            "a tensor on the CPU",
            format!("{:?}", tensor.device().location()),
        )),
    }
}
