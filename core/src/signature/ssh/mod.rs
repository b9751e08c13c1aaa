//! SSH keys as authors' keys: public keys and signatures as `ssh-keygen -Y sign` makes them.

pub mod allowed_signers;
mod der;
pub mod public_key;
pub mod sshsig;

pub use allowed_signers::AllowedSignersError;
pub use public_key::SshKeyError;

/// Namespace of signatures over documents of the chain.
pub const SBOM_NAMESPACE: &str = "sbom@assay.dev";
/// Namespace in which git signs commits.
pub const GIT_NAMESPACE: &str = "git";
