//! Permuted streams: each task shuffles the pixels in a way of its own.

use cl_core::Result;
use rand::seq::SliceRandom;

use super::{Scenario, Stream, TrainSamples, Transform, transformed};
use crate::DataSet;

/// `tasks` tasks, each with all classes and one permutation of the pixels, the same for every image,
/// training and test, and for every channel.
///
/// The permutation of task `t` depends on the seed and on `t` alone. The first task is permuted, too,
/// as in van de Ven et al. 2022 (elsewhere it sometimes is not). Labels: the class in the domain
/// scenario, where all tasks share the output units; `t·classes + class` in the others, where each has
/// units of its own.
///
/// All tasks share one copy of the data set. For papers that take part of it there is [`transformed`].
///
/// # Errors
/// [`Error::Invalid`](cl_core::Error::Invalid) for no tasks.
pub fn permuted(data: &DataSet, tasks: usize, scenario: Scenario, seed: u64) -> Result<Stream> {
    transformed("permuted", data, permutations(data.image, tasks, seed), TrainSamples::All, scenario)
}

/// The permutations of [`permuted`], for images of these channels, rows and columns.
pub fn permutations(image: [usize; 3], tasks: usize, seed: u64) -> Vec<Transform> {
    let [_, rows, columns] = image;
    let permutation = |task| {
        let mut permutation: Vec<u32> = (0..(rows * columns) as u32).collect();
        permutation.shuffle(&mut cl_core::rng(seed, &format!("pixel permutation {task}")));
        Transform::Permutation(permutation)
    };
    (0..tasks).map(permutation).collect()
}
