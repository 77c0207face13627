//! A deep Q-network with prioritized replay and 3-step returns, to copy from: what the memory needs is between
//! the lines marked `memory`.
//!
//! The task: a corridor of 12 places, a step to the left or to the right at a time, a reward of 1 at the right
//! end, and 60 steps at most; an episode that takes longer is cut off, which is no end of the world.
//!
//! `cargo run --release -p cl-replay --example dqn`

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW};
use cl_core::{Result, Rng};
use cl_replay::{
    Anneal, Field, NStep, Next, Prioritized, PrioritizedTrajectories, Schema, Sequences, TdError,
};
use rand::Rng as _;

const PLACES: usize = 12;
const STEPS: u64 = 3000;

/// Learns, and says how well.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let steps = learn(0)?;
    println!("greedy steps to the goal: {steps} (the shortest way has {})", PLACES - 1);
    assert_eq!(steps, PLACES - 1, "3000 steps are enough to find the shortest way");
    Ok(())
}

/// Learns; returns how many steps the greedy policy needs.
fn learn(seed: u64) -> Result<usize> {
    let (network, variables) = network(&mut cl_core::rng(seed, "weights"))?;
    let (target, target_variables) = network_like(&variables)?;
    let mut optimizer =
        AdamW::new(variables.clone(), ParamsAdamW { lr: 3e-3, weight_decay: 0.0, ..Default::default() })?;

    // memory: what a step consists of, ...
    let schema = Schema::new([
        Field::new("obs", DType::F32, [PLACES]),
        Field::new("action", DType::U32, []),
        Field::new("reward", DType::F32, []),
        Field::new("terminated", DType::U8, []),
        Field::new("truncated", DType::U8, []),
    ])?;
    // ... sequences of n + 1 steps, ...
    let sizes = Sequences { length: 2000, sample: 4, min_length: 200, ..Default::default() };
    let mut memory =
        PrioritizedTrajectories::new(schema, sizes, Prioritized::default(), cl_core::rng(seed, "memory"))?;
    // ... 3-step returns that end where an episode ends, ...
    let three_steps = NStep {
        n: 3,
        gamma: 0.97,
        truncated: Some("truncated".into()),
        next: Next::Following,
        ..Default::default()
    };
    // ... and β from 0.4 to 1.
    let beta = Anneal { from: 0.4, to: 1.0, steps: STEPS };

    let mut random = cl_core::rng(seed, "exploration");
    let (mut place, mut age) = (0, 0);
    for step in 0..STEPS {
        let explore = random.random::<f64>() < 0.3;
        let action = if explore { random.random_range(0..2) } else { greedy(&network, place)? };
        let next = walk(place, action);
        age += 1;
        let (terminated, truncated) = (next == PLACES - 1, age == 60);

        // memory: one step of one row
        memory.add(&[
            ("obs", &observation(place)?.unsqueeze(0)?),
            ("action", &Tensor::new(&[[action]], &Device::Cpu)?),
            ("reward", &Tensor::new(&[[if terminated { 1f32 } else { 0.0 }]], &Device::Cpu)?),
            ("terminated", &Tensor::new(&[[u8::from(terminated)]], &Device::Cpu)?),
            ("truncated", &Tensor::new(&[[u8::from(truncated)]], &Device::Cpu)?),
        ])?;
        (place, age) = if terminated || truncated { (0, 0) } else { (next, age) };

        if memory.can_sample() && step.is_multiple_of(2) {
            // memory: a batch by priority, as 3-step transitions
            let sample = memory.sample(32, beta.at(step))?;
            let batch = three_steps.of(&sample.fields)?;

            // Double Q-learning (van Hasselt et al. 2016): the network chooses, the target network rates.
            let next_obs = batch.next.get("obs")?;
            let chosen = network.forward(next_obs)?.argmax_keepdim(D::Minus1)?;
            let rated = target.forward(next_obs)?.gather(&chosen, 1)?.squeeze(1)?;
            let wanted = (&batch.returns + (&batch.discounts * rated)?)?.detach();
            let actions = batch.first.get("action")?.unsqueeze(1)?;
            let values = network.forward(batch.first.get("obs")?)?.gather(&actions, 1)?.squeeze(1)?;
            let delta = (wanted - values)?;
            let loss = (delta.sqr()? * &sample.weights)?.mean_all()?;
            optimizer.backward_step(&loss)?;

            // memory: the new priorities, |δ| + ε
            memory.update(&sample.items, &TdError::default(), &delta)?;
        }
        if step.is_multiple_of(100) {
            for (to, from) in target_variables.iter().zip(&variables) {
                to.set(from)?;
            }
        }
    }

    let mut place = 0;
    for steps in 1..=200 {
        place = walk(place, greedy(&network, place)?);
        if place == PLACES - 1 {
            return Ok(steps);
        }
    }
    Ok(usize::MAX)
}

fn walk(place: usize, action: u32) -> usize {
    if action == 1 { place + 1 } else { place.saturating_sub(1) }
}

fn observation(place: usize) -> Result<Tensor> {
    let mut one_hot = [0f32; PLACES];
    one_hot[place] = 1.0;
    Ok(Tensor::new(&[one_hot], &Device::Cpu)?)
}

fn greedy(network: &impl Module, place: usize) -> Result<u32> {
    Ok(network.forward(&observation(place)?)?.argmax(D::Minus1)?.to_vec1()?[0])
}

/// Two layers.
struct Mlp([Linear; 2]);

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.0[1].forward(&self.0[0].forward(x)?.relu()?)
    }
}

/// candle's CPU generator has no seed, hence weights of our own: uniform within 1/√inputs.
fn network(rng: &mut Rng) -> Result<(Mlp, Vec<Var>)> {
    let mut variables = Vec::new();
    for (inputs, outputs) in [(PLACES, 32), (32, 2)] {
        let bound = 1.0 / (inputs as f32).sqrt();
        let weights: Vec<f32> = (0..inputs * outputs).map(|_| rng.random_range(-bound..bound)).collect();
        variables.push(Var::from_vec(weights, (outputs, inputs), &Device::Cpu)?);
        variables.push(Var::zeros(outputs, DType::F32, &Device::Cpu)?);
    }
    Ok((of_variables(&variables), variables))
}

fn network_like(variables: &[Var]) -> Result<(Mlp, Vec<Var>)> {
    let copies = variables.iter().map(|v| Ok(Var::from_tensor(&v.copy()?)?)).collect::<Result<Vec<_>>>()?;
    Ok((of_variables(&copies), copies))
}

fn of_variables(v: &[Var]) -> Mlp {
    let linear =
        |weight: &Var, bias: &Var| Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
    Mlp([linear(&v[0], &v[1]), linear(&v[2], &v[3])])
}
