//! Permuted MNIST of ten tasks, where Avalanche's own baselines miss what EWC and SI can do; and SI's own protocol.

use cl_data::{LastBatch, Scenario};
use cl_methods::Protocol;
use cl_methods::train::Budget;
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

fn setting(hidden: Vec<usize>, epochs: usize) -> Setting {
    Setting {
        data: "mnist",
        padding: 0,
        normalise: None,
        kind: Kind::Permuted,
        train_samples: None,
        test_samples: None,
        tasks: 10,
        classes: Classes::Fixed,
        active: Active::All,
        protocol: Protocol {
            hidden,
            optimizer: OptimizerConfig::adam(0.001),
            batch: 256,
            last_batch: LastBatch::Keep,
            budget: Budget::Epochs(epochs),
            ..Protocol::default()
        },
    }
}

fn row(name: &'static str, method: &'static str, config: Value, mean: Option<f64>) -> Row {
    let published = mean.map(|mean| Published {
        mean,
        error: None,
        kind: ErrorKind::Std,
        n: Some(1),
        provenance: Provenance::Repo,
    });
    let cell = Cell { scenario: Scenario::Domain, config, published };
    Row { name, method, setting: None, seeds: None, cells: vec![cell] }
}

pub(super) fn baselines() -> Suite {
    Suite {
        name: "permuted-mnist",
        title: "Permuted MNIST, ten tasks",
        source: "the targets of Avalanche's continual-learning-baselines for EWC and SI, which reach 83 % there",
        setting: setting(vec![1000], 10),
        first_seed: 1,
        seeds: 5,
        rows: vec![
            row("None", "None", json!({}), None),
            row("EWC 1e2", "EWC", json!({ "lambda": 100.0, "fisher": { "exact_on": 2000 } }), Some(94.0)),
            row("EWC 1e3", "EWC", json!({ "lambda": 1000.0, "fisher": { "exact_on": 2000 } }), Some(94.0)),
            row("EWC 5e3", "EWC", json!({ "lambda": 5000.0, "fisher": { "exact_on": 2000 } }), Some(94.0)),
            row("SI .1", "SI", json!({ "c": 0.1, "xi": 0.1 }), Some(95.0)),
            row("SI .5", "SI", json!({ "c": 0.5, "xi": 0.1 }), Some(95.0)),
            row("SI 2", "SI", json!({ "c": 2.0, "xi": 0.1 }), Some(95.0)),
        ],
        notes: vec![],
    }
}

pub(super) fn si() -> Suite {
    let si = |c: f64| json!({ "c": c, "xi": 0.1, "gradient": "task" });
    Suite {
        name: "si-permuted",
        title: "Permuted MNIST of Synaptic Intelligence",
        source: "Zenke, Poole & Ganguli, Continual learning through synaptic intelligence, ICML 2017: the mean test accuracy over \
                 ten tasks from the evaluation file in the authors' repository, one run",
        setting: setting(vec![2000, 2000], 20),
        first_seed: 1,
        seeds: 5,
        rows: vec![
            row("c = 0", "None", json!({}), Some(57.41)),
            row("c = 0.01", "SI", si(0.01), Some(92.00)),
            row("c = 0.02", "SI", si(0.02), Some(93.91)),
            row("c = 0.1", "SI", si(0.1), Some(96.94)),
        ],
        notes: vec![
            "A run takes 12 million samples through 5.6 million weights: more than an hour on one core. `--tier quick` takes a \
             fifth of the steps.",
        ],
    }
}
