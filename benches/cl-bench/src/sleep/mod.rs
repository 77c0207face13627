//! What sleep is good for: [`src_sleep`] reruns the sleep replay consolidation of Tadros et al. 2022.

mod paired;
pub mod src_sleep;
