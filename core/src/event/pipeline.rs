//! Which Pipeline builds a repository: a resolver and its parameters, pinned as far as the resolver can be.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::GitOid;

/// Longest value of a resolver parameter, in bytes.
const VALUE_BYTES: usize = 1_000;

/// The signed Pipeline, by a resolver whose result E5 can prove.
///
/// What runs is decided by the gate, which compares the running Pipeline with the signed one. This only makes sure that nobody writes a
/// reference here that could never be proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PipelineReference {
    /// `bundles`, `cluster`, `http`, `hub` or `git`.
    resolver: Resolver,
    /// The resolver's parameters: texts.
    params: BTreeMap<String, String>,
}

/// A resolver of Tekton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resolver {
    /// An OCI bundle, by digest.
    Bundles,
    /// An object in the cluster, whose checksum the definition SBOM holds.
    Cluster,
    /// A document behind a URL, whose SHA-256 the definition SBOM holds.
    Http,
    /// A document of a catalog, by exact version.
    Hub,
    /// A file in a repository at a full commit id.
    Git,
}

impl Resolver {
    /// The name Tekton knows it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Cluster => "cluster",
            Self::Http => "http",
            Self::Hub => "hub",
            Self::Git => "git",
        }
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a reference to a Pipeline is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PipelineReferenceError {
    /// A parameter is missing.
    #[error("resolver {resolver} needs the parameter {name}")]
    Missing {
        /// The resolver.
        resolver: Resolver,
        /// The parameter.
        name: &'static str,
    },
    /// A parameter the resolver would let the caller choose the server or the content by.
    #[error("resolver {resolver} may not have the parameter {name:?}")]
    NotAllowed {
        /// The resolver.
        resolver: Resolver,
        /// The parameter.
        name: String,
    },
    /// A value that does not pin what it names, or has characters that do not go through templates.
    #[error("parameter {name} of resolver {resolver} must be {expected}, found {found:?}")]
    Value {
        /// The resolver.
        resolver: Resolver,
        /// The parameter.
        name: String,
        /// What it must be.
        expected: &'static str,
        /// What stood there, cut.
        found: String,
    },
}

impl PipelineReference {
    /// Checks a reference.
    ///
    /// # Errors
    /// Every variant of [`PipelineReferenceError`].
    pub fn new(resolver: Resolver, params: BTreeMap<String, String>) -> Result<Self, PipelineReferenceError> {
        let (needed, optional): (&[&'static str], &[&str]) = match resolver {
            Resolver::Bundles => (&["bundle", "name", "kind"], &["secret", "serviceAccount"]),
            Resolver::Cluster => (&["kind", "name", "namespace"], &[]),
            Resolver::Http => (&["url"], &[]),
            Resolver::Hub => (&["catalog", "kind", "name", "version"], &["type"]),
            Resolver::Git => (&["url", "revision", "pathInRepo"], &[]),
        };
        for name in needed {
            if params.get(*name).is_none_or(String::is_empty) {
                return Err(PipelineReferenceError::Missing { resolver, name });
            }
        }
        for (name, value) in &params {
            if !needed.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
                return Err(PipelineReferenceError::NotAllowed { resolver, name: name.clone() });
            }
            check_value(resolver, name, value)?;
        }
        Ok(Self { resolver, params })
    }

    /// The resolver.
    #[must_use]
    pub const fn resolver(&self) -> Resolver {
        self.resolver
    }

    /// Its parameters.
    #[must_use]
    pub const fn params(&self) -> &BTreeMap<String, String> {
        &self.params
    }
}

fn check_value(resolver: Resolver, name: &str, value: &str) -> Result<(), PipelineReferenceError> {
    let wrong = |expected| PipelineReferenceError::Value {
        resolver,
        name: name.to_owned(),
        expected,
        found: value.chars().take(200).collect(),
    };
    let plain = value.len() <= VALUE_BYTES
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'$' | b'`' | b'{' | b'}'));
    if !plain {
        return Err(wrong("plain text without spaces, quotes or $"));
    }
    match (resolver, name) {
        (_, "kind") if value != "pipeline" => Err(wrong("\"pipeline\"")),
        (Resolver::Bundles, "bundle") => match value.split_once('@') {
            Some((_, digest)) if digest.parse::<crate::digest::Digest>().is_ok() => Ok(()),
            _ => Err(wrong("REPOSITORY@sha256:DIGEST")),
        },
        (Resolver::Git, "revision") if value.parse::<GitOid>().is_err() => Err(wrong("a full commit id")),
        (Resolver::Http | Resolver::Git, "url") if !value.starts_with("https://") => Err(wrong("an https address")),
        (Resolver::Hub, "version") if !value.starts_with(|c: char| c.is_ascii_digit()) => Err(wrong("an exact version")),
        _ => Ok(()),
    }
}

impl<'de> Deserialize<'de> for PipelineReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            resolver: Resolver,
            params: BTreeMap<String, String>,
        }
        let raw = Raw::deserialize(deserializer)?;
        Self::new(raw.resolver, raw.params).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(resolver: &str, params: &[(&str, &str)]) -> Result<PipelineReference, String> {
        let params: BTreeMap<_, _> = params.iter().copied().collect();
        let text = serde_json::json!({"resolver": resolver, "params": params});
        serde_json::from_value(text).map_err(|error| error.to_string())
    }

    const BUNDLE: &str =
        "registry.example.com/pipelines/assay@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const COMMIT: &str = "1111111111111111111111111111111111111111";

    #[test]
    fn references_that_can_be_proved_are_taken() {
        for (resolver, params) in [
            ("bundles", vec![("bundle", BUNDLE), ("name", "assay-build"), ("kind", "pipeline")]),
            ("cluster", vec![("kind", "pipeline"), ("name", "assay-build"), ("namespace", "pipelines")]),
            ("http", vec![("url", "https://example.com/p.yaml")]),
            ("hub", vec![("catalog", "c"), ("kind", "pipeline"), ("name", "assay-build"), ("version", "0.1")]),
            ("git", vec![("url", "https://example.com/p.git"), ("revision", COMMIT), ("pathInRepo", "p.yaml")]),
        ] {
            reference(resolver, &params).unwrap();
            for (index, _) in params.iter().enumerate() {
                let mut less = params.clone();
                less.remove(index);
                assert!(reference(resolver, &less).unwrap_err().contains("needs"), "{resolver} {index}");
            }
        }
    }

    #[test]
    fn threat_unpinned_or_steerable_references_are_refused() {
        let bundle = |value| reference("bundles", &[("bundle", value), ("name", "p"), ("kind", "pipeline")]);
        for wrong in ["r.example.com/p:v1", "r.example.com/p@sha256:abc", "r.example.com/p", "a b@sha256:x"] {
            assert!(bundle(wrong).is_err(), "{wrong}");
        }
        let git = |extra: &[(&str, &str)], revision| {
            let mut params = vec![("url", "https://example.com/p"), ("revision", revision), ("pathInRepo", "p.yaml")];
            params.extend_from_slice(extra);
            reference("git", &params)
        };
        git(&[], COMMIT).unwrap();
        assert!(git(&[], "main").is_err());
        // The API mode lets the caller name the server, and with a token.
        for steer in ["serverURL", "token", "org", "repo", "scmType"] {
            assert!(git(&[(steer, "x")], COMMIT).unwrap_err().contains("may not have"), "{steer}");
        }
        assert!(reference("cluster", &[("kind", "task"), ("name", "p"), ("namespace", "n")]).is_err());
        assert!(reference("cluster", &[("kind", "pipeline"), ("name", "$(x)"), ("namespace", "n")]).is_err());
        assert!(reference("http", &[("url", "http://example.com/p.yaml")]).is_err());
        assert!(reference("custom", &[]).is_err());
    }
}
