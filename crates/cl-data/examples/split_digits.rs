//! The handwritten digits, split into five tasks: what a learner sees in each scenario.
//!
//! `cargo run --package cl-data --example split_digits`

use cl_data::{Batches, ClassOrder, LastBatch, Scenario, split};

fn main() -> cl_core::Result<()> {
    let digits = cl_data::load("digits")?;
    for scenario in Scenario::ALL {
        let stream = split(&digits, 5, scenario, ClassOrder::Shuffled(1))?;
        println!("{} in the {scenario} scenario: {} output units", stream.name, stream.outputs);
        for task in &stream.tasks {
            let rng = cl_core::rng(1, &format!("batches of task {}", task.index));
            let mut batches = Batches::new(task.train.len(), 8, rng, LastBatch::Drop)?;
            let batch = task.train.gather(batches.next_batch())?;
            println!(
                "  task {}: digits {:?}, {} + {} samples, decided among {:?}; first batch: {:?}",
                task.index,
                task.classes,
                task.train.len(),
                task.test.len(),
                task.units,
                batch.labels()?,
            );
        }
    }
    Ok(())
}
