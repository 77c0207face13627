#![allow(missing_docs)]
use candle_core::*;
use cl_replay::*;
use rand::Rng;
use std::time::Instant;
fn main() {
    for bits in [20usize, 24] {
        let cap = 1 << bits;
        let w = if bits == 24 { 84 } else { 84 };
        let mut rng = cl_core::rng(0, "x");
        let med = |mut v: Vec<f64>| {
            v.sort_by(f64::total_cmp);
            (v[v.len() / 20], v[v.len() / 2])
        };
        let schema = Schema::new([Field::new("obs", DType::F32, [w])]).unwrap();
        let mut m = PrioritizedItems::new(
            schema.clone(),
            cap,
            Prioritized { alpha: 0.6, ..Default::default() },
            cl_core::rng(0, "m"),
        )
        .unwrap();
        let big = Tensor::rand(0f32, 1., (4096, w), &Device::Cpu).unwrap();
        for _ in 0..cap / 4096 {
            m.add(&[("obs", &big)]).unwrap();
        }
        let mut time = |name: &str, k: f64, f: &mut dyn FnMut()| {
            let mut ts = vec![];
            for _ in 0..600 {
                let s = Instant::now();
                f();
                ts.push(s.elapsed().as_nanos() as f64 / k);
            }
            println!("2^{bits} {name} {:?}", med(ts));
        };
        let all: Vec<Item> = (0..cap as u64).map(|time| Item { row: 0, time }).collect();
        let v: Vec<f32> = (0..cap).map(|_| rng.random::<f32>() + 1e-3).collect();
        m.set_priorities(&all, &v).unwrap();
        time("draw", 2048., &mut || {
            for _ in 0..8 {
                std::hint::black_box(m.draw(256, 0.4).unwrap());
            }
        });
        time("draw-gather", 2048., &mut || {
            for _ in 0..8 {
                std::hint::black_box(m.sample(256, 0.4).unwrap());
            }
        });
        let batches: Vec<(Vec<Item>, Vec<f32>)> = (0..4800)
            .map(|_| {
                (
                    (0..256).map(|_| Item { row: 0, time: rng.random_range(0..cap as u64) }).collect(),
                    (0..256).map(|_| rng.random::<f32>() + 1e-3).collect(),
                )
            })
            .collect();
        let mut r = 0;
        time("update", 2048., &mut || {
            for _ in 0..8 {
                let b = &batches[r % 4800];
                r += 1;
                m.set_priorities(&b.0, &b.1).unwrap();
            }
        });
        let b256 = Tensor::rand(0f32, 1., (256, w), &Device::Cpu).unwrap();
        time("add256", 2048., &mut || {
            for _ in 0..8 {
                m.add(&[("obs", &b256)]).unwrap();
            }
        });
        let b1 = Tensor::rand(0f32, 1., (1, w), &Device::Cpu).unwrap();
        time("add1", 64., &mut || {
            for _ in 0..64 {
                m.add(&[("obs", &b1)]).unwrap();
            }
        });
        drop(m);
        let mut m = Items::new(schema, cap, cl_core::rng(0, "m")).unwrap();
        for _ in 0..cap / 4096 {
            m.add(&[("obs", &big)]).unwrap();
        }
        time("uniform-gather", 2048., &mut || {
            for _ in 0..8 {
                std::hint::black_box(m.sample(256, Draw::WithReplacement).unwrap());
            }
        });
    }
}
