//! Rows in one block of memory, beside what each is called.

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result};

use crate::Id;

/// Patterns of one width, of one dtype and on one device, in no order: what is taken out gives its place to the last.
#[derive(Debug)]
pub(crate) struct Block {
    /// (room, width); the first rows are taken.
    rows: Tensor,
    /// What each row is called.
    ids: Vec<Id>,
}

impl Block {
    pub fn with_room(width: usize, room: usize, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self { rows: Tensor::zeros((room.max(1), width), dtype, device)?, ids: Vec::new() })
    }

    /// Of these rows (m, width), as many as there are names.
    pub fn of(rows: &Tensor, ids: Vec<Id>) -> Result<Self> {
        let mut block = Self::with_room(rows.dim(1)?, ids.len(), rows.dtype(), rows.device())?;
        if !ids.is_empty() {
            block.rows.slice_set(&rows.contiguous()?, 0, 0)?;
        }
        block.ids = ids;
        Ok(block)
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn width(&self) -> usize {
        self.rows.dims()[1]
    }

    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// What is taken (m, width): a view, nothing is copied.
    pub fn rows(&self) -> Result<Tensor> {
        Ok(self.rows.narrow(0, 0, self.len())?)
    }

    pub fn dtype(&self) -> DType {
        self.rows.dtype()
    }

    pub fn device(&self) -> &Device {
        self.rows.device()
    }

    pub fn get(&self, at: usize) -> Result<Vec<f32>> {
        Ok(self.rows.get(at)?.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// Adds a row (1, width), of any dtype and from any device.
    pub fn push(&mut self, id: Id, row: &Tensor) -> Result<()> {
        self.extend(&[id], row)
    }

    /// Adds rows (m, width), as many as there are names, of any dtype and from any device. Where there is no room left, all move
    /// to twice as much.
    pub fn extend(&mut self, ids: &[Id], rows: &Tensor) -> Result<()> {
        let all = self.len() + ids.len();
        if all > self.rows.dim(0)? {
            let more = Tensor::zeros((all.max(2 * self.len()), self.width()), self.dtype(), self.device())?;
            more.slice_set(&self.rows, 0, 0)?;
            self.rows = more;
        }
        if !ids.is_empty() {
            self.set(self.len(), rows)?;
        }
        self.ids.extend(ids);
        Ok(())
    }

    /// Puts rows (.., width), of any dtype and from any device, in the places from `at` on.
    pub fn set(&self, at: usize, row: &Tensor) -> Result<()> {
        let row = row.to_dtype(self.dtype())?;
        if self.dtype() != DType::F32 {
            // What is finite in f32 need not be so in half precision.
            let values = row.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                let (width, dtype) = (self.width(), self.dtype().as_str());
                let why = format!("number {} of row {} is too large for {dtype}", at % width, at / width);
                return Err(Error::invalid("patterns", why));
            }
        }
        let row = row.to_device(self.device())?.contiguous()?;
        Ok(self.rows.slice_set(&row, 0, at)?)
    }

    /// Takes a row out; says which one lies in its place now.
    pub fn take(&mut self, at: usize) -> Result<Option<Id>> {
        let last = self.len() - 1;
        if at != last {
            let moved = self.rows.narrow(0, last, 1)?.copy()?;
            self.rows.slice_set(&moved, 0, at)?;
        }
        self.ids.swap_remove(at);
        Ok(self.ids.get(at).copied())
    }
}

/// A pattern as a row (1, width), f32 on the CPU.
pub(crate) fn row(pattern: &[f32], width: usize) -> Result<Tensor> {
    if pattern.len() != width {
        return Err(Error::mismatch("store", format!("{width} numbers"), pattern.len().to_string()));
    }
    if let Some(at) = pattern.iter().position(|x| !x.is_finite()) {
        return Err(Error::invalid("pattern", format!("number {at} is {}", pattern[at])));
    }
    Ok(Tensor::from_slice(pattern, (1, width), &Device::Cpu)?)
}

/// Patterns (m, width) to be stored, detached and f32.
pub(crate) fn rows(patterns: &Tensor, width: usize) -> Result<Tensor> {
    queries_of(patterns, width)?;
    let patterns = patterns.detach().to_dtype(DType::F32)?.contiguous()?;
    if let Some(at) = patterns.flatten_all()?.to_vec1::<f32>()?.iter().position(|x| !x.is_finite()) {
        let why = format!("number {} of row {} is not finite", at % width, at / width);
        return Err(Error::invalid("patterns", why));
    }
    Ok(patterns)
}

/// The error for a name that nothing is stored under.
pub(crate) fn not_stored(id: Id) -> Error {
    Error::invalid("id", format!("pattern {} is not stored, or was forgotten", id.0))
}

/// Those of `found` whose product is largest, the largest first; ties go to what was stored first.
pub(crate) fn keep_nearest(found: &mut Vec<(Id, f32)>, k: usize) {
    let order = |a: &(Id, f32), b: &(Id, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if found.len() > k {
        // Most of a block is never sorted.
        found.select_nth_unstable_by(k, order);
        found.truncate(k);
    }
    found.sort_unstable_by(order);
}

/// The number of queries (n, width).
pub(crate) fn queries_of(queries: &Tensor, width: usize) -> Result<usize> {
    match *queries.dims() {
        [n, w] if w == width => Ok(n),
        ref other => Err(Error::mismatch("queries", format!("(n, {width})"), format!("{other:?}"))),
    }
}
