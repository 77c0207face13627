//! What forecasts: networks that see a stream once, and what they do beside that.

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Error, Result};
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use cl_sleep::{
    Ema, Event, Every, Experiences, Keep, Learnt, Replay, Schedule, Sleep, Source, Tags, Uniform,
};

use super::world::{INPUTS, OUTPUTS, Windows};
use super::{Part, Protocol, Readout};

/// A network and what trains it.
struct Forecaster {
    net: Mlp,
    optimizer: Optimizer,
    /// Windows that it has had a gradient of.
    learned: usize,
}

impl Forecaster {
    fn new(hidden: &[usize], rate: f64, seed: u64) -> Result<Self> {
        let widths: Vec<usize> =
            [INPUTS].into_iter().chain(hidden.iter().copied()).chain([OUTPUTS]).collect();
        let net = Mlp::new(&widths, DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
        Ok(Self { net, optimizer: Optimizer::new(OptimizerConfig::adam(rate))?, learned: 0 })
    }

    /// A step on the squared error, a sum over the coordinates and a mean over the windows; the error before it.
    fn learn(&mut self, x: &Tensor, y: &Tensor) -> Result<f64> {
        let squares = (self.net.forward(x)? - y)?.sqr()?;
        let loss = (squares.sum_all()? / x.dim(0)? as f64)?;
        self.optimizer.backward_step(self.net.params(), &loss)?;
        self.learned += x.dim(0)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}

/// What a part trains on the stream.
pub enum Learner {
    /// One network that is always awake.
    Awake(Box<Awake>),
    /// Two networks, of which one sleeps.
    Sleeper(Box<Sleeper>),
}

impl Learner {
    pub fn new(protocol: &Protocol, part: Part, seed: u64) -> Result<Self> {
        let awake = |rate, times, memory| -> Result<Self> {
            let net = Forecaster::new(&protocol.hidden, rate, seed)?;
            let (replayed, apart) = (protocol.batch, part == Part::ReplayApart);
            Ok(Self::Awake(Box::new(Awake { net, times, memory, replayed, apart })))
        };
        let rates = protocol.rates;
        match part {
            Part::Online => awake(rates.online, 1, None),
            Part::Twice => awake(rates.online, 2, None),
            Part::Joint => awake(rates.joint, 1, None),
            Part::Replay | Part::ReplayApart => {
                awake(rates.replay, 1, Some(long_term(protocol.memory, seed)?))
            }
            Part::Sleep => Ok(Self::Sleeper(Box::new(Sleeper::new(protocol, 0, seed)?))),
            Part::DualMemory => Ok(Self::Sleeper(Box::new(Sleeper::new(protocol, protocol.short, seed)?))),
        }
    }

    /// Takes in what comes.
    pub fn experience(&mut self, windows: &Windows) -> Result<()> {
        match self {
            Self::Awake(awake) => awake.experience(windows),
            Self::Sleeper(sleeper) => sleeper.experience(windows),
        }
    }

    /// Forecasts (n, [`OUTPUTS`]).
    pub fn forecast(&self, readout: Readout, x: &Tensor) -> Result<Tensor> {
        match (self, readout) {
            (Self::Awake(awake), _) => awake.net.net.predict(x),
            (Self::Sleeper(sleeper), Readout::Chosen) => sleeper.chosen(x),
            (Self::Sleeper(sleeper), Readout::Slow) => sleeper.slow.net.predict(x),
            (Self::Sleeper(sleeper), Readout::Fast | Readout::Only) => sleeper.fast.net.predict(x),
        }
    }

    /// Windows that there was a gradient of, each as often as there was.
    pub fn learned(&self) -> usize {
        match self {
            Self::Awake(awake) => awake.net.learned,
            Self::Sleeper(sleeper) => sleeper.fast.learned + sleeper.slow.learned,
        }
    }
}

/// A uniform sample of the stream; the same one for every part.
fn long_term(capacity: usize, seed: u64) -> Result<Experiences> {
    Experiences::new(capacity, Keep::Sample { gain: 0.0 }, cl_core::rng(seed, "long-term memory"))
}

/// Learns what comes so many times, with as much again of what it has kept where it has a memory: experience replay.
pub struct Awake {
    net: Forecaster,
    times: usize,
    memory: Option<Experiences>,
    replayed: usize,
    /// Whether what is replayed is a step of its own.
    apart: bool,
}

impl Awake {
    fn experience(&mut self, Windows { x, y }: &Windows) -> Result<()> {
        let Some(memory) = &mut self.memory else {
            return (0..self.times).try_for_each(|_| self.net.learn(x, y).map(|_| ()));
        };
        if memory.is_empty() {
            self.net.learn(x, y)?;
        } else {
            let kept = memory.by(&Uniform)?.draw(self.replayed)?;
            let [old_x, old_y] = columns(&kept)?;
            if self.apart {
                self.net.learn(x, y)?;
                self.net.learn(old_x, old_y)?;
            } else {
                self.net.learn(&Tensor::cat(&[x, old_x], 0)?, &Tensor::cat(&[y, old_y], 0)?)?;
            }
        }
        memory.add(&[x, y], &Tags::default())?;
        Ok(())
    }
}

/// A fast learner that learns what comes and forgets, and a slow one that is taught in sleep from what was kept. When it wakes
/// up, the fast learner begins where the slow one is.
pub struct Sleeper {
    fast: Forecaster,
    slow: Forecaster,
    /// A sample of the whole stream; and the newest windows, if there is a memory for them.
    long: Experiences,
    short: Option<Experiences>,
    schedule: Every,
    sleep: Sleep,
    /// How many of the windows of a cycle are of the newest.
    recent: usize,
    /// The slow learner's rate at the beginning of a night, and the part of it that is left at the end: a stream that never
    /// stops has no time to anneal, a night does.
    rate: f64,
    lowest: f64,
    neighbours: usize,
}

impl Sleeper {
    fn new(protocol: &Protocol, short: usize, seed: u64) -> Result<Self> {
        let Protocol { hidden, rates, day, dreams, lowest, neighbours, .. } = protocol;
        let newest = |n| Experiences::new(n, Keep::Newest, cl_core::rng(seed, "short-term memory"));
        let capacity = protocol.memory.saturating_sub(short);
        Ok(Self {
            fast: Forecaster::new(hidden, rates.fast, seed)?,
            slow: Forecaster::new(hidden, rates.slow, seed)?,
            long: long_term(capacity, seed)?,
            short: (short > 0).then(|| newest(short)).transpose()?,
            schedule: Every::new(*day as u64)?,
            // As many windows are replayed in a night as came in the day.
            sleep: Sleep { cycles: day / (*dreams).max(1), batch: *dreams, ..Sleep::default() },
            recent: if short > 0 { protocol.recent.min(*dreams) } else { 0 },
            rate: rates.slow,
            lowest: *lowest,
            neighbours: *neighbours,
        })
    }

    fn experience(&mut self, Windows { x, y }: &Windows) -> Result<()> {
        let loss = self.fast.learn(x, y)?;
        for memory in [Some(&mut self.long), self.short.as_mut()].into_iter().flatten() {
            memory.add(&[x, y], &Tags::default())?;
        }
        if self.schedule.due(Event::Experienced { n: x.dim(0)? as u64, loss: Some(loss) }) {
            self.sleep()?;
        }
        Ok(())
    }

    fn sleep(&mut self) -> Result<()> {
        let (slow, rate, lowest, cycles) = (&mut self.slow, self.rate, self.lowest, self.sleep.cycles as f64);
        let mut cycle = 0.0;
        let mut learn = |replay: &Replay| -> Result<Learnt> {
            let [x, y] = columns(replay)?;
            slow.optimizer.set_lr(rate * (1.0 - (1.0 - lowest) * cycle / cycles))?;
            cycle += 1.0;
            Ok(Learnt::from(slow.learn(x, y)?))
        };
        let mut both = Both { long: &mut self.long, short: self.short.as_mut(), recent: self.recent };
        self.sleep.run(&mut both, &mut learn)?;
        // It wakes up: an average that keeps nothing of what was before is a copy.
        Ema::new(0.0)?.step(self.fast.net.params(), self.slow.net.params(), 0)
    }

    /// The forecast of that learner which does better on the most similar windows that are kept, window by window (Woods,
    /// Kegelmeyer & Bowyer 1997: selection by local accuracy).
    fn chosen(&self, x: &Tensor) -> Result<Tensor> {
        let (fast, slow) = (self.fast.net.predict(x)?, self.slow.net.predict(x)?);
        let mut kept = Vec::new();
        for memory in [Some(&self.long), self.short.as_ref()].into_iter().flatten().filter(|m| !m.is_empty())
        {
            kept.push(memory.all()?);
        }
        if kept.is_empty() {
            return Ok(fast);
        }
        let column = |at: usize| -> Result<Tensor> {
            Ok(Tensor::cat(&kept.iter().filter_map(|columns| columns.get(at)).collect::<Vec<_>>(), 0)?)
        };
        let (kept_x, kept_y) = (column(0)?, column(1)?);
        let errors = |net: &Mlp| -> Result<Vec<f32>> {
            Ok((net.predict(&kept_x)? - &kept_y)?.sqr()?.sum(1)?.to_vec1()?)
        };
        let (of_fast, of_slow) = (errors(&self.fast.net)?, errors(&self.slow.net)?);
        // |a − b|² less |a|², which is the same for all b.
        let distances =
            kept_x.sqr()?.sum(1)?.unsqueeze(0)?.broadcast_sub(&(x.matmul(&kept_x.t()?)? * 2.0)?)?;
        let nearest = self.neighbours.clamp(1, of_fast.len());
        let mut choice = Vec::new();
        for distances in distances.to_vec2::<f32>()? {
            let mut order: Vec<usize> = (0..distances.len()).collect();
            order.select_nth_unstable_by(nearest - 1, |&a, &b| {
                distances[a].total_cmp(&distances[b]).then(a.cmp(&b))
            });
            let sum = |errors: &[f32]| order[..nearest].iter().map(|&at| errors[at]).sum::<f32>();
            choice.push(u8::from(sum(&of_fast) < sum(&of_slow)));
        }
        let choice = Tensor::from_vec(choice, (x.dim(0)?, 1), x.device())?.broadcast_as(fast.shape())?;
        Ok(choice.where_cond(&fast, &slow)?)
    }
}

/// The memories of a sleeper as one source.
struct Both<'a> {
    long: &'a mut Experiences,
    short: Option<&'a mut Experiences>,
    recent: usize,
}

impl Source for Both<'_> {
    fn draw(&mut self, n: usize) -> Result<Replay> {
        let Some(short) = self.short.as_mut().filter(|_| self.recent > 0) else {
            return self.long.by(&Uniform)?.draw(n);
        };
        let recent = short.by(&Uniform)?.draw(self.recent)?;
        if self.recent == n {
            return Ok(recent);
        }
        let old = self.long.by(&Uniform)?.draw(n - self.recent)?;
        let pairs = old.columns.iter().zip(&recent.columns);
        let joined = pairs.map(|(old, new)| Ok(Tensor::cat(&[old, new], 0)?)).collect::<Result<_>>()?;
        Ok(Replay::made_up(joined))
    }

    fn is_empty(&self) -> bool {
        self.long.is_empty()
    }
}

fn columns(replay: &Replay) -> Result<[&Tensor; 2]> {
    match &replay.columns[..] {
        [x, y] => Ok([x, y]),
        other => Err(Error::mismatch("replay", "pasts and futures", format!("{} columns", other.len()))),
    }
}
