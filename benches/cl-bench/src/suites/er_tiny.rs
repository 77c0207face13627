//! Tiny episodic memories: permuted MNIST of Chaudhry et al. 2019b.

use cl_data::Scenario;
use cl_methods::Protocol;
use cl_methods::train::{Budget, Weights};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

pub(super) fn suite() -> Suite {
    let row = |name, method, config: Value, mean| {
        let published = Published {
            mean,
            error: None,
            kind: ErrorKind::Std,
            n: Some(5),
            provenance: Provenance::Unverified,
            rerun: None,
        };
        let cell = Cell { scenario: Scenario::Domain, config, published: Some(published) };
        Row { name, method, setting: None, seeds: None, cells: vec![cell] }
    };
    // 17 tasks of 10 classes.
    let ring = |per_class: usize| json!({ "per_class": per_class, "rings": 170, "batch": 10 });
    let reservoir = |per_class: usize| json!({ "memory": 170 * per_class, "batch": 10 });
    let agem = |per_class: usize| json!({ "per_class": per_class, "batch": 256 });
    Suite {
        name: "er-tiny",
        title: "Tiny memories, permuted MNIST",
        source: "Chaudhry, Rohrbach, Elhoseiny, Ajanthan, Dokania, Torr & Ranzato, On tiny episodic memories in \
                 continual learning, 2019, table 3: mean over 5 runs",
        setting: Setting {
            data: "mnist",
            padding: 0,
            normalise: None,
            kind: Kind::Permuted,
            train_samples: Some(1000),
            test_samples: None,
            tasks: 17,
            classes: Classes::Fixed,
            active: Active::All,
            protocol: Protocol {
                hidden: vec![256, 256],
                optimizer: OptimizerConfig::sgd(0.1),
                batch: 10,
                budget: Budget::Epochs(1),
                weights: Weights::Truncated,
                ..Protocol::default()
            },
        },
        first_seed: 1,
        seeds: 5,
        rows: vec![
            row("finetune", "None", json!({}), 53.5),
            row("A-GEM, 1", "A-GEM", agem(1), 62.1),
            row("ER-ring, 1", "ER-Ring", ring(1), 70.2),
            row("ER-reservoir, 1", "ER-Reservoir", reservoir(1), 68.9),
            row("A-GEM, 3", "A-GEM", agem(3), 63.2),
            row("ER-ring, 3", "ER-Ring", ring(3), 73.5),
            row("ER-reservoir, 3", "ER-Reservoir", reservoir(3), 75.2),
            row("A-GEM, 5", "A-GEM", agem(5), 64.1),
            row("ER-ring, 5", "ER-Ring", ring(5), 75.8),
            row("ER-reservoir, 5", "ER-Reservoir", reservoir(5), 76.2),
            row("A-GEM, 15", "A-GEM", agem(15), 66.0),
            row("ER-ring, 15", "ER-Ring", ring(15), 79.4),
            row("ER-reservoir, 15", "ER-Reservoir", reservoir(15), 79.8),
        ],
        notes: vec![
            "Numbers behind a comma are samples of each class of each of the 17 tasks; the reservoir has as many in all from \
             the beginning. Replay begins with the second batch of the first task. A-GEM keeps samples drawn from each task, \
             not its newest.",
            "The network begins as in the authors' code: weights from a normal distribution of deviation 0.1 that is cut off at \
             twice that, biases at 0.1. Their reservoir takes a sample a little too often; ours does not.",
        ],
    }
}
