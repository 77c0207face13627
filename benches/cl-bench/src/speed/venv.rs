//! The Python environment in which the peers run.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cl_core::{Error, Result};

/// Names an environment for the training steps that is there already, like `--venv`.
pub const VENV_VARIABLE: &str = "ENGRAM_PEERS_VENV";

/// The Python program of an environment that the user made; nothing is installed into it.
///
/// # Errors
///
/// [`Error::Unavailable`] if there is none in `dir`, with the requirements and the variable to name.
pub fn existing(dir: &Path, requirements: &str, variable: &str) -> Result<PathBuf> {
    let python = python_of(dir);
    if python.is_file() {
        return Ok(python);
    }
    Err(Error::Unavailable {
        what: format!("the virtual environment {}", dir.display()),
        why: format!(
            "there is no {}; make one with `python3 -m venv` and install benches/peers/{requirements}, or leave \
             out --venv and {variable} to have it made",
            python.display()
        ),
    })
}

/// Makes an environment, once.
pub struct Maker {
    /// The Python that makes it: a name to be found in `PATH`, or a path.
    pub python: OsString,
    /// What to install.
    pub requirements: PathBuf,
    /// Where: the environment, its stamp and pip's log.
    pub cache: PathBuf,
    /// Whether the lines of the requirements are installed one by one, and the environment is made when
    /// some of them could be.
    pub each: bool,
}

impl Maker {
    /// The Python program of the environment in the cache, which is made first unless what is there
    /// was made to the end from the same requirements. `say` is told before anything that takes long.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if Python is missing, cannot make environments, or pip fails (with the
    /// end of its log); [`Error::Io`] if the cache cannot be written.
    pub fn make(&self, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
        let wanted = fs::read_to_string(&self.requirements).map_err(Error::io(&self.requirements))?;
        let (dir, stamp) = (self.cache.join("venv"), self.cache.join("installed.txt"));
        let python = python_of(&dir);
        if python.is_file() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(python);
        }

        fs::create_dir_all(&self.cache).map_err(Error::io(&self.cache))?;
        // The stamp goes first and comes last: an environment without one is unfinished.
        for old in [&stamp, &dir] {
            remove(old)?;
        }
        say(&format!(
            "making a virtual environment in {} and installing {} (gigabytes, some minutes)",
            dir.display(),
            wanted.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(", ")
        ));
        self.step(
            Command::new(&self.python).args(["-m", "venv"]).arg(&dir),
            "the peers need Python 3.10 or newer with its venv module (on Debian: apt install python3-venv)",
        )?;
        self.install(&python, &wanted, say)?;
        fs::write(&stamp, wanted).map_err(Error::io(&stamp))?;
        Ok(python)
    }

    fn install(&self, python: &Path, wanted: &str, say: &mut dyn FnMut(&str)) -> Result<()> {
        const ADVICE: &str = "pip needs a network, or an index that PIP_INDEX_URL names; --venv takes an \
                              environment that is there already";
        let pip = || {
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
            pip
        };
        if !self.each {
            return self.step(pip().arg("--requirement").arg(&self.requirements), ADVICE);
        }
        // What one of them brings along must not change the version of another.
        let lines = wanted.lines().filter(|line| !line.starts_with('#'));
        let installed = lines.map(|line| {
            self.step(pip().arg("--constraint").arg(&self.requirements).arg(line), ADVICE)
                .inspect_err(|error| say(&format!("without {line}: {error}")))
        });
        // All of them are tried.
        installed.collect::<Vec<_>>().into_iter().reduce(Result::or).unwrap_or(Ok(()))
    }

    /// Runs one command, its output into the log.
    fn step(&self, command: &mut Command, advice: &str) -> Result<()> {
        let log = self.cache.join("install.log");
        let output = File::create(&log).map_err(Error::io(&log))?;
        let errors = output.try_clone().map_err(Error::io(&log))?;
        let status = command.stdin(Stdio::null()).stdout(output).stderr(errors).status();

        let shown = format!("{command:?}").replace('"', "");
        let problem = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("`{shown}` failed ({status})"),
            Err(error) => format!("`{shown}` cannot be started: {error}"),
        };
        let text = fs::read(&log).map_err(Error::io(&log))?;
        Err(Error::Unavailable {
            what: "the peers' virtual environment".into(),
            why: format!("{problem}; {advice}{}", quoted_end(&String::from_utf8_lossy(&text), &log)),
        })
    }
}

/// `$XDG_CACHE_HOME/engram/peers`, or `~/.cache/engram/peers`.
///
/// # Errors
///
/// [`Error::Unavailable`] if neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn default_cache() -> Result<PathBuf> {
    cache_under(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

fn cache_under(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let set = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG specification has relative paths ignored.
    set(xdg)
        .filter(|path| path.is_absolute())
        .or_else(|| set(home).map(|home| home.join(".cache")))
        .map(|cache| cache.join("engram").join("peers"))
        .ok_or_else(|| Error::Unavailable {
            what: "a cache folder".into(),
            why: "neither XDG_CACHE_HOME nor HOME is set; set one, or give --venv".into(),
        })
}

fn python_of(venv: &Path) -> PathBuf {
    if cfg!(windows) { venv.join("Scripts").join("python.exe") } else { venv.join("bin").join("python") }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

fn quoted_end(text: &str, log: &Path) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let end = &lines[lines.len().saturating_sub(8)..];
    format!("; the end of {}:\n  {}", log.display(), end.join("\n  "))
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    /// A Python that makes environments which contain itself and whose pip notes that it was called.
    const PYTHON: &str = r#"#!/bin/sh
root=$(dirname "$(dirname "$0")")
case "$2" in
  venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  pip) echo Collecting; echo "$@" >> "$root/../pip-calls"; [ -e "$root/../no-network" ] && exit 1
       case "$*" in *broken*) exit 1;; esac; exit 0 ;;
esac
"#;

    struct Fixture {
        folder: TempDir,
        maker: Maker,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (python, requirements) =
                (folder.path().join("python3"), folder.path().join("requirements.txt"));
            fs::write(&python, PYTHON).unwrap();
            fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(&requirements, "# why\ntorch==1.0\nother==2.0\n").unwrap();
            let cache = folder.path().join("cache");
            Self { maker: Maker { python: python.into(), requirements, cache, each: false }, folder }
        }

        fn make(&self) -> (Result<PathBuf>, Vec<String>) {
            let mut said = vec![];
            let made = self.maker.make(&mut |line| said.push(line.to_owned()));
            (made, said)
        }

        fn pip_calls(&self) -> usize {
            fs::read_to_string(self.maker.cache.join("pip-calls")).map_or(0, |calls| calls.lines().count())
        }
    }

    #[test]
    fn made_once_and_used_again() {
        let fixture = Fixture::new();
        let (made, said) = fixture.make();
        let python = made.unwrap();
        assert!(python.is_file());
        assert_eq!(fixture.pip_calls(), 1);
        assert!(said[0].contains("installing torch==1.0, other==2.0"), "{said:?}");

        let (again, said) = fixture.make();
        assert_eq!((again.unwrap(), said.len(), fixture.pip_calls()), (python, 0, 1));
    }

    #[test]
    fn made_anew_when_the_requirements_change_or_it_was_not_finished() {
        let fixture = Fixture::new();
        fixture.make().0.unwrap();
        fs::write(&fixture.maker.requirements, "torch==1.1\n").unwrap();
        fixture.make().0.unwrap();
        assert_eq!(fixture.pip_calls(), 2);

        fs::remove_file(fixture.maker.cache.join("installed.txt")).unwrap();
        fixture.make().0.unwrap();
        assert_eq!(fixture.pip_calls(), 3);

        fs::remove_dir_all(fixture.maker.cache.join("venv")).unwrap();
        fixture.make().0.unwrap();
        assert_eq!(fixture.pip_calls(), 4);
    }

    #[test]
    fn a_failing_pip_is_quoted_and_tried_again() {
        let fixture = Fixture::new();
        fs::create_dir_all(&fixture.maker.cache).unwrap();
        let no_network = fixture.maker.cache.join("no-network");
        fs::write(&no_network, "").unwrap();
        for calls in 1..3 {
            let message = fixture.make().0.unwrap_err().to_string();
            assert!(
                message.contains("pip install") && message.contains("failed (exit status: 1)"),
                "{message}"
            );
            assert!(message.contains("PIP_INDEX_URL") && message.ends_with("\n  Collecting"), "{message}");
            assert_eq!(fixture.pip_calls(), calls);
        }
        fs::remove_file(no_network).unwrap();
        fixture.make().0.unwrap();
    }

    #[test]
    fn one_by_one_what_cannot_be_installed_is_left_out() {
        let mut fixture = Fixture::new();
        fixture.maker.each = true;
        fs::write(&fixture.maker.requirements, "# why\ntorch==1.0\nbroken==3.0\nother==2.0\n").unwrap();
        let (made, said) = fixture.make();
        made.unwrap();
        assert_eq!(fixture.pip_calls(), 3);
        assert!(said[1].starts_with("without broken==3.0: ") && said.len() == 2, "{said:?}");
        // It is not tried again each time.
        assert_eq!((fixture.make().1.len(), fixture.pip_calls()), (0, 3));

        fs::write(&fixture.maker.requirements, "broken==3.0\nbroken==4.0\n").unwrap();
        let message = fixture.make().0.unwrap_err().to_string();
        assert!(message.contains("pip install") && message.contains("failed (exit status: 1)"), "{message}");
    }

    #[test]
    fn a_missing_python_is_an_error_that_says_what_to_do() {
        let mut fixture = Fixture::new();
        fixture.maker.python = "/nonexistent/python3".into();
        let message = fixture.make().0.unwrap_err().to_string();
        assert!(message.contains("`/nonexistent/python3 -m venv"), "{message}");
        assert!(message.contains("cannot be started") && message.contains("Python 3.10"), "{message}");
    }

    #[test]
    fn a_given_environment_must_be_one() {
        let fixture = Fixture::new();
        let given = |dir: &Path| existing(dir, "requirements.txt", "A_VARIABLE");
        let message = given(fixture.folder.path()).unwrap_err().to_string();
        assert!(message.contains("there is no") && message.contains("bin/python"), "{message}");
        assert!(message.contains("A_VARIABLE"), "{message}");
        fixture.make().0.unwrap();
        assert!(given(&fixture.maker.cache.join("venv")).is_ok());
        assert_eq!(fixture.pip_calls(), 1);
    }

    #[test]
    fn the_cache_follows_xdg() {
        let path = |xdg: Option<&str>, home: Option<&str>| {
            cache_under(xdg.map(Into::into), home.map(Into::into)).ok()
        };
        assert_eq!(path(Some("/x"), Some("/h")), Some("/x/engram/peers".into()));
        assert_eq!(path(Some(""), Some("/h")), Some("/h/.cache/engram/peers".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.cache/engram/peers".into()));
        assert_eq!(path(None, None), None);
    }
}
