//! The storage of every memory: a fixed number of slots, each one row of every column.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use cl_core::ring::{gather_rows, place_rows};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Schema,
    column::{Column, row_type},
    folder::Folder,
};

/// A fixed number of slots as a structure of arrays: one array a column.
///
/// The first batch that is written fixes number, row shapes, dtypes and device of the columns. Rows are
/// written in place, and copied out: no tensor outside shares memory with the storage. Slots are filled
/// from the first on, without gaps. Elements are u8, u32, i16, i32, i64, f16, bf16, f32 or
/// f64, and stay what they are.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_replay::Rows;
///
/// # fn main() -> cl_core::Result<()> {
/// let mut rows = Rows::new(3)?;
/// let batch = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// rows.write(&[(0, 1), (1, 0)], &[&batch])?; // slot 0 gets row 1, slot 1 gets row 0
/// let columns = rows.gather(&[1, 0, 1])?;
/// assert_eq!(columns[0].to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Rows {
    capacity: usize,
    len: usize,
    /// None before the first write.
    columns: Vec<Column>,
    /// Where the columns are mapped from, if they are.
    folder: Option<Folder>,
}

impl Rows {
    /// No rows, with room for `capacity`; memory is taken at the first write.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of zero, or above `u32::MAX`.
    pub fn new(capacity: usize) -> Result<Self> {
        // One below the largest: candle reads that index as "no row".
        if capacity == 0 || capacity >= u32::MAX as usize {
            return Err(Error::invalid(
                "capacity",
                format!("{capacity} is not between 1 and {}", u32::MAX - 1),
            ));
        }
        Ok(Self { capacity, len: 0, columns: Vec::new(), folder: None })
    }

    /// No rows yet, but columns of these dtypes and row shapes, on the CPU.
    pub(crate) fn typed(capacity: usize, columns: &[(DType, &[usize])]) -> Result<Self> {
        let mut rows = Self::new(capacity)?;
        let host = |&(dtype, shape): &(DType, &[usize])| Column::host(dtype, shape, capacity);
        rows.columns = columns.iter().map(host).collect::<Result<_>>()?;
        Ok(rows)
    }

    /// The first `len` of them filled, as they stand in the files of a folder, one mapping a field.
    pub(crate) fn in_folder(
        capacity: usize,
        len: usize,
        schema: &Schema,
        maps: Vec<memmap2::MmapMut>,
        folder: Folder,
    ) -> Self {
        let columns = schema.fields().iter().zip(maps);
        let columns = columns.map(|(field, map)| Column::mapped(field.dtype, &field.shape, map)).collect();
        Self { capacity, len, columns, folder: Some(folder) }
    }

    pub(crate) fn folder(&self) -> Option<&Folder> {
        self.folder.as_ref()
    }

    pub(crate) fn folder_mut(&mut self) -> Option<&mut Folder> {
        self.folder.as_mut()
    }

    /// Writes what is in files to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        let path = self.folder.as_ref().map_or(Path::new(""), Folder::path);
        self.columns.iter().try_for_each(Column::sync).map_err(Error::io(path))
    }

    /// The number of slots.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of slots that hold a row.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot holds a row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of rows of a batch, one tensor (n, row...) a column, if it fits the columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] on no columns or a scalar, [`Error::Mismatch`] on unequal n, or on another row
    /// shape, dtype, device or number of columns than before.
    pub fn check(&self, batch: &[&Tensor]) -> Result<usize> {
        let rows = |column: &Tensor| column.dims().first().copied();
        let Some(n) = batch.first().and_then(|first| rows(first)) else {
            return Err(Error::invalid("batch", "a column of rows has at least one dimension, the rows"));
        };
        if let Some(odd) = batch.iter().find(|column| rows(column) != Some(n)) {
            return Err(Error::mismatch(
                "batch",
                format!("{n} rows in every column"),
                format!("{:?}", odd.dims()),
            ));
        }
        if !self.columns.is_empty() {
            if batch.len() != self.columns.len() {
                return Err(Error::mismatch("batch", count(self.columns.len()), count(batch.len())));
            }
            let odd = self.columns.iter().zip(batch).find(|(column, new)| !column.fits(new));
            if let Some((column, new)) = odd {
                let got = row_type(new.dtype(), &new.dims()[1..], new.device().location());
                return Err(Error::mismatch(
                    "batch",
                    format!("rows of {}, as before", column.row_type()),
                    got,
                ));
            }
        }
        Ok(n)
    }

    /// Writes rows of a batch into slots: pairs (slot, row), carried out in order, so that the last of
    /// several writes to a slot stays.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`Error::Invalid`] on a row that the batch does not have, or a slot that
    /// is neither filled nor the next free one. Nothing is written then.
    pub fn write(&mut self, places: &[(usize, usize)], batch: &[&Tensor]) -> Result<()> {
        let n = self.check(batch)?;
        let mut len = self.len;
        for &(slot, row) in places {
            if row >= n || slot > len || slot >= self.capacity {
                return Err(Error::invalid(
                    "write",
                    format!(
                        "row {row} of {n} cannot go to slot {slot}: {len} of {} slots are filled",
                        self.capacity
                    ),
                ));
            }
            len = len.max(slot + 1);
        }
        let batch: Vec<Tensor> = batch.iter().map(|column| column.contiguous()).collect::<Result<_, _>>()?;
        if self.columns.is_empty() {
            self.columns =
                batch.iter().map(|column| Column::like(column, self.capacity)).collect::<Result<_>>()?;
        }
        if let Some(columns) = self.on_device() {
            let places: Vec<_> = places.iter().map(|&(slot, row)| (slot as u32, row as u32)).collect();
            place_rows(&columns, &places, &batch.iter().collect::<Vec<_>>())?;
            self.len = len;
            return Ok(());
        }
        for (slot, row, run) in runs(places) {
            for (column, new) in self.columns.iter_mut().zip(&batch) {
                column.write(slot, new, row, run)?;
            }
        }
        self.len = len;
        Ok(())
    }

    /// Writes `n` rows of a batch whose columns were checked, whatever its leading dimensions, from row `row`
    /// on, into the slots from `slot` on, which is filled or the next free one.
    pub(crate) fn put(&mut self, slot: usize, batch: &[&Tensor], row: usize, n: usize) -> Result<()> {
        for (column, tensor) in self.columns.iter_mut().zip(batch) {
            if tensor.is_contiguous() {
                column.write(slot, tensor, row, n)?;
            } else {
                column.write(slot, &tensor.contiguous()?, row, n)?;
            }
        }
        self.len = self.len.max(slot + n);
        Ok(())
    }

    /// One number of each of these slots.
    pub(crate) fn scalars(&self, column: usize, slots: impl Iterator<Item = usize>) -> Result<Vec<f64>> {
        self.columns[column].scalars(slots)
    }

    /// The rows in `slots`, of one column.
    pub(crate) fn gather_column(&self, column: usize, slots: &[u32]) -> Result<Tensor> {
        self.columns[column].gather(slots)
    }

    /// The columns, where they are on a device: all are, or none.
    fn on_device(&self) -> Option<Vec<&Tensor>> {
        let columns: Option<Vec<_>> = self.columns.iter().map(Column::on_device).collect();
        columns.filter(|columns| !columns.is_empty())
    }

    /// Copies of the rows in `slots`, one tensor (slots, row...) a column.
    ///
    /// # Errors
    /// [`Error::Invalid`] before the first write, when there are no columns yet, and on a slot that holds
    /// no row.
    pub fn gather(&self, slots: &[u32]) -> Result<Vec<Tensor>> {
        if self.columns.is_empty() {
            return Err(Error::invalid("gather", "nothing was written yet"));
        }
        if let Some(slot) = slots.iter().find(|&&slot| slot as usize >= self.len) {
            return Err(Error::invalid(
                "gather",
                format!("slot {slot} holds no row: {} are filled", self.len),
            ));
        }
        if let Some(columns) = self.on_device() {
            let slots = Tensor::from_slice(slots, slots.len(), columns[0].device())?;
            return gather_rows(&columns, &slots);
        }
        self.columns.iter().map(|column| column.gather(slots)).collect()
    }

    /// Copies of `n` rows from slot `start` on, one tensor (n, row...) a column; none before the first
    /// write.
    ///
    /// # Errors
    /// [`Error::Invalid`] where not all of these slots are filled.
    pub fn copy(&self, start: usize, n: usize) -> Result<Vec<Tensor>> {
        if start.checked_add(n).is_none_or(|end| end > self.len) {
            return Err(Error::invalid(
                "rows",
                format!("{n} rows from slot {start} on: only {} are filled", self.len),
            ));
        }
        self.columns.iter().map(|column| column.copy(start, n)).collect()
    }

    /// Moves the storage; batches must then come from that device.
    ///
    /// # Errors
    /// candle's own.
    pub fn to_device(&mut self, device: &Device) -> Result<()> {
        if self.columns.iter().any(|column| !column.is_on(device)) {
            let moved = self.columns.iter().map(|column| column.to_device(device, self.capacity));
            self.columns = moved.collect::<Result<_>>()?; // all of them, or none
        }
        Ok(())
    }
}

/// Takes the two columns of a memory of samples apart.
pub(crate) fn pair(columns: Vec<Tensor>) -> Result<(Tensor, Tensor)> {
    match <[Tensor; 2]>::try_from(columns) {
        Ok([x, y]) => Ok((x, y)),
        Err(columns) if columns.is_empty() => {
            Err(Error::invalid("memory", "it is empty; offer it samples first"))
        }
        Err(other) => Err(Error::mismatch("memory", count(2), count(other.len()))),
    }
}

fn count(n: usize) -> String {
    format!("{n} columns")
}

/// Neighbouring rows that go to neighbouring slots, as (slot, row, length): one copy each.
fn runs(places: &[(usize, usize)]) -> impl Iterator<Item = (usize, usize, usize)> {
    places
        .chunk_by(|&(slot, row), &next| next == (slot + 1, row + 1))
        .map(|run| (run[0].0, run[0].1, run.len()))
}

/// The serde form: only what is filled.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Rows")]
struct Saved {
    capacity: usize,
    len: usize,
    #[serde(with = "cl_core::snapshot::tensor")]
    columns: Vec<Tensor>,
}

impl Serialize for Rows {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns = self.copy(0, self.len).map_err(serde::ser::Error::custom)?;
        Saved { capacity: self.capacity, len: self.len, columns }.serialize(serializer)
    }
}

impl TryFrom<Saved> for Rows {
    type Error = Error;
    fn try_from(saved: Saved) -> Result<Self> {
        let mut rows = Self::new(saved.capacity)?;
        if saved.columns.is_empty() {
            return if saved.len == 0 { Ok(rows) } else { Err(Error::invalid("saved rows", "no columns")) };
        }
        let batch: Vec<&Tensor> = saved.columns.iter().collect();
        let n = rows.check(&batch)?;
        if n != saved.len {
            return Err(Error::mismatch("saved rows", format!("{} rows", saved.len), n.to_string()));
        }
        let places: Vec<_> = (0..n).map(|i| (i, i)).collect();
        rows.write(&places, &batch)?;
        Ok(rows)
    }
}
