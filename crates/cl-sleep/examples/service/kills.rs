//! The same in another process, which is killed in its sleep.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use cl_core::{Error, Result};
use cl_replay::HistoryReader;
use cl_sleep::State;
use rand::Rng as _;

use crate::mind::{World, bits};
use crate::serve::{answer, experience, quantiles};

/// Not for ever, should nobody kill it.
const LIFE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);

/// Serves, and tells all of it, until it is killed.
pub fn child(folder: &Path) -> Result<()> {
    let (world, service, begun) = (World::new()?, crate::open(folder)?, Instant::now());
    let tell = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::io("the pipe"))
    };
    let going = || begun.elapsed() < LIFE;
    let changes = || {
        let (mut version, mut state) = (None, State::Awake);
        while going() {
            let health = service
                .wait_until(LIFE, |health| Some(health.version) != version || health.state != state)?;
            if version != Some(health.version) {
                let model = service.model();
                tell(format!(
                    "version {} {} {}",
                    model.version,
                    model.experiences,
                    bits(&model, &world.test)?
                ))?;
            }
            (version, state) = (Some(health.version), health.state);
            tell(format!("{state:?}"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let changes = scope.spawn(changes);
        let experiences = scope
            .spawn(|| experience(&service, &world, &going, |_, end| tell(format!("acknowledged {end}"))));
        let mut some = String::from("late");
        answer(&service, &world, &going, |late, asleep| {
            if asleep {
                some += &format!(" {}", late.as_micros());
            }
            if some.len() > 300 {
                tell(std::mem::replace(&mut some, String::from("late")))?;
            }
            Ok(())
        })?;
        experiences.join().expect("it does not panic")?;
        changes.join().expect("it does not panic")
    })
}

/// What the children told.
#[derive(Default)]
struct Told {
    acknowledged: u64,
    asleep: bool,
    /// Experiences and bits of each.
    versions: BTreeMap<u64, (u64, u64)>,
    late: Vec<Duration>,
}

impl Told {
    /// Listens until the child is dead.
    fn listen(mut self, out: ChildStdout, asleep: &Sender<(bool, Instant)>) -> Result<Self> {
        let (mut out, mut line) = (BufReader::new(out), String::new());
        // A line that the kill has cut is none.
        while out.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
            let (what, numbers) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            let numbers: Vec<u64> = numbers.split(' ').flat_map(str::parse).collect();
            match (what, numbers.as_slice()) {
                ("acknowledged", [end]) => self.acknowledged = *end,
                ("late", late) => self.late.extend(late.iter().copied().map(Duration::from_micros)),
                ("version", [version, experiences, bits]) => {
                    let new = (*experiences, *bits);
                    let before = self.versions.insert(*version, new).unwrap_or(new);
                    let newest = self.versions.last_key_value().is_some_and(|(newest, _)| newest == version);
                    if before != new || !newest {
                        return Err(Error::invalid(
                            "version",
                            format!("{version} is {new:?} after {before:?}"),
                        ));
                    }
                }
                _ if self.asleep != (what == "Asleep") => {
                    self.asleep = !self.asleep;
                    let _ = asleep.send((self.asleep, Instant::now()));
                }
                _ => {}
            }
            line.clear();
        }
        Ok(self)
    }
}

fn start(folder: &Path) -> Result<Child> {
    let program = std::env::current_exe().map_err(Error::io("this program"))?;
    let mut command = Command::new(&program);
    command.arg("--child").arg("--folder").arg(folder).stdout(Stdio::piped());
    command.spawn().map_err(Error::io(program))
}

pub fn run(folder: &Path, kills: usize) -> Result<()> {
    let (mut delays, mut night) = (cl_core::rng(0, "delays"), Duration::from_millis(100));
    let (mut told, mut asleep) = (Told::default(), 0);
    for _ in 0..kills {
        let mut child = start(folder)?;
        let out = child.stdout.take().ok_or_else(|| Error::invalid("child", "it tells nothing"))?;
        let (sender, changes) = mpsc::channel();
        let before = Told { asleep: false, ..told };
        let listener = std::thread::spawn(move || before.listen(out, &sender));
        // Some nights pass; then it is killed at any moment of one.
        let next = || {
            changes
                .recv_timeout(LONG)
                .map_err(|_| Error::invalid("child", "it does not sleep"))
                .map(|change| change.1)
        };
        let mut fell_asleep = next()?;
        for _ in 0..delays.random_range(0..3) {
            night = night.max(next()? - fell_asleep);
            fell_asleep = next()?;
        }
        std::thread::sleep(night.mul_f64(delays.random_range(0.0..1.0)));
        child.kill().and_then(|()| child.wait()).map_err(Error::io("the child"))?;
        told = listener.join().expect("it does not panic")?;
        asleep += usize::from(told.asleep);
    }
    println!("{kills} kills, {asleep} of them in sleep; nights of up to {night:.1?}");
    println!("answers while asleep, from when they were due, in µs:");
    println!("{:>8} {:>8} {:>8} {:>8} {:>8}", "n", "p50", "p99", "p99.9", "max");
    println!("{}", quantiles(std::mem::take(&mut told.late)));
    check(folder, &told)
}

/// Whether everything is as it would be, had nobody killed anything.
fn check(folder: &Path, told: &Told) -> Result<()> {
    let world = World::new()?;
    let mut reader = HistoryReader::open(folder.join("journal"))?;
    let mut end = 0;
    for batch in reader.batches(0) {
        let (first, fields) = batch?;
        let same = |name: &str, right: &candle_core::Tensor| -> Result<bool> {
            Ok(fields.get(name)?.ne(right)?.sum_all()?.to_scalar::<u8>()? == 0)
        };
        let [x, y] = world.experience(first)?;
        if first != end || !same("x", &x)? || !same("y", &y)? {
            return Err(Error::invalid("journal", format!("experience {end} is another")));
        }
        end += 1;
    }
    if end < told.acknowledged {
        return Err(Error::invalid(
            "journal",
            format!("{end} of {} acknowledged experiences", told.acknowledged),
        ));
    }
    println!("{} experiences acknowledged, {end} in the journal, as they were", told.acknowledged);

    let service = crate::open(folder)?;
    service.wait_for(end, LONG)?;
    let model = service.model();
    let last = (model.version, (model.experiences, bits(&model, &world.test)?));
    drop(service);

    let apart = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let (twin, mut right) = (crate::open(apart.path())?, BTreeMap::new());
    for number in 0..=end {
        // After each experience there is one version more, or none.
        let model = twin.model();
        right.insert(model.version, (model.experiences, bits(&model, &world.test)?));
        if number < end {
            let [x, y] = world.experience(number)?;
            twin.experience(&[&x, &y])?;
            twin.wait_for(number + 1, LONG)?;
        }
    }
    for (version, seen) in told.versions.iter().map(|(version, seen)| (*version, *seen)).chain([last]) {
        if right.get(&version) != Some(&seen) {
            let why = format!("{version} is {seen:?}, and its twin {:?}", right.get(&version));
            return Err(Error::invalid("version", why));
        }
    }
    println!(
        "{} versions seen, all bit for bit those of a twin that nobody interrupted",
        told.versions.len()
    );
    Ok(())
}
