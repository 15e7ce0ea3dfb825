//! A server process that ends with the test, however the test ends.
//!
//! A panic drops the handle, but a static is never dropped and a killed test drops nothing. So between the test and its
//! server stands a shell that holds the reading end of a pipe: when the test is gone the pipe closes, and the shell kills
//! that one process which it started.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Starts the arguments as a process, says its number, and ends with it. Ends it when standard input closes, and then
/// removes the folder that is the first argument, unless that is empty.
const GUARD: &str = r#"
folder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- >&2 &
server=$!
echo "$server"
exec >&2
{
    read -r _ <&3
    trap '' TERM
    kill -KILL "$server"
    if [ -n "$folder" ]; then
        sleep 1
        rm -rf "$folder"
    fi
} 2>/dev/null &
watch=$!
wait "$server"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"#;

/// Lines of a log that are shown when its process has failed.
const SHOWN_LINES: usize = 40;
/// A killed process has ended within this time.
const END: Duration = Duration::from_secs(30);

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    guard: Child,
    pid: Pid,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts `program` in the network namespace of the calling thread; what it prints goes to `<folder>/<name>.log`.
    /// With `remove` the folder is removed when the test has gone without doing it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, program: &Path, arguments: &[String], folder: &Path, remove: bool) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).expect("the folder is ours");
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD, name])
            .arg(if remove { folder } else { Path::new("") })
            .arg(program)
            .args(arguments)
            .env("NO_PROXY", "*")
            // Ctrl-C is for the test; what it does to us comes through the pipe.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .expect("there is a shell");
        let mut number = String::new();
        let stdout = guard.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut number).expect("the shell says the number");
        let pid = Pid::from_raw(number.trim().parse().expect("a process id is a number"));
        Self { name: name.to_owned(), guard, pid, log }
    }

    /// Looks whether it still runs.
    ///
    /// # Panics
    /// If it has ended by itself; shows the end of its log.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.guard.try_wait().expect("it is our child") {
            panic!("{} ended with {status}:\n{}", self.name, self.log_end());
        }
    }

    /// The last lines it has printed.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("the process runs");
    }

    /// Stops it (SIGSTOP), and waits until all of its threads have stopped: on a busy machine they go on for a while.
    ///
    /// # Panics
    /// If it has ended.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let threads = PathBuf::from(format!("/proc/{}/task", self.pid));
        let stopped = || {
            std::fs::read_dir(&threads).expect("it has threads").flatten().all(|thread| {
                // The state stands behind the name in parentheses. A thread that has ended has no file.
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
            })
        };
        while !stopped() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until it has ended by itself. `None` if it has not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.guard.try_wait().expect("it is our child") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        if self.wait(END).is_none() {
            // The shell did not do its work.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.guard.kill();
            let _ = self.guard.wait();
        }
    }
}
