//! Variables in strings: `$(params.x)`, `$(tasks.gate.results.commit)`.

use std::collections::BTreeSet;

/// The variables of a string, without `$(` and `)`.
pub(super) fn variables(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("$(") {
        let Some((variable, tail)) = after.split_once(')') else { break };
        // `$($(params.x))`: the inner one is what Tekton replaces.
        found.push(variable.rsplit_once("$(").map_or(variable, |(_, inner)| inner));
        rest = tail;
    }
    found
}

/// Whether Tekton replaces this variable before it records the Pipeline in the run's status. Results are replaced later, in TaskRuns only.
fn is_replaced_in_status(variable: &str) -> bool {
    variable.starts_with("params.")
        || variable.starts_with("params[")
        || variable.starts_with("context.pipelineRun.")
        || variable == "context.pipeline.name"
        || (variable.starts_with("workspaces.") && variable.ends_with(".bound"))
}

/// Names of the parameters that a string takes its value from.
pub(super) fn parameters(text: &str) -> BTreeSet<&str> {
    variables(text).into_iter().filter_map(parameter).collect()
}

/// `x` of `params.x`, `params.x.key`, `params.x[0]`, `params["x"]` and `params['x']`.
fn parameter(variable: &str) -> Option<&str> {
    if let Some(rest) = variable.strip_prefix("params.") {
        return rest.split(['.', '[']).next();
    }
    let rest = variable.strip_prefix("params[")?;
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    rest.get(1..)?.split(quote).next()
}

/// A string of a signed Pipeline as a pattern for what may be recorded.
pub(super) struct Pattern<'a> {
    /// Literal parts; between two of them stands something replaced.
    parts: Vec<&'a str>,
    /// Whether it is one replaced variable and nothing else.
    whole: bool,
}

impl<'a> Pattern<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut parts = Vec::new();
        let (mut start, mut position) = (0, 0);
        while let Some(open) = text.get(position..).and_then(|rest| rest.find("$(")).map(|at| position + at) {
            let Some(close) = text.get(open..).and_then(|rest| rest.find(')')).map(|at| open + at) else { break };
            let variable = text.get(open + 2..close).unwrap_or_default();
            // Nested: look at the inner one.
            if let Some(inner) = variable.rfind("$(") {
                position = open + 2 + inner;
                continue;
            }
            position = close + 1;
            if is_replaced_in_status(variable) {
                parts.push(text.get(start..open).unwrap_or_default());
                start = position;
            }
        }
        parts.push(text.get(start..).unwrap_or_default());
        let whole = parts.len() == 2 && parts.iter().all(|part| part.is_empty());
        Self { parts, whole }
    }

    /// Whether it is one replaced variable and nothing else, which may become a list or a map.
    pub(super) const fn is_one_variable(&self) -> bool {
        self.whole
    }

    /// Whether `found` has the literal parts, in order, with anything where variables stand.
    pub(super) fn matches(&self, found: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| *only == found);
        };
        let Some(mut rest) = found.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
        for part in middle {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        true
    }
}

/// Whether a list of strings was made of the signed one: a variable alone may have become any number of items.
pub(super) fn list_matches(signed: &[&str], found: &[&str]) -> bool {
    // reachable[i]: the signed items so far can make the first i found ones.
    let mut reachable = vec![false; found.len() + 1];
    if let Some(start) = reachable.first_mut() {
        *start = true;
    }
    for item in signed {
        let pattern = Pattern::new(item);
        let mut next = vec![false; found.len() + 1];
        let mut any = false;
        for (index, slot) in next.iter_mut().enumerate() {
            any |= reachable.get(index).copied().unwrap_or(false);
            let before = index.checked_sub(1).and_then(|before| reachable.get(before)).copied().unwrap_or(false);
            let one = before && found.get(index.wrapping_sub(1)).is_some_and(|found| pattern.matches(found));
            *slot = one || (pattern.is_one_variable() && any);
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_parts_must_stay() {
        for (signed, found, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("", "", true),
            ("$(params.x)", "anything", true),
            ("$(params.x)", "", true),
            ("a-$(params.x)-b", "a-1-b", true),
            ("a-$(params.x)-b", "a--b", true),
            ("a-$(params.x)-b", "a-b", false),
            ("a-$(params.x)-b", "a-1-c", false),
            ("$(params.x)/$(params.y).git", "u/v.git", true),
            ("$(params.x)/$(params.y).git", "u.git", false),
            ("$(tasks.gate.results.commit)", "$(tasks.gate.results.commit)", true),
            ("$(tasks.gate.results.commit)", "4b825dc", false),
            ("$(context.pipelineRun.name)", "run-1", true),
            ("$(workspaces.w.bound)", "true", true),
            ("$(workspaces.w.path)", "/x", false),
            ("$(params.x", "y", false),
            ("$($(params.x))", "$(tasks.y)", true),
            ("$($(params.x))", "y", false),
        ] {
            assert_eq!(Pattern::new(signed).matches(found), expected, "{signed} {found}");
        }
    }

    #[test]
    fn a_variable_alone_may_become_a_list() {
        for (signed, found, expected) in [
            (&["a", "b"][..], &["a", "b"][..], true),
            (&["a", "b"], &["b", "a"], false),
            (&["a"], &["a", "b"], false),
            (&["$(params.x[*])"], &[], true),
            (&["a", "$(params.x[*])", "z"], &["a", "1", "2", "z"], true),
            (&["a", "$(params.x[*])", "z"], &["a", "1", "2"], false),
            (&["$(params.x)-1"], &["a-1"], true),
            (&["$(params.x)-1"], &["a-1", "b-1"], false),
            (&[], &["a"], false),
        ] {
            assert_eq!(list_matches(signed, found), expected, "{signed:?} {found:?}");
        }
    }

    #[test]
    fn parameters_are_found_however_they_are_spelled() {
        let text =
            r#"$(params.a)$(params.b.key) $(params.c[*]) $(params["d.e"]) $(params['f']) $(tasks.x.results.g) $($(params.h))"#;
        assert_eq!(parameters(text).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d.e", "f", "h"]);
    }
}
