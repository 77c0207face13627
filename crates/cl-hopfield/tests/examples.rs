//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/complete_digit.rs"]
mod complete_digit;

#[test]
fn digits_are_completed() {
    complete_digit::main().unwrap();
}
