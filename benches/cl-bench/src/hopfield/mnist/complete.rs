//! Digits with hidden pixels, and what fills them in.

use candle_core::{D, Device, Tensor};
use cl_core::{Error, Result, TensorOps, rng};
use cl_data::DataSet;
use cl_hopfield::continuous::{Steps, retrieve};
use cl_hopfield::{Classical, Dense, Interaction, Order, Recall, State, States};
use rand::seq::index;

use super::{Hidden, Model};

/// Sweeps after which a recall is taken as it is.
const SWEEPS: usize = 50;

/// Updates of a continuous state: until it stays.
const UNTIL: Steps = Steps::Until { tolerance: 1e-4, at_most: 100 };

/// Digits that are stored.
pub struct Digits {
    /// (m, pixels), 0 to 1.
    x: Tensor,
    rows: Vec<Vec<f32>>,
    labels: Vec<u32>,
    side: usize,
}

impl Digits {
    /// The first `stored` of `most` that are drawn without replacement: fewer are always among more.
    pub fn drawn(all: &DataSet, stored: usize, most: usize, seed: u64) -> Result<Self> {
        let (n, pixels) = all.train.x.dims2()?;
        if most > n || stored > most {
            return Err(Error::invalid(
                "stored",
                format!("{stored} of {most} digits, where {n} are in {}", all.name),
            ));
        }
        let side = pixels.isqrt();
        let which: Vec<u32> = index::sample(&mut rng(seed, "digits"), n, most)
            .into_iter()
            .take(stored)
            .map(|at| at as u32)
            .collect();
        let which = Tensor::from_vec(which, stored, &Device::Cpu)?;
        let x = all.train.x.index_select(&which, 0)?;
        let labels = all.train.y.index_select(&which, 0)?.to_vec1()?;
        Ok(Self { rows: x.to_vec2()?, x, labels, side })
    }

    /// For each pixel whether it can be seen.
    pub fn visible(&self, hidden: Hidden, seed: u64) -> Result<Vec<bool>> {
        let pixels = self.x.dim(1)?;
        Ok(match hidden {
            Hidden::Lower => (0..pixels).map(|at| at / self.side < self.side / 2).collect(),
            Hidden::Scattered => {
                let mut visible = vec![true; pixels];
                let hidden = index::sample(&mut rng(seed, "hidden"), pixels, pixels / 2);
                hidden.into_iter().for_each(|at| visible[at] = false);
                visible
            }
        })
    }

    pub fn image(&self, row: usize) -> &[f32] {
        &self.rows[row]
    }

    /// The first of each class, as far as there is one.
    pub fn one_of_each_class(&self) -> Vec<usize> {
        (0..10).filter_map(|class| self.labels.iter().position(|&label| label == class)).collect()
    }

    /// The part of the pixels that are off by more than half.
    pub fn wrong(&self, row: usize, found: &[f32]) -> f64 {
        let off = self.rows[row].iter().zip(found).filter(|(a, b)| (*a - *b).abs() > 0.5).count();
        off as f64 / found.len() as f64
    }

    /// What becomes of `these` digits, of which only some pixels are `visible`; None where the model cannot store them.
    pub fn complete(
        &self,
        model: Model,
        visible: &[bool],
        these: &[usize],
        seed: u64,
    ) -> Result<Option<Vec<Vec<f32>>>> {
        let rng = &mut rng(seed, "order");
        let mut recalled = |recall: &mut dyn FnMut(&State, &mut cl_core::Rng) -> Result<Recall>| {
            let image = |state: State| state.bits().map(|up| f32::from(u8::from(up))).collect();
            let one = |&row: &usize| Ok(image(recall(&self.cue(row, visible), rng)?.state));
            these.iter().map(one).collect::<Result<_>>().map(Some)
        };
        let dense = |interaction| Dense::new(self.states()?, interaction);
        match model {
            Model::BestFit => Ok(Some(these.iter().map(|&row| self.best_fit(row, visible)).collect())),
            Model::NearestCue => {
                let (states, rows) = (self.states()?, these.iter().map(|&row| self.cue(row, visible)));
                let nearest = |cue: State| {
                    let found = states.iter().enumerate().min_by_key(|(_, state)| -state.product(&cue));
                    self.rows[found.expect("there is at least one digit").0].clone()
                };
                Ok(Some(rows.map(nearest).collect()))
            }
            Model::Continuous(beta) => self.attend(beta, visible, these).map(Some),
            Model::Hebb => {
                let memory = Classical::hebbian(&self.states()?)?;
                recalled(&mut |cue, rng| memory.recall(cue, Order::Shuffled, SWEEPS, rng))
            }
            Model::PseudoInverse => match Classical::pseudo_inverse(&self.states()?) {
                Ok(memory) => recalled(&mut |cue, rng| memory.recall(cue, Order::Shuffled, SWEEPS, rng)),
                // Digits that depend on one another: more than it can tell apart.
                Err(Error::Invalid { .. }) => Ok(None),
                Err(other) => Err(other),
            },
            Model::Rectified(degree) => {
                let memory = dense(Interaction::Rectified(degree))?;
                recalled(&mut |cue, rng| memory.recall(cue, Order::Shuffled, SWEEPS, rng))
            }
            Model::Exponential => {
                let memory = dense(Interaction::Exponential)?;
                recalled(&mut |cue, rng| memory.recall(cue, Order::Shuffled, SWEEPS, rng))
            }
        }
    }

    /// Ink is +1.
    fn states(&self) -> Result<States> {
        let mut states = States::new(self.x.dim(1)?);
        self.rows.iter().try_for_each(|row| states.push(bits(row)))?;
        Ok(states)
    }

    /// What is hidden is blank.
    fn cue(&self, row: usize, visible: &[bool]) -> State {
        State::from_bits(self.rows[row].iter().zip(visible).map(|(x, visible)| *visible && *x > 0.5))
    }

    fn best_fit(&self, row: usize, visible: &[bool]) -> Vec<f32> {
        let cue = &self.rows[row];
        let differ = |other: &Vec<f32>| {
            let pairs = other.iter().zip(cue).zip(visible);
            pairs.filter(|((a, b), visible)| **visible && (**a > 0.5) != (**b > 0.5)).count()
        };
        self.rows.iter().min_by_key(|other| differ(other)).expect("the digit itself is stored").clone()
    }

    /// Patterns less their mean, at length 1, are keys; the images as they are, values. What is hidden is the mean.
    fn attend(&self, beta: f64, visible: &[bool], these: &[usize]) -> Result<Vec<Vec<f32>>> {
        let mean = self.x.mean_keepdim(0)?;
        let centred = self.x.broadcast_sub(&mean)?;
        let which: Vec<u32> = these.iter().map(|&row| row as u32).collect();
        let seen: Vec<f32> = visible.iter().map(|&visible| f32::from(u8::from(visible))).collect();
        let seen = Tensor::from_vec(seen, (1, visible.len()), &Device::Cpu)?;
        let cues = centred.index_select(&Tensor::from_vec(which, these.len(), &Device::Cpu)?, 0)?;
        let (keys, cues) = (unit(&centred)?, unit(&cues.broadcast_mul(&seen)?)?);
        let state = retrieve(&cues, &keys, beta, UNTIL)?.state;
        Ok(state.retrieve(&keys, &self.x, beta, None)?.to_vec2()?)
    }
}

fn bits(row: &[f32]) -> State {
    State::from_bits(row.iter().map(|x| *x > 0.5))
}

/// Each row brought to length 1.
fn unit(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-6)?)?)
}
