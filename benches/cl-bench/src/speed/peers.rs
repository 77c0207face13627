//! The programs we compare with: how each is started, and the ones that run now.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cl_core::{Error, Result};

use super::{
    measure::Measurement,
    venv,
    worker::{Hello, Worker},
};

/// A program that we compare with, which is `benches/peers/worker.py` with a word for the cases.
pub struct Peer {
    /// Its name in the comparisons.
    pub name: &'static str,
    /// Its cases are those of `benches/peers/cases_WORKER.py`.
    pub worker: &'static str,
    /// What it runs in.
    pub environment: &'static Environment,
    /// Whether MKL is made to take its AVX-512 path.
    pub avx512_stub: bool,
}

/// A Python environment in which some peers run.
pub struct Environment {
    /// What is installed, a file of `benches/peers`.
    pub requirements: &'static str,
    /// Where it is made, under the cache folder.
    pub cache: &'static str,
    /// The environment variable that names one that is there already.
    pub variable: &'static str,
    /// Whether the requirements are installed one by one, so that one that cannot be costs its peer only.
    pub each: bool,
}

/// Importing PyTorch from a cold disk, and the set-up of a case, take their time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the peers come from.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// An environment that is there already, instead of one made in the cache: that of the contest's first
    /// peer. For the others, the variables that they name.
    pub venv: Option<PathBuf>,
    /// The folder with `worker.py` and the requirements.
    pub scripts: PathBuf,
}

impl Default for PeerOptions {
    /// This repository's `benches/peers`, in environments that the variables name or that are made.
    fn default() -> Self {
        Self { venv: None, scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers") }
    }
}

impl Environment {
    /// The one that its variable names, if it is set.
    #[must_use]
    pub fn given(&self) -> Option<PathBuf> {
        std::env::var_os(self.variable).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Its Python, in `given` or made first if need be.
    fn python(&self, given: Option<PathBuf>, scripts: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
        if let Some(dir) = given {
            return venv::existing(&dir, self.requirements, self.variable);
        }
        let maker = venv::Maker {
            python: "python3".into(),
            requirements: scripts.join(self.requirements),
            cache: venv::default_cache()?.join(self.cache),
            each: self.each,
        };
        maker.make(say)
    }
}

/// Starts peers when they are first asked, and again after they broke.
pub struct Peers {
    /// What starts each, by its name.
    starters: BTreeMap<&'static str, Box<dyn Fn() -> Command>>,
    running: BTreeMap<&'static str, Worker>,
    /// What each said of itself when it was last started.
    hellos: BTreeMap<&'static str, Hello>,
    /// Why a peer that could not be started could not; it is not tried again.
    lost: BTreeMap<&'static str, String>,
}

impl Peers {
    /// No peers at all.
    pub fn none() -> Self {
        Self::started_by(BTreeMap::new())
    }

    /// Peers by what starts them.
    pub fn started_by(starters: BTreeMap<&'static str, Box<dyn Fn() -> Command>>) -> Self {
        Self { starters, running: BTreeMap::new(), hellos: BTreeMap::new(), lost: BTreeMap::new() }
    }

    /// The peers of a list, their environments made if need be. `say` is told what takes long and what is
    /// left out. An environment that cannot be had costs the peers that run in it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if there is no environment at all and none can be made.
    pub fn prepare(list: &[Peer], options: &PeerOptions, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let scripts = options.scripts.canonicalize().map_err(Error::io(&options.scripts))?;
        let worker = scripts.join("worker.py");
        let mut peers = Self::none();
        let mut pythons: BTreeMap<&str, Result<PathBuf>> = BTreeMap::new();
        for (index, peer) in list.iter().enumerate() {
            let Peer { name, worker: script, environment, avx512_stub: stub } = *peer;
            let python = pythons.entry(environment.requirements).or_insert_with(|| {
                let given = options.venv.clone().filter(|_| index == 0);
                environment.python(given.or_else(|| environment.given()), &scripts, say)
            });
            let python = match python {
                Ok(python) => python.clone(),
                Err(error) => {
                    peers.lost.insert(name, error.to_string());
                    continue;
                }
            };
            let preload = match stub.then(|| preloaded(&scripts)).transpose() {
                Ok(preload) => preload,
                Err(why) => {
                    say(&format!("without {name}: {why}"));
                    continue;
                }
            };
            let worker = worker.clone();
            peers
                .starters
                .insert(name, Box::new(move || command(&python, &worker, script, preload.as_deref())));
        }
        match pythons.into_values().reduce(std::result::Result::or) {
            Some(Err(error)) => Err(error),
            _ => Ok(peers),
        }
    }

    /// Whether there is a peer of that name, or should be.
    pub fn has(&self, peer: &str) -> bool {
        self.starters.contains_key(peer) || self.lost.contains_key(peer)
    }

    /// What the peers that were started said of themselves.
    pub fn hellos(&self) -> &BTreeMap<&'static str, Hello> {
        &self.hellos
    }

    /// Runs `steps` of `case` on `peer`, which is started if it does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] with the peer, the case and the end of its stderr.
    pub fn run(&mut self, peer: &'static str, case: &str, steps: usize) -> Result<Measurement> {
        let worker = match self.running.remove(peer) {
            Some(worker) => worker,
            None => self.start(peer)?,
        };
        let worker = self.running.entry(peer).or_insert(worker);
        let measured = worker.run(case, steps);
        if worker.is_broken() {
            self.running.remove(peer);
        }
        measured
    }

    fn start(&mut self, peer: &'static str) -> Result<Worker> {
        let lost = |why: &str| Error::Unavailable { what: format!("peer {peer}"), why: why.to_owned() };
        if let Some(why) = self.lost.get(peer) {
            return Err(lost(why));
        }
        let starter = self.starters.get(peer).ok_or_else(|| lost("it was left out"))?;
        let worker = Worker::start(peer, starter(), PATIENCE).inspect_err(|_| {
            self.lost.insert(peer, "it could not be started before".into());
        })?;
        self.hellos.insert(peer, worker.hello().clone());
        Ok(worker)
    }
}

/// One thread each, whatever the library takes its number of threads from.
fn command(python: &Path, worker: &Path, script: &str, preload: Option<&Path>) -> Command {
    let mut command = Command::new(python);
    command.arg(worker).arg(script);
    for variable in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
        command.env(variable, "1");
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(stub) = preload {
        command.env("LD_PRELOAD", stub);
    }
    command
}

fn preloaded(scripts: &Path) -> std::result::Result<PathBuf, String> {
    let cache = venv::default_cache().map_err(|error| error.to_string())?;
    avx512_stub(scripts, &cache)
}

/// Compiles the stub that `benches/peers/mkl_avx512.c` describes. The error says why it is no use here.
fn avx512_stub(scripts: &Path, cache: &Path) -> std::result::Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it needs Linux on x86-64".into());
    }
    if !has_avx512() {
        return Err("this processor has no AVX-512".into());
    }
    let stub = cache.join("mkl_avx512.so");
    if stub.to_string_lossy().contains([' ', ':']) {
        return Err(format!("LD_PRELOAD cannot name {}, which has a space or a colon in it", stub.display()));
    }
    std::fs::create_dir_all(cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    let compiler = std::env::var_os("CC").filter(|cc| !cc.is_empty()).unwrap_or_else(|| OsString::from("cc"));
    let compiled = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-o"])
        .arg(&stub)
        .arg(scripts.join("mkl_avx512.c"))
        .output()
        .map_err(|error| format!("there is no C compiler ({}: {error})", compiler.display()))?;
    if compiled.status.success() {
        Ok(stub)
    } else {
        Err(format!("{} failed: {}", compiler.display(), String::from_utf8_lossy(&compiled.stderr).trim()))
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}
