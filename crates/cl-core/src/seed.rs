//! Randomness from an explicit seed.
//!
//! candle's CPU generator cannot be seeded, so nothing in the workspace uses it. A seed is split into
//! independent streams by name: what draws batches does not disturb what draws weights, and adding a
//! consumer changes nobody else's numbers.

use rand::SeedableRng;

/// The generator of the workspace: portable, its state can be saved and compared.
pub type Rng = rand_chacha::ChaCha8Rng;

/// The generator of stream `name` under `seed`.
///
/// ```
/// use rand::RngCore;
/// let (mut a, mut b) = (cl_core::rng(7, "batches"), cl_core::rng(7, "weights"));
/// assert_ne!(a.next_u64(), b.next_u64());
/// assert_eq!(cl_core::rng(7, "batches"), cl_core::rng(7, "batches"));
/// ```
pub fn rng(seed: u64, name: &str) -> Rng {
    let mut rng = Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(name.as_bytes()));
    rng
}

/// FNV-1a, 64 bits: fixed for all time, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    /// Pins the numbers: a result file of last year must be reproducible next year.
    #[test]
    fn streams_are_pinned() {
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        let first: Vec<u64> = ["batches", "weights"].map(|n| rng(0, n).next_u64()).to_vec();
        assert_eq!(first, rng_of_record());
    }

    fn rng_of_record() -> Vec<u64> {
        let mut b = Rng::seed_from_u64(0);
        b.set_stream(fnv1a(b"batches"));
        let mut w = Rng::seed_from_u64(0);
        w.set_stream(fnv1a(b"weights"));
        vec![b.next_u64(), w.next_u64()]
    }

    #[test]
    fn seeds_and_names_give_different_streams() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            for name in ["", "a", "b", "batches", "weights"] {
                assert!(seen.insert(rng(seed, name).next_u64()));
            }
        }
    }
}
