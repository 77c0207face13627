//! Codes that are less alike than what they stand for.

use candle_core::{D, DType, Device, Tensor};
use cl_core::init::Init;
use cl_core::{Error, Result, Rng};

/// Pattern separation as in the dentate gyrus (Marr 1971; O'Reilly & McClelland 1994): a random expansion into many units, of
/// which the `active` with the largest input fire. What differs a little differs much in who wins, so that a fast memory over
/// the codes keeps experiences apart that are much alike.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::PatternSeparation;
///
/// let separation = PatternSeparation::new(4, 500, 10, &mut cl_core::rng(0, "dentate gyrus"))?;
/// let alike = Tensor::new(&[[1f32, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.5]], &Device::Cpu)?; // cosine 0.98
/// let codes = separation.code(&alike)?;
/// let overlap = codes.matmul(&codes.t()?)?.to_vec2::<f32>()?[0][1];
/// assert!(overlap < 0.9, "{overlap}");
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PatternSeparation {
    /// (inputs, units)
    projection: Tensor,
    active: usize,
}

impl PatternSeparation {
    /// From `inputs` to `units`, of which `active` fire; the projection is drawn from `rng`, N(0, 1).
    ///
    /// # Errors
    /// [`Error::Invalid`] where one of them is 0, or more units fire than there are.
    pub fn new(inputs: usize, units: usize, active: usize, rng: &mut Rng) -> Result<Self> {
        if inputs == 0 || active == 0 || active > units {
            let why =
                format!("{active} of {units} units cannot fire for {inputs} inputs: 1 to all of them can");
            return Err(Error::invalid("pattern separation", why));
        }
        let projection = Init::Normal(1.0).var((inputs, units), DType::F32, &Device::Cpu, rng)?;
        Ok(Self { projection: projection.as_detached_tensor(), active })
    }

    /// The codes (n, units) of patterns (n, inputs), f32: 1/√active where a unit fires, otherwise 0, so that each has the
    /// length 1 and the product of two is the part of the units that they share. What a pattern has in all inputs alike takes no
    /// part: its mean is taken away first. Of equal units the first fire.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another number of inputs; [`Error::Invalid`] on a pattern that is not finite.
    pub fn code(&self, patterns: &Tensor) -> Result<Tensor> {
        let (inputs, units) = self.projection.dims2()?;
        let (n, found) = patterns.dims2()?;
        if found != inputs {
            return Err(Error::mismatch("pattern separation", format!("{inputs} inputs"), found.to_string()));
        }
        let centered = patterns.detach().broadcast_sub(&patterns.detach().mean_keepdim(D::Minus1)?)?;
        let mut codes = vec![0f32; n * units];
        let height = 1.0 / (self.active as f32).sqrt();
        let drive = centered.matmul(&self.projection)?.to_vec2::<f32>()?;
        for (drive, code) in drive.iter().zip(codes.chunks_exact_mut(units)) {
            if drive.iter().any(|x| !x.is_finite()) {
                return Err(Error::invalid("pattern", "it is not finite"));
            }
            let mut order: Vec<u32> = (0..units as u32).collect();
            let larger = |a: &u32, b: &u32| drive[*b as usize].total_cmp(&drive[*a as usize]).then(a.cmp(b));
            if self.active < units {
                order.select_nth_unstable_by(self.active - 1, larger);
            }
            order[..self.active].iter().for_each(|unit| code[*unit as usize] = height);
        }
        Ok(Tensor::from_vec(codes, (n, units), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_are_sparse_and_less_alike_than_patterns() {
        let rng = &mut cl_core::rng(1, "patterns");
        let separation = PatternSeparation::new(50, 1000, 30, rng).unwrap();
        let noise = |rng: &mut Rng| Init::Normal(1.0).var((20, 50), DType::F32, &Device::Cpu, rng).unwrap();
        let patterns = noise(rng).as_detached_tensor();
        let mut last = 1.0;
        for spread in [0.1, 0.3, 1.0] {
            let near = (&patterns + (noise(rng).as_detached_tensor() * spread).unwrap()).unwrap();
            let [a, b] = [&patterns, &near].map(|x| separation.code(x).unwrap());
            let fire = |code: &Tensor| code.gt(0f32).unwrap().to_dtype(DType::F32).unwrap().sum(1).unwrap();
            assert_eq!(fire(&a).to_vec1::<f32>().unwrap(), [30.0; 20]);
            let overlap = (a * b).unwrap().sum(1).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
            let cosine = 1.0 / (1.0 + spread as f32 * spread as f32).sqrt();
            assert!(overlap < cosine && overlap < last, "{spread}: {overlap} {cosine}");
            last = overlap;
        }
        // What is the same has the same code, whatever its brightness and contrast.
        let same = ((&patterns * 3.0).unwrap() + 2.0).unwrap();
        let bits = |x: &Tensor| separation.code(x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(bits(&patterns), bits(&same));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let rng = &mut cl_core::rng(1, "patterns");
        for (inputs, units, active) in [(0, 5, 1), (5, 5, 0), (5, 5, 6)] {
            assert!(PatternSeparation::new(inputs, units, active, rng).is_err());
        }
        let separation = PatternSeparation::new(2, 5, 5, rng).unwrap();
        let x = |values: &[f32]| Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap();
        assert!(matches!(separation.code(&x(&[1.0])), Err(Error::Mismatch { .. })));
        assert!(matches!(separation.code(&x(&[1.0, f32::NAN])), Err(Error::Invalid { .. })));
        assert_eq!(
            separation.code(&x(&[1.0, 2.0])).unwrap().to_vec2::<f32>().unwrap()[0],
            [1.0 / 5f32.sqrt(); 5]
        );
    }
}
