//! Rotated MNIST of Buzzega et al. 2020.

use cl_data::{LastBatch, Scenario};
use cl_methods::Protocol;
use cl_methods::train::{Budget, Weights};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

pub(super) fn suite() -> Suite {
    use Provenance::{Quoted, Unverified};
    let setting = |lr| Setting {
        data: "mnist",
        padding: 0,
        normalise: None,
        kind: Kind::Rotated { below: 180.0, rising: false },
        train_samples: None,
        tasks: 20,
        classes: Classes::Fixed,
        active: Active::All,
        protocol: Protocol {
            hidden: vec![100, 100],
            optimizer: OptimizerConfig::sgd(lr),
            last_batch: LastBatch::Keep,
            budget: Budget::Epochs(1),
            weights: Weights::Xavier,
            ..Protocol::default()
        },
    };
    let row = |name, method, lr, config: Value, mean, error, provenance| {
        let published = Published { mean, error: Some(error), kind: ErrorKind::Std, n: Some(10), provenance };
        let cell = Cell { scenario: Scenario::Domain, config, published: Some(published) };
        Row { name, method, setting: Some(setting(lr)), seeds: None, cells: vec![cell] }
    };
    let er = |memory: usize| json!({ "memory": memory, "batch": 128 });
    let der = |memory: usize, alpha: f64| json!({ "memory": memory, "batch": 128, "alpha": alpha });
    let plus = |memory: usize, alpha: f64, beta: f64| json!({ "memory": memory, "batch": 128, "alpha": alpha, "beta": beta });
    Suite {
        name: "der-rotated",
        title: "Rotated MNIST",
        source: "Buzzega, Boschini, Porrello, Abati & Calderara, Dark experience for general continual learning, NeurIPS \
                 2020, table 2: mean ± std over 10 runs",
        setting: setting(0.2),
        first_seed: 1,
        seeds: 10,
        rows: vec![
            row("SGD", "None", 0.2, json!({}), 67.66, 8.53, Unverified),
            row("ER, 200", "ER-Reservoir", 0.2, er(200), 85.01, 1.90, Quoted),
            row("DER, 200", "DER", 0.2, der(200, 1.0), 90.04, 2.61, Quoted),
            row("DER++, 200", "DER++", 0.1, plus(200, 1.0, 0.5), 90.43, 1.87, Quoted),
            row("ER, 500", "ER-Reservoir", 0.2, er(500), 88.91, 1.44, Quoted),
            row("DER, 500", "DER", 0.2, der(500, 0.5), 92.24, 1.12, Quoted),
            row("DER++, 500", "DER++", 0.2, plus(500, 0.5, 1.0), 92.77, 1.05, Quoted),
        ],
        notes: vec![
            "Numbers behind a comma are the size of the memory. Learning rates and coefficients are those of the authors' \
             best arguments; angles are drawn uniformly by each run's seed, and images are turned by nearest pixels.",
        ],
    }
}
