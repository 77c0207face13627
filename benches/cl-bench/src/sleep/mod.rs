//! What sleep is good for: [`src_sleep`] reruns the sleep replay consolidation of Tadros et al. 2022, [`motion`] forecasts movements
//! online, with a fast learner and one that is taught in sleep, [`priorities`] compares what to replay.

pub mod motion;
pub mod priorities;
pub mod src_sleep;
