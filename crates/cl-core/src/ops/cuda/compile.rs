//! From the text of a kernel to a function on a device: compiled once by NVRTC, kept on disk by what it was made from.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::WrapErr as _;
use candle_core::cuda_backend::cudarc::driver::CudaFunction;
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle_core::{CudaDevice, Result};
use sha2::{Digest as _, Sha256};

use crate::kernels::{Kernels, OPTIONS};

/// Where compiled kernels are kept; empty for nowhere. The default is `engram/kernels` in the user's cache folder.
const CACHE_VARIABLE: &str = "CL_KERNEL_CACHE";

/// The kernel of this name, ready to be launched on this device.
pub(crate) fn function(device: &CudaDevice, kernels: &Kernels, name: &'static str) -> Result<CudaFunction> {
    variant(device, kernels, "", name)
}

/// The same, of what these definitions (`Kernels::source`) make of the text.
pub(crate) fn variant(
    device: &CudaDevice,
    kernels: &Kernels,
    definitions: &str,
    name: &'static str,
) -> Result<CudaFunction> {
    /// By device, kernel and definitions; the last apart, so that looking it up takes no new string.
    type Loaded = HashMap<(DeviceId, &'static str, &'static str), HashMap<String, CudaFunction>>;
    static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = loaded.entry((device.id(), kernels.name, name)).or_default();
    if let Some(function) = known.get(definitions) {
        return Ok(function.clone());
    }
    let (major, minor) = device.cuda_stream().context().compute_capability().w()?;
    let arch = format!("compute_{major}{minor}");
    let ptx = Ptx::of(kernels, definitions, &arch);
    let module = format!("engram/{} {definitions}", kernels.name);
    let load = |text: &str| device.get_or_load_custom_func(name, &module, text);
    let function = match ptx.kept().map(|kept| load(&kept)) {
        Some(Ok(function)) => function,
        // None is kept, or one that this driver does not take.
        Some(Err(_)) | None => load(&ptx.compile()?)?,
    };
    let function = function.into_cuda_function();
    known.insert(definitions.to_owned(), function.clone());
    Ok(function)
}

/// The PTX of some kernels for an architecture.
struct Ptx<'a> {
    name: &'a str,
    source: String,
    arch: &'a str,
}

impl<'a> Ptx<'a> {
    fn of(kernels: &'a Kernels, definitions: &str, arch: &'a str) -> Self {
        Self { name: kernels.name, source: kernels.source(definitions), arch }
    }

    fn compile(&self) -> Result<String> {
        let options: Vec<String> = OPTIONS
            .iter()
            .map(|option| (*option).to_owned())
            .chain([format!("--gpu-architecture={}", self.arch)])
            .collect();
        let options =
            CompileOptions { options, name: Some(format!("{}.cu", self.name)), ..CompileOptions::default() };
        // Where its library is missing, cudarc panics.
        let compiled = std::panic::catch_unwind(|| compile_ptx_with_opts(&self.source, options)).map_err(|_| {
            let why = "CUDA's compiler could not be loaded: libnvrtc must be where the system looks for libraries, \
                       such as a folder of LD_LIBRARY_PATH";
            candle_core::Error::Cuda(why.into())
        })?;
        let ptx = compiled.map_err(|error| {
            let log = match &error {
                CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
                other => other.to_string(),
            };
            candle_core::Error::Cuda(format!("the kernels of {} do not compile: {log}", self.name).into())
        })?;
        let text = ptx.to_src();
        self.keep(&text);
        Ok(text)
    }

    /// The file that it is kept in: named by all that it is made from.
    fn path(&self) -> Option<PathBuf> {
        let folder = match std::env::var_os(CACHE_VARIABLE) {
            Some(folder) if folder.is_empty() => return None,
            Some(folder) => PathBuf::from(folder),
            None => {
                let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
                let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
                cache.or_else(home)?.join("engram").join("kernels")
            }
        };
        let hash = hex(&[self.source.as_str(), self.arch, &OPTIONS.join(" ")].join("\0"));
        Some(folder.join(format!("{}-{}-{}.ptx", self.name, self.arch, &hash[..32])))
    }

    /// What is kept, if it is whole: the first line is the checksum of the rest.
    fn kept(&self) -> Option<String> {
        let kept = std::fs::read_to_string(self.path()?).ok()?;
        let (checksum, text) = kept.split_once('\n')?;
        (checksum.strip_prefix("// ")? == hex(text)).then(|| text.to_owned())
    }

    /// Keeps it for the next process. Where that cannot be, the next one compiles again.
    fn keep(&self, text: &str) {
        let Some(path) = self.path() else { return };
        let write = || -> std::io::Result<()> {
            let folder = path.parent().expect("a file in a folder");
            std::fs::create_dir_all(folder)?;
            let file = tempfile::NamedTempFile::new_in(folder)?;
            std::fs::write(&file, format!("// {}\n{text}", hex(text)))?;
            file.persist(&path)?;
            Ok(())
        };
        let _ = write();
    }
}

fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
