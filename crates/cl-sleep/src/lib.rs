//! Complementary learning systems: a fast learner, a slow one, and sleep between them.
//!
//! What comes is learnt at once by a fast learner and kept, as it was, in a fast memory. In sleep it is replayed, and a slow
//! learner takes in, at its own rate, what the experiences have in common (McClelland, McNaughton & O'Reilly 1995). The learners are yours:
//! closures over any candle model.
//!
//! | part | what |
//! |---|---|
//! | [`Experiences`] | the fast memory: bounded, each experience with a [`Trace`] of tag, surprise, replays, strength |
//! | [`Priority`] | what to replay: [`Salience`], [`Surprise`], [`Recency`], [`Importance`], [`Interference`], [`ReplayCount`], [`Strength`], their products, or a closure |
//! | [`Sleep`] | the sleep phase: cycles of replay, until they are done, the time is up, or nothing more is learnt |
//! | [`Source`] | what is replayed: a memory [by priority](Experiences::by), what a model [dreams](Dreams), or two of them [interleaved](Interleaved) |
//! | [`Schedule`] | when to sleep: [every n](Every), [at task ends](AtTaskEnds), [on a drift](OnDrift), [when idle](WhenIdle) |
//! | [`Circadian`] | a clock of sleep and wakefulness, in steps or in time |
//! | [`Complementary`] | two learners, a memory, a priority and a schedule as one |
//! | [`Ema`] | the slow learner as a moving average of the fast one |
//! | [`SpikingSleep`] | replay without memories: the network spikes by itself, and a local rule changes it |
//! | [`PatternSeparation`] | codes for a fast memory that are less alike than what they stand for |
//! | [`Hippocampus`] | episodes, replayed forward and backward |
//! | [`Prototypes`] | semantic memory: what many episodes have in common |
//! | [`service`] | a model that serves predictions while it sleeps in the background, and survives a kill |
//! | [`interference`] | how much learning one thing would harm another |
//!
//! A night over a day's experiences, some of which mattered:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_sleep::{Experiences, Keep, Learnt, Priority, Replay, ReplayCount, Salience, Sleep, Tags};
//!
//! let mut memory = Experiences::new(100, Keep::Sample { gain: 4.0 }, cl_core::rng(0, "memory"))?;
//! let x = Tensor::arange(0f32, 500., &Device::Cpu)?;
//! let mattered: Vec<f32> = (0..500).map(|i| if i % 10 == 0 { 1.0 } else { 0.0 }).collect();
//! memory.add(&[&x], &Tags { salience: Some(&mattered), ..Tags::default() })?;
//!
//! let priority = Salience { gain: 9.0 }.and(ReplayCount { exponent: 0.5 });
//! let mut learn = |_replay: &Replay| Ok(Learnt::from(0.0)); // a step of your model on the replayed columns
//! let slept = Sleep::default().run(&mut memory.by(&priority)?, &mut learn)?;
//!
//! // Every replay can be accounted for.
//! let (times, why) = &slept.replayed[&(0, memory.traces().find(|trace| trace.salience == 1.0).map_or(0, |trace| trace.id))];
//! assert_eq!(why.factors[0], ("salience".to_owned(), 10.0));
//! assert!(*times > 20);
//! # Ok::<(), cl_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod circadian;
mod complementary;
mod experiences;
mod hippocampus;
pub mod interference;
mod priority;
mod prototypes;
mod replay;
mod schedule;
mod separation;
pub mod service;
mod sleep;
mod slow;
mod spiking;
mod trace;

pub use circadian::{Circadian, Rhythm, State};
pub use complementary::{Complementary, Experience};
pub use experiences::{Experiences, Keep};
pub use hippocampus::{Direction, Episode, Hippocampus};
pub use priority::{
    Importance, Interference, Priority, Product, Recency, ReplayCount, Salience, Strength, Surprise, Uniform,
};
pub use prototypes::{Prototype, Prototypes};
pub use replay::{ByPriority, Dreams, Fading, Interleaved, Learnt, Reason, Replay, Source};
pub use schedule::{AnyOf, AtTaskEnds, Event, Every, OnDrift, Schedule, WhenIdle};
pub use separation::PatternSeparation;
pub use sleep::{Consolidate, Converged, Ended, Sleep, Slept};
pub use slow::Ema;
pub use spiking::{SpikingConfig, SpikingInput, SpikingReport, SpikingSleep, Window};
pub use trace::{Tags, Trace};
