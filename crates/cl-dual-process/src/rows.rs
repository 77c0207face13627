//! Tensors of logits, read once and checked.

use candle_core::{D, DType, Tensor};
use cl_core::{Error, Result};

/// Rows of numbers on the CPU.
pub(crate) struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    /// Logits (n, classes): two classes or more, all of them finite.
    pub(crate) fn logits(what: &str, logits: &Tensor) -> Result<Self> {
        let rows = Self::read(what, logits)?;
        if rows.width < 2 {
            let why = format!("{} class for each row: there is nothing to choose between", rows.width);
            return Err(Error::invalid(what, why));
        }
        Ok(rows)
    }

    /// Any finite numbers (n, width), one row and one column or more.
    pub(crate) fn read(what: &str, x: &Tensor) -> Result<Self> {
        let &[n, width] = x.dims() else {
            return Err(Error::invalid(what, format!("(n, width) is needed, not {:?}", x.dims())));
        };
        if n == 0 || width == 0 {
            return Err(Error::invalid(what, format!("there is nothing in a batch of {n} × {width}")));
        }
        let values = x.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let why = format!(
                "number {} of row {} is {}: look for what made it before it came here",
                at % width,
                at / width,
                values[at]
            );
            return Err(Error::invalid(what, why));
        }
        Ok(Self { values, width })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.width)
    }
}

/// The first of the largest.
pub(crate) fn argmax(row: &[f64]) -> usize {
    row.iter().enumerate().fold(0, |best, (at, value)| if *value > row[best] { at } else { best })
}

/// ln softmax(row · beta).
pub(crate) fn log_softmax(row: &[f64], beta: f64) -> impl Iterator<Item = f64> {
    let most = row.iter().fold(f64::NEG_INFINITY, |most, &z| most.max(beta * z));
    let sum = row.iter().map(|z| (beta * z - most).exp()).sum::<f64>().ln();
    row.iter().map(move |z| beta * z - most - sum)
}

/// ln softmax of logits (n, classes), with candle's own operations: on their device, in their dtype.
pub(crate) fn log_probabilities(logits: &Tensor) -> Result<Tensor> {
    let centred = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    Ok(centred.broadcast_sub(&centred.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// An error unless there are as many labels as rows, all of them classes.
pub(crate) fn check_labels(labels: &[u32], n: usize, classes: usize) -> Result<()> {
    if labels.len() != n {
        return Err(Error::mismatch("labels", format!("one for each of {n} rows"), labels.len().to_string()));
    }
    match labels.iter().find(|&&label| label as usize >= classes) {
        Some(label) => Err(Error::invalid("labels", format!("{label} is none of {classes} classes"))),
        None => Ok(()),
    }
}

/// Whether the largest logit of each row (n, classes) is that of its label.
///
/// # Errors
/// Logits that are not finite, or other labels than one class for each row.
pub fn right(logits: &Tensor, labels: &[u32]) -> Result<Vec<bool>> {
    let rows = Rows::logits("logits", logits)?;
    check_labels(labels, rows.len(), rows.width())?;
    Ok(rows.iter().zip(labels).map(|(row, &label)| argmax(row) == label as usize).collect())
}
