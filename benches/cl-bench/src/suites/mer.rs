//! Rotations and permutations of Riemer et al. 2019.

use cl_data::Scenario;
use cl_methods::Protocol;
use cl_methods::train::{Budget, Weights};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

const ROTATED: Kind = Kind::Rotated { below: 180.0, rising: true };

pub(super) fn suite() -> Suite {
    let setting = |kind, lr| Setting {
        data: "mnist",
        padding: 0,
        normalise: None,
        kind,
        train_samples: Some(1000),
        test_samples: None,
        tasks: 20,
        classes: Classes::Fixed,
        active: Active::All,
        protocol: Protocol {
            hidden: vec![100, 100],
            optimizer: OptimizerConfig::sgd(lr),
            batch: 1,
            budget: Budget::Epochs(1),
            weights: Weights::Xavier,
            ..Protocol::default()
        },
    };
    let row = |name, method, (kind, lr), config: Value, published: Option<(f64, Option<f64>)>| {
        let published = published.map(|(mean, error)| Published {
            mean,
            error,
            kind: ErrorKind::Std,
            n: Some(5),
            provenance: Provenance::Unverified,
            rerun: None,
        });
        let cell = Cell { scenario: Scenario::Domain, config, published };
        Row { name, method, setting: Some(setting(kind, lr)), seeds: None, cells: vec![cell] }
    };
    let er = |memory: usize, batch: usize| json!({ "memory": memory, "batch": batch });
    let mer = |memory: usize, batch: usize, batches: usize, beta: f64| json!({ "memory": memory, "batch": batch, "batches": batches, "beta": beta, "gamma": 1.0, "new": "first" });
    let permuted = Kind::Permuted;
    Suite {
        name: "mer",
        title: "Meta-experience replay, MNIST rotations and permutations",
        source: "Riemer, Cases, Ajemian, Liu, Rish, Tu & Tesauro, Learning to learn without forgetting by maximizing \
                 transfer and minimizing interference, ICLR 2019: retained accuracy, mean ± std over 5 runs",
        setting: setting(ROTATED, 0.03),
        first_seed: 1,
        seeds: 5,
        rows: vec![
            row("rotations, online", "None", (ROTATED, 0.0003), json!({}), Some((53.38, Some(1.53)))),
            row("rotations, ER, 200", "ER-Reservoir", (ROTATED, 0.1), er(200, 10), None),
            row("rotations, MER, 200", "MER", (ROTATED, 0.1), mer(200, 10, 5, 0.01), Some((77.24, None))),
            row("rotations, ER, 500", "ER-Reservoir", (ROTATED, 0.1), er(500, 5), None),
            row("rotations, MER, 500", "MER", (ROTATED, 0.1), mer(500, 10, 10, 0.01), Some((81.82, None))),
            row("rotations, ER, 5120", "ER-Reservoir", (ROTATED, 0.1), er(5120, 25), None),
            row(
                "rotations, MER, 5120",
                "MER",
                (ROTATED, 0.03),
                mer(5120, 100, 10, 0.03),
                Some((89.56, Some(0.11))),
            ),
            row("permutations, online", "None", (permuted, 0.003), json!({}), Some((55.42, Some(0.65)))),
            row("permutations, ER, 200", "ER-Reservoir", (permuted, 0.1), er(200, 10), None),
            row(
                "permutations, MER, 200",
                "MER",
                (permuted, 0.03),
                mer(200, 10, 10, 0.03),
                Some((73.46, None)),
            ),
            row("permutations, ER, 500", "ER-Reservoir", (permuted, 0.1), er(500, 10), None),
            row(
                "permutations, MER, 500",
                "MER",
                (permuted, 0.03),
                mer(500, 25, 10, 0.03),
                Some((77.50, None)),
            ),
            row("permutations, ER, 5120", "ER-Reservoir", (permuted, 0.1), er(5120, 25), None),
            row(
                "permutations, MER, 5120",
                "MER",
                (permuted, 0.03),
                mer(5120, 100, 10, 0.03),
                Some((85.50, Some(0.16))),
            ),
        ],
        notes: vec![
            "Numbers behind a comma are the size of the memory. Learning rates and coefficients are those of the authors' \
             script, algorithm 1 for MER and algorithm 4 for ER. Their seed is not a seed here: angles or permutations, \
             samples and weights are drawn by each run's own.",
            "Their reservoir takes a sample a little too seldom; ours does not. ER's replayed samples are distinct here, \
             theirs may repeat.",
        ],
    }
}
