//! Patterns of paths: `*` and `?` inside a component, `**` for any number of components. Everything else is literal.
//!
//! There are no brackets, braces or escapes, so there is nothing to read in two ways.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Most components of a pattern, which bounds the work of matching.
const COMPONENTS: usize = 64;

/// A pattern of relative paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty, absolute, or with an empty, `.` or `..` component.
    #[error("pattern {found:?} is not a relative path without empty, `.` or `..` components")]
    NotRelative {
        /// The pattern.
        found: String,
    },
    /// `**` beside other characters.
    #[error("pattern {found:?} has `**` in a component with other characters")]
    DoubleStar {
        /// The pattern.
        found: String,
    },
    /// More components than any honest pattern.
    #[error("pattern has {found} components, the limit is {COMPONENTS}")]
    TooLong {
        /// How many.
        found: usize,
    },
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let found = || text.chars().take(200).collect::<String>();
        let mut count = 0;
        for component in text.split('/') {
            count += 1;
            match component {
                "" | "." | ".." => return Err(PatternError::NotRelative { found: found() }),
                "**" => {}
                _ if component.contains("**") => return Err(PatternError::DoubleStar { found: found() }),
                _ => {}
            }
        }
        if count > COMPONENTS || text.len() > 4095 {
            return Err(PatternError::TooLong { found: count });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "examples": ["**/*.md", "target/**"]})
    }
}

impl Pattern {
    /// Whether the whole path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let path: Vec<&str> = path.split('/').collect();
        // The set of pattern positions reachable after each component: linear, however many `**` there are.
        let mut reachable = vec![false; pattern.len() + 1];
        if let Some(first) = reachable.first_mut() {
            *first = true;
        }
        spread(&mut reachable, &pattern);
        for component in path {
            let mut next = vec![false; pattern.len() + 1];
            for (at, part) in pattern.iter().enumerate() {
                if !reachable.get(at).copied().unwrap_or_default() {
                    continue;
                }
                let to = if *part == "**" {
                    at
                } else if component_matches(part, component) {
                    at + 1
                } else {
                    continue;
                };
                if let Some(slot) = next.get_mut(to) {
                    *slot = true;
                }
            }
            spread(&mut next, &pattern);
            reachable = next;
        }
        reachable.last().copied().unwrap_or_default()
    }

    /// Whether the path, or a directory above it, matches: excluding a directory excludes what it holds.
    #[must_use]
    pub fn matches_or_above(&self, path: &str) -> bool {
        self.matches(path) || path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(|above| self.matches(above)))
    }
}

/// `**` may stand for nothing.
fn spread(reachable: &mut [bool], pattern: &[&str]) {
    for (at, part) in pattern.iter().enumerate() {
        if *part == "**"
            && reachable.get(at).copied().unwrap_or_default()
            && let Some(slot) = reachable.get_mut(at + 1)
        {
            *slot = true;
        }
    }
}

/// `*` is any run of characters, `?` is one character. Greedy with one point of return: linear in practice, never exponential.
fn component_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                back = Some((at, read));
                at += 1;
            }
            Some(expected) if *expected == '?' || Some(expected) == text.get(read) => {
                at += 1;
                read += 1;
            }
            _ => match &mut back {
                Some((star, from)) => {
                    *from += 1;
                    (at, read) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_as_written() {
        for (pattern, yes, no) in [
            ("*.js", &["a.js", ".js"][..], &["a/b.js", "a.jsx"][..]),
            ("**/*.js", &["a.js", "a/b.js", "a/b/c.js"], &["a.ts"]),
            ("src/**", &["src", "src/a", "src/a/b"], &["srcs", "a/src"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/b/c", "b"]),
            ("?.txt", &["a.txt", "ä.txt"], &["ab.txt", ".txt"]),
            ("[id].js", &["[id].js"], &["i.js"]),
            ("a*b*c", &["abc", "axxbxxc", "abcbc"], &["ab", "acb"]),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert!(yes.iter().all(|path| pattern.matches(path)), "{pattern}");
            assert!(!no.iter().any(|path| pattern.matches(path)), "{pattern}");
        }
        assert!("node_modules".parse::<Pattern>().unwrap().matches_or_above("node_modules/a/b"));
    }

    #[test]
    fn odd_patterns_are_refused() {
        for wrong in ["", "/a", "a//b", "../a", "a**", "a/**b", &"x/".repeat(100)] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern: Pattern = vec!["**"; 60].join("/").parse().unwrap();
        assert!(pattern.matches(&vec!["a"; 1000].join("/")));
        let pattern: Pattern = "*a".repeat(100).parse().unwrap();
        assert!(!pattern.matches(&"a".repeat(99)));
    }
}
