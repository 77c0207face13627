//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "../examples/attention_slots_in_your_model.rs"]
#[expect(dead_code, reason = "its main says what is compared here")]
mod attention_slots_in_your_model;
#[path = "../examples/copy.rs"]
mod copy;

#[test]
fn a_copy_is_learned() {
    copy::main().unwrap();
}

/// What the model alone cannot know, it knows with the slots.
#[test]
fn slots_help_where_memory_is_needed() {
    let [alone, with_slots] = attention_slots_in_your_model::compare().unwrap();
    assert!(alone < 0.6 && with_slots > 0.9, "{alone} {with_slots}");
}
