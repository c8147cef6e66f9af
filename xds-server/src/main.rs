//! The program: logs to stderr, everything else is the library's.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("xds-server: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(xds_server::cli::run(std::env::args_os()));
    // Readings of files that still run must not hold up the end.
    runtime.shutdown_background();
    code
}
