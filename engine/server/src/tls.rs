//! The server's certificate.
use crate::TlsFiles;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Reads the certificate and its key.
///
/// # Errors
/// A file cannot be read or holds neither, or the two do not belong together.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let refuse =
        |path: &Path, finding: String| Error::new(ErrorKind::InvalidData, format!("{}: {finding}", path.display()));
    let TlsFiles { certificate, key } = files;
    let pem = std::fs::read(certificate).map_err(|error| refuse(certificate, error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| refuse(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(refuse(certificate, "holds no certificate in PEM".into()));
    }
    let pem = std::fs::read(key).map_err(|error| refuse(key, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(&pem);
    let private = private.map_err(|_| refuse(key, "holds no private key in PEM".into()))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| refuse(certificate, format!("cannot be used with its key: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
