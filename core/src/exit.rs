//! Exit codes, the same for the command line and for every step image.
//!
//! They are part of the interface: scripts and Pipelines branch on them, and a reason names the detail.

/// What a process ends with. 11 to 23 say which edge (E1 to E13) is the lowest broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(u8);

impl Code {
    /// A defect or a failing machine: disk full, no permission, a bug.
    pub const INTERNAL: Self = Self(1);
    /// The command line is wrong. clap ends with the same code.
    pub const USAGE: Self = Self(2);
    /// It could not be decided: unreachable, stale or incomplete. Never a pass.
    pub const UNKNOWN: Self = Self(3);
    /// A policy, recipe, key or configuration file is wrong.
    pub const CONFIGURATION: Self = Self(4);
    /// Two things that should be equal differ.
    pub const DIFFERS: Self = Self(5);

    /// The code of a broken edge: 10 + its number.
    ///
    /// A number outside 1 to 13 is a defect of the caller and gives [`Code::INTERNAL`].
    #[must_use]
    pub const fn broken_edge(number: u8) -> Self {
        match number {
            1..=13 => Self(10 + number),
            _ => Self::INTERNAL,
        }
    }

    /// The number the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_edges_have_codes_11_to_23() {
        assert_eq!(Code::broken_edge(1).number(), 11);
        assert_eq!(Code::broken_edge(13).number(), 23);
        for wrong in [0, 14, 245, 255] {
            assert_eq!(Code::broken_edge(wrong), Code::INTERNAL, "{wrong}");
        }
    }
}
