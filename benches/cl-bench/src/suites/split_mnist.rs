//! Table 2 of van de Ven, Tuytelaars & Tolias 2022.

use cl_data::Scenario;
use cl_methods::Protocol;
use serde_json::{Value, json};

use super::{Active, Cell, Classes, Kind, Row, Setting, Suite, row, same};
use crate::published::{ErrorKind, Provenance, Published};

/// A row with the same coefficients in some scenarios.
fn within(scenarios: &[Scenario], name: &'static str, method: &'static str, config: &Value) -> Row {
    let cell = |&scenario: &Scenario| Cell { scenario, config: config.clone(), published: None };
    Row { name, method, setting: None, seeds: Some(5), cells: scenarios.iter().map(cell).collect() }
}

/// A row of one scenario, with what was published.
fn only(
    scenario: Scenario,
    name: &'static str,
    method: &'static str,
    config: Value,
    published: Option<Published>,
) -> Row {
    let cells = vec![Cell { scenario, config, published }];
    Row { name, method, setting: None, seeds: Some(5), cells }
}

pub(super) fn suite() -> Suite {
    use Provenance::{Quoted, Unverified};
    let sem = |mean, error, provenance| {
        Some(Published {
            mean,
            error: Some(error),
            kind: ErrorKind::Sem,
            n: Some(20),
            provenance,
            rerun: None,
        })
    };
    let mean = |mean, provenance| {
        Some(Published { mean, error: None, kind: ErrorKind::Sem, n: Some(20), provenance, rerun: None })
    };
    Suite {
        name: "split-mnist",
        title: "Split MNIST",
        source: "van de Ven, Tuytelaars & Tolias, Three types of incremental learning, Nature Machine \
                 Intelligence 4 (2022), table 2: mean ± SEM over 20 seeds",
        setting: Setting {
            data: "mnist",
            padding: 0,
            normalise: None,
            kind: Kind::Split,
            train_samples: None,
            test_samples: None,
            tasks: 5,
            classes: Classes::VanDeVen,
            active: Active::All,
            protocol: Protocol::default(),
        },
        first_seed: 2,
        seeds: 10,
        rows: vec![
            row("None", "None", same(json!({}))).published([
                sem(84.32, 0.99, Quoted),
                sem(60.13, 1.66, Quoted),
                sem(19.89, 0.02, Quoted),
            ]),
            row("Joint", "Joint", same(json!({}))).published([
                sem(99.67, 0.03, Quoted),
                sem(98.59, 0.05, Quoted),
                sem(98.17, 0.04, Quoted),
            ]),
            only(
                Scenario::Task,
                "Separate networks",
                "Independent",
                json!({ "hidden": [100, 100], "finetune": false, "weights": "fan_in" }),
                sem(99.57, 0.03, Quoted),
            ),
            only(
                Scenario::Task,
                "XdG",
                "XdG",
                json!({ "fraction": 0.9, "place": "before_bias" }),
                sem(98.70, 0.22, Unverified),
            ),
            row(
                "EWC",
                "EWC",
                [json!({ "lambda": 1e5 }), json!({ "lambda": 1e10 }), json!({ "lambda": 1e9 })],
            )
            .published([
                sem(99.06, 0.15, Quoted),
                sem(63.03, 1.58, Quoted),
                sem(20.64, 0.52, Quoted),
            ]),
            row(
                "SI",
                "SI",
                [
                    json!({ "c": 10.0, "xi": 0.1, "gradient": "whole" }),
                    json!({ "c": 5e4, "xi": 0.1, "gradient": "whole" }),
                    json!({ "c": 5e3, "xi": 0.1, "gradient": "whole" }),
                ],
            )
            .published([
                sem(99.20, 0.11, Unverified),
                sem(66.94, 1.13, Unverified),
                sem(21.20, 0.57, Unverified),
            ]),
            row("LwF", "LwF", same(json!({ "temperature": 2.0, "weighting": "per_task" }))).published([
                sem(99.60, 0.03, Quoted),
                sem(71.18, 1.42, Quoted),
                sem(21.89, 0.32, Quoted),
            ]),
            row("ER", "ER", same(json!({ "per_class": 100, "batch": 128 }))).published([
                sem(98.98, 0.08, Unverified),
                mean(93.75, Quoted),
                mean(88.79, Quoted),
            ]),
            row("A-GEM", "A-GEM", same(json!({ "per_class": 100, "batch": 128, "eps": 1e-7 }))).published([
                sem(98.54, 0.10, Quoted),
                sem(87.67, 1.33, Quoted),
                sem(65.10, 3.64, Quoted),
            ]),
            only(
                Scenario::Class,
                "iCaRL",
                "iCaRL",
                json!({ "per_class": 100, "temperature": 2.0 }),
                sem(92.49, 0.12, Unverified),
            ),
            within(
                &[Scenario::Task],
                "PackNet",
                "PackNet",
                &json!({ "ratio": 0.5, "retrain": { "iterations": 1000 } }),
            ),
            within(&[Scenario::Task], "Progressive", "Progressive", &json!({ "hidden": [100, 100] })),
            within(
                &Scenario::ALL,
                "ER-reservoir, 1000",
                "ER-Reservoir",
                &json!({ "memory": 1000, "batch": 128 }),
            ),
            within(
                &Scenario::ALL,
                "DER++, 1000",
                "DER++",
                &json!({ "memory": 1000, "batch": 128, "alpha": 0.5, "beta": 0.5 }),
            ),
            within(
                &[Scenario::Class],
                "MIR, 1000",
                "MIR",
                &json!({ "memory": 1000, "candidates": 500, "batch": 128 }),
            ),
            within(
                &[Scenario::Class],
                "GDumb, 1000",
                "GDumb",
                &json!({ "memory": 1000, "epochs": 128, "batch": 16 }),
            ),
        ],
        notes: vec![
            "Joint draws its batches at random over all tasks. In the task scenario the authors' code draws \
             26 samples from each of the five tasks instead, which is the same in the mean.",
            "The classes come in the orders that the authors' code draws from the seeds: which digits share a \
             label decides how much there is to forget, so other orders move the domain scenario by many \
             points.",
            "The Fisher information is a mean over all samples of a task; the authors' code divides by one \
             sample less.",
            "Separate networks and XdG must be told the task of a test sample: they are in the task scenario only. \
             A separate network has as many output units as the others; those of its task alone take part, and \
             the others stay as they are. Which units XdG silences is drawn from the seed, not as the authors' \
             code draws it.",
            "From PackNet on the rows are not of the paper: other methods by its protocol, as many samples kept as ER keeps \
             in all, coefficients not searched for. PackNet has its released weights for half as many steps again. GDumb \
             learns nothing from the stream but what it keeps.",
        ],
    }
}
