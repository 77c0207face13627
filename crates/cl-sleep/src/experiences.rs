//! The fast memory: a bounded number of experiences, each with a trace.

use std::collections::BTreeSet;

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use cl_replay::{Offer, Rows};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Tags, Trace};

/// Which experiences stay when there is no more room.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The newest.
    Newest,
    /// A sample of the whole stream, drawn without replacement with the weights 1 + gain · salience (weighted reservoir
    /// sampling, Efraimidis & Spirakis 2006). A gain of 0 is the uniform reservoir.
    Sample {
        /// How much more a full tag counts than none.
        gain: f64,
    },
}

/// The fast memory: what was experienced is in it at once, as it was, and with a [`Trace`]; what it keeps of a long stream
/// is up to [`Keep`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::{Experiences, Keep, Salience, Source, Tags};
///
/// let mut memory = Experiences::new(4, Keep::Newest, cl_core::rng(0, "memory"))?;
/// let x = Tensor::arange(0f32, 6., &Device::Cpu)?;
/// let salience = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
/// memory.add(&[&x], &Tags { salience: Some(&salience), ..Tags::default() })?;
/// assert_eq!(memory.traces().map(|trace| trace.id).collect::<Vec<_>>(), [4, 5, 2, 3]); // by slot
///
/// let replay = memory.by(&Salience { gain: 1e9 })?.draw(3)?;
/// assert_eq!(replay.ids, [3, 3, 3]);
/// assert_eq!(replay.columns[0].to_vec1::<f32>()?, [3.0, 3.0, 3.0]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Experiences {
    pub(crate) rows: Rows,
    /// By slot; none where one was forgotten.
    pub(crate) entries: Vec<Option<Entry>>,
    /// Rank and slot of each: the largest leaves first.
    order: BTreeSet<(u64, u32)>,
    /// Slots below the length of `entries` that hold nothing.
    free: BTreeSet<u32>,
    keep: Keep,
    seen: u64,
    pub(crate) rng: Rng,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) trace: Trace,
    rank: u64,
}

impl Experiences {
    /// An empty memory of up to `capacity` experiences; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more; on a gain below 0.
    pub fn new(capacity: usize, keep: Keep, rng: Rng) -> Result<Self> {
        if let Keep::Sample { gain } = keep
            && !(gain >= 0.0 && gain.is_finite())
        {
            return Err(Error::invalid("gain", format!("{gain} is not a finite number of at least 0")));
        }
        let (order, free) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { rows: Rows::new(capacity)?, entries: Vec::new(), order, free, keep, seen: 0, rng })
    }

    /// Takes in experiences in order: columns (n, ...) of any dtypes, as many as ever before, and what is to be said of
    /// them. Tells what became of each; one that was kept may be replaced by a later one of the same batch.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where n differs, or a row's shape, dtype or device from those before; [`Error::Invalid`] on a
    /// salience outside [0, 1], on another number that is negative or not finite, and on a dtype that cannot be kept. Nothing
    /// is changed then.
    pub fn add(&mut self, columns: &[&Tensor], tags: &Tags<'_>) -> Result<Vec<Offer>> {
        let n = self.rows.check(columns)?;
        let known = self.traces().fold((0f32, 0f32), |(s, i), t| (s.max(t.surprise), i.max(t.interference)));
        let known = match self.is_empty() {
            true => (1.0, 1.0),
            false => known,
        };
        let salience = numbers("salience", tags.salience, n, 0.0)?;
        if let Some(tag) = salience.iter().find(|tag| **tag > 1.0) {
            return Err(Error::invalid("salience", format!("{tag} is not in [0, 1]")));
        }
        let importance = numbers("importance", tags.importance, n, 1.0)?;
        let surprise = numbers("surprise", tags.surprise, n, known.0)?;
        let interference = numbers("interference", tags.interference, n, known.1)?;
        let before = (self.seen, self.rng.clone());
        let (mut places, mut offers) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for row in 0..n {
            let trace = Trace {
                id: self.seen,
                salience: salience[row],
                importance: importance[row],
                surprise: surprise[row],
                interference: interference[row],
                replays: 0,
                strength: 1.0,
            };
            self.seen += 1;
            let offer = self.place(trace);
            places.extend(offer.slot().map(|slot| (slot, row)));
            offers.push(offer);
        }
        if let Err(error) = self.rows.write(&places, columns) {
            // After the check only the first write can fail, which takes the memory: there was nothing before it.
            (self.seen, self.rng) = before;
            (self.entries, self.order, self.free) = Default::default();
            return Err(error);
        }
        Ok(offers)
    }

    /// Finds a slot for an experience, if it is to stay.
    fn place(&mut self, trace: Trace) -> Offer {
        let rank = match self.keep {
            Keep::Newest => u64::MAX - trace.id,
            // An exponential race: what has the smallest −ln(u)/w stays. Positive floats are in the order of their bits.
            Keep::Sample { gain } => {
                let u = 1.0 - self.rng.random::<f64>();
                (-u.ln() / (1.0 + gain * f64::from(trace.salience))).to_bits()
            }
        };
        let (slot, offer) = if let Some(slot) = self.free.pop_first() {
            (slot, Offer::Kept(slot as usize))
        } else if self.entries.len() < self.rows.capacity() {
            self.entries.push(None);
            (self.entries.len() as u32 - 1, Offer::Kept(self.entries.len() - 1))
        } else {
            let last = self.order.last().copied().unwrap_or((u64::MAX, 0));
            if rank >= last.0 {
                return Offer::Rejected;
            }
            self.order.remove(&last);
            (last.1, Offer::Replaced(last.1 as usize))
        };
        self.entries[slot as usize] = Some(Entry { trace, rank });
        self.order.insert((rank, slot));
        offer
    }

    /// Forgets those that `which` says; tells how many.
    pub fn forget(&mut self, which: impl FnMut(&Trace) -> bool) -> usize {
        self.vacate(which).len()
    }

    /// The same; tells the slots that are free now.
    pub(crate) fn vacate(&mut self, mut which: impl FnMut(&Trace) -> bool) -> Vec<u32> {
        let mut vacated = Vec::new();
        for (slot, entry) in (0u32..).zip(&mut self.entries) {
            if let Some(Entry { rank, .. }) = entry.as_ref().filter(|entry| which(&entry.trace)) {
                self.order.remove(&(*rank, slot));
                self.free.insert(slot);
                *entry = None;
                vacated.push(slot);
            }
        }
        vacated
    }

    /// Experiences that it holds.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many it can hold.
    pub fn capacity(&self) -> usize {
        self.rows.capacity()
    }

    /// Experiences so far, those that did not stay included: the time.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The traces of what it holds, in the order of the slots.
    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        self.entries.iter().flatten().map(|entry| &entry.trace)
    }

    /// The same, to be changed: new tags, new measurements. What stays was decided when it came.
    pub fn traces_mut(&mut self) -> impl Iterator<Item = &mut Trace> {
        self.entries.iter_mut().flatten().map(|entry| &mut entry.trace)
    }

    /// All that it holds, column by column, in the order of the slots, as copies.
    ///
    /// # Errors
    /// candle's own.
    pub fn all(&self) -> Result<Vec<Tensor>> {
        let slots: Vec<u32> =
            self.order.iter().map(|(_, slot)| *slot).collect::<BTreeSet<_>>().into_iter().collect();
        if slots.is_empty() { Ok(Vec::new()) } else { self.rows.gather(&slots) }
    }
}

/// What serde keeps of it: what follows from that is found anew.
#[derive(Serialize, Deserialize)]
struct Saved<R = Rows, E = Vec<Option<Entry>>> {
    rows: R,
    entries: E,
    keep: Keep,
    seen: u64,
    rng: Rng,
}

impl Serialize for Experiences {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { rows, entries, keep, seen, rng, .. } = self;
        Saved { rows, entries, keep: *keep, seen: *seen, rng: rng.clone() }.serialize(serializer)
    }
}

impl TryFrom<Saved> for Experiences {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { rows, entries, keep, seen, rng } = saved;
        let slots = || (0u32..).zip(&entries);
        let order: BTreeSet<_> =
            slots().filter_map(|(slot, entry)| Some((entry.as_ref()?.rank, slot))).collect();
        let free: BTreeSet<_> = slots().filter(|(_, entry)| entry.is_none()).map(|(slot, _)| slot).collect();
        if entries.len() != rows.len() || entries.iter().flatten().any(|entry| entry.trace.id >= seen) {
            return Err(Error::invalid("saved experiences", "its traces do not fit what it holds"));
        }
        Ok(Self { rows, entries, order, free, keep, seen, rng })
    }
}

/// One number for each of `n`, or the default for all.
pub(crate) fn numbers(what: &'static str, given: Option<&[f32]>, n: usize, default: f32) -> Result<Vec<f32>> {
    let Some(given) = given else { return Ok(vec![default; n]) };
    if given.len() != n {
        return Err(Error::mismatch(
            what,
            format!("{n} numbers, one for each experience"),
            given.len().to_string(),
        ));
    }
    match given.iter().find(|x| !(**x >= 0.0 && x.is_finite())) {
        Some(x) => Err(Error::invalid(what, format!("{x} is not a finite number of at least 0"))),
        None => Ok(given.to_vec()),
    }
}
