//! An indexed store as a file: patterns, names and cells as they are, so that it goes on as if it had never been away.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::cells::Means;
use super::{FEW, IndexedStore};
use crate::Id;
use crate::block::Block;

/// What is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// (m, width), cell by cell.
    #[serde(with = "cl_core::snapshot::tensor")]
    rows: Tensor,
    ids: Vec<Id>,
    /// How many of them lie in each cell.
    sizes: Vec<usize>,
    /// (cells, width)
    #[serde(with = "cl_core::snapshot::tensor")]
    means: Tensor,
    /// That of patterns.
    length: f64,
    made_for: usize,
    seed: u64,
    next: u64,
}

const KIND: Kind = Kind::new("cl-hopfield/indexed-store", 1);

impl IndexedStore {
    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let blocks = self.cells.iter().map(Block::rows).collect::<Result<Vec<_>>>()?;
        let (means, length) = self.means.parts();
        let saved = Saved {
            rows: Tensor::cat(&blocks, 0)?,
            ids: self.cells.iter().flat_map(Block::ids).copied().collect(),
            sizes: self.cells.iter().map(Block::len).collect(),
            means: means.clone(),
            length,
            made_for: self.made_for,
            seed: self.seed,
            next: self.next,
        };
        snapshot::save(path, KIND, &saved)
    }

    /// One that was [saved](Self::save).
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let Saved { rows, ids, sizes, means, length, made_for, seed, next } = snapshot::load(path, KIND)?;
        let wrong = |why: &str| Error::format(path, why);
        let (held, width) = rows.dims2().map_err(|_| wrong("its patterns are no matrix"))?;
        if rows.dtype() != DType::F32
            || means.dtype() != DType::F32
            || width == 0
            || made_for < FEW
            || !(length >= 0.0 && length.is_finite())
            || sizes.is_empty()
            || means.dims() != [sizes.len(), width]
            || held != ids.len()
            || sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(held)
            || ids.iter().any(|id| id.0 >= next)
        {
            return Err(wrong("its patterns, their names and their cells do not fit together"));
        }
        let (mut cells, mut place_of, mut from) = (Vec::new(), HashMap::new(), 0);
        for (cell, size) in sizes.into_iter().enumerate() {
            let ids = &ids[from..from + size];
            cells.push(Block::of(&rows.narrow(0, from, size)?, ids.to_vec())?);
            place_of.extend(ids.iter().enumerate().map(|(row, &id)| (id, (cell, row))));
            from += size;
        }
        if place_of.len() != held {
            return Err(wrong("two of its patterns have one name"));
        }
        Ok(Self { width, seed, cells, means: Means::new(means, length)?, place_of, made_for, next })
    }
}
