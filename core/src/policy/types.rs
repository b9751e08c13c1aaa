//! The fields of a `TrustPolicy`. There are no defaults: what a policy does not say, it does not ask for.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::pattern::{ImagePattern, PathPattern};
use crate::digest::Digest;
use crate::keylime::policy::{Demand, Wanted};
use crate::signature::PublicKey;
use crate::time::Timestamp;

/// A list that cannot be empty, since an empty list never means "anything goes".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> std::ops::Deref for NonEmpty<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NonEmpty<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::deserialize(deserializer)?;
        if items.is_empty() {
            return Err(serde::de::Error::custom("the list is empty; an empty list would ask for nothing"));
        }
        Ok(Self(items))
    }
}

impl<T: JsonSchema> JsonSchema for NonEmpty<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("NonEmpty_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "array", "minItems": 1, "maxItems": 256, "items": generator.subschema_for::<T>()})
    }
}

/// What happens to an image that is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is let in with a warning.
    Warn,
    /// It is let in; the verdict is recorded.
    Audit,
}

/// Which images, from whom, made how: the whole of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// What happens to an image that is not verified.
    pub mode: Mode,
    /// Images this policy is for.
    pub images: NonEmpty<ImagePattern>,
    /// Where sources may come from (E1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// Who may vouch for sources (E2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authors: Option<Authority>,
    /// Who may publish definitions (E3, E4, E5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definitions: Option<Authority>,
    /// Which gates are believed (E9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// Which builders are believed (E7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builders: Option<NonEmpty<Builder>>,
    /// What a run may vary (E6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// What may go into an image besides its source (E13).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// What the result SBOM must and must not say (E8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sbom: Option<SbomConditions>,
    /// Who must have rebuilt the image (E10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilds: Option<Rebuilds>,
    /// Never older than what was admitted before (E11).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_only: Option<ForwardOnly>,
    /// Whose revocations count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<Revocations>,
    /// What the node must be (E12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// Who may let an image in though it has no verdict: break-glass. Without it, nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<Exceptions>,
    /// What becomes of images that were admitted before. Without it they stay admissible for their workload until revoked, and nothing
    /// is evicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
}

/// Where sources may come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sources {
    /// URLs of repositories. User, `.git` and a trailing slash make no difference.
    pub repositories: NonEmpty<String>,
    /// Patterns of full ref names, such as `refs/heads/main` or `refs/tags/v*`.
    pub refs: NonEmpty<PathPattern>,
    /// What the tree digest is compared with.
    pub binding: Binding,
    /// Whose signature the commit object itself must carry, besides those over the source SBOM (E2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_signatures: Option<CommitSignatures>,
}

/// Whose signature a commit object must carry. A commit holds one signature, so there is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CommitSignatures {
    /// Who may sign commits: by SSH key (`gpg.format=ssh`), or keyless with gitsign (`gpg.format=x509`).
    pub identities: NonEmpty<Identity>,
}

/// What the source SBOM's tree is compared with when a chain is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Binding {
    /// With what the trusted builder fetched and recorded in its signed provenance.
    Provenance,
    /// With git again, besides the provenance.
    Git,
}

/// People or machines who sign, and how many distinct ones must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authority {
    /// How many distinct identities must have signed, at least 1.
    #[schemars(range(min = 1, max = 64))]
    pub threshold: u8,
    /// Who may sign.
    pub identities: NonEmpty<Identity>,
}

/// A person or machine, by name, with whatever it signs with. A threshold counts names, never keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Identity {
    /// Unique name within its list.
    pub name: String,
    /// Public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<NonEmpty<Key>>,
    /// Certificates of a trusted root's issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyless: Option<NonEmpty<Keyless>>,
}

/// A public key and when it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Key {
    /// The key: a `PUBLIC KEY` PEM block, or a line as in an SSH public key file.
    pub key: KeyText,
    /// First moment at which a signature counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Last moment at which a signature counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

/// A public key together with the text it was written as.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    text: String,
    key: PublicKey,
}

impl KeyText {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, f)
    }
}

impl Serialize for KeyText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let key = if text.trim_start().starts_with("-----BEGIN") {
            PublicKey::from_pem(&text).map_err(serde::de::Error::custom)?
        } else {
            PublicKey::from_openssh(&text).map_err(serde::de::Error::custom)?
        };
        Ok(Self { text, key })
    }
}

impl JsonSchema for KeyText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 16384,
            "description": "A PUBLIC KEY PEM block, or a line as in an SSH public key file: ECDSA P-256, P-384 or P-521, Ed25519, or RSA of at least 3072 bits."
        })
    }
}

/// A signer by certificate: issuer and subject, both compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Keyless {
    /// OIDC issuer.
    pub issuer: String,
    /// Subject alternative name: e-mail address or URI.
    pub subject: String,
}

/// Which gates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Gates {
    /// `verifier.id` of the gate's VSA.
    pub verifier_id: String,
    /// Who signs for the gate.
    pub identities: NonEmpty<Identity>,
    /// Digests of the policies the gate may have judged by.
    pub policy_digests: NonEmpty<Digest>,
    /// Longest time from the gate's word to the start of the run, in seconds.
    #[schemars(range(min = 1))]
    pub max_age_seconds: u32,
}

/// A builder that is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Builder {
    /// `runDetails.builder.id` of its provenance.
    pub id: String,
    /// `buildDefinition.buildType` it may use.
    pub build_types: NonEmpty<String>,
    /// Who signs for it.
    pub identities: NonEmpty<Identity>,
    /// Repositories whose images may also be deployed from another one, after promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<NonEmpty<Mapping>>,
}

/// An image built for one repository may be judged in another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mapping {
    /// Repository named by the provenance.
    pub built: String,
    /// Repository it is deployed from.
    pub deployed: String,
}

/// What a Tekton run may vary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Run {
    /// Service accounts it may use.
    pub service_accounts: NonEmpty<String>,
    /// Tekton's feature flags as the provenance records them, all of them, with their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_flags: Option<BTreeMap<String, Value>>,
    /// The one pod template it may use; without it, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Value>,
}

/// What may go into an image besides its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Inputs {
    /// Images that are vouched for by this policy itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<NonEmpty<InputImage>>,
    /// Whether build commands must have run without network.
    pub hermetic: Hermetic,
    /// Whether every package in the image must be declared by the source.
    pub contents: Contents,
}

/// An input that is vouched for by the policy itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InputImage {
    /// What it is, for people.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// Whether build commands must have run without network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Hermetic {
    /// The provenance must say hermetic.
    Required,
    /// The provenance may say that it was not.
    NotRequired,
}

/// Whether every package in the image must be accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Contents {
    /// Each must be declared in the source SBOM, those of a base image too: result SBOMs do not say yet what the base brought.
    Declared,
    /// Anything may be in it.
    NotRequired,
}

/// What the result SBOM must and must not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SbomConditions {
    /// SPDX relationship types that must be there, besides those that E8 itself asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_relationships: Option<NonEmpty<String>>,
    /// Packages that must not be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_packages: Option<NonEmpty<DeniedPackage>>,
    /// SPDX licence ids that no package may be under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_licenses: Option<NonEmpty<String>>,
    /// CEL conditions over verified facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<NonEmpty<Condition>>,
}

/// A package that must not be in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeniedPackage {
    /// Package URL without version, such as `pkg:npm/event-stream`.
    pub purl: String,
    /// Versions denied; without it, every version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<NonEmpty<String>>,
}

/// A CEL expression over verified facts that must be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Condition {
    /// Name, for the verdict.
    pub name: String,
    /// The expression. It sees `image`, `source`, `build` and `sbom`.
    pub cel: super::condition::Expression,
    /// What to tell people when it is not met.
    pub message: String,
}

/// Who must have rebuilt the image, and who may say that a mismatch does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rebuilds {
    /// How many distinct identities must have got the same digest, at least 1.
    #[schemars(range(min = 1, max = 64))]
    pub threshold: u8,
    /// Who may rebuild. A mismatch by any of them blocks.
    pub identities: NonEmpty<Identity>,
    /// Longest time since a match was found, in seconds. A mismatch never grows too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_age_seconds: Option<u32>,
    /// Repositories, HOST/PATH, where rebuilders publish: statements about the image and their head are looked for there too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirrors: Option<NonEmpty<String>>,
    /// Each named rebuilder must show a current head over everything it said. Without, a withheld mismatch is not noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<RebuilderHeads>,
    /// Who may sign releases, which lift a mismatch that was explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_authority: Option<Authority>,
}

/// How fresh rebuilders' heads must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RebuilderHeads {
    /// Longest time since a head was issued, in seconds, besides the time that it names itself.
    #[schemars(range(min = 1))]
    pub max_age_seconds: u32,
}

/// Never older than what was admitted before for this source repository, image repository and namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ForwardOnly {
    /// Who may sign rollback statements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_authority: Option<Authority>,
}

/// Whose revocations count, and how fresh their list must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Revocations {
    /// Who signs the list.
    pub identities: NonEmpty<Identity>,
}

/// What the node must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// Longest time since the node's last passing quote, in seconds.
    #[schemars(range(min = 1))]
    pub max_age_seconds: u32,
    /// PCRs (0 to 23) that the verifier must compare, whatever values the node's binding accepts for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcrs: Option<NonEmpty<Pcr>>,
    /// Whether measured boot must be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_boot: Option<Demand>,
    /// Whether IMA must be checked against a runtime policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_policy: Option<Demand>,
}

impl Node {
    /// What has to be checked of the node.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted {
            pcrs: self.pcrs.iter().flat_map(|pcrs| pcrs.iter()).map(|pcr| pcr.0).collect(),
            measured_boot: self.measured_boot == Some(Demand::Required),
            runtime_policy: self.runtime_policy == Some(Demand::Required),
        }
    }
}

/// Number of a PCR, 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Pcr(#[schemars(range(max = 23))] u8);

impl<'de> Deserialize<'de> for Pcr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        if number > 23 {
            return Err(serde::de::Error::custom(format!("a TPM has PCRs 0 to 23, none of number {number}")));
        }
        Ok(Self(number))
    }
}

/// Who may sign exceptions, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Exceptions {
    /// Who may sign them, and how many distinct ones must have.
    pub authority: Authority,
    /// Longest time from an exception's `issued` to its `expires`, in seconds.
    #[schemars(range(min = 60, max = 2_592_000))]
    pub max_seconds: u32,
}

/// What becomes of images that were admitted before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Running {
    /// Whether a change of this policy reaches what was admitted before it.
    pub reverify: Reverify,
    /// What happens to pods whose image is refused now.
    pub refused: Refused,
}

/// What a policy that changes is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reverify {
    /// Only of what comes new: what a workload was admitted with stays admissible for it until revoked.
    New,
    /// Of what runs too: a workload keeps an image only if it was admitted under this very policy.
    Running,
}

/// What happens to running pods whose image is refused now: by a revocation, or under a policy that is asked of what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Refused {
    /// They are evicted, as far as their PodDisruptionBudgets allow at a time.
    Evict,
    /// They are reported.
    Report,
}
