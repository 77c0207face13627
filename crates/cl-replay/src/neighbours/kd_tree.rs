//! The k-d tree, for few dimensions.

use std::collections::BTreeMap;

use candle_core::Tensor;
use cl_core::Result;

use super::{Neighbour, Neighbours, check_dimension, check_insert, check_radius, check_remove};
use crate::points::{Points, squared_distance};

/// A k-d tree. A query costs about log n in a few dimensions, and nearly n from about ten on, unless the
/// points lie in clusters.
///
/// The tree itself is built, asked, and never changed: it would grow as deep as a list when points come in
/// sorted, and taking one out would visit every node. Points that came since are in a short list that every
/// query looks through, points that went are skipped, and when there are more than 4√n of both, the tree is
/// built again from all points in a mixed order.
#[derive(Debug, Clone)]
pub struct KdTree {
    dimension: usize,
    /// Entries (id, stamp), of which those that are not in `points` with that stamp are gone.
    tree: kdtree::KdTree<f64, (u64, u64), Vec<f64>>,
    points: BTreeMap<u64, Entry>,
    /// The ids that are in `points` and not in `tree`.
    recent: Vec<u64>,
    /// The stamp of the next insertion.
    stamp: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    stamp: u64,
    point: Vec<f64>,
}

impl KdTree {
    /// An empty tree for points of `dimension` features.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a dimension of zero.
    pub fn new(dimension: usize) -> Result<Self> {
        let dimension = check_dimension(dimension)?;
        Ok(Self {
            dimension,
            tree: kdtree::KdTree::new(dimension),
            points: BTreeMap::new(),
            recent: Vec::new(),
            stamp: 0,
        })
    }

    /// Builds the tree again where it is too far from what it should hold.
    fn settle(&mut self) -> Result<()> {
        let held = self.points.len();
        let gone = self.tree.size() - (held - self.recent.len());
        if self.recent.len() + gone <= 4 * held.isqrt() {
            return Ok(());
        }
        let mut order: Vec<_> = self.points.iter().collect();
        order.sort_unstable_by_key(|&(&id, _)| mix(id));
        let mut tree = kdtree::KdTree::new(self.dimension);
        for (&id, entry) in order {
            tree.add(entry.point.clone(), (id, entry.stamp)).map_err(refused)?;
        }
        self.tree = tree;
        self.recent.clear();
        Ok(())
    }

    /// What the tree found, if it is still there.
    fn held(&self, (squared, &(id, stamp)): (f64, &(u64, u64))) -> Option<Neighbour> {
        let held = self.points.get(&id).is_some_and(|held| held.stamp == stamp);
        held.then_some(Neighbour { id, distance: squared.sqrt() })
    }

    /// The `k` nearest points of the tree, and maybe others.
    fn in_tree(&self, query: &[f64], k: usize) -> Result<Vec<Neighbour>> {
        let mut ask = k + 1;
        loop {
            let entries = self.tree.nearest(query, ask, &squared_distance::<f64>).map_err(refused)?;
            let (all, reached) = (entries.len() < ask, entries.last().map(|(squared, _)| squared.sqrt()));
            let found: Vec<Neighbour> = entries.into_iter().filter_map(|entry| self.held(entry)).collect();
            // Among equally near points the tree chooses as it likes: only what is nearer than the last one
            // is sure to be there.
            if all || found.get(k - 1).is_some_and(|last| Some(last.distance) < reached) {
                return Ok(found);
            }
            ask *= 2;
        }
    }

    /// The points that are not in the tree.
    fn in_list(&self, query: &[f64]) -> impl Iterator<Item = Neighbour> {
        self.recent.iter().filter_map(|&id| {
            let distance = squared_distance(query, &self.points.get(&id)?.point).sqrt();
            Some(Neighbour { id, distance })
        })
    }
}

impl Neighbours for KdTree {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn len(&self) -> usize {
        self.points.len()
    }

    fn insert(&mut self, ids: &[u64], points: &Tensor) -> Result<()> {
        let points = check_insert(ids, points, self.dimension, |id| self.points.contains_key(&id))?;
        for (&id, point) in ids.iter().zip(points.rows()) {
            self.points.insert(id, Entry { stamp: self.stamp, point: wide(point) });
            self.recent.push(id);
            self.stamp += 1;
        }
        self.settle()
    }

    fn remove(&mut self, ids: &[u64]) -> Result<()> {
        check_remove(ids, |id| self.points.contains_key(&id))?;
        for id in ids {
            self.points.remove(id);
        }
        self.recent.retain(|id| self.points.contains_key(id));
        self.settle()
    }

    fn k_nearest(&self, queries: &Tensor, k: usize) -> Result<Vec<Vec<Neighbour>>> {
        let queries = Points::new("queries", queries, Some(self.dimension))?;
        let one = |query: &[f32]| {
            let query = wide(query);
            let mut found = if k > 0 { self.in_tree(&query, k)? } else { Vec::new() };
            found.extend(self.in_list(&query));
            found.sort_unstable_by(Neighbour::order);
            found.truncate(k);
            Ok(found)
        };
        queries.rows().map(one).collect()
    }

    fn within(&self, queries: &Tensor, radius: f64) -> Result<Vec<Vec<Neighbour>>> {
        check_radius(radius)?;
        let queries = Points::new("queries", queries, Some(self.dimension))?;
        let one = |query: &[f32]| {
            let query = wide(query);
            let squared = radius.powi(2) * (1.0 + 1e-12); // the rounding of the root
            let entries = self.tree.within(&query, squared, &squared_distance::<f64>).map_err(refused)?;
            let mut found: Vec<Neighbour> = entries
                .into_iter()
                .filter_map(|entry| self.held(entry))
                .chain(self.in_list(&query))
                .collect();
            found.retain(|found| found.distance <= radius);
            found.sort_unstable_by(Neighbour::order);
            Ok(found)
        };
        queries.rows().map(one).collect()
    }
}

fn wide(point: &[f32]) -> Vec<f64> {
    point.iter().map(|&value| value.into()).collect()
}

/// An order of the ids that has nothing to do with the points (the finalizer of SplitMix64).
fn mix(id: u64) -> u64 {
    let id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

/// Points are checked before, so that this is a fault of ours.
fn refused(error: kdtree::ErrorKind) -> cl_core::Error {
    cl_core::Error::invalid("k-d tree", error.to_string())
}
