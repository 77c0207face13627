//! Patterns that come and go while they are asked for.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::block::{Block, keep_nearest, not_stored, queries_of, row, rows};
use crate::continuous::{self, Retrieved, Steps};

/// What a stored pattern is called; it is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(pub(crate) u64);

/// Patterns of one width that are stored, overwritten and forgotten one by one, and are retrieved from as from a plain tensor of
/// them: all of them take part, however many there are. Where that takes too long, an
/// [`IndexedStore`](crate::IndexedStore) looks at some of them.
///
/// They lie in one block of memory, in no order: what is forgotten gives its place to the last. They are f32 on the CPU, or of the
/// dtype and on the device that [`on`](Self::on) is given: half precision takes half the memory. Where a GPU cannot hold them all,
/// keep them on the CPU: [`retrieve`](Self::retrieve) takes queries on a GPU and brings the patterns there part by part.
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
    /// Of patterns that are brought to another device at a time.
    bytes: usize,
}

/// Bytes of patterns that are brought to another device at a time, if nothing else is said.
const BYTES: usize = 256 << 20;

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
        Self::on(&Device::Cpu, DType::F32, width, room)
    }

    /// The same of another dtype, on any device: f32, f16 or bf16, to which patterns are rounded when they are stored.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for other dtypes.
    pub fn on(device: &Device, dtype: DType, width: usize, room: usize) -> Result<Self> {
        if width == 0 {
            return Err(Error::invalid("width", "patterns of 0 numbers cannot be told apart"));
        }
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(Error::mismatch("store", "F32, F16 or BF16", format!("{dtype:?}")));
        }
        let patterns = Block::with_room(width, room, dtype, device)?;
        Ok(Self { patterns, row_of: HashMap::new(), next: 0, bytes: BYTES })
    }

    /// With at most so many bytes of patterns at a time on the device of queries that are not where the patterns are, at least one
    /// pattern. 256 MiB without.
    #[must_use]
    pub fn with_device_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// The same patterns under the same names on another device.
    ///
    /// # Errors
    /// candle's own.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let (rows, ids) = self.patterns()?;
        let patterns = Block::of(&rows.to_device(device)?, ids.to_vec())?;
        Ok(Self { patterns, row_of: self.row_of.clone(), next: self.next, bytes: self.bytes })
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

    /// Stores all rows of `patterns` (m, width), of any dtype and from any device: faster than one by one.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_all(&mut self, patterns: &Tensor) -> Result<Vec<Id>> {
        let rows = rows(patterns, self.width())?;
        let ids: Vec<Id> = (self.next..).take(rows.dim(0)?).map(Id).collect();
        let first = self.len();
        self.patterns.extend(&ids, &rows)?;
        self.row_of.extend(ids.iter().copied().zip(first..));
        self.next += ids.len() as u64;
        Ok(ids)
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

    /// From `queries` (n, width), of the dtype of the patterns, on among all that is stored: [`continuous::retrieve`]. Where they
    /// are on another device, parts of the patterns follow them there one after the other, for every step:
    /// [`continuous::retrieve_in_parts`].
    ///
    /// # Errors
    /// As there.
    pub fn retrieve(&self, queries: &Tensor, beta: f64, steps: Steps) -> Result<Retrieved> {
        if self.is_empty() {
            return Err(Error::invalid("store", "there is nothing in it to retrieve"));
        }
        let patterns = self.patterns()?.0;
        if patterns.device().same_device(queries.device()) {
            return continuous::retrieve(queries, &patterns, beta, steps);
        }
        let rows = (self.bytes / (self.width() * patterns.dtype().size_in_bytes())).max(1);
        let part = |from| patterns.narrow(0, from, rows.min(self.len() - from));
        let parts = (0..self.len()).step_by(rows).map(part).collect::<candle_core::Result<Vec<_>>>()?;
        continuous::retrieve_in_parts(queries, &parts, beta, steps)
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
        let queries = queries.to_device(rows.device())?.to_dtype(DType::F32)?;
        for from in (0..self.len()).step_by(BLOCK) {
            let rows = rows.narrow(0, from, BLOCK.min(self.len() - from))?.to_dtype(DType::F32)?;
            let products = queries.matmul(&rows.t()?)?.to_vec2::<f32>()?;
            for (best, products) in best.iter_mut().zip(products) {
                best.extend(ids[from..].iter().copied().zip(products));
                keep_nearest(best, k);
            }
        }
        Ok(best)
    }

    /// Writes it to a file, whole or not at all; half precision as f32, which holds it exactly.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (rows, ids) = self.patterns()?;
        let rows = rows.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let saved = Saved { rows: rows.copy()?, ids: ids.to_vec(), next: self.next };
        snapshot::save(path, KIND, &saved)
    }

    /// One that was [saved](Self::save), in f32 on the CPU.
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
        Ok(Self { patterns: Block::of(&rows, ids)?, row_of, next, bytes: BYTES })
    }

    fn place(&self, id: Id) -> Result<usize> {
        self.row_of.get(&id).copied().ok_or_else(|| not_stored(id))
    }
}
