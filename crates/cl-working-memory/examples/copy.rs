//! A differentiable neural computer learns to repeat what it was shown.
//!
//! `cargo run --release -p cl-working-memory --example copy`

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Rng};
use cl_nn::{Optimizer, OptimizerConfig, clip_norm};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess};
use rand::Rng as _;

const BITS: usize = 3;
const LENGTH: usize = 3;
const BATCH: usize = 16;

/// Trains until the copies are right, and says how many of the bits are wrong with and without what is read.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let memory = MemoryAccess { width: 8, ..MemoryAccess::default() };
    // Too small to remember the patterns itself.
    let controller = Controller::Lstm { units: 16 };
    let config = Config { inputs: BITS + 1, outputs: BITS, slots: 6, memory, controller };
    let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
    let (params, data) = (dnc.params()?, &mut cl_core::rng(0, "patterns"));
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(3e-3))?;
    for step in 0..4000 {
        let (sequence, patterns) = patterns(data)?;
        let (outputs, _) = dnc.forward(&sequence, &dnc.state(BATCH)?)?;
        let found = outputs.narrow(0, LENGTH + 1, LENGTH)?;
        let (loss, wrong) = (error(&found, &patterns)?, wrong(&found, &patterns)?);
        if step % 200 == 0 {
            println!("step {step}: {:.1} % of the bits are wrong", 100.0 * wrong);
        }
        if wrong == 0.0 && loss.to_scalar::<f32>()? < 0.02 {
            break;
        }
        let mut gradients = params.gradients(&loss.backward()?)?;
        clip_norm(&mut gradients, 10.0)?;
        optimizer.step(&params, &gradients)?;
    }

    let (sequence, patterns) = patterns(data)?;
    let of = |outputs: Tensor| wrong(&outputs.narrow(0, LENGTH + 1, LENGTH)?, &patterns);
    let seeing = of(dnc.forward(&sequence, &dnc.state(BATCH)?)?.0)?;
    let blind = of(dnc.forward_blind(&sequence, &dnc.state(BATCH)?)?.0)?;
    println!("{:.1} % are wrong in the end, {:.1} % without its memory", 100.0 * seeing, 100.0 * blind);
    assert!(seeing < 0.05 && blind > 0.2, "{seeing}, {blind}");
    Ok(())
}

/// Patterns, a mark, and as many steps to repeat them (2·LENGTH + 1, BATCH, BITS + 1); and the patterns (LENGTH, BATCH, BITS).
fn patterns(rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let bits: Vec<f32> = (0..LENGTH * BATCH * BITS).map(|_| f32::from(rng.random::<bool>())).collect();
    let patterns = Tensor::from_vec(bits, (LENGTH, BATCH, BITS), &Device::Cpu)?;
    let shown = patterns.pad_with_zeros(2, 0, 1)?;
    let mark = Tensor::ones((1, BATCH, 1), DType::F32, &Device::Cpu)?.pad_with_zeros(2, BITS, 0)?;
    let silence = Tensor::zeros((LENGTH, BATCH, BITS + 1), DType::F32, &Device::Cpu)?;
    Ok((Tensor::cat(&[shown, mark, silence], 0)?, patterns))
}

/// The mean of −ln of the probability of each bit, of logits z and bits y: ln(1 + eᶻ) − yz.
fn error(logits: &Tensor, bits: &Tensor) -> Result<Tensor> {
    let top = logits.detach().relu()?;
    let log = ((top.neg()?.exp()? + (logits - &top)?.exp()?)?.log()? + top)?;
    Ok((log - (logits * bits)?)?.mean_all()?)
}

/// How many of the bits are wrong, as a fraction.
fn wrong(logits: &Tensor, bits: &Tensor) -> Result<f64> {
    let said = logits.gt(0f32)?.to_dtype(DType::F32)?;
    Ok(f64::from(said.ne(bits)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?))
}
