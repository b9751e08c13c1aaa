//! Writing `ImageVerdict` objects.

use assay_adapters::store::StoreError;
use assay_core::admission::verdict::Key;
use assay_core::digest::Digest;
use assay_core::edge::Finding;
use assay_core::policy::Policy;
use assay_core::time::Timestamp;
use assay_core::verdict::{Outcome, Verdict};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::clock::now;
use super::replay::refusal_of;
use crate::api::ImageVerdict;
use crate::api::image_verdict::{EdgeStatus, EvidenceStatus, ImageVerdictSpec, ImageVerdictStatus};
use crate::roles::FIELD_MANAGER;

/// Longest text of one field, in characters.
const TEXT: usize = 1_000;
/// Most edges, evidence and notes that are shown.
const ENTRIES: usize = 128;

/// What was found.
pub enum Found<'a> {
    /// A verdict, with the arbiter's signed word unless it could not be decided.
    Verdict {
        /// The verdict.
        verdict: &'a Verdict,
        /// The bundle with the VSA.
        vsa: Option<&'a [u8]>,
    },
    /// The registry did not give the image.
    Unavailable(&'a StoreError),
}

/// Writes `ImageVerdict` objects.
#[derive(Clone)]
pub struct Publisher {
    /// The way to the API server; none where nothing is to be written.
    pub client: Option<Client>,
    /// How long a verdict counts, in seconds.
    pub lifetime: i64,
}

/// At most so much of a text as an object shows.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

fn edge(finding: &Finding, platform: Option<&str>) -> EdgeStatus {
    EdgeStatus {
        edge: finding.edge.to_string(),
        platform: platform.map(str::to_owned),
        state: format!("{:?}", finding.state),
        reason: finding.reason.to_string(),
        expected: cut(&finding.expected),
        found: cut(&finding.found),
        remedy: finding.remedy.clone(),
    }
}

/// `HOST/PATH@sha256:` and the first digits.
fn image(key: &Key) -> String {
    let hex: String = key.digest.hex().chars().take(12).collect();
    format!("{}@sha256:{hex}", key.repository)
}

fn status(key: &Key, policy: &Policy, found: &Found<'_>, lifetime: i64) -> ImageVerdictStatus {
    let base =
        ImageVerdictStatus { image: Some(image(key)), policy: Some(policy.name().to_owned()), ..ImageVerdictStatus::default() };
    match found {
        Found::Unavailable(error) => ImageVerdictStatus {
            outcome: Some("Unknown".into()),
            problem: Some(cut(&format!("{}: {error}", error.reason()))),
            time: Some(now().to_string()),
            ..base
        },
        Found::Verdict { verdict, vsa } => {
            let time = verdict.time();
            let expires = Timestamp::from_seconds(time.seconds().saturating_add(lifetime)).unwrap_or(time);
            let edges = verdict.edges().iter().map(|finding| edge(finding, None));
            let platforms = verdict
                .children()
                .iter()
                .flat_map(|child| child.edges.iter().map(|finding| edge(finding, Some(&child.platform))));
            ImageVerdictStatus {
                outcome: Some(
                    match verdict.outcome() {
                        Outcome::Verified => "Verified",
                        Outcome::Rejected => "Rejected",
                        Outcome::Unknown => "Unknown",
                    }
                    .into(),
                ),
                problem: Some(refusal_of(verdict).map(|refusal| cut(&refusal.to_string())).unwrap_or_default()),
                time: Some(time.to_string()),
                expires: vsa.map(|_| expires.to_string()),
                edges: edges.chain(platforms).take(ENTRIES).collect(),
                evidence: verdict
                    .evidence()
                    .iter()
                    .take(ENTRIES)
                    .map(|used| EvidenceStatus {
                        kind: used.kind.to_owned(),
                        digest: used.digest.to_string(),
                        signed_by: used.signed_by.clone(),
                    })
                    .collect(),
                notes: verdict.notes().iter().take(16).map(|note| cut(note)).collect(),
                ..base
            }
        }
    }
}

impl Publisher {
    /// Writes what was found. A write that fails is logged: the verdict holds in this replica, and is written again with the next one.
    pub async fn put(&self, key: &Key, policy: &Policy, found: Found<'_>) {
        let Some(client) = &self.client else { return };
        let api: Api<ImageVerdict> = Api::all(client.clone());
        let name = key.object_name();
        let digest = |digest: &Digest| digest.to_string();
        let spec = ImageVerdictSpec {
            repository: key.repository.to_string(),
            digest: digest(&key.digest),
            policy_digest: digest(&key.policy),
            trust_root: digest(&key.trust_root),
            vsa: match &found {
                Found::Verdict { vsa, .. } => vsa.map(|vsa| String::from_utf8_lossy(vsa).into_owned()),
                Found::Unavailable(_) => None,
            },
        };
        let (version, kind) = (crate::api::API_VERSION, "ImageVerdict");
        let with_spec = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let written = async {
            // An older signed word stays while the image cannot be had or decided: it counts until it expires. What the registry does
            // not have gets no object, or whoever may make pods could fill the cluster with them.
            let is_there = spec.vsa.is_none() && api.get_metadata_opt(&name).await?.is_some();
            if !is_there && matches!(found, Found::Unavailable(_)) {
                return Ok(());
            }
            if !is_there {
                api.patch(&name, &parameters, &Patch::Apply(with_spec)).await?;
            }
            let status = status(key, policy, &found, self.lifetime);
            let with_status = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "status": status});
            api.patch_status(&name, &parameters, &Patch::Apply(with_status)).await?;
            Ok::<_, kube::Error>(())
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, name, reason = "ApiServer", "an ImageVerdict was not written");
        }
    }
}
