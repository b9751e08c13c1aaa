//! Evidence by image: collected once at a time, kept for a while, bounded in bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_adapters::evidence::collect;
use assay_adapters::store::{Access, Connection, Location, Store, StoreError};
use assay_core::digest::Digest;
use assay_core::evidence::Evidence;
use assay_core::reference::{Reference, Repository};
use tokio::time::Instant;

/// Most images whose evidence is kept.
const IMAGES: usize = 256;
/// Most bytes of evidence that are kept, all images together.
const BYTES: usize = 192 * 1024 * 1024;

type Image = (Repository, Digest);
type Slot = Arc<tokio::sync::Mutex<Option<Collected>>>;

/// What was collected, and when.
#[derive(Debug, Clone)]
struct Collected {
    at: Instant,
    evidence: Arc<Evidence>,
}

/// Evidence of images, fetched when it is asked for.
#[derive(Debug)]
pub struct EvidenceCache {
    connection: Connection,
    slots: Mutex<HashMap<Image, (Slot, usize, Instant)>>,
}

fn size(evidence: &Evidence) -> usize {
    let signatures = |list: &[assay_core::evidence::SignatureDocument]| list.iter().map(|one| one.bytes.len()).sum::<usize>();
    let sboms = |list: &[assay_core::evidence::Sbom]| list.iter().map(|one| one.bytes.len()).sum::<usize>();
    let attestations = |list: &[assay_core::evidence::Attestation]| list.iter().map(|one| one.bytes.len()).sum::<usize>();
    evidence.manifest.len()
        + evidence.sources.iter().map(|one| one.sbom.len() + one.commits.len() + signatures(&one.signatures)).sum::<usize>()
        + evidence
            .definitions
            .iter()
            .map(|one| one.documents.iter().map(Vec::len).sum::<usize>() + one.sbom.len() + signatures(&one.signatures))
            .sum::<usize>()
        + sboms(&evidence.sboms)
        + attestations(&evidence.attestations)
        + evidence
            .children
            .iter()
            .map(|child| child.manifest.len() + sboms(&child.sboms) + attestations(&child.attestations))
            .sum::<usize>()
}

impl EvidenceCache {
    /// Fetches through this connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection, slots: Mutex::default() }
    }

    /// The connection it fetches through.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The evidence of an image, collected no longer than `age` ago. Whoever else asks for the same meanwhile waits for the same.
    ///
    /// # Errors
    /// As [`collect`]: only if the image's own manifest cannot be had.
    pub async fn get(&self, repository: &Repository, digest: Digest, age: Duration) -> Result<Arc<Evidence>, StoreError> {
        let image = (repository.clone(), digest);
        let asked = Instant::now();
        let slot = self.slot(&image);
        let mut held = slot.lock().await;
        if let Some(collected) = held.as_ref()
            && (collected.at >= asked || collected.at.elapsed() <= age)
        {
            return Ok(Arc::clone(&collected.evidence));
        }
        let location = Location::Registry(Reference { repository: repository.clone(), tag: None, digest: Some(digest) });
        let store = Store::open(&location, Access::Pull, &self.connection).await?;
        let at = Instant::now();
        let evidence = Arc::new(collect(&store, repository, digest).await?);
        *held = Some(Collected { at, evidence: Arc::clone(&evidence) });
        drop(held);
        self.weigh(&image, size(&evidence));
        Ok(evidence)
    }

    fn slot(&self, image: &Image) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, _, used) = slots.entry(image.clone()).or_insert_with(|| (Slot::default(), 0, Instant::now()));
        *used = Instant::now();
        Arc::clone(slot)
    }

    /// Notes how large an image's evidence is, and lets go of what was not used for longest until all fit.
    fn weigh(&self, image: &Image, bytes: usize) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, weight, _)) = slots.get_mut(image) {
            *weight = bytes;
        }
        while slots.len() > IMAGES || slots.values().map(|(_, weight, _)| weight).sum::<usize>() > BYTES {
            let Some(oldest) = slots.iter().min_by_key(|(_, (_, _, used))| *used).map(|(image, _)| image.clone()) else { return };
            slots.remove(&oldest);
        }
    }
}
