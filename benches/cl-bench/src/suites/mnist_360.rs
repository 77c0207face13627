//! MNIST-360 of Buzzega et al. 2020: a stream without tasks.

use cl_data::{LastBatch, Order, Scenario};
use cl_methods::Protocol;
use cl_methods::train::{Budget, Weights};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::published::{ErrorKind, Provenance, Published};

pub(super) fn suite() -> Suite {
    use Provenance::{Repo, Unverified};
    let row = |name, method, (lr, batch), config, mean, provenance| {
        let published =
            Published { mean, error: None, kind: ErrorKind::Std, n: Some(10), provenance, rerun: None };
        let cell = Cell { scenario: Scenario::Domain, config, published: Some(published) };
        Row { name, method, setting: Some(setting(lr, batch)), seeds: None, cells: vec![cell] }
    };
    // Their code of tag neurips2020 on PyTorch 2.15, seeds 1 to 3.
    let mut joint = row("Joint", "Joint", (0.1, 4), json!({}), 82.98, Repo).rerun(&[81.29, 80.89, 80.17]);
    if let Some(setting) = &mut joint.setting {
        setting.protocol.order = Order::Shuffled;
    }
    // Batches of the authors' code are whole: 128 from the memory and the new sample, three times.
    let mer = |memory: usize| json!({ "memory": memory, "batch": 128, "batches": 3, "beta": 1.0, "gamma": 1.0, "within": "at_once" });
    let seldom = |row| Row { seeds: Some(5), ..row };
    Suite {
        name: "mnist-360",
        title: "MNIST-360",
        source: "Buzzega, Boschini, Porrello, Abati & Calderara, Dark experience for general continual learning, NeurIPS \
                 2020, table 3: mean over 10 runs; joint training and A-GEM with 500 from the authors' repository",
        setting: setting(0.1, 4),
        first_seed: 1,
        seeds: 10,
        rows: vec![
            joint,
            row("SGD", "None", (0.1, 4), json!({}), 19.09, Unverified),
            row("ER, 200", "ER-Reservoir", (0.2, 1), er(200), 49.27, Unverified),
            seldom(row("MER, 200", "MER", (0.2, 1), mer(200), 48.58, Unverified)),
            row("DER, 200", "DER", (0.1, 16), der(200, 64), 55.22, Unverified),
            row("DER++, 200", "DER++", (0.2, 16), plus(200, 16, 0.5), 54.16, Unverified),
            row("ER, 500", "ER-Reservoir", (0.2, 1), er(500), 65.04, Unverified),
            seldom(row("MER, 500", "MER", (0.1, 1), mer(500), 62.21, Unverified)),
            row("A-GEM-R, 500", "A-GEM", (0.1, 16), agem(500), 28.13, Repo),
            row("DER, 500", "DER", (0.2, 16), der(500, 16), 69.11, Unverified),
            row("DER++, 500", "DER++", (0.2, 16), plus(500, 16, 0.5), 69.62, Unverified),
            row("ER, 1000", "ER-Reservoir", (0.2, 4), er(1000), 75.18, Unverified),
            seldom(row("MER, 1000", "MER", (0.2, 1), mer(1000), 70.91, Unverified)),
            row("DER, 1000", "DER", (0.1, 8), der(1000, 16), 75.97, Unverified),
            row("DER++, 1000", "DER++", (0.2, 16), plus(1000, 128, 0.2), 76.03, Unverified),
        ],
        notes: vec![
            "Numbers behind a comma are the size of the memory. Learning rates, minibatches and coefficients are those of the \
             authors' best arguments, and for the two numbers of the repository those of its commands.",
            "As in the authors' code samples of a pair are drawn with replacement from its share. The stream is the same \
             whatever the minibatch: theirs begins a new minibatch with each of the 27 pairs, and leaves out a sample of some.",
            "Joint trains on the same stream shuffled, by the command in the authors' repository. Run again for three seeds it \
             gives what is found here, two points below the number beside it. Each test sample is asked for once; theirs are drawn for each minibatch. \
             Tiers below paper see the beginning of the stream only, and so not all classes.",
        ],
    }
}

fn setting(lr: f64, batch: usize) -> Setting {
    Setting {
        data: "mnist",
        padding: 0,
        normalise: None,
        kind: Kind::ThreeSixty { classes: 9, rounds: 3 },
        train_samples: None,
        test_samples: None,
        tasks: 1,
        classes: Classes::Fixed,
        active: Active::All,
        protocol: Protocol {
            hidden: vec![100, 100],
            optimizer: OptimizerConfig::sgd(lr),
            batch,
            order: Order::AsGiven,
            last_batch: LastBatch::Keep,
            budget: Budget::Epochs(1),
            weights: Weights::Xavier,
            ..Protocol::default()
        },
    }
}

fn er(memory: usize) -> Value {
    json!({ "memory": memory, "batch": 16 })
}

fn agem(memory: usize) -> Value {
    json!({ "keep": { "reservoir": memory }, "batch": 128, "eps": 0.0 })
}

fn der(memory: usize, batch: usize) -> Value {
    json!({ "memory": memory, "batch": batch, "alpha": 0.5 })
}

fn plus(memory: usize, batch: usize, alpha: f64) -> Value {
    json!({ "memory": memory, "batch": batch, "alpha": alpha, "beta": 1.0 })
}
