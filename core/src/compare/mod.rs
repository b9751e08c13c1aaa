//! Where two images differ: which layer, which entry, which field or byte, and a guess why.
//!
//! Layers are summarised in one pass each ([`summarize`]), the summaries compared ([`layers`]), and of files that differ the
//! bytes ([`bytes`]). Edges bring the streams.

mod document;
mod guess;
mod layer;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use document::documents;
pub use guess::bytes;
pub use layer::{Extent, LayerSummary, layers, summarize};

/// Most differences that are told of one layer; the rest is counted.
pub const TOLD: usize = 1_000;
/// Largest file whose bytes are compared in memory, in bytes.
pub const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Why two builds probably differ. A guess for people, never a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A time that was written down.
    TimeStamp,
    /// The same things in another order.
    Order,
    /// A path of the machine that built.
    Path,
    /// Language or number format.
    Locale,
    /// An identifier that the linker or compiler made.
    BuildId,
    /// The same bytes, compressed in another way.
    Compression,
    /// Mode, owner or group: often another umask or user.
    Permissions,
    /// A number made at random, such as a UUID or a hash seed.
    Random,
    /// It is in one image only.
    OnlyInOne,
    /// It follows from another difference that is told too.
    Follows,
    /// Another source, version or setting.
    Content,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The layer, from 1, the lowest first; none for manifest and config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The entry's path in the layer, or `manifest`, `config`, `index`.
    pub path: String,
    /// What differs: `bytes`, `mode`, `owner`, `mtime`, `type`, `link`, `order`, `entry`, `encoding`, or a JSON pointer.
    pub field: String,
    /// First byte of the file that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What the first image has, cut.
    pub first: String,
    /// What the second image has, cut.
    pub second: String,
    /// The guess.
    pub cause: Cause,
}

impl Difference {
    fn new(layer: Option<usize>, path: &str, field: &str, first: impl ToString, second: impl ToString, cause: Cause) -> Self {
        Self {
            layer,
            path: path.to_owned(),
            field: field.to_owned(),
            offset: None,
            first: cut(&first.to_string()),
            second: cut(&second.to_string()),
            cause,
        }
    }

    /// A layer that is compressed in another way, or whose digest follows from its entries.
    #[must_use]
    pub fn of_encoding(layer: usize, first: &str, second: &str, same_content: bool) -> Self {
        let cause = if same_content { Cause::Compression } else { Cause::Follows };
        Self::new(Some(layer), "", "encoding", first, second, cause)
    }

    /// Another number of layers, or of platforms.
    #[must_use]
    pub fn of_count(what: &str, first: usize, second: usize) -> Self {
        Self::new(None, what, "count", first, second, Cause::OnlyInOne)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
