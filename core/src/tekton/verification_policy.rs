//! Tekton's own `VerificationPolicy` objects, honoured as Tekton's controller honours them.
//!
//! All enforcing policies whose pattern matches the source must accept the document, by any one of their keys. Pattern matching is Tekton's
//! from 1.12 on: over the whole of the source's URI, less a leading `git+`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Document;
use super::trust::{self, HashAlgorithm, TrustError, VerificationKey};
use crate::signature::PublicKey;
use crate::signature::key::KeyError;

/// Most policies, patterns or authorities that are looked at.
const MANY: usize = 256;
/// Longest pattern, in bytes.
const PATTERN_BYTES: usize = 1024;
/// Largest compiled pattern, in bytes.
const COMPILED_BYTES: usize = 1 << 20;

/// Why a policy cannot be used. Tekton fails the run then, and so must whoever asks here.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not a VerificationPolicy of `tekton.dev/v1alpha1`.
    #[error("not a VerificationPolicy: {detail}")]
    Parse {
        /// What is wrong with it.
        detail: String,
    },
    /// A pattern is no regular expression, or a huge one.
    #[error("policy {policy}: pattern {pattern:?} is not a regular expression that can be used")]
    Pattern {
        /// The policy.
        policy: String,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: Box<regex::Error>,
    },
    /// Nothing to match, nobody to trust, or too much of either.
    #[error("policy {policy} has {found} {what}, between 1 and {MANY} are taken")]
    Count {
        /// The policy.
        policy: String,
        /// What is counted.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// A key that cannot be read.
    #[error("policy {policy}, authority {authority}: the key cannot be used")]
    Key {
        /// The policy.
        policy: String,
        /// The authority.
        authority: String,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A hash that cannot be used.
    #[error("policy {policy}, authority {authority}: the hash cannot be used")]
    Hash {
        /// The policy.
        policy: String,
        /// The authority.
        authority: String,
        /// What is wrong with it.
        #[source]
        source: TrustError,
    },
    /// Not exactly one of data, secretRef and kms.
    #[error("policy {policy}, authority {authority}: exactly one of data, secretRef and kms is needed")]
    KeySource {
        /// The policy.
        policy: String,
        /// The authority.
        authority: String,
    },
    /// A key in a key management service, which is not asked.
    #[error("policy {policy}, authority {authority}: keys in a KMS are not supported")]
    Kms {
        /// The policy.
        policy: String,
        /// The authority.
        authority: String,
    },
    /// The secret is missing, or does not hold exactly one entry.
    #[error("policy {policy}, authority {authority}: secret {secret} does not hold exactly one entry")]
    Secret {
        /// The policy.
        policy: String,
        /// The authority.
        authority: String,
        /// `NAMESPACE/NAME`.
        secret: String,
    },
}

/// What happens when the policy does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The run fails.
    Enforce,
    /// It is said, and the run goes on.
    Warn,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the policy itself, PEM.
    Data(String),
    /// In a secret with one entry.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A policy as read, its secrets not yet fetched.
#[derive(Debug, Clone)]
pub struct VerificationPolicy {
    name: String,
    patterns: Vec<regex::Regex>,
    authorities: Vec<(String, KeySource, HashAlgorithm)>,
    mode: Mode,
}

/// A policy with all its keys.
#[derive(Debug, Clone)]
pub struct ResolvedPolicy {
    name: String,
    patterns: Vec<regex::Regex>,
    keys: Vec<VerificationKey>,
    mode: Mode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    resources: Vec<Resource>,
    authorities: Vec<Authority>,
    #[serde(default)]
    mode: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    pattern: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authority {
    name: String,
    key: Option<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Key {
    #[serde(default)]
    data: String,
    secret_ref: Option<Secret>,
    #[serde(default)]
    kms: String,
    #[serde(default)]
    hash_algorithm: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl VerificationPolicy {
    /// Reads a policy as the API server returns it.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`] but those about secrets.
    pub fn from_object(object: &Value) -> Result<Self, PolicyError> {
        let object = Object::deserialize(object).map_err(|error| PolicyError::Parse { detail: error.to_string() })?;
        if object.api_version != "tekton.dev/v1alpha1" || object.kind != "VerificationPolicy" {
            return Err(PolicyError::Parse { detail: format!("{} {}", object.api_version, object.kind) });
        }
        let (policy, spec) = (object.metadata.name, object.spec);
        let mode = match spec.mode.as_str() {
            "" | "enforce" => Mode::Enforce,
            "warn" => Mode::Warn,
            other => return Err(PolicyError::Parse { detail: format!("mode {other:?} is neither enforce nor warn") }),
        };
        let count = |what, found: usize| match found {
            1..=MANY => Ok(()),
            _ => Err(PolicyError::Count { policy: policy.clone(), what, found }),
        };
        count("resources", spec.resources.len())?;
        count("authorities", spec.authorities.len())?;
        let patterns =
            spec.resources.into_iter().map(|resource| compile(&policy, &resource.pattern)).collect::<Result<Vec<_>, _>>()?;
        let authorities = spec.authorities.into_iter().map(|authority| authority.read(&policy)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name: policy, patterns, authorities, mode })
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is about this source.
    #[must_use]
    pub fn matches(&self, source_uri: &str) -> bool {
        matches(&self.patterns, source_uri)
    }

    /// Secrets that hold its keys: namespace and name.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.authorities.iter().filter_map(|(_, source, _)| match source {
            KeySource::Secret { namespace, name } => Some((namespace.as_str(), name.as_str())),
            KeySource::Data(_) => None,
        })
    }

    /// Puts the keys in: `secret` gives the data of a secret by namespace and name, or nothing if it is not there.
    ///
    /// # Errors
    /// [`PolicyError::Secret`], [`PolicyError::Key`], [`PolicyError::Hash`].
    pub fn resolve(
        &self,
        secret: impl Fn(&str, &str) -> Option<BTreeMap<String, Vec<u8>>>,
    ) -> Result<ResolvedPolicy, PolicyError> {
        let mut keys = Vec::new();
        for (authority, source, hash) in &self.authorities {
            let pem = match source {
                KeySource::Data(pem) => pem.clone(),
                KeySource::Secret { namespace, name } => {
                    let data = secret(namespace, name).unwrap_or_default();
                    let mut entries = data.into_values();
                    match (entries.next().map(String::from_utf8), entries.next()) {
                        (Some(Ok(pem)), None) => pem,
                        _ => {
                            return Err(PolicyError::Secret {
                                policy: self.name.clone(),
                                authority: authority.clone(),
                                secret: format!("{namespace}/{name}"),
                            });
                        }
                    }
                }
            };
            let of = |source| PolicyError::Key { policy: self.name.clone(), authority: authority.clone(), source };
            let key = PublicKey::from_pem(&pem).map_err(of)?;
            keys.push(VerificationKey::new(key, *hash).map_err(|source| PolicyError::Hash {
                policy: self.name.clone(),
                authority: authority.clone(),
                source,
            })?);
        }
        Ok(ResolvedPolicy { name: self.name.clone(), patterns: self.patterns.clone(), keys, mode: self.mode })
    }
}

impl Authority {
    fn read(self, policy: &str) -> Result<(String, KeySource, HashAlgorithm), PolicyError> {
        let (policy, authority) = (policy.to_owned(), self.name);
        let Some(key) = self.key else { return Err(PolicyError::KeySource { policy, authority }) };
        let hash = match key.hash_algorithm.parse() {
            Ok(hash) => hash,
            Err(source) => return Err(PolicyError::Hash { policy, authority, source }),
        };
        let source = match (key.data.is_empty(), key.secret_ref, key.kms.is_empty()) {
            (false, None, true) => KeySource::Data(key.data),
            (true, Some(secret), true) => KeySource::Secret { namespace: secret.namespace, name: secret.name },
            (true, None, false) => return Err(PolicyError::Kms { policy, authority }),
            _ => return Err(PolicyError::KeySource { policy, authority }),
        };
        Ok((authority, source, hash))
    }
}

fn compile(policy: &str, pattern: &str) -> Result<regex::Regex, PolicyError> {
    let wrong =
        |source| PolicyError::Pattern { policy: policy.to_owned(), pattern: pattern.to_owned(), source: Box::new(source) };
    if pattern.len() > PATTERN_BYTES {
        return Err(wrong(regex::Error::CompiledTooBig(PATTERN_BYTES)));
    }
    regex::RegexBuilder::new(&anchored(pattern)).size_limit(COMPILED_BYTES).build().map_err(wrong)
}

/// A pattern over the whole text, as Tekton anchors it: one that already begins and ends with an anchor stays as it is.
fn anchored(pattern: &str) -> String {
    if pattern.starts_with('^') && pattern.ends_with('$') {
        return pattern.to_owned();
    }
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    format!("^(?:{inner})$")
}

fn matches(patterns: &[regex::Regex], source_uri: &str) -> bool {
    let uri = source_uri.trim();
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    patterns.iter().any(|pattern| pattern.is_match(uri))
}

/// What the policies say about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyOutcome {
    /// None is about this source; what that means is for the caller's configuration to say.
    NoMatch,
    /// Every matching one accepts: their names.
    Pass(Vec<String>),
    /// Every enforcing one accepts, a warning one does not.
    Warn {
        /// The policy.
        policy: String,
        /// Why.
        error: TrustError,
    },
    /// An enforcing one does not accept.
    Refused {
        /// The policy.
        policy: String,
        /// Why.
        error: TrustError,
    },
}

/// Judges a document that was resolved from `source_uri`.
#[must_use]
pub fn judge(document: &Document, source_uri: &str, policies: &[ResolvedPolicy]) -> PolicyOutcome {
    let matching: Vec<_> = policies.iter().filter(|policy| matches(&policy.patterns, source_uri)).collect();
    if matching.is_empty() {
        return PolicyOutcome::NoMatch;
    }
    let refusal = |mode| {
        matching
            .iter()
            .filter(move |policy| policy.mode == mode)
            .find_map(|policy| trust::verify(document, &policy.keys).err().map(|error| (policy.name.clone(), error)))
    };
    if let Some((policy, error)) = refusal(Mode::Enforce) {
        return PolicyOutcome::Refused { policy, error };
    }
    if let Some((policy, error)) = refusal(Mode::Warn) {
        return PolicyOutcome::Warn { policy, error };
    }
    PolicyOutcome::Pass(matching.iter().map(|policy| policy.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: &Value) -> Result<VerificationPolicy, PolicyError> {
        VerificationPolicy::from_object(&serde_json::json!({
            "apiVersion": "tekton.dev/v1alpha1", "kind": "VerificationPolicy", "metadata": {"name": "p", "uid": "u"}, "spec": spec,
        }))
    }

    fn with_pattern(pattern: &str) -> VerificationPolicy {
        policy(&serde_json::json!({
            "resources": [{"pattern": pattern}],
            "authorities": [{"name": "a", "key": {"secretRef": {"name": "s", "namespace": "n"}}}],
        }))
        .unwrap()
    }

    #[test]
    fn patterns_are_over_the_whole_uri() {
        let git = "git+https://git.example.com/team/catalog.git";
        for (pattern, expected) in [
            ("https://git.example.com/team/.*", true),
            ("https://git.example.com/team/catalog.git", true),
            ("^https://git.example.com/team/catalog.git$", true),
            ("^https://git.example.com/.*", true),
            ("https://git.example.com/team", false),
            ("git.example.com", false),
            ("git+https://.*", false),
            (".*", true),
        ] {
            assert_eq!(with_pattern(pattern).matches(git), expected, "{pattern}");
        }
        let hostile = "https://evil.example.com/?https://git.example.com/team/catalog.git";
        assert!(!with_pattern("https://git.example.com/team/.*").matches(hostile));
        assert!(!with_pattern("https://a|https://b").matches("https://a.evil"));
    }

    #[test]
    fn lesson_l1_a_policy_that_trusts_nobody_is_an_error() {
        let key = serde_json::json!({"name": "a", "key": {"data": "x"}});
        for spec in [
            serde_json::json!({"resources": [], "authorities": [key]}),
            serde_json::json!({"resources": [{"pattern": ".*"}], "authorities": []}),
            serde_json::json!({"resources": [{"pattern": "("}], "authorities": [key]}),
            serde_json::json!({"resources": [{"pattern": ".*"}], "authorities": [{"name": "a"}]}),
            serde_json::json!({"resources": [{"pattern": ".*"}], "authorities": [{"name": "a", "key": {}}]}),
            serde_json::json!({"resources": [{"pattern": ".*"}], "authorities": [{"name": "a", "key": {"kms": "gcpkms://x"}}]}),
            serde_json::json!({"resources": [{"pattern": ".*"}], "authorities": [key], "mode": "off"}),
            serde_json::json!({"resources": [{"pattern": ".*"}], "authorities": [{"name": "a", "key": {"data": "x", "hashAlgorithm": "md5"}}]}),
        ] {
            assert!(policy(&spec).is_err(), "{spec}");
        }
        let found = with_pattern(".*");
        assert_eq!(found.secrets().collect::<Vec<_>>(), [("n", "s")]);
        assert!(found.resolve(|_, _| None).is_err());
        let two = BTreeMap::from([("a".to_owned(), Vec::new()), ("b".to_owned(), Vec::new())]);
        assert!(found.resolve(|_, _| Some(two.clone())).is_err());
    }
}
