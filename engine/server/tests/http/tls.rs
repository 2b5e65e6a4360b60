//! The same over TLS.
use crate::rig::Rig;
use med2e3_server::TlsFiles;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate for localhost that vouches for itself, and its key, on disk.
fn certificate() -> (TempDir, TlsFiles, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    (folder, files, roots)
}

#[test]
fn a_server_with_a_certificate_speaks_tls_alone() {
    let (_folder, files, roots) = certificate();
    let rig = Rig::with(|config| {
        config.tls = Some(files);
        config.limits.idle = Duration::from_millis(500);
    });
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    for _ in 0..2 {
        let client = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(rig.address).unwrap());
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("\"demo\""), "{reply}");
        // In clear, and not at all: neither is answered, and neither holds the server up.
        for hello in [&b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b""] {
            let mut clear = TcpStream::connect(rig.address).unwrap();
            clear.write_all(hello).unwrap();
            let mut reply = Vec::new();
            let _ = clear.read_to_end(&mut reply);
            assert!(!reply.starts_with(b"HTTP"), "{reply:?}");
        }
    }
}

#[test]
fn a_certificate_that_is_none_is_refused_at_the_start() {
    let (folder, files, _) = certificate();
    let (_other_folder, other, _) = certificate();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let none = folder.path().join("none.pem");
    let bad = [
        (&files.certificate, &other.key),
        (&empty, &files.key),
        (&files.certificate, &empty),
        (&none, &files.key),
        (&files.certificate, &none),
    ];
    for (certificate, key) in bad {
        let tls = TlsFiles { certificate: certificate.clone(), key: key.clone() };
        let error = Rig::refused(|config| config.tls = Some(tls));
        assert!(error.to_string().contains(".pem: "), "{error}");
    }
}
