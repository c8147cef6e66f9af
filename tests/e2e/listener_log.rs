//! Access logs of a listener: what no connection manager ever sees.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tests::backend;
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::{setup, wait};

#[test]
fn a_connection_that_no_chain_is_for_leaves_a_line() {
    let nowhere = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), nowhere, nowhere);
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    let listener = &mut all["static_resources"]["listeners"][0];
    listener["filter_chains"][0]["name"] = "elsewhere".into();
    listener["filter_chains"][0]["filter_chain_match"] = json!({"destination_port": 1});
    let format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% \
                  chain=%FILTER_CHAIN_NAME% rx=%BYTES_RECEIVED%\n";
    listener["access_log"] = json!([{
        "name": "file",
        "filter": {"response_flag_filter": {"flags": ["NR"]}},
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "{{folder}}/connections.log",
            "log_format": {"text_format_source": {"inline_string": format}},
        },
    }]);
    // Written at once, not when the buffer is full.
    let options = ["--file-flush-interval-msec", "5"];
    let proxy = Proxy::start_with(Kind::Ours, &all.to_string(), &options);
    let mut client = Connection::open(proxy.listener("main")).expect("connect");
    let _ = client.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    let _ = client.rest();
    let file = proxy.folder().join("connections.log");
    let line = wait::within(Duration::from_secs(10), || {
        fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(line.as_deref(), Some("0 NR filter_chain_not_found - chain=- rx=0\n"));
}
