//! MNIST-360: which samples come when, and how far they are turned.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use candle_core::{Device, Tensor};
use cl_data::{DataSet, Pixels, Samples, Stream, Transform, three_sixty};

/// Images of 3 × 3 pixels, of which the middle one stays where it is: it tells which sample it is.
fn data(per_class: &[usize]) -> DataSet {
    let samples = |first: usize, times: usize| {
        // Class by class in turn, as long as there are any.
        let rounds = 0..per_class.iter().max().unwrap() * times;
        let y: Vec<u32> = rounds
            .flat_map(|i| (0..per_class.len()).filter(move |&c| i < per_class[c] * times).map(|c| c as u32))
            .collect();
        let x: Vec<f32> = (0..y.len() * 9).map(|i| (first + i) as f32 + 1.0).collect();
        let x = Tensor::from_vec(x, (y.len(), 9), &Device::Cpu).unwrap();
        Samples::new(x, Tensor::from_iter(y, &Device::Cpu).unwrap()).unwrap()
    };
    let (train, test) = (samples(0, 10), samples(1 << 20, 1));
    DataSet { name: "toy".into(), train, test, classes: per_class.len(), image: [1, 3, 3] }
}

/// Class, the row of the data set, and the image, of each training or test sample.
fn rows(samples: &Samples, plain: &Samples) -> Vec<(usize, usize, Vec<f32>)> {
    let plain = plain.x.to_vec2::<f32>().unwrap();
    let (x, y) = (samples.x.to_vec2::<f32>().unwrap(), samples.labels().unwrap());
    let row = |image: &Vec<f32>| plain.iter().position(|plain| plain[4] == image[4]).unwrap();
    x.into_iter().zip(y).map(|(image, class)| (class as usize, row(&image), image)).collect()
}

fn turned(plain: &Samples, row: usize, degrees: f64) -> Vec<f32> {
    let rotation = Transform::Rotation { degrees: degrees as f32, pixels: Pixels::Nearest };
    let turned = rotation.apply(&plain.gather(&[row as u32]).unwrap(), [1, 3, 3]).unwrap();
    turned.x.to_vec2().unwrap().remove(0)
}

fn train(stream: &Stream) -> Samples {
    stream.tasks[0].train.all().unwrap()
}

/// The stream written down once more, from the description.
#[test]
fn pairs_of_neighbours_come_in_turn_and_turn() {
    let (classes, rounds, sizes) = (5, 3, [9, 7, 12, 8, 10, 4]);
    let data = data(&sizes);
    let stream = three_sixty(&data, classes, rounds, 1).unwrap();
    assert_eq!((stream.outputs, stream.tasks.len(), stream.name.as_str()), (6, 1, "toy-360"));
    let seen = rows(&train(&stream), &data.train);
    let n: Vec<usize> = (0..classes).map(|class| 10 * sizes[class]).collect();
    let labels = data.train.labels().unwrap();
    let of_class = |class: usize| -> Vec<usize> {
        (0..labels.len()).filter(|&row| labels[row] as usize == class).collect()
    };
    let (mut shown, mut visits, mut at) = (vec![0; classes], vec![0; classes], 0);
    for pair in 0..rounds * classes {
        let now = [pair % classes, (pair + 1) % classes];
        let shares = now.map(|class| {
            let (n, visit) = (n[class], visits[class]);
            visits[class] += 1;
            of_class(class)[n * visit / 6..n * (visit + 1) / 6].to_vec()
        });
        let total = shares[0].len() + shares[1].len();
        let mut came = [0, 0];
        for (class, row, image) in &seen[at..at + total] {
            let of = now.iter().position(|other| other == class).unwrap();
            came[of] += 1;
            assert!(shares[of].contains(row), "pair {pair}: a sample of another share");
            let angle = 60.0 * (*class as f64 - 1.0) + 360.0 * shown[*class] as f64 / n[*class] as f64;
            assert_eq!(*image, turned(&data.train, *row, angle), "pair {pair}, {angle}°");
            shown[*class] += 1;
            // Both are used up together.
            let part = |of: usize| f64::from(came[of]) / shares[of].len() as f64;
            assert!((part(0) - part(1)).abs() <= 10.0 / total as f64 + 0.35, "pair {pair}: {came:?}");
        }
        assert_eq!(came.map(|n| n as usize), [shares[0].len(), shares[1].len()], "pair {pair}");
        at += total;
    }
    assert_eq!((at, &shown), (seen.len(), &n));
    assert!(visits.iter().all(|&visits| visits == 6));
}

/// All test samples of the classes once, each class at all angles.
#[test]
fn test_samples_come_once() {
    let sizes = [40, 30, 20];
    let data = data(&sizes);
    let stream = three_sixty(&data, 2, 1, 1).unwrap();
    let seen = rows(&stream.tasks[0].test.all().unwrap(), &data.test);
    let distinct: HashSet<usize> = seen.iter().map(|(_, row, _)| *row).collect();
    assert_eq!((seen.len(), distinct.len()), (70, 70));
    // Not class by class, nor in their old order: a part of them stands for all.
    assert!(seen[..20].iter().any(|s| s.0 == 0) && seen[..20].iter().any(|s| s.0 == 1));
    for (class, &size) in sizes.iter().enumerate().take(2) {
        // Each sample is turned by one of the angles, and each right angle is there.
        let of: Vec<_> = seen.iter().filter(|s| s.0 == class).collect();
        assert_eq!(of.len(), size);
        for right in [0, 1, 2, 3].into_iter().filter(|right| size * right % 4 == 0) {
            let angle = 90.0 * right as f64;
            assert!(of.iter().any(|(_, row, image)| *image == turned(&data.test, *row, angle)), "{angle}°");
        }
    }
}

/// Draws with replacement see 1 − 1/e of the samples: 632 of 1000, with a deviation below √(1000·e⁻¹(1 − 2/e)) = 9.9.
#[test]
fn samples_are_drawn_with_replacement() {
    let data = data(&[50, 50]);
    let seen = |seed| {
        let stream = three_sixty(&data, 2, 1, seed).unwrap();
        rows(&train(&stream), &data.train).into_iter().map(|(_, row, _)| row).collect::<Vec<_>>()
    };
    let one = seen(1);
    let distinct = one.iter().collect::<HashSet<_>>().len();
    assert!(one.len() == 1000 && (592..=672).contains(&distinct), "{distinct}");
    assert_eq!(one, seen(1));
    assert_ne!(one, seen(2));
}

#[test]
fn what_cannot_be_shared_is_an_error() {
    let data = data(&[2, 3]);
    for (classes, rounds, says) in [
        (1, 3, "1: 2 to the 2 there are"),
        (3, 3, "3: 2 to the 2 there are"),
        (2, 0, "0: at least 1"),
        (2, 11, "20 samples of class 0 cannot be shared by 22 pairs"),
        (2, usize::MAX, "cannot be shared"),
    ] {
        let error = three_sixty(&data, classes, rounds, 0).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
