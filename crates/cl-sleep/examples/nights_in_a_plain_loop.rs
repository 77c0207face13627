//! What nights are worth: a network learns handwritten digits class by class, two at a time, in a loop of its own; a copy of it
//! does the same and sleeps after every 100 digits over the last day and what it kept of earlier ones.
//!
//! ```console
//! $ cargo run -p cl-sleep --example nights_in_a_plain_loop
//! ```

use candle_core::{DType, Device};
use cl_core::{Result, Units};
use cl_data::{ClassOrder, Samples, Scenario};
use cl_nn::Mlp;
use cl_sleep::{Event, Every, Experiences, Keep, Learnt, Replay, Schedule as _, Sleep, Tags, Uniform};

/// Runs it, and prints a table.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let digits = cl_data::load("digits")?;
    let stream = cl_data::split(&digits, 5, Scenario::Class, ClassOrder::Fixed)?;
    let widths = [64, 100, 10];
    let awake = Mlp::new(&widths, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
    let rested = awake.copy()?;
    let learn = |net: &Mlp, batch: &Samples| net.descend(&batch.x, &batch.y, Units::All, None, 0.1);

    let mut memory = Experiences::new(200, Keep::Sample { gain: 0.0 }, cl_core::rng(0, "memory"))?; // added
    let mut bedtime = Every::new(100)?; //                                                               added
    let night = Sleep { cycles: 50, batch: 32, ..Sleep::default() }; //                                  added
    println!("classes  without sleep  with nights");
    for (at, task) in stream.tasks.iter().enumerate() {
        let all = task.train.all()?;
        for _ in 0..3 {
            for batch in all.chunks(10)? {
                let batch = batch?;
                learn(&awake, &batch)?;
                learn(&rested, &batch)?;
                memory.add(&[&batch.x, &batch.y], &Tags::default())?; //                                 added
                if bedtime.due(Event::Experienced { n: batch.len() as u64, loss: None }) {
                    let mut consolidate = |replay: &Replay| {
                        //                                         added
                        learn(&rested, &Samples::new(replay.columns[0].clone(), replay.columns[1].clone())?)?;
                        Ok(Learnt::default())
                    };
                    night.run(&mut memory.by(&Uniform)?, &mut consolidate)?; //                          added
                }
            }
        }
        let seen = stream.tasks[..=at].iter().map(|task| task.test.all()).collect::<Result<Vec<_>>>()?;
        let seen = Samples::concat(&seen.iter().collect::<Vec<_>>())?;
        let right = |net: &Mlp| -> Result<f64> {
            let found = net.predict(&seen.x)?.argmax(1)?.to_vec1::<u32>()?;
            let right = found.iter().zip(seen.labels()?).filter(|(found, y)| **found == *y).count();
            Ok(100.0 * right as f64 / seen.len() as f64)
        };
        let (without, with) = (right(&awake)?, right(&rested)?);
        println!("{:>7}  {without:>11.1} %  {with:>9.1} %", 2 * (at + 1));
        assert!(with > 85.0 && (at == 0 || with > without + 20.0), "nights should be worth more than this");
    }
    Ok(())
}
