//! Disjoint MNIST of Aljundi et al. 2019.

use cl_data::Scenario;
use cl_methods::Protocol;
use cl_methods::train::{Budget, Weights};
use cl_nn::OptimizerConfig;
use serde_json::json;

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

pub(super) fn suite() -> Suite {
    let row = |name, memory: usize, mean, error| {
        let config = json!({ "memory": memory, "batch": 10, "directions": 10, "iterations": 3 });
        let kind = ErrorKind::Std;
        let published =
            Published { mean, error: Some(error), kind, n: Some(3), provenance: Provenance::Quoted };
        let cell = Cell { scenario: Scenario::Class, config, published: Some(published) };
        Row { name, method: "GSS-greedy", setting: None, seeds: None, cells: vec![cell] }
    };
    Suite {
        name: "gss-disjoint",
        title: "Disjoint MNIST",
        source: "Aljundi, Lin, Goujaud & Bengio, Gradient based sample selection for online continual learning, NeurIPS \
                 2019, table 2: mean ± deviation over 3 runs",
        setting: Setting {
            data: "mnist",
            padding: 0,
            normalise: None,
            kind: Kind::Split,
            train_samples: Some(1000),
            test_samples: None,
            tasks: 5,
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
        },
        first_seed: 1,
        seeds: 10,
        rows: vec![
            row("GSS-greedy, 300", 300, 82.6, 2.9),
            row("GSS-greedy, 400", 400, 84.6, 0.9),
            row("GSS-greedy, 500", 500, 84.8, 1.8),
        ],
        notes: vec!["Numbers behind a comma are the size of the memory."],
    }
}
