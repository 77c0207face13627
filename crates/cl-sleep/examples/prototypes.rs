//! Semantic memory from episodes: handwritten digits come class by class, episodes of them are kept for a while, and every night
//! what they have in common is extracted as prototypes, which stay when the episodes are gone.
//!
//! ```console
//! $ cargo run -p cl-sleep --example prototypes
//! ```

use cl_core::Result;
use cl_data::Samples;
use cl_sleep::{Direction, Hippocampus, Prototypes, Recency};

/// Digits of an episode, episodes that are kept, replays of a night.
const EPISODE: usize = 10;
const KEPT: usize = 20;
const NIGHT: usize = 60;

/// Runs it, and prints a table.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let digits = cl_data::load("digits")?;
    let priority = Recency { half_life: 20.0 };
    let mut hippocampus = Hippocampus::new(KEPT, priority, cl_core::rng(0, "episodes"))?;
    let mut semantic = Prototypes::new(1.5, 1.0, 100)?;
    println!("classes  episodes  prototypes  right of the classes so far");
    for class in 0..10 {
        // The day: one class, ten digits an episode.
        let day = of_classes(&digits.train, class..class + 1)?;
        for episode in day.chunks(EPISODE)? {
            let Samples { x, y } = episode?;
            hippocampus.store(vec![x, y], 0.0)?;
        }
        // The night.
        for replay in 0..NIGHT {
            let direction = if replay % 2 == 0 { Direction::Forward } else { Direction::Reverse };
            let id = hippocampus.draw()?;
            let steps = hippocampus.replay(id, direction)?;
            let (x, y) = (steps[0].to_vec2::<f32>()?, steps[1].to_vec1::<u32>()?);
            for (x, y) in x.iter().zip(y) {
                semantic.learn(x, y)?;
            }
        }
        semantic.settle();
        let right = accuracy(&semantic, &of_classes(&digits.test, 0..class + 1)?)?;
        println!(
            "{:>7}  {:>8}  {:>10}  {:>26.1} %",
            class + 1,
            hippocampus.episodes().len(),
            semantic.all().len(),
            100.0 * right
        );
        assert!(right > 0.9 && semantic.all().len() <= 100);
    }
    Ok(())
}

fn of_classes(samples: &Samples, classes: std::ops::Range<u32>) -> Result<Samples> {
    let rows =
        samples.labels()?.into_iter().zip(0u32..).filter(|(y, _)| classes.contains(y)).map(|(_, row)| row);
    samples.gather(&rows.collect::<Vec<_>>())
}

/// How many are nearest to a prototype of their class.
fn accuracy(semantic: &Prototypes, samples: &Samples) -> Result<f64> {
    let mut right = 0;
    for (x, y) in samples.x.to_vec2::<f32>()?.iter().zip(samples.labels()?) {
        right += usize::from(semantic.nearest(x)?.is_some_and(|(prototype, _)| prototype.label == y));
    }
    Ok(right as f64 / samples.len() as f64)
}
