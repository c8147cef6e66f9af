//! Refreshing with a resolver whose answers the test decides.

use super::*;
use crate::cluster::testing::{cluster, endpoint, endpoints, locality};
use crate::config::source;
use crate::telemetry::stats::Registry;

/// By name and whether IPv4 is asked for.
type Answers = HashMap<(Arc<str>, bool), Result<Answer, ()>>;

/// Answers by name and record; counts the questions.
#[derive(Debug, Default)]
struct Fake {
    answers: Mutex<Answers>,
    asked: Mutex<Vec<Record>>,
}

impl Fake {
    fn say(&self, name: &str, record: Record, answer: Result<&[&str], ()>, ttl: u64) {
        let answer = answer.map(|addresses| Answer {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ttl: Duration::from_secs(ttl),
        });
        self.answers.lock().unwrap().insert((name.into(), record == Record::V4), answer);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Resolve for Fake {
    fn resolve<'a>(&'a self, name: &'a Arc<str>, record: Record) -> Resolving<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(record);
            let answers = self.answers.lock().unwrap();
            match answers.get(&(Arc::clone(name), record == Record::V4)) {
                None => Ok(Answer::default()),
                Some(Ok(answer)) => Ok(answer.clone()),
                Some(Err(())) => {
                    Err(ResolveError { name: Arc::clone(name), reason: "SERVFAIL".to_owned() })
                }
            }
        })
    }
}

struct Rig {
    cluster: Arc<Cluster>,
    fake: Arc<Fake>,
    _dns: Resolution,
}

async fn rig(names: &[&str], config: DnsConfig, fake: Fake) -> Rig {
    let mut level = locality("", 0, &[]);
    for name in names {
        level.endpoints.push(endpoint(Address::Name { host: (*name).into(), port: 80 }));
    }
    let mut shape = cluster(endpoints(vec![level]));
    shape.discovery = Discovery::Dns(config);
    let cluster = Arc::new(Cluster::new(Arc::new(shape), &Registry::new(1)));
    let fake = Arc::new(fake);
    let resolver: Arc<dyn Resolve> = Arc::clone(&fake) as _;
    let mut dns = Resolution::start(&cluster, &resolver);
    dns.warm().await;
    Rig { cluster, fake, _dns: dns }
}

impl Rig {
    fn hosts(&self) -> Vec<String> {
        let set = self.cluster.hosts();
        set.hosts().iter().map(|host| host.address().to_string()).collect()
    }

    fn stat(&self, stat: ClusterStat) -> u64 {
        self.cluster.stats().value(stat)
    }
}

/// Lets timers fire and tasks run.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tokio::task::yield_now().await;
}

fn v4_only() -> DnsConfig {
    DnsConfig { lookup_family: DnsLookupFamily::V4Only, ..DnsConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn every_address_of_every_name_is_a_host() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1", "10.0.0.2"]), 0);
    fake.say("b.test", Record::V4, Ok(&["10.0.0.3"]), 0);
    let rig = rig(&["a.test", "b.test"], v4_only(), fake).await;
    assert_eq!(rig.hosts(), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(rig.cluster.hosts().hosts()[2].hostname(), "b.test");
    assert_eq!(rig.stat(ClusterStat::UpdateSuccess), 2);
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_again_and_hosts_that_stay_are_kept() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1"]), 60);
    let rig = rig(&["a.test"], v4_only(), fake).await;
    let before = Arc::clone(&rig.cluster.hosts().hosts()[0]);
    rig.fake.say("a.test", Record::V4, Ok(&["10.0.0.2", "10.0.0.1"]), 60);
    pass(6).await;
    assert_eq!(rig.hosts(), ["10.0.0.2:80", "10.0.0.1:80"]);
    assert!(Arc::ptr_eq(&before, &rig.cluster.hosts().hosts()[1]));
    pass(5).await;
    assert_eq!(rig.fake.asked(), 3);
    assert_eq!(rig.stat(ClusterStat::UpdateNoRebuild), 1);
}

#[tokio::test(start_paused = true)]
async fn the_ttl_decides_if_it_is_respected() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1"]), 60);
    let rig = rig(&["a.test"], DnsConfig { respect_ttl: true, ..v4_only() }, fake).await;
    pass(59).await;
    assert_eq!(rig.fake.asked(), 1);
    pass(2).await;
    assert_eq!(rig.fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_last_good_addresses_and_backs_off() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1"]), 0);
    let backoff = source::Backoff { base: Duration::from_secs(2), max: Duration::from_secs(8) };
    let config = DnsConfig { failure_refresh_rate: Some(backoff), ..v4_only() };
    let rig = rig(&["a.test"], config, fake).await;
    rig.fake.say("a.test", Record::V4, Err(()), 0);
    pass(600).await;
    assert_eq!(rig.hosts(), ["10.0.0.1:80"]);
    let failures = rig.stat(ClusterStat::UpdateFailure);
    // Full jitter below 8 s: 4 s on average.
    assert!((100..300).contains(&failures), "{failures}");
    rig.fake.say("a.test", Record::V4, Ok(&["10.0.0.9"]), 0);
    pass(9).await;
    assert_eq!(rig.hosts(), ["10.0.0.9:80"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_empties_the_name() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1"]), 0);
    let rig = rig(&["a.test"], v4_only(), fake).await;
    rig.fake.say("a.test", Record::V4, Ok(&[]), 0);
    pass(6).await;
    assert!(rig.hosts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn families_choose_among_records() {
    let of = async |lookup_family, v4: Result<&[&str], ()>, v6: Result<&[&str], ()>| {
        let fake = Fake::default();
        fake.say("a.test", Record::V4, v4, 0);
        fake.say("a.test", Record::V6, v6, 0);
        rig(&["a.test"], DnsConfig { lookup_family, ..DnsConfig::default() }, fake).await.hosts()
    };
    let (v4, v6): (&[&str], &[&str]) = (&["10.0.0.1"], &["fd00::1"]);
    assert_eq!(of(DnsLookupFamily::Auto, Ok(v4), Ok(v6)).await, ["[fd00::1]:80"]);
    assert_eq!(of(DnsLookupFamily::Auto, Ok(v4), Ok(&[])).await, ["10.0.0.1:80"]);
    assert_eq!(of(DnsLookupFamily::Auto, Ok(v4), Err(())).await, ["10.0.0.1:80"]);
    assert_eq!(of(DnsLookupFamily::V4Preferred, Ok(v4), Ok(v6)).await, ["10.0.0.1:80"]);
    assert_eq!(of(DnsLookupFamily::V6Only, Ok(v4), Ok(&[])).await, [""; 0]);
    assert_eq!(of(DnsLookupFamily::All, Ok(v4), Ok(v6)).await, ["10.0.0.1:80", "[fd00::1]:80"]);
    assert_eq!(of(DnsLookupFamily::All, Err(()), Ok(v6)).await, ["[fd00::1]:80"]);
}

#[tokio::test(start_paused = true)]
async fn refreshing_ends_with_its_handle() {
    let fake = Fake::default();
    let rig = rig(&["a.test"], v4_only(), fake).await;
    let Rig { fake, _dns: dns, .. } = rig;
    drop(dns);
    pass(60).await;
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn localhost_comes_from_the_hosts_file() {
    let resolver = SystemResolver::new(&DnsConfig {
        // Nobody answers there, so that only the file can.
        resolvers: vec!["127.0.0.1:1".parse().unwrap()],
        ..DnsConfig::default()
    })
    .unwrap();
    let answer = resolver.resolve(&"localhost".into(), Record::V4).await.unwrap();
    assert_eq!(answer.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}

/// A DNS server on a port of its own: `a.test.` has an A record, `broken.test.` fails, no other
/// name exists.
async fn dns_server() -> (SocketAddr, Task) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = task::spawn("dns server", async move {
        let mut buffer = [0; 512];
        while let Ok((read, peer)) = socket.recv_from(&mut buffer).await {
            socket.send_to(&answer_to(&buffer[..read]), peer).await.unwrap();
        }
    });
    (address, server)
}

/// RFC 1035 §4: the header and question of the query, and what is known.
fn answer_to(query: &[u8]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (name, question) = (&query[12..name_end], &query[12..name_end + 4]);
    let name = name.to_ascii_lowercase();
    let known = name == b"\x01a\x04test\0";
    let wants_v4 = question[question.len() - 4..] == [0, 1, 0, 1];
    let answers = u8::from(known && wants_v4);
    let rcode = match () {
        () if known => 0,
        () if name == b"\x06broken\x04test\0" => 2,
        () => 3,
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | rcode, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question);
    if answers > 0 {
        // Name by pointer, A, IN, TTL 77, four bytes of address.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4, 10, 1, 2, 3]);
    }
    reply
}

#[tokio::test]
async fn a_configured_server_is_asked_and_its_refusals_told_apart() {
    let (address, _server) = dns_server().await;
    let resolver = SystemResolver::new(&DnsConfig {
        resolvers: vec![address],
        no_default_search_domain: true,
        ..DnsConfig::default()
    })
    .unwrap();
    let ask = async |name: &str, record| resolver.resolve(&name.into(), record).await;
    let found = ask("a.test", Record::V4).await.unwrap();
    assert_eq!(found.addresses, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(found.ttl, Duration::from_secs(77));
    assert_eq!(ask("a.test", Record::V6).await, Ok(Answer::default()));
    assert_eq!(ask("none.test", Record::V4).await, Ok(Answer::default()));
    let error = ask("broken.test", Record::V4).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot resolve broken.test: "), "{error}");
}

fn logical() -> DnsConfig {
    DnsConfig { hosts: DnsHosts::First, ..v4_only() }
}

#[tokio::test(start_paused = true)]
async fn of_a_logical_cluster_the_first_address_is_the_host() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1", "10.0.0.2"]), 0);
    let rig = rig(&["a.test"], logical(), fake).await;
    assert_eq!(rig.hosts(), ["10.0.0.1:80"]);
    let before = Arc::clone(&rig.cluster.hosts().hosts()[0]);
    assert_eq!(before.hostname(), "a.test");
    rig.fake.say("a.test", Record::V4, Ok(&["10.0.0.1", "10.0.0.3"]), 0);
    pass(6).await;
    assert!(Arc::ptr_eq(&before, &rig.cluster.hosts().hosts()[0]), "others say nothing");
    rig.fake.say("a.test", Record::V4, Ok(&["10.0.0.3", "10.0.0.1"]), 0);
    pass(5).await;
    assert_eq!(rig.hosts(), ["10.0.0.3:80"]);
    assert!(before.is_removed(), "its connections close when they have nothing to carry");
    assert_eq!(rig.stat(ClusterStat::MembershipChange), 2);
}

#[tokio::test(start_paused = true)]
async fn no_address_is_a_failure_of_a_logical_cluster_and_keeps_its_host() {
    let fake = Fake::default();
    fake.say("a.test", Record::V4, Ok(&["10.0.0.1"]), 0);
    let backoff = source::Backoff { base: Duration::from_secs(1), max: Duration::from_secs(1) };
    let config = DnsConfig { failure_refresh_rate: Some(backoff), ..logical() };
    let rig = rig(&["a.test"], config, fake).await;
    rig.fake.say("a.test", Record::V4, Ok(&[]), 0);
    pass(9).await;
    assert_eq!(rig.hosts(), ["10.0.0.1:80"]);
    assert_eq!(rig.stat(ClusterStat::UpdateSuccess), 1);
    assert!(rig.stat(ClusterStat::UpdateFailure) >= 3, "asked by the rate of failures");
    assert_eq!(rig.stat(ClusterStat::MembershipTotal), 1);
}
