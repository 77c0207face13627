//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/nights_in_a_plain_loop.rs"]
mod nights_in_a_plain_loop;
#[path = "../examples/prototypes.rs"]
mod prototypes;

#[test]
fn nights_keep_what_days_forget() {
    nights_in_a_plain_loop::main().unwrap();
}

#[test]
fn prototypes_outlast_their_episodes() {
    prototypes::main().unwrap();
}
