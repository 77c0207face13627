//! What associative memories hold, beside what theory says: [`capacity`] with random patterns, [`mnist`] with handwritten digits of
//! which a part is hidden.

pub mod capacity;
pub mod mnist;
