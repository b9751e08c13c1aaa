//! The certificate that is served, replaced while connections run.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Most certificates of a chain.
const CHAIN: usize = 8;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificates or the key are not PEM.
    #[error("{what}: {source}")]
    ParsePem {
        /// `certificate chain` or `private key`.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate, or more than a chain has.
    #[error("the chain has {found} certificates, expected 1 to {CHAIN}")]
    ChainLength {
        /// How many there are.
        found: usize,
    },
    /// Key and certificate do not belong together, or the key's kind is not supported.
    #[error("private key: {source}")]
    LoadKey {
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
}

/// Holds the current certificate and key. Handshakes fail until there is one.
pub struct Certificates {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("loaded", &self.is_loaded()).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Holds nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(None), provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()) })
    }

    /// Whether there is a certificate to serve.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Serves this chain, leaf first, from the next handshake on. Returns whether it is another one than before.
    ///
    /// # Errors
    /// Every variant of [`CertificateError`]; what was served before stays.
    pub fn replace(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<bool, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .take(CHAIN + 1)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| CertificateError::ParsePem { what: "certificate chain", source })?;
        if chain.is_empty() || chain.len() > CHAIN {
            return Err(CertificateError::ChainLength { found: chain.len() });
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|source| CertificateError::ParsePem { what: "private key", source })?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|held| held.cert == chain) {
            return Ok(false);
        }
        let certified =
            CertifiedKey::from_der(chain, key, &self.provider).map_err(|source| CertificateError::LoadKey { source })?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(true)
    }

    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
