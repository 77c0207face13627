//! Memories that a network writes and reads as it goes on.
#![forbid(unsafe_code)]
