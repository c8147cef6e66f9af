//! Control planes as processes: our `xds-server`, and one on go-control-plane.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{binaries, client, proxy, wait};

/// Our `xds-server` over a folder of resources or a mesh file.
pub struct XdsServer {
    child: Child,
    folder: TempDir,
    /// Where it serves xDS.
    pub xds: SocketAddr,
    /// Its pages.
    pub admin: SocketAddr,
}

impl XdsServer {
    /// Starts it with these resources and waits until it serves.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start(resources: &[Value]) -> Self {
        let folder = folder_of(resources);
        let source = folder.path().join("resources");
        Self::run(folder, "--resources", &source)
    }

    /// Starts it with this mesh file and waits until it serves.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start_mesh(mesh: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mesh.yaml");
        put(&file, mesh);
        Self::run(folder, "--config", &file)
    }

    /// Starts it without a file: all that it serves comes by its API.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start_alone() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        Self::started(folder, command().arg("--state").arg(state))
    }

    fn run(folder: TempDir, flag: &str, source: &Path) -> Self {
        Self::started(folder, command().arg(flag).arg(source))
    }

    fn started(folder: TempDir, command: &mut Command) -> Self {
        command.env("STATE_DIRECTORY", folder.path().join("state"));
        let child = proxy::spawn(command, folder.path());
        let (xds, admin) = wait::until("the addresses of xds-server", || {
            let log = fs::read_to_string(folder.path().join("stderr")).ok()?;
            let address = |key: &str| {
                let rest = log.split(&format!("{key}=")).nth(1)?;
                rest.split_whitespace().next()?.parse::<SocketAddr>().ok()
            };
            Some((address("xds")?, address("admin")?))
        });
        Self { child, folder, xds, admin }
    }

    /// Kills it as `kill -9` does and starts it anew, with the same files, on other ports.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn killed_and_restarted(mut self) -> Self {
        end(&mut self.child);
        // Taken out, since a value that is dropped cannot be taken apart.
        let empty = tempfile::tempdir().expect("a folder");
        let folder = std::mem::replace(&mut self.folder, empty);
        let file = folder.path().join("mesh.yaml");
        let mut command = command();
        match file.exists() {
            true => command.arg("--config").arg(file),
            false => command.arg("--state").arg(folder.path().join("state")),
        };
        Self::started(folder, &mut command)
    }

    /// Lets it refuse these resources at its start: its exit code and what it wrote to stderr.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn refuse(resources: &[Value], flags: &[&str]) -> (Option<i32>, String) {
        let folder = folder_of(resources);
        let mut command = command();
        command.arg("--resources").arg(folder.path().join("resources")).args(flags);
        let mut child = proxy::spawn(&mut command, folder.path());
        let ended = wait::within(wait::PATIENCE, || child.try_wait().ok().flatten());
        end(&mut child);
        let said = fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
        (ended.and_then(|status| status.code()), said)
    }

    /// Replaces the resources, by a rename.
    pub fn set(&self, resources: &[Value]) {
        write(self.folder.path(), resources);
    }

    /// Replaces the mesh file, by a rename.
    pub fn set_mesh(&self, mesh: &str) {
        put(&self.folder.path().join("mesh.yaml"), mesh);
    }

    /// What it says of its nodes.
    #[must_use]
    pub fn nodes(&self) -> Option<Value> {
        serde_json::from_slice(&client::get(self.admin, "/v1/nodes").ok()?.body.bytes).ok()
    }

    /// What it logged until now.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for XdsServer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A control plane on go-control-plane, built from `interop/gocp`.
pub struct GoControlPlane {
    child: Child,
    input: ChildStdin,
    folder: TempDir,
    /// Where it serves xDS.
    pub xds: SocketAddr,
}

impl GoControlPlane {
    /// Builds and starts it; it serves nothing yet.
    ///
    /// # Panics
    /// Where Go is missing or the program does not build or start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = binaries::root().join("tests/interop/gocp");
        let program = folder.path().join("gocp");
        let mut build = Command::new("go");
        build.current_dir(source).args(["build", "-o"]).arg(&program).arg(".");
        assert!(build.status().expect("Go is needed").success(), "gocp does not build");
        let output = |name: &str| fs::File::create(folder.path().join(name)).expect("a file");
        let mut command = Command::new(&program);
        command.stdin(Stdio::piped()).stdout(output("stdout")).stderr(output("stderr"));
        let mut child = command.spawn().expect("gocp can be started");
        let input = child.stdin.take().expect("its input is a pipe");
        let xds = wait::until("the address of gocp", || {
            let said = fs::read_to_string(folder.path().join("stdout")).ok()?;
            said.lines().next()?.strip_prefix("listening ")?.parse().ok()
        });
        Self { child, input, folder, xds }
    }

    /// Serves a snapshot.
    ///
    /// # Panics
    /// Where the program refuses it.
    pub fn set(&mut self, version: &str, resources: &[Value]) {
        let line = json!({"version": version, "resources": resources});
        writeln!(self.input, "{line}").expect("gocp reads its input");
        let said = format!("set {version}");
        wait::until(&said, || self.said().lines().any(|line| line == said).then_some(()));
    }

    /// What it said until now.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }
}

impl Drop for GoControlPlane {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn command() -> Command {
    let mut command = Command::new(binaries::xds_server());
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command
}

/// A folder with a folder `resources`.
fn folder_of(resources: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("resources")).expect("a folder of resources");
    write(folder.path(), resources);
    folder
}

fn write(folder: &Path, resources: &[Value]) {
    let file = folder.join("resources").join("all.json");
    put(&file, &json!({"resources": resources}).to_string());
}

/// Puts a text into a file by a rename.
fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("the new file");
    fs::rename(&new, file).expect("a rename");
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
