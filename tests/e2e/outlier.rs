//! Outlier detection over several workers: who fails is out everywhere, and returns.

use serde_json::{Value, json};
use tests::backend::{Backend, Reply};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::{backend, setup, stats, wait};

/// A proxy of two workers whose cluster has these hosts and fields.
pub(crate) fn start(hosts: &[&Backend], fields: &Value) -> Proxy {
    let text = setup::bootstrap(Vec::new(), hosts[0].address(), backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    let cluster = &mut bootstrap["static_resources"]["clusters"][0];
    let endpoint =
        |host: &&Backend| json!({"endpoint": {"address": setup::address(host.address())}});
    let endpoints: Vec<Value> = hosts.iter().map(endpoint).collect();
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": endpoints}]);
    let cluster = cluster.as_object_mut().expect("a cluster");
    cluster.extend(fields.as_object().cloned().unwrap_or_default());
    Proxy::start_with(Kind::Ours, &bootstrap.to_string(), &["--concurrency", "2"])
}

fn bad() -> Reply {
    Reply::bytes(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".as_slice())
}

fn stat(proxy: &Proxy, name: &str) -> u64 {
    stats::one(proxy.admin_address(), &format!("cluster.backend.{name}"))
}

/// Statuses of requests, each on a connection of its own, so that all workers serve some.
fn statuses(proxy: &Proxy, count: usize) -> Vec<u16> {
    let listener = proxy.listener("main");
    (0..count).map(|_| client::get(listener, "/").expect("a response").status()).collect()
}

#[test]
fn a_host_that_fails_is_out_on_every_worker_and_returns() {
    let (good, broken) = (Backend::start(), Backend::start());
    broken.always(bad());
    let fields = json!({"outlier_detection": {
        "consecutive_5xx": 3, "interval": "0.05s", "base_ejection_time": "1s",
        "max_ejection_percent": 50,
    }});
    let proxy = start(&[&good, &broken], &fields);
    let failed = statuses(&proxy, 20).iter().filter(|status| **status == 500).count();
    assert!((3..=4).contains(&failed), "{failed}");
    wait::until("the ejection", || {
        (stat(&proxy, "outlier_detection.ejections_active") == 1).then_some(())
    });
    let page = proxy.admin("/clusters").expect("a page").text();
    let line = format!("backend::{}::health_flags::/failed_outlier_check", broken.address());
    assert!(page.lines().any(|l| l == line), "{page}");
    assert_eq!(stat(&proxy, "membership_healthy"), 1);
    broken.always(Reply::ok("well again"));
    wait::until("the return", || {
        (stat(&proxy, "outlier_detection.ejections_active") == 0).then_some(())
    });
    let _ = broken.take_seen();
    assert_eq!(statuses(&proxy, 20), [200; 20]);
    assert!(broken.seen_count() >= 5, "{}", broken.seen_count());
}

#[test]
fn no_more_hosts_are_out_than_the_share_allows() {
    let hosts = [Backend::start(), Backend::start(), Backend::start()];
    hosts.iter().for_each(|host| host.always(bad()));
    let fields = json!({"outlier_detection": {
        "consecutive_5xx": 2, "base_ejection_time": "100s", "max_ejection_percent": 67,
    }});
    let proxy = start(&hosts.each_ref(), &fields);
    statuses(&proxy, 60);
    wait::until("the last host stays", || {
        (stat(&proxy, "outlier_detection.ejections_overflow") > 0).then_some(())
    });
    assert_eq!(stat(&proxy, "outlier_detection.ejections_active"), 2);
    assert_eq!(stat(&proxy, "membership_healthy"), 1);
}

/// 3 equal hosts, 30,000 requests on 2 workers, each host 10,000 ± 3 %; in both spellings
/// of round robin.
#[test]
fn equal_hosts_get_equal_shares_over_workers() {
    let typed = "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.\
                 RoundRobin";
    let spellings = [
        json!({"lb_policy": "ROUND_ROBIN"}),
        json!({"load_balancing_policy": {"policies": [{"typed_extension_config": {
            "name": "round_robin", "typed_config": {"@type": typed},
        }}]}}),
    ];
    for spelling in &spellings {
        let hosts = [Backend::start(), Backend::start(), Backend::start()];
        let proxy = start(&hosts.each_ref(), spelling);
        let listener = proxy.listener("main");
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut connection = Connection::open(listener).expect("connect");
                    for _ in 0..5_000 {
                        let answer = connection.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
                        assert_eq!(answer.expect("a response").status(), 200);
                    }
                });
            }
        });
        for host in &hosts {
            let seen = host.seen_count();
            assert!((9_700..=10_300).contains(&seen), "{spelling}: {seen}");
        }
    }
}
