//! Collecting: everything a registry or layout says about one image, checked by digest, capped, and not judged.
//!
//! A referrer counts if its manifest is of the kind it was listed as and says this very subject. What is malformed is left out:
//! whoever may push could add it, and it must not stand in the way. What could not be fetched is said, so that missing evidence
//! is not mistaken for absent evidence.

use std::collections::BTreeSet;

use assay_core::digest::Digest;
use assay_core::evidence::{Attestation, Child, DefinitionEvidence, Evidence, Output, Sbom, SignatureDocument, SourceEvidence};
use assay_core::limits;
use assay_core::oci::{Descriptor, Document, Manifest, media_type};
use assay_core::reference::Repository;
use futures::stream::{self, StreamExt};

use super::{ANNOTATION_TITLE, KINDS, outputs, tags};
use crate::store::{Listing, Store, StoreError, document};

/// Requests under way at the same time.
const AT_ONCE: usize = 8;
/// Most platforms of an index that are looked at.
const CHILDREN: usize = 64;
/// Most layers of one piece of evidence.
const LAYERS: usize = 512;
/// Most bytes of evidence taken for one image, all pieces together.
const EVIDENCE_BYTES: u64 = 768 * 1024 * 1024;

/// One piece of evidence, of whichever kind.
enum Piece {
    Source(SourceEvidence),
    Definition(DefinitionEvidence),
    Sbom(Sbom),
    Attestation(Attestation),
}

/// Why a piece is not taken.
enum Skip {
    /// It is not what it was listed as. Nothing is lost.
    Malformed(&'static str),
    /// It may be what is missing.
    Unavailable(StoreError),
}

impl From<StoreError> for Skip {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

/// What is left of the bytes that may be taken.
struct Budget(std::sync::atomic::AtomicU64);

impl Budget {
    fn take(&self, what: &Descriptor) -> Result<(), Skip> {
        use std::sync::atomic::Ordering;
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(what.size))
            .map(|_| ())
            .map_err(|_| StoreError::TooLarge { what: "all evidence together".to_owned(), limit: EVIDENCE_BYTES }.into())
    }
}

/// Collects the evidence of the image with this digest, which is to be judged as one of `repository`.
///
/// # Errors
/// Only if the image's own manifest cannot be had. Everything else that goes wrong stands in [`Evidence::incomplete`].
pub async fn collect(store: &Store, repository: &Repository, digest: Digest) -> Result<Evidence, StoreError> {
    let manifest = store.manifest(&digest).await?;
    let budget = Budget(EVIDENCE_BYTES.into());
    let mut evidence = Evidence::of_image(repository.clone(), digest, manifest);
    let known = document(&evidence.manifest, &digest.to_string())?;
    let (pieces, incomplete) = about(store, digest, &budget).await;
    evidence.incomplete.extend(incomplete);
    for piece in pieces {
        match piece {
            Piece::Source(source) => evidence.sources.push(source),
            Piece::Definition(definition) => evidence.definitions.push(definition),
            Piece::Sbom(sbom) => evidence.sboms.push(sbom),
            Piece::Attestation(attestation) => evidence.attestations.push(attestation),
        }
    }
    if let Document::Index(index) = known.inner() {
        if index.manifests.len() > CHILDREN {
            evidence.incomplete.push(format!("the index has more than {CHILDREN} platforms"));
        }
        // Futures, not a closure that makes them: a closure over references keeps the whole future from being sent to another thread.
        let children: Vec<_> = index.manifests.iter().take(CHILDREN).map(|entry| child(store, entry.digest, &budget)).collect();
        let children: Vec<_> = stream::iter(children).buffered(AT_ONCE).collect().await;
        for (digest, child) in index.manifests.iter().map(|entry| entry.digest).zip(children) {
            match child {
                Ok((child, incomplete)) => {
                    evidence.children.push(child);
                    evidence.incomplete.extend(incomplete);
                }
                Err(error) => evidence.incomplete.push(format!("platform {digest}: {error}")),
            }
        }
    }
    collect_outputs(store, &mut evidence, &budget).await;
    Ok(evidence)
}

/// The attestations about outputs that the image's own attestations name, and about outputs that those name.
async fn collect_outputs(store: &Store, evidence: &mut Evidence, budget: &Budget) {
    let mut known = BTreeSet::from([evidence.digest]);
    let mut named = outputs::named(&evidence.attestations, &known);
    for _ in 0..outputs::DEPTH {
        if named.is_empty() {
            return;
        }
        let mut next = BTreeSet::new();
        for digest in std::mem::take(&mut named) {
            if known.len() > outputs::OUTPUTS {
                evidence.incomplete.push(format!("attestations name more than {} outputs", outputs::OUTPUTS));
                return;
            }
            known.insert(digest);
            let (pieces, incomplete) = about(store, digest, budget).await;
            evidence.incomplete.extend(incomplete);
            let attestations: Vec<_> = pieces
                .into_iter()
                .filter_map(|piece| match piece {
                    Piece::Attestation(attestation) => Some(attestation),
                    _ => None,
                })
                .collect();
            next.extend(outputs::named(&attestations, &known));
            evidence.outputs.push(Output { digest, attestations });
        }
        named = next;
    }
}

async fn child(store: &Store, digest: Digest, budget: &Budget) -> Result<(Child, Vec<String>), StoreError> {
    let manifest = store.manifest(&digest).await?;
    let mut child = Child { digest, manifest, sboms: Vec::new(), attestations: Vec::new() };
    let (pieces, incomplete) = about(store, digest, budget).await;
    for piece in pieces {
        match piece {
            Piece::Sbom(sbom) => child.sboms.push(sbom),
            Piece::Attestation(attestation) => child.attestations.push(attestation),
            // Source and definition belong to the whole image.
            Piece::Source(_) | Piece::Definition(_) => {}
        }
    }
    Ok((child, incomplete))
}

/// Everything attached to one manifest, and why there may be more.
async fn about(store: &Store, subject: Digest, budget: &Budget) -> (Vec<Piece>, Vec<String>) {
    let (listed, tagged) = futures::join!(store.referrers_by_kind(&subject, KINDS), tags::attestations(store, &subject));
    let mut pieces = Vec::new();
    let mut incomplete = Vec::new();
    match listed {
        Ok(listings) => {
            let mut wanted = Vec::new();
            for (kind, listing) in KINDS.iter().zip(listings) {
                let Listing { mut found, incomplete: why } = listing;
                incomplete.extend(why);
                // What says it holds a statement goes first: where bytes run out, plain signatures are the least loss.
                // Then by digest, since registries promise no order: the same evidence is collected the same way from everywhere.
                found.sort_by_key(|entry| {
                    (!entry.annotations.contains_key(media_type::ANNOTATION_BUNDLE_PREDICATE), entry.digest)
                });
                wanted.extend(found.into_iter().map(|entry| (*kind, entry)));
            }
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(kind, entry)| async move { (entry.digest, piece(store, kind, &entry, subject, budget).await) })
                .collect();
            let mut fetched = stream::iter(wanted).buffered(AT_ONCE);
            while let Some((digest, fetched)) = fetched.next().await {
                match fetched {
                    Ok(piece) => pieces.push(piece),
                    Err(Skip::Malformed(why)) => tracing::debug!(%digest, why, "referrer left out"),
                    Err(Skip::Unavailable(error)) => incomplete.push(format!("referrer {digest}: {error}")),
                }
            }
        }
        Err(error) => incomplete.push(format!("referrers of {subject}: {error}")),
    }
    match tagged {
        Ok(tagged) => {
            pieces.extend(tagged.found.into_iter().map(|bytes| Piece::Attestation(Attestation { bytes })));
            incomplete.extend(tagged.incomplete);
        }
        Err(error) => incomplete.push(format!("attestation tag of {subject}: {error}")),
    }
    (pieces, incomplete)
}

/// The attestations about an image, whether it lies in this store or not, and why there may be more.
pub(super) async fn attestations_about(store: &Store, image: Digest) -> (Vec<Attestation>, Vec<String>) {
    let (pieces, incomplete) = about(store, image, &Budget(EVIDENCE_BYTES.into())).await;
    let attestations = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Attestation(attestation) => Some(attestation),
        _ => None,
    });
    (attestations.collect(), incomplete)
}

/// Fetches one referrer, if it is what it was listed as.
async fn piece(store: &Store, kind: &'static str, entry: &Descriptor, subject: Digest, budget: &Budget) -> Result<Piece, Skip> {
    if entry.size > limits::MANIFEST_BYTES as u64 {
        return Err(Skip::Malformed("its descriptor says more bytes than a manifest may have"));
    }
    budget.take(entry)?;
    let bytes = store.manifest(&entry.digest).await?;
    let manifest = Manifest::parse(&bytes).map_err(|_| Skip::Malformed("not an image manifest"))?;
    if manifest.kind() != kind {
        return Err(Skip::Malformed("of another artifact type than listed"));
    }
    if manifest.subject.as_ref().map(|said| said.digest) != Some(subject) {
        return Err(Skip::Malformed("says another subject"));
    }
    if manifest.layers.len() > LAYERS {
        return Err(Skip::Malformed("too many layers"));
    }
    let only = |wanted: &str| only(&manifest, wanted);
    let fetch = async |layer: &Descriptor, cap: usize| fetch(store, layer, cap, budget).await;
    match kind {
        media_type::ASSAY_SOURCE => Ok(Piece::Source(SourceEvidence {
            sbom: fetch(only(media_type::SPDX_JSON)?, limits::SBOM_BYTES).await?,
            commits: fetch(only(media_type::ASSAY_GIT_COMMIT)?, limits::COMMIT_BYTES.saturating_mul(limits::ANCESTORS)).await?,
            signatures: signatures(store, &manifest, budget).await?,
        })),
        media_type::ASSAY_DEFINITION => Ok(Piece::Definition(definition(store, &manifest, budget).await?)),
        media_type::SIGSTORE_BUNDLE => {
            Ok(Piece::Attestation(Attestation { bytes: fetch(only(media_type::SIGSTORE_BUNDLE)?, limits::BUNDLE_BYTES).await? }))
        }
        _ => Ok(Piece::Sbom(Sbom { media_type: kind.to_owned(), bytes: fetch(only(kind)?, limits::SBOM_BYTES).await? })),
    }
}

/// The one layer of a type of which there must be one.
fn only<'a>(manifest: &'a Manifest, wanted: &str) -> Result<&'a Descriptor, Skip> {
    match manifest.layers.iter().filter(|layer| layer.media_type == wanted).collect::<Vec<_>>().as_slice() {
        [layer] => Ok(*layer),
        _ => Err(Skip::Malformed("not exactly one layer of a type of which there must be one")),
    }
}

async fn fetch(store: &Store, layer: &Descriptor, cap: usize, budget: &Budget) -> Result<Vec<u8>, Skip> {
    if layer.size > cap as u64 {
        return Err(Skip::Malformed("a layer is larger than its kind may be"));
    }
    budget.take(layer)?;
    Ok(store.blob(layer, cap as u64).await?)
}

async fn definition(store: &Store, manifest: &Manifest, budget: &Budget) -> Result<DefinitionEvidence, Skip> {
    let mut documents = Vec::new();
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == media_type::ASSAY_TEKTON) {
        documents.push(fetch(store, layer, limits::DOCUMENT_BYTES, budget).await?);
    }
    if documents.is_empty() {
        return Err(Skip::Malformed("no definition in it"));
    }
    Ok(DefinitionEvidence {
        documents,
        sbom: fetch(store, only(manifest, media_type::SPDX_JSON)?, limits::SBOM_BYTES, budget).await?,
        signatures: signatures(store, manifest, budget).await?,
    })
}

/// Finds a signed definition by a digest that a resolver recorded of its Pipeline: the digest of its manifest, and what it holds.
///
/// # Errors
/// As [`definition_at`].
pub async fn find_definition(store: &Store, pipeline: &Digest) -> Result<(Digest, DefinitionEvidence), StoreError> {
    let digest = store.resolve_tag(Some(&super::definition_tag(pipeline))).await?;
    Ok((digest, definition_at(store, &digest).await?))
}

/// Reads a signed definition that was published by itself, by the digest of its manifest.
///
/// # Errors
/// [`StoreError::Malformed`] if it is no definition; else what the store says.
pub async fn definition_at(store: &Store, digest: &Digest) -> Result<DefinitionEvidence, StoreError> {
    let malformed = |why| StoreError::Malformed { what: format!("definition {digest}"), why };
    let bytes = store.manifest(digest).await?;
    let manifest = Manifest::parse(&bytes).map_err(|_| malformed("is not an image manifest"))?;
    if manifest.kind() != media_type::ASSAY_DEFINITION || manifest.layers.len() > LAYERS {
        return Err(malformed("is no definition"));
    }
    definition(store, &manifest, &Budget(EVIDENCE_BYTES.into())).await.map_err(|skip| match skip {
        Skip::Malformed(why) => malformed(why),
        Skip::Unavailable(error) => error,
    })
}

/// The signature layers of source or definition evidence.
async fn signatures(store: &Store, manifest: &Manifest, budget: &Budget) -> Result<Vec<SignatureDocument>, Skip> {
    let layers: Vec<_> = manifest
        .layers
        .iter()
        .filter(|layer| {
            matches!(
                layer.media_type.as_str(),
                media_type::SIGSTORE_BUNDLE | media_type::ASSAY_SSHSIG | media_type::ASSAY_SIGNATURE
            )
        })
        .collect();
    if layers.len() > limits::SIGNATURES {
        return Err(Skip::Malformed("too many signatures"));
    }
    let mut signatures = Vec::new();
    for layer in layers {
        if layer.size > limits::BUNDLE_BYTES as u64 {
            return Err(Skip::Malformed("a signature is larger than it may be"));
        }
        budget.take(layer)?;
        signatures.push(SignatureDocument {
            media_type: layer.media_type.clone(),
            file_name: layer.annotations.get(ANNOTATION_TITLE).cloned().unwrap_or_default(),
            bytes: store.blob(layer, limits::BUNDLE_BYTES as u64).await?,
        });
    }
    Ok(signatures)
}
