//! `validate -c FILE`: reads a bootstrap, checks and parses it, and says what is wrong with it.
//!
//! A tool for working on `config`: the pipeline of `--mode validate` up to the model.

use std::io::Write;
use std::process::ExitCode;

use data_plane::config::bootstrap;
use data_plane::config::data_source::DataSources;
use data_plane::config::error::Problems;
use data_plane::config::resource::ParseCx;
use proto::envoy::config::bootstrap::v3::Bootstrap;
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

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let Some(path) = args.iter().position(|a| a == "-c").and_then(|at| args.get(at + 1)) else {
        say("usage: validate [--mode validate] -c FILE");
        return ExitCode::from(2);
    };
    match run(path) {
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

fn run(path: &str) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let read = proto::text::parse::<Bootstrap>(path, &bytes, &ReadOptions::default())
        .map_err(|diagnostics| diagnostics.to_string())?;
    let cx = ParseCx { sources: &Machine, ..ParseCx::bare() };
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
