//! A peer in a process of its own, asked by JSON lines. The protocol is described in
//! `benches/peers/worker.py`.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::measure::Measurement;

/// What a peer says about itself when it is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its name.
    pub peer: String,
    /// Versions of what it runs on.
    pub versions: BTreeMap<String, String>,
    /// Speed of a 1024² product, where its cases need one: shows which path its matrix library takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matmul_gflops: Option<f64>,
    /// What it can be asked for.
    pub cases: Vec<String>,
}

/// A running peer. Dropping it ends the process.
pub struct Worker {
    name: String,
    hello: Hello,
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<std::io::Result<String>>,
    stderr: Tail,
    patience: Duration,
    broken: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    case: &'a str,
    steps: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed {
        case: String,
        error: String,
    },
    Measured {
        case: String,
        #[serde(flatten)]
        measurement: Measurement,
    },
}

impl Worker {
    /// Starts `command` and waits until it says that it is ready. No answer may take longer than
    /// `patience`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if it cannot be started, ends, says something else or nothing.
    pub fn start(name: &str, mut command: Command, patience: Duration) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for us: we end the peers when we are ready to.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| {
            unavailable(format!("peer {name}"), format!("{program} cannot be started: {error}"))
        })?;
        let stdin = child.stdin.take().expect("stdin is piped");
        let answers = lines(child.stdout.take().expect("stdout is piped"));
        let stderr = Tail::of(child.stderr.take().expect("stderr is piped"));

        let hello =
            Hello { peer: name.into(), versions: BTreeMap::new(), matmul_gflops: None, cases: vec![] };
        let mut worker =
            Self { name: name.into(), hello, child, stdin, answers, stderr, patience, broken: false };
        worker.hello = worker.answer(None)?;
        Ok(worker)
    }

    /// What the peer said when it was ready.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether the peer can no longer be asked: it has ended, or what it says is no answer.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Runs `steps` of `case`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], which names the peer and the case and quotes the end of its stderr.
    pub fn run(&mut self, case: &str, steps: usize) -> Result<Measurement> {
        if !self.hello.cases.iter().any(|known| known == case) {
            let why = format!("it knows no such case, only {}", self.hello.cases.join(", "));
            return Err(unavailable(self.whose(Some(case)), why));
        }
        let mut request =
            serde_json::to_string(&Request { case, steps }).expect("plain fields always serialise");
        request.push('\n');
        // A peer that has ended cannot be written to; `answer` finds out why.
        let _ = self.stdin.write_all(request.as_bytes()).and_then(|()| self.stdin.flush());
        match self.answer(Some(case))? {
            Answer::Measured { case: about, measurement } if about == case => {
                measurement.checked(&self.whose(Some(case)))
            }
            Answer::Failed { case: about, error } if about == case => {
                Err(unavailable(self.whose(Some(case)), format!("{error}{}", self.stderr.quoted())))
            }
            Answer::Measured { case: about, .. } | Answer::Failed { case: about, .. } => {
                Err(self.give_up(Some(case), format!("it answered about {about}")))
            }
        }
    }

    fn answer<T: DeserializeOwned>(&mut self, case: Option<&str>) -> Result<T> {
        let line = match self.answers.recv_timeout(self.patience) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return Err(self.give_up(case, format!("its answer cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout) => {
                return Err(self.give_up(case, format!("no answer within {} s", self.patience.as_secs_f64())));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status =
                    self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(self.give_up(case, format!("it ended ({status})")));
            }
        };
        serde_json::from_str(&line).map_err(|error| {
            let start: String = line.chars().take(200).collect();
            self.give_up(case, format!("it said {start:?}, which is no answer: {error}"))
        })
    }

    /// Ends the process, so that all of its stderr is there to be quoted.
    fn give_up(&mut self, case: Option<&str>, why: String) -> Error {
        self.broken = true;
        self.end();
        self.stderr.wait();
        unavailable(self.whose(case), format!("{why}{}", self.stderr.quoted()))
    }

    fn whose(&self, case: Option<&str>) -> String {
        let peer = format!("peer {}", self.name);
        case.map_or(peer.clone(), |case| format!("{case} of {peer}"))
    }

    fn end(&mut self) {
        // Both fail only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

fn unavailable(what: String, why: String) -> Error {
    Error::Unavailable { what, why }
}

/// Reads in a thread, since a pipe cannot be read with a time limit.
fn lines(stdout: ChildStdout) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let last = line.is_err();
            if sender.send(line).is_err() || last {
                break;
            }
        }
    });
    receiver
}

/// The last lines of a process's stderr.
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    ended: Receiver<()>,
}

impl Tail {
    const LINES: usize = 12;

    fn of(stderr: ChildStderr) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, ended) = channel::<()>();
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            let _open = sender;
            for line in BufReader::new(stderr).split(b'\n').map_while(std::io::Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == Self::LINES {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { lines, ended }
    }

    /// Until the pipe is closed; not for long, since a grandchild may hold it open.
    fn wait(&self) {
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
    }

    fn quoted(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("; the end of its stderr:\n  {}", lines.join("\n  "))
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    const HELLO: &str =
        r#"echo '{"peer":"fake","versions":{"sh":"1"},"matmul_gflops":2.5,"cases":["a","b"]}'; "#;

    fn start(script: &str) -> Result<Worker> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Worker::start("fake", command, Duration::from_secs(20))
    }

    /// Says hello, then answers every request by `answer`.
    fn answering(answer: &str) -> Worker {
        start(&format!("{HELLO} while read -r line; do {answer}; done")).unwrap()
    }

    fn failure(worker: &mut Worker) -> String {
        worker.run("a", 3).unwrap_err().to_string()
    }

    #[test]
    fn a_request_is_answered() {
        // The script computes from the steps it was sent: 10 samples and 2 s each.
        let mut worker = answering(
            r#"steps=${line##*:}; steps=${steps%\}}; case=${line#*:}; case=${case%%,*};
               echo "{\"case\":$case,\"samples\":$((steps*10)),\"cpu_seconds\":$((steps*2)),\"wall_seconds\":$((steps*2)).5}""#,
        );
        assert_eq!(worker.hello().versions["sh"], "1");
        assert_eq!(worker.hello().matmul_gflops, Some(2.5));
        for (case, steps) in [("a", 3), ("b", 1), ("a", 7)] {
            let expected = Measurement {
                samples: 10 * steps as u64,
                cpu_seconds: 2.0 * steps as f64,
                wall_seconds: 2.0 * steps as f64 + 0.5,
            };
            assert_eq!(worker.run(case, steps).unwrap(), expected);
        }
    }

    #[test]
    fn a_failed_case_leaves_the_worker_alive() {
        let mut worker = answering(
            r#"case $line in *'"a"'*) echo boom >&2; echo '{"case":"a","error":"ValueError: no"}';;
               *) echo '{"case":"b","samples":1,"cpu_seconds":1,"wall_seconds":1}';; esac"#,
        );
        let message = failure(&mut worker);
        assert!(message.starts_with("a of peer fake is not available: ValueError: no"), "{message}");
        assert!(!worker.is_broken());
        assert_eq!(worker.run("b", 1).unwrap().samples, 1);
        let message = worker.run("c", 1).unwrap_err().to_string();
        assert!(message.contains("it knows no such case, only a, b"), "{message}");
    }

    #[test]
    fn a_dead_worker_is_named_with_its_last_words() {
        let mut worker = answering("for i in $(seq 40); do echo line $i >&2; done; exit 3");
        let message = failure(&mut worker);
        assert!(
            message.starts_with("a of peer fake is not available: it ended (exit status: 3)"),
            "{message}"
        );
        assert!(message.ends_with("line 39\n  line 40"), "{message}");
        assert!(!message.contains("line 28\n"), "only the tail is quoted: {message}");
        assert!(worker.is_broken());
        // Asking again must neither hang nor panic.
        assert!(failure(&mut worker).contains("it ended"));
    }

    #[test]
    fn garbage_is_quoted() {
        let long = format!("echo {}", "x".repeat(5000));
        for (answer, expected) in [
            ("echo hello world", r#"it said "hello world", which is no answer"#),
            (r#"echo '{"case":"a"}'"#, "which is no answer"),
            (r#"printf 'caf\351\n'"#, "its answer cannot be read"),
            (long.as_str(), "which is no answer"),
            (r#"echo '{"case":"b","samples":1,"cpu_seconds":1,"wall_seconds":1}'"#, "it answered about b"),
        ] {
            let mut worker = answering(answer);
            let message = failure(&mut worker);
            assert!(message.contains(expected), "{message}");
            assert!(message.len() < 600, "{} characters", message.len());
            assert!(worker.is_broken());
        }
    }

    #[test]
    fn an_impossible_measurement_is_refused() {
        let mut worker = answering(r#"echo '{"case":"a","samples":1,"cpu_seconds":2,"wall_seconds":1}'"#);
        assert!(failure(&mut worker).contains("more than one thread can"));
    }

    #[test]
    fn silence_ends() {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{HELLO} echo thinking >&2; sleep 60")]);
        let began = Instant::now();
        let mut worker = Worker::start("fake", command, Duration::from_millis(500)).unwrap();
        let message = failure(&mut worker);
        assert!(message.contains("no answer within 0.5 s"), "{message}");
        assert!(message.contains("thinking"), "{message}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_does_not_start_says_so() {
        let message = |result: Result<Worker>| result.err().unwrap().to_string();
        let missing = Worker::start("fake", Command::new("/nonexistent/python"), Duration::from_secs(1));
        assert!(
            message(missing).starts_with("peer fake is not available: /nonexistent/python cannot be started")
        );
        let import = message(start("echo 'ModuleNotFoundError: torch' >&2; exit 1"));
        assert!(import.starts_with("peer fake is not available: it ended (exit status: 1)"), "{import}");
        assert!(import.contains("ModuleNotFoundError: torch"), "{import}");
    }
}
