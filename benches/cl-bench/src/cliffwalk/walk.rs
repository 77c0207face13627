//! The environment and everything that can happen in it.

use cl_core::Rng;
use rand::seq::SliceRandom as _;

/// In every state one of two actions is right and leads on; the other ends the episode. Being right in the
/// last state ends it with a reward of 1, the only one there is. γ = 1 − 1/n.
///
/// Which action is right alternates from state to state, so that nothing is learned about an action in
/// general.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// How many states, n.
    pub states: usize,
}

/// One of the two actions, in one of the states. What comes of it is certain, so a transition is known by
/// its pair, and the memory holds many transitions that are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// From 0.
    pub state: usize,
    /// 0 or 1.
    pub action: usize,
}

impl Walk {
    /// The discount γ.
    pub fn discount(self) -> f64 {
        1.0 - 1.0 / self.states as f64
    }

    /// How many transitions there are in all action sequences.
    pub fn transitions(self) -> usize {
        (1 << (self.states + 1)) - 2
    }

    /// Whether this action leads on.
    pub fn is_right(self, pair: Pair) -> bool {
        pair.action == pair.state % 2
    }

    /// The reward, and the state after it if the episode goes on.
    pub fn step(self, pair: Pair) -> (f64, Option<usize>) {
        match self.is_right(pair) {
            false => (0.0, None),
            true if pair.state + 1 == self.states => (1.0, None),
            true => (0.0, Some(pair.state + 1)),
        }
    }

    /// All 2n pairs, in the order of their numbers.
    pub fn pairs(self) -> impl Iterator<Item = Pair> {
        (0..2 * self.states).map(Pair::of)
    }

    /// The value of a pair if every later action is right.
    pub fn truth(self, pair: Pair) -> f64 {
        match self.is_right(pair) {
            true => self.discount().powi((self.states - 1 - pair.state) as i32),
            false => 0.0,
        }
    }

    /// The transitions of all 2ⁿ action sequences, each executed once until its episode ends, in random
    /// order; as the numbers of their pairs.
    pub fn memory(self, rng: &mut Rng) -> Vec<u8> {
        let mut sequences: Vec<u32> = (0..1 << self.states).collect();
        sequences.shuffle(rng);
        let mut memory = Vec::with_capacity(self.transitions());
        for actions in sequences {
            let mut state = Some(0);
            while let Some(at) = state {
                let pair = Pair { state: at, action: (actions >> at & 1) as usize };
                memory.push(pair.number() as u8);
                state = self.step(pair).1;
            }
        }
        memory
    }
}

impl Pair {
    /// Which of the pairs of a walk it is.
    pub fn number(self) -> usize {
        2 * self.state + self.action
    }

    /// The pair with this number.
    pub fn of(number: usize) -> Self {
        Self { state: number / 2, action: number % 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_states_are_these() {
        let walk = Walk { states: 3 };
        let told: Vec<_> = walk.pairs().map(|pair| (walk.is_right(pair), walk.step(pair))).collect();
        let wrong = (false, (0.0, None));
        let expected =
            [(true, (0.0, Some(1))), wrong, wrong, (true, (0.0, Some(2))), (true, (1.0, None)), wrong];
        assert_eq!(told, expected);
        let truth: Vec<f64> = walk.pairs().map(|pair| walk.truth(pair)).collect();
        let gamma: f64 = 1.0 - 1.0 / 3.0;
        assert_eq!(truth, [gamma * gamma, 0.0, 0.0, gamma, 1.0, 0.0]);
    }

    /// Appendix B.1: 2^(n+1) − 2 transitions, of which one is rewarded; each pair as often as a random
    /// policy meets it.
    #[test]
    fn the_memory_holds_every_sequence_once() {
        for states in 2..=10 {
            let walk = Walk { states };
            let memory = walk.memory(&mut cl_core::rng(1, "memory"));
            assert_eq!(memory.len(), walk.transitions());
            for pair in walk.pairs() {
                let copies = memory.iter().filter(|&&number| number as usize == pair.number()).count();
                assert_eq!(copies, 1 << (states - 1 - pair.state));
            }
            let rewarded = memory.iter().filter(|&&number| walk.step(Pair::of(number as usize)).0 > 0.0);
            assert_eq!(rewarded.count(), 1);
        }
    }

    #[test]
    fn the_order_of_the_sequences_is_the_seeds() {
        let walk = Walk { states: 5 };
        let memory = |seed| walk.memory(&mut cl_core::rng(seed, "memory"));
        assert_eq!(memory(0), memory(0));
        assert_ne!(memory(0), memory(1));
        // An episode stays in one piece: it begins in state 0 and goes up by one.
        for two in memory(0).windows(2) {
            let [before, after] = [two[0], two[1]].map(|number| Pair::of(number as usize));
            assert_eq!(after.state, walk.step(before).1.unwrap_or(0));
        }
    }
}
