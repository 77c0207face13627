//! The continuous network: patterns anywhere on a sphere.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor};
use cl_core::init::Init;
use cl_core::{Result, Rng, rng};
use cl_hopfield::continuous::{Steps, error_bound, retrieve};

use crate::experiment::Measured;

/// Where patterns are drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Sphere {
    pub dimension: usize,
    pub patterns: usize,
    pub radius: f64,
}

/// Of one update from cues around some of the patterns: the errors ‖f(ξ) − x‖/R, and what theorem 4 of Ramsauer et al. 2021
/// allows. Patterns and cues of one dimension and number point in the same directions whatever the radius and β.
pub fn errors(sphere: Sphere, beta: f64, noise: f64, retrieved: usize, seed: u64) -> Result<Measured> {
    let Sphere { dimension, patterns, radius } = sphere;
    let rng = &mut rng(seed, &format!("sphere {dimension} {patterns}"));
    let all = (directions(patterns, dimension, rng)? * radius)?;
    let these = all.narrow(0, 0, retrieved.min(patterns))?;
    let away = (directions(these.dim(0)?, dimension, rng)? * (noise * radius))?;
    let found = retrieve(&(&these + away)?, &all, beta, Steps::Exactly(1))?.state;
    let errors = ((found - &these)?.sqr()?.sum(D::Minus1)?.sqrt()? / radius)?.to_vec1::<f64>()?;

    // Δᵢ = min over j ≠ i of xᵢᵀxᵢ − xᵢᵀxⱼ, for these alone.
    let products = these.matmul(&all.t()?)?.to_vec2::<f64>()?;
    let bound = |(i, products): (usize, &Vec<f64>)| {
        let others = products.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, product)| product);
        let separation = others.fold(f64::INFINITY, |least, product| least.min(products[i] - product));
        // More than the whole of a pattern says nothing, and may be more than JSON holds.
        (error_bound(patterns, radius, separation, noise * radius, beta) / radius).min(2.0)
    };
    let bounds = products.iter().enumerate().map(bound).collect();
    let values = [("error", errors), ("bound", bounds)].map(|(name, values)| (name.to_owned(), values));
    Ok(Measured { values: BTreeMap::from(values), ..Measured::default() })
}

/// Vectors of length 1 (rows, dimension), f64.
fn directions(rows: usize, dimension: usize, rng: &mut Rng) -> Result<Tensor> {
    let x = Init::Normal(1.0).var((rows, dimension), DType::F64, &Device::Cpu, rng)?;
    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?)
}
