//! Filters at work in a request: what they wait for, and what is left when it is over.

use super::*;
use crate::base::clock;
use crate::telemetry::stats::FaultStat;

fn delay(seconds: &str) -> String {
    format!(
        "{{name: f, typed_config: {{\
         \"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, \
         delay: {{fixed_delay: {seconds}s, percentage: {{numerator: 100}}}}}}}},"
    )
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_delayed_request_goes_on_when_its_time_is_over() {
    let rig = Rig::of(&bootstrap("", &delay("3"), "", NOWHERE));
    let faults = rig.registry.group::<FaultStat>(Scope::http("in").join("fault."));
    let mut client = rig.connect();
    let begun = clock::now();
    client.say("GET /direct HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.read_to("\r\n\r\ndirect").await;
    assert_eq!((clock::now() - begun).as_secs(), 3);
    client.leave().await;
    assert_eq!(faults.value(FaultStat::DelaysInjected), 1);
    assert_eq!(faults.value(FaultStat::ActiveFaults), 0);
    rig.assert_settled(1);
    assert!(rig.lines("requests")[1].contains("\"DI\""), "{:?}", rig.lines("requests"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_leaves_during_a_delay_frees_its_place() {
    let rig = Rig::of(&bootstrap("", &delay("3000"), "", NOWHERE));
    let faults = rig.registry.group::<FaultStat>(Scope::http("in").join("fault."));
    let mut client = rig.connect();
    client.say("GET /direct HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    while faults.value(FaultStat::ActiveFaults) == 0 {
        tokio::task::yield_now().await;
    }
    client.leave().await;
    assert_eq!(faults.value(FaultStat::ActiveFaults), 0);
    rig.assert_settled(1);
}
