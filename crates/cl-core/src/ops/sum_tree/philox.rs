//! Random numbers that are a function of their place: a thread makes its own, and any machine the same.

use serde::{Deserialize, Serialize};

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a key, and the number of the next draw.
///
/// ```
/// use cl_core::sum_tree::Philox;
/// use rand::RngCore;
///
/// let mut philox = Philox::new(cl_core::rng(0, "draws").next_u64());
/// let restored = philox; // all there is
/// assert_eq!(philox.draws(), 0);
/// assert_eq!(philox, restored);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Philox {
    key: u64,
    draws: u64,
}

/// The place of a draw: element i of it is number (i, draw) under the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) key: u64,
    pub(super) draw: u64,
}

impl Philox {
    /// The generator of this key, at its first draw.
    pub fn new(key: u64) -> Self {
        Self { key, draws: 0 }
    }

    /// How many draws there were.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// The next draw.
    pub(super) fn advance(&mut self) -> Stream {
        let stream = Stream { key: self.key, draw: self.draws };
        self.draws = self.draws.wrapping_add(1);
        stream
    }
}

impl Stream {
    /// Element i, in [0, 1): 53 bits.
    pub(super) fn uniform(self, i: u32) -> f64 {
        let [low, high, ..] = philox4x32(
            [i, 0, self.draw as u32, (self.draw >> 32) as u32],
            [self.key as u32, (self.key >> 32) as u32],
        );
        let word = u64::from(high) << 32 | u64::from(low);
        (word >> 11) as f64 * 2f64.powi(-53)
    }
}

/// Ten rounds.
fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = counter;
        let (first, second) = (u64::from(a) * 0xD251_1F53, u64::from(c) * 0xCD9E_8D57);
        counter = [
            (second >> 32) as u32 ^ b ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ d ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::philox4x32;

    /// The known answers of the authors' Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
