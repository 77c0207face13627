//! Whole runs on a GPU: the same as on the CPU but for rounding, and to be gone on with. Skipped where there is no GPU.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use cl_core::snapshot::tensor;
use cl_data::{ClassOrder, Scenario, Stream};
use cl_methods::train::{Budget, Outcome, Precision, Progress, Training};
use cl_methods::{Method, Protocol, Registry};
use cl_nn::OptimizerConfig;
use serde_json::{Value, json};

fn gpu() -> Option<Device> {
    match cl_core::device("cuda") {
        Ok(device) => Some(device),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn stream() -> Stream {
    cl_data::split(&cl_data::load("digits").unwrap(), 5, Scenario::Domain, ClassOrder::Fixed).unwrap()
}

/// Steps of a task; on an emulated GPU, which is slow, few.
fn iterations(gpu: &Device) -> usize {
    if cl_core::device_name(gpu).unwrap().starts_with("Emulated") { 10 } else { 60 }
}

fn protocol(optimizer: OptimizerConfig, gpu: &Device) -> Protocol {
    let budget = Budget::Iterations(iterations(gpu));
    Protocol { hidden: vec![50, 50], optimizer, budget, ..Protocol::default() }
}

fn build(name: &str, config: &Value) -> Box<dyn Method> {
    Registry::standard().build(name, config, 3).unwrap()
}

/// Those that can leave the CPU, with coefficients that are felt.
fn methods() -> Vec<(&'static str, Value)> {
    vec![
        ("None", json!({})),
        ("Joint", json!({})),
        ("L2", json!({ "lambda": 0.1 })),
        ("EWC", json!({ "lambda": 100.0, "fisher": { "exact_on": 100 } })),
        ("Online EWC", json!({ "lambda": 100.0 })),
        ("SI", json!({ "c": 1.0, "clip": 0.5 })),
        ("MAS", json!({ "lambda": 1.0 })),
        ("RWalk", json!({ "every": 5 })),
        ("EWC++", json!({})),
        ("XdG", json!({})),
        ("LwF", json!({})),
        ("ER", json!({ "per_class": 20, "batch": 32 })),
        ("Rehearsal", json!({ "memory": 200 })),
        ("ER-Reservoir", json!({})),
        ("ER-Ring", json!({ "per_class": 5 })),
        ("DER", json!({ "batch": 32 })),
        ("DER++", json!({ "batch": 32 })),
        ("CLS-ER", json!({ "batch": 32 })),
        ("MIR", json!({})),
        ("A-GEM", json!({ "batch": 32 })),
        ("A-GEM", json!({ "batch": 32, "keep": "newest" })),
        ("A-GEM", json!({ "batch": 32, "keep": { "reservoir": 100 } })),
        ("S-GEM", json!({})),
        ("GEM", json!({ "per_task": 40 })),
    ]
}

#[test]
fn runs_are_those_of_the_cpu_but_for_rounding() {
    let Some(gpu) = gpu() else { return };
    let stream = stream();
    for (name, config) in methods() {
        for optimizer in [OptimizerConfig::adam(1e-3), OptimizerConfig::sgd(0.05)] {
            let protocol = protocol(optimizer, &gpu);
            let run = |device: &Device| -> Outcome {
                let mut method = build(name, &config);
                let training = Training::new(&stream, &mut *method, &protocol, 3).unwrap();
                training.on(device).unwrap().run(&mut |_| Ok(())).unwrap()
            };
            let (cpu, there) = (run(&Device::Cpu), run(&gpu));
            assert_eq!(cpu.samples, there.samples);
            for (cpu, there) in cpu.r.iter().flatten().zip(there.r.iter().flatten()) {
                assert!((cpu - there).abs() <= 0.03, "{name}: {there} on the GPU, {cpu} on the CPU");
            }
        }
    }
}

/// Half precision on the GPU learns what it learns on the CPU; the roundings differ.
#[test]
fn runs_in_half_precision() {
    let Some(gpu) = gpu() else { return };
    let stream = stream();
    for precision in [Precision::Bf16, Precision::F16] {
        let protocol = Protocol { precision, ..protocol(OptimizerConfig::adam(1e-3), &gpu) };
        for (name, config) in methods() {
            let run = |device: &Device| -> Option<Outcome> {
                let mut method = build(name, &config);
                if !method.can_train_in_half() {
                    return None;
                }
                let training = Training::new(&stream, &mut *method, &protocol, 3).unwrap();
                Some(training.on(device).unwrap().run(&mut |_| Ok(())).unwrap())
            };
            let Some((cpu, there)) = run(&Device::Cpu).zip(run(&gpu)) else { continue };
            let mean = |r: &[Vec<f64>]| r.last().unwrap().iter().sum::<f64>() / 5.0;
            let (cpu, there) = (mean(&cpu.r), mean(&there.r));
            assert!((cpu - there).abs() <= 0.04, "{name} {precision}: {there} on the GPU, {cpu} on the CPU");
        }
    }
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let Some(gpu) = gpu() else { return };
    let (stream, protocol) = (stream(), protocol(OptimizerConfig::adam(1e-3), &gpu));
    for (name, config) in methods() {
        let mut whole = build(name, &config);
        let training = Training::new(&stream, &mut *whole, &protocol, 3).unwrap();
        let expected = training.on(&gpu).unwrap().run(&mut |_| Ok(())).unwrap();

        let mut method = build(name, &config);
        let mut first = Training::new(&stream, &mut *method, &protocol, 3).unwrap().on(&gpu).unwrap();
        let stopped = first.run(&mut |progress| match progress {
            Progress::Step { done, .. } if done == iterations(&gpu) * 3 / 2 => {
                Err(cl_core::Error::Interrupted)
            }
            _ => Ok(()),
        });
        assert!(stopped.is_err());
        let saved = first.save().unwrap();

        let mut method = build(name, &config);
        let restored =
            tensor::on(&gpu, || Training::restore(&stream, &mut *method, &protocol, 3, &saved).unwrap());
        let outcome = restored.on(&gpu).unwrap().run(&mut |_| Ok(())).unwrap();
        assert_eq!(outcome, expected, "{name}");

        // On the CPU it has begun elsewhere.
        let mut method = build(name, &config);
        let restored = Training::restore(&stream, &mut *method, &protocol, 3, &saved).unwrap();
        assert!(restored.on(&gpu).err().unwrap().to_string().contains("has begun"));
    }
}

#[test]
fn what_keeps_samples_on_the_cpu_is_refused() {
    let Some(gpu) = gpu() else { return };
    let (stream, protocol) = (stream(), protocol(OptimizerConfig::adam(1e-3), &gpu));
    let mut method = build("iCaRL", &json!({}));
    let training = Training::new(&stream, &mut *method, &protocol, 3).unwrap();
    assert!(training.on(&gpu).err().unwrap().to_string().contains("on the CPU only"));
}
