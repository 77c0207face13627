//! What sleep is good for: [`src_sleep`] reruns the sleep replay consolidation of Tadros et al. 2022, [`priorities`] compares what
//! to replay.

mod paired;
pub mod priorities;
pub mod src_sleep;
