//! `cargo xtask advise`.

use std::io::{IsTerminal as _, Write as _, stdin, stdout};
use std::process::ExitCode;

use anyhow::Result;
use cl_bench::advise::{Tree, Walk};

/// What is not given is asked, where there is a terminal to ask on.
#[derive(clap::Args)]
pub struct Args {
    /// Is it known, when a sample is tested, which task it is of: yes or no
    #[arg(long)]
    labels: Option<String>,
    /// Does a new task bring new classes, to be told from all earlier ones: yes or no
    #[arg(long)]
    new_classes: Option<String>,
    /// How many training samples can be kept, over all tasks
    #[arg(long, value_name = "SAMPLES")]
    memory: Option<String>,
    /// Can copies of the weights be kept: yes or no
    #[arg(long)]
    copies: Option<String>,
    /// Do the data stay of one kind within a task, and is it known in training when it ends: yes or no
    #[arg(long)]
    boundaries: Option<String>,
    /// Must it learn fast, from one pass over a stream, or slowly, from many: fast or slow
    #[arg(long)]
    adapt: Option<String>,
    /// Can more gradients be computed at each step, such as one for each past task: yes or no
    #[arg(long)]
    gradients: Option<String>,
    /// How many tasks there will be
    #[arg(long, value_name = "N")]
    tasks: Option<String>,
    /// May the network grow with each task: yes or no
    #[arg(long)]
    grow: Option<String>,
    /// Show all questions and where they lead
    #[arg(long)]
    tree: bool,
}

pub fn main(args: Args) -> Result<ExitCode> {
    let tree = Tree::standard()?;
    if args.tree {
        write!(stdout(), "{tree}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let given = [
        ("labels", &args.labels),
        ("new-classes", &args.new_classes),
        ("memory", &args.memory),
        ("copies", &args.copies),
        ("boundaries", &args.boundaries),
        ("adapt", &args.adapt),
        ("gradients", &args.gradients),
        ("tasks", &args.tasks),
        ("grow", &args.grow),
    ];
    let mut answers =
        tree.answers(given.into_iter().filter_map(|(name, given)| Some((name, given.as_deref()?))))?;
    if stdin().is_terminal() {
        answers = tree.interview(answers, &mut stdin().lock(), &mut stdout())?;
        writeln!(stdout())?;
    }
    match tree.walk(&answers)? {
        Walk::Advice(advice) => write!(stdout(), "{advice}")?,
        Walk::Open(open) => write!(stdout(), "{open}")?,
    }
    Ok(ExitCode::SUCCESS)
}
