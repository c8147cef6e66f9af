//! `/logging`: levels of the loggers.

use std::fmt::Write;

use super::super::UnknownLogger;
use super::super::reply::Reply;
use super::super::view::{LogChange, LogLevel};
use super::Call;

const USAGE: &str = "
usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
usage: /logging?group=<group_name>:<level> (change group of loggers)
levels: trace debug info warning error critical off \n";

pub(super) fn page(call: &Call<'_>) -> Reply {
    let changed = change(call).and_then(|change| match change {
        None => Ok(()),
        Some(change) => {
            call.state.set_log_levels(&change).map_err(|UnknownLogger| "unknown logger name")
        }
    });
    let mut out = String::new();
    if let Err(error) = changed {
        out = format!("error: {error}\n{USAGE}");
    }
    out.push_str("active loggers:\n");
    for (name, level) in call.state.loggers() {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name}: {}", level.as_str());
    }
    out.push('\n');
    Reply::error(if changed.is_err() { 400 } else { 200 }, out)
}

fn change(call: &Call<'_>) -> Result<Option<LogChange>, &'static str> {
    let level = |name: &str| LogLevel::parse(name).ok_or("unknown logger level");
    let (key, value) = match call.params.pairs() {
        [] => return Ok(None),
        [(key, value)] => (key.as_str(), value.as_str()),
        _ => return Err("invalid number of parameters"),
    };
    match (key, value) {
        // The page's own form sends an empty value when nothing was chosen.
        ("level" | "paths" | "group", "") => Ok(None),
        ("level", value) => Ok(Some(LogChange::All(level(value)?))),
        ("group", _) => Err("group parameter requires fine-grain logging to be enabled"),
        ("paths", value) => {
            let pair = |part: &str| {
                let (name, value) =
                    part.rsplit_once(':').ok_or("empty logger name or empty logger level")?;
                Ok((name.to_owned(), level(value)?))
            };
            let pairs: Result<Vec<_>, &str> = value.split(',').map(pair).collect();
            Ok(Some(LogChange::Some(pairs?)))
        }
        (name, value) => Ok(Some(LogChange::Some(vec![(name.to_owned(), level(value)?)]))),
    }
}
