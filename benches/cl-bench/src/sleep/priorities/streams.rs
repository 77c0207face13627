//! What comes, day by day, and what is asked at the end.

use candle_core::Tensor;
use cl_core::{Result, Rng};
use cl_data::{DataSet, Samples};
use cl_sleep::Sleep;
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use super::{Of, Sizes};

/// A day.
pub struct Segment {
    pub samples: Samples,
    pub salience: Vec<f32>,
    pub importance: Vec<f32>,
    /// How often it is gone through.
    pub passes: usize,
}

impl Segment {
    fn plain(samples: Samples, passes: usize) -> Self {
        let n = samples.len();
        Self { samples, salience: vec![0.0; n], importance: vec![1.0; n], passes }
    }
}

/// A question at the end.
pub struct Exam {
    pub name: &'static str,
    pub samples: Samples,
    /// Whether it is a part of the score.
    pub counts: bool,
}

pub struct Stream {
    pub segments: Vec<Segment>,
    pub exams: Vec<Exam>,
    /// How many experiences can be kept.
    pub memory: usize,
    pub night: Sleep,
    /// Whether what came on other days is true no more.
    changes: bool,
}

/// Ten experiences a cycle.
fn night(cycles: usize) -> Sleep {
    Sleep { cycles, batch: 10, ..Sleep::default() }
}

impl Stream {
    pub fn new(of: Of, data: &DataSet, sizes: &Sizes, seed: u64) -> Result<Self> {
        let rng = &mut cl_core::rng(seed, "stream");
        match of {
            Of::Tagged => tagged(data, sizes, rng),
            Of::Exceptions => exceptions(data, sizes, rng),
            Of::Changing => changing(data, sizes, rng),
            Of::Overwriting => overwriting(data, sizes, rng),
            Of::Crowded => crowded(data, sizes, rng),
        }
    }

    /// What is to be known after a day: what came so far and is still true.
    pub fn seen(&self, day: usize) -> Result<Samples> {
        let from = if self.changes { day } else { 0 };
        let days: Vec<&Samples> = self.segments[from..=day].iter().map(|segment| &segment.samples).collect();
        Samples::concat(&days)
    }
}

/// Images with labels that nothing but memory can tell.
fn lists(data: &DataSet, sizes: &Sizes, passes: usize, rng: &mut Rng) -> Result<Vec<Segment>> {
    let all = any(&data.train, sizes.lists * sizes.list, rng)?;
    let all = labelled(&all, |_, _| rng.random_range(0..10))?;
    let list = |at: usize| Ok(Segment::plain(all.slice(at * sizes.list..(at + 1) * sizes.list)?, passes));
    (0..sizes.lists).map(list).collect()
}

fn tagged(data: &DataSet, sizes: &Sizes, rng: &mut Rng) -> Result<Stream> {
    let mut segments = lists(data, sizes, 30, rng)?;
    for segment in &mut segments {
        let half = sizes.list / 2;
        segment.salience[..half].fill(1.0);
        segment.salience.shuffle(rng);
    }
    // The last list has not been slept over but once, and nothing came after it.
    let old = &segments[..sizes.lists - 1];
    let with = |tag: f32| -> Result<Samples> {
        let of = |segment: &Segment| {
            let rows = segment.salience.iter().zip(0u32..).filter(|(s, _)| **s == tag).map(|(_, row)| row);
            segment.samples.gather(&rows.collect::<Vec<_>>())
        };
        let parts = old.iter().map(of).collect::<Result<Vec<_>>>()?;
        Samples::concat(&parts.iter().collect::<Vec<_>>())
    };
    let exams = vec![
        Exam { name: "tagged", samples: with(1.0)?, counts: true },
        Exam { name: "untagged", samples: with(0.0)?, counts: false },
    ];
    Ok(Stream { segments, exams, memory: sizes.list, night: night(sizes.list), changes: false })
}

fn exceptions(data: &DataSet, sizes: &Sizes, rng: &mut Rng) -> Result<Stream> {
    let n = 5 * sizes.day;
    let mut odd: Vec<bool> = (0..n).map(|at| at % 10 == 0).collect();
    odd.shuffle(rng);
    let all = any(&data.train, n, rng)?;
    let all = labelled(&all, |at, y| if odd[at] { (y + rng.random_range(1..10)) % 10 } else { y })?;
    let rows: Vec<u32> = odd.iter().zip(0u32..).filter(|(odd, _)| **odd).map(|(_, row)| row).collect();
    let exams = vec![
        Exam { name: "rule", samples: any(&data.test, sizes.exam, rng)?, counts: true },
        Exam { name: "exceptions", samples: all.gather(&rows)?, counts: true },
    ];
    let day = |at: usize| Ok(Segment::plain(all.slice(at * sizes.day..(at + 1) * sizes.day)?, 2));
    let segments = (0..5).map(day).collect::<Result<_>>()?;
    Ok(Stream { segments, exams, memory: n, night: night(2 * sizes.day / 3), changes: false })
}

fn changing(data: &DataSet, sizes: &Sizes, rng: &mut Rng) -> Result<Stream> {
    let mut segments = Vec::new();
    let mut rule: Vec<u32> = (0..10).collect();
    for _ in 0..4 {
        rule.shuffle(rng);
        let mut sure: Vec<bool> = (0..sizes.day).map(|at| at % 2 == 0).collect();
        sure.shuffle(rng);
        let images = any(&data.train, sizes.day, rng)?;
        let samples =
            labelled(&images, |at, y| if sure[at] { rule[y as usize] } else { rng.random_range(0..10) })?;
        let importance = sure.iter().map(|sure| if *sure { 1.0 } else { 0.1 }).collect();
        segments.push(Segment { importance, ..Segment::plain(samples, 2) });
    }
    let now = labelled(&any(&data.test, sizes.exam, rng)?, |_, y| rule[y as usize])?;
    let exams = vec![Exam { name: "now", samples: now, counts: true }];
    Ok(Stream { segments, exams, memory: 2 * sizes.day, night: night(sizes.day / 2), changes: true })
}

/// Upper halves of five digits, lower halves of three, and then of two more, which the lower ones suffer from.
fn overwriting(data: &DataSet, sizes: &Sizes, rng: &mut Rng) -> Result<Stream> {
    let day = sizes.day * 2 / 15;
    let (mut segments, mut exams) = (Vec::new(), Vec::new());
    let [height, width] = [data.image[1], data.image[2]];
    for (name, digits, upper, days, counts) in [
        ("apart", 0..5, true, 20, true),
        ("overwritten", 0..3, false, 5, true),
        ("new", 3..5, false, 20, false),
    ] {
        let mask: Vec<f32> = (0..height * width)
            .map(|at| if (at / width < height / 2) == upper { 1.0 } else { 0.0 })
            .collect();
        // The lower halves are classes of their own.
        let first = if upper { 0 } else { 5 };
        let mut halves = |of: &Samples, n: usize| -> Result<Samples> {
            let images = any(&only(of, digits.clone())?, n, rng)?;
            let mask = Tensor::from_slice(&mask, mask.len(), images.x.device())?;
            labelled(&Samples::new(images.x.broadcast_mul(&mask)?, images.y)?, |_, y| first + y)
        };
        for _ in 0..days {
            segments.push(Segment::plain(halves(&data.train, day)?, 1));
        }
        exams.push(Exam { name, samples: halves(&data.test, sizes.exam * 4 / 5)?, counts });
    }
    Ok(Stream { segments, exams, memory: 45 * day, night: night(4), changes: false })
}

fn crowded(data: &DataSet, sizes: &Sizes, rng: &mut Rng) -> Result<Stream> {
    let segments = lists(data, sizes, 1, rng)?;
    let all: Vec<&Samples> = segments.iter().map(|segment| &segment.samples).collect();
    let exams = vec![Exam { name: "lists", samples: Samples::concat(&all)?, counts: true }];
    let memory = sizes.list * sizes.lists;
    Ok(Stream { segments, exams, memory, night: night(5 * sizes.list / 2), changes: false })
}

/// `n` of them at random, or all where there are not so many.
fn any(of: &Samples, n: usize, rng: &mut Rng) -> Result<Samples> {
    let mut rows: Vec<u32> = (0..of.len() as u32).collect();
    let n = n.min(rows.len());
    rows.partial_shuffle(rng, n);
    of.gather(&rows[..n])
}

/// Those of these classes.
fn only(of: &Samples, classes: std::ops::Range<u32>) -> Result<Samples> {
    let rows = of.labels()?.into_iter().zip(0u32..).filter(|(y, _)| classes.contains(y)).map(|(_, row)| row);
    of.gather(&rows.collect::<Vec<_>>())
}

/// With the labels that `f` makes of row and label.
fn labelled(of: &Samples, mut f: impl FnMut(usize, u32) -> u32) -> Result<Samples> {
    let y: Vec<u32> = of.labels()?.into_iter().enumerate().map(|(row, y)| f(row, y)).collect();
    Samples::new(of.x.clone(), Tensor::from_vec(y, of.len(), of.x.device())?)
}
