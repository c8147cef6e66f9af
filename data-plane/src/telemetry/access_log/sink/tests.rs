//! Sinks against real files and a pipe that nobody reads.

use std::time::Duration;

use super::*;
use crate::telemetry::stats::{Registry, Scope};

const W0: WorkerId = WorkerId::worker(0);
const W1: WorkerId = WorkerId::worker(1);
const LONG: Duration = Duration::from_secs(60);

fn logs(options: LogOptions) -> (Logs, Group<FilesystemStat>) {
    let stats = Registry::new(2).group::<FilesystemStat>(Scope::plain("filesystem."));
    (Logs::new(2, options, stats.clone()), stats)
}

fn slow() -> LogOptions {
    LogOptions { interval: LONG, ..LogOptions::default() }
}

fn line(sink: &Sink, worker: WorkerId, text: &str) {
    sink.line(worker, |out| out.extend_from_slice(text.as_bytes()));
}

#[test]
fn lines_of_all_workers_reach_the_file_when_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (logs, stats) = logs(slow());
    let sink = logs.sink(&Target::File(path.clone())).unwrap();
    line(&sink, W0, "a\n");
    line(&sink, W1, "b\n");
    line(&sink, WorkerId::CONTROL, "c\n");
    logs.flush(LONG);
    let mut lines: Vec<_> =
        std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a", "b", "c"]);
    assert_eq!(stats.value(FilesystemStat::WriteBuffered), 3);
    assert_eq!(stats.value(FilesystemStat::WriteTotalBuffered), 0);
    assert_eq!(stats.value(FilesystemStat::WriteCompleted), 1);
}

#[test]
fn reopening_writes_to_the_new_file_after_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let (logs, _) = logs(slow());
    let sink = logs.sink(&Target::File(path.clone())).unwrap();
    line(&sink, W0, "old\n");
    logs.flush(LONG);
    std::fs::rename(&path, &rotated).unwrap();
    logs.reopen();
    line(&sink, W0, "new\n");
    logs.flush(LONG);
    assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "old\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
}

#[test]
fn the_same_file_is_one_sink_and_a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, _) = logs(slow());
    let target = Target::File(folder.path().join("log"));
    let (a, b) = (logs.sink(&target).unwrap(), logs.sink(&target).unwrap());
    assert!(Arc::ptr_eq(&a.inner, &b.inner));
    let missing = Target::File(folder.path().join("no/such/log"));
    assert_eq!(logs.sink(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_dropped_sink_writes_what_it_holds_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (logs, _) = logs(slow());
    let sink = logs.sink(&Target::File(path.clone())).unwrap();
    line(&sink, W0, "last\n");
    let buffers = Arc::downgrade(&sink.inner.buffers);
    drop(sink);
    while buffers.strong_count() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "last\n");
}

#[test]
fn a_blocked_target_costs_lines_and_never_the_caller() {
    // A pipe without a reader of its content: the writer blocks after its capacity.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (logs, stats) = logs(LogOptions { interval: LONG, min_flush: 1024 });
    let sink = logs.sink(&Target::File(path)).unwrap();
    let text = format!("{}\n", "x".repeat(1023));
    let total: u64 = 4096;
    for _ in 0..total {
        line(&sink, W0, &text);
    }
    // Pipe capacity, the queue and a buffer in the writer's hand got through; the rest did not.
    assert!(logs.dropped() > total / 2, "{} dropped", logs.dropped());
    assert_eq!(stats.value(FilesystemStat::WriteBuffered), total);
    drop(reader);
}

#[test]
fn a_line_is_written_after_the_interval_without_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (logs, stats) =
        logs(LogOptions { interval: Duration::from_millis(1), ..LogOptions::default() });
    let sink = logs.sink(&Target::File(path.clone())).unwrap();
    for round in 1..4 {
        line(&sink, W0, "tick\n");
        while stats.value(FilesystemStat::WriteCompleted) < round {
            std::thread::yield_now();
        }
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "tick\n".repeat(3));
    assert!(stats.value(FilesystemStat::FlushedByTimer) >= 3);
}
