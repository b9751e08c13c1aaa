//! The edges of the chain and what can be said of each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// One link of the chain: the output of one step is the input of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Edge {
    /// Source: the commit's tree is what the developer SBOM describes, at this place in history.
    E1,
    /// Author: the SBOM is signed by people allowed for this repository and ref.
    E2,
    /// Definition: Pipeline, Tasks and StepActions are signed by their publisher.
    E3,
    /// Definition SBOM: lists every Task, StepAction and image by digest.
    E4,
    /// Ran that: the provenance shows that definition ran.
    E5,
    /// From that: the run was made from E1's commit by the gate, and nothing else went in.
    E6,
    /// Made this: the subject is this image in this repository, signed by the trusted builder.
    E7,
    /// Contents: the result SBOM describes this image and points back to the developer SBOM.
    E8,
    /// Gate: the gate's VSA is signed by the gate and names the same commit, definition and run.
    E9,
    /// Rebuilds: enough distinct rebuilders got the same digest.
    E10,
    /// Forward only: not older than what was admitted before.
    E11,
    /// Node: the node that will run it is attested now.
    E12,
    /// Inputs: what went in is itself vouched for.
    E13,
}

impl Edge {
    /// All edges, in order.
    pub const ALL: [Self; 13] = [
        Self::E1,
        Self::E2,
        Self::E3,
        Self::E4,
        Self::E5,
        Self::E6,
        Self::E7,
        Self::E8,
        Self::E9,
        Self::E10,
        Self::E11,
        Self::E12,
        Self::E13,
    ];

    /// The edge's number, 1 to 13. A command that meets a broken edge exits with 10 plus the lowest one.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// One word for what the edge is about.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::E1 => "source",
            Self::E2 => "author",
            Self::E3 => "definition",
            Self::E4 => "definition SBOM",
            Self::E5 => "ran that",
            Self::E6 => "from that",
            Self::E7 => "made this",
            Self::E8 => "contents",
            Self::E9 => "gate",
            Self::E10 => "rebuilds",
            Self::E11 => "forward only",
            Self::E12 => "node",
            Self::E13 => "inputs",
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.number())
    }
}

/// What was found of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeState {
    /// It holds.
    Ok,
    /// It does not hold. Final: the same evidence will never pass.
    Broken,
    /// The policy does not ask for it.
    NotRequired,
    /// It could not be decided. Never counts as a pass.
    Unknown,
}

impl EdgeState {
    /// The word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Broken => "broken",
            Self::NotRequired => "not required",
            Self::Unknown => "unknown",
        }
    }
}

/// What is said of one edge: the state, and enough to act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which edge.
    pub edge: Edge,
    /// Whether it holds.
    pub state: EdgeState,
    /// What had to be there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// Stable reason, PascalCase.
    pub reason: Reason,
    /// What to do about it; empty where the edge holds.
    pub remedy: String,
}

impl Finding {
    /// The edge holds; `found` says by what.
    #[must_use]
    pub fn ok(edge: Edge, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            edge,
            state: EdgeState::Ok,
            expected: expected.into(),
            found: found.into(),
            reason: Reason::Holds,
            remedy: String::new(),
        }
    }

    /// The policy does not ask for this edge.
    #[must_use]
    pub fn not_required(edge: Edge) -> Self {
        Self {
            edge,
            state: EdgeState::NotRequired,
            expected: String::new(),
            found: String::new(),
            reason: Reason::NotRequired,
            remedy: String::new(),
        }
    }

    /// The edge does not hold, or could not be decided: whichever the reason says.
    #[must_use]
    pub fn refused(edge: Edge, reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            edge,
            state: if reason.is_undecided() { EdgeState::Unknown } else { EdgeState::Broken },
            expected: expected.into(),
            found: found.into(),
            reason,
            remedy: reason.remedy().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_names() {
        for (index, edge) in Edge::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(edge.number()), index + 1);
            assert_eq!(format!("{edge:?}"), edge.to_string());
        }
    }
}
