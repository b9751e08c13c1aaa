//! Media types and annotation keys: OCI's, Docker's and our own.

/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Uncompressed layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// gzip layer.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// zstd layer.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty descriptor's content `{}` (image-spec 1.1, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker gzip layer.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker uncompressed layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Evidence about the source: developer SBOM, commits, signatures.
pub const ASSAY_SOURCE: &str = "application/vnd.assay.source.v1+json";
/// Raw git commit objects.
pub const ASSAY_GIT_COMMIT: &str = "application/vnd.assay.git-commit.v1";
/// A Pipeline definition with its SBOM and signatures.
pub const ASSAY_DEFINITION: &str = "application/vnd.assay.definition.v1+json";
/// One Tekton document.
pub const ASSAY_TEKTON: &str = "application/vnd.assay.tekton.v1+yaml";
/// The declared output of a build, one deterministic tar layer.
pub const ASSAY_OUTPUT: &str = "application/vnd.assay.output.v1";
/// An SSH signature in SSHSIG form.
pub const ASSAY_SSHSIG: &str = "application/vnd.assay.sshsig.v1";
/// A detached signature, base64 as cosign writes it.
pub const ASSAY_SIGNATURE: &str = "application/vnd.assay.signature.v1";
/// SPDX 2.3 JSON.
pub const SPDX_JSON: &str = "application/spdx+json";
/// CycloneDX JSON.
pub const CYCLONEDX_JSON: &str = "application/vnd.cyclonedx+json";
/// Sigstore bundle 0.3.
pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Annotation: date and time of creation, RFC 3339.
pub const ANNOTATION_CREATED: &str = "org.opencontainers.image.created";
/// Annotation: source revision.
pub const ANNOTATION_REVISION: &str = "org.opencontainers.image.revision";
/// Annotation: URL of the source.
pub const ANNOTATION_SOURCE: &str = "org.opencontainers.image.source";
/// Annotation: digest of the base image.
pub const ANNOTATION_BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Annotation: reference of the base image.
pub const ANNOTATION_BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Annotation on a descriptor in a layout's index: its tag.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation: the format version that fixed every byte of the image.
pub const ANNOTATION_FORMAT_VERSION: &str = "dev.assay.build.format-version";
/// Annotation: size of the independently compressed blocks of our layers, in bytes of uncompressed input.
pub const ANNOTATION_BLOCK_SIZE: &str = "dev.assay.build.block-size";
/// Annotation of a bundle referrer: what it contains, `dsse-envelope`.
pub const ANNOTATION_BUNDLE_CONTENT: &str = "dev.sigstore.bundle.content";
/// Annotation of a bundle referrer: the predicate type of its statement.
pub const ANNOTATION_BUNDLE_PREDICATE: &str = "dev.sigstore.bundle.predicateType";

/// Whether documents of this type are image manifests.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Whether documents of this type are indexes.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_MANIFEST_LIST)
}

/// How the bytes of a layer are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerCodec {
    /// Plain tar.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// zstd, RFC 8878.
    Zstd,
}

/// The codec of a layer's media type; `None` if it is no tar layer that we read (foreign, encrypted, or no layer at all).
#[must_use]
pub fn layer_codec(media_type: &str) -> Option<LayerCodec> {
    match media_type {
        LAYER | DOCKER_LAYER | ASSAY_OUTPUT => Some(LayerCodec::None),
        LAYER_GZIP | DOCKER_LAYER_GZIP => Some(LayerCodec::Gzip),
        LAYER_ZSTD => Some(LayerCodec::Zstd),
        _ => None,
    }
}
