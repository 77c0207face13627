//! Methods by name: what is wrong is said, by its name.
#![allow(clippy::unwrap_used)]

use cl_core::Result;
use cl_methods::{Batch, Learner, Method, Registry};
use serde_json::{Value, json};

fn refused(name: &str, config: Value) -> String {
    match Registry::standard().build(name, &config, 0) {
        Ok(_) => panic!("{name} was built with {config}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn holds_the_methods_of_the_tables() {
    let registry = Registry::standard();
    let names: Vec<_> = registry.names().collect();
    let mut expected = [
        "A-GEM",
        "CLS",
        "CLS-ER",
        "DER",
        "DER++",
        "ER",
        "ER-Reservoir",
        "ER-Ring",
        "EWC",
        "GDumb",
        "EWC++",
        "GEM",
        "GSS-IQP",
        "GSS-greedy",
        "Independent",
        "Joint",
        "L2",
        "LwF",
        "MAS",
        "MIR",
        "MER",
        "Multimodal",
        "None",
        "Online EWC",
        "RWalk",
        "PackNet",
        "Progressive",
        "Rehearsal",
        "S-GEM",
        "SI",
        "iCaRL",
        "SRC",
        "XdG",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in names {
        registry.build(name, &json!({}), 0).unwrap();
    }
}

#[test]
fn an_unknown_method_is_told_what_there_is() {
    let error = refused("EWCC", json!({}));
    assert!(error.contains("\"EWCC\""), "{error}");
    assert!(Registry::standard().names().all(|name| error.contains(name)), "{error}");
    refused("ewc", json!({}));
}

#[test]
fn an_unknown_coefficient_is_named() {
    for name in Registry::standard().names() {
        let error = refused(name, json!({ "lamda": 1.0 }));
        assert!(error.contains("lamda"), "{name}: {error}");
    }
}

#[test]
fn bad_values_are_refused() {
    for (name, config, word) in [
        ("EWC", json!({ "lambda": -1.0 }), "lambda"),
        ("EWC", json!({ "lambda": "large" }), "large"),
        ("EWC", json!({ "fisher": "exactly" }), "exactly"),
        ("EWC", json!(null), "null"),
        ("Online EWC", json!({ "lambda": -1.0 }), "lambda"),
        ("Online EWC", json!({ "decay": 1.5 }), "decay"),
        ("SI", json!({ "c": -0.1 }), "c: -0.1"),
        ("SI", json!({ "xi": 0.0 }), "xi"),
        ("SI", json!({ "gradient": "some" }), "some"),
        ("L2", json!({ "lambda": -1.0 }), "lambda"),
        ("LwF", json!({ "temperature": 0.0 }), "temperature"),
        ("LwF", json!({ "weighting": "none" }), "none"),
        ("ER", json!({ "per_class": 0 }), "budget"),
        ("ER", json!({ "batch": 0 }), "batch"),
        ("ER", json!({ "batch": -3 }), "-3"),
        ("A-GEM", json!({ "per_class": 0 }), "budget"),
        ("A-GEM", json!({ "batch": 0 }), "batch"),
        ("A-GEM", json!({ "eps": -1e-7 }), "eps"),
        ("A-GEM", json!({ "keep": "newest", "per_class": 0 }), "per_class"),
        ("A-GEM", json!({ "keep": "newest", "batch": 0 }), "batch"),
        ("A-GEM", json!({ "keep": { "reservoir": 0 } }), "capacity"),
        ("A-GEM", json!({ "keep": { "reservoir": 10 }, "batch": 0 }), "batch"),
        ("A-GEM", json!({ "keep": "oldest" }), "oldest"),
        ("S-GEM", json!({ "per_class": 0 }), "per_class"),
        ("EWC++", json!({ "lambda": -1.0 }), "lambda"),
        ("EWC++", json!({ "decay": 1.0 }), "decay"),
        ("EWC++", json!({ "every": 0 }), "every"),
        ("RWalk", json!({ "lambda": -1.0 }), "lambda"),
        ("RWalk", json!({ "eps": 0.0 }), "eps"),
        ("RWalk", json!({ "every": 0 }), "every"),
        ("MAS", json!({ "decay": 1.5 }), "decay"),
        ("Rehearsal", json!({ "memory": 0 }), "budget"),
        ("MIR", json!({ "candidates": 5, "batch": 6 }), "candidates"),
        ("GDumb", json!({ "min_lr": 1.0 }), "lr"),
        ("iCaRL", json!({ "per_class": 0 }), "per_class"),
        ("GSS-IQP", json!({ "choice": "best" }), "best"),
        ("GSS-IQP", json!({ "recent": 0 }), "recent"),
        ("PackNet", json!({ "ratio": 1.0 }), "ratio"),
        ("PackNet", json!({ "ratio": -0.1 }), "ratio"),
        ("PackNet", json!({ "batch": 0 }), "batch"),
        ("PackNet", json!({ "retrain": "long" }), "long"),
        ("Progressive", json!({ "hidden": [8, 0] }), "hidden"),
        ("Progressive", json!({ "adapters": { "width": 0 } }), "width"),
        ("Progressive", json!({ "adapters": { "alpha": -1.0 } }), "alpha"),
        ("Progressive", json!({ "adapters": { "lateral": "none" } }), "none"),
        ("SRC", json!({ "dropout": 1.0 }), "dropout"),
        ("SRC", json!({ "window": { "image": [1, 8, 8], "side": 11 } }), "window"),
        ("SRC", json!({ "spiking": { "thresholds": [] } }), "thresholds"),
        ("SRC", json!({ "spiking": { "decay": 1.5 } }), "decay"),
        ("XdG", json!({ "fraction": 1.0 }), "fraction"),
        ("XdG", json!({ "place": "input" }), "input"),
        ("Independent", json!({ "weights": "zero" }), "zero"),
        ("ER-Ring", json!({ "batch": 0 }), "batch"),
        ("MER", json!({ "beta": -1.0 }), "beta"),
        ("MER", json!({ "within": "twice" }), "twice"),
    ] {
        let error = refused(name, config);
        assert!(error.contains(word), "{name}: {error}");
    }
}

#[test]
fn a_name_is_given_once() {
    struct Mine;
    impl Method for Mine {
        fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
            learner.step(&learner.loss(batch)?)
        }
    }
    let mut registry = Registry::standard();
    registry.register("Mine", |_, _| Ok(Box::new(Mine))).unwrap();
    registry.build("Mine", &json!({ "anything": 1 }), 0).unwrap();
    for name in ["Mine", "EWC"] {
        let error = registry.register(name, |_, _| Ok(Box::new(Mine))).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(Registry::standard().build("Mine", &json!({}), 0).is_err(), "registries are separate");
}
