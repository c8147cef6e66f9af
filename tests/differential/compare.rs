//! Differences between two outcomes, one an aspect, in words that can be acted on.

use std::fs::OpenOptions;
use std::io::Write as _;

use tests::stats::Stats;

use crate::known::Known;
use crate::outcome::Outcome;

/// Aspects that differ and have no known reason.
pub(crate) fn differences(
    family: &str,
    case: &str,
    envoy: &Outcome,
    ours: &Outcome,
    known: &mut Known,
) -> Vec<String> {
    let aspects = [
        ("response", of_texts(&envoy.responses, &ours.responses)),
        ("upstream", of_texts(&envoy.upstream, &ours.upstream)),
        ("log", of_texts(&envoy.log, &ours.log)),
        ("spans", of_texts(&envoy.spans, &ours.spans)),
        ("counters", of_counters(&envoy.counters, &ours.counters)),
    ];
    let mut differences = Vec::new();
    for (aspect, text) in aspects {
        if let Some(text) = text
            && !known.covers(case, aspect)
        {
            differences.push(format!("== {family} / {case} / {aspect}\n{text}"));
        }
    }
    differences
}

/// Appends the differences to the file that the environment names.
pub(crate) fn report(differences: &[String]) {
    let Some(path) = std::env::var_os("DIFFERENTIAL_REPORT") else { return };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.expect("the report can be written");
    for difference in differences {
        writeln!(file, "{difference}\n").expect("the report can be written");
    }
}

fn of_texts(envoy: &[String], ours: &[String]) -> Option<String> {
    if envoy == ours {
        return None;
    }
    let (envoy, ours) = (envoy.join("\n--\n"), ours.join("\n--\n"));
    Some(by_line(&envoy, &ours))
}

/// Lines that one side alone has; where all lines agree, their order differs.
fn by_line(envoy: &str, ours: &str) -> String {
    let only = |sign: &str, of: &str, not: &str| -> String {
        let mut others: Vec<&str> = not.lines().collect();
        let mut text = String::new();
        for line in of.lines() {
            match others.iter().position(|other| *other == line) {
                Some(at) => drop(others.remove(at)),
                None => text += &format!("  {sign} {}\n", shortened(line)),
            }
        }
        text
    };
    let text = only("envoy:", envoy, ours) + &only("ours: ", ours, envoy);
    if text.is_empty() { format!("  order differs: {ours}") } else { text.trim_end().to_owned() }
}

fn of_counters(envoy: &Stats, ours: &Stats) -> Option<String> {
    let mut lines = Vec::new();
    for name in envoy.keys().chain(ours.keys().filter(|name| !envoy.contains_key(*name))) {
        let (envoy, ours) = (envoy.get(name).unwrap_or(&0), ours.get(name).unwrap_or(&0));
        if envoy != ours {
            lines.push(format!("  {name}: envoy +{envoy}, ours +{ours}"));
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(400) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
