//! Permuted MNIST of van de Ven & Tolias 2019.

use cl_data::Scenario;
use cl_methods::Protocol;
use cl_methods::train::Budget;
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

pub(super) fn suite() -> Suite {
    let row = |name, method, config: Value, mean| {
        let published = Published {
            mean,
            error: None,
            kind: ErrorKind::Sem,
            n: Some(20),
            provenance: Provenance::Unverified,
            rerun: None,
        };
        let cell = Cell { scenario: Scenario::Domain, config, published: Some(published) };
        Row { name, method, setting: None, seeds: None, cells: vec![cell] }
    };
    Suite {
        name: "permuted-mnist",
        title: "Permuted MNIST",
        source: "van de Ven & Tolias, Three scenarios for continual learning, arXiv 1904.07734 (2019), table 5, domain-incremental; \
                 coefficients and budget as in their present repository, whose numbers are not published",
        setting: Setting {
            data: "mnist",
            padding: 2,
            normalise: None,
            kind: Kind::Permuted,
            train_samples: None,
            test_samples: None,
            tasks: 10,
            classes: Classes::Fixed,
            active: Active::All,
            protocol: Protocol {
                hidden: vec![1000, 1000],
                optimizer: OptimizerConfig::adam(1e-4),
                budget: Budget::Iterations(5000),
                ..Protocol::default()
            },
        },
        first_seed: 2,
        seeds: 5,
        rows: vec![
            row("None", "None", json!({}), 78.51),
            row("Joint", "Joint", json!({}), 97.59),
            row("EWC", "EWC", json!({ "lambda": 100.0, "fisher": { "exact_on": 1000 } }), 94.31),
            row("SI", "SI", json!({ "c": 10.0, "xi": 0.1, "gradient": "whole" }), 95.33),
        ],
        notes: vec![
            "A run takes 6.4 million samples through two million weights: `--device cuda` makes it a matter of minutes.",
            "What the Avalanche baselines aim at is 94 for EWC and 95 for SI, on networks and by optimizers of their own; they \
             reach 83 with both.",
        ],
    }
}
