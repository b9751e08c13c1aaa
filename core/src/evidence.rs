//! What was collected about an image: raw bytes only, nothing judged.
//!
//! Adapters fill it from a registry or a layout, core judges it. Where a document lay, in which order, and what its descriptor said
//! prove nothing: documents count by signature and by the digests that other documents name.

use crate::digest::Digest;
use crate::reference::Repository;

/// Everything collected about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The repository the image is judged in.
    pub repository: Repository,
    /// The image's digest: SHA-256 of `manifest`.
    pub digest: Digest,
    /// The image's manifest or index, raw.
    pub manifest: Vec<u8>,
    /// The platforms of an index, in its order; empty for a plain image.
    pub children: Vec<Child>,
    /// Source evidence (artifact type `application/vnd.assay.source.v1+json`).
    pub sources: Vec<SourceEvidence>,
    /// Definition evidence (artifact type `application/vnd.assay.definition.v1+json`).
    pub definitions: Vec<DefinitionEvidence>,
    /// SBOMs of the image itself.
    pub sboms: Vec<Sbom>,
    /// Attestations: Sigstore bundles and bare DSSE envelopes.
    pub attestations: Vec<Attestation>,
    /// Packed outputs of builds that provenance about the image names, with the attestations about them.
    pub outputs: Vec<Output>,
    /// Heads under which rebuilders list all they ever said, from the mirrors that the policy names.
    pub rebuilder_heads: Vec<RebuilderHead>,
    /// What could not be collected. Not empty means: what is missing may exist.
    pub incomplete: Vec<String>,
}

impl Evidence {
    /// Nothing but the image itself.
    #[must_use]
    pub const fn of_image(repository: Repository, digest: Digest, manifest: Vec<u8>) -> Self {
        Self {
            repository,
            digest,
            manifest,
            children: Vec::new(),
            sources: Vec::new(),
            definitions: Vec::new(),
            sboms: Vec::new(),
            attestations: Vec::new(),
            outputs: Vec::new(),
            rebuilder_heads: Vec::new(),
            incomplete: Vec::new(),
        }
    }
}

/// A rebuilder's head, and the one of its pages that the image belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuilderHead {
    /// The signed head: an attestation over its pages.
    pub head: Vec<u8>,
    /// The page, as the head names it by digest.
    pub page: Vec<u8>,
}

/// A packed output of a build Task, in the image's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Attestations whose subject is this manifest.
    pub attestations: Vec<Attestation>,
}

/// One platform of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The manifest's digest, as the index names it.
    pub digest: Digest,
    /// The manifest, raw.
    pub manifest: Vec<u8>,
    /// SBOMs whose subject is this manifest.
    pub sboms: Vec<Sbom>,
    /// Attestations whose subject is this manifest.
    pub attestations: Vec<Attestation>,
}

/// The developer's SBOM, the commits it was placed on, and its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceEvidence {
    /// The SBOM's bytes, as signed.
    pub sbom: Vec<u8>,
    /// Raw git commit objects, newest first, each as git stores it: `commit SP LENGTH NUL CONTENT`, one after the other.
    pub commits: Vec<u8>,
    /// Signatures over `sbom`.
    pub signatures: Vec<SignatureDocument>,
}

/// A signed definition: its documents, its SBOM, and signatures over the SBOM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DefinitionEvidence {
    /// Pipeline, Task and StepAction documents, YAML or JSON, one object each.
    pub documents: Vec<Vec<u8>>,
    /// The definition SBOM's bytes.
    pub sbom: Vec<u8>,
    /// Signatures over `sbom`.
    pub signatures: Vec<SignatureDocument>,
}

/// A detached signature document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureDocument {
    /// The layer's media type, which says the format.
    pub media_type: String,
    /// File name in `.assay/signatures/`, where it was carried in the tree; else empty.
    pub file_name: String,
    /// The document's bytes.
    pub bytes: Vec<u8>,
}

/// An SBOM of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// `application/spdx+json` or `application/vnd.cyclonedx+json`.
    pub media_type: String,
    /// The document's bytes.
    pub bytes: Vec<u8>,
}

/// An attestation: a Sigstore bundle with a DSSE envelope, or a bare DSSE envelope as Chains writes them under `.att` tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The document's bytes.
    pub bytes: Vec<u8>,
}
