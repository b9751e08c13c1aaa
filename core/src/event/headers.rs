//! HTTP headers, whatever their case, and never two answers to one question.

use std::collections::BTreeMap;

use super::Refusal;

/// Most headers of one delivery that are kept.
const MOST: usize = 256;

/// The headers of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(BTreeMap<String, Vec<String>>);

impl Headers {
    /// Takes names and values as they came. What is beyond 256 headers is not kept, so that it cannot be found either.
    pub fn new<N: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs.into_iter().take(MOST) {
            headers.entry(name.as_ref().to_ascii_lowercase()).or_default().push(value.into());
        }
        Self(headers)
    }

    /// The value of a header; `name` in lower case.
    ///
    /// # Errors
    /// [`Refusal::HeaderRepeated`] if it came more than once: two readers could take different ones.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([value]) => Ok(Some(value.trim())),
            Some(_) => Err(Refusal::HeaderRepeated { name }),
        }
    }

    /// Whether the header is there at all; `name` in lower case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
