//! Streams: what goes where, under which label, and what is done to the inputs.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use candle_core::{Device, Tensor};
use cl_core::{Error, Units};
use cl_data::{
    ClassOrder, DataSet, Pixels, Samples, Scenario, Stream, TaskSamples, TrainSamples, Transform,
    permutations, permuted, rising_angles, rotated, rotation_angles, split, transformed,
};
use proptest::prelude::*;

/// A data set whose inputs are all different: each tells which sample it is.
fn data(n: usize, classes: usize, image: [usize; 3]) -> DataSet {
    let samples = |n: usize, offset: usize| {
        let features: usize = image.iter().product();
        let x: Vec<f32> = (0..n * features).map(|i| (i + offset) as f32).collect();
        // Neither sorted nor in turn.
        let y: Vec<u32> = (0..n).map(|i| (i * i + i / 3) as u32 % classes as u32).collect();
        Samples::new(
            Tensor::from_vec(x, (n, features), &Device::Cpu).unwrap(),
            Tensor::from_vec(y, n, &Device::Cpu).unwrap(),
        )
        .unwrap()
    };
    DataSet { name: "toy".into(), train: samples(n, 0), test: samples(n / 2, 1 << 20), classes, image }
}

/// Samples of a data set, and those of a task as they are trained on.
trait Whole {
    fn whole(&self) -> Samples;
}

impl Whole for Samples {
    fn whole(&self) -> Samples {
        self.clone()
    }
}

impl Whole for TaskSamples {
    fn whole(&self) -> Samples {
        self.all().unwrap()
    }
}

fn inputs(samples: &impl Whole) -> Vec<Vec<f32>> {
    samples.whole().x.to_vec2().unwrap()
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    proptest::sample::select(&Scenario::ALL[..])
}

fn orders() -> impl Strategy<Value = ClassOrder> {
    prop_oneof![Just(ClassOrder::Fixed), any::<u64>().prop_map(ClassOrder::Shuffled)]
}

/// The unit that stands for a class of a task, written down from the papers a second time.
fn unit(stream: &Stream, index: usize, class: u32) -> u32 {
    let place = stream.class_order.iter().position(|&other| other == class).unwrap();
    let share = stream.tasks[index].classes.len();
    match (stream.name.starts_with("split"), stream.scenario) {
        (true, Scenario::Domain) => (place - index * share) as u32,
        (true, _) => place as u32,
        (false, Scenario::Domain) => class,
        (false, _) => (index * share) as u32 + class,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn split_is_a_partition(
        n in 0_usize..80, tasks in 1_usize..6, share in 1_usize..4, scenario in scenarios(), order in orders(),
    ) {
        let data = data(n, tasks * share, [1, 2, 3]);
        let stream = split(&data, tasks, scenario, order).unwrap();
        prop_assert_eq!(stream.tasks.len(), tasks);
        prop_assert_eq!(stream.image, data.image);

        let mut classes = stream.class_order.clone();
        prop_assert_eq!(&classes, &stream.tasks.iter().flat_map(|t| t.classes.clone()).collect::<Vec<_>>());
        classes.sort_unstable();
        prop_assert_eq!(classes, (0..data.classes as u32).collect::<Vec<_>>());

        for train in [true, false] {
            let whole = if train { &data.train } else { &data.test };
            let (all, labels) = (inputs(whole), whole.labels().unwrap());
            let mut visited = 0;
            for (index, task) in stream.tasks.iter().enumerate() {
                let part = if train { &task.train } else { &task.test };
                // The samples of the task's classes, in the order of the data set.
                let mine: Vec<usize> = (0..all.len()).filter(|&i| task.classes.contains(&labels[i])).collect();
                let expected: Vec<Vec<f32>> = mine.iter().map(|&i| all[i].clone()).collect();
                prop_assert_eq!(inputs(part), expected);
                let units: Vec<u32> = mine.iter().map(|&i| unit(&stream, index, labels[i])).collect();
                prop_assert_eq!(part.labels().unwrap(), units);
                prop_assert_eq!(task.index, index);
                visited += part.len();
            }
            prop_assert_eq!(visited, whole.len());
        }
    }

    /// Every label lies in the units among which it is decided, and every unit is some class's.
    #[test]
    fn labels_are_units(tasks in 1_usize..5, share in 1_usize..4, scenario in scenarios(), order in orders(), kind in 0..3) {
        let data = data(60, tasks * share, [1, 3, 3]);
        let stream = match kind {
            0 => split(&data, tasks, scenario, order),
            1 => permuted(&data, tasks, scenario, 5),
            _ => rotated(&data, &rotation_angles(tasks, 180., 5).unwrap(), Pixels::Bilinear, scenario),
        }.unwrap();
        let mut used = HashSet::new();
        for task in &stream.tasks {
            let first = unit(&stream, task.index, task.classes[0]) as usize;
            let own = match scenario {
                Scenario::Task => first..first + task.classes.len(),
                _ => 0..stream.outputs,
            };
            for samples in [&task.train, &task.test] {
                for label in samples.labels().unwrap() {
                    prop_assert_eq!(task.units.range(label as usize, stream.outputs), own.clone());
                    prop_assert!(own.contains(&(label as usize)));
                }
            }
            for (place, &class) in task.classes.iter().enumerate() {
                // Classes are listed in the order of their units.
                prop_assert_eq!(unit(&stream, task.index, class) as usize, first + place);
                used.insert(first + place);
            }
        }
        prop_assert_eq!(used, (0..stream.outputs).collect::<HashSet<_>>());
    }

    #[test]
    fn permutations_are_permutations(seed: u64, tasks in 2_usize..6, scenario in scenarios(), channels in 1_usize..3) {
        let data = data(7, 2, [channels, 4, 5]);
        let stream = permuted(&data, tasks, scenario, seed).unwrap();
        let mut seen = HashSet::new();
        for task in &stream.tasks {
            let Transform::Permutation(permutation) = &*task.transform else { panic!("{:?}", task.transform) };
            prop_assert!(seen.insert(permutation.clone()), "two tasks have the same permutation");
            prop_assert_ne!(permutation, &(0..20).collect::<Vec<_>>());
            let mut sorted = permutation.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..20).collect::<Vec<_>>());
            // The same for every image of training and test, in every channel.
            for (old, new) in [(&data.train, &task.train), (&data.test, &task.test)] {
                for (old, new) in inputs(old).iter().zip(inputs(new)) {
                    for channel in 0..channels {
                        for (to, &from) in permutation.iter().enumerate() {
                            prop_assert_eq!(new[channel * 20 + to], old[channel * 20 + from as usize]);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn scenarios_of_van_de_ven() {
    let data = data(40, 10, [1, 2, 2]);
    let facts =
        |stream: Stream| (stream.outputs, stream.tasks[4].units, stream.tasks[4].train.labels().unwrap());
    let split = |scenario| facts(split(&data, 5, scenario, ClassOrder::Fixed).unwrap());
    let (outputs, units, labels) = split(Scenario::Task);
    assert_eq!((outputs, units), (10, Units::Block(2)));
    assert!(!labels.is_empty() && labels.iter().all(|&label| label == 8 || label == 9), "{labels:?}");
    let (outputs, units, labels) = split(Scenario::Domain);
    assert_eq!((outputs, units), (2, Units::All));
    assert!(!labels.is_empty() && labels.iter().all(|&label| label < 2));
    let (outputs, units, _) = split(Scenario::Class);
    assert_eq!((outputs, units), (10, Units::All));

    let permuted = |scenario| facts(permuted(&data, 5, scenario, 0).unwrap());
    let classes = data.train.labels().unwrap();
    let later: Vec<u32> = classes.iter().map(|class| 40 + class).collect();
    assert_eq!(permuted(Scenario::Task), (50, Units::Block(10), later.clone()));
    assert_eq!(permuted(Scenario::Domain), (10, Units::All, classes));
    assert_eq!(permuted(Scenario::Class), (50, Units::All, later));
}

#[test]
fn class_orders_follow_the_seed() {
    let data = data(20, 10, [1, 1, 1]);
    let order = |order| split(&data, 5, Scenario::Class, order).unwrap().class_order;
    assert_eq!(order(ClassOrder::Fixed), (0..10).collect::<Vec<_>>());
    assert_eq!(order(ClassOrder::Shuffled(3)), order(ClassOrder::Shuffled(3)));
    let distinct: HashSet<_> = (0..50).map(|seed| order(ClassOrder::Shuffled(seed))).collect();
    assert_eq!(distinct.len(), 50);
    // Stored results name a seed: what it stands for must not change with a dependency.
    assert_eq!(order(ClassOrder::Shuffled(0)), [1, 4, 8, 7, 9, 3, 0, 2, 5, 6]);
    let given = [3, 1, 5, 6, 0, 2, 7, 4, 9, 8];
    assert_eq!(order(ClassOrder::Given(given.to_vec())), given);
}

/// Drawn in four threads at once or in this one, in a longer stream or a shorter: the same.
#[test]
fn permutations_depend_on_seed_and_task_alone() {
    let data = data(5, 2, [1, 28, 28]);
    let draw = |tasks, seed| {
        let stream = permuted(&data, tasks, Scenario::Domain, seed).unwrap();
        stream.tasks.into_iter().map(|task| (task.transform, inputs(&task.train))).collect::<Vec<_>>()
    };
    let here = draw(3, 9);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| draw(3, 9))).collect();
        for thread in threads {
            assert!(thread.join().unwrap() == here);
        }
    });
    assert!(draw(5, 9)[..3] == here);
    assert!(draw(3, 10).iter().zip(&here).all(|(other, one)| other.0 != one.0));
    let Transform::Permutation(first) = &*here[0].0 else { panic!() };
    assert_eq!(first[..8], [239, 208, 278, 255, 645, 738, 107, 159]);
}

/// One image, turned.
fn turned(degrees: f32, rows: usize, columns: usize, image: &[f32]) -> Vec<f32> {
    turned_with(Pixels::Bilinear, degrees, rows, columns, image)
}

fn turned_with(pixels: Pixels, degrees: f32, rows: usize, columns: usize, image: &[f32]) -> Vec<f32> {
    let x = Tensor::from_slice(image, (1, rows * columns), &Device::Cpu).unwrap();
    let samples = Samples::new(x, Tensor::zeros(1, candle_core::DType::U32, &Device::Cpu).unwrap()).unwrap();
    inputs(&Transform::Rotation { degrees, pixels }.apply(&samples, [1, rows, columns]).unwrap()).remove(0)
}

#[test]
#[rustfmt::skip]
fn right_angles_are_exact() {
    let image = [1., 2., 3.,
                 4., 5., 6.,
                 7., 8., 9.];
    assert_eq!(turned(0., 3, 3, &image), image);
    assert_eq!(turned(360., 3, 3, &image), image);
    assert_eq!(turned(90., 3, 3, &image), [3., 6., 9.,
                                           2., 5., 8.,
                                           1., 4., 7.]);
    assert_eq!(turned(-90., 3, 3, &image), [7., 4., 1.,
                                            8., 5., 2.,
                                            9., 6., 3.]);
    assert_eq!(turned(180., 2, 3, &image[..6]), [6., 5., 4.,
                                                 3., 2., 1.]);
}

/// By hand: at 45° the new corner of a 3×3 image lies √2 from the centre, on an axis of the old one,
/// outside by √2 − 1; of the edge's pixel remains 1 − (√2 − 1). The middle of an edge comes from
/// (½√2, ½√2).
#[test]
fn in_between_is_bilinear_and_outside_is_zero() {
    let image = [0., 1., 0., 0., 0., 0., 0., 0., 0.];
    let new = turned(45., 3, 3, &image);
    let (r, h) = (2_f32.sqrt(), 0.5_f32.sqrt());
    // The top pixel moves counter-clockwise, to the top left.
    let expected = [2. - r, h * (1. - h), 0., h * (1. - h), 0., 0., 0., 0., 0.];
    for (new, expected) in new.iter().zip(expected) {
        assert!((new - expected).abs() < 1e-6, "{new} {expected}");
    }
    let whole = turned(30., 8, 8, &[1.; 64]);
    assert!(whole.iter().all(|&v| (0. ..=1. + 1e-6).contains(&v)));
    assert_eq!(whole[0], 0.);
    assert!((whole[3 * 8 + 3] - 1.).abs() < 1e-6);
}

#[test]
fn rotated_tasks_turn_train_and_test() {
    let data = cl_data::load("digits").unwrap();
    let stream = rotated(&data, &[0., 40.], Pixels::Bilinear, Scenario::Domain).unwrap();
    assert_eq!(stream.name, "rotated-digits");
    assert_eq!(inputs(&stream.tasks[0].test), inputs(&data.test));
    for (old, new) in [(&data.train, &stream.tasks[1].train), (&data.test, &stream.tasks[1].test)] {
        for row in [0, old.len() - 1] {
            assert_eq!(inputs(new)[row], turned(40., 8, 8, &inputs(old)[row]));
        }
        assert_eq!(new.labels().unwrap(), old.labels().unwrap());
    }
}

/// `Image.rotate` of Pillow 13.0.0.
#[test]
#[rustfmt::skip]
fn nearest_pixels_are_those_of_pil() {
    let image: Vec<f32> = (1..=36).map(|i| i as f32).collect();
    assert_eq!(turned_with(Pixels::Nearest, 30.0, 6, 6, &image), [
                 0.,  3.,  4., 11., 12.,  0.,
                 2.,  3., 10., 11., 18., 18.,
                 8.,  8., 15., 16., 23., 24.,
                13., 14., 21., 22., 29., 29.,
                19., 19., 26., 27., 34., 35.,
                 0., 25., 26., 33., 34.,  0.,
    ]);
    assert_eq!(turned_with(Pixels::Nearest, 137.5, 6, 6, &image), [
                 0., 24., 30., 35., 34.,  0.,
                18., 24., 23., 28., 33., 33.,
                12., 17., 22., 21., 27., 32.,
                 5., 10., 16., 15., 20., 25.,
                 4.,  4.,  9., 14., 13., 19.,
                 0.,  3.,  2.,  7., 13.,  0.,
    ]);
}

#[test]
fn rising_angles_are_one_in_each_part() {
    let angles = rising_angles(20, 180., 3).unwrap();
    for (part, angle) in angles.iter().enumerate() {
        assert!((9. * part as f32..9. * (part + 1) as f32).contains(angle), "{angle} at {part}");
    }
    assert_ne!(rising_angles(20, 180., 4).unwrap(), angles);
}

/// A batch is the rows of the whole, and nothing is copied for all tasks at once.
#[test]
fn rows_of_a_task_are_transformed_as_the_whole() {
    let data = data(40, 4, [1, 3, 3]);
    let stream = permuted(&data, 3, Scenario::Domain, 5).unwrap();
    for samples in stream.tasks.iter().flat_map(|task| [&task.train, &task.test]) {
        let all = inputs(samples);
        let rows = [3, 0, 3, 19];
        let picked = rows.map(|row| all[row as usize].clone());
        assert_eq!(inputs(&samples.gather(&rows).unwrap()), picked);
        assert_eq!(inputs(&samples.slice(2..5).unwrap()), all[2..5]);
        assert_eq!((samples.len(), samples.features(), samples.is_empty()), (all.len(), 9, false));
        assert!(samples.gather(&[40]).is_err() && samples.slice(0..41).is_err());
    }
}

/// Every task draws samples of its own, and is transformed as the whole would be.
#[test]
fn tasks_of_some_training_samples() {
    let data = data(40, 4, [1, 3, 3]);
    let stream = |train| {
        transformed("permuted", &data, permutations(data.image, 3, 5), train, Scenario::Domain).unwrap()
    };
    let (all, some) = (stream(TrainSamples::All), stream(TrainSamples::Drawn { n: 15, seed: 2 }));
    let mut drawn = HashSet::new();
    for (all, some) in all.tasks.iter().zip(&some.tasks) {
        let (pool, labels) = (inputs(&all.train), all.train.labels().unwrap());
        let at = |x: &Vec<f32>| pool.iter().position(|other| other == x).unwrap();
        let rows: Vec<usize> = inputs(&some.train).iter().map(at).collect();
        assert_eq!(rows.iter().collect::<HashSet<_>>().len(), 15);
        assert!(some.train.labels().unwrap().into_iter().eq(rows.iter().map(|&row| labels[row])));
        assert_eq!(inputs(&some.test), inputs(&all.test));
        drawn.insert(rows);
    }
    assert_eq!(drawn.len(), 3);
    for n in [0, 41] {
        let train = TrainSamples::Drawn { n, seed: 0 };
        assert!(
            transformed("permuted", &data, permutations(data.image, 3, 5), train, Scenario::Domain).is_err()
        );
    }
}

#[test]
fn angles_are_uniform_and_seeded() {
    let angles = rotation_angles(1000, 180., 1).unwrap();
    assert!(angles.iter().all(|angle| (0. ..180.).contains(angle)));
    // The mean of 1000 has a standard deviation of 1.6.
    assert!((angles.iter().sum::<f32>() / 1000. - 90.).abs() < 6.);
    assert_eq!(rotation_angles(10, 180., 1).unwrap(), angles[..10]);
    assert_ne!(rotation_angles(10, 180., 2).unwrap(), angles[..10]);
}

#[test]
fn bad_arguments_are_errors() {
    let toy = data(12, 4, [1, 2, 2]);
    let invalid = |result: cl_core::Result<Stream>| match result {
        Err(Error::Invalid { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    for tasks in [0, 3, 5, 8] {
        let why = invalid(split(&toy, tasks, Scenario::Task, ClassOrder::Fixed));
        assert!(why.contains(&format!("{tasks} tasks cannot share 4 classes")), "{why}");
    }
    invalid(permuted(&toy, 0, Scenario::Task, 0));
    invalid(rotated(&toy, &[], Pixels::Bilinear, Scenario::Task));
    invalid(rotated(&toy, &[0., f32::NAN], Pixels::Bilinear, Scenario::Task));
    assert!(rotation_angles(3, f32::INFINITY, 0).is_err());
    assert!(rotation_angles(3, 0., 0).is_err());
    let few = DataSet { classes: 2, ..toy.clone() };
    for wrong in [vec![0, 1, 2], vec![1, 2, 3, 4], vec![0, 1, 2, 2], vec![0, 1, 2, 3, 4]] {
        let order = ClassOrder::Given(wrong);
        let why = invalid(split(&toy, 2, Scenario::Task, order));
        assert!(why.contains("does not name each of the"), "{why}");
    }
    assert!(invalid(split(&few, 2, Scenario::Task, ClassOrder::Fixed)).contains("only 2 classes"));
    invalid(permuted(&few, 2, Scenario::Task, 0));
    let other = DataSet { image: [1, 3, 3], ..toy.clone() };
    assert!(matches!(permuted(&other, 2, Scenario::Task, 0), Err(Error::Mismatch { .. })));
    for permutation in [vec![0, 1, 2], vec![0, 1, 2, 2], vec![0, 1, 2, 4]] {
        assert!(Transform::Permutation(permutation).apply(&toy.train, toy.image).is_err());
    }
}

#[test]
fn scenarios_have_names() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.to_string().parse::<Scenario>().unwrap(), scenario);
        assert_eq!(serde_json::to_string(&scenario).unwrap(), format!("\"{scenario}\""));
    }
    let error = "Task".parse::<Scenario>().unwrap_err().to_string();
    assert_eq!(error, "scenario: `Task` is not one of task, domain, class");
}

#[test]
fn split_tasks_of_some_training_samples() {
    let data = data(40, 4, [1, 3, 3]);
    let all = split(&data, 2, Scenario::Class, ClassOrder::Fixed).unwrap();
    let some = all.clone().with_train(TrainSamples::Drawn { n: 6, seed: 3 }).unwrap();
    for (all, some) in all.tasks.iter().zip(&some.tasks) {
        let pool: Vec<(Vec<f32>, u32)> =
            inputs(&all.train).into_iter().zip(all.train.labels().unwrap()).collect();
        let drawn = inputs(&some.train).into_iter().zip(some.train.labels().unwrap());
        let rows: HashSet<usize> = drawn.map(|one| pool.iter().position(|x| *x == one).unwrap()).collect();
        assert_eq!((rows.len(), some.test.len()), (6, all.test.len()));
    }
    assert!(all.with_train(TrainSamples::Drawn { n: 39, seed: 3 }).is_err());
}

/// Rows of chosen rows are rows of the whole; what is beyond them is an error, of all that reads them.
#[test]
fn rows_of_a_choice_are_those_of_the_whole() {
    let data = data(20, 4, [1, 2, 2]);
    let transforms = permutations(data.image, 2, 5);
    let stream = transformed("permuted", &data, transforms, TrainSamples::All, Scenario::Domain).unwrap();
    let whole = &stream.tasks[1].train;
    let rows = |samples: Samples| (samples.x.to_vec2::<f32>().unwrap(), samples.labels().unwrap());
    let chosen = whole.choose(&[7, 3, 3, 11]).unwrap();
    assert_eq!((chosen.len(), chosen.is_empty(), chosen.features()), (4, false, whole.features()));
    assert_eq!(rows(chosen.all().unwrap()), rows(whole.gather(&[7, 3, 3, 11]).unwrap()));
    assert_eq!(chosen.labels().unwrap(), whole.gather(&[7, 3, 3, 11]).unwrap().labels().unwrap());
    assert_eq!(rows(chosen.gather(&[3, 0]).unwrap()), rows(whole.gather(&[11, 7]).unwrap()));
    assert_eq!(rows(chosen.slice(1..3).unwrap()), rows(whole.gather(&[3, 3]).unwrap()));
    assert_eq!(rows(chosen.first(2).unwrap().all().unwrap()), rows(whole.gather(&[7, 3]).unwrap()));
    assert_eq!(rows(whole.first(1000).unwrap().all().unwrap()), rows(whole.all().unwrap()));
    assert!(chosen.choose(&[4]).unwrap_err().to_string().contains("row: 4, but there are 4"));
    assert!(chosen.gather(&[4]).is_err() && chosen.slice(3..5).is_err());
}
