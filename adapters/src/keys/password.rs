//! Passwords of key files.

use zeroize::Zeroizing;

/// Variables a password is taken from, the first that is set wins. An empty one is an empty password, as with cosign.
pub const VARIABLES: [&str; 2] = ["ASSAY_PASSWORD", "COSIGN_PASSWORD"];

/// A password. It is wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes a password.
    #[must_use]
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// The password of the environment, if there is one.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        use std::os::unix::ffi::OsStringExt;
        VARIABLES.iter().find_map(std::env::var_os).map(|value| Self::new(value.into_vec()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}
