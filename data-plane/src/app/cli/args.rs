//! Flags: all of Envoy 1.40's (done, or accepted as drop-in notes say) and ours.
//!
//! `--flag value`, `--flag=value` and both as one element (`"--flag value"`, as consul-dataplane
//! passes them) are the same. `-config FILE`, the seed's flag, is `--config FILE`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::COMMIT;

/// What the program was called for.
pub(super) enum Invocation {
    /// Ask a running data plane whether it is ready.
    HealthCheck {
        /// Address of its admin interface.
        admin: String,
    },
    /// Serve, or validate.
    Serve(Box<Args>),
}

/// The call is answered already.
pub(super) enum Stop {
    /// Help or version.
    Print(String),
    /// A wrong flag: what and what to do.
    Wrong(String),
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Serve.
    Serve,
    /// Check the configuration and end.
    Validate,
    /// As validate.
    #[value(name = "init_only")]
    InitOnly,
}

/// All flags.
#[derive(Clone, Debug, Parser)]
#[command(name = "data-plane", about = "Envoy-compatible proxy, driven by any xDS control plane")]
#[command(disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Sub>,

    /// Envoy bootstrap (YAML, JSON or binary)
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_path: Option<String>,
    /// Envoy bootstrap as text, merged over the file
    #[arg(long, value_name = "YAML")]
    pub config_yaml: Option<String>,
    /// Zero-config file (proxy, backend, timeouts, admin); watched
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// serve, validate (check and end), init_only
    #[arg(long, value_enum, default_value = "serve")]
    pub mode: Mode,
    /// Same as --mode validate
    #[arg(long)]
    validate: bool,
    /// Worker threads; default: processors of this process
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u16>,
    /// trace, debug, info, warning, error, critical, off
    #[arg(short = 'l', long, default_value = "info")]
    pub log_level: String,
    /// Levels of components: upstream:debug,http:trace
    #[arg(long)]
    pub component_log_level: Option<String>,
    /// File for the log instead of stderr
    #[arg(long)]
    pub log_path: Option<String>,
    /// Pace of listener drains in seconds
    #[arg(long, default_value_t = 600)]
    pub drain_time_s: u64,
    /// gradual or immediate
    #[arg(long, value_parser = ["gradual", "immediate"], default_value = "gradual")]
    pub drain_strategy: String,
    /// At the end, what is in flight may take this many seconds (default 5)
    #[arg(long)]
    shutdown_grace_s: Option<u64>,
    /// Overrides node.cluster
    #[arg(long)]
    pub service_cluster: Option<String>,
    /// Overrides node.id
    #[arg(long)]
    pub service_node: Option<String>,
    /// Overrides node.locality.zone
    #[arg(long)]
    pub service_zone: Option<String>,
    /// File that gets the address of the admin interface
    #[arg(long)]
    pub admin_address_path: Option<String>,
    /// Milliseconds that an access log line may wait
    #[arg(long, default_value_t = 10_000)]
    pub file_flush_interval_msec: u64,
    /// KiB of access log lines that are written at once
    #[arg(long, default_value_t = 64)]
    pub file_flush_min_size_kb: usize,
    /// Skip unknown fields in the bootstrap
    #[arg(long)]
    pub allow_unknown_static_fields: bool,
    /// Deprecated form of the above
    #[arg(long)]
    pub allow_unknown_fields: bool,
    /// Refuse xDS resources with unknown fields
    #[arg(long)]
    pub reject_unknown_dynamic_fields: bool,
    /// envoy: nothing on the wire that Envoy would not send
    #[arg(long, value_parser = ["envoy", "gomesh"])]
    pub compat: Option<String>,
    /// Two JSON lines a request on stderr
    #[arg(long)]
    pub request_log: bool,
    /// Zero-config: /metrics and /panic on the data port, whatever the host
    #[arg(long, overrides_with = "no_builtin_paths")]
    builtin_paths: bool,
    /// Zero-config: neither
    #[arg(long)]
    no_builtin_paths: bool,
    /// Version
    #[arg(long, action = ArgAction::SetTrue)]
    version: bool,
    #[command(flatten)]
    accepted: Accepted,
}

/// Flags of Envoy that are accepted and change nothing here.
#[derive(Clone, Debug, clap::Args)]
struct Accepted {
    #[arg(long, hide = true)]
    log_format: Option<String>,
    #[arg(long, hide = true)]
    log_format_escaped: bool,
    #[arg(long, hide = true)]
    cpuset_threads: bool,
    #[arg(long, hide = true)]
    parent_shutdown_time_s: Option<u64>,
    #[arg(long, hide = true)]
    disable_hot_restart: bool,
    #[arg(long, hide = true)]
    restart_epoch: Option<u32>,
    #[arg(long, hide = true)]
    base_id: Option<u32>,
    #[arg(long, hide = true)]
    base_id_path: Option<String>,
    #[arg(long, hide = true)]
    use_dynamic_base_id: bool,
    #[arg(long, hide = true)]
    socket_path: Option<String>,
    #[arg(long, hide = true)]
    socket_mode: Option<String>,
    #[arg(long, hide = true)]
    hot_restart_version: bool,
    #[arg(long, hide = true)]
    skip_hot_restart_parent_stats: bool,
    #[arg(long, hide = true)]
    skip_hot_restart_on_no_parent: bool,
    #[arg(long, hide = true)]
    local_address_ip_version: Option<String>,
    #[arg(long, hide = true)]
    ignore_unknown_dynamic_fields: bool,
    #[arg(long, hide = true)]
    skip_deprecated_logs: bool,
    #[arg(long, hide = true)]
    stats_tag: Vec<String>,
    #[arg(long, hide = true)]
    disable_extensions: Option<String>,
    #[arg(long, hide = true)]
    enable_fine_grain_logging: bool,
    #[arg(long, hide = true)]
    log_stacktrace_single_entry: bool,
    #[arg(long, hide = true)]
    enable_mutex_tracing: bool,
    #[arg(long, hide = true)]
    enable_core_dump: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Sub {
    /// Ask /ready of a running data plane; exit 0 if it is
    Healthcheck {
        /// Address of the admin interface
        #[arg(long, default_value = "127.0.0.1:9901")]
        admin: String,
    },
}

impl Args {
    /// `--shutdown-grace-s`, where it was given.
    pub(super) fn shutdown_grace(&self) -> Option<Duration> {
        self.shutdown_grace_s.map(Duration::from_secs)
    }

    /// Whether the built-in paths were asked for or against; `None` lets the host decide.
    pub(super) fn builtin_paths(&self) -> Option<bool> {
        match (self.builtin_paths, self.no_builtin_paths) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// What `/server_info` shows.
    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let mut shown = vec![("log_level".to_owned(), self.log_level.clone())];
        let texts = [
            ("config_path", &self.config_path),
            ("config_yaml", &self.config_yaml),
            ("service_cluster", &self.service_cluster),
            ("service_node", &self.service_node),
            ("service_zone", &self.service_zone),
        ];
        for (name, value) in texts {
            shown.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        shown
    }
}

/// Reads the command line.
pub(super) fn parse(argv: Vec<OsString>) -> Result<Invocation, Stop> {
    let mut args = Args::try_parse_from(normalize(argv)).map_err(|error| {
        let text = error.to_string();
        if error.use_stderr() { Stop::Wrong(first_lines(&text)) } else { Stop::Print(text) }
    })?;
    if args.version {
        let version = env!("CARGO_PKG_VERSION");
        return Err(Stop::Print(format!(
            "\ndata-plane  version: {COMMIT}/1.40.0/Clean/RELEASE/rustls\ngomesh {version}\n\n"
        )));
    }
    if args.accepted.restart_epoch.is_some_and(|epoch| epoch > 0) {
        let text = "--restart-epoch above 0: hot restart is not supported; start a new process";
        return Err(Stop::Wrong(text.to_owned()));
    }
    if args.validate {
        args.mode = Mode::Validate;
    }
    match args.command.take() {
        Some(Sub::Healthcheck { admin }) => Ok(Invocation::HealthCheck { admin }),
        None => Ok(Invocation::Serve(Box::new(args))),
    }
}

/// The error itself without the long usage.
fn first_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("Usage")).collect();
    lines.join("\n").trim_end().to_owned()
}

/// One element `"--flag value"` becomes two, and `-config` what it was in the seed.
fn normalize(argv: Vec<OsString>) -> Vec<OsString> {
    let mut out = Vec::with_capacity(argv.len());
    for (at, arg) in argv.into_iter().enumerate() {
        match arg.to_str() {
            Some("-config") => out.push("--config".into()),
            Some(text) if text.starts_with("-config=") => out.push(format!("-{text}").into()),
            Some(text) if at > 0 && text.starts_with("--") && !text.contains('=') => {
                match text.split_once(' ') {
                    Some((flag, value)) => out.extend([flag.into(), value.trim().into()]),
                    None => out.push(arg),
                }
            }
            _ => out.push(arg),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(argv: &[&str]) -> Args {
        let argv = std::iter::once("data-plane").chain(argv.iter().copied());
        match parse(argv.map(Into::into).collect()) {
            Ok(Invocation::Serve(args)) => *args,
            _ => panic!("{argv:?} is not served", argv = "the call"),
        }
    }

    #[test]
    fn flag_and_value_may_be_one_element_two_or_joined() {
        assert_eq!(args(&["--concurrency 2"]).concurrency, Some(2));
        assert_eq!(args(&["--concurrency", "2"]).concurrency, Some(2));
        assert_eq!(args(&["--concurrency=2"]).concurrency, Some(2));
    }

    #[test]
    fn the_seeds_flag_reads_the_short_form() {
        assert_eq!(args(&["-config", "p.yaml"]).config.as_deref(), Some("p.yaml"));
        assert_eq!(args(&["-config=p.yaml"]).config.as_deref(), Some("p.yaml"));
        assert_eq!(args(&["-c", "b.yaml"]).config_path.as_deref(), Some("b.yaml"));
    }

    #[test]
    fn a_wrong_flag_is_named() {
        let argv = ["data-plane", "--concurency", "2"].map(Into::into).to_vec();
        let Err(Stop::Wrong(text)) = parse(argv) else { panic!("it is wrong") };
        assert!(text.contains("--concurency"), "{text}");
    }

    #[test]
    fn the_version_has_five_parts_for_those_who_parse_it() {
        let Err(Stop::Print(text)) = parse(vec!["data-plane".into(), "--version".into()]) else {
            panic!("it prints")
        };
        let parts = text.split("version: ").nth(1).and_then(|rest| rest.lines().next());
        let parts: Vec<_> = parts.unwrap_or_default().split('/').collect();
        assert_eq!(parts.len(), 5);
        assert_eq!(parts[1], "1.40.0");
    }
}
