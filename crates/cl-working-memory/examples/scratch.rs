#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Rng};
use cl_nn::{Optimizer, OptimizerConfig, clip_norm};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess};
use rand::Rng as _;
use std::time::Instant;

fn speed() -> Result<()> {
    let memory = MemoryAccess { width: 64, heads: 4, ..MemoryAccess::default() };
    let config =
        Config { inputs: 64, outputs: 64, slots: 128, memory, controller: Controller::Lstm { units: 256 } };
    let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "w"))?;
    let params = dnc.params()?;
    println!("{} params", params.numel());
    let mut opt = Optimizer::new(OptimizerConfig::adam(1e-3))?;
    let x = cl_core::init::Init::Normal(1.0)
        .var((20, 16, 64), DType::F32, &Device::Cpu, &mut cl_core::rng(0, "x"))?
        .as_detached_tensor();
    let (mut best, mut bf, mut bb) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..40 {
        let t0 = Instant::now();
        let (y, _) = dnc.forward(&x, &dnc.state(16)?)?;
        let loss = y.sqr()?.mean_all()?;
        let t1 = Instant::now();
        let g = loss.backward()?;
        let t2 = Instant::now();
        let g = params.gradients(&g)?;
        opt.step(&params, &g)?;
        drop(loss);
        drop(y);
        let t3 = Instant::now();
        best = best.min((t3 - t0).as_secs_f64());
        bf = bf.min((t1 - t0).as_secs_f64());
        bb = bb.min((t2 - t1).as_secs_f64());
    }
    println!("min step {:.1} ms, forward {:.1}, backward {:.1}", best * 1e3, bf * 1e3, bb * 1e3);
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "speed" {
        return speed();
    }
    if args[1] == "products" {
        return products();
    }
    let (units, lr, width, seed, steps): (usize, f64, usize, u64, usize) = (
        args[1].parse().unwrap(),
        args[2].parse().unwrap(),
        args[3].parse().unwrap(),
        args[4].parse().unwrap(),
        args[5].parse().unwrap(),
    );
    let bits = 6;
    let memory = MemoryAccess { width, ..MemoryAccess::default() };
    let controller =
        if units == 0 { Controller::FeedForward { units: vec![64, 64] } } else { Controller::Lstm { units } };
    let config = Config { inputs: bits + 1, outputs: bits, slots: 16, memory, controller };
    let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
    let (params, data) = (dnc.params()?, &mut cl_core::rng(seed, "patterns"));
    let mut opt = Optimizer::new(OptimizerConfig::adam(lr))?;
    let t = Instant::now();
    for step in 0..=steps {
        let length = data.random_range(1..=10);
        let (s, p) = sequences(length, 16, bits, data)?;
        let (y, _) = dnc.forward(&s, &dnc.state(16)?)?;
        let l = loss(&y.narrow(0, length + 1, length)?, &p)?;
        if step % 1000 == 0 {
            let mut r = cl_core::rng(9, "t");
            let (s, p) = sequences(10, 64, bits, &mut r)?;
            let e = |y: Tensor| wrong(&y.narrow(0, 11, 10)?, &p);
            let see = e(dnc.forward(&s, &dnc.state(64)?)?.0)?;
            let two = e(dnc.forward(&s, &dnc.state_with(32, 64)?)?.0)?;
            let blind = e(dnc.forward_blind(&s, &dnc.state(64)?)?.0)?;
            println!(
                "{step} {:.1}s: loss {:.4} len10 {:.2}% 2N {:.2}% blind {:.2}%",
                t.elapsed().as_secs_f64(),
                l.to_scalar::<f32>()?,
                see * 100.,
                two * 100.,
                blind * 100.
            );
        }
        let mut g = params.gradients(&l.backward()?)?;
        clip_norm(&mut g, 10.0)?;
        opt.step(&params, &g)?;
    }
    Ok(())
}
fn sequences(length: usize, batch: usize, bits: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let b: Vec<f32> = (0..length * batch * bits).map(|_| f32::from(u8::from(rng.random::<bool>()))).collect();
    let patterns = Tensor::from_vec(b, (length, batch, bits), &Device::Cpu)?;
    let shown = patterns.pad_with_zeros(2, 0, 1)?;
    let mark = Tensor::ones((1, batch, 1), DType::F32, &Device::Cpu)?.pad_with_zeros(2, bits, 0)?;
    let silence = Tensor::zeros((length, batch, bits + 1), DType::F32, &Device::Cpu)?;
    Ok((Tensor::cat(&[shown, mark, silence], 0)?, patterns))
}
fn loss(logits: &Tensor, bits: &Tensor) -> Result<Tensor> {
    let top = logits.detach().relu()?;
    let log = ((top.neg()?.exp()? + (logits - &top)?.exp()?)?.log()? + top)?;
    Ok((log - (logits * bits)?)?.mean_all()?)
}
fn wrong(logits: &Tensor, bits: &Tensor) -> Result<f64> {
    let said = logits.gt(0f32)?.to_dtype(DType::F32)?;
    Ok(f64::from(said.ne(bits)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?))
}
fn products() -> Result<()> {
    let n = |r: usize, c: usize, s| {
        cl_core::init::Init::Normal(1.0)
            .var((r, c), DType::F32, &Device::Cpu, &mut cl_core::rng(s, "x"))
            .unwrap()
            .as_detached_tensor()
    };
    let (x, w, g) = (n(16, 576, 1), n(1024, 576, 2), n(16, 1024, 3));
    let wt = w.t()?.contiguous()?;
    let xt = x.t()?.contiguous()?;
    let time = |name: &str, f: &dyn Fn() -> Tensor| {
        let mut best = f64::MAX;
        for _ in 0..30 {
            let t = Instant::now();
            for _ in 0..10 {
                std::hint::black_box(f());
            }
            best = best.min(t.elapsed().as_secs_f64() / 10.0);
        }
        println!("{name}: {:.0} us", best * 1e6);
    };
    time("x Wt (W row-major)", &|| x.matmul(&w.t().unwrap()).unwrap());
    time("x Wt (Wt row-major)", &|| x.matmul(&wt).unwrap());
    time("W xT (W row-major)", &|| w.matmul(&x.t().unwrap()).unwrap());
    time("W xT (both row-major)", &|| w.matmul(&xt).unwrap());
    time("g W", &|| g.matmul(&w).unwrap());
    time("g W (W from Wt)", &|| g.matmul(&wt.t().unwrap()).unwrap());
    let (gg, xx) = (n(320, 1024, 4), n(320, 576, 5));
    time("Gt X 320", &|| gg.t().unwrap().matmul(&xx).unwrap());
    time("transpose W", &|| w.t().unwrap().contiguous().unwrap());
    Ok(())
}
