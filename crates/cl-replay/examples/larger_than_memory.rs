//! A memory in a folder, as large as the disk allows: how fast it takes rows in and gives them out, and what is
//! left of it when the process is killed in the middle of adding.
//!
//! `cargo run --release -p cl-replay --example larger_than_memory -- [--rows N] [--folder PATH] [--kill]`
//!
//! A row is 16 f32; 100000000 rows are 6.4 GB. The folder is deleted at the end.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result};
use cl_replay::{Draw, Field, Items, Schema};

const WIDTH: usize = 16;
/// Rows of one addition.
const BATCH: usize = 4096;

fn main() -> Result<()> {
    let (mut rows, mut folder, mut kill, mut child) = (1_000_000, None, false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let missing = || Error::invalid(&arg, "its value is missing or none");
        match arg.as_str() {
            "--rows" => rows = args.next().and_then(|n| n.parse().ok()).ok_or_else(missing)?,
            "--folder" => folder = Some(PathBuf::from(args.next().ok_or_else(missing)?)),
            "--kill" => kill = true,
            "--child" => child = true,
            _ => return Err(Error::invalid(arg, "there is no such argument")),
        }
    }
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("cl-replay-larger-than-memory"));
    if child {
        return add_until_killed(&folder);
    }
    let run = measure(&folder, rows).and_then(|()| if kill { be_killed(&folder) } else { Ok(()) });
    // Only what is ours: `create` has refused a folder with anybody else's memory.
    if !matches!(&run, Err(Error::Invalid { .. })) {
        std::fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    run
}

fn schema() -> Result<Schema> {
    Schema::new([Field::new("row", DType::F32, [WIDTH])])
}

/// The rows of these times; every element of a row says which it is.
fn batch(first: u64, n: usize) -> Result<Tensor> {
    let rows = (first..first + n as u64).flat_map(|time| [(time % (1 << 24)) as f32; WIDTH]).collect();
    Ok(Tensor::from_vec(rows, (n, WIDTH), &Device::Cpu)?)
}

fn add(memory: &mut Items, n: usize) -> Result<()> {
    memory.add(&[("row", &batch(memory.written(), n)?)]).map(drop)
}

fn measure(folder: &Path, rows: usize) -> Result<()> {
    let gigabytes = (rows * WIDTH * 4) as f64 / 1e9;
    println!("{rows} rows of {WIDTH} f32: {gigabytes:.2} GB, in {}", folder.display());
    let clock = Instant::now();
    let mut memory = Items::create(folder, schema()?, rows, cl_core::rng(0, "memory"))?;
    report("made", clock.elapsed(), rows, "row");

    for lap in ["filled", "overwritten"] {
        // Making the rows is not what is measured.
        let (mut left, mut spent, mut longest) = (rows, Duration::ZERO, Duration::ZERO);
        while left > 0 {
            let n = left.min(BATCH);
            let rows = batch(memory.written(), n)?;
            let clock = Instant::now();
            memory.add(&[("row", &rows)])?;
            let took = clock.elapsed();
            (left, spent, longest) = (left - n, spent + took, longest.max(took));
        }
        report(lap, spent, rows, "row");
        println!("  longest addition of {BATCH} rows {:.1} ms", longest.as_secs_f64() * 1e3);
        let clock = Instant::now();
        memory.flush()?;
        report("flushed", clock.elapsed(), rows, "row");
    }
    for n in [256, 4096] {
        let (batches, clock) = (2_000_000 / n, Instant::now());
        for _ in 0..batches {
            check(&memory.sample(n, Draw::WithReplacement)?)?;
        }
        report(&format!("drawn in batches of {n}, and compared"), clock.elapsed(), batches * n, "row");
    }
    let clock = Instant::now();
    drop(memory);
    Items::open(folder, &schema()?)?;
    report("closed and opened", clock.elapsed(), 1, "memory");
    Ok(())
}

fn report(what: &str, time: Duration, n: usize, unit: &str) {
    let seconds = time.as_secs_f64();
    println!("{what}: {seconds:.2} s, {:.1} ns a {unit}", seconds * 1e9 / n as f64);
}

/// Whether every row is the one of its time, and whole.
fn check(sample: &cl_replay::Sample) -> Result<()> {
    let rows = sample.get("row")?.flatten_all()?.to_vec1::<f32>()?;
    for (row, item) in rows.chunks(WIDTH).zip(&sample.items) {
        if row.iter().any(|&element| element != (item.time % (1 << 24)) as f32) {
            return Err(Error::invalid("sample", format!("{item:?} is {row:?}")));
        }
    }
    Ok(())
}

/// Adds and flushes, and says so, for ever.
fn add_until_killed(folder: &Path) -> Result<()> {
    let mut memory = Items::open(folder, &schema()?)?;
    let mut out = std::io::stdout();
    loop {
        for _ in 0..100 {
            add(&mut memory, BATCH.min(memory.capacity()))?;
            writeln!(out, "added {}", memory.written()).map_err(Error::io("stdout"))?;
        }
        memory.flush()?;
        writeln!(out, "flushed {}", memory.written()).map_err(Error::io("stdout"))?;
    }
}

/// Starts a process that adds, kills it, and looks at what is there.
fn be_killed(folder: &Path) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::io("this program"))?;
    let mut child = Command::new(&program)
        .args(["--child", "--folder"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io(&program))?;
    let (mut added, mut flushed) = (0, 0);
    let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in lines.map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("added", time)) => added = time.parse().unwrap_or(0),
            Some(("flushed", time)) => flushed = time.parse::<u64>().unwrap_or(0),
            _ => {}
        }
        // In the middle of the third round. What it had still said is read to the end.
        if flushed > 0 && added > flushed + 50 * BATCH as u64 {
            child.kill().map_err(Error::io(&program))?;
        }
    }
    child.wait().map_err(Error::io(&program))?;
    let clock = Instant::now();
    let mut memory = Items::open(folder, &schema()?)?;
    report("killed; opened", clock.elapsed(), 1, "memory");
    println!("  it had said: {added} rows added, {flushed} of them flushed");
    println!(
        "  there are: {} rows up to {}; {} were overwritten",
        memory.len(),
        memory.written(),
        memory.lost()
    );
    for _ in 0..100 {
        check(&memory.sample(4096, Draw::WithReplacement)?)?;
    }
    println!("  409600 rows drawn: every one is whole, and that of its time");
    Ok(())
}
