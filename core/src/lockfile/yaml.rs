//! YAML lock files: one reader with budgets, without aliases.

use serde::de::DeserializeOwned;
use serde_saphyr::{Budget, Options};

use super::LOCKFILE_BYTES;
use super::error::LockfileError;

/// Deepest nesting; the formats read here need six levels.
const DEPTH: usize = 32;
/// Most scalars, sequences and mappings: a lock file of [`super::PACKAGES`] packages has some ten for each.
const NODES: usize = 2_000_000;

/// Reads every document of a file into `T`. Repeated keys, anchors and aliases are refused: no tool writes them there.
pub(super) fn documents<T: DeserializeOwned>(path: &str, text: &str) -> Result<Vec<T>, LockfileError> {
    serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|source| LockfileError::Yaml { path: path.to_owned(), source: Box::new(source) })
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_reader_input_bytes = Some(LOCKFILE_BYTES);
    budget.max_aliases = 0;
    budget.max_anchors = 0;
    budget.max_depth = DEPTH;
    budget.max_documents = 8;
    budget.max_nodes = NODES;
    budget.max_events = NODES * 2;
    budget.max_total_scalar_bytes = LOCKFILE_BYTES;
    budget.max_merge_keys = 0;
    let mut options = Options::default();
    options.budget = Some(budget);
    options
}
