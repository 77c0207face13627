//! A method of your own: a struct, one or two functions, and a line that registers it.
//!
//! This one averages weights (mean-IMM with weight transfer, Lee et al. 2017): after each task the network
//! becomes the mean of what it was after the tasks before and what it is now.
//!
//! `cargo run -p cl-methods --example my_method`

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_data::{ClassOrder, Scenario, Task};
use cl_methods::train::{Budget, train};
use cl_methods::{Batch, Learner, Method, Protocol, Registry};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// θ̄ ← share·θ̄ + (1−share)·θ.
#[derive(Serialize, Deserialize)]
struct Averaged {
    share: f64,
    #[serde(with = "cl_core::snapshot::tensor")]
    mean: Option<Vec<Tensor>>,
}

impl Method for Averaged {
    cl_methods::saved!("my-crate/averaged", 1);

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        learner.step(&learner.loss(batch)?)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        let params = learner.net.params();
        let mut values = params.values()?;
        if let Some(mean) = &self.mean {
            for (value, mean) in values.iter_mut().zip(mean) {
                *value = ((mean * self.share)? + (&*value * (1.0 - self.share))?)?;
            }
            params.set_values(&values)?;
        }
        self.mean = Some(values);
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut registry = Registry::standard();
    registry.register("Averaged", |config, _seed| {
        let share = config["share"].as_f64().unwrap_or(0.5);
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid("share", format!("{share} is not within 0 and 1")));
        }
        Ok(Box::new(Averaged { share, mean: None }))
    })?;

    let stream = cl_data::split(&cl_data::load("digits")?, 5, Scenario::Domain, ClassOrder::Fixed)?;
    let protocol = Protocol { hidden: vec![100], budget: Budget::Iterations(100), ..Protocol::default() };
    for (name, config) in [("None", json!({})), ("Averaged", json!({ "share": 0.7 })), ("Joint", json!({}))] {
        let mut method = registry.build(name, &config, 0)?;
        let outcome = train(&stream, &mut *method, &protocol, 0, &mut |_| Ok(()))?;
        let last = outcome.r.last().expect("a task was trained on");
        println!("{name:10} {:.3}", last.iter().sum::<f64>() / last.len() as f64);
    }
    Ok(())
}
