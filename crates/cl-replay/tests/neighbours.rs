//! Both indexes against a plain loop over all points, and the distances that follow from them.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::neighbours::{BruteForce, KdTree, Neighbour, Neighbours, coverage, neighbours};
use proptest::prelude::*;
use rand::Rng;

fn matrix(points: &[Vec<f32>], d: usize) -> Tensor {
    Tensor::from_vec(points.concat(), (points.len(), d), &Device::Cpu).unwrap()
}

/// All (id, distance) by a loop, nearest first, ties by id. Exact for small whole numbers, whatever the order
/// of the sum.
fn all(held: &[(u64, Vec<f32>)], query: &[f32]) -> Vec<(u64, f64)> {
    let square = |a: &f32, b: &f32| (f64::from(*a) - f64::from(*b)).powi(2);
    let distance = |point: &[f32]| point.iter().zip(query).map(|(a, b)| square(a, b)).sum::<f64>().sqrt();
    let mut all: Vec<_> = held.iter().map(|(id, point)| (*id, distance(point))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all
}

fn pairs(found: &[Neighbour]) -> Vec<(u64, f64)> {
    found.iter().map(|found| (found.id, found.distance)).collect()
}

fn both(d: usize) -> [Box<dyn Neighbours>; 2] {
    [Box::new(KdTree::new(d).unwrap()), Box::new(BruteForce::new(d).unwrap())]
}

/// What happens to an index.
#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<Vec<f32>>),
    /// Parts of the points that are there, each so far into them.
    Remove(Vec<f64>),
}

/// Points on a small grid (many duplicates and equal distances), on a line, or anywhere.
fn steps(d: usize) -> impl Strategy<Value = Vec<Step>> {
    let grid = prop::collection::vec((-2..3i32).prop_map(|x| x as f32), d).boxed();
    let line = (-20..20i32).prop_map(move |x| vec![x as f32; d]).boxed();
    let point = prop_oneof![3 => grid, 2 => line];
    let insert = prop::collection::vec(point, 0..40).prop_map(Step::Insert);
    let remove = prop::collection::vec(0.0..1.0f64, 0..30).prop_map(Step::Remove);
    prop::collection::vec(prop_oneof![3 => insert, 2 => remove], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Duplicates, collinear points, deletions, ids that come again with another point.
    #[test]
    fn both_equal_brute_force(
        (d, steps) in (1..6usize).prop_flat_map(|d| (Just(d), steps(d))),
        k in 0..12usize,
        radius in 0..5u32,
    ) {
        for mut index in both(d) {
            let (mut held, mut free) = (Vec::<(u64, Vec<f32>)>::new(), (0..1000u64).collect::<Vec<_>>());
            for step in &steps {
                match step {
                    Step::Insert(points) => {
                        let ids: Vec<u64> = points.iter().map(|_| free.pop().unwrap()).collect();
                        index.insert(&ids, &matrix(points, d)).unwrap();
                        held.extend(ids.into_iter().zip(points.iter().cloned()));
                    }
                    Step::Remove(parts) => {
                        let mut ids = Vec::new();
                        for part in parts {
                            let at = (part * held.len() as f64) as usize;
                            if at < held.len() {
                                ids.push(held.remove(at).0);
                            }
                        }
                        index.remove(&ids).unwrap();
                        free.extend(ids);
                    }
                }
                prop_assert_eq!(index.len(), held.len());
                let queries: Vec<Vec<f32>> = [-3.0, 0.0, 1.0, 1.5].map(|x| vec![x; d]).to_vec();
                let found = index.k_nearest(&matrix(&queries, d), k).unwrap();
                let within = index.within(&matrix(&queries, d), radius.into()).unwrap();
                for ((query, found), within) in queries.iter().zip(found).zip(within) {
                    let mut expected = all(&held, query);
                    let near: Vec<_> =
                        expected.iter().copied().filter(|&(_, distance)| distance <= radius.into()).collect();
                    expected.truncate(k);
                    prop_assert_eq!(pairs(&found), expected);
                    prop_assert_eq!(pairs(&within), near);
                }
            }
        }
    }

    /// In many dimensions and at any scale and offset: there the product that proposes points is rounded
    /// away, and only the exact comparison can tell them apart.
    #[test]
    fn rounding_does_not_matter(
        d in 1..40usize, n in 1..60u64, k in 1..8usize, scale in -30..18i32, offset in 0..4i32, seed: u64,
    ) {
        let mut rng = cl_core::rng(seed, "points");
        let (scale, offset) = (10f32.powi(scale), 10f32.powi(2 * offset) - 1.0);
        let mut point = || (0..d).map(|_| scale * (offset + rng.random_range(-1.0..1.0f32))).collect::<Vec<_>>();
        let held: Vec<(u64, Vec<f32>)> = (0..n).map(|id| (id, point())).collect();
        let queries = [point(), held[0].1.clone()];
        let (ids, points): (Vec<u64>, Vec<Vec<f32>>) = held.iter().cloned().unzip();
        let mut found = Vec::new();
        for mut index in both(d) {
            index.insert(&ids, &matrix(&points, d)).unwrap();
            let nearest = index.k_nearest(&matrix(&queries, d), k).unwrap();
            let radius = nearest[0].last().unwrap().distance;
            found.push((nearest, index.within(&matrix(&queries, d), radius).unwrap()));
        }
        prop_assert_eq!(&found[0], &found[1], "the two add up in the same order");
        prop_assert!(found[0].1[0].len() >= k.min(n as usize));
        for (query, found) in queries.iter().zip(&found[0].0) {
            for (&(_, expected), found) in all(&held, query).iter().zip(found) {
                prop_assert!((found.distance - expected).abs() <= 1e-12 * expected);
            }
        }
    }
}

/// Sorted points make a tree of the plain kind as deep as it has points; taking them out again leaves nothing.
#[test]
fn sorted_points_do_not_make_a_list_of_the_tree() {
    const N: u64 = 200_000;
    let mut tree = KdTree::new(1).unwrap();
    let points = Tensor::arange(0f32, N as f32, &Device::Cpu).unwrap().unsqueeze(1).unwrap();
    let ids: Vec<u64> = (0..N).collect();
    for start in (0..N as usize).step_by(20_000) {
        let batch = points.narrow(0, start, 20_000).unwrap();
        tree.insert(&ids[start..start + 20_000], &batch).unwrap();
    }
    let start = std::time::Instant::now();
    let queries = points.narrow(0, 0, 10_000).unwrap();
    let nearest = tree.nearest(&queries).unwrap();
    assert!(nearest.iter().zip(0..).all(|(found, id)| (found.id, found.distance) == (id, 0.0)));
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    // One by one, too: 4√n changes wait before the tree is built again.
    for id in 0..1000 {
        tree.remove(&[id]).unwrap();
    }
    assert_eq!(tree.nearest(&queries.narrow(0, 0, 1).unwrap()).unwrap()[0].id, 1000);
    tree.remove(&ids[1000..]).unwrap();
    assert!(tree.is_empty() && tree.nearest(&queries).is_err());
}

#[test]
fn the_dimension_chooses() {
    for d in [1, 10, 11, 64] {
        let mut index = neighbours(d).unwrap();
        assert_eq!((index.dimension(), index.len(), index.is_empty()), (d, 0, true));
        index.insert(&[3], &Tensor::ones((1, d), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let origin = Tensor::zeros((1, d), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(pairs(&index.nearest(&origin).unwrap()), [(3, (d as f64).sqrt())]);
    }
}

#[test]
fn coverage_is_the_mean_and_the_largest_distance() {
    let mut index = neighbours(1).unwrap();
    let queries = Tensor::new(&[[1f32], [4.0], [-2.0], [10.0]], &Device::Cpu).unwrap();
    assert!(coverage(&*index, &queries).is_err(), "nothing to measure a distance to");
    index.insert(&[0, 1], &Tensor::new(&[[0f32], [10.0]], &Device::Cpu).unwrap()).unwrap();
    let coverage_of = |queries: &Tensor| coverage(&*index, queries);
    let found = coverage_of(&queries).unwrap();
    assert_eq!((found.mean, found.max), ((1.0 + 4.0 + 2.0 + 0.0) / 4.0, 4.0));
    assert!(coverage_of(&queries.narrow(0, 0, 0).unwrap()).is_err());
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    assert!(neighbours(0).is_err() && KdTree::new(0).is_err() && BruteForce::new(0).is_err());
    let rows = |values: &[[f32; 2]]| matrix(&values.iter().map(|row| row.to_vec()).collect::<Vec<_>>(), 2);
    for mut index in both(2) {
        index.insert(&[5, 6], &rows(&[[0.0, 0.0], [1.0, 1.0]])).unwrap();
        let said = |error: Error, what: &str| assert!(error.to_string().contains(what), "{error}: {what}");
        said(index.insert(&[7, 7], &rows(&[[0.0, 0.0], [1.0, 1.0]])).unwrap_err(), "7 is given twice");
        said(index.insert(&[7, 6], &rows(&[[0.0, 0.0], [1.0, 1.0]])).unwrap_err(), "point 6 already");
        said(
            index.insert(&[7, 8], &rows(&[[0.0, 0.0], [0.0, f32::NAN]])).unwrap_err(),
            "feature 1 of row 1 is NaN",
        );
        said(index.insert(&[7], &rows(&[[0.0, 0.0], [1.0, 1.0]])).unwrap_err(), "1 points");
        said(index.insert(&[7], &Tensor::new(&[[1f32]], &Device::Cpu).unwrap()).unwrap_err(), "2 features");
        said(index.remove(&[5, 9]).unwrap_err(), "no point 9");
        said(index.remove(&[5, 5]).unwrap_err(), "5 is given twice");
        said(index.within(&rows(&[[0.0, 0.0]]), f64::NAN).unwrap_err(), "radius");
        said(index.within(&rows(&[[0.0, 0.0]]), -1.0).unwrap_err(), "radius");
        said(index.k_nearest(&rows(&[[f32::INFINITY, 0.0]]), 1).unwrap_err(), "feature 0 of row 0 is inf");
        let near = index.within(&rows(&[[0.0, 0.0]]), f64::INFINITY).unwrap();
        assert_eq!(pairs(&near[0]), [(5, 0.0), (6, 2f64.sqrt())]);
    }
}
