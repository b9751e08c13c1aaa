//! The formats a signature over a document comes in, and their names in registries and in `.assay/signatures/`.

/// Format of a signature over the raw bytes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureFormat {
    /// Sigstore bundle v0.3 with a `messageSignature`.
    Bundle,
    /// OpenSSH signature (PROTOCOL.sshsig), armored or raw, in namespace [`super::SSH_NAMESPACE`].
    SshSig,
    /// The signature alone, as `cosign sign-blob` writes it: base64 text; raw bytes are read too.
    Detached,
}

impl SignatureFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Bundle, Self::SshSig, Self::Detached];

    /// Media type of a layer that holds one.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Bundle => super::bundle::MEDIA_TYPE,
            Self::SshSig => "application/vnd.assay.sshsig.v1",
            Self::Detached => "application/vnd.assay.signature.v1",
        }
    }

    /// The format of a layer of this media type.
    #[must_use]
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.media_type() == media_type)
    }

    /// How names of files in this format end, without the leading dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Bundle => "sigstore.json",
            Self::SshSig => "sshsig",
            Self::Detached => "sig",
        }
    }

    /// The format of a file of this name, which must be `NAME.sigstore.json`, `NAME.sshsig` or `NAME.sig`.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| {
            name.strip_suffix(format.extension())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && !stem.contains(['/', '\\', '\0']))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_interface() {
        for (name, format) in [
            ("alice.sigstore.json", SignatureFormat::Bundle),
            ("alice.sshsig", SignatureFormat::SshSig),
            ("alice.b.sig", SignatureFormat::Detached),
        ] {
            assert_eq!(SignatureFormat::from_file_name(name), Some(format), "{name}");
        }
        for name in ["", "sig", ".sig", "a.sigstore", "a.json", "../a.sig", "a/b.sig", ".a.sig", "a.sig.txt", "a.SIG"] {
            assert_eq!(SignatureFormat::from_file_name(name), None, "{name}");
        }
        for format in SignatureFormat::ALL {
            assert_eq!(SignatureFormat::from_media_type(format.media_type()), Some(format));
        }
        assert_eq!(SignatureFormat::from_media_type("application/json"), None);
    }
}
