//! A straight line through points.

/// The slope of the straight line that fits best, by least squares; None for less than two points.
pub(crate) fn slope(points: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let points: Vec<(f64, f64)> = points.collect();
    if points.len() < 2 {
        return None;
    }
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xy, xx) =
        points.iter().fold((0.0, 0.0), |(xy, xx), p| (xy + (p.0 - x) * (p.1 - y), xx + (p.0 - x).powi(2)));
    (xx > 0.0).then_some(xy / xx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line() {
        let on_a_line = [1.0, 2.0, 5.0].map(|x| (x, 3.0 - 0.5 * x));
        assert!((slope(on_a_line.into_iter()).unwrap_or(0.0) + 0.5).abs() < 1e-15);
        // (0, 0), (1, 1), (2, 1): 1/2 by hand.
        assert_eq!(slope([(0.0, 0.0), (1.0, 1.0), (2.0, 1.0)].into_iter()), Some(0.5));
        assert_eq!(slope([(1.0, 1.0)].into_iter()), None);
        assert_eq!(slope([(1.0, 1.0), (1.0, 2.0)].into_iter()), None);
    }
}
