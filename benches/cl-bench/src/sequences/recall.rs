//! `dnc-recall`: items are shown, then one of them again; the one that followed it is to be told.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result, Rng};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::train::{Training, train};
use super::watch::Watched;
use super::{Asked, Learned, Measure, Row, Suite, bits};

/// `cargo xtask bench dnc-recall`.
pub static SUITE: Suite = Suite {
    name: "dnc-recall",
    title: "Associative recall with a memory",
    source: "the associative recall of Graves et al. 2014, Neural Turing Machines, arXiv 1410.5401, section 4.3, with the memory \
             of Graves et al. 2016, Nature 538",
    seeds: 3,
    rows: &[Row { name: "DNC", protocol, learn: |seed, stop| learn(&Protocol::default(), seed, stop) }],
    measures: &[
        Measure { name: ITEMS_6, asked: Some(Asked::AtMost(5.0)), of: &[] },
        Measure { name: BLIND, asked: None, of: &[] },
        Measure { name: ITEMS_8, asked: None, of: &[] },
        Measure { name: ITEMS_8_DOUBLED, asked: None, of: &[] },
    ],
    notes: &[
        "An item is three patterns of six bits, as in the paper. Errors are of bits: half of them are wrong where nothing is known.",
        "The paper trains with 2 to 6 items; so does this. Nothing is trained again for more.",
    ],
};

const ITEMS_6: &str = "6 items";
const BLIND: &str = "6 items, reads zeroed";
const ITEMS_8: &str = "8 items";
const ITEMS_8_DOUBLED: &str = "8 items, 64 slots";

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Protocol {
    bits: usize,
    /// Patterns of an item.
    patterns: usize,
    /// The fewest and the most items that are trained; those of a batch are as many.
    items: (usize, usize),
    /// Sequences that are tested.
    test: usize,
    network: Config,
    training: Training,
}

impl Default for Protocol {
    fn default() -> Self {
        let bits = 6;
        let memory = MemoryAccess { width: 24, heads: 1, ..MemoryAccess::default() };
        let controller = Controller::Lstm { units: 64 };
        Self {
            bits,
            patterns: 3,
            items: (2, 6),
            test: 320,
            network: Config { inputs: bits + 2, outputs: bits, slots: 32, memory, controller },
            training: Training { steps: 20_000, batch: 16, lr: 1e-3, clip: 10.0 },
        }
    }
}

fn protocol() -> Result<serde_json::Value> {
    serde_json::to_value(Protocol::default()).map_err(|e| Error::invalid("protocol", e.to_string()))
}

/// Items, each behind a mark, the one that is asked for between two marks of another kind, and steps to answer in; and the item
/// that is the answer (patterns, batch, bits).
fn sequences(protocol: &Protocol, items: usize, batch: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let Protocol { bits, patterns, .. } = *protocol;
    let mark = |kind: usize| -> Result<Tensor> {
        let one = Tensor::ones((1, batch, 1), DType::F32, &Device::Cpu)?;
        Ok(one.pad_with_zeros(2, bits + kind, 1 - kind)?)
    };
    let all: Vec<Tensor> =
        (0..items).map(|_| bits::drawn(patterns, batch, bits, rng)).collect::<Result<_>>()?;
    // Each sequence is asked for another of its items, but for the last, which none follows.
    let asked: Vec<usize> = (0..batch).map(|_| rng.random_range(0..items - 1)).collect();
    let of = |after: usize| -> Result<Tensor> {
        let chosen = asked.iter().enumerate().map(|(b, item)| all[item + after].narrow(1, b, 1));
        Ok(Tensor::cat(&chosen.collect::<candle_core::Result<Vec<_>>>()?, 1)?)
    };
    let mut parts = Vec::new();
    for item in &all {
        parts.push(mark(0)?);
        parts.push(item.pad_with_zeros(2, 0, 2)?);
    }
    parts.extend([mark(1)?, of(0)?.pad_with_zeros(2, 0, 2)?, mark(1)?]);
    parts.push(Tensor::zeros((patterns, batch, bits + 2), DType::F32, &Device::Cpu)?);
    Ok((Tensor::cat(&parts, 0)?, of(1)?))
}

fn learn(protocol: &Protocol, seed: u64, stop: &AtomicBool) -> Result<Learned> {
    let Protocol { patterns, items, test, network, training, .. } = protocol;
    let dnc = Dnc::new(network.clone(), DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
    let rng = &mut cl_core::rng(seed, "items");
    let answer = |outputs: &Tensor| outputs.narrow(0, outputs.dim(0)? - patterns, *patterns);
    let (curve, not_finite) = train(&dnc, training, stop, || {
        let count = rng.random_range(items.0..=items.1);
        let (sequence, expected) = sequences(protocol, count, training.batch, rng)?;
        let found = answer(&dnc.forward(&sequence, &dnc.state(training.batch)?)?.0)?;
        Ok((bits::loss(&found, &expected)?, bits::wrong(&found, &expected)?))
    })?;

    let slots = network.slots;
    let mut measured = BTreeMap::new();
    for (name, count, slots, seeing) in [
        (ITEMS_6, 6, slots, true),
        (BLIND, 6, slots, false),
        (ITEMS_8, 8, slots, true),
        (ITEMS_8_DOUBLED, 8, 2 * slots, true),
    ] {
        let rng = &mut cl_core::rng(seed, &format!("test of {count} items"));
        let (sequence, expected) = sequences(protocol, count, *test, rng)?;
        let state = dnc.state_with(slots, *test)?;
        let (outputs, _) = match seeing {
            true => dnc.forward(&sequence, &state)?,
            false => dnc.forward_blind(&sequence, &state)?,
        };
        measured.insert(name.to_owned(), 100.0 * bits::wrong(&answer(&outputs)?, &expected)?);
    }
    let rng = &mut cl_core::rng(seed, "items to look at");
    let (sequence, _) = sequences(protocol, items.1, 1, rng)?;
    let what = format!("{} items of {patterns} patterns, one of them again, the answer", items.1);
    let watched = vec![Watched::of(what, &dnc, &sequence, dnc.state(1)?)?];
    Ok(Learned { steps: training.steps, not_finite, curve, measured, watched })
}

/// So few steps that nothing is learned.
#[cfg(test)]
pub(super) fn short(seed: u64, stop: &AtomicBool) -> Result<Learned> {
    let mut protocol = Protocol { test: 16, ..Protocol::default() };
    protocol.training.steps = 4;
    learn(&protocol, seed, stop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What is asked for is one of the items, and the answer is the one behind it.
    #[test]
    fn the_answer_follows_what_is_asked_for() {
        let protocol = Protocol::default();
        let (items, batch) = (4, 3);
        let (sequence, answer) = sequences(&protocol, items, batch, &mut cl_core::rng(1, "test")).unwrap();
        assert_eq!(sequence.dims(), [4 * 4 + 5 + 3, batch, 8]);
        let all = sequence.narrow(2, 0, 6).unwrap();
        for b in 0..batch {
            let item = |from: usize| {
                all.narrow(0, from, 3)
                    .unwrap()
                    .narrow(1, b, 1)
                    .unwrap()
                    .squeeze(1)
                    .unwrap()
                    .to_vec2::<f32>()
                    .unwrap()
            };
            let asked = item(17);
            let place = (0..items).find(|k| item(4 * k + 1) == asked).unwrap();
            assert!(place + 1 < items);
            let expected = answer.narrow(1, b, 1).unwrap().squeeze(1).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(item(4 * (place + 1) + 1), expected);
        }
        let marks = sequence.narrow(2, 6, 2).unwrap().narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
        let marks = marks.to_vec2::<f32>().unwrap();
        let at = |kind: usize| -> Vec<usize> { (0..24).filter(|t| marks[*t][kind] == 1.0).collect() };
        assert_eq!((at(0), at(1)), (vec![0, 4, 8, 12], vec![16, 20]));
    }
}
