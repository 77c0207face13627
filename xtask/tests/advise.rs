//! `cargo xtask advise` as its user meets it.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use cl_bench::advise::Tree;

/// Standard output, if it succeeds, or standard error.
fn advise(args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.arg("advise").args(args).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(error) }
}

#[test]
fn an_advice_has_reasons_ranges_and_measured_rows() {
    let text = advise(&["--labels", "no", "--new-classes", "no", "--memory", "200", "--grow", "no"]).unwrap();
    for part in ["1. DER++", "2. DER", "alpha 0.2 to 1", "der-rotated", "DER++, 200", "not depend on: grow"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn what_is_not_said_and_decides_is_named() {
    let text = advise(&["--labels", "no", "--new-classes", "yes"]).unwrap();
    assert!(text.starts_with("It depends on --memory"), "{text}");
    assert!(text.contains("GSS-greedy, GSS-IQP, DER++") && !text.contains("Multimodal"), "{text}");
}

/// Every question of the tree is a flag, and the tree is shown whole.
#[test]
fn the_tree_and_its_flags() {
    let tree = Tree::standard().unwrap();
    assert_eq!(advise(&["--tree"]).unwrap(), tree.to_string());
    for (name, _) in tree.questions() {
        let error = advise(&[&format!("--{name}"), "perhaps"]).unwrap_err();
        assert!(error.starts_with(&format!("error: {name}: \"perhaps\" is not ")), "{error}");
    }
}

#[test]
fn wrong_flags_are_refused() {
    for (args, why) in [
        (["--memory", "lots"], "not a whole number from 0 on"),
        (["--tasks", "0"], "not a whole number from 2 on"),
        (["--labels", ""], "is not one of yes, no"),
        (["--colour", "red"], "unexpected argument"),
    ] {
        let error = advise(&args).unwrap_err();
        assert!(error.contains(why) && !error.contains("panicked"), "{error}");
    }
}
