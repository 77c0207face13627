//! The estimates of the action values, and the Q-learning update.

use candle_core::{DType, Device};
use cl_core::init::Init;
use cl_core::{Result, Rng};
use serde::{Deserialize, Serialize};

use super::walk::{Pair, Walk};

/// How action values follow from parameters: Q(s, a) = θᵀφ(s, a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Representation {
    /// A parameter for every state and action.
    Tabular,
    /// The state as a one-hot vector with a constant 1 behind it, and parameters of their own for each of
    /// the two actions.
    Linear,
}

impl Representation {
    /// Both, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Tabular, Self::Linear];

    /// As it is written in results and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tabular => "tabular",
            Self::Linear => "linear",
        }
    }
}

/// Estimated action values.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    walk: Walk,
    representation: Representation,
    /// The parameter of every pair, by its number.
    weights: Vec<f64>,
    /// The parameter of the constant, for each action; of no use in a table, and 0 there.
    bias: [f64; 2],
    /// What is to be learned, by the numbers of pairs.
    truth: Vec<f64>,
}

impl Values {
    /// Parameters drawn from N(0, `std`²).
    ///
    /// # Errors
    /// candle's own.
    pub fn new(walk: Walk, representation: Representation, std: f64, rng: &mut Rng) -> Result<Self> {
        let mut draw = |n: usize| -> Result<Vec<f64>> {
            Ok(Init::Normal(std).var(n, DType::F64, &Device::Cpu, rng)?.to_vec1()?)
        };
        let weights = draw(2 * walk.states)?;
        let bias = match representation {
            Representation::Tabular => [0.0; 2],
            Representation::Linear => {
                let drawn = draw(2)?;
                [drawn[0], drawn[1]]
            }
        };
        let truth = walk.pairs().map(|pair| walk.truth(pair)).collect();
        Ok(Self { walk, representation, weights, bias, truth })
    }

    /// The estimate of a pair.
    pub fn get(&self, pair: Pair) -> f64 {
        self.weights[pair.number()] + self.bias[pair.action]
    }

    /// δ = R + γ max Q(s′, a′) − Q(s, a), equation 2 of the paper; without the middle where the episode ends.
    pub fn td_error(&self, pair: Pair) -> f64 {
        let (reward, next) = self.walk.step(pair);
        let best = |state| self.get(Pair { state, action: 0 }).max(self.get(Pair { state, action: 1 }));
        reward + next.map_or(0.0, |state| self.walk.discount() * best(state)) - self.get(pair)
    }

    /// θ ← θ + step · φ(s, a), equation 3, where the step is η δ.
    pub fn update(&mut self, pair: Pair, step: f64) {
        self.weights[pair.number()] += step;
        if self.representation == Representation::Linear {
            self.bias[pair.action] += step;
        }
    }

    /// The mean over all pairs of the squared difference from the truth.
    pub fn error(&self) -> f64 {
        self.error_after(Pair::of(0), 0.0)
    }

    /// What [`error`](Self::error) an update would lead to.
    pub fn error_after(&self, pair: Pair, step: f64) -> f64 {
        let mut shift = self.bias;
        if self.representation == Representation::Linear {
            shift[pair.action] += step;
        }
        let square = |number: usize| {
            let own = if number == pair.number() { step } else { 0.0 };
            (self.weights[number] + own + shift[number % 2] - self.truth[number]).powi(2)
        };
        (0..self.truth.len()).map(square).sum::<f64>() / self.truth.len() as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn values(representation: Representation) -> Values {
        Values::new(Walk { states: 3 }, representation, 0.1, &mut cl_core::rng(0, "values")).unwrap()
    }

    /// By hand, with θ and φ written out.
    #[test]
    fn an_update_is_that_of_the_paper() {
        for representation in [Representation::Tabular, Representation::Linear] {
            let mut values = values(representation);
            // φ(s, a) has a place for every pair and, if linear, one for each action.
            let phi = |pair: Pair| {
                let mut phi = [0.0; 8];
                phi[pair.number()] = 1.0;
                phi[6 + pair.action] = f64::from(u8::from(representation == Representation::Linear));
                phi
            };
            let mut theta: Vec<f64> = values.weights.iter().chain(&values.bias).copied().collect();
            let q = |theta: &[f64], pair| -> f64 { theta.iter().zip(phi(pair)).map(|(t, p)| t * p).sum() };
            for number in [0, 1, 3, 4, 5, 2, 0, 3, 4] {
                let pair = Pair::of(number);
                let [a, b] = [0, 1].map(|action| q(&theta, Pair { state: (pair.state + 1) % 3, action }));
                let target = match number {
                    4 => 1.0,
                    0 | 3 => (1.0 - 1.0 / 3.0) * a.max(b),
                    _ => 0.0,
                };
                let delta = target - q(&theta, pair);
                assert!((values.td_error(pair) - delta).abs() < 1e-15);
                let step = 0.25 * delta;
                let error = values.error_after(pair, step);
                theta.iter_mut().zip(phi(pair)).for_each(|(t, p)| *t += step * p);
                values.update(pair, step);
                let walk = Walk { states: 3 };
                let squares = walk.pairs().map(|pair| (q(&theta, pair) - walk.truth(pair)).powi(2));
                let by_hand = squares.sum::<f64>() / 6.0;
                assert!((values.error() - by_hand).abs() < 1e-15);
                assert!((error - by_hand).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn the_truth_has_no_error() {
        let walk = Walk { states: 7 };
        let mut values =
            Values::new(walk, Representation::Tabular, 0.0, &mut cl_core::rng(0, "values")).unwrap();
        for pair in walk.pairs() {
            values.update(pair, walk.truth(pair));
        }
        assert_eq!(values.error(), 0.0);
        assert!(walk.pairs().all(|pair| values.td_error(pair).abs() < 1e-15));
    }

    /// Why the oracle gets stuck with the linear representation. Two opposite errors of one action, E and −E:
    /// an update halves one of them and adds E/4 to the n − 1 others of that action, which changes the sum of
    /// squares by E² (n − 5) / 16.
    #[test]
    fn two_opposite_errors_are_a_trap() {
        const E: f64 = 0.01;
        for states in 4..=16 {
            let walk = Walk { states };
            let mut values =
                Values::new(walk, Representation::Linear, 0.0, &mut cl_core::rng(0, "values")).unwrap();
            values.weights.clone_from(&values.truth);
            let wrong: Vec<Pair> = walk.pairs().filter(|&p| p.action == 1 && !walk.is_right(p)).collect();
            values.weights[wrong[0].number()] = E;
            values.weights[wrong[1].number()] = -E;
            for pair in walk.pairs() {
                let change = values.error_after(pair, 0.25 * values.td_error(pair)) - values.error();
                let erring = pair == wrong[0] || pair == wrong[1];
                let expected = if erring { E * E * (states as f64 - 5.0) / 16.0 } else { 0.0 };
                assert!((change * 2.0 * states as f64 - expected).abs() < 1e-15, "{states}: {pair:?}");
            }
        }
    }
}
