//! The means of the cells: k-means (Lloyd 1982) over a sample.

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, rng};
use rand::seq::index;

/// Patterns of the sample for each cell: more would place the means no better.
const SAMPLE: usize = 32;

/// Rounds of k-means, after which means hardly move.
const ROUNDS: usize = 8;

/// Patterns whose products with the means are computed together.
const BLOCK: usize = 1024;

/// What each cell lies around.
#[derive(Debug)]
pub struct Means {
    /// (cells, width)
    means: Tensor,
    /// ½‖c‖² of each (1, cells).
    half_squares: Tensor,
    /// The length of patterns: the root of their mean square.
    length: f64,
}

impl Means {
    pub fn new(means: Tensor, length: f64) -> Result<Self> {
        let half_squares = (means.sqr()?.sum(1)? * 0.5)?.unsqueeze(0)?;
        Ok(Self { means, half_squares, length })
    }

    /// A single cell, for everything.
    pub fn one(width: usize, device: &Device) -> Result<Self> {
        Self::new(Tensor::zeros((1, width), DType::F32, device)?, 1.0)
    }

    /// Where they are.
    pub fn device(&self) -> &Device {
        self.means.device()
    }

    /// Of `patterns` (m, width), m at least `cells`: some of them at first, then as often the mean of what is nearest to each.
    pub fn of(patterns: &Tensor, cells: usize, seed: u64) -> Result<Self> {
        let (m, width) = patterns.dims2()?;
        if cells == 1 {
            return Self::one(width, patterns.device());
        }
        let sample = index::sample(&mut rng(seed, &format!("cells of {m}")), m, m.min(SAMPLE * cells));
        let sample: Vec<u32> = sample.into_iter().map(|at| at as u32).collect();
        let sample =
            patterns.index_select(&Tensor::from_slice(&sample, sample.len(), patterns.device())?, 0)?;
        let length = f64::from(sample.sqr()?.sum(1)?.mean_all()?.to_scalar::<f32>()?).sqrt();
        let mut found = Self::new(sample.narrow(0, 0, cells)?.copy()?, length)?;
        let rows = sample.to_vec2::<f32>()?;
        for _ in 0..ROUNDS {
            let mut sums = vec![0f64; cells * width];
            let mut counts = vec![0usize; cells];
            for (row, cell) in rows.iter().zip(found.nearest(&sample)?) {
                counts[cell] += 1;
                let sum = &mut sums[cell * width..][..width];
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            let mut means = found.means.flatten_all()?.to_vec1::<f32>()?;
            // What is nearest to nothing stays where it was.
            for cell in (0..cells).filter(|&cell| counts[cell] > 0) {
                let (mean, sum) = (&mut means[cell * width..][..width], &sums[cell * width..][..width]);
                mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean = (sum / counts[cell] as f64) as f32);
            }
            found = Self::new(Tensor::from_vec(means, (cells, width), patterns.device())?, length)?;
        }
        Ok(found)
    }

    /// The means (cells, width), and the length of patterns.
    pub fn parts(&self) -> (&Tensor, f64) {
        (&self.means, self.length)
    }

    /// The cell to whose mean each of `patterns` (n, width) is nearest: ‖x − c‖² is least where xᵀc − ½‖c‖² is most.
    pub fn nearest(&self, patterns: &Tensor) -> Result<Vec<usize>> {
        let n = patterns.dim(0)?;
        let mut cells = Vec::with_capacity(n);
        for from in (0..n).step_by(BLOCK) {
            let rows = patterns.narrow(0, from, BLOCK.min(n - from))?;
            let near = rows.matmul(&self.means.t()?)?.broadcast_sub(&self.half_squares)?;
            cells.extend(near.argmax(1)?.to_vec1::<u32>()?.into_iter().map(|cell| cell as usize));
        }
        Ok(cells)
    }

    /// How promising each cell is for each of `queries` (n, width), whose length does not matter, since it makes no product the
    /// largest: for the query at the length that patterns have, how near the mean of the cell is.
    pub fn promise(&self, queries: &Tensor) -> Result<Vec<Vec<f32>>> {
        let lengths = queries.sqr()?.sum_keepdim(1)?.sqrt()?;
        // A query of nothing stays one.
        let queries = (queries.broadcast_div(&lengths.clamp(f32::MIN_POSITIVE, f32::MAX)?)? * self.length)?;
        Ok(queries.matmul(&self.means.t()?)?.broadcast_sub(&self.half_squares)?.to_vec2()?)
    }
}
