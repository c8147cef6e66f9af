//! Both ends over a pipe: bytes, ends, back-pressure.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

async fn pair(room: usize) -> (TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let der = certificate.der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.example").unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    let (near, far) = duplex(room);
    let (client, server) = tokio::join!(
        TlsStream::handshake(near, Connection::Client(client), &[]),
        TlsStream::handshake(far, Connection::Server(server), &[]),
    );
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn more_than_all_buffers_hold_comes_through_whole() {
    let (mut client, mut server) = pair(1000).await;
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = sent.clone();
    let writing = async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let reading = async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(writing, reading);
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
}

#[tokio::test]
async fn what_a_full_pipe_held_back_goes_on_with_a_read() {
    let (mut client, mut server) = pair(1000).await;
    let ask = async {
        // Taken as a whole, though the pipe has no room for it.
        assert_eq!(client.write(&[7; 5000]).await.unwrap(), 5000);
        let mut word = [0; 4];
        client.read_exact(&mut word).await.unwrap();
        word
    };
    let answer = async {
        let mut got = vec![0; 5000];
        server.read_exact(&mut got).await.unwrap();
        server.write_all(b"done").await.unwrap();
        server.flush().await.unwrap();
        got
    };
    let (word, got) = tokio::join!(ask, answer);
    assert_eq!((got, &word), (vec![7; 5000], b"done"));
}

#[tokio::test]
async fn an_end_without_a_word_is_an_error_and_one_with_it_is_an_end() {
    let (client, mut server) = pair(4096).await;
    drop(client);
    let cut = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    let (mut client, mut server) = pair(4096).await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn garbage_instead_of_a_record_is_an_error_of_tls() {
    let (mut near, far) = duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config =
        config.with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
    let session = ServerConnection::new(Arc::new(config)).unwrap();
    let failed = TlsStream::handshake(far, Connection::Server(session), &[]).await.unwrap_err();
    assert!(matches!(failed, HandshakeError::Tls(rustls::Error::InvalidMessage(_))), "{failed:?}");
    let mut alert = [0; 7];
    near.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert[0], 21, "the peer is told");
}
