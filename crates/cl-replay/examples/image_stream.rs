//! A memory for an image stream: handwritten digits that come two classes at a time, each image once, and a
//! memory of 50 of them that decides by scores what to keep and what to replay.
//!
//! The scores of an image: the norm of its loss gradient, the entropy of its class under dropout, the distance
//! of its pixels to the nearest image in memory, and how far its gradient points where those of the memory do.
//! What is kept and what is drawn are two decisions:
//!
//! | row | keeps | replays |
//! |---|---|---|
//! | reservoir | a random choice of the stream | a random choice of the memory |
//! | by score | the same | what moves the network, and what it is unsure of |
//! | gss | what points in other directions than the memory | a random choice |
//! | spread | what has no near neighbour in memory | a random choice |
//!
//! On this stream, whose classes are equally frequent, drawing by score is worth about five points (over twelve
//! seeds), and neither of the two choices beats the random one: images that are far from all others are odd
//! ones, and the typical image of a class is then farther from the memory, not nearer.
//!
//! `cargo run -p cl-replay --example image_stream`

use candle_core::{D, DType, Device, Module, Tensor};
use cl_core::{Result, Rng, TensorOps, Units, per_sample};
use cl_data::{ClassOrder, LastBatch, Scenario};
use cl_nn::{Activation, Mlp, Optimizer, OptimizerConfig};
use cl_replay::Draw;
use cl_replay::gss;
use cl_replay::neighbours::{coverage, neighbours};
use cl_replay::scored::{Evict, Scored, Strategy, Value, Worth};
use cl_replay::scores::{self, LayerGradients};
use rand::Rng as _;

const BATCH: usize = 10;
const CAPACITY: usize = 50;
const SEEDS: u64 = 3;

/// What goes with every image.
const SCORES: [&str; 4] = ["gradient", "uncertainty", "novelty", "similarity"];

/// What became of one run.
struct Outcome {
    /// On all ten classes at the end.
    accuracy: f64,
    /// The mean distance of the images of the stream to the nearest one in memory.
    distance: f64,
    /// Images of the class that has the fewest in memory.
    fewest: usize,
}

/// Prints the mean over a few seeds for each memory.
///
/// # Errors
/// Whatever went wrong.
pub fn main() -> Result<()> {
    let uniform = || Strategy::Uniform(Draw::WithoutReplacement);
    let value = Value::Mixed(vec![("gradient".into(), 0.7), ("uncertainty".into(), 0.3)]);
    let by_score = Strategy::Softmax { value, temperature: 0.3, draw: Draw::WithoutReplacement };
    // Least worth is what has a near neighbour in memory.
    let spread = Worth { age: 0.0, scores: vec![("novelty".into(), 1.0)], ..Worth::default() };
    let memories = [
        ("none", None),
        ("reservoir", Some((Evict::Reservoir, uniform()))),
        ("by score", Some((Evict::Reservoir, by_score))),
        ("gss", Some((Evict::GssGreedy("similarity".into()), uniform()))),
        ("spread", Some((Evict::LeastWorth(spread), uniform()))),
    ];

    println!("digits, two classes at a time; {CAPACITY} images kept; mean of {SEEDS} seeds");
    println!("{:<10} {:>9} {:>10} {:>15}", "memory", "accuracy", "distance", "fewest of class");
    let mut accuracies = Vec::new();
    for (name, memory) in memories {
        let runs = (0..SEEDS).map(|seed| run(memory.as_ref(), seed)).collect::<Result<Vec<_>>>()?;
        let mean = |of: &dyn Fn(&Outcome) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let accuracy = mean(&|run| run.accuracy);
        print!("{name:<10} {accuracy:>9.3}");
        match memory {
            Some(_) => {
                println!(" {:>10.3} {:>15.1}", mean(&|run| run.distance), mean(&|run| run.fewest as f64));
            }
            None => println!(),
        }
        accuracies.push(accuracy);
    }
    assert!(accuracies[1..].iter().all(|with| *with > accuracies[0] + 0.1), "a memory should be worth more");
    Ok(())
}

/// One pass over the stream.
fn run(memory: Option<&(Evict, Strategy)>, seed: u64) -> Result<Outcome> {
    let digits = cl_data::load("digits")?;
    let stream = cl_data::split(&digits, 5, Scenario::Class, ClassOrder::Shuffled(seed))?;
    let net = Mlp::new(&[64, 64, 10], DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1))?;
    let mut draws = cl_core::rng(seed, "scores");
    let mut memory = match memory {
        Some((evict, strategy)) => {
            Some((Scored::new(CAPACITY, &SCORES, evict.clone(), cl_core::rng(seed, "memory"))?, strategy))
        }
        None => None,
    };

    let mut seen = Vec::new();
    for task in &stream.tasks {
        let rng = cl_core::rng(seed, &format!("batches of task {}", task.index));
        let mut batches = cl_data::Batches::new(task.train.len(), BATCH, rng, LastBatch::Drop)?;
        for _ in 0..batches.per_epoch() {
            let batch = task.train.gather(batches.next_batch())?;
            let (mut x, mut y) = (batch.x.clone(), batch.y.clone());
            if let Some((memory, strategy)) = &mut memory {
                let scores = score(&net, memory, &batch.x, &batch.y, &mut draws)?;
                if !memory.is_empty() {
                    let old = memory.sample(BATCH.min(memory.len()), strategy)?;
                    // What is replayed is scored anew: the network has changed since.
                    let gradient = scores::gradient_norm(&gradients(&net, &old.x, &old.y)?)?;
                    let uncertainty = uncertainty(&net, &old.x, &mut draws)?;
                    memory.update(&old.ids, &[("gradient", &gradient), ("uncertainty", &uncertainty)])?;
                    (x, y) = (Tensor::cat(&[&x, &old.x], 0)?, Tensor::cat(&[&y, &old.y], 0)?);
                }
                let scores: Vec<_> = SCORES.into_iter().zip(&scores).collect();
                memory.offer(&batch.x, &batch.y, &scores)?;
                // Every image that comes in crowds others.
                let held = memory.ledger().ids();
                memory.update(&held, &[("novelty", &scores::spread(&memory.all()?.0)?)])?;
            }
            let loss = net.forward(&x)?.cross_entropy(&y, Units::All, None)?;
            optimizer.backward_step(net.params(), &loss)?;
            seen.push(batch.x);
        }
    }

    let (mut right, mut all) = (0.0, 0.0);
    for task in &stream.tasks {
        let test = task.test.all()?;
        let hits = net.predict(&test.x)?.argmax(D::Minus1)?.eq(&test.y)?;
        right += hits.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        all += task.test.len() as f64;
    }
    let mut outcome = Outcome { accuracy: right / all, distance: 0.0, fewest: 0 };
    if let Some((memory, _)) = memory {
        let (x, y) = memory.all()?;
        let mut index = neighbours(64)?;
        index.insert(&(0..memory.len() as u64).collect::<Vec<_>>(), &x)?;
        outcome.distance = coverage(&*index, &Tensor::cat(&seen, 0)?)?.mean;
        let labels = y.to_vec1::<u32>()?;
        let of_class = |class: u32| labels.iter().filter(|&&label| label == class).count();
        outcome.fewest = (0..10).map(of_class).min().unwrap_or(0);
    }
    Ok(outcome)
}

/// The scores of a batch, in the order of [`SCORES`].
fn score(net: &Mlp, memory: &Scored, x: &Tensor, y: &Tensor, rng: &mut Rng) -> Result<[Tensor; 4]> {
    let own = gradients(net, x, y)?;
    let (novelty, similarity) = if memory.is_empty() {
        let n = x.dim(0)?;
        (Tensor::zeros(n, DType::F32, &Device::Cpu)?, Tensor::full(gss::FIRST, n, &Device::Cpu)?)
    } else {
        let some = memory.peek(BATCH.min(memory.len()), &Strategy::Uniform(Draw::WithoutReplacement), rng)?;
        let cosines = scores::gradient_cosine(&own, &gradients(net, &some.x, &some.y)?)?;
        (scores::novelty(x, &memory.all()?.0)?, gss::similarity(&cosines)?)
    };
    Ok([scores::gradient_norm(&own)?, uncertainty(net, x, rng)?, novelty, similarity])
}

/// The entropy of ten passes, with half of the hidden units left out in each.
fn uncertainty(net: &Mlp, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    let (hidden, output) = forward(net, x)?;
    let mut passes = Vec::new();
    for _ in 0..10 {
        let mask: Vec<f32> =
            (0..hidden.elem_count()).map(|_| 2.0 * f32::from(rng.random::<bool>())).collect();
        let mask = Tensor::from_vec(mask, hidden.dims(), &Device::Cpu)?;
        passes.push((&hidden * mask)?.linear(&output.0, Some(&output.1), Activation::Identity)?);
    }
    scores::mc_entropy(&passes)
}

/// What the gradient of each sample is made of: the cross-entropy's ∂ℓ/∂z = softmax(z) − onehot(y), and what
/// goes back through the ReLU.
fn gradients(net: &Mlp, x: &Tensor, y: &Tensor) -> Result<Vec<LayerGradients>> {
    let (hidden, output) = forward(net, x)?;
    let logits = hidden.linear(&output.0, Some(&output.1), Activation::Identity)?;
    let classes = Tensor::arange(0u32, logits.dim(1)? as u32, &Device::Cpu)?;
    let one_hot = y.unsqueeze(1)?.broadcast_eq(&classes.unsqueeze(0)?)?.to_dtype(DType::F32)?;
    let deltas = (candle_nn::ops::softmax(&logits, D::Minus1)? - one_hot)?;
    let below = per_sample::backward(&deltas.unsqueeze(1)?, &output.0, &hidden)?.squeeze(1)?;
    Ok(vec![
        LayerGradients { inputs: x.clone(), deltas: below, bias: true },
        LayerGradients { inputs: hidden, deltas, bias: true },
    ])
}

/// The hidden activations, and the weight and bias of the output layer; outside of the graph.
fn forward(net: &Mlp, x: &Tensor) -> Result<(Tensor, (Tensor, Tensor))> {
    let layers: Vec<_> = net.layers().collect();
    let hidden = layers[0].forward(x)?.detach();
    Ok((hidden, (layers[1].weight.as_detached_tensor(), layers[1].bias.as_detached_tensor())))
}
