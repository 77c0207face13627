//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/cascade_of_two_nets.rs"]
mod cascade_of_two_nets;
#[path = "../examples/retrieval_as_system_2.rs"]
mod retrieval_as_system_2;
#[path = "../examples/sofai_grid.rs"]
#[expect(dead_code, reason = "its main prints what is looked at here")]
mod sofai_grid;

use sofai_grid::{Outcome, Walker, walks};

#[test]
fn a_cascade_is_better_than_its_first_system() {
    cascade_of_two_nets::main().unwrap();
}

#[test]
fn a_memory_helps_where_there_is_doubt() {
    retrieval_as_system_2::main().unwrap();
}

/// With experience System 1 walks, at the cost of a search for every step, or nearly so; without System 2 it never learns that well.
#[test]
fn experience_takes_over() {
    for seed in 0..3 {
        let all = |walker| walks(walker, seed).unwrap();
        let (fast, slow, both) = (all(Walker::Fast), all(Walker::Slow), all(Walker::Both));
        let last = |outcomes: &[Outcome]| *outcomes.last().unwrap();
        assert!(last(&both).fast > 0.9 && last(&both).fast > both[0].fast, "seed {seed}: {both:?}");
        assert!(last(&both).cost <= 1.02 * last(&slow).cost, "seed {seed}: {both:?}, {slow:?}");
        assert!(last(&both).expanded < 0.2 * last(&slow).expanded, "seed {seed}");
        assert!(last(&fast).cost > 1.2 * last(&both).cost, "seed {seed}: {fast:?}");
    }
}
