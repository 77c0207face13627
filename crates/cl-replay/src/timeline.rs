//! The storage of everything that remembers in the order of time: several rows (environments), one ring of
//! steps.

use std::ops::Range;

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Fields, Item, Rows, Schema,
    folder::{Folder, Place},
};

/// A rows × T ring of steps, one write head for all rows.
///
/// A step is named by its row and its time, counted from 0 and never reused: what a time means does not
/// change when the ring goes round. Step t of row a lies in slot (t mod T) · rows + a, so that the slots fill
/// without gaps and one step of all rows is one copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Timeline {
    schema: Schema,
    rows: usize,
    length: usize,
    written: u64,
    /// The time behind the last step that was ever written into the ring. It is `written`, but where a process
    /// was killed and its last steps are lost: what they overwrote is lost too.
    reached: u64,
    slots: Rows,
}

impl Timeline {
    pub(crate) fn new(schema: Schema, rows: usize, length: usize, place: Place<'_>) -> Result<Self> {
        for (what, size) in [("rows", rows), ("length", length)] {
            if size == 0 {
                return Err(Error::invalid(what, "0: at least 1 is needed"));
            }
        }
        let capacity = rows.checked_mul(length).ok_or_else(|| {
            Error::invalid("capacity", format!("{rows} rows of {length} steps are too many"))
        })?;
        let types: Vec<(DType, &[usize])> =
            schema.fields().iter().map(|field| (field.dtype, &field.shape[..])).collect();
        let slots = match place {
            Place::Ram => Rows::typed(capacity, &types)?,
            Place::Folder(path) => Folder::create(path, &schema, capacity, length)?,
        };
        Ok(Self { rows, length, written: 0, reached: 0, slots, schema })
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Steps that each row was given so far: the time of the next one.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Steps that each row holds.
    pub(crate) fn stored(&self) -> usize {
        (self.written - self.oldest()) as usize
    }

    /// Steps of each row that would be held too, had they not been overwritten by steps that are lost.
    pub(crate) fn lost(&self) -> usize {
        self.written.min(self.length as u64) as usize - self.stored()
    }

    /// The time of the oldest step that is held.
    pub(crate) fn oldest(&self) -> u64 {
        self.reached.saturating_sub(self.length as u64).min(self.written)
    }

    /// The times of the steps that are held.
    pub(crate) fn held(&self) -> Range<u64> {
        self.oldest()..self.written
    }

    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// To be told where the ring was written further than `written` says.
    pub(crate) fn set_reached(&mut self, reached: u64) {
        self.reached = self.reached.max(reached);
    }

    pub(crate) fn storage(&self) -> &Rows {
        &self.slots
    }

    pub(crate) fn replace_storage(&mut self, slots: Rows) -> Rows {
        std::mem::replace(&mut self.slots, slots)
    }

    /// How many steps a batch of tensors (rows, steps, ...) has, if it fits.
    pub(crate) fn check<'t>(&self, batch: &[(&str, &'t Tensor)]) -> Result<(Vec<&'t Tensor>, usize)> {
        let (tensors, [rows, steps]) = self.schema.batch::<2>(batch)?;
        if rows != self.rows {
            return Err(Error::mismatch("batch", format!("{} rows", self.rows), rows.to_string()));
        }
        self.check_steps(steps)?;
        Ok((tensors, steps))
    }

    pub(crate) fn check_steps(&self, steps: usize) -> Result<()> {
        if steps == 0 || steps > self.length {
            let why = format!("{steps} steps at once: 1 to {} can be added", self.length);
            return Err(Error::invalid("batch", why));
        }
        Ok(())
    }

    /// Writes `steps` steps of every row, from tensors in the order of the fields, (rows, steps, ...).
    pub(crate) fn write(&mut self, tensors: &[&Tensor], steps: usize) -> Result<()> {
        if self.rows == 1 || steps == 1 {
            return self.write_in_order(tensors, steps);
        }
        let by_time: Vec<Tensor> =
            tensors.iter().map(|tensor| tensor.transpose(0, 1)?.contiguous()).collect::<Result<_, _>>()?;
        self.write_in_order(&by_time.iter().collect::<Vec<_>>(), steps)
    }

    /// The same, from tensors whose elements are in the order of time, then of rows.
    pub(crate) fn write_in_order(&mut self, tensors: &[&Tensor], steps: usize) -> Result<()> {
        let after = self.written + steps as u64;
        if let Some(folder) = self.slots.folder_mut() {
            folder.reach(after)?;
        }
        let head = (self.written % self.length as u64) as usize;
        let first = steps.min(self.length - head);
        self.slots.put(head * self.rows, tensors, 0, first * self.rows)?;
        if first < steps {
            self.slots.put(0, tensors, first * self.rows, (steps - first) * self.rows)?;
        }
        self.written = after;
        self.reached = self.reached.max(after);
        Ok(())
    }

    /// The slot of a step.
    #[inline]
    pub(crate) fn slot(&self, row: usize, time: u64) -> usize {
        (time % self.length as u64) as usize * self.rows + row
    }

    /// The sequences of `length` steps of a row that begin at a position in the ring, as (starts, length, ...).
    pub(crate) fn sequences(
        &self,
        starts: impl ExactSizeIterator<Item = (usize, usize)>,
        length: usize,
    ) -> Result<Fields> {
        let n = starts.len();
        let mut slots = Vec::with_capacity(n * length);
        for (row, position) in starts {
            for at in position..position + length {
                let at = if at >= self.length { at - self.length } else { at };
                slots.push((at * self.rows + row) as u32);
            }
        }
        let split = |tensor: Tensor| -> Result<Tensor> {
            let mut dims = vec![n, length];
            dims.extend(&tensor.dims()[1..]);
            Ok(tensor.reshape(dims)?)
        };
        let tensors = self.slots.gather(&slots)?.into_iter().map(split).collect::<Result<_>>()?;
        Ok(Fields { schema: self.schema.clone(), tensors })
    }

    /// The values of one field of `depth` steps of a row, up to and with the time of each item, as
    /// (items, depth, ...). Steps before the first of an episode, or before the oldest that is held, are that step
    /// again. `ends` are the fields that end an episode.
    pub(crate) fn stack(&self, items: &[Item], field: &str, depth: usize, ends: &[usize]) -> Result<Tensor> {
        let column = self.schema.position(field)?;
        if depth == 0 || depth > self.length {
            let why = format!("{depth}: 1 to {} steps can be stacked, as many as a row holds", self.length);
            return Err(Error::invalid("depth", why));
        }
        let mut slots = Vec::with_capacity(items.len() * depth);
        for item in items {
            let row = item.row as usize;
            if row >= self.rows || !(self.oldest()..self.written).contains(&item.time) {
                let why = format!("{item:?} is not held: times {} to {} are", self.oldest(), self.written);
                return Err(Error::invalid("item", why));
            }
            let oldest = self.oldest().max((item.time + 1).saturating_sub(depth as u64));
            // From the newest frame back, to where an episode ended before.
            let mut first = item.time;
            while first > oldest {
                let before = std::iter::once(self.slot(row, first - 1));
                let mut ended = false;
                for &end in ends {
                    ended |= self.slots.scalars(end, before.clone())?[0] != 0.0;
                }
                if ended {
                    break;
                }
                first -= 1;
            }
            let from = (item.time + 1) as i128 - depth as i128;
            slots.extend((from..=i128::from(item.time)).map(|time| {
                self.slot(row, u64::try_from(time).map_or(first, |time| time.max(first))) as u32
            }));
        }
        let frames = self.slots.gather_column(column, &slots)?;
        let mut dims = vec![items.len(), depth];
        dims.extend(&frames.dims()[1..]);
        Ok(frames.reshape(dims)?)
    }

    /// These steps, as (steps, ...).
    pub(crate) fn steps(&self, slots: &[u32]) -> Result<Fields> {
        Ok(Fields { schema: self.schema.clone(), tensors: self.slots.gather(slots)? })
    }
}
