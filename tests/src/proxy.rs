//! A proxy process, ours or Envoy, with a bootstrap of its own in a folder of its own.
//!
//! Listeners ask for port 0; where they listen is read from the admin interface. The process
//! ends by its id when the value is dropped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{self, Response};
use crate::{binaries, wait};

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Envoy.
    Envoy,
    /// Our data plane with its additions.
    Ours,
    /// Our data plane as Envoy would behave.
    OursAsEnvoy,
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    folder: TempDir,
    admin: SocketAddr,
}

impl Proxy {
    /// Starts a proxy and waits until it is ready. In the bootstrap `{{folder}}` stands for the
    /// proxy's own folder; its admin interface should ask for port 0.
    ///
    /// # Panics
    /// Where it cannot be started or does not become ready; its words are in the message.
    #[must_use]
    pub fn start(kind: Kind, bootstrap: &str) -> Self {
        Self::start_with(kind, bootstrap, &[])
    }

    /// As `start`, with more arguments; one worker where they do not say how many.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_with(kind: Kind, bootstrap: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the proxy");
        let text = bootstrap.replace("{{folder}}", &folder.path().to_string_lossy());
        let file = folder.path().join("bootstrap.yaml");
        fs::write(&file, text).expect("the bootstrap can be written");
        let mut command = command(kind);
        command.arg("-c").arg(&file).args(more);
        if !more.contains(&"--concurrency") {
            command.args(["--concurrency", "1"]);
        }
        Self::run(command, folder)
    }

    /// Runs a prepared command of a proxy; its admin address is added.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn run(mut command: Command, folder: TempDir) -> Self {
        let address_file = folder.path().join("admin");
        command.arg("--admin-address-path").arg(&address_file);
        let child = spawn(&mut command, folder.path());
        let mut proxy = Self { child, folder, admin: SocketAddr::from(([127, 0, 0, 1], 0)) };
        proxy.admin = wait::until("the admin address", || {
            proxy.check_alive();
            fs::read_to_string(&address_file).ok()?.trim().parse().ok()
        });
        wait::until("readiness", || {
            proxy.check_alive();
            proxy.admin("/ready").filter(|answer| answer.status() == 200)
        });
        proxy
    }

    /// The admin interface's address.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The proxy's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    /// Where the system does not tell.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("VmRSS in the process's status")
    }

    /// An admin page, if it answers.
    #[must_use]
    pub fn admin(&self, target: &str) -> Option<Response> {
        client::get(self.admin, target).ok()
    }

    /// A POST to the admin interface, if it answers.
    #[must_use]
    pub fn admin_post(&self, target: &str) -> Option<Response> {
        client::ask(self.admin, "POST", target).ok()
    }

    /// Where a listener of this name listens.
    ///
    /// # Panics
    /// Where `/listeners` does not name it in time.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        wait::until(name, || {
            let page = self.admin("/listeners")?.text();
            let address = page.lines().find_map(|line| line.strip_prefix(&format!("{name}::")))?;
            address.trim().parse().ok()
        })
    }

    /// What it wrote to stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.folder.path().join("stderr"))
    }

    /// What it wrote to stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.folder.path().join("stdout"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        wait::until("the end of the proxy", || self.ended())
    }

    fn check_alive(&mut self) {
        if let Some(status) = self.ended() {
            panic!("the proxy ended with {status}:\n{}", self.stderr());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command of a kind of proxy, without a configuration.
#[must_use]
pub fn command(kind: Kind) -> Command {
    match kind {
        Kind::Envoy => {
            let mut command = Command::new(binaries::envoy());
            command.args(["--use-dynamic-base-id", "-l", "warn"]);
            command.args(["--file-flush-interval-msec", "5"]);
            command
        }
        Kind::Ours => Command::new(binaries::data_plane()),
        Kind::OursAsEnvoy => {
            let mut command = Command::new(binaries::data_plane());
            command.args(["--compat", "envoy", "--file-flush-interval-msec", "5"]);
            command
        }
    }
}

/// Starts a command with its output in files of `folder`.
///
/// # Panics
/// Where it cannot be started.
#[must_use]
pub fn spawn(command: &mut Command, folder: &Path) -> Child {
    let file = |name: &str| File::create(folder.join(name)).expect("a file for output");
    command
        .stdin(std::process::Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", command.get_program()))
}

fn read(path: &PathBuf) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
