//! A method of your own, the table that shows what it is worth, and the test that keeps the table: all in one file, with
//! nothing changed in our crates. `docs/write-your-own-method.md` goes through it step by step.
//!
//! `cargo run --release -p cl-bench --example my_method`

use std::{path::Path, sync::atomic::AtomicBool};

use candle_core::Tensor;
use cl_bench::runner::{self, Options};
use cl_bench::suites::{Cell, Row, Suite, suite};
use cl_core::{Error, Result};
use cl_data::{Scenario, Task};
use cl_methods::{Batch, Learner, Method, Registry};
use serde_json::{Value, json};

/// Averaged weights (mean-IMM with weight transfer, Lee et al. 2017): θ̄ ← share·θ̄ + (1−share)·θ after each task.
#[derive(serde::Serialize, serde::Deserialize)]
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
        let mut values = learner.net.params().values()?;
        for (value, mean) in values.iter_mut().zip(self.mean.iter().flatten()) {
            *value = ((mean * self.share)? + (&*value * (1.0 - self.share))?)?;
        }
        learner.net.params().set_values(&values)?;
        self.mean = Some(values);
        Ok(())
    }
}

fn build(config: &Value, _seed: u64) -> Result<Box<dyn Method>> {
    match config["share"].as_f64().filter(|share| (0.0..=1.0).contains(share)) {
        Some(share) => Ok(Box::new(Averaged { share, mean: None })),
        None => Err(Error::invalid("share", format!("{} is not a number within 0 and 1", config["share"]))),
    }
}

fn row(name: &'static str, config: Value) -> Row {
    let cell = Cell { scenario: Scenario::Domain, config, published: None };
    Row { name, method: name, setting: None, seeds: None, cells: vec![cell] }
}

fn my_suite() -> Result<Suite> {
    let rows =
        vec![row("None", json!({})), row("Averaged", json!({ "share": 0.7 })), row("Joint", json!({}))];
    let (name, title, source) =
        ("my-method", "Averaged weights", "the protocol of split-digits, three seeds");
    Ok(Suite { name, title, source, rows, seeds: 3, notes: vec![], ..suite("split-digits")? })
}

fn table(out: &Path) -> Result<String> {
    let mut registry = Registry::standard();
    registry.register("Averaged", build)?;
    let options = Options { jobs: 2, out: out.to_owned(), ..Options::default() };
    let done = runner::run(&my_suite()?, &registry, &options, &AtomicBool::new(false), &())?;
    done.report.write(out)?; // report.md and report.html
    done.report.text_table()
}

fn main() -> Result<()> {
    println!("{}", table(Path::new("bench-out/my-method"))?);
    Ok(())
}

/// The table as it stands, in whole percents: another kind of processor adds in another order, and moves the decimals.
#[test]
fn the_table_is_as_it_was() -> Result<()> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let whole = |word: &str| word.parse().map_or(word.to_owned(), |number: f64| format!("{number:.0}"));
    let name_and_mean = |row: &str| row.split_whitespace().take(2).map(whole).collect::<Vec<_>>().join(" ");
    let rows: Vec<_> = table(dir.path())?.lines().skip(3).take(3).map(name_and_mean).collect();
    insta::assert_snapshot!(rows.join(", "), @"None 71, Averaged 81, Joint 98");
    Ok(())
}
