//! Nearest neighbours of features: what lies close to a sample, and how well a memory covers a stream.
//!
//! Two structures behind one trait, [`Neighbours`], with equal answers: [`KdTree`] for few dimensions, and
//! [`BruteForce`] where a tree would look at nearly everything. [`neighbours`] chooses by the dimension.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_replay::neighbours::{coverage, neighbours};
//!
//! let mut memory = neighbours(2)?;
//! memory.insert(&[7, 8], &Tensor::new(&[[0f32, 0.0], [3.0, 4.0]], &Device::Cpu)?)?;
//! let queries = Tensor::new(&[[3f32, 3.0], [0.0, 1.0]], &Device::Cpu)?;
//! let nearest = memory.nearest(&queries)?;
//! assert_eq!((nearest[0].id, nearest[0].distance), (8, 1.0));
//! assert_eq!(coverage(&*memory, &queries)?.max, 1.0);
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! Distances are Euclidean, between f32 features, added up in f64. An index is not saved: it is made again
//! from the features of what the memory holds.

mod brute_force;
mod kd_tree;

use candle_core::Tensor;
use cl_core::{Error, Result};

pub use brute_force::BruteForce;
pub use kd_tree::KdTree;

use crate::points::Points;

/// Up to here the tree is faster. With 50 000 keys it took a third of the time of brute force in 8
/// dimensions, and nine times as long in 16.
const TREE_DIMENSIONS: usize = 10;

/// A point that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// The number under which it was inserted.
    pub id: u64,
    /// Euclidean.
    pub distance: f64,
}

impl Neighbour {
    /// Nearest first; of equally near ones the smallest number.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.id.cmp(&other.id))
    }
}

/// Points that can be asked for the nearest ones. Every answer is exact and sorted: nearest first, of
/// equally near ones the smallest id first.
pub trait Neighbours {
    /// The number of features of a point.
    fn dimension(&self) -> usize;

    /// The number of points.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `points` (n, d), of any float dtype, under `ids`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another shape or number of ids, [`Error::Invalid`] on an id that is there
    /// already or twice in `ids`, and on a feature that is not finite. Nothing is added then.
    fn insert(&mut self, ids: &[u64], points: &Tensor) -> Result<()>;

    /// Takes points out.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an id that is not there, or twice in `ids`. Nothing is removed then.
    fn remove(&mut self, ids: &[u64]) -> Result<()>;

    /// For each of `queries` (n, d), the `k` nearest points; all of them where there are less than `k`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another shape, [`Error::Invalid`] on a feature that is not finite.
    fn k_nearest(&self, queries: &Tensor, k: usize) -> Result<Vec<Vec<Neighbour>>>;

    /// For each of `queries` (n, d), the points at a distance of `radius` or less.
    ///
    /// # Errors
    /// As [`k_nearest`](Self::k_nearest), and on a radius that is negative or NaN.
    fn within(&self, queries: &Tensor, radius: f64) -> Result<Vec<Vec<Neighbour>>>;

    /// For each of `queries` (n, d), the nearest point.
    ///
    /// # Errors
    /// As [`k_nearest`](Self::k_nearest), and where there are no points.
    fn nearest(&self, queries: &Tensor) -> Result<Vec<Neighbour>> {
        if self.is_empty() {
            return Err(Error::invalid("neighbours", "there are no points; insert some first"));
        }
        let nearest = self.k_nearest(queries, 1)?;
        Ok(nearest.into_iter().flatten().collect())
    }
}

/// An empty index for points of `dimension` features: the tree up to ten of them, brute force above.
///
/// Clustered points are an exception that the dimension does not tell: there a [`KdTree`] can be the faster
/// one up to a hundred dimensions.
///
/// # Errors
/// [`Error::Invalid`] on a dimension of zero.
pub fn neighbours(dimension: usize) -> Result<Box<dyn Neighbours>> {
    Ok(if dimension <= TREE_DIMENSIONS {
        Box::new(KdTree::new(dimension)?)
    } else {
        Box::new(BruteForce::new(dimension)?)
    })
}

/// How far samples are from the nearest one in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// The mean over the samples.
    pub mean: f64,
    /// The farthest: the radius within which the memory covers all of them.
    pub max: f64,
}

/// How well `memory` covers `queries` (n, d).
///
/// # Errors
/// As [`Neighbours::nearest`], and on no queries.
pub fn coverage(memory: &dyn Neighbours, queries: &Tensor) -> Result<Coverage> {
    let nearest = memory.nearest(queries)?;
    if nearest.is_empty() {
        return Err(Error::invalid("coverage", "no samples to cover"));
    }
    let distances = nearest.iter().map(|found| found.distance);
    Ok(Coverage {
        mean: distances.clone().sum::<f64>() / nearest.len() as f64,
        max: distances.fold(0.0, f64::max),
    })
}

fn check_dimension(dimension: usize) -> Result<usize> {
    match dimension {
        0 => Err(Error::invalid("dimension", "a point has at least one feature")),
        _ => Ok(dimension),
    }
}

/// The points to be inserted under `ids`, none of which is there.
fn check_insert(
    ids: &[u64],
    points: &Tensor,
    dimension: usize,
    held: impl Fn(u64) -> bool,
) -> Result<Points> {
    let points = Points::new("insert", points, Some(dimension))?;
    if points.len() != ids.len() {
        return Err(Error::mismatch(
            "insert",
            format!("{} points, one an id", ids.len()),
            points.len().to_string(),
        ));
    }
    check_distinct("insert", ids)?;
    match ids.iter().find(|&&id| held(id)) {
        Some(id) => Err(Error::invalid("insert", format!("there is a point {id} already; remove it first"))),
        None => Ok(points),
    }
}

/// Whether all of `ids` are there.
fn check_remove(ids: &[u64], held: impl Fn(u64) -> bool) -> Result<()> {
    check_distinct("remove", ids)?;
    match ids.iter().find(|&&id| !held(id)) {
        Some(id) => Err(Error::invalid("remove", format!("there is no point {id}"))),
        None => Ok(()),
    }
}

fn check_distinct(what: &str, ids: &[u64]) -> Result<()> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid(what, format!("id {} is given twice", pair[0]))),
        None => Ok(()),
    }
}

fn check_radius(radius: f64) -> Result<()> {
    match radius >= 0.0 {
        true => Ok(()),
        false => Err(Error::invalid("radius", format!("{radius} is not a distance of zero or more"))),
    }
}
