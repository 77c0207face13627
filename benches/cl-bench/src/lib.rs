//! Suites of published tables, the runner that reruns them, and the report that puts our numbers beside the
//! published ones.
//!
//! | module | what |
//! |---|---|
//! | [`suites`] | the tables as data: protocols, coefficients, published numbers and where they were read |
//! | [`runner`] | makes the runs that are missing, many at once, one thread each |
//! | [`results`] | the file of finished runs: append-only, torn lines cut off, locked |
//! | [`tier`] | how much of a suite is run |
//! | [`unfinished`] | runs that were stopped, to be gone on with |
//! | [`diagnosis`] | what is wrong with runs, in plain words |
//! | [`compare`] | two results files, seed by seed |
//! | [`published`] | whether two means agree |
//! | [`report`] | tables, curves and heat maps: terminal, Markdown, one HTML page |
//! | [`advise`] | which method for whom: a tree of questions, and the rows of our tables that speak for its leaves |
//! | [`cliffwalk`] | how many updates replay needs, by what decides what is replayed |
//! | [`hopfield`] | what associative memories hold, beside what theory says |
//! | [`sleep`] | what sleep is good for |
//! | [`dual`] | two systems: which rows a small network should send on to a larger one, and deadlines |
//! | [`experiment`] | what suites have in common that measure something else than accuracies |
//! | [`sequences`] | what networks with a memory learn: copying, associative recall, bAbI |
//! | [`speed`] | our training steps beside PyTorch's and Avalanche's, our replay buffer beside Flashbax and others |
//! | [`clock`] | processor time and memory |

pub mod advise;
mod class_orders;
pub mod cliffwalk;
pub mod clock;
pub mod compare;
pub mod diagnosis;
pub mod dual;
pub mod experiment;
pub mod hopfield;
mod images;
mod in_words;
mod line;
mod paired;
pub mod published;
pub mod report;
pub mod results;
pub mod runner;
pub mod sequences;
pub mod sleep;
pub mod speed;
pub mod suites;
pub mod tier;
pub mod unfinished;

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
