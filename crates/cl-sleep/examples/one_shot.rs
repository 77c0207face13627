//! Why two learners: handwritten digits come class by class, a few of each. A fast memory of separated patterns knows a new class
//! after a few looks, a slow network after a night; the fast one forgets with the day, the slow one keeps.
//!
//! ```console
//! $ cargo run -p cl-sleep --example one_shot
//! ```

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Units};
use cl_data::Samples;
use cl_hopfield::Store;
use cl_nn::Mlp;
use cl_sleep::{Experiences, Interleaved, Keep, Learnt, PatternSeparation, Replay, Sleep, Tags, Uniform};

/// Digits of a day, of which the first few are all that was seen by noon.
const DAY: usize = 100;
const NOON: usize = 5;
/// What part of its units a pattern shares with one that it is taken for.
const ALIKE: f32 = 0.4;

/// Runs it, and prints a table.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let digits = cl_data::load("digits")?;
    let separation = PatternSeparation::new(64, 2000, 40, &mut cl_core::rng(0, "separation"))?;
    let slow = Mlp::new(&[64, 100, 10], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
    let memory = |capacity, keep, name| Experiences::new(capacity, keep, cl_core::rng(0, name));
    let (mut today, mut before) =
        (memory(DAY, Keep::Newest, "day")?, memory(200, Keep::Sample { gain: 0.0 }, "memory")?);
    let night = Sleep { cycles: 200, batch: 32, ..Sleep::default() };

    println!(
        "after {NOON} looks at a new class: right, % of its digits, and of all classes so far      next morning"
    );
    println!("class    fast alone  slow alone    slow, of all    both, of all    slow, of all");
    let mut last = 0.0;
    for class in 0..10 {
        let day = of_classes(&digits.train, class..class + 1)?.slice(0..DAY)?;
        let new = of_classes(&digits.test, class..class + 1)?;
        let seen = of_classes(&digits.test, 0..class + 1)?;
        // Noon: a few looks are in the fast memory, as separated patterns.
        let mut fast = Store::new(2000)?;
        for code in separation.code(&day.slice(0..NOON)?.x)?.to_vec2::<f32>()? {
            fast.insert(&code)?;
        }
        let known = |samples: &Samples| -> Result<Vec<bool>> {
            let nearest = fast.nearest(&separation.code(&samples.x)?, 1)?;
            Ok(nearest
                .iter()
                .map(|nearest| nearest.first().is_some_and(|(_, overlap)| *overlap > ALIKE))
                .collect())
        };
        let fast_alone = known(&new)?.into_iter().filter(|known| *known).count() as f64 / new.len() as f64;
        // Both: the fast one where it knows, otherwise the slow one.
        let answers = known(&seen)?.into_iter().zip(answers(&slow, &seen)?);
        let answers: Vec<u32> = answers.map(|(known, slow)| if known { class } else { slow }).collect();
        let (slow_new, slow_all, both) =
            (accuracy(&slow, &new)?, accuracy(&slow, &seen)?, right(&answers, &seen)?);

        // The night: the day among what was kept of earlier ones.
        today.add(&[&day.x, &day.y], &Tags::default())?;
        let mut consolidate = |replay: &Replay| {
            slow.descend(&replay.columns[0], &replay.columns[1], Units::All, None, 0.1)?;
            Ok(Learnt::default())
        };
        night.run(&mut Interleaved::of(today.by(&Uniform)?, before.by(&Uniform)?), &mut consolidate)?;
        let kept = today.all()?;
        before.add(&kept.iter().collect::<Vec<&Tensor>>(), &Tags::default())?;
        today.forget(|_| true);

        last = accuracy(&slow, &seen)?;
        let [a, b, c, d, e] = [fast_alone, slow_new, slow_all, both, last].map(|x| 100.0 * x);
        println!("{class:>5}  {a:>12.1}  {b:>10.1}  {c:>14.1}  {d:>14.1}  {e:>14.1}");
        assert!(class == 0 || both > slow_all, "both are better than the slow one by noon");
    }
    assert!(last > 0.85, "the slow one keeps: {last}");
    Ok(())
}

fn answers(net: &Mlp, samples: &Samples) -> Result<Vec<u32>> {
    Ok(net.predict(&samples.x)?.argmax(1)?.to_vec1::<u32>()?)
}

fn accuracy(net: &Mlp, samples: &Samples) -> Result<f64> {
    right(&answers(net, samples)?, samples)
}

fn right(answers: &[u32], samples: &Samples) -> Result<f64> {
    let right = answers.iter().zip(samples.labels()?).filter(|(found, y)| **found == *y).count();
    Ok(right as f64 / samples.len() as f64)
}

fn of_classes(samples: &Samples, classes: std::ops::Range<u32>) -> Result<Samples> {
    let rows =
        samples.labels()?.into_iter().zip(0u32..).filter(|(y, _)| classes.contains(y)).map(|(_, row)| row);
    samples.gather(&rows.collect::<Vec<_>>())
}
