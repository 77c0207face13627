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

/// PyTorch as `pip` installs it.
pub const PYTORCH: &str = "pytorch";
/// The same with MKL made to take its AVX-512 path on an AMD processor.
pub const PYTORCH_AVX512: &str = "pytorch-mkl-avx512";
/// Avalanche, on PyTorch as installed.
pub const AVALANCHE: &str = "avalanche";

/// Importing PyTorch from a cold disk, and the set-up of a case, take their time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the peers come from.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// An environment that is there already, instead of one made in the cache.
    pub venv: Option<PathBuf>,
    /// The folder with `worker.py` and `requirements.txt`.
    pub scripts: PathBuf,
}

impl Default for PeerOptions {
    /// The environment that `ENGRAM_PEERS_VENV` names, if it is set, and this repository's
    /// `benches/peers`.
    fn default() -> Self {
        Self {
            venv: std::env::var_os(venv::VENV_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from),
            scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers"),
        }
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

    /// The three peers, their environment made if need be. `say` is told what takes long and what is
    /// left out.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if there is no environment and none can be made.
    pub fn prepare(options: &PeerOptions, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let scripts = options.scripts.canonicalize().map_err(Error::io(&options.scripts))?;
        let worker = scripts.join("worker.py");
        let python = match &options.venv {
            Some(dir) => venv::existing(dir)?,
            None => {
                let requirements = scripts.join("requirements.txt");
                venv::Maker { python: "python3".into(), requirements, cache: venv::default_cache()? }
                    .make(say)?
            }
        };

        let start = |script: &'static str, preload: Option<PathBuf>| {
            let (python, worker) = (python.clone(), worker.clone());
            Box::new(move || command(&python, &worker, script, preload.as_deref()))
                as Box<dyn Fn() -> Command>
        };
        let mut starters =
            BTreeMap::from([(PYTORCH, start("pytorch", None)), (AVALANCHE, start("avalanche", None))]);
        match venv::default_cache()
            .map_err(|error| error.to_string())
            .and_then(|cache| avx512_stub(&scripts, &cache))
        {
            Ok(stub) => {
                starters.insert(PYTORCH_AVX512, start("pytorch", Some(stub)));
            }
            Err(why) => say(&format!("without {PYTORCH_AVX512}: {why}")),
        }
        Ok(Self::started_by(starters))
    }

    /// Whether there is a peer of that name.
    pub fn has(&self, peer: &str) -> bool {
        self.starters.contains_key(peer)
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
