//! The files a verifier is spoken to with, read again for every call: a Secret's volume changes while the process runs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_core::digest::Digest;
use reqwest::{Certificate, Client, Identity, redirect, retry};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::VerifierError;

/// Largest file, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;
/// Longest time until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);

/// PEM files: the verifier's CA, and our certificate with its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates that the verifier's own chains to; no other root counts.
    pub authority: PathBuf,
    /// Our certificate, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Credentials {
    /// `ca.crt`, `tls.crt` and `tls.key` of a folder, as a Secret of type `kubernetes.io/tls` is mounted.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { authority: folder.join("ca.crt"), certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
    }

    /// Reads all three.
    pub(super) fn read(&self) -> Result<Material, VerifierError> {
        let authority = read(&self.authority)?;
        let mut identity = read(&self.certificate)?;
        let key = read(&self.key)?;
        let unusable = |path: &Path, why| VerifierError::Unusable { path: path.to_owned(), why };
        let roots: Vec<_> = CertificateDer::pem_slice_iter(&authority)
            .filter_map(Result::ok)
            .filter(|root| RootCertStore::empty().add(root.clone()).is_ok())
            .collect();
        if roots.is_empty() {
            return Err(unusable(&self.authority, "there is no CA certificate in it"));
        }
        if CertificateDer::from_pem_slice(&identity).is_err() {
            return Err(unusable(&self.certificate, "there is no certificate in it"));
        }
        if PrivateKeyDer::from_pem_slice(&key).is_err() {
            return Err(unusable(&self.key, "there is no private key in it"));
        }
        let sums = [&*authority, &*identity, &*key].map(|file| Digest::of(file).hex());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(Digest::of(sums.concat().as_bytes()).as_bytes());
        identity.push(b'\n');
        identity.extend_from_slice(&key);
        Ok(Material { roots, identity, fingerprint })
    }
}

/// What was read.
pub(super) struct Material {
    roots: Vec<CertificateDer<'static>>,
    identity: Zeroizing<Vec<u8>>,
    /// SHA-256 over the three files.
    pub(super) fingerprint: [u8; 32],
}

impl Material {
    /// A client that believes these roots alone, shows this certificate, follows no redirect and never goes through a proxy.
    pub(super) fn client(&self) -> Result<Client, VerifierError> {
        let failed = |source| VerifierError::Client { source };
        let roots = self.roots.iter().map(|root| Certificate::from_der(root)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Client::builder()
            .tls_certs_only(roots)
            .identity(Identity::from_pem(&self.identity).map_err(failed)?)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT)
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(failed)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VerifierError> {
    let failed = |source| VerifierError::Read { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(failed)?.take(FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
