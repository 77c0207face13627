//! Patterns that come and go while they are asked for.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::continuous::{self, Retrieved, Steps};

/// What a stored pattern is called; it is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(u64);

/// Patterns of one width, f32 on the CPU, that are stored, overwritten and forgotten one by one, and are retrieved from as from a
/// plain tensor of them: all of them take part, however many there are.
///
/// They lie in one block of memory, in no order: what is forgotten gives its place to the last.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_hopfield::Store;
/// use cl_hopfield::continuous::Steps;
///
/// let mut store = Store::new(3)?;
/// let (x, y) = (store.insert(&[4., 0., 0.])?, store.insert(&[0., 4., 0.])?);
/// let query = Tensor::new(&[[3f32, 1.5, 0.]], &Device::Cpu)?;
/// assert_eq!(store.nearest(&query, 1)?[0][0].0, x);
/// store.forget(x)?;
/// let found = store.retrieve(&query, 1.0, Steps::Exactly(1))?.state;
/// assert_eq!(found.to_vec2::<f32>()?, [[0., 4., 0.]]);
/// # let _ = y;
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Store {
    /// (room, width); the first rows are taken.
    rows: Tensor,
    /// What each row is called.
    ids: Vec<Id>,
    /// The row of each.
    row_of: HashMap<Id, usize>,
    /// What the next one is called.
    next: u64,
}

/// What is saved of a [`Store`].
#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(with = "cl_core::snapshot::tensor")]
    rows: Tensor,
    ids: Vec<Id>,
    next: u64,
}

const KIND: Kind = Kind::new("cl-hopfield/store", 1);

impl Store {
    /// An empty one, for patterns of so many numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0.
    pub fn new(width: usize) -> Result<Self> {
        Self::with_room(width, 16)
    }

    /// The same, with room for so many patterns before its memory has to grow.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_room(width: usize, room: usize) -> Result<Self> {
        if width == 0 {
            return Err(Error::invalid("width", "patterns of 0 numbers cannot be told apart"));
        }
        let rows = Tensor::zeros((room.max(1), width), DType::F32, &Device::Cpu)?;
        Ok(Self { rows, ids: Vec::new(), row_of: HashMap::new(), next: 0 })
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The numbers of a pattern.
    pub fn width(&self) -> usize {
        self.rows.dims()[1]
    }

    /// The patterns (m, width) as they lie, beside what each is called: a view, nothing is copied. It shows what is stored later
    /// in the same places.
    ///
    /// # Errors
    /// candle's own.
    pub fn patterns(&self) -> Result<(Tensor, &[Id])> {
        Ok((self.rows.narrow(0, 0, self.len())?, &self.ids))
    }

    /// Stores a pattern. Where there is no room left, all move to twice as much.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another width, [`Error::Invalid`] for what is not finite; nothing is stored then.
    pub fn insert(&mut self, pattern: &[f32]) -> Result<Id> {
        let row = self.row(pattern)?;
        if self.len() == self.rows.dim(0)? {
            let more = Tensor::zeros((2 * self.len(), self.width()), DType::F32, &Device::Cpu)?;
            more.slice_set(&self.rows, 0, 0)?;
            self.rows = more;
        }
        self.rows.slice_set(&row, 0, self.len())?;
        let id = Id(self.next);
        self.next += 1;
        self.row_of.insert(id, self.len());
        self.ids.push(id);
        Ok(id)
    }

    /// Puts another pattern in the place of one.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and for one that is not stored.
    pub fn overwrite(&mut self, id: Id, pattern: &[f32]) -> Result<()> {
        let row = self.row(pattern)?;
        Ok(self.rows.slice_set(&row, 0, self.place(id)?)?)
    }

    /// Forgets a pattern.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not stored.
    pub fn forget(&mut self, id: Id) -> Result<()> {
        let (place, last) = (self.place(id)?, self.len() - 1);
        if place != last {
            let moved = self.rows.narrow(0, last, 1)?.copy()?;
            self.rows.slice_set(&moved, 0, place)?;
            self.row_of.insert(self.ids[last], place);
        }
        self.ids.swap_remove(place);
        self.row_of.remove(&id);
        Ok(())
    }

    /// A pattern as it is stored.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not stored.
    pub fn get(&self, id: Id) -> Result<Vec<f32>> {
        Ok(self.rows.get(self.place(id)?)?.to_vec1()?)
    }

    /// From `queries` (n, width) on among all that is stored: [`continuous::retrieve`].
    ///
    /// # Errors
    /// As there.
    pub fn retrieve(&self, queries: &Tensor, beta: f64, steps: Steps) -> Result<Retrieved> {
        if self.is_empty() {
            return Err(Error::invalid("store", "there is nothing in it to retrieve"));
        }
        continuous::retrieve(queries, &self.patterns()?.0, beta, steps)
    }

    /// The `k` patterns whose product with each of `queries` (n, width) is largest, or all where there are fewer, the largest first,
    /// with that product. Ties go to what was stored first.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for queries of another width.
    pub fn nearest(&self, queries: &Tensor, k: usize) -> Result<Vec<Vec<(Id, f32)>>> {
        /// Patterns that are looked at together.
        const BLOCK: usize = 4096;
        let (n, width) = queries.dims2()?;
        if width != self.width() {
            return Err(Error::mismatch(
                "nearest",
                format!("(n, {})", self.width()),
                format!("({n}, {width})"),
            ));
        }
        let mut best: Vec<Vec<(Id, f32)>> = vec![Vec::new(); n];
        for from in (0..self.len()).step_by(BLOCK) {
            let rows = self.rows.narrow(0, from, BLOCK.min(self.len() - from))?;
            let products = queries.matmul(&rows.t()?)?.to_vec2::<f32>()?;
            for (best, products) in best.iter_mut().zip(products) {
                best.extend(self.ids[from..].iter().copied().zip(products));
                best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                best.truncate(k);
            }
        }
        Ok(best)
    }

    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let saved = Saved { rows: self.patterns()?.0.copy()?, ids: self.ids.clone(), next: self.next };
        snapshot::save(path, KIND, &saved)
    }

    /// One that was [saved](Self::save).
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let Saved { rows, ids, next } = snapshot::load(path, KIND)?;
        let row_of: HashMap<Id, usize> = ids.iter().copied().zip(0..).collect();
        let (held, width) = rows.dims2().map_err(|_| Error::format(path, "its patterns are no matrix"))?;
        if rows.dtype() != DType::F32
            || width == 0
            || held != ids.len()
            || row_of.len() != held
            || ids.iter().any(|id| id.0 >= next)
        {
            return Err(Error::format(path, "its patterns and their names do not fit together"));
        }
        let mut store = Self::with_room(width, held)?;
        if held > 0 {
            store.rows.slice_set(&rows.contiguous()?, 0, 0)?;
        }
        (store.ids, store.row_of, store.next) = (ids, row_of, next);
        Ok(store)
    }

    fn place(&self, id: Id) -> Result<usize> {
        self.row_of
            .get(&id)
            .copied()
            .ok_or_else(|| Error::invalid("id", format!("pattern {} is not stored, or was forgotten", id.0)))
    }

    /// A pattern as a row.
    fn row(&self, pattern: &[f32]) -> Result<Tensor> {
        let width = self.width();
        if pattern.len() != width {
            return Err(Error::mismatch("store", format!("{width} numbers"), pattern.len().to_string()));
        }
        if let Some(at) = pattern.iter().position(|x| !x.is_finite()) {
            return Err(Error::invalid("pattern", format!("number {at} is {}", pattern[at])));
        }
        Ok(Tensor::from_slice(pattern, (1, width), &Device::Cpu)?)
    }
}
