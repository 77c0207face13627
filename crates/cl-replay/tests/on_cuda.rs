//! The memory on a GPU gives what it gives on the CPU, to the last bit. Skipped, with the reason, where there is no GPU.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::{snapshot, sum_tree::PriorityTree};
use cl_replay::{DeviceReplay, DeviceSample, Field, NewItems, Prioritized, Schema, Strata, Weights};
use rand::Rng as _;

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

fn schema() -> Schema {
    Schema::new([
        Field::new("frame", DType::U8, [7, 5]),
        Field::new("obs", DType::F32, [12]),
        Field::new("action", DType::I64, []),
        Field::new("value", DType::F16, [3]),
    ])
    .unwrap()
}

fn batch(from: u64, n: usize, device: &Device) -> Vec<(&'static str, Tensor)> {
    let names = ["frame", "obs", "action", "value"];
    let field = |field: &Field| {
        let dims = [&[n], &field.shape[..]].concat();
        let width: usize = field.shape.iter().product();
        let values: Vec<f32> = (0..n * width).map(|i| ((from as usize * width + i) % 251) as f32).collect();
        Tensor::from_vec(values, dims, device).unwrap().to_dtype(field.dtype).unwrap()
    };
    names.into_iter().zip(schema().fields().iter().map(field)).collect()
}

fn bits(sample: &DeviceSample) -> String {
    let host = |t: &Tensor| t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap();
    let fields: Vec<Vec<f64>> =
        sample.fields.iter().map(|(_, t)| host(t).to_dtype(DType::F64).unwrap().to_vec1().unwrap()).collect();
    let floats = [&sample.probabilities, &sample.weights]
        .map(|t| host(t).to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>());
    format!("{fields:?} {:?} {floats:?}", host(&sample.items.slots).to_vec1::<u32>().unwrap())
}

/// Additions round the end, samples, priorities of which some come late and some cannot be; rows beyond the cap on the host; a
/// snapshot of the one is one of the other.
#[test]
fn a_memory_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let capacity = 3000;
    let spilled = PriorityTree::bytes(capacity) + 1000 * schema().bytes();
    for (new_items, weights, strata) in [
        (NewItems::LargestEver, Weights::BatchMax, Strata::Stratified),
        (NewItems::LargestNow, Weights::BufferMax, Strata::Independent),
        (NewItems::Fixed(0.7), Weights::None, Strata::Stratified),
    ] {
        let config = Prioritized { alpha: 0.6, new_items, weights, strata };
        let make = |device: &Device, bytes: Option<usize>| {
            let builder = DeviceReplay::builder(schema(), capacity).prioritized(config);
            let builder = bytes.map_or(builder.clone(), |bytes| builder.device_bytes(bytes));
            builder.build(device, cl_core::rng(3, "memory")).unwrap()
        };
        let mut memories = [make(&Device::Cpu, None), make(&gpu, None), make(&gpu, Some(spilled))];
        assert_eq!(memories.each_ref().map(DeviceReplay::on_device), [3000, 3000, 1000]);
        let mut rng = cl_core::rng(4, "test");
        let mut samples: Vec<[DeviceSample; 3]> = Vec::new();
        for step in 0..12 {
            let n = rng.random_range(1..900);
            for memory in &mut memories {
                let batch = batch(memory.written(), n, memory.device());
                let batch: Vec<(&str, &Tensor)> = batch.iter().map(|(name, t)| (*name, t)).collect();
                memory.add(&batch).unwrap();
            }
            let drawn = memories.each_mut().map(|memory| memory.sample(100, 0.4).unwrap());
            assert_eq!(bits(&drawn[1]), bits(&drawn[0]), "step {step}");
            assert_eq!(bits(&drawn[2]), bits(&drawn[0]), "step {step}, spilled");
            samples.push(drawn);
            let mut priorities: Vec<f32> = (0..100).map(|_| rng.random_range(0.0..3.0)).collect();
            (priorities[3], priorities[50], priorities[51]) = (f32::NAN, -1.0, 0.0);
            let of = &samples[rng.random_range(0..samples.len())];
            for (memory, sample) in memories.iter_mut().zip(of) {
                let p = Tensor::from_slice(&priorities, 100, memory.device()).unwrap();
                memory.update_priorities(&sample.items, &p).unwrap();
            }
        }
        let counts = memories.each_ref().map(|memory| memory.check().unwrap());
        assert_eq!((counts[1], counts[2]), (counts[0], counts[0]));
        assert!(counts[0].late > 0 && counts[0].refused > 0);

        let saved = |memory: &DeviceReplay| snapshot::to_bytes(DeviceReplay::KIND, memory).unwrap();
        assert!(saved(&memories[0]) == saved(&memories[1]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.snap");
        memories[0].save(&path).unwrap();
        let mut there = DeviceReplay::load(&path, &gpu).unwrap();
        assert!(there.device().is_cuda());
        assert_eq!(bits(&there.sample(50, 1.0).unwrap()), bits(&memories[0].sample(50, 1.0).unwrap()));
    }
}
