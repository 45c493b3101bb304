//! Child programs: started with their output in files, watched line by line, ended by their own pid.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A running child; dropped, it is killed.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `<directory>/<name>.out` and `.err`.
    pub fn start(name: &str, mut command: Command, directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("the run's directory can be made");
        let (out, err) =
            (directory.join(format!("{name}.out")), directory.join(format!("{name}.err")));
        let file = |path: &Path| File::create(path).expect("the run's directory is writable");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, stdin, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to its standard input.
    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open until close_stdin");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the child reads its input");
    }

    /// Everything it has printed so far, standard output first.
    pub fn output(&self) -> String {
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        read(&self.out) + &read(&self.err)
    }

    /// Waits until `found` accepts a line of its output (standard output first, then standard error).
    pub fn wait_for_line<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let until = Instant::now() + timeout;
        loop {
            // Asked before reading: what a dead child has written is all there is.
            let ended = self.child.try_wait().expect("the child is ours");
            if let Some(value) = self.output().lines().find_map(&mut found) {
                return value;
            }
            if let Some(status) = ended {
                panic!("{} ended ({status}) before {what}\n{}", self.name, self.tail());
            }
            if Instant::now() >= until {
                panic!("{}: no {what} within {timeout:?}\n{}", self.name, self.tail());
            }
            sleep(LOOK);
        }
    }

    /// The JSON lines of its standard output whose `event` is `name`, in order.
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.output().lines().filter_map(|line| event(line, name)).collect()
    }

    /// Waits for the `nth` (from 0) event of that name.
    pub fn wait_for_event(&mut self, name: &str, nth: usize, timeout: Duration) -> Value {
        let until = Instant::now() + timeout;
        loop {
            let ended = self.child.try_wait().expect("the child is ours");
            if let Some(value) = self.events(name).into_iter().nth(nth) {
                return value;
            }
            if ended.is_some() || Instant::now() >= until {
                panic!(
                    "{}: no event {name:?} #{nth} within {timeout:?}\n{}",
                    self.name,
                    self.tail()
                );
            }
            sleep(LOOK);
        }
    }

    /// Waits for its own end.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            if Instant::now() >= until {
                panic!("{} still runs after {timeout:?}\n{}", self.name, self.tail());
            }
            sleep(LOOK);
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        let Some(pid) = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw)
        else {
            return;
        };
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    /// The last lines of its output, for a failing test's message.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        let skipped = lines.len().saturating_sub(40);
        format!("--- {} ({})\n{}", self.name, self.out.display(), lines[skipped..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(line: &str, name: &str) -> Option<Value> {
    let value: Value = line.starts_with('{').then(|| serde_json::from_str(line).ok())??;
    (value.get("event")? == name).then_some(value)
}

/// Looks at `condition` until it yields something; panics with `what` when it never does.
pub fn wait_until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        let waited = began.elapsed();
        assert!(waited < timeout, "not within {timeout:?}: {what}");
        // What takes long is looked at seldom: a look may be a program that is started.
        sleep((waited / 20).clamp(LOOK, LOOK * 50));
    }
}

/// Whether a program of that name is on the PATH.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
