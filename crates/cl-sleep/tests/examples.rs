//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/nights_in_a_plain_loop.rs"]
mod nights_in_a_plain_loop;
#[path = "../examples/one_shot.rs"]
mod one_shot;
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

#[test]
fn two_learners_know_more_than_one() {
    one_shot::main().unwrap();
}
