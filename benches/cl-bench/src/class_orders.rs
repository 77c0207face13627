//! The class orders of published runs, for tables in which they matter.

use cl_core::{Error, Result};

/// The order in which the code of van de Ven et al. 2022 hands out ten classes when it is run with `--seed seed`.
///
/// NumPy's generator is its first user there: `np.random.seed(seed); p = np.random.permutation(10)` gives the
/// class `y` the place `p[y]`. What is here is the inverse: the class at each place.
/// With seed 0 that code leaves the classes in their order.
///
/// # Errors
/// [`Error::Invalid`] for a seed whose order is not recorded here; the authors ran 2 to 21.
pub fn van_de_ven(seed: u64) -> Result<Vec<u32>> {
    let order = usize::try_from(seed).ok().and_then(|seed| VAN_DE_VEN.get(seed));
    order.map(|order| order.to_vec()).ok_or_else(|| {
        let why = format!(
            "the class order of seed {seed} is not recorded; those of 0 to {} are",
            VAN_DE_VEN.len() - 1
        );
        Error::invalid("seeds", why)
    })
}

/// The same for the comparison of van de Ven & Tolias 2018, whose script begins with seed 1111: `run` 1 is that seed.
///
/// # Errors
/// [`Error::Invalid`] for a run whose order is not recorded here; the authors made 20.
pub fn van_de_ven_2018(run: u64) -> Result<Vec<u32>> {
    let order = usize::try_from(run).ok().and_then(|run| VAN_DE_VEN_2018.get(run.checked_sub(1)?));
    order.map(|order| order.to_vec()).ok_or_else(|| {
        let last = VAN_DE_VEN_2018.len();
        let why = format!("the class order of run {run} is not recorded; those of 1 to {last} are");
        Error::invalid("seeds", why)
    })
}

/// Seeds 0 to 31, in order.
const VAN_DE_VEN: [[u32; 10]; 32] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [4, 6, 0, 5, 3, 9, 2, 7, 8, 1],
    [3, 1, 5, 6, 0, 2, 7, 4, 9, 8],
    [7, 2, 3, 8, 1, 0, 5, 6, 9, 4],
    [6, 7, 4, 0, 2, 8, 5, 9, 1, 3],
    [6, 5, 2, 9, 3, 1, 8, 4, 7, 0],
    [3, 1, 6, 8, 7, 5, 4, 2, 0, 9],
    [2, 4, 3, 7, 9, 1, 8, 6, 0, 5],
    [3, 7, 4, 9, 8, 5, 1, 6, 0, 2],
    [7, 4, 3, 6, 1, 9, 8, 2, 0, 5],
    [6, 5, 1, 4, 8, 2, 3, 7, 0, 9],
    [8, 6, 2, 7, 4, 5, 3, 0, 1, 9],
    [3, 8, 7, 6, 4, 0, 9, 2, 1, 5],
    [8, 3, 9, 0, 4, 1, 2, 5, 6, 7],
    [2, 6, 5, 0, 4, 3, 8, 7, 9, 1],
    [5, 2, 0, 3, 7, 8, 1, 4, 9, 6],
    [2, 7, 1, 6, 5, 8, 0, 3, 4, 9],
    [5, 9, 1, 3, 4, 2, 8, 0, 7, 6],
    [2, 5, 4, 9, 3, 7, 6, 0, 8, 1],
    [7, 0, 8, 6, 5, 9, 3, 1, 4, 2],
    [4, 1, 5, 9, 8, 3, 6, 0, 2, 7],
    [6, 0, 1, 3, 7, 4, 5, 2, 8, 9],
    [6, 1, 0, 4, 8, 9, 3, 5, 7, 2],
    [7, 6, 2, 9, 4, 0, 8, 5, 1, 3],
    [7, 6, 9, 8, 1, 4, 5, 3, 2, 0],
    [4, 1, 5, 2, 9, 0, 8, 7, 3, 6],
    [7, 6, 4, 5, 1, 9, 8, 3, 0, 2],
    [7, 3, 1, 9, 0, 4, 5, 6, 8, 2],
    [5, 9, 1, 4, 6, 8, 7, 3, 2, 0],
    [4, 2, 5, 8, 7, 9, 1, 3, 0, 6],
    [0, 1, 2, 3, 5, 9, 4, 6, 7, 8],
    [7, 1, 9, 2, 0, 4, 6, 8, 3, 5],
];

/// Seeds 1111 to 1130, in order.
const VAN_DE_VEN_2018: [[u32; 10]; 20] = [
    [3, 7, 5, 1, 6, 8, 4, 9, 2, 0],
    [3, 5, 2, 6, 9, 4, 8, 0, 1, 7],
    [4, 6, 5, 2, 7, 9, 3, 0, 1, 8],
    [1, 4, 3, 6, 5, 0, 2, 8, 7, 9],
    [8, 1, 7, 6, 5, 0, 3, 2, 9, 4],
    [8, 0, 4, 2, 9, 5, 1, 7, 3, 6],
    [7, 5, 1, 9, 0, 6, 4, 2, 8, 3],
    [4, 0, 6, 8, 2, 9, 1, 5, 3, 7],
    [0, 8, 3, 5, 9, 7, 6, 1, 2, 4],
    [4, 0, 2, 9, 8, 3, 7, 5, 6, 1],
    [0, 7, 5, 6, 1, 8, 9, 4, 3, 2],
    [4, 5, 1, 6, 3, 9, 2, 7, 8, 0],
    [8, 1, 4, 0, 6, 3, 2, 7, 9, 5],
    [8, 7, 0, 2, 1, 5, 6, 3, 9, 4],
    [7, 0, 4, 6, 5, 1, 9, 8, 2, 3],
    [9, 8, 6, 7, 5, 2, 0, 1, 3, 4],
    [2, 6, 7, 5, 1, 8, 3, 9, 4, 0],
    [4, 8, 1, 3, 7, 5, 2, 0, 9, 6],
    [1, 3, 8, 5, 7, 6, 4, 0, 2, 9],
    [7, 1, 3, 0, 6, 5, 4, 9, 8, 2],
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_order_names_each_class_once() {
        let orders = (0..32).map(van_de_ven).chain((1..=20).map(van_de_ven_2018));
        for order in orders {
            let mut order = order.unwrap();
            order.sort_unstable();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
        }
    }

    /// `np.random.seed(2); np.random.permutation(10)` is `[4, 1, 5, 0, 7, 2, 3, 6, 9, 8]`.
    #[test]
    fn the_order_is_the_inverse_of_the_permutation() {
        let order = van_de_ven(2).unwrap();
        let place = |class: u32| order.iter().position(|&other| other == class).unwrap();
        assert_eq!((0..10).map(place).collect::<Vec<_>>(), [4, 1, 5, 0, 7, 2, 3, 6, 9, 8]);
    }

    #[test]
    fn a_seed_that_is_not_recorded_is_an_error() {
        let error = van_de_ven(32).unwrap_err().to_string();
        assert!(error.contains("seed 32") && error.contains("0 to 31"), "{error}");
        for run in [0, 21] {
            let error = van_de_ven_2018(run).unwrap_err().to_string();
            assert!(error.contains("1 to 20"), "{error}");
        }
    }
}
