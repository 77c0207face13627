//! All distances, for many dimensions.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use cl_core::Result;

use super::{Neighbour, Neighbours, check_dimension, check_insert, check_radius, check_remove};
use crate::points::{Points, squared_distance};

/// Values of one matrix product: queries are taken in blocks of this over the number of points.
const BLOCK: usize = 1 << 22;

/// Compares every query with every point.
///
/// A matrix product in f32 proposes, ‖x‖² − 2⟨q, x⟩ for a block of queries at once, and the few points that
/// its rounding error leaves in question are compared exactly: the answers are those of a plain loop in f64,
/// whatever the product rounds to. Ask for many queries in one call.
#[derive(Debug, Clone)]
pub struct BruteForce {
    dimension: usize,
    ids: Vec<u64>,
    /// (points, d), in the order of `ids`.
    values: Vec<f32>,
    /// ‖x‖² of each.
    squares: Vec<f64>,
    /// Where each id is.
    places: BTreeMap<u64, usize>,
}

impl BruteForce {
    /// No points yet, of `dimension` features.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a dimension of zero.
    pub fn new(dimension: usize) -> Result<Self> {
        let dimension = check_dimension(dimension)?;
        Ok(Self {
            dimension,
            ids: Vec::new(),
            values: Vec::new(),
            squares: Vec::new(),
            places: BTreeMap::new(),
        })
    }

    fn point(&self, place: usize) -> &[f32] {
        &self.values[place * self.dimension..][..self.dimension]
    }

    /// For each query, what `choose` makes of it, of ‖x‖² − 2⟨q, x⟩ for every point, and of the error bound
    /// of these.
    fn each<R>(&self, queries: &Points, choose: impl Fn(&[f32], &[f32], f64) -> R) -> Result<Vec<R>> {
        let (n, d) = (self.ids.len(), self.dimension);
        let keys = Tensor::from_slice(&self.values, (n, d), &Device::Cpu)?.t()?;
        let farthest = self.squares.iter().copied().fold(0.0, f64::max).sqrt();
        let mut results = Vec::with_capacity(queries.len());
        for block in queries.values().chunks((BLOCK / n.max(1)).max(1) * d) {
            let product = Tensor::from_slice(block, (block.len() / d, d), &Device::Cpu)?.matmul(&keys)?;
            let mut product = product.flatten_all()?.to_vec1::<f32>()?;
            for (query, row) in block.chunks_exact(d).zip(product.chunks_exact_mut(n.max(1))) {
                for (value, &square) in row.iter_mut().zip(&self.squares) {
                    *value = square as f32 - 2.0 * *value;
                }
                // The dot product of d terms is off by at most d·2⁻²⁴ ‖q‖‖x‖ (1 + ...), whatever the order
                // of its sum; the squares and the difference add a few more roundings.
                let norm = squared_distance(query, &vec![0.0; d]).sqrt();
                let scale = (norm + farthest).powi(2);
                let bound = (d + 4) as f64 * f64::from(f32::EPSILON) * scale + f64::from(f32::MIN_POSITIVE);
                let bound = if scale < 1e37 { bound } else { f64::INFINITY }; // f32 would overflow
                results.push(choose(query, row, bound));
            }
        }
        Ok(results)
    }

    /// The exact distances to the points whose proposed value is not above `limit`.
    fn compare(&self, query: &[f32], proposed: &[f32], limit: f64) -> Vec<Neighbour> {
        let near = |&(_, &value): &(usize, &f32)| limit.is_infinite() || f64::from(value) <= limit;
        let places = proposed.iter().enumerate().filter(near).map(|(place, _)| place);
        let distance = |place| squared_distance(query, self.point(place)).sqrt();
        places.map(|place| Neighbour { id: self.ids[place], distance: distance(place) }).collect()
    }
}

impl Neighbours for BruteForce {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn len(&self) -> usize {
        self.ids.len()
    }

    fn insert(&mut self, ids: &[u64], points: &Tensor) -> Result<()> {
        let points = check_insert(ids, points, self.dimension, |id| self.places.contains_key(&id))?;
        let zero = vec![0.0; self.dimension];
        for (&id, point) in ids.iter().zip(points.rows()) {
            self.places.insert(id, self.ids.len());
            self.ids.push(id);
            self.values.extend_from_slice(point);
            self.squares.push(squared_distance(point, &zero));
        }
        Ok(())
    }

    /// The last point takes the place of the one that goes.
    fn remove(&mut self, ids: &[u64]) -> Result<()> {
        check_remove(ids, |id| self.places.contains_key(&id))?;
        for id in ids {
            let Some(place) = self.places.remove(id) else { continue };
            let (last, d) = (self.ids.len() - 1, self.dimension);
            if place != last {
                self.values.copy_within(last * d..(last + 1) * d, place * d);
                self.places.insert(self.ids[last], place);
            }
            self.ids.swap_remove(place);
            self.squares.swap_remove(place);
            self.values.truncate(last * d);
        }
        Ok(())
    }

    fn k_nearest(&self, queries: &Tensor, k: usize) -> Result<Vec<Vec<Neighbour>>> {
        let queries = Points::new("queries", queries, Some(self.dimension))?;
        if k == 0 || self.is_empty() {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        self.each(&queries, |query, proposed, bound| {
            // The k-th proposed value is the true one of no nearer point than the true k-th, but for the
            // error; what lies above it by twice the error cannot be among the k.
            let all = k >= proposed.len() || bound.is_infinite();
            let limit = if all { f64::INFINITY } else { kth(proposed, k) + 2.0 * bound };
            let mut found = self.compare(query, proposed, limit);
            found.sort_unstable_by(Neighbour::order);
            found.truncate(k);
            found
        })
    }

    fn within(&self, queries: &Tensor, radius: f64) -> Result<Vec<Vec<Neighbour>>> {
        check_radius(radius)?;
        let queries = Points::new("queries", queries, Some(self.dimension))?;
        if self.is_empty() {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        let zero = vec![0.0; self.dimension];
        self.each(&queries, |query, proposed, bound| {
            let square = radius.powi(2);
            let limit = square * (1.0 + 1e-12) - squared_distance(query, &zero) + bound;
            let mut found = self.compare(query, proposed, limit);
            found.retain(|found| found.distance <= radius);
            found.sort_unstable_by(Neighbour::order);
            found
        })
    }
}

/// The k-th smallest of more than k values, 0 < k: the largest of a list of the k smallest so far, sorted.
fn kth(values: &[f32], k: usize) -> f64 {
    let (start, rest) = values.split_at(k);
    let mut smallest = start.to_vec();
    smallest.sort_unstable_by(f32::total_cmp);
    // Nearly all values are above it, and blocks of them are skipped at once.
    let mut kth = smallest[k - 1];
    for block in rest.chunks(64) {
        if block.iter().fold(f32::INFINITY, |least, &value| least.min(value)) < kth {
            for &value in block.iter().filter(|&&value| value < kth) {
                if value < smallest[k - 1] {
                    let at = smallest.partition_point(|&other| other <= value);
                    smallest.pop();
                    smallest.insert(at, value);
                }
            }
            kth = smallest[k - 1];
        }
    }
    kth.into()
}
