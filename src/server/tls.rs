use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use clap::Args;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Failure;
use super::reload::Reload;

/// The certificate to serve with.
#[derive(Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsOptions {
    /// Serve by TLS with the certificate chain in this file of PEM; it is read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl TlsOptions {
    /// What a listener needs, or `None` where it serves without TLS. Connections that are open keep the certificate that they
    /// began with when the files are read again.
    pub(super) fn config(self, reload: &mut Reload) -> Result<Option<RustlsConfig>, Failure> {
        let (cert, key) = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(None),
            _ => return Err("--tls-cert and --tls-key belong together".into()),
        };
        let config = RustlsConfig::from_config(Arc::new(load(&cert, &key)?));
        let current = config.clone();
        reload.add("the certificate", [cert.clone(), key.clone()], move || {
            current.reload_from_config(Arc::new(load(&cert, &key)?));
            Ok(())
        });
        Ok(Some(config))
    }
}

fn load(cert: &Path, key: &Path) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| format!("{}: {error}", cert.display()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("{} with {}: {error}", cert.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
