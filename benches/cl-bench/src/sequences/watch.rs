//! Where a memory is written and read in a sequence.

use candle_core::Tensor;
use cl_core::Result;
use cl_working_memory::{Dnc, State};
use serde::{Deserialize, Serialize};

/// The weights of a sequence over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Which sequence it was.
    pub what: String,
    /// Write weights, and read weights of each head: for each step those of all slots, in percent.
    pub weights: Vec<(String, Vec<Vec<u8>>)>,
}

impl Watched {
    /// Goes through the first of the sequences (t, b, inputs) step by step.
    pub fn of(what: String, dnc: &Dnc, sequence: &Tensor, mut state: State) -> Result<Self> {
        let unrolled = dnc.unrolled()?;
        let heads = dnc.config().memory.heads;
        let mut weights = vec![("written".to_owned(), Vec::new())];
        weights.extend((0..heads).map(|head| match heads {
            1 => ("read".to_owned(), Vec::new()),
            _ => (format!("read, head {}", head + 1), Vec::new()),
        }));
        for t in 0..sequence.dim(0)? {
            (_, state) = unrolled.step(&sequence.get(t)?, &state)?;
            // The graph of what is only looked at need not be kept.
            state = state.detach();
            let read = state.memory.read_weights()?.get(0)?;
            weights[0].1.push(percent(&state.memory.write_weights()?.get(0)?)?);
            for head in 0..heads {
                weights[1 + head].1.push(percent(&read.get(head)?)?);
            }
        }
        Ok(Self { what, weights })
    }
}

fn percent(weights: &Tensor) -> Result<Vec<u8>> {
    Ok(weights.to_vec1::<f32>()?.into_iter().map(|w| (100.0 * w).round().clamp(0.0, 100.0) as u8).collect())
}
