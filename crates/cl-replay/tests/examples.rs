//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/dqn.rs"]
mod dqn;

#[test]
fn dqn_finds_the_shortest_way() {
    dqn::main().unwrap();
}
