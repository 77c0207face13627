//! A store for so many patterns that a query should not look at all of them.

// Of the crates with such an index, hnsw_rs and instant-distance take nothing out again, usearch is C++, and neither it nor
// hnsw_rs is drawn from a seed that is given; trees do not help among 64 numbers.
mod cells;
mod saved;

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};
use cl_core::{Error, Result, TensorOps};

use crate::Id;
use crate::block::{Block, keep_nearest, not_stored, queries_of, row, rows};
use crate::continuous::{self, Retrieved, Steps};
use cells::Means;

/// A [`Store`](crate::Store) that a query looks into here and there: an inverted file. Patterns lie in cells, each around a mean
/// (k-means, about √m cells for m patterns); a query looks into the `probes` cells whose means are nearest to it, once it has the
/// length of a pattern, and at every pattern in them. So what is found is exact among what was looked at, and `probes` ≥ [`cells`](Self::cells) looks at
/// everything.
///
/// How much is missed depends on the patterns and the queries, so it is measured: [`recall`](Self::recall) compares with an exact
/// search. Among 20 000 patterns of 64 numbers without any structure, in 142 cells, a stored pattern with noise of half its length
/// is found in 16 cells 98 times of 100; of the ten nearest to a query that is like nothing stored, the hardest there is, 32 cells
/// hold 0.7. A test holds the store to that.
///
/// Patterns come and go at any time. As their number grows, or shrinks, to four times, or a quarter, of what the cells were made
/// for, the cells are made anew; one `insert` in as many then takes long. All that is random is drawn from the seed: the same
/// calls give the same store.
///
/// ```
/// use candle_core::{DType, Device};
/// use cl_core::init::Init;
/// use cl_hopfield::IndexedStore;
/// use cl_hopfield::continuous::Steps;
///
/// let rng = &mut cl_core::rng(1, "patterns");
/// let patterns = Init::Normal(1.0).var((5000, 32), DType::F32, &Device::Cpu, rng)?;
/// let noise = Init::Normal(0.3).var((50, 32), DType::F32, &Device::Cpu, rng)?;
/// let mut store = IndexedStore::new(32, 0)?;
/// let ids = store.insert_all(&patterns)?;
///
/// let cues = (patterns.narrow(0, 0, 50)? + noise.as_tensor())?;
/// let recall = store.recall(&cues, 1)?;
/// let probes = 1 + recall.iter().position(|&found| found >= 0.95).expect("all cells find everything");
/// assert!(probes < store.cells() / 2);
/// assert_eq!(store.nearest(&patterns.narrow(0, 7, 1)?, 1, probes)?[0][0].0, ids[7]);
/// let found = store.retrieve(&cues, 1.0, Steps::Exactly(1), probes)?.state;
/// assert_eq!(found.dims(), [50, 32]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug)]
pub struct IndexedStore {
    width: usize,
    seed: u64,
    cells: Vec<Block>,
    means: Means,
    /// The cell and the row of each pattern.
    place_of: HashMap<Id, (usize, usize)>,
    /// For how many patterns the cells were made.
    made_for: usize,
    /// What the next one is called.
    next: u64,
}

/// Up to so many patterns there is one cell.
const FEW: usize = 1024;

impl IndexedStore {
    /// An empty one on the CPU, for patterns of so many numbers; cells are drawn from the seed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a width of 0.
    pub fn new(width: usize, seed: u64) -> Result<Self> {
        Self::on(&Device::Cpu, width, seed)
    }

    /// The same on a device, where its queries must be. Which cells to look into is decided on the host: the products of queries
    /// with the means are read back for it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(device: &Device, width: usize, seed: u64) -> Result<Self> {
        if width == 0 {
            return Err(Error::invalid("width", "patterns of 0 numbers cannot be told apart"));
        }
        Ok(Self {
            width,
            seed,
            cells: vec![Block::with_room(width, 16, DType::F32, device)?],
            means: Means::one(width, device)?,
            place_of: HashMap::new(),
            made_for: FEW,
            next: 0,
        })
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.place_of.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.place_of.is_empty()
    }

    /// The numbers of a pattern.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many cells there are; some may be empty.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Stores a pattern.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another width, [`Error::Invalid`] for what is not finite; nothing is stored then.
    pub fn insert(&mut self, pattern: &[f32]) -> Result<Id> {
        let row = row(pattern, self.width)?.to_device(self.means.device())?;
        Ok(self.add(&row)?[0])
    }

    /// Stores all rows of `patterns` (m, width), as f32: faster than one by one.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_all(&mut self, patterns: &Tensor) -> Result<Vec<Id>> {
        self.add(&rows(patterns, self.width)?.to_device(self.means.device())?)
    }

    /// Puts another pattern in the place of one, under the same name.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and for one that is not stored.
    pub fn overwrite(&mut self, id: Id, pattern: &[f32]) -> Result<()> {
        let row = row(pattern, self.width)?.to_device(self.means.device())?;
        let cell = self.means.nearest(&row)?[0];
        self.remove(id)?;
        self.put(id, cell, &row)
    }

    /// Forgets a pattern.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not stored.
    pub fn forget(&mut self, id: Id) -> Result<()> {
        self.remove(id)?;
        self.keep_cells_fit()
    }

    /// A pattern as it is stored.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not stored.
    pub fn get(&self, id: Id) -> Result<Vec<f32>> {
        let (cell, row) = self.place(id)?;
        self.cells[cell].get(row)
    }

    /// From `queries` (n, width) on, ξ ← softmax(β ξXᵀ) X, where X are the patterns of the `probes` cells that the state, as it is
    /// before the update, would look into: [`continuous::retrieve`] but for what it does not look at. Differentiable in the
    /// queries.
    ///
    /// # Errors
    /// As there; an empty store; no probes.
    pub fn retrieve(&self, queries: &Tensor, beta: f64, steps: Steps, probes: usize) -> Result<Retrieved> {
        continuous::check(beta)?;
        if self.is_empty() {
            return Err(Error::invalid("store", "there is nothing in it to retrieve"));
        }
        queries_of(queries, self.width)?;
        continuous::settle(queries, steps, |states| self.update(states, beta, probes))
    }

    /// The `k` patterns in the `probes` cells whose product with each of `queries` (n, width) is largest, or all where there are
    /// fewer, the largest first, with that product. Ties go to what was stored first.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for queries of another width; no probes.
    pub fn nearest(&self, queries: &Tensor, k: usize, probes: usize) -> Result<Vec<Vec<(Id, f32)>>> {
        let mut best: Vec<Vec<(Id, f32)>> = vec![Vec::new(); queries_of(queries, self.width)?];
        for visit in self.visits(queries, probes)? {
            let cell = &self.cells[visit.cell];
            let products = visit.states(queries)?.matmul(&cell.rows()?.t()?)?.to_vec2::<f32>()?;
            for (&query, products) in visit.queries.iter().zip(products) {
                let best = &mut best[query as usize];
                best.extend(cell.ids().iter().copied().zip(products));
                keep_nearest(best, k);
            }
        }
        Ok(best)
    }

    /// The part of the `k` nearest patterns that these `queries` (n, width) find, for every number of probes: with `p` of them it is
    /// at `p − 1`, up to the number of cells that are not empty, where it is 1. All patterns are looked at for it.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest); no queries, k = 0, an empty store.
    pub fn recall(&self, queries: &Tensor, k: usize) -> Result<Vec<f64>> {
        let exact = self.nearest(queries, k, usize::MAX)?;
        let all: usize = exact.iter().map(Vec::len).sum();
        if all == 0 {
            return Err(Error::invalid(
                "recall",
                "there is nothing to find: no patterns, no queries, or k = 0",
            ));
        }
        let order = self.order(queries, usize::MAX)?;
        // How many of them lie in the first cell, in the second, ...
        let mut found = vec![0; order[0].len()];
        for (cells, nearest) in order.iter().zip(&exact) {
            for (id, _) in nearest {
                let cell = self.place(*id)?.0;
                let rank = cells.iter().position(|&other| other == cell);
                found[rank.expect("the cell of a pattern is not empty")] += 1;
            }
        }
        let mut sum = 0;
        let up_to = found.into_iter().map(|n: usize| {
            sum += n;
            sum as f64 / all as f64
        });
        Ok(up_to.collect())
    }

    /// One update of states (n, width). With Lᵢ = ln Σ exp(β ξᵀx) over a cell and vᵢ what is retrieved from it, all cells together
    /// give Σ softmax(L)ᵢ vᵢ.
    fn update(&self, states: &Tensor, beta: f64, probes: usize) -> Result<Tensor> {
        let n = states.dim(0)?;
        if n == 0 {
            return Ok(states.clone());
        }
        let visits = self.visits(states, probes)?;
        let (mut found, mut logs) = (Vec::new(), Vec::new());
        // Where the results of each query are, among all of them.
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); n];
        let mut count = 0;
        for visit in &visits {
            let (states, patterns) = (visit.states(states)?, self.cells[visit.cell].rows()?);
            for (&query, place) in visit.queries.iter().zip(count..) {
                places[query as usize].push(place);
            }
            count += visit.queries.len() as u32;
            let (state, log) = states.retrieve_with_log_partition(&patterns, &patterns, beta, None)?;
            found.push(state);
            logs.push(log);
        }
        let each = places[0].len();
        let places = Tensor::from_vec(places.concat(), n * each, states.device())?;
        let found = Tensor::cat(&found, 0)?.contiguous()?.index_select(&places, 0)?;
        let found = found.reshape((n, each, self.width))?;
        let logs = Tensor::cat(&logs, 0)?.contiguous()?.index_select(&places, 0)?.reshape((n, each))?;
        let weights = logs.broadcast_sub(&logs.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        Ok(found.broadcast_mul(&weights.unsqueeze(2)?)?.sum(1)?)
    }

    /// For each of the queries the cells that it looks into, the most promising first; none of them empty.
    fn order(&self, queries: &Tensor, probes: usize) -> Result<Vec<Vec<usize>>> {
        if probes == 0 {
            return Err(Error::invalid("probes", "0 cells are none to look into: give at least 1"));
        }
        let filled: Vec<usize> = (0..self.cells.len()).filter(|&cell| self.cells[cell].len() > 0).collect();
        let probes = probes.min(filled.len());
        let promising = |promise: Vec<f32>| {
            let order = |a: &usize, b: &usize| promise[*b].total_cmp(&promise[*a]).then(a.cmp(b));
            let mut cells = filled.clone();
            if probes < cells.len() {
                cells.select_nth_unstable_by(probes, order);
                cells.truncate(probes);
            }
            cells.sort_unstable_by(order);
            cells
        };
        Ok(self.means.promise(&queries.detach())?.into_iter().map(promising).collect())
    }

    /// The same, cell by cell.
    fn visits(&self, queries: &Tensor, probes: usize) -> Result<Vec<Visit>> {
        let mut of_cell = vec![Vec::new(); self.cells.len()];
        for (query, cells) in (0..).zip(self.order(queries, probes)?) {
            cells.into_iter().for_each(|cell| of_cell[cell].push(query));
        }
        let visits = of_cell.into_iter().enumerate().map(|(cell, queries)| Visit { cell, queries });
        Ok(visits.filter(|visit| !visit.queries.is_empty()).collect())
    }

    /// Stores rows that were checked.
    fn add(&mut self, rows: &Tensor) -> Result<Vec<Id>> {
        let cells = self.means.nearest(rows)?;
        let mut ids = Vec::with_capacity(cells.len());
        for (at, cell) in cells.into_iter().enumerate() {
            let id = Id(self.next);
            self.put(id, cell, &rows.narrow(0, at, 1)?)?;
            self.next += 1;
            ids.push(id);
        }
        self.keep_cells_fit()?;
        Ok(ids)
    }

    fn put(&mut self, id: Id, cell: usize, row: &Tensor) -> Result<()> {
        self.cells[cell].push(id, row)?;
        self.place_of.insert(id, (cell, self.cells[cell].len() - 1));
        Ok(())
    }

    fn remove(&mut self, id: Id) -> Result<()> {
        let (cell, row) = self.place(id)?;
        if let Some(moved) = self.cells[cell].take(row)? {
            self.place_of.insert(moved, (cell, row));
        }
        self.place_of.remove(&id);
        Ok(())
    }

    fn place(&self, id: Id) -> Result<(usize, usize)> {
        self.place_of.get(&id).copied().ok_or_else(|| not_stored(id))
    }

    /// Makes the cells anew where there are too many patterns for them, or too few.
    fn keep_cells_fit(&mut self) -> Result<()> {
        let m = self.len();
        if m <= 4 * self.made_for && (m >= self.made_for / 4 || self.made_for == FEW) {
            return Ok(());
        }
        let blocks = self.cells.iter().map(Block::rows).collect::<Result<Vec<_>>>()?;
        let (rows, ids) = (Tensor::cat(&blocks, 0)?, self.cells.iter().flat_map(Block::ids).copied());
        let ids: Vec<Id> = ids.collect();
        let made_for = m.max(FEW);
        let cells = if m <= FEW { 1 } else { (m as f64).sqrt().ceil() as usize };
        self.means = Means::of(&rows, cells, self.seed)?;
        self.cells = (0..cells)
            .map(|_| Block::with_room(self.width, made_for / cells, DType::F32, rows.device()))
            .collect::<Result<_>>()?;
        self.made_for = made_for;
        for (at, (id, cell)) in ids.into_iter().zip(self.means.nearest(&rows)?).enumerate() {
            self.put(id, cell, &rows.narrow(0, at, 1)?)?;
        }
        Ok(())
    }
}

/// A cell, and which queries look into it.
struct Visit {
    cell: usize,
    queries: Vec<u32>,
}

impl Visit {
    /// Those queries, of all (n, width).
    fn states(&self, queries: &Tensor) -> Result<Tensor> {
        let which = Tensor::from_slice(&self.queries, self.queries.len(), queries.device())?;
        Ok(queries.contiguous()?.index_select(&which, 0)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use candle_core::Device;
    use cl_core::init::Init;

    use super::*;

    /// A probe looks at Σ size² / m patterns on average: 245 of 60 000 if all cells were of one size. Here 350; with means that
    /// are not moved, 1300.
    #[test]
    fn cells_are_of_similar_size() {
        let rng = &mut cl_core::rng(0, "patterns");
        let patterns = Init::Normal(1.0).var((60_000, 64), DType::F32, &Device::Cpu, rng).unwrap();
        let mut store = IndexedStore::new(64, 1).unwrap();
        store.insert_all(&patterns).unwrap();
        let squares: usize = store.cells.iter().map(|cell| cell.len() * cell.len()).sum();
        assert!(squares / store.len() < 500, "{}", squares / store.len());
    }
}
