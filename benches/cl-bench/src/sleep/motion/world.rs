//! Movements in a plane whose dynamics switch, and the windows that a forecaster sees of them.

use std::f64::consts::TAU;
use std::fmt;

use candle_core::{Device, Tensor};
use cl_core::{Result, Rng};
use rand::Rng as _;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// Seconds between two positions.
const DT: f64 = 0.25;
/// Positions of the past that a forecaster is given: two seconds.
pub const PAST: usize = 8;
/// Positions that it is asked for: three seconds.
pub const FUTURE: usize = 12;
/// Windows of a trajectory.
pub const WINDOWS: usize = 10;
/// Metres that are 1 to the network.
pub const UNIT: f64 = 10.0;
/// Standard deviation of an observed coordinate, in metres.
const NOISE: f64 = 0.03;

/// Numbers that go into a forecaster: the past but for its last position, which is where the axes begin.
pub const INPUTS: usize = 2 * (PAST - 1);
/// Numbers that come out of it.
pub const OUTPUTS: usize = 2 * FUTURE;

/// A kind of movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// 5 to 15 m/s straight on.
    Cruise,
    /// 4 to 10 m/s in a curve of 0.2 to 0.5 rad/s, to either side.
    Turn,
    /// Straight on, with a speed that swings between 0 and 8 to 14 m/s in 5 to 8 s.
    StopAndGo,
    /// Around an anchor 4 to 10 m away, on a damped spring.
    Anchor,
    /// 6 to 12 m/s, from side to side by 1 to 2.5 m in 3 to 5 s.
    Weave,
}

impl Regime {
    pub const ALL: [Self; 5] = [Self::Cruise, Self::Turn, Self::StopAndGo, Self::Anchor, Self::Weave];
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cruise => "cruise",
            Self::Turn => "turn",
            Self::StopAndGo => "stop and go",
            Self::Anchor => "anchor",
            Self::Weave => "weave",
        })
    }
}

/// Positions, in metres.
type Path = Vec<[f64; 2]>;

/// What is observed of one movement: as many positions as [`WINDOWS`] windows need.
fn trajectory(regime: Regime, rng: &mut Rng) -> Path {
    let n = PAST + FUTURE + WINDOWS - 1;
    let mut within = |from: f64, to: f64| from + (to - from) * rng.random::<f64>();
    let heading = within(0.0, TAU);
    // Along the heading and across it.
    let mut path: Path = match regime {
        Regime::Cruise => {
            let speed = within(5.0, 15.0);
            (0..n).map(|t| [speed * DT * t as f64, 0.0]).collect()
        }
        Regime::Turn => {
            let (speed, side) = (within(4.0, 10.0), if within(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 });
            let rate = side * within(0.2, 0.5);
            let at = |t: usize| {
                let angle = rate * DT * t as f64;
                [speed / rate * angle.sin(), speed / rate * (1.0 - angle.cos())]
            };
            (0..n).map(at).collect()
        }
        Regime::StopAndGo => {
            let (most, period, phase) = (within(8.0, 14.0), within(5.0, 8.0), within(0.0, TAU));
            let swing = TAU / period;
            // The integral of most·(1 + sin(swing·t + phase))/2.
            let at = |t: usize| {
                let t = DT * t as f64;
                [0.5 * most * (t + (phase.cos() - (swing * t + phase).cos()) / swing), 0.0]
            };
            (0..n).map(at).collect()
        }
        Regime::Anchor => {
            let (stiffness, damping) = (within(0.6, 1.5), within(0.1, 0.3));
            let (mut x, mut v) = ([within(4.0, 10.0), 0.0], [within(-2.0, 2.0), within(-8.0, 8.0)]);
            // Steps of a hundredth, the velocity first: stable for such springs.
            const PARTS: usize = 25;
            let h = DT / PARTS as f64;
            let mut path = Path::new();
            for _ in 0..n {
                path.push(x);
                for _ in 0..PARTS {
                    for axis in 0..2 {
                        v[axis] -= h * (stiffness * x[axis] + damping * v[axis]);
                        x[axis] += h * v[axis];
                    }
                }
            }
            path
        }
        Regime::Weave => {
            let (speed, width) = (within(6.0, 12.0), within(1.0, 2.5));
            let (swing, phase) = (TAU / within(3.0, 5.0), within(0.0, TAU));
            let at = |t: usize| {
                let t = DT * t as f64;
                [speed * t, width * (swing * t + phase).sin()]
            };
            (0..n).map(at).collect()
        }
    };
    let (sin, cos) = heading.sin_cos();
    for at in &mut path {
        let mut noise =
            || NOISE * <StandardNormal as rand_distr::Distribution<f64>>::sample(&StandardNormal, rng);
        *at = [cos * at[0] - sin * at[1] + noise(), sin * at[0] + cos * at[1] + noise()];
    }
    path
}

/// One window: the last position of the past is the origin, and the first lies behind it. In units of [`UNIT`] metres.
fn window(path: &[[f64; 2]], inputs: &mut Vec<f32>, outputs: &mut Vec<f32>) {
    let (first, origin) = (path[0], path[PAST - 1]);
    let ahead = (origin[1] - first[1]).atan2(origin[0] - first[0]);
    let (sin, cos) = ahead.sin_cos();
    let seen = |at: &[f64; 2]| {
        let (x, y) = (at[0] - origin[0], at[1] - origin[1]);
        [cos * x + sin * y, cos * y - sin * x].map(|metres| (metres / UNIT) as f32)
    };
    inputs.extend(path[..PAST - 1].iter().flat_map(seen));
    outputs.extend(path[PAST..PAST + FUTURE].iter().flat_map(seen));
}

/// Pasts (n, [`INPUTS`]) and futures (n, [`OUTPUTS`]).
#[derive(Debug, Clone)]
pub struct Windows {
    pub x: Tensor,
    pub y: Tensor,
}

impl Windows {
    fn of(inputs: Vec<f32>, outputs: Vec<f32>) -> Result<Self> {
        let n = inputs.len() / INPUTS;
        let x = Tensor::from_vec(inputs, (n, INPUTS), &Device::Cpu)?;
        Ok(Self { x, y: Tensor::from_vec(outputs, (n, OUTPUTS), &Device::Cpu)? })
    }
}

/// What is seen of so many movements at once: a batch for each moment, one window of every movement in it.
pub fn scene(regime: Regime, movements: usize, rng: &mut Rng) -> Result<Vec<Windows>> {
    let paths: Vec<Path> = (0..movements).map(|_| trajectory(regime, rng)).collect();
    let moment = |t: usize| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        paths.iter().for_each(|path| window(&path[t..], &mut inputs, &mut outputs));
        Windows::of(inputs, outputs)
    };
    (0..WINDOWS).map(moment).collect()
}

/// One window of each of so many movements.
pub fn held_out(regime: Regime, movements: usize, rng: &mut Rng) -> Result<Windows> {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for _ in 0..movements {
        window(&trajectory(regime, rng), &mut inputs, &mut outputs);
    }
    Windows::of(inputs, outputs)
}

/// Mean distance in metres between what was forecast (n, [`OUTPUTS`]) and what came, over all positions, and at the last.
pub fn errors(forecast: &Tensor, came: &Tensor) -> Result<[f64; 2]> {
    let n = came.dim(0)?;
    let squares = ((forecast - came)? * UNIT)?.sqr()?.reshape((n, FUTURE, 2))?.sum(2)?.sqrt()?;
    let mean = |t: &Tensor| -> Result<f64> { Ok(f64::from(t.mean_all()?.to_scalar::<f32>()?)) };
    Ok([mean(&squares)?, mean(&squares.narrow(1, FUTURE - 1, 1)?)?])
}
