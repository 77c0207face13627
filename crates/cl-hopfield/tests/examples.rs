//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/a_million_patterns.rs"]
#[expect(dead_code, reason = "here it is measured with fewer patterns than its main has")]
mod a_million_patterns;
#[path = "../examples/complete_digit.rs"]
mod complete_digit;

#[test]
fn digits_are_completed() {
    complete_digit::main().unwrap();
}

/// Fewer of them: sixteen cells of 71 find nearly all.
#[test]
fn many_patterns_are_found_in_a_few_cells() {
    let recall = a_million_patterns::measure(5000).unwrap();
    assert!(recall >= 0.98, "{recall}");
}
