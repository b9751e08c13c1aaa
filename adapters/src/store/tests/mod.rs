//! The store against a registry of our own that lies in every way it can.

mod content;
mod credentials;
mod layout;
mod lists;
pub(crate) mod server;
mod writes;

use assay_core::digest::Digest;
use assay_core::oci::media_type;

/// The bytes of some manifest, different for each text.
fn manifest(text: &str) -> Vec<u8> {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[],"annotations":{{"text":"{text}"}}}}"#,
        media_type::MANIFEST,
        media_type::EMPTY,
        Digest::of(b"{}")
    )
    .into_bytes()
}
