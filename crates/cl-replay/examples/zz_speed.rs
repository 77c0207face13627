use cl_replay::*;
use rand::Rng;
use std::time::Instant;
fn main() {
    for bits in [20usize, 24] {
        let cap = 1 << bits;
        let mut rng = cl_core::rng(0, "x");
        let mut t = SumTree::new(cap).unwrap();
        let v: Vec<f32> = (0..cap).map(|_| rng.random::<f32>() + 1e-3).collect();
        t.set_range(0, &v).unwrap();
        let med = |mut v: Vec<f64>| {
            v.sort_by(f64::total_cmp);
            (v[v.len() / 20], v[v.len() / 2])
        };
        for strata in [Strata::Stratified, Strata::Independent] {
            let mut ts = vec![];
            for _ in 0..400 {
                let s = Instant::now();
                for _ in 0..8 {
                    std::hint::black_box(t.sample(256, strata, &mut rng).unwrap());
                }
                ts.push(s.elapsed().as_nanos() as f64 / 2048.);
            }
            println!("2^{bits} {strata:?} draw {:?}", med(ts));
        }
        let batches: Vec<(Vec<u32>, Vec<f32>)> = (0..512)
            .map(|_| {
                (
                    (0..256).map(|_| rng.random_range(0..cap as u32)).collect(),
                    (0..256).map(|_| rng.random::<f32>() + 1e-3).collect(),
                )
            })
            .collect();
        let mut ts = vec![];
        for r in 0..4000 {
            let s = Instant::now();
            for k in 0..8 {
                let b = &batches[(r * 8 + k) % 512];
                t.set_batch(&b.0, &b.1).unwrap();
            }
            ts.push(s.elapsed().as_nanos() as f64 / 2048.);
        }
        println!("2^{bits} update {:?}", med(ts));
        let mut ts = vec![];
        for r in 0..400 {
            let s = Instant::now();
            for k in 0..8 {
                t.set_range(((r * 8 + k) * 256) % cap, &batches[k].1).unwrap();
            }
            ts.push(s.elapsed().as_nanos() as f64 / 2048.);
        }
        println!("2^{bits} range {:?}", med(ts));
        let mut x = vec![0u64; 256];
        let mut ts = vec![];
        for _ in 0..400 {
            let s = Instant::now();
            for _ in 0..8 {
                rng.fill(&mut x[..]);
                std::hint::black_box(&x);
            }
            ts.push(s.elapsed().as_nanos() as f64 / 2048.);
        }
        println!("rng {:?}", med(ts));
    }
}
