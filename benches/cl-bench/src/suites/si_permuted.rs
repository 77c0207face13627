//! Permuted MNIST of Zenke et al. 2017: ten tasks, a wide network, twenty passes.

use cl_data::{LastBatch, Scenario};
use cl_methods::Protocol;
use cl_methods::train::Budget;
use cl_nn::OptimizerConfig;
use serde_json::json;

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

pub(super) fn suite() -> Suite {
    let si = |c: f64| json!({ "c": c, "xi": 0.1, "gradient": "task" });
    let row = |name, method, config, mean| {
        let published = Published {
            mean,
            error: None,
            kind: ErrorKind::Std,
            n: Some(1),
            provenance: Provenance::Repo,
            rerun: None,
        };
        let cell = Cell { scenario: Scenario::Domain, config, published: Some(published) };
        Row { name, method, setting: None, seeds: None, cells: vec![cell] }
    };
    Suite {
        name: "si-permuted",
        title: "Permuted MNIST of Synaptic Intelligence",
        source: "Zenke, Poole & Ganguli, Continual learning through synaptic intelligence, ICML 2017: the mean test accuracy over \
                 ten tasks from the evaluation file in the authors' repository, one run",
        setting: Setting {
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
                hidden: vec![2000, 2000],
                optimizer: OptimizerConfig::adam(0.001),
                batch: 256,
                last_batch: LastBatch::Keep,
                budget: Budget::Epochs(20),
                ..Protocol::default()
            },
        },
        first_seed: 1,
        seeds: 5,
        rows: vec![
            row("c = 0", "None", json!({}), 57.41),
            row("c = 0.01", "SI", si(0.01), 92.00),
            row("c = 0.02", "SI", si(0.02), 93.91),
            row("c = 0.1", "SI", si(0.1), 96.94),
        ],
        notes: vec![
            "A run takes 12 million samples through 5.6 million weights: more than an hour on one core. `--device cuda` makes it a              matter of minutes, and `--tier quick` takes a fifth of the steps.",
        ],
    }
}
