//! `dnc-copy`: bits are shown, and are to be repeated.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result, Rng};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess, State};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::train::{Training, train};
use super::watch::Watched;
use super::{Asked, Learned, Measure, Row, Suite, bits};

/// `cargo xtask bench dnc-copy`.
pub static SUITE: Suite = Suite {
    name: "dnc-copy",
    title: "Copying with a memory",
    source: "the copy task of Graves et al. 2014, Neural Turing Machines, arXiv 1410.5401, section 4.1, with the memory of Graves \
             et al. 2016, Nature 538",
    seeds: 5,
    rows: &[
        Row {
            name: "DNC",
            protocol: || protocol(true),
            learn: |seed, stop| learn(&Protocol::of(true), seed, stop),
        },
        Row {
            name: "DNC without links",
            protocol: || protocol(false),
            learn: |seed, stop| learn(&Protocol::of(false), seed, stop),
        },
    ],
    measures: &[
        Measure { name: LENGTH_10, asked: Some(Asked::AtMost(1.0)), of: &["DNC"] },
        Measure { name: BLIND, asked: Some(Asked::AtLeast(40.0)), of: &["DNC"] },
        Measure { name: DOUBLED, asked: None, of: &[] },
        Measure { name: LENGTH_15, asked: None, of: &[] },
        Measure { name: LENGTH_20, asked: None, of: &[] },
        Measure { name: DOUBLED_20, asked: None, of: &[] },
        Measure { name: DOUBLED_30, asked: None, of: &[] },
    ],
    notes: &[
        "Errors are of bits: half of them are wrong where nothing is known.",
        "With reads zeroed the trained network gets zeros in place of all that it reads: what it still knows is what its \
         controller remembers.",
        "Nothing is trained again for more slots or longer sequences. With 16 slots a sequence of 20 does not fit.",
    ],
};

const LENGTH_10: &str = "length 10";
const BLIND: &str = "length 10, reads zeroed";
const DOUBLED: &str = "length 10, 32 slots";
const LENGTH_15: &str = "length 15";
const LENGTH_20: &str = "length 20";
const DOUBLED_20: &str = "length 20, 32 slots";
const DOUBLED_30: &str = "length 30, 32 slots";

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Protocol {
    bits: usize,
    /// Lengths that are trained, from 1 on; those of a batch are the same.
    lengths: usize,
    /// Sequences of each length that are tested.
    test: usize,
    network: Config,
    training: Training,
}

impl Protocol {
    fn of(link: bool) -> Self {
        let bits = 6;
        let memory = MemoryAccess { width: 16, heads: 1, link, ..MemoryAccess::default() };
        let controller = Controller::Lstm { units: 64 };
        let network = Config { inputs: bits + 1, outputs: bits, slots: 16, memory, controller };
        Self {
            bits,
            lengths: 10,
            test: 320,
            network,
            training: Training { steps: 12_000, batch: 16, lr: 1e-3, clip: 10.0 },
        }
    }
}

fn protocol(link: bool) -> Result<serde_json::Value> {
    serde_json::to_value(Protocol::of(link)).map_err(|e| Error::invalid("protocol", e.to_string()))
}

/// Patterns, a mark, and as many steps in which to repeat them: (2·length + 1, batch, bits + 1); and the patterns.
fn sequences(length: usize, batch: usize, bits: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let patterns = bits::drawn(length, batch, bits, rng)?;
    let shown = patterns.pad_with_zeros(2, 0, 1)?;
    let mark = Tensor::ones((1, batch, 1), DType::F32, &Device::Cpu)?.pad_with_zeros(2, bits, 0)?;
    let silence = Tensor::zeros((length, batch, bits + 1), DType::F32, &Device::Cpu)?;
    Ok((Tensor::cat(&[shown, mark, silence], 0)?, patterns))
}

fn learn(protocol: &Protocol, seed: u64, stop: &AtomicBool) -> Result<Learned> {
    let Protocol { bits, lengths, test, network, training } = protocol;
    let dnc = Dnc::new(network.clone(), DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
    let rng = &mut cl_core::rng(seed, "patterns");
    let (curve, not_finite) = train(&dnc, training, stop, || {
        let length = rng.random_range(1..=*lengths);
        let (sequence, patterns) = sequences(length, training.batch, *bits, rng)?;
        let (outputs, _) = dnc.forward(&sequence, &dnc.state(training.batch)?)?;
        let repeated = outputs.narrow(0, length + 1, length)?;
        Ok((bits::loss(&repeated, &patterns)?, bits::wrong(&repeated, &patterns)?))
    })?;

    let slots = network.slots;
    type Forward = fn(&Dnc, &Tensor, &State) -> Result<(Tensor, State)>;
    let seeing: Forward = Dnc::forward;
    let blind: Forward = Dnc::forward_blind;
    let tests = [
        (LENGTH_10, 10, slots, seeing),
        (BLIND, 10, slots, blind),
        (DOUBLED, 10, 2 * slots, seeing),
        (LENGTH_15, 15, slots, seeing),
        (LENGTH_20, 20, slots, seeing),
        (DOUBLED_20, 20, 2 * slots, seeing),
        (DOUBLED_30, 30, 2 * slots, seeing),
    ];
    let mut measured = BTreeMap::new();
    for (name, length, slots, forward) in tests {
        let rng = &mut cl_core::rng(seed, &format!("test patterns of length {length}"));
        let (sequence, patterns) = sequences(length, *test, *bits, rng)?;
        let (outputs, _) = forward(&dnc, &sequence, &dnc.state_with(slots, *test)?)?;
        let wrong = bits::wrong(&outputs.narrow(0, length + 1, length)?, &patterns)?;
        measured.insert(name.to_owned(), 100.0 * wrong);
    }
    let rng = &mut cl_core::rng(seed, "a pattern to look at");
    let (sequence, _) = sequences(*lengths, 1, *bits, rng)?;
    let what = format!("{lengths} patterns, a mark, and the same again");
    let watched = vec![Watched::of(what, &dnc, &sequence, dnc.state(1)?)?];
    Ok(Learned { steps: training.steps, not_finite, curve, measured, watched })
}

/// So few steps that nothing is learned.
#[cfg(test)]
pub(super) fn short(seed: u64, stop: &AtomicBool) -> Result<Learned> {
    let mut protocol = Protocol { test: 16, ..Protocol::of(true) };
    protocol.training.steps = 4;
    learn(&protocol, seed, stop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The patterns are in the input once, before the mark, and nothing is after it.
    #[test]
    fn a_sequence_is_patterns_mark_and_silence() {
        let (sequence, patterns) = sequences(3, 2, 6, &mut cl_core::rng(1, "test")).unwrap();
        assert_eq!(sequence.dims(), [7, 2, 7]);
        let part = |from, steps| sequence.narrow(0, from, steps).unwrap().to_vec3::<f32>().unwrap();
        let shown = sequence.narrow(0, 0, 3).unwrap().narrow(2, 0, 6).unwrap();
        assert_eq!(shown.to_vec3::<f32>().unwrap(), patterns.to_vec3::<f32>().unwrap());
        assert!(part(0, 3).iter().flatten().all(|step| step[6] == 0.0));
        assert!(part(3, 1).iter().flatten().all(|step| *step == [0., 0., 0., 0., 0., 0., 1.]));
        assert!(part(4, 3).iter().flatten().flatten().all(|x| *x == 0.0));
    }
}
