//! A model of plain candle that forgets, and the same model with attention slots beside it.
//!
//! It sees a list of pairs, a name and a colour each, between pairs that a flag marks as noise, which have names and colours too;
//! then it is asked for the colour of a name. The model is a GRU of 24 units. With slots it says at each step what to keep, under
//! which key, and how much attention it deserves, and its head gets what the slots have for the question.
//!
//! `cargo run --release -p cl-working-memory --example attention_slots_in_your_model`

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::rnn::GRUState;
use candle_nn::{AdamW, GRU, GRUConfig, Linear, Module, Optimizer, ParamsAdamW, RNN, VarBuilder, VarMap};
use cl_core::init::Init;
use cl_core::{Result, Rng};
use cl_working_memory::slots::Slots;
use rand::Rng as _;
use rand::seq::SliceRandom;

const NAMES: usize = 12;
const COLOURS: usize = 6;
/// Pairs that count, and pairs that are noise: more of them than slots.
const PAIRS: usize = 4;
const NOISE: usize = 6;
const BATCH: usize = 64;
const STEPS: usize = 500;
/// Numbers in an input: a name, a colour, and a flag for noise.
const INPUTS: usize = NAMES + COLOURS + 1;
const HIDDEN: usize = 24;

const SLOTS: Slots = Slots { capacity: 5, key: 16, value: 16, beta: 1.0 };

/// Somebody's model.
struct Yours {
    gru: GRU,
    head: Linear,
    /// Added: what is kept of a step, and what is asked.
    slots: Option<Asking>,
}

/// What stands between a model and its slots: four linear layers.
struct Asking {
    key: Linear,
    value: Linear,
    attention: Linear,
    query: Linear,
}

impl Yours {
    fn new(vars: VarBuilder<'_>, with_slots: bool) -> CandleResult<Self> {
        let layer = |from, to, name: &str| candle_nn::linear(from, to, vars.pp(name));
        let slots = match with_slots {
            true => Some(Asking {
                key: layer(INPUTS, SLOTS.key, "key")?,
                value: layer(INPUTS, SLOTS.value, "value")?,
                attention: layer(INPUTS, 1, "attention")?,
                query: layer(INPUTS, SLOTS.key, "query")?,
            }),
            false => None,
        };
        let inner = HIDDEN + if with_slots { SLOTS.value } else { 0 };
        let gru = candle_nn::gru(INPUTS, HIDDEN, GRUConfig::default(), vars.pp("gru"))?;
        Ok(Self { gru, head: layer(inner, COLOURS, "head")?, slots })
    }

    /// Logits of the colour (batch, COLOURS), from the steps (batch, steps, INPUTS), the last of which asks.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, steps, _) = x.dims3()?;
        let mut hidden: GRUState = self.gru.zero_state(batch)?;
        let mut memory = SLOTS.state(batch, DType::F32, &Device::Cpu)?; //                       added
        let mut found = Vec::new(); //                                                           added
        for step in 0..steps {
            let x = x.get_on_dim(1, step)?.contiguous()?;
            hidden = self.gru.step(&x, &hidden)?;
            let Some(Asking { key, value, attention, query }) = &self.slots else { continue }; // added
            if step + 1 < steps {
                let attention = candle_nn::ops::sigmoid(&attention.forward(&x)?.squeeze(1)?)?;
                memory = SLOTS.write(&memory, &key.forward(&x)?, &value.forward(&x)?, &attention)?;
            } else {
                let read = SLOTS.read(&memory, &query.forward(&x)?.unsqueeze(1)?)?;
                found.push(read.values.squeeze(1)?);
            }
        }
        let inner = [vec![hidden.h().clone()], found].concat();
        Ok(self.head.forward(&Tensor::cat(&inner, 1)?)?)
    }
}

/// Sequences (batch, steps, INPUTS) and the colours that are right (batch).
fn batch(rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let steps = PAIRS + NOISE + 1;
    let (mut x, mut y) = (vec![0f32; BATCH * steps * INPUTS], Vec::new());
    for sequence in x.chunks_exact_mut(steps * INPUTS) {
        let mut names: Vec<usize> = (0..NAMES).collect();
        names.shuffle(rng);
        let mut order: Vec<usize> = (0..steps - 1).collect();
        order.shuffle(rng);
        let asked = rng.random_range(0..PAIRS);
        for (pair, &step) in order.iter().enumerate() {
            let (noise, colour) = (pair >= PAIRS, rng.random_range(0..COLOURS));
            // Noise has the names of what counts, with other colours.
            let name = names[pair % PAIRS];
            let at = step * INPUTS;
            (sequence[at + name], sequence[at + NAMES + colour]) = (1.0, 1.0);
            sequence[at + INPUTS - 1] = f32::from(u8::from(noise));
            if pair == asked {
                y.push(colour as u32);
            }
        }
        sequence[(steps - 1) * INPUTS + names[asked]] = 1.0;
    }
    Ok((
        Tensor::from_vec(x, (BATCH, steps, INPUTS), &Device::Cpu)?,
        Tensor::from_vec(y, BATCH, &Device::Cpu)?,
    ))
}

/// Trains it; the part of new questions that are answered rightly.
fn accuracy(with_slots: bool) -> Result<f64> {
    let vars = VarMap::new();
    let model = Yours::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu), with_slots)?;
    // candle draws weights without a seed: they are drawn again, by name.
    for param in cl_core::Params::sorted(vars.data().lock().expect("nobody else has it").clone())?.iter() {
        let (init, rng) = (Init::Uniform(0.2), &mut cl_core::rng(1, &param.name));
        param.var.set(&init.var(param.var.shape(), DType::F32, &Device::Cpu, rng)?.as_detached_tensor())?;
    }
    let mut optimizer = AdamW::new(vars.all_vars(), ParamsAdamW { lr: 0.03, ..ParamsAdamW::default() })?;
    let rng = &mut cl_core::rng(2, "questions");
    for _ in 0..STEPS {
        let (x, y) = batch(rng)?;
        optimizer.backward_step(&candle_nn::loss::cross_entropy(&model.forward(&x)?, &y)?)?;
    }
    let mut right = 0.0;
    for _ in 0..8 {
        let (x, y) = batch(rng)?;
        let answers = model.forward(&x)?.argmax(1)?;
        right += answers.eq(&y)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()? / 8.0;
    }
    Ok(right)
}

/// Of the model alone and with slots.
///
/// # Errors
/// candle's own.
pub fn compare() -> Result<[f64; 2]> {
    Ok([accuracy(false)?, accuracy(true)?])
}

/// Says what both have learned.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let [alone, with_slots] = compare()?;
    println!(
        "{PAIRS} pairs among {NOISE} of noise, {COLOURS} colours, {STEPS} steps of training: answers that are right"
    );
    println!("the model alone   {:.1} %", 100.0 * alone);
    println!("with five slots   {:.1} %", 100.0 * with_slots);
    Ok(())
}
