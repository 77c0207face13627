//! Seeded initialisation. candle's CPU generator has no seed, so its initialisers give other weights
//! in every process; these draw from a generator that the caller owns.
//!
//! Values are drawn one after the other in row-major order, always in f64, so f32 and f64 networks of
//! one seed are the same network.

use candle_core::{DType, Device, Shape, Tensor, Var};
use rand::Rng as _;
use rand_distr::{Distribution, StandardNormal};

use crate::{Error, Result, Rng};

/// The distribution that weights are drawn from. For a weight of shape (out, in, ..), fan_in is the
/// product of all dimensions but the first, fan_out that of all but the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// U(−a, a).
    Uniform(f64),
    /// All this value.
    Constant(f64),
    /// N(0, σ²).
    Normal(f64),
    /// N(0, σ²) where it lies within two σ of 0: what lies beyond is drawn again, as TensorFlow's truncated normal does.
    Truncated(f64),
    /// U(−1/√fan_in, 1/√fan_in): what PyTorch's `Linear` and `Conv2d` do by default; for their bias, use
    /// [`Init::Uniform`] with the bound of the weight.
    FanIn,
    /// U(−√(6/(fan_in+fan_out)), ..): Glorot & Bengio 2010.
    Xavier,
    /// N(0, 2/fan_in): He et al. 2015.
    Kaiming,
}

impl Init {
    /// Draws a variable.
    ///
    /// # Errors
    /// A dtype that is not floating point; [`Init::FanIn`] and its kin for a shape of less than two
    /// dimensions or without inputs.
    pub fn var(self, shape: impl Into<Shape>, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Var> {
        let shape = shape.into();
        if !dtype.is_float() {
            return Err(Error::invalid("init", format!("weights are floating point, not {dtype:?}")));
        }
        let n = shape.elem_count();
        let mut uniform = |a: f64| (0..n).map(|_| a * (2.0 * rng.random::<f64>() - 1.0)).collect();
        let values: Vec<f64> = match self {
            Self::Zeros => vec![0.0; n],
            Self::Constant(value) => vec![value; n],
            Self::Uniform(a) => uniform(a),
            Self::FanIn => uniform(1.0 / fans(&shape)?.0.sqrt()),
            Self::Xavier => {
                let (fan_in, fan_out) = fans(&shape)?;
                uniform((6.0 / (fan_in + fan_out)).sqrt())
            }
            Self::Normal(sigma) => normal(n, sigma, rng),
            Self::Truncated(sigma) => (0..n).map(|_| sigma * within_two(rng)).collect(),
            Self::Kaiming => normal(n, (2.0 / fans(&shape)?.0).sqrt(), rng),
        };
        Ok(Var::from_tensor(
            &Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?,
        )?)
    }
}

fn normal(n: usize, sigma: f64, rng: &mut Rng) -> Vec<f64> {
    (0..n).map(|_| sigma * <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng)).collect()
}

fn within_two(rng: &mut Rng) -> f64 {
    loop {
        let drawn: f64 = StandardNormal.sample(rng);
        if drawn.abs() <= 2.0 {
            return drawn;
        }
    }
}

fn fans(shape: &Shape) -> Result<(f64, f64)> {
    let dims = shape.dims();
    if dims.len() < 2 || shape.elem_count() == 0 {
        return Err(Error::invalid(
            "init",
            format!("fan-in and fan-out need a weight of shape (out, in, ..), not {dims:?}"),
        ));
    }
    let field = dims[2..].iter().product::<usize>() as f64;
    Ok((dims[1] as f64 * field, dims[0] as f64 * field))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn draw(init: Init, seed: u64) -> Vec<f64> {
        let var = init.var((200, 50), DType::F64, &Device::Cpu, &mut crate::rng(seed, "w")).unwrap();
        var.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn same_seed_same_weights() {
        for init in [Init::FanIn, Init::Xavier, Init::Kaiming] {
            assert_eq!(draw(init, 1), draw(init, 1));
            assert_ne!(draw(init, 1), draw(init, 2));
        }
    }

    #[test]
    fn f32_is_f64_rounded() {
        let f32s = Init::FanIn.var((20, 5), DType::F32, &Device::Cpu, &mut crate::rng(1, "w")).unwrap();
        let f64s = Init::FanIn.var((20, 5), DType::F64, &Device::Cpu, &mut crate::rng(1, "w")).unwrap();
        let rounded = f64s.to_dtype(DType::F32).unwrap();
        assert_eq!(f32s.to_vec2::<f32>().unwrap(), rounded.to_vec2::<f32>().unwrap());
    }

    /// Variance within four standard errors (fixed seed; a right sampler fails one draw in 16 000).
    #[test]
    fn variances() {
        let n = 10_000f64;
        for (init, variance, kurtosis) in [
            (Init::FanIn, 1.0 / 50.0 / 3.0, 1.8),
            (Init::Xavier, 6.0 / 250.0 / 3.0, 1.8),
            (Init::Kaiming, 2.0 / 50.0, 3.0),
            (Init::Normal(3.0), 9.0, 3.0),
            (Init::Uniform(2.0), 4.0 / 3.0, 1.8),
        ] {
            let drawn = draw(init, 5);
            let found = drawn.iter().map(|x| x * x).sum::<f64>() / n;
            let error = variance * ((kurtosis - 1.0) / n).sqrt();
            assert!((found - variance).abs() < 4.0 * error, "{init:?}: {found} against {variance}");
        }
    }

    /// The variance of a normal that is cut off at two deviations is 1 − 4φ(2)/(2Φ(2) − 1) of the whole one's.
    #[test]
    fn a_truncated_normal_ends_at_two_deviations() {
        let drawn = draw(Init::Truncated(0.1), 5);
        let most = drawn.iter().fold(0f64, |most, x| most.max(x.abs()));
        assert!(most <= 0.2 && most > 0.199, "{most}");
        let variance = drawn.iter().map(|x| x * x).sum::<f64>() / drawn.len() as f64;
        // Its fourth moment is 1.416 in units of σ. Within four standard errors, as above.
        let (expected, error) = (0.773_741_3 * 0.01, 0.01 * ((1.416 - 0.599f64) / 1e4).sqrt());
        assert!((variance - expected).abs() < 4.0 * error, "{variance} against {expected}");
        assert!(draw(Init::Constant(0.1), 5).iter().all(|&x| x == 0.1));
    }

    #[test]
    fn refuses_what_has_no_fan() {
        let mut rng = crate::rng(0, "w");
        assert!(Init::FanIn.var(5, DType::F32, &Device::Cpu, &mut rng).is_err());
        assert!(Init::FanIn.var((5, 0), DType::F32, &Device::Cpu, &mut rng).is_err());
        assert!(Init::Zeros.var(5, DType::U32, &Device::Cpu, &mut rng).is_err());
        assert_eq!(Init::Zeros.var(5, DType::F32, &Device::Cpu, &mut rng).unwrap().dims(), [5]);
    }
}
