//! `data-plane healthcheck`: asks a running instance whether it is ready.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take (contracts §1).
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are looked at.
const ANSWER_MAX: u64 = 4096;

/// Asks `GET path` of `address` (`127.0.0.1:9901`).
///
/// # Errors
/// No connection, no answer in two seconds, or another status than 200: one line that says so.
pub async fn healthcheck(address: &str, path: &str) -> Result<(), String> {
    let about = |what: String| format!("http://{address}{path}: {what}");
    match tokio::time::timeout(PATIENCE, ask(address, path)).await {
        Err(_) => Err(about(format!("no answer within {} s", PATIENCE.as_secs()))),
        Ok(Err(error)) => Err(about(error.to_string())),
        Ok(Ok(answer)) => {
            let status = answer.lines().next().unwrap_or_default();
            if status.split(' ').nth(1) == Some("200") {
                return Ok(());
            }
            Err(about(if status.is_empty() { "no answer".into() } else { status.into() }))
        }
    }
}

async fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
