//! Signatures: public keys, the formats they come in, and who made them.

pub mod key;

pub use key::{KeyError, PublicKey};
