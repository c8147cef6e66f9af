//! A medium that loses or tears whatever was not synced, at every single operation.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::journal::Journal;
use super::*;

#[derive(Clone, Debug)]
enum Operation {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Operation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length as usize, 0),
            Self::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(data);
            }
        }
    }
}

/// What is on the medium, what only the system's cache has, and how much more it does.
#[derive(Debug, Default)]
struct State {
    synced: Vec<u8>,
    cached: Vec<u8>,
    pending: Vec<Operation>,
    operations: usize,
    last: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Medium(Arc<Mutex<State>>);

impl Medium {
    fn with(bytes: Vec<u8>) -> Self {
        let state = State { synced: bytes.clone(), cached: bytes, ..Default::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A medium with an empty store: a file appears only when it is one.
    fn made() -> Self {
        let medium = Self::default();
        drop(Disk::over(medium.clone()).unwrap());
        let bytes = medium.0.lock().unwrap().synced.clone();
        Self::with(bytes)
    }

    /// Counts an operation that changes something.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if state.last.is_some_and(|last| state.operations >= last) {
            return Err(io::Error::other("the power is gone"));
        }
        state.operations += 1;
        Ok(change(&mut state))
    }

    fn add(&self, operation: Operation) -> io::Result<()> {
        self.change(|state| {
            operation.apply(&mut state.cached);
            state.pending.push(operation);
        })
    }

    /// What may be found afterwards: of what was not synced nothing, all, or some of it, in part
    /// torn.
    fn found(&self) -> Vec<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let mut images = vec![state.synced.clone(), state.cached.clone()];
        let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ state.operations as u64;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below.max(1) as u64) as usize
        };
        for _ in 0..4 {
            let mut image = state.synced.clone();
            for operation in &state.pending {
                match (next(3), operation) {
                    (0, _) => {}
                    (1, Operation::Write(offset, data)) => {
                        let part = data[..next(data.len())].to_vec();
                        Operation::Write(*offset, part).apply(&mut image);
                    }
                    (_, operation) => operation.apply(&mut image),
                }
            }
            images.push(image);
        }
        images
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let from = offset as usize;
        let bytes = state.cached.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.add(Operation::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|state| {
            state.synced = state.cached.clone();
            state.pending.clear();
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.add(Operation::Write(offset, data.to_vec()))
    }
}

fn put(id: &str, record: &str) -> Write {
    let record = Some(record.as_bytes().to_vec());
    Write::Instance { service: "s".to_owned(), id: id.to_owned(), record }
}

fn remove(id: &str) -> Write {
    Write::Instance { service: "s".to_owned(), id: id.to_owned(), record: None }
}

/// Transactions, the last of which move many pages.
fn transactions() -> Vec<Vec<Write>> {
    let many = |text: &str| -> Vec<Write> {
        (0..60).map(|n| put(&format!("n{n:02}"), &text.repeat(100))).collect()
    };
    vec![
        vec![put("a", "1")],
        vec![put("a", "2"), put("b", "1")],
        many("x"),
        vec![remove("a"), put("b", "2"), put("c", "1")],
        many("yz"),
        (0..50).map(|n| remove(&format!("n{n:02}"))).collect(),
        vec![put("d", "1")],
    ]
}

type Records = Vec<(String, String, Vec<u8>)>;

/// How many transactions were done when the power went.
fn run(medium: &Medium) -> Result<usize, Failure> {
    let disk = Disk::over(medium.clone())?;
    let all = transactions();
    Ok(all.iter().take_while(|writes| disk.commit(writes).is_ok()).count())
}

/// The records after each number of transactions, from 0.
fn expected() -> Vec<Records> {
    let disk = Disk::open(&Location::Memory).unwrap();
    let mut all = vec![disk.instances().unwrap()];
    for writes in transactions() {
        disk.commit(&writes).unwrap();
        all.push(disk.instances().unwrap());
    }
    all
}

#[test]
fn crash_at_any_operation_leaves_the_old_or_the_new_transaction_whole() {
    let whole = Medium::made();
    let expected = expected();
    assert_eq!(run(&whole).unwrap(), expected.len() - 1);
    let operations = whole.0.lock().unwrap().operations;
    assert!(operations > 50, "{operations} operations are a test");
    let (mut old, mut new) = (0, 0);
    for last in 0..operations {
        let medium = Medium::made();
        medium.0.lock().unwrap().last = Some(last);
        let done = run(&medium).unwrap_or(0);
        for (index, image) in medium.found().into_iter().enumerate() {
            let told =
                |why: &str| format!("power gone after {last} operations, image {index}: {why}");
            let disk = Disk::over(Medium::with(image));
            let disk = disk.unwrap_or_else(|failure| panic!("{}", told(&failure.to_string())));
            let found = disk.instances().unwrap();
            let is_old = found == expected[done];
            let is_new = expected.get(done + 1).is_some_and(|next| found == *next);
            assert!(is_old || is_new, "{}", told("neither the old nor the new state"));
            (old, new) = (old + usize::from(is_old), new + usize::from(is_new && !is_old));
            disk.commit(&[put("z", "1")]).expect("it can be written again");
        }
    }
    println!("{operations} operations: {old} times the old state, {new} times the new one");
    assert!(old > 0 && new > 0, "both were seen");
}

#[test]
fn file_is_the_owners_alone_and_has_one_user() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/gomesh/xds-server.redb");
    let disk = Disk::open(&Location::File(path.clone())).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1, "nothing is left over");
    let second = Disk::open(&Location::File(path.clone())).expect_err("it is in use");
    assert!(matches!(second, Failure::InUse(_)), "{second}");
    disk.commit(&[put("a", "1")]).unwrap();
    drop(disk);
    let again = Disk::open(&Location::File(path.clone())).unwrap();
    assert_eq!(again.instances().unwrap().len(), 1);
    drop(again);
    std::fs::write(&path, "not a store").unwrap();
    let wrong = Disk::open(&Location::File(path)).expect_err("not ours");
    assert!(wrong.to_string().contains("xds-server.redb"), "{wrong}");
}

/// A write that fails is told, tried again, and on the medium in the end, with what came later.
#[test]
fn journal_catches_up_after_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("store"));
    drop(Disk::open(&location).unwrap());
    let medium = Medium::default();
    let disk = Disk::over(medium.clone()).unwrap();
    let operations = medium.0.lock().unwrap().operations;
    medium.0.lock().unwrap().last = Some(operations);
    // After the failure it is the file that is opened anew.
    let journal = Journal::spawn(disk, location.clone()).unwrap();
    let written = |id: &str| journal.write(vec![put(id, "1")]).blocking_recv().unwrap();
    assert!(written("a").expect_err("the power is gone").contains("power"));
    assert_eq!(written("b"), Ok(()));
    drop(journal);
    let ids = || -> Option<Vec<String>> {
        // The thread ends by itself and closes the file then.
        let disk = Disk::open(&location).ok()?;
        Some(disk.instances().unwrap().into_iter().map(|(_, id, _)| id).collect())
    };
    let found = (0..1_000).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        ids()
    });
    assert_eq!(found.expect("the file is closed"), ["a", "b"]);
}

#[test]
fn state_folder_is_found_as_documented() {
    let standard = |set: &[(&str, &str)]| {
        let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Location::standard(value)
    };
    let file = |path: &str| Some(Location::File(path.into()));
    let all = [("STATE_DIRECTORY", "/s:/t"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(standard(&all), file("/s/xds-server.redb"));
    assert_eq!(standard(&all[1..]), file("/x/gomesh/xds-server.redb"));
    assert_eq!(standard(&all[2..]), file("/h/.local/state/gomesh/xds-server.redb"));
    assert_eq!(standard(&[("HOME", "")]), None);
}
