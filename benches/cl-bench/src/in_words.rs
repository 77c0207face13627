//! The protocol of a suite in words and numbers, for its report.

use cl_methods::train::Precision;
use serde_json::{Value, json};

use crate::suites::{Active, Classes, Kind, Suite};

/// The protocol in words and numbers.
pub(crate) fn protocol(suite: &Suite) -> Vec<(String, String)> {
    let setting = &suite.setting;
    let protocol = &setting.protocol;
    let mut lines = vec![
        ("data", setting.data.to_owned()),
        ("tasks", setting.tasks.to_string()),
        ("hidden layers", format!("{:?}", protocol.hidden)),
        ("heads (task scenario)", json!(protocol.heads).to_string()),
        ("optimizer", json!(protocol.optimizer).to_string()),
        ("optimizer reset between tasks", protocol.reset_optimizer.to_string()),
        ("minibatch", format!("{}, last one: {}", protocol.batch, json!(protocol.last_batch))),
        ("order of samples", json!(protocol.order).to_string()),
        ("budget per task", json!(protocol.budget).to_string()),
        (
            "evaluated on",
            match setting.test_samples {
                None => "all test samples of every task, after every task".to_owned(),
                Some(n) => format!("the first {n} test samples of every task, after every task"),
            },
        ),
    ];
    if protocol.precision != Precision::F32 {
        lines.push(("training steps in", format!("{}, parameters in f32", protocol.precision)));
    }
    match setting.kind {
        Kind::Split => lines.extend([
            (
                "class order",
                match setting.classes {
                    Classes::Fixed => "fixed".to_owned(),
                    Classes::PerSeed => "shuffled per seed".to_owned(),
                    Classes::VanDeVen | Classes::VanDeVen2018 => {
                        "as the authors' code draws it from the seed".to_owned()
                    }
                },
            ),
            (
                "active units (class scenario)",
                match setting.active {
                    Active::All => "all".to_owned(),
                    Active::SeenSoFar => "those of the tasks so far".to_owned(),
                },
            ),
        ]),
        Kind::Rotated { below, rising } => {
            let each = if rising { ", one in each of as many parts as there are tasks" } else { "" };
            lines.push((
                "tasks made by",
                format!("rotation by 0 to {below} degrees{each}, drawn by the seed"),
            ));
        }
        Kind::Permuted => {
            lines.push(("tasks made by", "permutations of the pixels, drawn by the seed".to_owned()));
        }
        Kind::ThreeSixty { classes, rounds } => {
            let stream = format!(
                "no tasks: {rounds} rounds of pairs of neighbours among the first {classes} classes, turning all the while"
            );
            lines.push(("stream", stream));
        }
    }
    if let Some(n) = setting.train_samples {
        lines.push(("training samples of a task", n.to_string()));
    }
    if setting.padding > 0 || setting.normalise.is_some() {
        lines.push(("pixels", format!("padded by {}, normalised {:?}", setting.padding, setting.normalise)));
    }
    for row in &suite.rows {
        let configs: Vec<_> =
            row.cells.iter().map(|cell| format!("{}: {}", cell.scenario, cell.config)).collect();
        let mut said = Vec::new();
        if let Some(own) = &row.setting {
            differences(&json!(suite.setting), &json!(own), &mut said);
        }
        if row.cells.iter().any(|cell| cell.config != json!({})) {
            said.extend(configs);
        }
        if !said.is_empty() {
            lines.push((row.name, said.join("; ")));
        }
    }
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a row's own setting has other than that of its suite.
fn differences(suite: &Value, own: &Value, said: &mut Vec<String>) {
    let (Some(suite), Some(own)) = (suite.as_object(), own.as_object()) else { return };
    for (name, value) in own.iter().filter(|(name, value)| suite.get(*name) != Some(value)) {
        match suite.get(name) {
            Some(of_suite) if of_suite.is_object() && value.is_object() && value.get("lr").is_none() => {
                differences(of_suite, value, said);
            }
            _ => said.push(format!("{}: {value}", name.replace('_', " "))),
        }
    }
    for name in suite.keys().filter(|name| !own.contains_key(*name)) {
        said.push(format!("{}: as by default", name.replace('_', " ")));
    }
}
