//! Answers and experiences at fixed times, and how late they are.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use cl_core::Result;
use cl_sleep::State;
use cl_sleep::service::Service;

use crate::mind::{Digits, World, accuracy};

/// 1,000 answers a second.
const ANSWER: Duration = Duration::from_millis(1);
/// 100 experiences a second.
const EXPERIENCE: Duration = Duration::from_millis(10);

/// Does something every `period` as long as `going` says, and tells how long after it was due it was done: what waits behind
/// something slow is late as well.
fn every(
    period: Duration,
    going: &dyn Fn() -> bool,
    mut what: impl FnMut(usize) -> Result<()>,
    mut done: impl FnMut(Duration) -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    for number in 0.. {
        let due = begun + period * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if !going() {
            break;
        }
        what(number as usize)?;
        done(due.elapsed())?;
    }
    Ok(())
}

/// Answers what is asked about the test digits; `done` is told how late each answer was, and whether the mind was asleep.
pub fn answer(
    service: &Service<Digits>,
    world: &World,
    going: &dyn Fn() -> bool,
    mut done: impl FnMut(Duration, bool) -> Result<()>,
) -> Result<()> {
    let questions: Vec<Tensor> =
        (0..world.test.len()).map(|row| Ok(world.test.slice(row..row + 1)?.x)).collect::<Result<_>>()?;
    let answer = |number: usize| {
        let question = &questions[number % questions.len()];
        let class = service.model().predict(question)?.argmax(1)?.to_vec1::<u32>()?;
        std::hint::black_box(class);
        Ok(())
    };
    every(ANSWER, going, answer, |late| done(late, service.health().state == State::Asleep))
}

/// Experiences the digits from where the journal ends.
pub fn experience(
    service: &Service<Digits>,
    world: &World,
    going: &dyn Fn() -> bool,
    mut done: impl FnMut(Duration, u64) -> Result<()>,
) -> Result<()> {
    let end = std::cell::Cell::new(service.health().acknowledged);
    let experience = |_| {
        let [x, y] = world.experience(end.get())?;
        end.set(service.experience(&[&x, &y])?.end);
        Ok(())
    };
    every(EXPERIENCE, going, experience, |late| done(late, end.get()))
}

pub fn measure(folder: &Path, time: Duration) -> Result<()> {
    let (world, service) = (World::new()?, crate::open(folder)?);
    let mut versions = vec![service.model()];
    let (mut awake, mut asleep, mut acknowledged) = (Vec::new(), Vec::new(), Vec::new());
    let (begun, over) = (Instant::now(), AtomicBool::new(false));
    let mut seconds = 0.0;
    let going = || !over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let experience = scope.spawn(|| {
            experience(&service, &world, &going, |late, _| {
                acknowledged.push(late);
                Ok(())
            })
        });
        let answered = answer(&service, &world, &|| begun.elapsed() < time, |late, was_asleep| {
            let all = if was_asleep { &mut asleep } else { &mut awake };
            all.push(late);
            let model = service.model();
            if versions.last().is_none_or(|last| last.version != model.version) {
                versions.push(model);
            }
            Ok(())
        });
        seconds = begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        answered.and(experience.join().expect("it does not panic"))
    })?;
    let health = service.health();
    println!(
        "{:.0} answers a second, from when they were due, in µs:",
        (awake.len() + asleep.len()) as f64 / seconds
    );
    println!("{:>14} {:>8} {:>8} {:>8} {:>8} {:>8}", "", "n", "p50", "p99", "p99.9", "max");
    for (what, late) in [("awake", awake), ("asleep", asleep), ("acknowledged", acknowledged)] {
        println!("{what:>14} {}", quantiles(late));
    }
    println!("{} experiences acknowledged, {} taken in", health.acknowledged, health.taken);
    for served in versions {
        let right = 100.0 * accuracy(&served, &world.test)?;
        println!(
            "version {:2}, of {:4} experiences: {right:4.1} % of the test digits",
            served.version, served.experiences
        );
    }
    Ok(())
}

/// How many, and three quantiles and the largest of them in µs.
pub fn quantiles(mut late: Vec<Duration>) -> String {
    late.sort_unstable();
    let at = |part: f64| {
        let rank = ((late.len() as f64 * part).ceil() as usize).clamp(1, late.len().max(1)) - 1;
        late.get(rank).map_or(0, Duration::as_micros)
    };
    let n = late.len();
    format!("{n:8} {:8} {:8} {:8} {:8}", at(0.5), at(0.99), at(0.999), at(1.0))
}
