//! Leases under a clock that only the tests move.

use std::time::Duration;

use super::*;
use crate::durable::Location;

const SECOND: Duration = Duration::from_secs(1);

/// A book in which `a` is discovered, and a clock.
struct Bench {
    book: Book,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut book = Book::default();
        book.set_services(["a".to_owned()].into(), BTreeSet::new());
        Self { book, now: clock::now() }
    }

    fn register(&mut self, id: &str, keeper: Keeper) -> Registered {
        let spec = spec(id.len() as u16 * 100 + u16::from(id.as_bytes()[0]));
        self.book.register("a", id, spec, keeper, self.now).expect("it is registered")
    }

    fn renewals(&mut self, id: &str) -> Registered {
        self.register(id, Keeper::Renewals)
    }

    /// Lets time pass in steps, as the program does.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now += SECOND;
            self.book.sweep(self.now);
        }
    }

    /// Ids with how they are; stale ones in brackets.
    fn seen(&self) -> String {
        let word = |listed: Listed| match (listed.instance.health(), listed.instance.stale) {
            (health, false) => format!("{}:{health:?}", listed.id),
            (health, true) => format!("({}:{health:?})", listed.id),
        };
        self.book.list("a").into_iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

fn spec(port: u16) -> Spec {
    Spec {
        address: ([10, 0, 0, 1], port).into(),
        labels: Default::default(),
        weight: 1,
        zone: String::new(),
        ttl: 15 * SECOND,
        health: Health::Passing,
    }
}

#[test]
fn renewed_lease_keeps_its_name_and_wakes_no_one() {
    let mut bench = Bench::new();
    let first = bench.renewals("x");
    assert!(first.created);
    let changes = bench.book.changes();
    for round in 0..10 {
        bench.pass(10);
        let again = if round % 2 == 0 {
            bench.renewals("x")
        } else {
            bench.book.renew("a", "x", &first.lease, bench.now).unwrap()
        };
        assert_eq!((again.lease, again.created), (first.lease.clone(), false));
        assert_eq!(again.until, Some(bench.now + 15 * SECOND));
    }
    assert_eq!(bench.seen(), "x:Passing");
    assert_eq!(bench.book.changes(), changes);
}

#[test]
fn missed_lease_is_unhealthy_at_once_and_removed_after_thirty_seconds() {
    let mut bench = Bench::new();
    bench.register("alive", Keeper::NewStream);
    bench.renewals("x");
    bench.pass(14);
    assert_eq!(bench.seen(), "alive:Passing x:Passing");
    bench.pass(1);
    assert_eq!(bench.seen(), "alive:Passing x:Critical");
    bench.pass(29);
    assert_eq!(bench.seen(), "alive:Passing x:Critical");
    bench.pass(1);
    assert_eq!(bench.seen(), "alive:Passing");
    assert_eq!(bench.book.next_deadline(), None);
}

#[test]
fn renewal_brings_back_what_was_lost() {
    let mut bench = Bench::new();
    let given = bench.renewals("x");
    bench.pass(20);
    assert_eq!(bench.seen(), "x:Critical");
    bench.book.renew("a", "x", &given.lease, bench.now).unwrap();
    assert_eq!(bench.seen(), "x:Passing");
}

#[test]
fn outage_never_empties_a_service() {
    let mut bench = Bench::new();
    bench.renewals("x");
    bench.renewals("y");
    bench.pass(3_600);
    assert_eq!(bench.seen(), "(x:Critical) (y:Critical)");
    bench.renewals("y");
    assert_eq!(bench.seen(), "x:Critical y:Passing", "x has a lease's length to come back");
    bench.pass(10);
    bench.renewals("y");
    bench.pass(5);
    assert_eq!(bench.seen(), "y:Passing");
}

#[test]
fn stale_ones_can_be_deregistered() {
    let mut bench = Bench::new();
    bench.renewals("x");
    bench.pass(60);
    assert_eq!(bench.seen(), "(x:Critical)");
    bench.book.deregister("a", "x", "", bench.now).unwrap();
    bench.pass(10);
    assert_eq!(bench.seen(), "");
}

#[test]
fn service_that_the_mesh_dropped_is_not_kept() {
    let mut bench = Bench::new();
    bench.renewals("x");
    bench.book.set_services(BTreeSet::new(), BTreeSet::new());
    bench.pass(45);
    assert_eq!(bench.seen(), "");
    let refused = bench.book.register("a", "x", spec(1), Keeper::Renewals, bench.now);
    assert_eq!(refused, Err(Refusal::UnknownService("a".into())));
}

#[test]
fn deregistration_drains_first() {
    let mut bench = Bench::new();
    let given = bench.renewals("x");
    let removed_at = bench.book.deregister("a", "x", "", bench.now).unwrap();
    assert_eq!(removed_at, bench.now + DRAIN_FOR);
    assert_eq!(bench.seen(), "x:Draining");
    bench.pass(5);
    assert_eq!(bench.book.deregister("a", "x", "", bench.now), Ok(removed_at), "only once");
    let renewed = bench.book.renew("a", "x", "", bench.now);
    assert_eq!(renewed, Err(Refusal::Drains("x".into())));
    bench.pass(5);
    assert_eq!(bench.seen(), "");
    let again = bench.renewals("x");
    assert!(again.created && again.lease != given.lease);
}

#[test]
fn registering_again_ends_a_drain() {
    let mut bench = Bench::new();
    bench.renewals("x");
    bench.book.deregister("a", "x", "", bench.now).unwrap();
    assert!(!bench.renewals("x").created);
    bench.pass(12);
    assert_eq!(bench.seen(), "x:Passing");
}

#[test]
fn stream_is_the_lease() {
    let mut bench = Bench::new();
    let first = bench.register("x", Keeper::NewStream);
    bench.register("y", Keeper::NewStream);
    assert_eq!(first.until, None);
    bench.pass(3_600);
    let same = bench.register("x", Keeper::SameStream(first.lease.clone()));
    assert_eq!(same.lease, first.lease);
    let second = bench.register("x", Keeper::NewStream);
    bench.book.lose("a", "x", &first.lease, bench.now);
    assert_eq!(bench.seen(), "x:Passing y:Passing", "the older stream is no lease any more");
    let keeper = Keeper::SameStream(first.lease.clone());
    let refused = bench.book.register("a", "x", spec(1), keeper, bench.now);
    assert_eq!(refused, Err(Refusal::OtherLease(first.lease.to_string())));
    bench.book.lose("a", "x", &second.lease, bench.now);
    assert_eq!(bench.seen(), "x:Critical y:Passing");
    bench.pass(30);
    assert_eq!(bench.seen(), "y:Passing");
}

#[test]
fn newcomer_at_the_same_address_takes_the_place() {
    let mut bench = Bench::new();
    bench.book.register("a", "old", spec(80), Keeper::Renewals, bench.now).unwrap();
    bench.book.register("a", "new", spec(80), Keeper::Renewals, bench.now).unwrap();
    assert_eq!(bench.seen(), "new:Passing");
}

#[test]
fn service_has_a_limit() {
    let mut bench = Bench::new();
    for n in 0..PER_SERVICE_MAX {
        let id = n.to_string();
        bench.book.register("a", &id, spec(n as u16 + 1), Keeper::Renewals, bench.now).unwrap();
    }
    let refused = bench.book.register("a", "x", spec(0), Keeper::Renewals, bench.now);
    assert_eq!(refused, Err(Refusal::TooMany(PER_SERVICE_MAX, "of a service")));
    let known = bench.book.register("a", "0", spec(1), Keeper::Renewals, bench.now);
    assert!(known.is_ok(), "one that is there is renewed");
}

#[tokio::test(start_paused = true)]
async fn changes_wake_and_renewals_do_not() {
    let registry = Registry::default();
    registry.set_services(["a".to_owned()].into(), BTreeSet::new());
    let mut watch = registry.watch();
    registry.register("a", "x", spec(1), Keeper::Renewals).await.unwrap();
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    tokio::time::advance(5 * SECOND).await;
    registry.register("a", "x", spec(1), Keeper::Renewals).await.unwrap();
    assert!(!watch.has_changed().unwrap());
    let due = registry.sweep().expect("a lease ends some time");
    tokio::time::advance(due - clock::now()).await;
    registry.sweep();
    assert!(watch.has_changed().unwrap());
    assert_eq!(registry.list(Some("a"))[0].instance.health(), Health::Critical);
}

#[test]
fn restart_gives_everyone_one_more_lease() {
    let disk = Disk::open(&Location::Memory).unwrap();
    let mut bench = Bench::new();
    bench.register("stream", Keeper::NewStream);
    let given = bench.renewals("x");
    for id in ["lost", "drained", "gone"] {
        bench.register(id, Keeper::NewStream);
    }
    let leases: Vec<_> =
        bench.book.list("a").into_iter().map(|l| (l.id, l.instance.lease)).collect();
    let lease = |wanted: &str| leases.iter().find(|(id, _)| id == wanted).unwrap().1.clone();
    bench.book.lose("a", "lost", &lease("lost"), bench.now);
    bench.book.deregister("a", "drained", "", bench.now).unwrap();
    disk.commit(&bench.book.take_unwritten()).unwrap();
    bench.book.deregister("a", "gone", "", bench.now).unwrap();
    for _ in 0..10 {
        bench.now += SECOND;
        bench.book.sweep(bench.now);
    }
    disk.commit(&bench.book.take_unwritten()).unwrap();

    let mut again = Bench::new();
    again.book = restored(&disk).unwrap();
    again.book.set_services(["a".to_owned()].into(), BTreeSet::new());
    again.now = clock::now();
    assert_eq!(again.seen(), "lost:Critical stream:Passing x:Passing");
    assert_eq!(again.book.take_unwritten(), [], "the store has it all");
    let renewed = again.book.renew("a", "x", &given.lease, again.now).unwrap();
    assert_eq!(renewed.lease, given.lease, "a lease outlives the process");
    again.pass(16);
    assert_eq!(again.seen(), "lost:Critical stream:Critical x:Critical", "nobody renewed");
    again.pass(60);
    assert_eq!(again.seen(), "(lost:Critical) (stream:Critical) (x:Critical)");
}
