//! The data set that many runs draw from, which is read once.

use std::sync::{Arc, Mutex, PoisonError};

use cl_core::Result;
use cl_data::DataSet;

/// The data set of this name; the one that was asked for last stays in memory.
///
/// # Errors
/// As [`cl_data::load`].
pub(crate) fn images(name: &str) -> Result<Arc<DataSet>> {
    static LOADED: Mutex<Option<Arc<DataSet>>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some(images) if images.name == name => Ok(Arc::clone(images)),
        _ => Ok(Arc::clone(loaded.insert(Arc::new(cl_data::load(name)?)))),
    }
}
