//! How much learning one thing would harm another: measurements for [`Trace::interference`](crate::Trace::interference).

use candle_core::Tensor;
use cl_core::{Error, Params, Result, SgdStep, TensorOps};
use cl_replay::scores::{LayerGradients, gradient_products, squared_norm};

/// By how much a step along `gradients` at the rate `lr` would raise the loss of each experience (n), no less than 0: the
/// score of maximally interfered retrieval (Aljundi et al. 2019, section 3.1). `losses` are asked twice, with the parameters as
/// they are and as they would be; then they are as they were, bit for bit, also where it failed.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use cl_core::Params;
/// use cl_sleep::interference::loss_rise;
///
/// let w = Var::new(&[1f32], &Device::Cpu)?;
/// let params = Params::sorted([("w".to_owned(), w.clone())])?;
/// let losses = || Ok(vec![(w.to_vec1::<f32>()?[0] as f64 - 1.0).powi(2), 5.0]); // of two experiences
/// let rise = loss_rise(&params, &[Tensor::new(&[-10f32], &Device::Cpu)?], 0.1, losses)?;
/// assert_eq!(rise, [1.0, 0.0]);
/// assert_eq!(w.to_vec1::<f32>()?, [1.0]);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] on gradients that do not fit the trainable parameters, or losses that differ in number; [`Error::Invalid`] on a loss
/// that is not finite; those of `losses`.
pub fn loss_rise(
    params: &Params,
    gradients: &[Tensor],
    lr: f64,
    mut losses: impl FnMut() -> Result<Vec<f64>>,
) -> Result<Vec<f32>> {
    if params.trainable().count() != gradients.len() {
        let expected = format!("{} gradients", params.trainable().count());
        return Err(Error::mismatch("interference", expected, gradients.len().to_string()));
    }
    let before = losses()?;
    let values = params.values()?;
    let mut step = || -> Result<Vec<f64>> {
        for (param, gradient) in params.trainable().zip(gradients) {
            let step = SgdStep { lr, momentum: 0.0, weight_decay: 0.0 };
            param.var.sgd_step(&gradient.contiguous()?, None, step)?;
        }
        losses()
    };
    let after = step();
    params.set_values(&values)?;
    let after = after?;
    if after.len() != before.len() {
        let (expected, got) = (format!("{} losses", before.len()), after.len().to_string());
        return Err(Error::mismatch("interference", expected, got));
    }
    if let Some(loss) = before.iter().chain(&after).find(|loss| !loss.is_finite()) {
        let why =
            format!("a loss is {loss} before or after a step at {lr}: lower the rate of the virtual step");
        return Err(Error::invalid("interference", why));
    }
    Ok(after.iter().zip(before).map(|(after, before)| (after - before).max(0.0) as f32).collect())
}

/// How much the gradient of each experience's loss points against that of something else: max(0, −cos) in [0, 1], of
/// the gradients' parts layer by layer. `old` are of n experiences, `new` of what is learnt, whose mean gradient counts.
///
/// # Errors
/// As [`gradient_products`].
pub fn gradient_conflict(old: &[LayerGradients], new: &[LayerGradients]) -> Result<Vec<f32>> {
    let with_mean: Vec<f32> = gradient_products(old, new)?.mean(1)?.to_vec1()?;
    let norms: Vec<f32> = squared_norm(old)?.sqrt()?.to_vec1()?;
    let mean_norm = gradient_products(new, new)?.mean_all()?.to_scalar::<f32>()?.max(0.0).sqrt();
    let conflict = |(dot, norm): (f32, f32)| {
        let scale = norm * mean_norm;
        if scale > 0.0 { (-dot / scale).clamp(0.0, 1.0) } else { 0.0 }
    };
    Ok(with_mean.into_iter().zip(norms).map(conflict).collect())
}
