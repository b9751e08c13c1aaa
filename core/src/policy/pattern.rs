//! Patterns of names: structured, anchored at both ends, and with one meaning.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reference::Repository;

/// Longest pattern, in bytes.
const LONGEST: usize = 512;

/// A pattern over a path of segments between slashes, always matched in full.
///
/// `*` stands for any run of characters within a segment; `**` as the last segment stands for one or more whole segments.
/// Everything else stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(String);

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty, too long, or with a segment that is empty.
    #[error("pattern {pattern:?} is empty, has an empty segment, or is longer than {LONGEST} bytes")]
    Empty {
        /// The pattern.
        pattern: String,
    },
    /// `**` stands where it has no meaning.
    #[error("pattern {pattern:?} has ** elsewhere than as its last segment")]
    DoubleStar {
        /// The pattern.
        pattern: String,
    },
    /// A pattern that matches everything.
    #[error("pattern {pattern:?} matches everything; name at least one literal segment")]
    Everything {
        /// The pattern.
        pattern: String,
    },
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Every variant of [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pattern = || text.chars().take(LONGEST).collect();
        if text.len() > LONGEST || text.split('/').any(str::is_empty) {
            return Err(PatternError::Empty { pattern: pattern() });
        }
        let segments: Vec<&str> = text.split('/').collect();
        let body = match segments.split_last() {
            Some((&"**", body)) => body,
            _ => &segments,
        };
        if body.iter().any(|segment| segment.contains("**")) {
            return Err(PatternError::DoubleStar { pattern: pattern() });
        }
        if body.iter().all(|segment| segment.bytes().all(|byte| byte == b'*')) {
            return Err(PatternError::Everything { pattern: pattern() });
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut pattern = self.0.split('/');
        let mut path = path.split('/');
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some("**"), Some(first)) => return !first.is_empty() && path.all(|segment| !segment.is_empty()),
                (Some(pattern), Some(segment)) if segment_matches(pattern, segment) => {}
                _ => return false,
            }
        }
    }
}

/// `*` is any run of characters. Greedy with one step back: linear in the segment for each star.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = segment.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or("");
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for PathPattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PathPattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST,
            "description": "Matched in full; `*` is any run of characters within a segment, `**` as the last segment is one or more segments."
        })
    }
}

/// Which images a rule is for: a registry host, exactly, and a pattern of paths below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImagePattern {
    /// Registry host, with port if it has one. No wildcards.
    pub host: String,
    /// Pattern of the repository's path.
    pub path: PathPattern,
}

impl ImagePattern {
    /// Whether the repository is one of these.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        self.host == repository.host() && self.path.matches(repository.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn patterns_match_in_full() {
        assert!(matches("team/app", "team/app"));
        assert!(!matches("team/app", "team/app2"));
        assert!(!matches("team/app", "evil/team/app"));
        assert!(matches("team/*", "team/app"));
        assert!(!matches("team/*", "team/app/sub"));
        assert!(matches("team/**", "team/app/sub"));
        assert!(!matches("team/**", "team"));
        assert!(matches("refs/tags/v*.*", "refs/tags/v1.2"));
        assert!(!matches("refs/tags/v*.*", "refs/tags/v1"));
        assert!(matches("a*a/x", "aa/x"));
        assert!(!matches("a*a/x", "a/x"));
    }

    /// Lesson L7: names are matched by structure, anchored, and no pattern matches everything.
    #[test]
    fn lesson_l7_no_match_through_position_or_emptiness() {
        let pattern = ImagePattern { host: "trusted.example.com".into(), path: PathPattern::parse("team/**").unwrap() };
        assert!(pattern.matches(&"trusted.example.com/team/a".parse().unwrap()));
        for other in [
            "evil.example.com/trusted.example.com/team/a",
            "trusted.example.com.evil.io/team/a",
            "trusted.example.com:444/team/a",
        ] {
            assert!(!pattern.matches(&other.parse().unwrap()), "{other}");
        }
        for wrong in ["", "**", "*", "*/*", "*/**", "a//b", "/a", "a/", "**/a", "a**/b", "a/***"] {
            assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
