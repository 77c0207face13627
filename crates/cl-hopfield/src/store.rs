//! Patterns that come and go while they are asked for.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::block::{Block, keep_nearest, not_stored, queries_of, row};
use crate::continuous::{self, Retrieved, Steps};

/// What a stored pattern is called; it is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(pub(crate) u64);

/// Patterns of one width, f32 on the CPU, that are stored, overwritten and forgotten one by one, and are retrieved from as from a
/// plain tensor of them: all of them take part, however many there are. Where that takes too long, an
/// [`IndexedStore`](crate::IndexedStore) looks at some of them.
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
    patterns: Block,
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
        Ok(Self { patterns: Block::with_room(width, room)?, row_of: HashMap::new(), next: 0 })
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of a pattern.
    pub fn width(&self) -> usize {
        self.patterns.width()
    }

    /// The patterns (m, width) as they lie, beside what each is called: a view, nothing is copied. It shows what is stored later
    /// in the same places.
    ///
    /// # Errors
    /// candle's own.
    pub fn patterns(&self) -> Result<(Tensor, &[Id])> {
        Ok((self.patterns.rows()?, self.patterns.ids()))
    }

    /// Stores a pattern. Where there is no room left, all move to twice as much.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another width, [`Error::Invalid`] for what is not finite; nothing is stored then.
    pub fn insert(&mut self, pattern: &[f32]) -> Result<Id> {
        let row = row(pattern, self.width())?;
        let id = Id(self.next);
        self.patterns.push(id, &row)?;
        self.row_of.insert(id, self.len() - 1);
        self.next += 1;
        Ok(id)
    }

    /// Puts another pattern in the place of one.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and for one that is not stored.
    pub fn overwrite(&mut self, id: Id, pattern: &[f32]) -> Result<()> {
        let row = row(pattern, self.width())?;
        self.patterns.set(self.place(id)?, &row)
    }

    /// Forgets a pattern.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not stored.
    pub fn forget(&mut self, id: Id) -> Result<()> {
        let place = self.place(id)?;
        if let Some(moved) = self.patterns.take(place)? {
            self.row_of.insert(moved, place);
        }
        self.row_of.remove(&id);
        Ok(())
    }

    /// A pattern as it is stored.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not stored.
    pub fn get(&self, id: Id) -> Result<Vec<f32>> {
        self.patterns.get(self.place(id)?)
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
        let mut best: Vec<Vec<(Id, f32)>> = vec![Vec::new(); queries_of(queries, self.width())?];
        let (rows, ids) = self.patterns()?;
        for from in (0..self.len()).step_by(BLOCK) {
            let rows = rows.narrow(0, from, BLOCK.min(self.len() - from))?;
            let products = queries.matmul(&rows.t()?)?.to_vec2::<f32>()?;
            for (best, products) in best.iter_mut().zip(products) {
                best.extend(ids[from..].iter().copied().zip(products));
                keep_nearest(best, k);
            }
        }
        Ok(best)
    }

    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (rows, ids) = self.patterns()?;
        let saved = Saved { rows: rows.copy()?, ids: ids.to_vec(), next: self.next };
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
        Ok(Self { patterns: Block::of(&rows, ids)?, row_of, next })
    }

    fn place(&self, id: Id) -> Result<usize> {
        self.row_of.get(&id).copied().ok_or_else(|| not_stored(id))
    }
}
