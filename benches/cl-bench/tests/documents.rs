//! What the documents show is what the programs do.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use cl_bench::advise::{Tree, Walk};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// The blocks of this kind in a page.
fn blocks<'p>(page: &'p str, kind: &str) -> Vec<&'p str> {
    let begin = format!("\n```{kind}\n");
    page.split(&begin).skip(1).map(|rest| &rest[..rest.find("```").unwrap()]).collect()
}

/// The guide's code is that of the example, all of it but the imports; the output is the one that the example's test holds.
#[test]
fn the_guide_is_the_example() {
    let (guide, example) =
        (read("docs/write-your-own-method.md"), read("benches/cl-bench/examples/my_method.rs"));
    let mut left = example.clone();
    for code in blocks(&guide, "rust,ignore") {
        assert!(left.contains(code), "this is not in the example, or twice in the guide:\n{code}");
        left = left.replacen(code, "", 1);
    }
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with("use ");
    assert_eq!(left.lines().filter(is_code).collect::<Vec<_>>(), Vec::<&str>::new(), "not in the guide");

    let output = blocks(&guide, "text");
    let rows = output[0].lines().skip(3).take(3).map(|row| {
        let mut words = row.split_whitespace();
        format!("{} {:.0}", words.next().unwrap(), words.next().unwrap().parse::<f64>().unwrap())
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    assert!(example.contains(&format!("@\"{rows}\"")), "the example's test does not hold {rows}");
}

/// The advice in the README is what the command says; `UPDATE_README=1` writes it there.
#[test]
fn the_readme_shows_true_advice() {
    let tree = Tree::standard().unwrap();
    let answers = tree.answers([("labels", "no"), ("new-classes", "no"), ("memory", "200")]).unwrap();
    let Walk::Advice(advice) = tree.walk(&answers).unwrap() else { panic!("open") };
    let command = "$ cargo xtask advise --labels no --new-classes no --memory 200\n";
    let readme = read("README.md");
    let start = readme.find(command).unwrap() + command.len();
    let end = start + readme[start..].find("```").unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        return std::fs::write(path("README.md"), format!("{}{advice}{}", &readme[..start], &readme[end..]))
            .unwrap();
    }
    assert_eq!(&readme[start..end], advice.to_string(), "the README's advice is another; UPDATE_README=1");
}
