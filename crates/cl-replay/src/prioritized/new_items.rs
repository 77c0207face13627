//! What is drawn how often before anybody has looked at it.

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The priority of an item that was just added.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum NewItems {
    /// The largest that was ever set, at least 1 (Schaul et al. 2016; all known libraries). One outlier stays the
    /// priority of everything that comes later.
    #[default]
    LargestEver,
    /// The largest of what is held now; 1 while nothing is. Costs a second tree.
    LargestNow,
    /// This.
    Fixed(f32),
}

impl NewItems {
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Fixed(priority) if !(priority.is_finite() && priority >= 0.0) => {
                Err(Error::invalid("new_items", format!("{priority} is not a finite number from 0 on")))
            }
            _ => Ok(()),
        }
    }
}
