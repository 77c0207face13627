//! Handwritten digits are stored, their lower half is hidden, and the network fills it in.
//!
//! `cargo run -p cl-hopfield --example complete_digit`

use candle_core::{D, Tensor};
use cl_core::Result;
use cl_hopfield::continuous::{Steps, retrieve, separation};

/// Digits that are stored.
const STORED: usize = 300;

/// Grey values from white to black.
const SHADES: [char; 5] = [' ', '.', 'o', 'O', '#'];

/// Stores, hides, completes and shows.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let digits = cl_data::load("digits")?;
    let stored = digits.train.slice(0..STORED)?.x;
    // The lower half is hidden: its pixels are those of the mean digit, which says nothing.
    let mean = stored.mean_keepdim(0)?;
    let half = mean.dim(1)? / 2;
    let upper = stored.narrow(1, 0, half)?;
    let lower = mean.narrow(1, half, half)?.broadcast_as((STORED, half))?;
    let cues = Tensor::cat(&[&upper, &lower.contiguous()?], 1)?;

    // What all digits share tells none of them apart: it is taken away, and each is brought to length 1. β is then the
    // one number that decides how sharp the association is.
    let patterns = unit(&stored.broadcast_sub(&mean)?)?;
    let queries = unit(&cues.broadcast_sub(&mean)?)?;
    let closest = separation(&patterns)?.into_iter().fold(f64::INFINITY, f64::min);
    println!(
        "{STORED} digits; the two that are most alike lie {closest:.3} apart (1 would be at right angles)\n"
    );

    for beta in [3.0, 30.0, 300.0] {
        let until = Steps::Until { tolerance: 1e-4, at_most: 100 };
        let found = retrieve(&queries, &patterns, beta, until)?;
        let right = nearest(&found.state, &patterns)?;
        let right = (0u32..).zip(right).filter(|(row, found)| row == found).count();
        println!(
            "β = {beta}: {right} of {STORED} are completed to what they were, after {} steps",
            found.steps
        );
        if beta == 300.0 {
            assert!(right > STORED * 3 / 4, "{right} of {STORED}");
            println!("\n{:8} | {:8} | {:8}", "cue", "found", "stored");
            let found = found.state.matmul(&patterns.t()?)?.argmax(1)?;
            for row in [0, 7, 11] {
                let at = found.get(row)?.to_scalar::<u32>()? as usize;
                show(&cues.get(row)?, &stored.get(at)?, &stored.get(row)?)?;
            }
        }
    }
    Ok(())
}

/// Each row brought to length 1.
fn unit(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?)
}

/// The pattern that each state is most like.
fn nearest(states: &Tensor, patterns: &Tensor) -> Result<Vec<u32>> {
    Ok(states.matmul(&patterns.t()?)?.argmax(1)?.to_vec1()?)
}

/// Images side by side.
fn show(cue: &Tensor, found: &Tensor, stored: &Tensor) -> Result<()> {
    let rows = |image: &Tensor| image.reshape((8, 8))?.to_vec2::<f32>();
    let line = |row: &[f32]| -> String {
        row.iter().map(|grey| SHADES[((grey * 5.0) as usize).min(SHADES.len() - 1)]).collect()
    };
    for ((cue, found), stored) in rows(cue)?.iter().zip(rows(found)?).zip(rows(stored)?) {
        println!("{} | {} | {}", line(cue), line(&found), line(&stored));
    }
    println!();
    Ok(())
}
