//! `validate -c FILE`: reads a bootstrap, checks and parses it, and says what is wrong with it.
//!
//! A tool for working on `config`: the pipeline of `--mode validate` up to the model.

use std::io::Write;
use std::process::ExitCode;

use data_plane::config::bootstrap;
use data_plane::config::data_source::DataSources;
use data_plane::config::error::Problems;
use data_plane::config::extension::{Body, ExtensionConfig, ExtensionParser};
use data_plane::config::resource::ParseCx;
use data_plane::config::support;
use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::rules::PolicyRow;
use proto::text::{ReadOptions, SourceMap};

struct Machine;

impl DataSources for Machine {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Stands for the router, whatever it says.
struct Router;

impl ExtensionParser for Router {
    fn name(&self) -> &'static str {
        "envoy.filters.http.router"
    }

    fn message(&self) -> &'static str {
        "envoy.extensions.filters.http.router.v3.Router"
    }

    fn terminal(&self) -> bool {
        true
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        &[(
            "envoy.extensions.filters.http.router.v3.Router",
            &["dynamic_stats", "suppress_envoy_headers", "start_child_span"],
            &[],
        )]
    }

    fn parse(&self, _: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        Ok(ExtensionConfig::new(self.message(), ()))
    }
}

static FILTERS: &[&dyn ExtensionParser] = &[&Router];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let Some(path) = args.iter().position(|a| a == "-c").and_then(|at| args.get(at + 1)) else {
        say("usage: validate [--mode validate] -c FILE");
        return ExitCode::from(2);
    };
    match run(path, &args) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            say(&text);
            ExitCode::from(64)
        }
    }
}

fn run(path: &str, args: &[String]) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let mut read = proto::text::parse::<Bootstrap>(path, &bytes, &ReadOptions::default())
        .map_err(|diagnostics| diagnostics.to_string())?;
    let flag = |name: &str| Some(args.get(args.iter().position(|a| a == name)? + 1)?.clone());
    let node = read.message.node.get_or_insert_default();
    node.id = flag("--service-node").unwrap_or_else(|| node.id.clone());
    node.cluster = flag("--service-cluster").unwrap_or_else(|| node.cluster.clone());
    let cx = ParseCx {
        http_filters: FILTERS,
        policy: &support::policy(FILTERS),
        sources: &Machine,
        ..ParseCx::bare()
    };
    let located = |problems| locate(&read.positions, &problems);
    let (config, notes) = bootstrap::parse::decode(read.message.clone(), &cx).map_err(located)?;
    bootstrap::check(&config).map_err(located)?;
    Ok(format!("configuration '{path}' OK\n{notes:#?}"))
}

fn locate(positions: &SourceMap, problems: &Problems) -> String {
    let lines = problems.all().iter().map(|problem| {
        positions.diagnose(&problem.path.to_string(), &problem.reason.to_string()).to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn say(text: &str) {
    // A closed pipe is the reader's choice.
    let _ = writeln!(std::io::stderr(), "{text}");
}
