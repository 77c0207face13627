//! Steps of training give on a GPU what they give on the CPU. Skipped, with the reason, where there is no GPU.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Module, Tensor};
use cl_core::Activation;
use cl_nn::{Linear, Optimizer, OptimizerConfig};
use cl_working_memory::composed::{self, Cells};
use cl_working_memory::controller::Controller;
use cl_working_memory::product_key::{ProductKeyConfig, ProductKeys};
use cl_working_memory::slots::{Slots, SlotsState};
use cl_working_memory::{Config, Dnc};
use common::{kinds, normal, unit};

/// The GPU, or the reason why nothing is tested.
fn gpu() -> Option<Device> {
    match cl_core::device("cuda") {
        Ok(device) => Some(device),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// With what is allowed where errors of rounding go through steps of training.
const FLOATS: [(DType, f64); 2] = [(DType::F32, 1e-3), (DType::F64, 1e-10)];

/// The same data on a device.
fn data(shape: &[usize], dtype: DType, seed: u64, device: &Device) -> Tensor {
    normal(shape, dtype, seed).as_detached_tensor().to_device(device).unwrap()
}

/// Fails where what `f` gives differs by more than `tolerance` of the largest element of a tensor.
fn compare(what: &str, gpu: &Device, tolerance: f64, f: &dyn Fn(&Device) -> Vec<Tensor>) {
    let (found, expected) = (f(gpu), f(&Device::Cpu));
    assert_eq!(found.len(), expected.len());
    for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!((found.dims(), found.dtype()), (expected.dims(), expected.dtype()), "{what}, tensor {k}");
        let found = common::elements(&found.to_device(&Device::Cpu).unwrap());
        let expected = common::elements(expected);
        let scale = expected.iter().fold(1e-30f64, |most, e| most.max(e.abs()));
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            let close = (f - e).abs() <= tolerance * scale;
            assert!(close, "{what}, tensor {k}, element {i}: {f} on the GPU, {e} on the CPU");
        }
    }
}

/// Parameters, outputs and gradients of a network after a few steps, with a state that goes on from step to step.
fn trained(config: &Config, dtype: DType, device: &Device) -> Vec<Tensor> {
    let dnc = Dnc::new(config.clone(), dtype, device, &mut cl_core::rng(5, "weights")).unwrap();
    let params = dnc.params().unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
    let (mut state, mut all) = (dnc.state(2).unwrap(), Vec::new());
    for step in 0..2 {
        let x = data(&[3, 2, config.inputs], dtype, step, device);
        let target = data(&[3, 2, config.outputs], dtype, 10 + step, device);
        let (y, after) = dnc.forward(&x, &state).unwrap();
        let loss = (&y - target).unwrap().sqr().unwrap().mean_all().unwrap();
        all.push(params.flat_gradient(&loss.backward().unwrap()).unwrap());
        optimizer.backward_step(&params, &loss).unwrap();
        all.push(y.detach());
        state = after.detach();
    }
    all.extend(params.values().unwrap());
    all.push(state.memory.contents().unwrap());
    all
}

#[test]
fn a_dnc_is_trained() {
    let Some(gpu) = gpu() else { return };
    let lstm = Controller::Lstm { units: 7 };
    let feed_forward = Controller::FeedForward { units: vec![6, 5] };
    let [single, double] = FLOATS;
    let paper = kinds(4, 2)[0];
    // Each kind of memory once, then what else there is.
    let mut cases: Vec<_> = kinds(4, 2).into_iter().map(|memory| (memory, &lstm, double)).collect();
    cases.extend([(paper, &lstm, single), (paper, &feed_forward, double), (paper, &feed_forward, single)]);
    for (memory, controller, (dtype, tolerance)) in cases {
        let config = Config { inputs: 3, outputs: 2, slots: 5, memory, controller: controller.clone() };
        compare(&format!("{dtype:?} {config:?}"), &gpu, tolerance, &|device| trained(&config, dtype, device));
    }
}

/// A sequence on the device that the network is not on is refused, by whatever comes first.
#[test]
fn a_sequence_on_another_device_is_refused() {
    let Some(gpu) = gpu() else { return };
    let dnc = Dnc::new(Config::default(), DType::F32, &gpu, &mut cl_core::rng(0, "weights")).unwrap();
    let x = Tensor::zeros((2, 1, 1), DType::F32, &Device::Cpu).unwrap();
    assert!(dnc.forward(&x, &dnc.state(1).unwrap()).is_err());
}

/// The step as a composition, its state in the graph.
#[test]
fn a_composed_step() {
    let Some(gpu) = gpu() else { return };
    for (access, (dtype, tolerance)) in
        kinds(4, 2).into_iter().flat_map(|access| FLOATS.map(|of| (access, of)))
    {
        compare(&format!("{dtype:?} {access:?}"), &gpu, tolerance, &|device| {
            let vars: Vec<_> = (0..3)
                .map(|t| data(&[2, access.interface()], dtype, t, device))
                .map(|xi| candle_core::Var::from_tensor(&xi).unwrap())
                .collect();
            let mut cells = Cells::zeros(&access, 5, 2, dtype, device).unwrap();
            // Contents that differ, which a memory without allocation needs.
            cells.contents = data(&[2, 5, 4], dtype, 9, device);
            let mut all = Vec::new();
            for xi in &vars {
                let (reads, after) = composed::step(&access, xi, &cells).unwrap();
                all.push(reads);
                cells = after;
            }
            let loss = Tensor::cat(&all, 0).unwrap().sqr().unwrap().sum_all().unwrap();
            let loss = (loss + cells.contents.sqr().unwrap().sum_all().unwrap()).unwrap();
            let grads = loss.backward().unwrap();
            all.extend(vars.iter().map(|xi| grads.get(xi).unwrap().clone()));
            all
        });
    }
}

/// Keys, values and attention from layers that are trained; more writes than there are slots.
#[test]
fn attention_slots_are_trained() {
    let Some(gpu) = gpu() else { return };
    let slots = Slots { capacity: 3, key: 2, value: 4, beta: 1.5 };
    for (dtype, tolerance) in FLOATS {
        compare(&format!("slots {dtype:?}"), &gpu, tolerance, &|device| {
            let rng = &mut cl_core::rng(3, "weights");
            let mut linear =
                |outputs| Linear::new(5, outputs, Activation::Identity, dtype, device, rng).unwrap();
            let (key, value, attention) = (linear(slots.key), linear(slots.value), linear(1));
            let mut params = cl_core::Params::new();
            for (name, layer) in [("key", &key), ("value", &value), ("attention", &attention)] {
                params.extend(name, layer.params().unwrap()).unwrap();
            }
            let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
            let (mut state, mut all) = (slots.state(2, dtype, device).unwrap(), Vec::new());
            for step in 0..3 {
                for write in 0..3 {
                    let x = data(&[2, 5], dtype, 10 * step + write, device);
                    let given = attention.forward(&x).unwrap().exp().unwrap().squeeze(1).unwrap();
                    let [key, value] = [&key, &value].map(|layer| layer.forward(&x).unwrap());
                    state = slots.write(&state, &key, &value, &given).unwrap();
                }
                let queries = data(&[2, 3, 2], dtype, 100 + step, device);
                let found = slots.read(&state, &queries).unwrap();
                optimizer.backward_step(&params, &found.values.sqr().unwrap().mean_all().unwrap()).unwrap();
                state = state.attended(&found.weights).unwrap().detach();
                all.extend([found.values.detach(), found.weights.detach()]);
            }
            let ages: Vec<f64> = state.age().unwrap().concat().into_iter().map(|age| age as f64).collect();
            all.push(Tensor::new(ages, device).unwrap());
            all.extend([state.keys(), state.values(), state.attention()].map(Tensor::clone));
            all.extend(params.values().unwrap());
            all
        });
    }
}

/// Equal importance, attention of 0, and what is no attention: the same slots are written as on the CPU.
#[test]
fn slots_are_chosen_alike() {
    let Some(gpu) = gpu() else { return };
    let slots = Slots { capacity: 3, key: 2, value: 4, beta: 1.5 };
    compare("choice of slots", &gpu, 0.0, &|device| {
        let mut state = slots.state(4, DType::F32, device).unwrap();
        for step in 0..12 {
            // Quarters, many alike, some 0.
            let given = ((unit(&[4], step).as_tensor() * 4.0).unwrap().round().unwrap() / 4.0).unwrap();
            let given = given.to_dtype(DType::F32).unwrap().to_device(device).unwrap();
            let (key, value) =
                (data(&[4, 2], DType::F32, step, device), data(&[4, 4], DType::F32, 50 + step, device));
            state = slots.write(&state, &key, &value, &given).unwrap();
        }
        [state.keys(), state.values(), state.attention()].map(Tensor::clone).into()
    });
    let write = |given: f32| -> SlotsState {
        let state = slots.state(1, DType::F32, &gpu).unwrap();
        let (key, value) = (data(&[1, 2], DType::F32, 1, &gpu), data(&[1, 4], DType::F32, 2, &gpu));
        slots.write(&state, &key, &value, &Tensor::new(&[given], &gpu).unwrap()).unwrap()
    };
    let attention = |state: SlotsState| state.attention().to_vec2::<f32>().unwrap().concat();
    assert_eq!(attention(write(-1.0)), [0.0; 3]);
    assert!(attention(write(f32::NAN)).iter().all(|a| a.is_nan()));
}

#[test]
fn product_keys_are_trained() {
    let Some(gpu) = gpu() else { return };
    for ((dtype, tolerance), (keys, top)) in
        FLOATS.into_iter().flat_map(|of| [(of, (11, 4)), (of, (1, 1)), (of, (7, 7)), (of, (70, 60))])
    {
        let config = ProductKeyConfig { inputs: 5, outputs: 3, heads: 2, keys, half: 4, top };
        compare(&format!("product keys {dtype:?} {keys} {top}"), &gpu, tolerance, &|device| {
            let memory = ProductKeys::new(config, dtype, device, &mut cl_core::rng(4, "weights")).unwrap();
            let params = memory.params().unwrap();
            let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
            let mut all = Vec::new();
            for step in 0..3 {
                let x = data(&[6, 5], dtype, step, device);
                all.push(memory.select(&x).unwrap().rows);
                let y = memory.forward(&x).unwrap();
                optimizer.backward_step(&params, &y.sqr().unwrap().mean_all().unwrap()).unwrap();
                all.push(y.detach());
            }
            all.extend(params.values().unwrap());
            let x = data(&[6, 5], dtype, 9, device);
            let found = memory.forward_sparse(&x).unwrap();
            let grads = found.output.sqr().unwrap().mean_all().unwrap().backward().unwrap();
            memory.descend(&found, &grads, 0.1).unwrap();
            all.extend([found.output.detach(), memory.values().as_detached_tensor()]);
            all
        });
    }
}
