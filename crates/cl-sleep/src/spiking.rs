//! Sleep replay consolidation (Tadros et al., Nature Communications 2022): a trained network spikes by itself, driven by what its
//! inputs are on average, and a local rule changes its weights.
//!
//! In a step of sleep, layer by layer, each from the spikes that the one below has just made (the authors' code, `sleepnn_old.m`):
//!
//! | | |
//! |---|---|
//! | input | unit j spikes with probability min(1, 2·dt·rate·xⱼ), where a window drawn anew for the step lets it |
//! | membrane | v ← decay·v + αₗ·W s, s the spikes from below |
//! | spike | where v ≥ βₗ; v is 0 then |
//! | weights | of units that spiked only: w ← w + increase·g(w) from inputs that spiked, w ← w − decrease·g(w) from the others |
//! | g | g(w) = 2σ(−w/width) |
//!
//! αₗ is the gain, times 1/fₗ with fₗ = max(largest weight, largest activation)ₗ / fₗ₋₁, f₀ = 1. With the authors' width of 0.001
//! g is 2 below −0.01 and nothing above +0.02: what was learned strongly is frozen, and what is left over weakens wherever it did
//! not take part.
//!
//! A step costs what its spikes cost. Weights are kept twice while the network sleeps, by rows for the rule and by columns for the
//! membranes, so that both run over memory in order.

use std::ops::Range;

use candle_core::{DType, Tensor, Var};
use cl_core::{Error, Result, Rng};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// How a network sleeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikingConfig {
    /// Length of a step, in seconds.
    pub dt: f64,
    /// Spikes per second of an input unit of rate ½.
    pub rate: f64,
    /// What a membrane keeps from one step to the next, in [0, 1].
    pub decay: f64,
    /// β: where the units of each layer spike.
    pub thresholds: Vec<f64>,
    /// α before the scales of the layers.
    pub gain: f64,
    /// What a weight gains where both units spiked, times g.
    pub increase: f64,
    /// What a weight loses where only the upper unit spiked, times g.
    pub decrease: f64,
    /// Width of g.
    pub width: f64,
}

impl Default for SpikingConfig {
    /// Two hidden layers, on MNIST: the authors' `run_class_task_summary.m`.
    fn default() -> Self {
        Self {
            dt: 0.001,
            rate: 239.515_363,
            decay: 0.999,
            thresholds: vec![14.548_273, 44.560_317, 38.046_326],
            gain: 55.882_454,
            increase: 0.032_064,
            decrease: 0.003_344,
            width: 0.001,
        }
    }
}

impl SpikingConfig {
    fn check(&self) -> Result<()> {
        let positive = [("dt", self.dt), ("rate", self.rate), ("gain", self.gain), ("width", self.width)];
        let thresholds = self.thresholds.iter().map(|&threshold| ("thresholds", threshold));
        for (name, value) in positive.into_iter().chain(thresholds) {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::invalid(name, format!("{value} is not a finite number above 0")));
            }
        }
        for (name, value) in [("increase", self.increase), ("decrease", self.decrease)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::invalid(name, format!("{value} is not a finite number of at least 0")));
            }
        }
        if !(0.0..=1.0).contains(&self.decay) {
            return Err(Error::invalid("decay", format!("{} is not in [0, 1]", self.decay)));
        }
        if self.thresholds.is_empty() {
            return Err(Error::invalid("thresholds", "there are none: one for each layer of weights"));
        }
        Ok(())
    }
}

/// A square of an image, of which a place is drawn for each step: the input units outside of it are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Channels, rows and columns of an input.
    pub image: [usize; 3],
    /// Rows and columns of the window.
    pub side: usize,
}

impl Window {
    /// 11 × 11 of MNIST's 28 × 28, as in Tadros et al. 2022.
    pub const MNIST: Self = Self { image: [1, 28, 28], side: 11 };

    /// A window that has a place within the image.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a side of 0, or one that is longer than the image.
    pub fn check(&self) -> Result<()> {
        let [_, rows, columns] = self.image;
        if self.side == 0 || self.side > rows.min(columns) {
            let why = format!(
                "a side of {} has no place in images of {rows} × {columns}: 1 to {} has one",
                self.side,
                rows.min(columns)
            );
            return Err(Error::invalid("window", why));
        }
        Ok(())
    }
}

/// What drives the lowest layer.
#[derive(Debug, Clone, Copy)]
pub struct SpikingInput<'a> {
    /// x of each input unit: the mean of what it was trained on, as a rule; from 0.
    pub rates: &'a [f32],
    /// Which of them may spike in a step; all of them without one.
    pub window: Option<Window>,
}

/// What happened while a network slept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpikingReport {
    /// Steps.
    pub steps: usize,
    /// Spikes of a unit in a step, on average: of the input units, then layer by layer.
    pub rates: Vec<f64>,
    /// How far the weights of each layer moved: ‖ΔW‖ / ‖W‖.
    pub moved: Vec<f64>,
}

/// The sleep of a network: see the [configuration](SpikingConfig).
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use cl_sleep::{SpikingConfig, SpikingInput, SpikingSleep};
///
/// // Weights (outputs, inputs), and the largest activation that each layer had on data.
/// let layers = [Var::new(&[[0.3f32, -0.2], [0.1, 0.4]], &Device::Cpu)?, Var::new(&[[0.5f32, -0.1]], &Device::Cpu)?];
/// let sleep = SpikingSleep::new(SpikingConfig { thresholds: vec![15.0, 30.0], ..SpikingConfig::default() })?;
/// let input = SpikingInput { rates: &[0.9, 0.2], window: None };
/// let mut rng = cl_core::rng(0, "sleep");
/// let report = sleep.run(&layers.iter().collect::<Vec<_>>(), &[0.5, 0.3], input, 1000, &mut rng)?;
/// assert!(report.rates[1] > 0.0 && report.moved[0] > 0.0);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpikingSleep {
    config: SpikingConfig,
}

impl SpikingSleep {
    /// With these coefficients.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is out of its range.
    pub fn new(config: SpikingConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    /// Its coefficients.
    pub fn config(&self) -> &SpikingConfig {
        &self.config
    }

    /// αₗ: the gain of each layer of these weights (outputs, inputs), f32 on the CPU, that had activations up to `largest` on data.
    ///
    /// # Errors
    /// Weights that do not fit; a layer that has neither a weight nor an activation above 0.
    pub fn gains(&self, weights: &[&Var], largest: &[f64]) -> Result<Vec<f64>> {
        let layers = self.layers(weights)?;
        self.gains_of(&layers, largest)
    }

    fn gains_of(&self, layers: &[Layer], largest: &[f64]) -> Result<Vec<f64>> {
        if largest.len() != layers.len() {
            return Err(Error::mismatch(
                "spiking sleep",
                format!("a largest activation for each of {} layers", layers.len()),
                largest.len().to_string(),
            ));
        }
        let (mut gains, mut below) = (Vec::new(), 1.0);
        for (at, (layer, &activation)) in layers.iter().zip(largest).enumerate() {
            if !activation.is_finite() {
                return Err(Error::invalid("largest activation", format!("{activation} of layer {at}")));
            }
            let weight = layer.rows.iter().fold(0f32, |most, &w| most.max(w));
            let scale = f64::from(weight).max(activation) / below;
            if scale <= 0.0 {
                let why = "it has neither a weight nor an activation above 0, so nothing reaches a threshold";
                return Err(Error::invalid(format!("layer {at}"), why));
            }
            gains.push(self.config.gain / scale);
            below = scale;
        }
        Ok(gains)
    }

    /// Sleeps for so many steps. `weights` are the layers' (outputs, inputs), the first of them on the inputs, f32 on the CPU;
    /// `largest` are the largest activations of each on data. Everything random is drawn from `rng`, one number after the other.
    ///
    /// # Errors
    /// Weights that are no layers one above the other or not finite, as many as there are thresholds; rates that do not fit or
    /// are below 0; a window that is not of the inputs. Nothing is changed then.
    pub fn run(
        &self,
        weights: &[&Var],
        largest: &[f64],
        input: SpikingInput<'_>,
        steps: usize,
        rng: &mut Rng,
    ) -> Result<SpikingReport> {
        let mut layers = self.layers(weights)?;
        let gains = self.gains_of(&layers, largest)?;
        let mut source = Source::new(&self.config, input, layers[0].inputs)?;
        let mut spikes = vec![0u64; layers.len() + 1];
        let rule = Rule::of(&self.config);
        let decay = self.config.decay as f32;
        for _ in 0..steps {
            let mut below: &[u32] = source.draw(rng);
            spikes[0] += below.len() as u64;
            for ((layer, count), &gain) in layers.iter_mut().zip(&mut spikes[1..]).zip(&gains) {
                layer.step(below, gain as f32, decay);
                layer.learn(below, &rule);
                *count += layer.fired.len() as u64;
                below = &layer.fired;
            }
        }
        let units = [layers[0].inputs].into_iter().chain(layers.iter().map(|layer| layer.outputs));
        let per_step = |(units, spikes): (usize, &u64)| *spikes as f64 / (units * steps.max(1)) as f64;
        let rates = units.zip(&spikes).map(per_step).collect();
        let mut moved = Vec::new();
        for (layer, var) in layers.into_iter().zip(weights) {
            let before = var.flatten_all()?.to_vec1::<f32>()?;
            let square = |x: f32| f64::from(x) * f64::from(x);
            let change: f64 = layer.rows.iter().zip(&before).map(|(new, old)| square(new - old)).sum();
            let size: f64 = before.iter().map(|&w| square(w)).sum();
            moved.push(if change == 0.0 { 0.0 } else { (change / size).sqrt() });
            var.set(&Tensor::from_vec(layer.rows, (layer.outputs, layer.inputs), var.device())?)?;
        }
        Ok(SpikingReport { steps, rates, moved })
    }

    fn layers(&self, weights: &[&Var]) -> Result<Vec<Layer>> {
        let thresholds = &self.config.thresholds;
        if weights.len() != thresholds.len() {
            return Err(Error::mismatch(
                "spiking sleep",
                format!("as many layers as thresholds, {}", thresholds.len()),
                format!("{} layers", weights.len()),
            ));
        }
        let mut layers: Vec<Layer> = Vec::new();
        for (at, (weight, &threshold)) in weights.iter().zip(thresholds).enumerate() {
            let inputs = layers.last().map(|below| below.outputs);
            if weight.dtype() != DType::F32 || !weight.device().is_cpu() || weight.rank() != 2 {
                return Err(Error::mismatch(
                    "spiking sleep",
                    format!("weights (outputs, inputs) of layer {at}, f32 on the CPU"),
                    format!("{:?} {:?} on {:?}", weight.dtype(), weight.dims(), weight.device().location()),
                ));
            }
            if weight.elem_count() == 0 || inputs.is_some_and(|inputs| inputs != weight.dims()[1]) {
                return Err(Error::mismatch(
                    "spiking sleep",
                    match inputs {
                        Some(inputs) => format!("weights (outputs, {inputs}) of layer {at}"),
                        None => "weights (outputs, inputs), of one of each at least".to_owned(),
                    },
                    format!("{:?}", weight.dims()),
                ));
            }
            let rows = weight.flatten_all()?.to_vec1::<f32>()?;
            if let Some(weight) = rows.iter().find(|w| !w.is_finite()) {
                return Err(Error::invalid("weights", format!("{weight} in layer {at}")));
            }
            layers.push(Layer::new(rows, weight.dims()[1], threshold as f32));
        }
        Ok(layers)
    }
}

/// The input units.
struct Source {
    /// Of each unit the probability of a spike.
    probabilities: Vec<f32>,
    window: Option<Window>,
    fired: Vec<u32>,
}

impl Source {
    fn new(config: &SpikingConfig, input: SpikingInput<'_>, inputs: usize) -> Result<Self> {
        let SpikingInput { rates, window } = input;
        if rates.len() != inputs {
            return Err(Error::mismatch(
                "spiking sleep",
                format!("rates of {inputs} input units"),
                rates.len().to_string(),
            ));
        }
        if let Some(rate) = rates.iter().find(|rate| !(rate.is_finite() && **rate >= 0.0)) {
            return Err(Error::invalid("rates", format!("{rate} is not a finite number of at least 0")));
        }
        if let Some(window) = window {
            window.check()?;
            if window.image.iter().product::<usize>() != inputs {
                return Err(Error::mismatch(
                    "spiking sleep",
                    format!("a window of images of {inputs} pixels"),
                    format!("{:?}", window.image),
                ));
            }
        }
        let per_rate = 2.0 * config.dt * config.rate;
        let probabilities = rates.iter().map(|&x| (per_rate * f64::from(x)) as f32).collect();
        Ok(Self { probabilities, window, fired: Vec::new() })
    }

    /// The units that spike in this step, in order.
    fn draw(&mut self, rng: &mut Rng) -> &[u32] {
        self.fired.clear();
        match self.window {
            None => self.draw_among(0..self.probabilities.len(), rng),
            Some(Window { image: [channels, rows, columns], side }) => {
                let top = rng.random_range(0..=rows - side);
                let left = rng.random_range(0..=columns - side);
                for channel in 0..channels {
                    for row in top..top + side {
                        let from = (channel * rows + row) * columns + left;
                        self.draw_among(from..from + side, rng);
                    }
                }
            }
        }
        &self.fired
    }

    fn draw_among(&mut self, units: Range<usize>, rng: &mut Rng) {
        for unit in units {
            // Drawn for silent ones too, so that what one unit draws does not depend on the rates of others.
            if rng.random::<f32>() < self.probabilities[unit] {
                self.fired.push(unit as u32);
            }
        }
    }
}

/// A layer while it sleeps.
struct Layer {
    inputs: usize,
    outputs: usize,
    /// The weights (outputs, inputs), which the rule changes.
    rows: Vec<f32>,
    /// The same (inputs, outputs), which the membranes read.
    columns: Vec<f32>,
    threshold: f32,
    /// v of each unit.
    membrane: Vec<f32>,
    /// W s of each unit.
    impulse: Vec<f32>,
    /// The units that have just spiked, in order.
    fired: Vec<u32>,
    /// What the rule does with g of the weight from each input.
    amount: Vec<f32>,
}

impl Layer {
    fn new(rows: Vec<f32>, inputs: usize, threshold: f32) -> Self {
        let outputs = rows.len() / inputs;
        let mut columns = vec![0.0; rows.len()];
        for (i, row) in rows.chunks_exact(inputs).enumerate() {
            for (j, &w) in row.iter().enumerate() {
                columns[j * outputs + i] = w;
            }
        }
        let zeros = || vec![0.0; outputs];
        let (membrane, impulse, amount) = (zeros(), zeros(), vec![0.0; inputs]);
        Self { inputs, outputs, rows, columns, threshold, membrane, impulse, fired: Vec::new(), amount }
    }

    /// Membranes and spikes.
    fn step(&mut self, below: &[u32], gain: f32, decay: f32) {
        let Self { outputs, columns, threshold, membrane, impulse, fired, .. } = self;
        fired.clear();
        wide(|| {
            impulse.fill(0.0);
            for &j in below {
                let column = &columns[j as usize * *outputs..][..*outputs];
                impulse.iter_mut().zip(column).for_each(|(sum, w)| *sum += w);
            }
            membrane.iter_mut().zip(&*impulse).for_each(|(v, sum)| *v = decay * *v + gain * sum);
        });
        for (i, v) in membrane.iter_mut().enumerate().filter(|(_, v)| **v >= *threshold) {
            fired.push(i as u32);
            *v = 0.0;
        }
    }

    /// The rule, for the units that have just spiked.
    fn learn(&mut self, below: &[u32], rule: &Rule) {
        let Self { inputs, outputs, rows, columns, fired, amount, .. } = self;
        if fired.is_empty() {
            return;
        }
        amount.fill(-rule.decrease);
        below.iter().for_each(|&j| amount[j as usize] = rule.increase);
        for &i in &*fired {
            let row = &mut rows[i as usize * *inputs..][..*inputs];
            wide(|| row.iter_mut().zip(&*amount).for_each(|(w, amount)| *w += amount * rule.g(*w)));
        }
        for (j, column) in columns.chunks_exact_mut(*outputs).enumerate() {
            for &i in &*fired {
                column[i as usize] = rows[i as usize * *inputs + j];
            }
        }
    }
}

/// The rule's coefficients.
struct Rule {
    increase: f32,
    decrease: f32,
    /// log₂e / width.
    slope: f32,
}

impl Rule {
    fn of(config: &SpikingConfig) -> Self {
        let slope = (std::f64::consts::LOG2_E / config.width) as f32;
        Self { increase: config.increase as f32, decrease: config.decrease as f32, slope }
    }

    /// 2σ(−w/width) = 2 / (1 + 2^(w·log₂e/width)), to the precision of an f32; in operations that the compiler makes wide, and
    /// that give the same bits on every machine.
    #[inline(always)]
    fn g(&self, w: f32) -> f32 {
        2.0 / (1.0 + exp2((w * self.slope).clamp(-126.0, 126.0)))
    }
}

/// 2ˣ for |x| ≤ 126: a power of two times the Taylor series of 2^f, |f| ≤ ½, less than 2·10⁻⁷ of it away.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    /// Added to a number, it leaves the nearest integer in the last bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    const SERIES: [f32; 6] =
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 0.240_226_5, std::f32::consts::LN_2];
    let rounded = x + ROUND;
    let f = x - (rounded - ROUND);
    let power = (rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23;
    let series = SERIES.iter().fold(0.0, |sum, c| (sum + c) * f) + 1.0;
    f32::from_bits(power) * series
}

/// The widest instructions of this machine; products and sums are never contracted, so every machine gives the same bits.
#[inline(always)]
fn wide<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

#[cfg(test)]
mod tests;
