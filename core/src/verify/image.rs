//! The image's own bytes, and whether the policy is for it.

use crate::digest::Digest;
use crate::edge::Edge;
use crate::evidence::{Child, Evidence};
use crate::oci::{Descriptor, Index, Manifest};
use crate::policy::Policy;
use crate::provenance::Refusal;
use crate::reason::Reason;

/// One platform of an index.
pub(super) struct PlatformImage<'a> {
    pub(super) name: String,
    pub(super) child: &'a Child,
}

/// Checks the manifest against its digest, and each platform against the index.
pub(super) fn check<'a>(evidence: &'a Evidence, policy: &Policy) -> Result<Vec<PlatformImage<'a>>, Refusal> {
    let invalid = |expected: String, found: String| Refusal::new(Edge::E7, Reason::ImageInvalid, expected, found);
    if !policy.spec().images.iter().any(|pattern| pattern.matches(&evidence.repository)) {
        return Err(Refusal::new(
            Edge::E7,
            Reason::ImageNotCovered,
            format!("an image of policy {:?}", policy.name()),
            evidence.repository.to_string(),
        ));
    }
    let found = Digest::of(&evidence.manifest);
    if found != evidence.digest {
        return Err(invalid(evidence.digest.to_string(), found.to_string()));
    }
    // Each reader refuses what the other could read as well, so the order does not matter.
    let Ok(index) = Index::parse(&evidence.manifest) else {
        Manifest::parse(&evidence.manifest)
            .map_err(|error| invalid("an OCI or Docker manifest or index".into(), error.to_string()))?;
        return if evidence.children.is_empty() {
            Ok(Vec::new())
        } else {
            Err(invalid("no platforms for a plain image".into(), format!("{} platforms", evidence.children.len())))
        };
    };
    let platforms: Vec<&Descriptor> = index.manifests.iter().filter(|descriptor| is_platform(descriptor)).collect();
    if platforms.is_empty() {
        return Err(invalid("an index with at least one platform".into(), "none".into()));
    }
    platforms
        .into_iter()
        .map(|descriptor| {
            let child = evidence
                .children
                .iter()
                .find(|child| child.digest == descriptor.digest && Digest::of(&child.manifest) == child.digest)
                .ok_or_else(|| {
                    Refusal::new(
                        Edge::E7,
                        Reason::EvidenceIncomplete,
                        format!("the manifest of platform {} ({})", platform_name(descriptor), descriptor.digest),
                        "it was not collected",
                    )
                })?;
            Ok(PlatformImage { name: platform_name(descriptor), child })
        })
        .collect()
}

/// Everything an index lists can be run by somebody, except what says that it is for no platform.
fn is_platform(descriptor: &Descriptor) -> bool {
    !descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
}

fn platform_name(descriptor: &Descriptor) -> String {
    match &descriptor.platform {
        Some(platform) => match &platform.variant {
            Some(variant) => format!("{}/{}/{variant}", platform.os, platform.architecture),
            None => format!("{}/{}", platform.os, platform.architecture),
        },
        None => "no platform".to_owned(),
    }
}
