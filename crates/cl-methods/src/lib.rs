//! The methods of the papers, one file each, composed from the blocks below.
//!
//! A [`Method`] sees a stream task by task and batch by batch; a [`Learner`] is the network, its optimizer
//! and what it knows of the scenario; [`train`](train::train) is the loop that brings them together and
//! keeps the accuracy on every task after every task.
//!
//! | name | file | memory | paper |
//! |---|---|---|---|
//! | `None` | `none.rs` | – | the lower bound: nothing is done against forgetting |
//! | `Joint` | `joint.rs` | all data | the upper bound: all tasks at once |
//! | `L2` | `l2.rs` | one copy of θ | Kirkpatrick et al. 2017, fig. 2 |
//! | `EWC` | `ewc.rs` | θ and F per task | Kirkpatrick et al. 2017 |
//! | `Online EWC` | `online_ewc.rs` | θ and F | Schwarz et al. 2018 |
//! | `EWC++` | `ewc_plus.rs` | θ and F, a running F | Chaudhry et al. 2018 |
//! | `SI` | `si.rs` | θ, ω, Ω | Zenke et al. 2017 |
//! | `MAS` | `mas.rs` | θ and Ω | Aljundi et al. 2018 |
//! | `RWalk` | `rwalk.rs` | θ, F, scores | Chaudhry et al. 2018 |
//! | `LwF` | `lwf.rs` | the last network | Li & Hoiem 2017 |
//! | `ER` | `er.rs` | samples | Rolnick et al. 2019, as van de Ven et al. 2022 run it |
//! | `Rehearsal` | `rehearsal.rs` | samples | Hsu et al. 2018 |
//! | `ER-Reservoir` | `er_reservoir.rs` | samples | Chaudhry et al. 2019b, Buzzega et al. 2020 |
//! | `ER-Ring` | `er_ring.rs` | samples of each class | Chaudhry et al. 2019b |
//! | `DER`, `DER++` | `der.rs` | samples and outputs | Buzzega et al. 2020 |
//! | `CLS` | `cls.rs` | samples, a day of them, and a slow copy of the network | McClelland et al. 1995 |
//! | `CLS-ER` | `cls_er.rs` | samples and two slow copies of the network | Arani et al. 2022 |
//! | `GEM` | `gem.rs` | samples of each task | Lopez-Paz & Ranzato 2017 |
//! | `GSS-greedy` | `gss.rs` | samples | Aljundi et al. 2019 |
//! | `GSS-IQP` | `gss_iqp.rs` | samples | Aljundi et al. 2019 |
//! | `MIR` | `mir.rs` | samples | Aljundi et al. 2019, interfered retrieval |
//! | `GDumb` | `gdumb.rs` | samples | Prabhu et al. 2020 |
//! | `iCaRL` | `icarl.rs` | samples and the last network | Rebuffi et al. 2017, as van de Ven et al. 2022 run it |
//! | `MER` | `mer.rs` | samples | Riemer et al. 2019 |
//! | `A-GEM` | `agem.rs` | samples | Chaudhry et al. 2019 |
//! | `S-GEM` | `s_gem.rs` | samples of each task | Chaudhry et al. 2019 |
//! | `Independent` | `independent.rs` | a network per task | Lopez-Paz & Ranzato 2017 |
//! | `Multimodal` | `multimodal.rs` | an input layer per task | Lopez-Paz & Ranzato 2017 |
//! | `PackNet` | `packnet.rs` | a part of the weights, and an output layer, per task | Mallya & Lazebnik 2018 |
//! | `Progressive` | `progressive.rs` | a column and its lateral maps per task | Rusu et al. 2016 |
//! | `SRC` | `src.rs` | the mean input | Tadros et al. 2022 |
//! | `XdG` | `xdg.rs` | – | Masse et al. 2018 |
//!
//! ```
//! use cl_data::{ClassOrder, Scenario};
//! use cl_methods::{Protocol, Registry, train};
//!
//! let stream = cl_data::split(&cl_data::load("digits")?, 5, Scenario::Domain, ClassOrder::Fixed)?;
//! let protocol = Protocol { hidden: vec![50], budget: train::Budget::Iterations(40), ..Protocol::default() };
//! let mut method = Registry::standard().build("EWC", &serde_json::json!({ "lambda": 1000.0 }), 0)?;
//! let outcome = train::train(&stream, &mut *method, &protocol, 0, &mut |_| Ok(()))?;
//! assert_eq!(outcome.r.len(), 5);
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! What is wrong with a run an [`Observer`] says: its findings are those of [`mod@cl_metrics::diagnose`], made of what the
//! method tells of itself ([`Method::vitals`]) and of what is measured with its network.
//!
//! Your own method is a struct with [`Method`] and a line that registers it; nothing in this crate changes.

mod agem;
mod cls;
mod cls_er;
mod der;
mod er;
mod er_reservoir;
mod er_ring;
mod ewc;
mod ewc_plus;
mod gdumb;
mod gem;
mod gss;
mod gss_iqp;
mod icarl;
mod independent;
mod joint;
mod l2;
mod learner;
mod lwf;
mod mas;
mod memory;
mod mer;
#[doc(hidden)] // what the macro `saved` names
pub mod method;
mod mir;
mod multimodal;
mod none;
mod observer;
mod online_ewc;
mod packnet;
mod posterior;
mod progressive;
mod protocol;
mod registry;
mod rehearsal;
mod ring_memory;
mod rwalk;
mod s_gem;
mod si;
mod src;
#[cfg(test)]
mod testing;
pub mod train;
mod vitals;
mod xdg;

pub use learner::{Batch, Learner, losses};
pub use method::Method;
pub use observer::Observer;
pub use registry::Registry;
pub use train::Protocol;
pub use vitals::{Drawn, Stored, Vitals};
