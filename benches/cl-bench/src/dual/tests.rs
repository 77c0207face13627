//! A small run on the digits that come with the build, and what the report says of it.
#![allow(clippy::unwrap_used)]
