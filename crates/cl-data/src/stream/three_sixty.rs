//! A stream without tasks: two classes at a time, which turn slowly (MNIST-360, Buzzega et al. 2020).

use std::sync::Arc;

use cl_core::{Error, Result, Rng, Units};
use rand::Rng as _;
use rand::seq::SliceRandom;

use super::{Pixels, Scenario, Stream, Task, Transform, labels};
use crate::{DataSet, Samples};

/// One task, to be seen in order ([`Order::AsGiven`](crate::Order::AsGiven)), in which nothing tells where something new
/// begins: pairs of neighbouring classes 0 and 1, 1 and 2, …, the last and 0, and again, `rounds` times, of the first
/// `classes` classes. All the while the images turn, each class by a full circle over the stream.
///
/// Each class is in two pairs a round, with a share of its samples in each. A pair takes them in turn, in proportion to what
/// is left of both, and draws each from the share **with replacement**, as the authors' code does: about three fifths of the
/// samples are ever seen. The angle of a class grows with every sample of it, by 360° over their number, and begins so that
/// both classes of a pair are about equally turned: at 360°·(class − 1)/(2·rounds).
///
/// Test samples are each there once, in an order drawn, at angles evenly spread over the circle in each class. Labels are the
/// classes; the output units are those of all classes of the data set.
///
/// The inputs are turned here: a copy of the data set. What is drawn comes from the seed.
///
/// # Errors
/// [`Error::Invalid`] for less than two classes, or more than there are, no rounds, and a class with too few samples for a
/// share in each of its pairs.
pub fn three_sixty(data: &DataSet, classes: usize, rounds: usize, seed: u64) -> Result<Stream> {
    if classes < 2 || classes > data.classes {
        return Err(Error::invalid("classes", format!("{classes}: 2 to the {} there are", data.classes)));
    }
    let visits = rounds.saturating_mul(2);
    let train = rows_by_class(data, &data.train, classes)?;
    let test = rows_by_class(data, &data.test, classes)?;
    if let Some((class, rows)) = train.iter().enumerate().find(|(_, rows)| rows.len() < visits) {
        let why = format!("{} samples of class {class} cannot be shared by {visits} pairs", rows.len());
        return Err(Error::invalid("rounds", why));
    }
    if rounds == 0 {
        return Err(Error::invalid("rounds", "0: at least 1"));
    }

    let rng = &mut cl_core::rng(seed, "samples of pairs");
    let mut shown = vec![0; classes];
    let mut turned = Vec::new();
    for pair in 0..rounds * classes {
        let now = [pair % classes, (pair + 1) % classes];
        let shares = now.map(|class| {
            let rows = &train[class];
            // The first class begins in the first pair and in the last of a round, all others as the second of a pair.
            let visit = 2 * (pair / classes) + usize::from((pair % classes == class) != (class == 0));
            &rows[rows.len() * visit / visits..rows.len() * (visit + 1) / visits]
        });
        for of in in_turn(shares.map(<[u32]>::len)) {
            let (class, share) = (now[of], shares[of]);
            let begin = 360.0 * (class as f64 - 1.0) / visits as f64;
            let angle = begin + 360.0 * f64::from(shown[class]) / train[class].len() as f64;
            shown[class] += 1;
            turned.push((share[rng.random_range(0..share.len())], angle));
        }
    }
    let train = turn(data, &data.train, &turned)?;
    let test = turn(data, &data.test, &test_angles(test, &mut cl_core::rng(seed, "test samples")))?;

    let classes: Vec<u32> = (0..classes as u32).collect();
    let task = Task {
        index: 0,
        classes: classes.clone(),
        units: Units::All,
        transform: Arc::new(Transform::None),
        train: train.into(),
        test: test.into(),
    };
    Ok(Stream {
        name: format!("{}-360", data.name),
        scenario: Scenario::Domain,
        tasks: vec![task],
        outputs: data.classes,
        class_order: classes,
        image: data.image,
    })
}

/// The rows of each of the first classes.
fn rows_by_class(data: &DataSet, samples: &Samples, classes: usize) -> Result<Vec<Vec<u32>>> {
    let mut rows = vec![Vec::new(); classes];
    for (row, class) in (0..).zip(labels(data, samples)?) {
        if let Some(rows) = rows.get_mut(class as usize) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// 0 or 1, so many times each: always the one of which more is left.
fn in_turn([mut first, mut second]: [usize; 2]) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if first > second {
            first -= 1;
            return Some(0);
        }
        second = second.checked_sub(1)?;
        Some(1)
    })
}

/// All rows in an order drawn, those of each class at angles that divide the circle evenly.
fn test_angles(rows: Vec<Vec<u32>>, rng: &mut Rng) -> Vec<(u32, f64)> {
    let mut all = Vec::new();
    for mut rows in rows {
        rows.shuffle(rng);
        let n = rows.len() as f64;
        all.extend((0u32..).zip(rows).map(|(i, row)| (row, 360.0 * f64::from(i) / n)));
    }
    all.shuffle(rng);
    all
}

/// These rows, each turned by its angle.
fn turn(data: &DataSet, samples: &Samples, turned: &[(u32, f64)]) -> Result<Samples> {
    let parts = turned
        .iter()
        .map(|&(row, angle)| {
            let rotation =
                Transform::Rotation { degrees: angle.rem_euclid(360.0) as f32, pixels: Pixels::Nearest };
            rotation.apply(&samples.gather(&[row])?, data.image)
        })
        .collect::<Result<Vec<_>>>()?;
    Samples::concat(&parts.iter().collect::<Vec<_>>())
}
