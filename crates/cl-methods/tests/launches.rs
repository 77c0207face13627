//! Which methods learn on a GPU without waiting for it. Only an emulated GPU (benches/gpu/emulated.sh) keeps a record.
#![allow(clippy::unwrap_used)]

#[path = "../../cl-core/tests/recorded/mod.rs"]
mod recorded;

use cl_data::{ClassOrder, Scenario};
use cl_methods::train::{Budget, Progress, Training};
use cl_methods::{Protocol, Registry};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

/// All that is asked of the GPU in one step of the second task.
fn step(gpu: &candle_core::Device, name: &str, config: &Value) -> Vec<String> {
    let data = cl_data::load("digits").unwrap();
    let stream = cl_data::split(&data, 5, Scenario::Domain, ClassOrder::Fixed).unwrap();
    let protocol = Protocol {
        hidden: vec![20],
        optimizer: OptimizerConfig::adam(1e-3),
        budget: Budget::Iterations(4),
        ..Protocol::default()
    };
    let mut method = Registry::standard().build(name, config, 3).unwrap();
    let training = Training::new(&stream, &mut *method, &protocol, 3).unwrap();
    let mut did = Vec::new();
    let stopped = training.on(gpu).unwrap().run(&mut |progress| match progress {
        Progress::Step { done: 6, .. } => {
            recorded::start();
            Ok(())
        }
        Progress::Step { done: 7, .. } => {
            did = recorded::take();
            Err(cl_core::Error::Interrupted)
        }
        _ => Ok(()),
    });
    assert!(matches!(stopped, Err(cl_core::Error::Interrupted)), "{name}: {stopped:?}");
    did
}

#[test]
fn a_step_reads_nothing_back() {
    let Some((gpu, _alone)) = recorded::gpu() else { return };
    for (name, config) in [
        ("None", json!({})),
        ("Joint", json!({})),
        ("L2", json!({ "lambda": 0.1 })),
        ("EWC", json!({})),
        ("Online EWC", json!({})),
        ("SI", json!({})),
        ("MAS", json!({})),
        ("RWalk", json!({ "every": 2 })),
        ("EWC++", json!({ "every": 2 })),
        ("LwF", json!({})),
        ("XdG", json!({})),
        ("ER", json!({ "batch": 32 })),
        ("Rehearsal", json!({})),
        ("ER-Reservoir", json!({})),
        ("DER", json!({ "batch": 32 })),
        ("DER++", json!({ "batch": 32 })),
    ] {
        let did = step(&gpu, name, &config);
        assert!(did.iter().any(|line| line.starts_with("launch adam_step")), "{name}: {did:?}");
        assert!(!did.iter().any(|line| line.starts_with("dtoh")), "{name}: {did:?}");
    }
}

/// These decide something on the CPU by numbers of the step: a conflict of gradients, which samples suffer, of which class a
/// sample is.
#[test]
fn what_decides_by_numbers_of_a_step_reads_them_back() {
    let Some((gpu, _alone)) = recorded::gpu() else { return };
    for (name, config) in [
        ("A-GEM", json!({ "batch": 32 })),
        ("S-GEM", json!({})),
        ("GEM", json!({ "per_task": 40 })),
        ("MIR", json!({})),
        ("CLS-ER", json!({ "batch": 32 })),
        ("ER-Ring", json!({ "per_class": 5 })),
    ] {
        let did = step(&gpu, name, &config);
        assert!(did.iter().any(|line| line.starts_with("dtoh")), "{name}: {did:?}");
    }
}

/// A step of a method that keeps weights and one that keeps samples, call by call.
#[test]
fn a_step_call_by_call() {
    let Some((gpu, _alone)) = recorded::gpu() else { return };
    let ewc = step(&gpu, "EWC", &json!({ "lambda": 100.0 }));
    let er = step(&gpu, "ER-Reservoir", &json!({}));
    insta::assert_snapshot!(format!("EWC:\n{}\n\nER-Reservoir:\n{}", ewc.join("\n"), er.join("\n")));
}
