//! Loading a policy: strict, and refusing whatever could admit an image without proof.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::types::{Authority, Identity, NonEmpty, Rebuilds, Spec};
use crate::digest::Digest;
use crate::git::RepositoryUrl;
use crate::json;
use crate::limits;
use crate::reference::Repository;
use crate::signature;

/// `apiVersion` of a policy.
pub const API_VERSION: &str = "assay.dev/v1alpha1";

/// Most repositories where rebuilders publish.
const MIRRORS: usize = 64;

/// Why a policy is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// More bytes than allowed.
    #[error("policy has {found} bytes, the limit is {limit}", limit = limits::DOCUMENT_BYTES)]
    TooLarge {
        /// Size in bytes.
        found: usize,
    },
    /// Not a policy: the message has line and column.
    #[error("{detail}")]
    Parse {
        /// What is wrong, with line and column.
        detail: String,
    },
    /// Another kind of object.
    #[error("expected {API_VERSION} TrustPolicy or ClusterTrustPolicy, found {api_version} {kind}")]
    Kind {
        /// `apiVersion` found.
        api_version: String,
        /// `kind` found.
        kind: String,
    },
    /// It has no canonical form.
    #[error("policy: {source}")]
    Canonicalize {
        /// What is wrong.
        #[source]
        source: json::JsonError,
    },
}

/// How YAML from outside is read: one document, no repeated keys, no aliases or merge keys, capped depth and size.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_depth: limits::JSON_DEPTH,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_nodes: 100_000,
        },
    }
}

/// A policy that was loaded and found to ask for something.
#[derive(Debug, Clone)]
pub struct Policy {
    name: String,
    spec: Spec,
    digest: Digest,
    of_cluster: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: CheckedSpec,
}

/// Only the name counts; labels and annotations may be there for others.
#[derive(Deserialize)]
struct Metadata {
    name: String,
}

/// A spec whose rules between fields were checked while its place in the document is still known.
struct CheckedSpec(Spec);

impl<'de> Deserialize<'de> for CheckedSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spec = Spec::deserialize(deserializer)?;
        check(&spec).map_err(serde::de::Error::custom)?;
        Ok(Self(spec))
    }
}

impl Policy {
    /// Reads a policy file: one YAML (or JSON) document.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > limits::DOCUMENT_BYTES {
            return Err(PolicyError::TooLarge { found: bytes.len() });
        }
        let object: Object = serde_saphyr::from_slice_with_options(bytes, yaml_options())
            .map_err(|error| PolicyError::Parse { detail: error.to_string() })?;
        if object.api_version != API_VERSION || !matches!(object.kind.as_str(), "TrustPolicy" | "ClusterTrustPolicy") {
            return Err(PolicyError::Kind { api_version: object.api_version, kind: object.kind });
        }
        Self::new(object.metadata.name, object.spec.0, object.kind == "ClusterTrustPolicy")
    }

    fn new(name: String, spec: Spec, of_cluster: bool) -> Result<Self, PolicyError> {
        let canonical = json::canonical(&spec).map_err(|source| PolicyError::Canonicalize { source })?;
        Ok(Self { name, spec, digest: Digest::of(&canonical), of_cluster })
    }

    /// Whether it is a `ClusterTrustPolicy`, which counts in every namespace.
    #[must_use]
    pub const fn is_for_the_cluster(&self) -> bool {
        self.of_cluster
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it asks for.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// SHA-256 of the RFC 8785 form of `spec`.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// Rules between fields.
fn check(spec: &Spec) -> Result<(), String> {
    if spec.builders.is_none() && spec.rebuilds.is_none() {
        return Err(
            "the policy has neither `builders` nor `rebuilds`: nothing signed would have to name the image, and any image could pass".into()
        );
    }
    if spec.sources.is_some() != spec.authors.is_some() {
        return Err(
            "`sources` and `authors` need each other: one says where sources come from, the other who vouches for them".into()
        );
    }
    let needs_builders = [
        ("sources", spec.sources.is_some()),
        ("definitions", spec.definitions.is_some()),
        ("gates", spec.gates.is_some()),
        ("inputs", spec.inputs.is_some()),
        ("run", spec.run.is_some()),
        ("forwardOnly", spec.forward_only.is_some()),
        ("sbom", spec.sbom.is_some()),
    ];
    if spec.builders.is_none()
        && let Some((name, _)) = needs_builders.into_iter().find(|(_, present)| *present)
    {
        return Err(format!("`{name}` needs `builders`: only a builder's provenance ties it to the image"));
    }
    if spec.gates.is_some() && spec.sources.is_none() {
        return Err("`gates` needs `sources` and `authors`: a gate is checked again, never instead of them".into());
    }
    if spec.forward_only.is_some() && spec.sources.is_none() {
        return Err("`forwardOnly` needs `sources`: order is that of commits".into());
    }
    for url in spec.sources.iter().flat_map(|sources| sources.repositories.iter()) {
        url.parse::<RepositoryUrl>().map_err(|error| format!("`sources.repositories`: {error}"))?;
    }
    if let Some(commits) = spec.sources.as_ref().and_then(|sources| sources.commit_signatures.as_ref()) {
        check_identities("sources.commitSignatures", &commits.identities)?;
    }
    if let Some(authors) = &spec.authors {
        check_authority("authors", authors)?;
    }
    if let Some(definitions) = &spec.definitions {
        check_authority("definitions", definitions)?;
    }
    if let Some(rebuilds) = &spec.rebuilds {
        check_threshold("rebuilds", rebuilds.threshold, &rebuilds.identities)?;
        if let Some(authority) = &rebuilds.release_authority {
            check_authority("rebuilds.releaseAuthority", authority)?;
        }
        check_rebuilds(spec, rebuilds)?;
    }
    if let Some(authority) = spec.forward_only.as_ref().and_then(|forward| forward.rollback_authority.as_ref()) {
        check_authority("forwardOnly.rollbackAuthority", authority)?;
    }
    if let Some(gates) = &spec.gates {
        check_identities("gates", &gates.identities)?;
        if gates.max_age_seconds == 0 {
            return Err("`gates.maxAgeSeconds` is 0: no run could ever start in time".into());
        }
    }
    for builder in spec.builders.iter().flat_map(|builders| builders.iter()) {
        check_identities("builders", &builder.identities)?;
    }
    if let Some(revocations) = &spec.revocations {
        check_identities("revocations", &revocations.identities)?;
    }
    if let Some(exceptions) = &spec.exceptions {
        check_authority("exceptions.authority", &exceptions.authority)?;
        if !(60..=2_592_000).contains(&exceptions.max_seconds) {
            return Err(format!("`exceptions.maxSeconds` is {}: an exception lasts a minute to 30 days", exceptions.max_seconds));
        }
    }
    Ok(())
}

/// A rebuilder is somebody else than the builder, and what is looked up has a place and an age.
fn check_rebuilds(spec: &Spec, rebuilds: &Rebuilds) -> Result<(), String> {
    if rebuilds.max_age_seconds == Some(0) || rebuilds.heads.as_ref().is_some_and(|heads| heads.max_age_seconds == 0) {
        return Err("a `maxAgeSeconds` in `rebuilds` is 0: nothing could ever be young enough".into());
    }
    if rebuilds.heads.is_some() && rebuilds.mirrors.is_none() {
        return Err("`rebuilds.heads` needs `rebuilds.mirrors`: heads lie where rebuilders publish".into());
    }
    let mut seen = BTreeSet::new();
    for mirror in rebuilds.mirrors.iter().flat_map(|mirrors| mirrors.iter()) {
        if mirror.parse::<Repository>().is_err() || !seen.insert(mirror) {
            return Err(format!("`rebuilds.mirrors` has {mirror:?}, which is no repository HOST/PATH or stands there twice"));
        }
    }
    if seen.len() > MIRRORS {
        return Err(format!("`rebuilds.mirrors` names {} repositories, at most {MIRRORS} are asked", seen.len()));
    }
    let builders: BTreeSet<String> = spec
        .builders
        .iter()
        .flat_map(|builders| builders.iter())
        .flat_map(|builder| builder.identities.iter())
        .flat_map(|identity| identity.keys.iter().flat_map(|keys| keys.iter()))
        .map(|key| key.key.key().id())
        .collect();
    for identity in rebuilds.identities.iter() {
        if identity.keys.iter().flat_map(|keys| keys.iter()).any(|key| builders.contains(&key.key.key().id())) {
            return Err(format!(
                "{:?} in `rebuilds` has the key of a builder: nobody confirms what they built themselves",
                identity.name
            ));
        }
    }
    Ok(())
}

fn check_authority(place: &str, authority: &Authority) -> Result<(), String> {
    check_threshold(place, authority.threshold, &authority.identities)
}

fn check_threshold(place: &str, threshold: u8, identities: &NonEmpty<Identity>) -> Result<(), String> {
    check_identities(place, identities)?;
    let names = identities.len();
    if threshold == 0 {
        return Err(format!("`{place}.threshold` is 0: nobody would have to sign"));
    }
    if usize::from(threshold) > names {
        return Err(format!("`{place}.threshold` is {threshold}, but only {names} identities are named"));
    }
    Ok(())
}

/// Names are unique, each has something to sign with, and no key belongs to two names (it would count twice).
fn check_identities(place: &str, identities: &NonEmpty<Identity>) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut subjects = BTreeSet::new();
    for identity in identities.iter() {
        let name = &identity.name;
        if name.is_empty() || !names.insert(name) {
            return Err(format!("`{place}.identities` has the name {name:?} empty or twice"));
        }
        if identity.keys.is_none() && identity.keyless.is_none() {
            return Err(format!("identity {name:?} in `{place}` has neither `keys` nor `keyless`"));
        }
        for key in identity.keys.iter().flat_map(|keys| keys.iter()) {
            if !keys.insert(key.key.key().id()) {
                return Err(format!(
                    "identity {name:?} in `{place}` has a key that stands there already: one signature would count twice"
                ));
            }
            if let (Some(from), Some(to)) = (key.not_before, key.not_after)
                && from > to
            {
                return Err(format!("a key of identity {name:?} in `{place}` ends before it begins"));
            }
        }
        for keyless in identity.keyless.iter().flat_map(|keyless| keyless.iter()) {
            if keyless.issuer.is_empty() || keyless.subject.is_empty() || !subjects.insert((&keyless.issuer, &keyless.subject)) {
                return Err(format!("identity {name:?} in `{place}` has an empty or repeated keyless subject"));
            }
        }
    }
    Ok(())
}

impl Identity {
    /// As the signature verifier takes it.
    #[must_use]
    pub fn to_verifier(&self) -> signature::Identity {
        signature::Identity {
            name: self.name.clone(),
            keys: self
                .keys
                .iter()
                .flat_map(|keys| keys.iter())
                .map(|key| signature::TrustedKey {
                    key: key.key.key().clone(),
                    not_before: key.not_before,
                    not_after: key.not_after,
                })
                .collect(),
            keyless: self
                .keyless
                .iter()
                .flat_map(|keyless| keyless.iter())
                .map(|keyless| signature::KeylessSubject { issuer: keyless.issuer.clone(), subject: keyless.subject.clone() })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../testdata/tekton-chains/cosign.pub");

    /// The smallest policy that asks for something, with one more member.
    fn policy(more: &str) -> Result<Policy, PolicyError> {
        let text = format!(
            "apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata:
  name: app
spec:
  mode: Enforce
  images:
    - host: registry.example.com
      path: team/app
  builders:
    - id: https://assay.dev/builder/local
      buildTypes: [https://assay.dev/buildtypes/recipe/v1]
      identities:
        - name: builder
          keys:
            - key: |
                {KEY}
{more}"
        );
        let text = indent_key(&text);
        Policy::parse(text.as_bytes())
    }

    /// Lines of base64 take the indentation of the block they stand in.
    fn indent_key(text: &str) -> String {
        let mut inside = false;
        text.lines()
            .map(|line| {
                let body = line.trim();
                if body.starts_with("-----BEGIN") {
                    inside = true;
                }
                let line = if inside { format!("                {body}") } else { line.to_owned() };
                if body.starts_with("-----END") {
                    inside = false;
                }
                line + "\n"
            })
            .collect()
    }

    fn refused(more: &str) -> String {
        policy(more).unwrap_err().to_string()
    }

    #[test]
    fn the_smallest_policy_is_loaded_and_its_digest_does_not_depend_on_layout() {
        let plain = policy("").unwrap();
        let commented = policy("# a remark").unwrap();
        assert_eq!(plain.digest(), commented.digest());
        assert_ne!(plain.digest(), policy("  node: {maxAgeSeconds: 60}").unwrap().digest());
    }

    #[test]
    fn unknown_fields_and_empty_lists_are_refused_with_their_line() {
        let unknown = refused("  signedByAnybody: true\n");
        assert!(unknown.contains("signedByAnybody") && unknown.contains("line 2"), "{unknown}");
        let empty = refused("  inputs: {images: [], hermetic: Required, contents: NotRequired}\n");
        assert!(empty.contains("empty") && empty.contains("line 2"), "{empty}");
        assert!(refused("  mode: Audit\n").contains("duplicate"));
    }

    /// Lesson L1: what could admit without proof is an error when loaded.
    #[test]
    fn lesson_l1_policies_that_ask_for_nothing_are_refused() {
        let none = b"apiVersion: assay.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: x}\nspec:\n  mode: Enforce\n  images: [{host: r.io, path: a}]\n";
        assert!(Policy::parse(none).unwrap_err().to_string().contains("any image could pass"));
        let rebuilds = |threshold: u8| {
            let key = KEY.trim().replace('\n', "\\n");
            refused(&format!("  rebuilds: {{threshold: {threshold}, identities: [{{name: a, keys: [{{key: \"{key}\"}}]}}]}}\n"))
        };
        assert!(rebuilds(0).contains("threshold"), "{}", rebuilds(0));
        assert!(rebuilds(2).contains("only 1"), "{}", rebuilds(2));
        assert!(refused("  rebuilds: {threshold: 1, identities: [{name: a}]}\n").contains("neither"));
    }

    /// Lesson L6: one key under two names would count twice.
    #[test]
    fn lesson_l6_one_key_cannot_have_two_names() {
        let key = KEY.trim().replace('\n', "\\n");
        let twice = format!(
            "  rebuilds: {{threshold: 2, identities: [{{name: a, keys: [{{key: \"{key}\"}}]}}, {{name: b, keys: [{{key: \"{key}\"}}]}}]}}\n"
        );
        assert!(refused(&twice).contains("count twice"));
    }

    #[test]
    fn fields_that_need_each_other_are_named() {
        assert!(
            refused("  sources: {repositories: [\"https://git.example.com/a\"], refs: [refs/heads/main], binding: Git}\n")
                .contains("`authors`")
        );
        let gates = format!(
            "  gates: {{verifierId: v, identities: [{{name: g, keyless: [{{issuer: i, subject: s}}]}}], policyDigests: [\"{}\"], maxAgeSeconds: 1}}\n",
            Digest::of(b"")
        );
        assert!(refused(&gates).contains("`gates` needs"));
        assert!(refused("  forwardOnly: {}\n").contains("forwardOnly"));
    }

    #[test]
    fn yaml_tricks_are_refused() {
        assert!(refused("  x: &a [1]\n  y: *a\n").contains("line"));
        assert!(refused("---\nkind: Other\n").contains("ocument"));
    }
}
