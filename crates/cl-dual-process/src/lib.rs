//! Two systems: a fast answer, a slow one, and what decides between them.
#![forbid(unsafe_code)]
