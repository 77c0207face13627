//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/copy.rs"]
mod copy;

#[test]
fn a_copy_is_learned() {
    copy::main().unwrap();
}
