//! How far new data moves what is believed of the parameters: the stability term.

use std::f64::consts::LN_2;

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};

/// A Gaussian with a diagonal covariance: one mean and one precision (1/variance) for each of k dimensions.
#[derive(Debug, Clone, Copy)]
pub struct Gaussian<'a> {
    /// μ, k values.
    pub mean: &'a [f64],
    /// P, k values greater than 0.
    pub precision: &'a [f64],
}

/// KL(p ‖ q) of two diagonal Gaussians, in bits:
///
/// KL = (1/(2 ln 2)) Σⱼ [ ln(Pⱼ/Qⱼ) + Qⱼ/Pⱼ − 1 + Qⱼ(μⱼ−νⱼ)² ]
///
/// with p = N(μ, 1/P) and q = N(ν, 1/Q). At least 0, and 0 for equal Gaussians alone. Not symmetric.
///
/// # Errors
/// No dimension; lists of different lengths; a mean that is not finite; a precision that is not finite and
/// greater than 0; values so far apart that the divergence is no f64.
pub fn gaussian_kl(p: Gaussian<'_>, q: Gaussian<'_>) -> Result<f64> {
    let k = p.mean.len();
    if k == 0 {
        return Err(Error::invalid("gaussian_kl", "there are no dimensions; give at least one"));
    }
    let lengths = [p.precision.len(), q.mean.len(), q.precision.len()];
    if lengths.iter().any(|&length| length != k) {
        return Err(Error::mismatch(
            "gaussian_kl",
            format!("four lists of {k} values"),
            format!("{lengths:?}"),
        ));
    }
    let mut nats = 0.0;
    for j in 0..k {
        let (mu, nu, from, to) = (p.mean[j], q.mean[j], p.precision[j], q.precision[j]);
        if !mu.is_finite() || !nu.is_finite() {
            return Err(Error::invalid(
                "mean",
                format!("{mu} and {nu} in dimension {j}; give finite values"),
            ));
        }
        if let Some(bad) = [from, to].iter().find(|x| !(x.is_finite() && **x > 0.0)) {
            return Err(Error::invalid(
                "precision",
                format!("{bad} in dimension {j}; a precision is finite and greater than 0 (raise the prior)"),
            ));
        }
        nats += 0.5 * (excess((to - from) / from) + to * (mu - nu).powi(2));
    }
    if !nats.is_finite() {
        return Err(Error::invalid("gaussian_kl", "the Gaussians are too far apart for an f64; scale them"));
    }
    Ok(nats / LN_2)
}

/// d − ln(1 + d) for d = Q/P − 1: never negative, and 0 for d = 0 alone.
fn excess(d: f64) -> f64 {
    // Where d is small, the difference of two nearly equal numbers is lost to rounding; the series is not.
    if d.abs() < 1e-4 { d * d * (0.5 - d * (1.0 / 3.0 - d * 0.25)) } else { d - d.ln_1p() }
}

/// What is known of the parameters after some data, as the Laplace approximation with a diagonal Fisher
/// information sees it (MacKay 1992; Kirkpatrick et al. 2017): N(θ*, P⁻¹) with P = n·F + prior.
#[derive(Debug, Clone, Copy)]
pub struct Laplace<'a> {
    /// θ*, one tensor for each parameter, as `Params::values` gives them.
    pub theta: &'a [Tensor],
    /// F, **the mean over samples**, one tensor of the same shape for each parameter, at least 0.
    pub fisher: &'a [Tensor],
    /// n, the samples behind θ* and F.
    pub samples: usize,
}

/// The stability term KL(p(θ|D_old) ‖ p(θ|D_all)), in bits for all parameters together: how much the new data
/// changed what the old said of the parameters. 0: nothing was moved.
///
/// Under the Laplace approximation, with P = n_old·F_old + prior and Q = n_all·F_all + prior:
///
/// KL = (1/(2 ln 2)) Σⱼ [ ln(Pⱼ/Qⱼ) + Qⱼ/Pⱼ − 1 + Qⱼ(θ_oldⱼ−θ_allⱼ)² ]
///
/// D_all holds D_old: where its Fisher information was not estimated at once, F_all is the mean of those of the
/// parts, weighted by their samples. `prior` is the precision of the Gaussian prior of every parameter, greater
/// than 0: it is what is left where F = 0, and a parameter that D_old did not need costs prior·(Δθ)² only. The
/// last summand is the penalty of EWC with λ = 2 and Q for F, up to the unit; the first three say how much more
/// certain the parameters became.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_metrics::{Laplace, stability};
///
/// let theta = [Tensor::new(&[1f32, 2.], &Device::Cpu)?];
/// let fisher = [Tensor::new(&[0.5f32, 0.], &Device::Cpu)?];
/// let old = Laplace { theta: &theta, fisher: &fisher, samples: 100 };
/// assert_eq!(stability(old, old, 1.0)?, 0.0);
/// assert!(stability(old, Laplace { samples: 200, ..old }, 1.0)? > 0.0);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// A prior that is not greater than 0; lists of different lengths or shapes; no parameters; values that are not
/// finite; a negative Fisher information.
pub fn stability(old: Laplace<'_>, all: Laplace<'_>, prior: f64) -> Result<f64> {
    if !(prior.is_finite() && prior > 0.0) {
        return Err(Error::invalid("prior", format!("{prior} is not a finite precision greater than 0")));
    }
    let count = old.theta.len();
    if count == 0 {
        return Err(Error::invalid("stability", "there are no parameters; give at least one tensor"));
    }
    let counts = [old.fisher.len(), all.theta.len(), all.fisher.len()];
    if counts.iter().any(|&other| other != count) {
        return Err(Error::mismatch(
            "stability",
            format!("four lists of {count} tensors"),
            format!("{counts:?}"),
        ));
    }
    let mut bits = 0.0;
    for j in 0..count {
        let shape = old.theta[j].dims();
        if let Some(other) =
            [&old.fisher[j], &all.theta[j], &all.fisher[j]].iter().find(|t| t.dims() != shape)
        {
            return Err(Error::mismatch(
                "stability",
                format!("{shape:?} for parameter {j}"),
                format!("{:?}", other.dims()),
            ));
        }
        if old.theta[j].elem_count() == 0 {
            continue;
        }
        let (mu, nu) = (flat(&old.theta[j])?, flat(&all.theta[j])?);
        let (from, to) = (old.precision(j, prior)?, all.precision(j, prior)?);
        bits +=
            gaussian_kl(Gaussian { mean: &mu, precision: &from }, Gaussian { mean: &nu, precision: &to })?;
    }
    Ok(bits)
}

impl Laplace<'_> {
    /// n·F + prior of parameter j.
    fn precision(&self, j: usize, prior: f64) -> Result<Vec<f64>> {
        let fisher = flat(&self.fisher[j])?;
        if let Some(bad) = fisher.iter().find(|f| !(f.is_finite() && **f >= 0.0)) {
            return Err(Error::invalid(
                "fisher",
                format!("{bad} in parameter {j}; a Fisher information is a mean of squares, at least 0"),
            ));
        }
        Ok(fisher.iter().map(|f| self.samples as f64 * f + prior).collect())
    }
}

fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}
