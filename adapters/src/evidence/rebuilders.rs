//! A rebuilder's own repository: statements as referrers of images that need not lie there, and one head over all of them.
//!
//! The head lies under one tag as an artifact whose first layer is the signed head and whose other layers are its pages. Anybody may
//! mirror it; only the rebuilder's key makes a new one.

use std::collections::BTreeMap;

use assay_core::digest::Digest;
use assay_core::evidence::{Evidence, RebuilderHead};
use assay_core::limits;
use assay_core::oci::artifact::EMPTY_CONFIG;
use assay_core::oci::{Artifact, Descriptor, Manifest, media_type};
use assay_core::policy::types;
use assay_core::rebuild::index::{Head, Page, Statements, pages};
use assay_core::signature;
use assay_core::time::Timestamp;

use super::collect;
use crate::keys::SigningKey;
use crate::store::{Access, Connection, Location, Store, StoreError};

/// The tag of the head.
pub const HEAD_TAG: &str = "assay-rebuilds";
/// Artifact type of head and pages.
pub const REBUILDS: &str = "application/vnd.assay.rebuilds.v1";
/// Media type of a page.
const PAGE: &str = "application/vnd.assay.rebuilds.page.v1+json";

/// A head as it lies in a repository; not judged.
pub struct Published {
    bundle: Vec<u8>,
    /// What it says.
    pub head: Head,
    layers: Vec<Descriptor>,
}

/// Reads the head; `None` if the repository has none.
///
/// # Errors
/// What the store says, and [`StoreError::Malformed`] for something else under the tag.
pub async fn published(store: &Store) -> Result<Option<Published>, StoreError> {
    let digest = match store.resolve_tag(Some(HEAD_TAG)).await {
        Ok(digest) => digest,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let malformed = |why| StoreError::Malformed { what: format!("{HEAD_TAG} {digest}"), why };
    let manifest = Manifest::parse(&store.manifest(&digest).await?).map_err(|_| malformed("is not an image manifest"))?;
    let [first, layers @ ..] = manifest.layers.as_slice() else { return Err(malformed("has no layers")) };
    if manifest.kind() != REBUILDS || first.size > limits::BUNDLE_BYTES as u64 {
        return Err(malformed("is no head of a rebuilder"));
    }
    let bundle = store.blob(first, limits::BUNDLE_BYTES as u64).await?;
    let read = signature::read_unverified(&bundle).map_err(|_| malformed("is not signed"))?;
    let head: Head = read.statement.predicate().map_err(|_| malformed("is no head"))?;
    if head.pages.len() != layers.len() || head.pages.iter().zip(layers).any(|(page, layer)| *page != layer.digest) {
        return Err(malformed("does not hold the pages that its head names"));
    }
    Ok(Some(Published { bundle, head, layers: layers.to_vec() }))
}

impl Published {
    /// The head with the one page that an image belongs to.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Malformed`] for a head without such a page.
    pub async fn about(&self, store: &Store, image: &Digest) -> Result<RebuilderHead, StoreError> {
        let malformed = || StoreError::Malformed { what: HEAD_TAG.to_owned(), why: "has no page for the image" };
        let (place, _) = self.head.page_of(image).ok_or_else(malformed)?;
        let layer = self.layers.get(place).ok_or_else(malformed)?;
        let page = store.blob(layer, limits::DOCUMENT_BYTES as u64).await?;
        Ok(RebuilderHead { head: self.bundle.clone(), page })
    }

    /// All statements on all pages.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Malformed`] for a page that is none.
    pub async fn statements(&self, store: &Store) -> Result<Statements, StoreError> {
        let mut all = Statements::new();
        for layer in &self.layers {
            let bytes = store.blob(layer, limits::DOCUMENT_BYTES as u64).await?;
            let page = Page::parse(&bytes)
                .map_err(|_| StoreError::Malformed { what: layer.digest.to_string(), why: "is no page of a head" })?;
            all.extend(page.images);
        }
        Ok(all)
    }
}

/// Who signs a head, and how long it counts.
pub struct HeadSigner<'a> {
    /// The rebuilder's key.
    pub key: &'a SigningKey,
    /// The rebuilder's builder id.
    pub id: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Seconds until the head expires.
    pub valid: u32,
}

/// Adds statements to those the repository's head lists, and signs the next head over all of them. With nothing to add, the head is renewed.
///
/// # Errors
/// What the store says; [`StoreError::Malformed`] for a head that cannot be made, and for one by another key: what it lists
/// would be vouched for unseen.
pub async fn publish_head(store: &Store, add: &Statements, signer: &HeadSigner<'_>) -> Result<u64, StoreError> {
    let malformed = |why| StoreError::Malformed { what: HEAD_TAG.to_owned(), why };
    let (mut all, number) = match published(store).await? {
        None => (Statements::new(), 1),
        Some(published) => {
            let own = [signature::Identity::with_key("this rebuilder", signer.key.public_key().clone())];
            signature::verify_attestation(&published.bundle, &own, None, signer.now)
                .map_err(|_| malformed("is signed by another key than this rebuilder's"))?;
            (published.statements(store).await?, published.head.number.saturating_add(1))
        }
    };
    for (image, statements) in add {
        all.entry(*image).or_default().extend(statements);
    }
    let expires = Timestamp::from_seconds(signer.now.seconds().saturating_add(i64::from(signer.valid)))
        .map_err(|_| malformed("would expire after the year 9999"))?;
    let pages = pages(&all).map_err(|_| malformed("cannot be written"))?;
    let head = Head::over(&pages, all.len(), number, signer.now, expires);
    let statement = head.render(signer.id).map_err(|_| malformed("cannot be written"))?;
    let bundle = signer.key.sign_statement(&statement).map_err(|_| malformed("cannot be signed"))?.bundle;
    if bundle.len() > limits::BUNDLE_BYTES {
        return Err(malformed("would be larger than a bundle may be"));
    }
    let mut layers = vec![Descriptor::of(media_type::SIGSTORE_BUNDLE, &bundle)];
    store.push_blob(&bundle).await?;
    for page in &pages {
        store.push_blob(page).await?;
        layers.push(Descriptor::of(PAGE, page));
    }
    store.push_blob(EMPTY_CONFIG).await?;
    let artifact =
        Artifact { artifact_type: REBUILDS.to_owned(), subject: None, layers, annotations: BTreeMap::new(), created: signer.now };
    let (bytes, _) = artifact.render().map_err(|_| malformed("has no layers"))?;
    store.push_manifest(&bytes, Some(HEAD_TAG)).await?;
    Ok(number)
}

/// Adds to the evidence what the mirrors that a policy lists hold about the image: statements, and the head over them.
///
/// What cannot be had is said in [`Evidence::incomplete`].
pub async fn collect_rebuilds(evidence: &mut Evidence, required: Option<&types::Rebuilds>, connection: &Connection) {
    let mirrors: Vec<&String> =
        required.iter().flat_map(|required| required.mirrors.iter().flat_map(|mirrors| mirrors.iter())).collect();
    for mirror in mirrors {
        if let Err(error) = from_mirror(evidence, mirror, connection).await {
            evidence.incomplete.push(format!("rebuilds in {mirror}: {error}"));
        }
    }
}

async fn from_mirror(evidence: &mut Evidence, mirror: &str, connection: &Connection) -> Result<(), StoreError> {
    let location: Location = mirror.parse()?;
    let store = Store::open(&location, Access::Pull, connection).await?;
    let (attestations, incomplete) = collect::attestations_about(&store, evidence.digest).await;
    evidence.incomplete.extend(incomplete.into_iter().map(|why| format!("{mirror}: {why}")));
    for attestation in attestations {
        if evidence.attestations.len() >= limits::REFERRERS {
            evidence.incomplete.push(format!("{mirror}: more than {} attestations", limits::REFERRERS));
            break;
        }
        if !evidence.attestations.contains(&attestation) {
            evidence.attestations.push(attestation);
        }
    }
    if let Some(published) = published(&store).await? {
        let head = published.about(&store, &evidence.digest).await?;
        evidence.rebuilder_heads.push(head);
    }
    Ok(())
}
