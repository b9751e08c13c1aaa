//! Evidence of an image in a store: collecting it for judgement, publishing it, copying it.
//!
//! What kinds there are, with which media types and layers, is the table in `docs/store.md`.

mod collect;
mod copy;
mod outputs;
mod parts;
mod publish;
mod rebuilders;
mod tags;
#[cfg(test)]
mod tests;

pub use collect::{collect, definition_at, find_definition};
pub use copy::{Copied, copy_evidence, copy_image};
pub use parts::{Parts, publish_parts, read_back};
pub use publish::{
    definition_tag, publish_attestation, publish_definition, publish_definition_alone, publish_output, publish_sbom,
    publish_source,
};
pub use rebuilders::{HEAD_TAG, HeadSigner, Published, REBUILDS, collect_rebuilds, publish_head, published};
pub use tags::{SimpleSignature, simple_signatures};

use assay_core::oci::media_type;

/// Artifact types of evidence, in the order [`collect`] asks for them.
pub const KINDS: &[&str] = &[
    media_type::ASSAY_SOURCE,
    media_type::ASSAY_DEFINITION,
    media_type::SPDX_JSON,
    media_type::CYCLONEDX_JSON,
    media_type::SIGSTORE_BUNDLE,
];
/// Layer annotation with the name a file had (image-spec 1.1, "Pre-Defined Annotation Keys").
const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
