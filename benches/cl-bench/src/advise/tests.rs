#![allow(clippy::unwrap_used)]

use cl_methods::Registry;
use serde_json::json;

use super::evidence::Tables;
use super::*;

fn tree() -> Tree {
    Tree::standard().unwrap()
}

fn walk(given: &[(&str, &str)]) -> String {
    let tree = tree();
    match tree.walk(&tree.answers(given.iter().copied()).unwrap()).unwrap() {
        Walk::Advice(advice) => advice.to_string(),
        Walk::Open(open) => open.to_string(),
    }
}

#[test]
fn the_tree() {
    insta::assert_snapshot!(tree());
}

#[test]
fn a_few_advices() {
    let cases: [&[(&str, &str)]; 4] = [
        &[
            ("labels", "yes"),
            ("memory", "0"),
            ("grow", "no"),
            ("copies", "yes"),
            ("adapt", "slow"),
            ("tasks", "5"),
        ],
        &[("labels", "no"), ("new-classes", "no"), ("memory", "200"), ("grow", "yes")],
        &[("labels", "no"), ("new-classes", "yes"), ("memory", "300"), ("gradients", "yes")],
        &[("labels", "no"), ("new-classes", "yes"), ("memory", "5000")],
    ];
    for given in cases {
        insta::assert_snapshot!(walk(given));
    }
}

/// The methods are those of the registry, and the ranges are coefficients that they take.
#[test]
fn every_method_can_be_built_at_both_ends_of_its_ranges() {
    let registry = Registry::standard();
    for (name, method) in &tree().method {
        registry.build(name, &json!({}), 0).unwrap();
        for (coefficient, values) in &method.ranges {
            for value in values {
                registry.build(name, &json!({ coefficient: value }), 0).unwrap();
            }
        }
    }
}

/// Every row that is named has committed runs, is of the method that it speaks for, and stands beside one bound at least
/// where its table has any.
#[test]
fn every_row_is_in_the_committed_results() {
    let mut tables = Tables::default();
    let mut rows = 0;
    for (name, leaf) in &tree().leaf {
        for entry in &leaf.advice {
            assert!(!entry.measured.is_empty(), "{name}, {}: nothing speaks for it", entry.method);
            for (suite, scenarios) in &entry.measured {
                for (scenario, names) in scenarios {
                    for row in names {
                        let measured = tables.row(suite, scenario, row).unwrap();
                        let of = crate::suites::suite(suite).unwrap();
                        let row = of.rows.iter().find(|of| of.name == row).unwrap();
                        assert_eq!(row.method, entry.method, "{name}: {suite}, {}", row.name);
                        assert!(
                            measured.ours.n >= 5 && (measured.lower.is_some() || suite.starts_with("gss"))
                        );
                        rows += 1;
                    }
                }
            }
        }
    }
    assert!(rows > 50, "{rows}");
    let error = tables.row("der-rotated", "class", "DER++, 200").unwrap_err().to_string();
    assert!(error.contains("no runs of \"DER++, 200\" in class"), "{error}");
    assert!(tables.row("split-digits", "class", "ER").unwrap_err().to_string().contains("committed"));
}

/// The bounds of the same protocol: shuffled data and plain training, with as many passes.
#[test]
fn bounds_are_of_the_same_protocol() {
    let row = Tables::default().row("gem-rotations", "domain", "GEM, 5 epochs").unwrap();
    let mean = |of: Option<cl_metrics::Summary>| (of.unwrap().mean * 100.0).round() / 100.0;
    // The README's table: `single, 5 epochs` and `single, shuffled, 5 epochs`.
    assert_eq!((mean(Some(row.ours)), mean(row.lower), mean(row.upper)), (88.75, 43.65, 88.91));
    let speed = row.speed.unwrap();
    assert!((0.009..0.012).contains(&speed), "{speed}");
    // This row trains by another protocol than the rest of its table: the times say nothing.
    let row = Tables::default().row("split-mnist-hsu", "task", "LwF").unwrap();
    assert!(row.lower.is_some() && row.speed.is_none());
}

/// A small tree that holds together, and what is wrong with it after a change.
#[test]
fn a_tree_that_does_not_hold_together_is_refused() {
    let good = r#"
        start = "a"
        [question.q]
        ask = "Well?"
        answers = ["yes", "no"]
        [branch.a]
        ask = "q"
        then = { yes = "x", no = "y" }
        [leaf.x]
        say = "x"
        advice = [{ method = "None", because = "x" }]
        [leaf.y]
        say = "y"
        advice = [{ method = "None", because = "y" }]
        [method.None]
        keeps = "nothing"
    "#;
    Tree::parse(good).unwrap();
    for (from, to, why) in [
        (r#"no = "y""#, r#"no = "x""#, "leaf y: nothing leads to it"),
        (r#", no = "y""#, "", "branch a: it covers {\"yes\"}"),
        (r#"no = "y""#, r#"no = "y", maybe = "x""#, "the answers to q are"),
        (r#"no = "y""#, r#"no = "z""#, "z: there is no branch and no leaf"),
        (r#"no = "y""#, r#"no = "a""#, "branch a: q was asked before"),
        (r#"start = "a""#, r#"start = "y""#, "branch a: nothing leads to it"),
        (r#"ask = "q""#, r#"ask = "r""#, "there is none named \"r\""),
        (r#"answers = ["yes", "no"]"#, "answers = [\"yes\", \"no\"]\nup_to = [3, 4]", "question q"),
        ("[method.None]", "[method.ER]", "method None: it is recommended and not described"),
        (
            "keeps = \"nothing\"",
            "keeps = \"nothing\"\n[method.ER]\nkeeps = \"\"",
            "method ER: nothing leads to it",
        ),
        ("keeps = \"nothing\"", "keep = \"nothing\"", "unknown field"),
    ] {
        assert!(good.contains(from));
        let error = Tree::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(why), "{error} does not say {why}");
    }
}

#[test]
fn answers_that_are_none_say_what_would_be_one() {
    let tree = tree();
    for (name, answer, why) in [
        ("labels", "maybe", "labels: \"maybe\" is not one of yes, no"),
        ("memory", "-3", "memory: \"-3\" is not a whole number from 0 on"),
        ("memory", "1e3", "not a whole number"),
        ("memory", "99999999999999999999999", "not a whole number"),
        ("tasks", "1", "from 2 on"),
        ("tusks", "1", "there are adapt, boundaries"),
    ] {
        let error = tree.answers([(name, answer)]).unwrap_err().to_string();
        assert!(error.contains(why), "{error} does not say {why}");
    }
    let of = |answer| tree.answers([("memory", answer)]).unwrap().0["memory"].clone();
    assert_eq!(["0", " 1 ", "999", "1000"].map(of), ["none", "few", "few", "many"]);
    assert_eq!(tree.answers([("labels", "YES")]).unwrap(), tree.answers([("labels", "yes")]).unwrap());
}

/// With nothing said, the first question decides; what leads to one leaf needs no more answers.
#[test]
fn only_what_decides_is_asked() {
    let tree = tree();
    let open =
        |given: &[(&str, &str)]| match tree.walk(&tree.answers(given.iter().copied()).unwrap()).unwrap() {
            Walk::Open(open) => open.question,
            Walk::Advice(advice) => format!("{}: {:?}", advice.methods[0].name, advice.unused),
        };
    assert_eq!(open(&[]), "labels");
    assert_eq!(open(&[("labels", "no")]), "new-classes");
    let domain = [("labels", "no"), ("new-classes", "no")];
    assert_eq!(open(&[domain[0], domain[1], ("boundaries", "no")]), "memory");
    // Neither copies nor boundaries are asked where samples from a reservoir are the answer to both.
    assert_eq!(open(&[domain[0], domain[1], ("memory", "50"), ("copies", "no")]), "DER++: [\"copies\"]");
    // Without boundaries it does not matter how many samples, as long as there are some.
    assert_eq!(open(&[domain[0], domain[1], ("memory", "5000"), ("boundaries", "no")]), "DER++: []");
}

#[test]
fn an_interview_asks_again_and_ends() {
    let tree = tree();
    let interview = |input: &str| {
        let mut output = Vec::new();
        let given = tree.answers([("labels", "no")]).unwrap();
        let answers = tree.interview(given, &mut input.as_bytes(), &mut output);
        (answers, String::from_utf8(output).unwrap())
    };
    let (answers, said) = interview("no\nsome\n200\n");
    assert_eq!(
        answers.unwrap(),
        tree.answers([("labels", "no"), ("new-classes", "no"), ("memory", "200")]).unwrap()
    );
    assert!(
        said.contains("\"some\" is not a whole number")
            && said.matches("How many training samples").count() == 2
    );
    let (answers, _) = interview("no\n");
    assert!(answers.unwrap_err().to_string().contains("memory: the input ended"));
}
