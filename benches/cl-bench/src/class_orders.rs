//! The class orders of published runs, for tables in which they matter.

use cl_core::{Error, Result};
use rand_mt::Mt;

/// The order in which the code of van de Ven et al. 2022 hands out ten classes when it is run with `--seed seed`; the
/// authors ran 2 to 21.
///
/// NumPy's generator is first used there: `np.random.seed(seed); p = np.random.permutation(10)` gives the class `y` the
/// place `p[y]`. What is here is the inverse: the class at each place. With seed 0 that code leaves the classes in their
/// order.
///
/// # Errors
/// [`Error::Invalid`] for a seed that NumPy does not take: above 2³² − 1.
pub fn van_de_ven(seed: u64) -> Result<Vec<u32>> {
    let seed = u32::try_from(seed).map_err(|_| {
        Error::invalid("seeds", format!("{seed} is more than NumPy's seeds can be, {}", u32::MAX))
    })?;
    if seed == 0 {
        return Ok((0..10).collect());
    }
    let mut order = vec![0; 10];
    for (class, place) in (0..).zip(permutation(seed)) {
        order[place] = class;
    }
    Ok(order)
}

/// The same for the comparison of van de Ven & Tolias 2018, whose script begins with seed 1111: `run` 1 is that seed.
///
/// # Errors
/// As [`van_de_ven`].
pub fn van_de_ven_2018(run: u64) -> Result<Vec<u32>> {
    van_de_ven(run.saturating_add(1110))
}

/// `np.random.seed(seed); np.random.permutation(10)`: from the last place on, each is exchanged with one up to itself,
/// which is drawn as the low bits of a word, again until it is in range.
fn permutation(seed: u32) -> [usize; 10] {
    let mut words = Mt::new(seed);
    let mut places = std::array::from_fn(|place| place);
    for last in (1..10u32).rev() {
        let mask = (last + 1).next_power_of_two() - 1;
        let other = loop {
            let word = words.next_u32() & mask;
            if word <= last {
                break word;
            }
        };
        places.swap(last as usize, other as usize);
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What NumPy 2.4 prints.
    #[test]
    fn permutations_are_those_of_numpy() {
        assert_eq!(permutation(2), [4, 1, 5, 0, 7, 2, 3, 6, 9, 8]);
        assert_eq!(permutation(3), [5, 4, 1, 2, 9, 6, 7, 0, 3, 8]);
        assert_eq!(permutation(21), [1, 2, 7, 3, 5, 6, 0, 4, 8, 9]);
    }

    #[test]
    fn the_order_is_the_inverse_of_the_permutation() {
        assert_eq!(van_de_ven(2).unwrap(), [3, 1, 5, 6, 0, 2, 7, 4, 9, 8]);
        assert_eq!(van_de_ven(0).unwrap(), (0..10).collect::<Vec<_>>());
        assert_eq!(van_de_ven_2018(1).unwrap(), van_de_ven(1111).unwrap());
    }

    #[test]
    fn a_seed_beyond_those_of_numpy_is_an_error() {
        let error = van_de_ven(1 << 32).unwrap_err().to_string();
        assert!(error.contains("4294967296") && error.contains("4294967295"), "{error}");
        assert!(van_de_ven_2018(u64::MAX).is_err());
    }
}
