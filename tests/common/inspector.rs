//! A proxy that inspects TLS: it opens the way, shows a certificate of its own authority for whatever was asked for, dials the
//! server itself, and carries the contents. It believes every server, and shows no certificate to any.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::pki::{Ca, provider};

/// The inspector; it ends when it is dropped.
pub struct Inspector {
    pub port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inspector {
    pub async fn start(authority: Arc<Ca>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(inspect(client, authority.clone()));
            }
        });
        Self { port, task }
    }
}

/// One connection, until either side ends it.
async fn inspect(mut client: TcpStream, authority: Arc<Ca>) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < 4_096 {
        request.push(client.read_u8().await.ok()?);
    }
    let asked = String::from_utf8(request).ok()?.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let (host, _) = asked.split_once(':')?;
    let server = TcpStream::connect(&asked).await.ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    let acceptor = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), client).await.ok()?;
    let alpn: Vec<Vec<u8>> = acceptor.client_hello().alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
    // What the server chooses of the client's protocols is what the client gets.
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut server = TlsConnector::from(believing_all(alpn)).connect(name, server).await.ok()?;
    let chosen = server.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let shown = authority.issue(host, None);
    let alpn: Vec<&[u8]> = chosen.iter().map(Vec::as_slice).collect();
    let config = Arc::new(Ca::server_for_all(&shown, &alpn));
    let mut client = acceptor.into_stream(config).await.ok()?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

fn believing_all(alpn: Vec<Vec<u8>>) -> Arc<rustls::ClientConfig> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAll))
        .with_no_client_auth();
    config.alpn_protocols = alpn;
    Arc::new(config)
}

#[derive(Debug)]
struct BelievesAll;

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
