//! Packed outputs of builds: provenance about an image names them by digest, and evidence about them lies in the same repository.
//!
//! What an attestation says before anybody verified it is only a hint where to look: somebody who may push can make us look in vain,
//! within the cap.

use std::collections::BTreeSet;

use assay_core::digest::Digest;
use assay_core::evidence::Attestation;
use assay_core::provenance::tekton;
use assay_core::signature::read_unverified;

/// Most outputs of one chain that are looked for.
pub(super) const OUTPUTS: usize = 2 * tekton::OUTPUTS;
/// Longest line of outputs made from outputs.
pub(super) const DEPTH: usize = 4;

/// The outputs that these attestations name, but for those known already.
pub(super) fn named(attestations: &[Attestation], known: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    attestations
        .iter()
        .filter_map(|attestation| read_unverified(&attestation.bytes).ok())
        .flat_map(|unverified| tekton::output_hints(&unverified.statement))
        .filter(|digest| !known.contains(digest))
        .collect()
}
