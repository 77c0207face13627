//! The example runs, and every memory in it is worth what it says.

#[path = "../examples/image_stream.rs"]
mod image_stream;

#[test]
fn the_example_runs() {
    image_stream::main().expect("it checks its own outcome");
}
