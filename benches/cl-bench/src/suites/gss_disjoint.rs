//! Disjoint MNIST of Aljundi et al. 2019.

use cl_data::Scenario;
use cl_methods::Protocol;
use cl_methods::train::{Budget, Weights};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

/// 1000 samples a task, as in the authors' scripts.
pub(super) fn setting(kind: Kind, tasks: usize) -> Setting {
    Setting {
        data: "mnist",
        padding: 0,
        normalise: None,
        kind,
        train_samples: Some(1000),
        test_samples: None,
        tasks,
        classes: Classes::Fixed,
        active: Active::All,
        protocol: Protocol {
            hidden: vec![100, 100],
            optimizer: OptimizerConfig::sgd(0.05),
            batch: 10,
            budget: Budget::Epochs(1),
            weights: Weights::Xavier,
            ..Protocol::default()
        },
    }
}

/// A row of table 1 or 2.
pub(super) fn row(
    (name, method): (&'static str, &'static str),
    scenario: Scenario,
    config: Value,
    (mean, error): (f64, f64),
) -> Row {
    let kind = ErrorKind::Std;
    let published =
        Published { mean, error: Some(error), kind, n: Some(3), provenance: Provenance::Quoted, rerun: None };
    let cell = Cell { scenario, config, published: Some(published) };
    Row { name, method, setting: None, seeds: None, cells: vec![cell] }
}

/// The coefficients of the authors' scripts.
pub(super) fn greedy(memory: usize) -> Value {
    json!({ "memory": memory, "batch": 10, "directions": 10, "iterations": 3 })
}

pub(super) fn subset(memory: usize, choice: &str) -> Value {
    json!({ "memory": memory, "recent": 100, "batch": 10, "iterations": 3, "choice": choice })
}

pub(super) const RAND: &str = "Rand is GSS-IQP with a random choice in place of the programme: whenever 100 samples have \
     come, a random subset of them and the memory is kept, so that samples of old tasks are soon gone. It is no \
     reservoir, which would hold as many of every task. The authors' script of it calls a selection that its file does \
     not have; that this one is meant is read from the numbers.";

pub(super) fn suite() -> Suite {
    let of_greedy =
        |name, memory, published| row((name, "GSS-greedy"), Scenario::Class, greedy(memory), published);
    let of_subset = |name, memory, choice, published| {
        row((name, "GSS-IQP"), Scenario::Class, subset(memory, choice), published)
    };
    Suite {
        name: "gss-disjoint",
        title: "Disjoint MNIST",
        source: "Aljundi, Lin, Goujaud & Bengio, Gradient based sample selection for online continual learning, NeurIPS \
                 2019, table 2: mean ± deviation over 3 runs",
        setting: setting(Kind::Split, 5),
        first_seed: 1,
        seeds: 10,
        rows: vec![
            of_subset("Rand, 300", 300, "random", (37.5, 1.3)),
            of_subset("Rand, 400", 400, "random", (45.9, 4.8)),
            of_subset("Rand, 500", 500, "random", (57.9, 4.1)),
            of_subset("GSS-IQP, 300", 300, "iqp", (75.9, 2.5)),
            of_subset("GSS-IQP, 400", 400, "iqp", (82.1, 0.6)),
            of_subset("GSS-IQP, 500", 500, "iqp", (84.1, 2.4)),
            of_greedy("GSS-greedy, 300", 300, (82.6, 2.9)),
            of_greedy("GSS-greedy, 400", 400, (84.6, 0.9)),
            of_greedy("GSS-greedy, 500", 500, (84.8, 1.8)),
        ],
        notes: vec!["Numbers behind a comma are the size of the memory.", RAND],
    }
}
