//! Which sequences of a ring of steps are complete, and where they are kept.

use std::ops::Range;

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A sequence, or with a length of 1 a single step, that was or is in a memory: the row (environment) and the
/// time of its first step, counted from 0 and never reused. What comes later into its place has another time:
/// an item that is gone can be told from its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// The row, from 0.
    pub row: u32,
    /// The time of the first step.
    pub time: u64,
}

/// The sequences of `sample` steps that begin at every `period`-th time, in rings of `length` steps.
///
/// A start is numbered g = time / period. While the steps of some times are held, the sequences of a range of
/// starts are; one of row a has the place a · per_row + g mod per_row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grid {
    pub(crate) rows: usize,
    pub(crate) length: usize,
    pub(crate) sample: usize,
    pub(crate) period: usize,
}

impl Grid {
    pub(crate) fn new(rows: usize, length: usize, sample: usize, period: usize) -> Result<Self> {
        let sizes = [("rows", rows), ("length", length), ("sample", sample), ("period", period)];
        if let Some((what, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(Error::invalid(what, "0: at least 1 is needed"));
        }
        if sample > length {
            let why = format!("sequences of {sample} steps do not fit a memory of {length} steps a row");
            return Err(Error::invalid("sample", why));
        }
        // Before anything of that size is made. Places are not more than steps.
        if rows.checked_mul(length).is_none_or(|steps| steps >= u32::MAX as usize) {
            return Err(Error::invalid("capacity", format!("{rows} rows of {length} steps are too many")));
        }
        Ok(Self { rows, length, sample, period })
    }

    /// Places of one row.
    pub(crate) fn per_row(&self) -> usize {
        self.length.div_ceil(self.period)
    }

    pub(crate) fn places(&self) -> usize {
        self.rows * self.per_row()
    }

    /// The starts that are complete while the steps of these times are held.
    pub(crate) fn held(&self, steps: Range<u64>) -> Range<u64> {
        let oldest = steps.start;
        let last = steps.end.checked_sub(self.sample as u64);
        // Most memories have a period of one, and a division is dear.
        let (first, end) = match self.period as u64 {
            1 => (oldest, last.map_or(0, |last| last + 1)),
            period => (oldest.div_ceil(period), last.map_or(0, |last| last / period + 1)),
        };
        first..end.max(first)
    }

    /// Where the start of one row is kept.
    pub(crate) fn place(&self, row: usize, start: u64) -> usize {
        row * self.per_row() + (start % self.per_row() as u64) as usize
    }
}

/// Between places, counts and items, for one state of the memory: without a division by item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    grid: Grid,
    per_row: usize,
    held: (u64, u64),
    /// Of the first start, in its row.
    first_place: usize,
    /// Of the first start, in the ring.
    first_position: usize,
}

impl Decoder {
    /// While the steps of these times are held.
    pub(crate) fn new(grid: &Grid, steps: Range<u64>) -> Self {
        let held = grid.held(steps);
        Self {
            grid: *grid,
            per_row: grid.per_row(),
            held: (held.start, held.end),
            first_place: (held.start % grid.per_row() as u64) as usize,
            first_position: (held.start * grid.period as u64 % grid.length as u64) as usize,
        }
    }

    /// The n-th start that is held: its item, and where in the ring it begins.
    #[inline(always)]
    pub(crate) fn nth(&self, row: usize, n: usize) -> (Item, usize) {
        let position = self.first_position + n * self.grid.period;
        let position = if position >= self.grid.length { position - self.grid.length } else { position };
        (Item { row: row as u32, time: (self.held.0 + n as u64) * self.grid.period as u64 }, position)
    }

    /// The start that is kept at a place.
    #[inline(always)]
    pub(crate) fn at(&self, place: u32) -> (Item, usize) {
        let row = if self.grid.rows == 1 { 0 } else { place / self.per_row as u32 };
        let place = (place - row * self.per_row as u32) as usize;
        let wrapped = if place >= self.first_place { 0 } else { self.per_row };
        self.nth(row as usize, place + wrapped - self.first_place)
    }

    /// Where an item is kept; none where it was overwritten.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an item that there never was.
    #[inline(always)]
    pub(crate) fn place(&self, item: Item) -> Result<Option<usize>> {
        let period = self.grid.period as u64;
        // Most memories have a period of one, and a division is dear.
        let (start, rest) =
            if period == 1 { (item.time, 0) } else { (item.time / period, item.time % period) };
        if item.row as usize >= self.grid.rows || rest > 0 || start >= self.held.1 {
            return Err(self.never(item));
        }
        Ok(start.checked_sub(self.held.0).map(|n| {
            let place = self.first_place + n as usize;
            let place = if place >= self.per_row { place - self.per_row } else { place };
            item.row as usize * self.per_row + place
        }))
    }

    #[cold]
    fn never(&self, item: Item) -> Error {
        let Grid { rows, period, .. } = self.grid;
        let why = if item.row as usize >= rows {
            format!("{item:?}: the memory has {rows} rows")
        } else if !item.time.is_multiple_of(period as u64) {
            format!("{item:?}: sequences begin at multiples of {period}")
        } else {
            format!("{item:?}: no such sequence was completed yet")
        };
        Error::invalid("item", why)
    }
}

/// A set of places from which each is drawn as easily as from a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PlaceSet {
    members: Vec<u32>,
    /// Where in the list a place is.
    position: Vec<Option<u32>>,
}

impl PlaceSet {
    pub(crate) fn new(places: usize) -> Self {
        Self { members: Vec::new(), position: vec![None; places] }
    }

    pub(crate) fn members(&self) -> &[u32] {
        &self.members
    }

    pub(crate) fn contains(&self, place: usize) -> bool {
        self.position[place].is_some()
    }

    pub(crate) fn insert(&mut self, place: usize) {
        if self.position[place].is_none() {
            self.position[place] = Some(self.members.len() as u32);
            self.members.push(place as u32);
        }
    }

    pub(crate) fn remove(&mut self, place: usize) {
        if let Some(at) = self.position[place].take() {
            self.members.swap_remove(at as usize);
            if let Some(&moved) = self.members.get(at as usize) {
                self.position[moved as usize] = Some(at);
            }
        }
    }
}

/// Which sequences stay within one episode, found out as the steps come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Episodes {
    /// The fields of which a value other than 0 says that the step is the last of its episode.
    pub(crate) fields: Vec<usize>,
    /// The time of the last such step of each row.
    last: Vec<Option<u64>>,
    /// The places of the sequences that stay within one episode.
    pub(crate) whole: PlaceSet,
}

impl Episodes {
    pub(crate) fn new(fields: Vec<usize>, grid: &Grid) -> Self {
        Self { fields, last: vec![None; grid.rows], whole: PlaceSet::new(grid.places()) }
    }

    /// Forgets the sequences of which a step is not held any more: `old` steps were, `new` ones are.
    pub(crate) fn forget(&mut self, grid: &Grid, old: Range<u64>, new: Range<u64>) {
        let (old, new) = (grid.held(old), grid.held(new));
        for start in old.start..old.end.min(new.start) {
            (0..grid.rows).for_each(|row| self.whole.remove(grid.place(row, start)));
        }
    }

    /// Takes in what `ends` says of the steps behind the `old` ones, in the order of time, then of rows; `new`
    /// ones are held now.
    pub(crate) fn extend(&mut self, grid: &Grid, old: Range<u64>, new: Range<u64>, ends: &[bool]) {
        self.forget(grid, old.clone(), new.clone());
        let new = grid.held(new);
        for (time, ends) in (old.end..).zip(ends.chunks(grid.rows)) {
            // The sequence that this step completes.
            let first = (time + 1).checked_sub(grid.sample as u64);
            let start = first.filter(|first| first.is_multiple_of(grid.period as u64));
            let start = start.map(|first| first / grid.period as u64).filter(|start| new.contains(start));
            for (row, &ends) in ends.iter().enumerate() {
                if let (Some(start), Some(first)) = (start, first)
                    && self.last[row].is_none_or(|end| end < first)
                {
                    self.whole.insert(grid.place(row, start));
                }
                if ends {
                    self.last[row] = Some(time);
                }
            }
        }
    }
}
