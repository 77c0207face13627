//! Layers and stores give on a GPU what they give on the CPU. Skipped, with the reason, where there is no GPU.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::Params;
use cl_core::init::Init;
use cl_hopfield::continuous::{self, Steps};
use cl_hopfield::layers::{Beta, Config, Hopfield, Lookup, Pooling};
use cl_hopfield::{IndexedStore, Store};

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

fn normal(dims: &[usize], seed: u64) -> Tensor {
    let rng = &mut cl_core::rng(seed, "test");
    Init::Normal(1.0).var(dims, DType::F32, &Device::Cpu, rng).unwrap().as_detached_tensor()
}

fn elements(t: &Tensor) -> Vec<f64> {
    let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails where two tensors differ by more than `tolerance` of the largest element, at least of 0.1: what cancels, as the gradient
/// of a bias of keys, leaves its rounding.
#[track_caller]
fn assert_close(what: &str, gpu: &Tensor, cpu: &Tensor, tolerance: f64) {
    assert_eq!(gpu.dims(), cpu.dims(), "{what}");
    let (found, expected) = (elements(gpu), elements(cpu));
    let scale = expected.iter().fold(0.1f64, |max, e| max.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() <= tolerance * scale, "{what}, element {i}: {f} on the GPU, {e} on the CPU");
    }
}

/// Result and the gradient of every parameter, with the same weights on both devices.
fn compare(what: &str, gpu: &Device, on: impl Fn(&Device) -> (Tensor, Params)) {
    let both = [&Device::Cpu, gpu].map(|device| {
        let (result, params) = on(device);
        let factor = normal(result.dims(), 99).to_device(device).unwrap();
        let grads = (&result * factor).unwrap().sum_all().unwrap().backward().unwrap();
        (result, params, grads)
    });
    let [(cpu, params, cpu_grads), (there, params_there, grads)] = both;
    assert_close(what, &there, &cpu, 1e-4);
    for (param, param_there) in params.iter().zip(params_there.iter()) {
        let (c, g) = (cpu_grads.get(&param.var).unwrap(), grads.get(&param_there.var).unwrap());
        assert_close(&format!("{what}, ∂{}", param.name), g, c, 1e-4);
    }
}

#[test]
fn layers_run_and_learn() {
    let Some(gpu) = gpu() else { return };
    for (beta, steps) in [(Beta::InverseRoot, 1), (Beta::Learned(0.5), 2)] {
        let config =
            Config { state: 6, stored: 5, outputs: 3, heads: 2, width: 8, beta, steps, normalise: true };
        let mask =
            Tensor::new(&[0f32, 0.0, f32::NEG_INFINITY, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0], &Device::Cpu).unwrap();
        let rng = || cl_core::rng(0, "weights");
        compare(&format!("Hopfield, {steps} steps"), &gpu, |device| {
            let layer = Hopfield::new(config, DType::F32, device, &mut rng()).unwrap();
            let to = |t: Tensor| t.to_device(device).unwrap();
            let (states, stored) = (to(normal(&[2, 7, 6], 1)), to(normal(&[2, 9, 5], 2)));
            let found = layer.forward(&states, &stored, None).unwrap();
            let mask = mask.to_device(device).unwrap();
            let shared = layer.forward_shared(&states, &stored.get(0).unwrap(), Some(&mask)).unwrap();
            ((found + shared).unwrap(), layer.params().unwrap())
        });
        compare("Pooling", &gpu, |device| {
            let layer = Pooling::new(2, config, DType::F32, device, &mut rng()).unwrap();
            let stored = normal(&[3, 9, 5], 2).to_device(device).unwrap();
            (layer.forward(&stored, None).unwrap(), layer.params().unwrap())
        });
        compare("Lookup", &gpu, |device| {
            let layer = Lookup::new(11, config, DType::F32, device, &mut rng()).unwrap();
            let states = normal(&[3, 4, 6], 1).to_device(device).unwrap();
            (layer.forward(&states).unwrap(), layer.params().unwrap())
        });
    }
}

/// Patterns there, in f32 and half precision, come and go, are retrieved and found; and patterns that stay on the CPU, part by part.
#[test]
fn stores() {
    let Some(gpu) = gpu() else { return };
    let (patterns, queries) = (normal(&[70, 16], 1), normal(&[5, 16], 2));
    let mut here = Store::new(16).unwrap();
    let ids = here.insert_all(&patterns).unwrap();
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 4.0 / 256.0), (DType::F16, 4.0 / 2048.0)] {
        let mut there = Store::on(&gpu, dtype, 16, 4).unwrap();
        assert_eq!(there.insert_all(&patterns.to_device(&gpu).unwrap()).unwrap(), ids);
        let rounded = |t: &Tensor| t.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
        let exact =
            continuous::retrieve(&rounded(&queries), &rounded(&patterns), 0.5, Steps::Exactly(2)).unwrap();
        let asked = queries.to_dtype(dtype).unwrap().to_device(&gpu).unwrap();
        let found = there.retrieve(&asked, 0.5, Steps::Exactly(2)).unwrap();
        assert_close(&format!("{dtype:?}"), &found.state, &exact.state, tolerance);
        let (nearest, expected) = (there.nearest(&asked, 1).unwrap(), here.nearest(&queries, 1).unwrap());
        assert_eq!(nearest[0][0].0, expected[0][0].0, "{dtype:?}");
        // Queries there, patterns in parts of ten from here.
        let on_cpu =
            there.to_device(&Device::Cpu).unwrap().with_device_bytes(10 * 16 * dtype.size_in_bytes());
        let in_parts = on_cpu.retrieve(&asked, 0.5, Steps::Exactly(2)).unwrap();
        assert_close(&format!("{dtype:?} in parts"), &in_parts.state, &exact.state, tolerance);
        there.forget(ids[3]).unwrap();
        there.overwrite(ids[69], &[0.5; 16]).unwrap();
        assert_eq!((there.len(), there.get(ids[69]).unwrap()), (69, vec![0.5; 16]));
    }
}

#[test]
fn indexed_stores() {
    let Some(gpu) = gpu() else { return };
    let (patterns, queries) = (normal(&[4200, 8], 1), normal(&[6, 8], 2));
    let (mut here, mut there) = (IndexedStore::new(8, 0).unwrap(), IndexedStore::on(&gpu, 8, 0).unwrap());
    let ids = here.insert_all(&patterns).unwrap();
    assert_eq!(there.insert_all(&patterns).unwrap(), ids);
    let asked = queries.to_device(&gpu).unwrap();
    // All cells: which of two that are as near a pattern went to makes no difference.
    let probes = usize::MAX;
    let expected = here.retrieve(&queries, 1.0, Steps::Exactly(1), probes).unwrap().state;
    assert_close(
        "indexed",
        &there.retrieve(&asked, 1.0, Steps::Exactly(1), probes).unwrap().state,
        &expected,
        1e-4,
    );
    assert_eq!(
        there.nearest(&asked, 1, probes).unwrap()[0][0].0,
        here.nearest(&queries, 1, probes).unwrap()[0][0].0
    );
}
