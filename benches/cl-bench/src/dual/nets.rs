//! The two systems, and the rows that they learn from.

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Params, Result, Rng, TensorOps, Units, rng};
use cl_data::{Batches, DataSet, LastBatch, Pixels, Samples, Transform};
use cl_dual_process::{BodyAndHead, First, System};
use cl_nn::{Activation, Conv2d, Conv2dConfig, Linear, MaxPool2d, Optimizer, OptimizerConfig};
use rand::Rng as _;
use rand::seq::SliceRandom;

use super::{Part, Protocol};

/// Rows that are answered at a time where all are.
const CHUNK: usize = 1000;

/// System 1: one hidden layer, which arbiters see.
pub type Fast = BodyAndHead<Linear, Linear>;

/// System 2: two convolutions of 5 × 5 with 8 and 16 channels, each pooled by 2, and a hidden layer of 64.
pub struct Cnn {
    side: usize,
    convolutions: [Conv2d; 2],
    hidden: Linear,
    output: Linear,
}

impl Cnn {
    fn new(side: usize, classes: usize, rng: &mut Rng) -> Result<Self> {
        let config = Conv2dConfig { stride: 1, padding: 2 };
        let convolutions = [Conv2d::new(1, 8, 5, config, rng)?, Conv2d::new(8, 16, 5, config, rng)?];
        let pooled = side / 2 / 2;
        Ok(Self {
            side,
            convolutions,
            hidden: linear(16 * pooled * pooled, 64, Activation::Relu, rng)?,
            output: linear(64, classes, Activation::Identity, rng)?,
        })
    }

    fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        for (name, layer) in ["first", "second"].iter().zip(&self.convolutions) {
            params.push(format!("{name}.weight"), layer.weight.clone())?;
            params.push(format!("{name}.bias"), layer.bias.clone())?;
        }
        params.extend("hidden", self.hidden.params()?)?;
        params.extend("output", self.output.params()?)?;
        Ok(params)
    }

    /// Of one image.
    pub fn multiply_adds(&self) -> u64 {
        let (whole, half) = (self.side * self.side, (self.side / 2) * (self.side / 2));
        let [a, b] = &self.convolutions;
        let convolved = whole * a.weight.elem_count() + half * b.weight.elem_count();
        (convolved + self.hidden.weight.elem_count() + self.output.weight.elem_count()) as u64
    }
}

impl System for Cnn {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.reshape((x.dim(0)?, 1, self.side, self.side))?;
        for layer in &self.convolutions {
            x = layer.forward_relu(&x, Some(MaxPool2d::new(2)))?;
        }
        Ok(self.output.forward(&self.hidden.forward(&x.flatten_from(1)?)?)?)
    }
}

fn linear(inputs: usize, outputs: usize, activation: Activation, rng: &mut Rng) -> Result<Linear> {
    Linear::new(inputs, outputs, activation, DType::F32, &Device::Cpu, rng)
}

/// Both of them, untrained.
pub fn untrained(data: &DataSet, seed: u64) -> Result<(Fast, Cnn)> {
    let rng = &mut rng(seed, "weights");
    let pixels = data.train.features();
    let body = linear(pixels, 32, Activation::Relu, rng)?;
    let head = linear(32, data.classes, Activation::Identity, rng)?;
    Ok((BodyAndHead { body, head }, Cnn::new(pixels.isqrt(), data.classes, rng)?))
}

/// Of one image.
pub fn multiply_adds(fast: &Fast) -> u64 {
    (fast.body.weight.elem_count() + fast.head.weight.elem_count()) as u64
}

/// What is trained on, what is held out of it, and what is reported on.
pub struct Split {
    train: Samples,
    pub held_out: Samples,
    pub test: Samples,
}

impl Split {
    pub fn of(data: &DataSet, protocol: &Protocol, part: Part, seed: u64) -> Result<Self> {
        let mut rows: Vec<u32> = (0..data.train.len() as u32).collect();
        rows.shuffle(&mut rng(seed, "held out"));
        let (held_out, train) = rows.split_at((protocol.held_out * rows.len() as f64).round() as usize);
        let (train, held_out) = (data.train.gather(train)?, data.train.gather(held_out)?);
        let classes = data.classes as u32;
        let noisy = |samples: &Samples, below: u32, name: &str| {
            mislabelled(samples, protocol.noise, below, classes, &mut rng(seed, name))
        };
        let turned = |samples: &Samples, name: &str| {
            turned(samples, data.image, protocol.degrees, &mut rng(seed, name))
        };
        let (fit, held, tested) = ("labels of training", "labels held out", "labels of the test");
        Ok(match part {
            Part::Clean | Part::Deadline => Self { train, held_out, test: data.test.clone() },
            Part::Noise => Self {
                train: noisy(&train, classes, fit)?,
                held_out: noisy(&held_out, classes, held)?,
                test: data.test.clone(),
            },
            Part::ClassNoise => Self {
                train: noisy(&train, classes / 2, fit)?,
                held_out: noisy(&held_out, classes / 2, held)?,
                test: noisy(&data.test, classes / 2, tested)?,
            },
            Part::Rotation => Self {
                train,
                held_out: turned(&held_out, "angles held out")?,
                test: turned(&data.test, "angles of the test")?,
            },
        })
    }
}

/// Each label of a class `below` that is, with this chance, one drawn from all.
fn mislabelled(samples: &Samples, chance: f64, below: u32, classes: u32, rng: &mut Rng) -> Result<Samples> {
    let mut draw = |label: u32| {
        let (drawn, noisy) = (rng.random_range(0..classes), rng.random::<f64>() < chance);
        if noisy && label < below { drawn } else { label }
    };
    let labels: Vec<u32> = samples.labels()?.into_iter().map(&mut draw).collect();
    let n = labels.len();
    Samples::new(samples.x.clone(), Tensor::from_vec(labels, n, &Device::Cpu)?)
}

/// Each image turned by an angle of its own, up to `most` degrees to either side.
fn turned(samples: &Samples, image: [usize; 3], most: f32, rng: &mut Rng) -> Result<Samples> {
    let one = |row: usize| {
        let degrees = rng.random_range(-most..most);
        let turn = Transform::Rotation { degrees, pixels: Pixels::Bilinear };
        turn.apply(&samples.slice(row..row + 1)?, image)
    };
    let all = (0..samples.len()).map(one).collect::<Result<Vec<_>>>()?;
    Samples::concat(&all.iter().collect::<Vec<_>>())
}

/// Both systems, trained.
pub fn trained(data: &DataSet, split: &Split, protocol: &Protocol, seed: u64) -> Result<(Fast, Cnn)> {
    let (fast, slow) = untrained(data, seed)?;
    let mut params = Params::new();
    params.extend("body", fast.body.params()?)?;
    params.extend("head", fast.head.params()?)?;
    let [once, more] = protocol.epochs;
    train(&fast, &params, &split.train, once, protocol, rng(seed, "batches of System 1"))?;
    train(&slow, &slow.params()?, &split.train, more, protocol, rng(seed, "batches of System 2"))?;
    Ok((fast, slow))
}

fn train(
    system: &impl System,
    params: &Params,
    samples: &Samples,
    epochs: usize,
    protocol: &Protocol,
    rng: Rng,
) -> Result<()> {
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(protocol.lr))?;
    let mut batches = Batches::new(samples.len(), protocol.batch, rng, LastBatch::Drop)?;
    let steps = epochs * batches.per_epoch();
    for step in 0..steps {
        // Along a cosine to 0: where the last steps are long, networks of different seeds differ more than arbiters do.
        let along = std::f64::consts::PI * step as f64 / steps as f64;
        optimizer.set_lr(0.5 * protocol.lr * (1.0 + along.cos()))?;
        let batch = samples.gather(batches.next_batch())?;
        let loss = system.answer(&batch.x)?.cross_entropy(&batch.y, Units::All, None)?;
        optimizer.backward_step(params, &loss)?;
    }
    Ok(())
}

/// What both systems say of some rows.
pub struct Answers {
    pub first: First,
    pub labels: Vec<u32>,
    /// Which rows each has right.
    pub right: [Vec<bool>; 2],
}

impl Answers {
    pub fn of(fast: &Fast, slow: &Cnn, samples: &Samples) -> Result<Self> {
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for chunk in samples.chunks(CHUNK)? {
            let x = chunk?.x;
            let first = First::of(fast, &x)?;
            parts[0].push(first.logits);
            parts[1].extend(first.features);
            parts[2].push(slow.answer(&x)?.detach());
        }
        let [logits, features, second] = &parts;
        let (logits, second) = (Tensor::cat(logits, 0)?, Tensor::cat(second, 0)?);
        let labels = samples.labels()?;
        let right = [cl_dual_process::right(&logits, &labels)?, cl_dual_process::right(&second, &labels)?];
        let first = First { x: samples.x.clone(), logits, features: Some(Tensor::cat(features, 0)?) };
        Ok(Self { first, labels, right })
    }
}
