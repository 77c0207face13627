//! `cargo xtask bench`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cl_bench::results::Results;
use cl_bench::runner::{self, Options};
use cl_bench::speed::gpu;
use cl_bench::suites;
use cl_bench::tier::Tier;
use cl_bench::unfinished::Unfinished;
use cl_bench::{diagnosis, sequences};
use cl_data::Scenario;
use cl_methods::Registry;
use cl_methods::train::Precision;

use crate::study::STUDIES;
use crate::watch::Terminal;

#[derive(clap::Args)]
pub struct Args {
    /// A suite: what --list names, or a contest of speed
    #[arg(default_value = "split-digits")]
    suite: String,
    /// Only this scenario: task, domain or class
    #[arg(long)]
    scenario: Option<Scenario>,
    /// Only this row or method; may be given several times
    #[arg(long = "method", value_name = "NAME")]
    methods: Vec<String>,
    /// How many seeds (default: as the suite says)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// How much is run: smoke, quick or paper; only paper is compared with the paper
    #[arg(long, default_value = "paper")]
    tier: Tier,
    /// Runs at the same time, one thread each (default: one for each core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Where networks learn: cpu, cuda or cuda:N (a GPU needs a build with `--features cuda`)
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// Let a GPU round the operands of matrix products to TF32, which is faster
    #[arg(long)]
    tf32: bool,
    /// What training steps compute in: f32, bf16 or f16; parameters are f32 always
    #[arg(long, value_name = "NAME", default_value = "f32")]
    precision: Precision,
    /// Where results and report go (default: bench-out/SUITE, with -TIER behind it where that is not paper)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Forget what is stored in the folder and begin anew
    #[arg(long)]
    fresh: bool,
    /// Watch each run that is made, and say what is wrong with it; stored runs are not looked at
    #[arg(long)]
    diagnose: bool,
    /// Exit with 1 if a verified published number is missed
    #[arg(long)]
    check: bool,
    /// List the suites and their rows
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    speed: crate::speed::Args,
}

impl Args {
    /// Refuses the flags that what is run has no use for: those but `flags`, `--out` and `--check`.
    fn only(&self, flags: &[&str]) -> Result<()> {
        let given = [
            ("--scenario", self.scenario.is_some()),
            ("--method", !self.methods.is_empty()),
            ("--seeds", self.seeds.is_some()),
            ("--tier", self.tier != Tier::Paper),
            ("--jobs", self.jobs.is_some()),
            ("--device", self.device != "cpu"),
            ("--tf32", self.tf32),
            ("--precision", self.precision != Precision::F32),
            ("--fresh", self.fresh),
            ("--diagnose", self.diagnose),
        ];
        match given.iter().find(|(flag, given)| *given && !flags.contains(flag)) {
            Some((flag, _)) => bail!(
                "{} takes {}, --out and --check, no other flag such as {flag}",
                self.suite,
                flags.join(", ")
            ),
            None => Ok(()),
        }
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

pub fn main(args: Args) -> Result<ExitCode> {
    if args.list {
        return Ok(list());
    }
    if let Some(contest) = crate::speed::contest(&args.suite) {
        args.only(&["--peers", "--venv", "--case", "--rounds"])?;
        if let Some(code) = one_thread_each()? {
            return Ok(code);
        }
        catch_interrupt()?;
        return crate::speed::main(contest, args.speed, args.out, args.check, &STOP);
    }
    if args.suite == gpu::NAME {
        args.only(&["--device", "--rounds"])?;
        return crate::speed::on_gpu(&args.device, &args.speed, args.out, args.check);
    }
    args.speed.refuse_for_suites()?;
    if let Some((name, _, run)) = STUDIES.into_iter().find(|(name, ..)| *name == args.suite) {
        args.only(&["--seeds"])?;
        if let Some(code) = one_thread_each()? {
            return Ok(code);
        }
        catch_interrupt()?;
        return crate::study::main(name, run, args.seeds, args.out, args.check, &STOP);
    }
    if let Some(suite) = sequences::suite(&args.suite) {
        args.only(&["--method", "--seeds"])?;
        if let Some(code) = one_thread_each()? {
            return Ok(code);
        }
        catch_interrupt()?;
        return crate::sequences::main(suite, args.methods, args.seeds, args.out, args.check, &STOP);
    }
    let suite = args.tier.of(suites::suite(&args.suite)?).in_precision(args.precision);
    if let Some(code) = one_thread_each()? {
        return Ok(code);
    }
    let out = args.out.unwrap_or_else(|| default_out(suite.name, args.tier, args.precision));
    if args.fresh {
        forget(&out)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        scenario: args.scenario,
        methods: args.methods,
        seeds: args.seeds,
        jobs: args.jobs.map_or(cores, |jobs| jobs as usize),
        out: out.clone(),
        device: args.device,
        tf32: args.tf32,
        diagnose: args.diagnose,
    };
    catch_interrupt()?;
    let start = Instant::now();
    let watch = Terminal::new();
    let done = runner::run(&suite, &Registry::standard(), &options, &STOP, &watch)?;
    drop(watch);
    let written = done.report.write(&out)?;
    println!("{}", done.report.text_table()?);
    println!(
        "{} runs made in {:.0} s, {} were there already; results and report in {}",
        done.made,
        start.elapsed().as_secs_f64(),
        done.found,
        out.display()
    );
    if let Some(diagnosed) = done.diagnosed {
        let looked_at = match (diagnosed.runs, done.found) {
            (0, _) => "; stored runs are not looked at, --fresh runs them again".to_owned(),
            (_, 0) => format!("; in full in {}", out.join(diagnosis::FILE).display()),
            (_, found) => {
                format!(
                    "; in full in {}; {found} stored were not looked at",
                    out.join(diagnosis::FILE).display()
                )
            }
        };
        println!("{diagnosed}{looked_at}");
    }
    println!("open {}", written.html.display());
    if done.interrupted {
        eprintln!("interrupted: the same command goes on from here, in the middle of a run too");
        return Ok(ExitCode::from(130));
    }
    let missed: Vec<_> =
        done.report.verdicts()?.into_iter().filter(|(_, _, verdict)| verdict.is_missed()).collect();
    if args.check && !missed.is_empty() {
        for (scenario, method, verdict) in &missed {
            eprintln!("missed: {method}, {scenario}: {verdict}");
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn default_out(suite: &str, tier: Tier, precision: Precision) -> PathBuf {
    let mut folder = match tier {
        Tier::Paper => suite.to_owned(),
        Tier::Smoke | Tier::Quick => format!("{suite}-{}", tier.name()),
    };
    if precision != Precision::F32 {
        folder = format!("{folder}-{precision}");
    }
    PathBuf::from("bench-out").join(folder)
}

/// The first ctrl-C ends runs at their next step, the second at once.
fn catch_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot catch ctrl-C")
}

fn list() -> ExitCode {
    for suite in suites::suites() {
        println!("{}: {}", suite.name, suite.source);
        for row in &suite.rows {
            let scenarios: Vec<_> = row.cells.iter().map(|cell| cell.scenario.to_string()).collect();
            println!("    {:<18} {}", row.name, scenarios.join(" "));
        }
    }
    for (name, what, _) in STUDIES {
        println!("{name}: {what}");
    }
    for suite in sequences::SUITES {
        println!("{}: {}", suite.name, suite.source);
        for row in suite.rows {
            println!("    {}", row.name);
        }
    }
    println!("speed: our training steps, with --peers beside PyTorch's and Avalanche's");
    println!("method-speed: steps of our methods, with --peers beside PyTorch's and Avalanche's");
    println!("memory-speed: what memories compute, with --peers beside PyTorch's");
    println!("{}: our operations on a GPU, beside a copy within its memory", gpu::NAME);
    println!("dnc-speed: training steps of our DNC, with --peers beside the package dnc's");
    println!("replay-speed: our replay buffer, with --peers beside Flashbax and other libraries");
    ExitCode::SUCCESS
}

/// Runs are parallel, each on one thread; the thread pools below must not be. Their size is read from the
/// environment when the process starts, so it is set for a second one.
fn one_thread_each() -> Result<Option<ExitCode>> {
    const THREADS: &str = "RAYON_NUM_THREADS";
    if std::env::var(THREADS).is_ok_and(|n| n == "1") {
        return Ok(None);
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(THREADS, "1");
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        Err(command.exec()).context("cannot start again with one thread")
    }
    #[cfg(not(unix))]
    {
        let status = command.status().context("cannot start again with one thread")?;
        Ok(Some(ExitCode::from(status.code().unwrap_or(1) as u8)))
    }
}

/// Removes the results of earlier runs, which `--fresh` asks for; nothing else in the folder.
fn forget(out: &std::path::Path) -> Result<()> {
    Unfinished::within(out).forget_all()?;
    let diagnosed = out.join(diagnosis::FILE);
    if diagnosed.exists() {
        std::fs::remove_file(&diagnosed).with_context(|| format!("cannot remove {}", diagnosed.display()))?;
    }
    let file = out.join("results.jsonl");
    if !file.exists() {
        return Ok(());
    }
    // Opening it refuses a file that is not ours, or that another process is writing.
    let (results, _) = Results::open(out)?;
    let path = results.path().to_owned();
    if path != file {
        bail!("{} is not {}", path.display(), file.display());
    }
    std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
}
