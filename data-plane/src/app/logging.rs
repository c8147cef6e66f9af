//! The log of the program itself: levels, components, where to.

use tracing_subscriber::EnvFilter;

use super::cli::LogChoice;

/// Sets up the process-wide logger; a second call changes nothing.
pub(super) fn install(choice: &LogChoice) {
    let mut filter = level(&choice.level).to_owned();
    for part in choice.components.iter().flat_map(|text| text.split(',')) {
        if let Some((component, own)) = part.split_once(':') {
            filter.push_str(&format!(",{}={}", target(component), level(own)));
        }
    }
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    let file = choice
        .path
        .as_ref()
        .and_then(|path| std::fs::OpenOptions::new().create(true).append(true).open(path).ok());
    // Another logger that is there already (a program that embeds this one) stays.
    let _already_there = match file {
        Some(file) => builder.with_writer(std::sync::Mutex::new(file)).try_init(),
        None => builder.with_writer(std::io::stderr).try_init(),
    };
}

/// Envoy's level names in the logger's words.
fn level(name: &str) -> &'static str {
    match name {
        "trace" => "trace",
        "debug" => "debug",
        "warning" | "warn" => "warn",
        "error" | "err" | "critical" => "error",
        "off" => "off",
        _ => "info",
    }
}

/// The module that does what Envoy's component does; an unknown one names nothing of ours.
fn target(component: &str) -> &'static str {
    match component {
        "admin" => "data_plane::admin",
        "config" => "data_plane::config",
        "connection" | "conn_handler" => "data_plane::listener",
        "http" | "http2" | "router" | "filter" => "data_plane::http",
        "pool" | "upstream" | "client" => "data_plane::cluster",
        "grpc" => "data_plane::xds",
        _ => "data_plane::none",
    }
}
