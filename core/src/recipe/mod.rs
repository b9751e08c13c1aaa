//! The recipe: what goes into an image, in the file `assay.toml` at the root of the repository.
//!
//! Everything that affects bytes stands in the recipe, in its inputs (named by digest or part of the commit) or in the
//! format version. Nothing has a default that depends on the machine.

pub mod config;
pub mod glob;
pub mod image;
pub mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use config::{ConfigSection, HealthcheckSection};
pub use glob::{Pattern, PatternError};
pub use value::{Base, Compression, Destination, Mode, Owner, PlatformName, Sha256Hex, SourcePath, Stamp};

use crate::digest::Digest;
use crate::limits;
use crate::oci::layer::plan::Allowed;

/// Name of the recipe file at the root of the repository.
pub const FILE_NAME: &str = "assay.toml";
/// Most layers a recipe may add: container engines hold 127 with those of the base.
pub const LAYERS: usize = 100;

/// Why a recipe is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// More bytes than [`limits::DOCUMENT_BYTES`].
    #[error("the recipe has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("the recipe is not UTF-8")]
    NotUtf8,
    /// Not TOML, an unknown field, or a value that is not right. The message shows the line.
    #[error("{source}")]
    Parse {
        /// What the parser says, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A recipe version this program does not know.
    #[error("recipe version {found} is not known, only 1")]
    Version {
        /// The version in the file.
        found: u64,
    },
    /// Neither layers nor config: nothing to build.
    #[error("the recipe has no layer; an image of the base alone is the base")]
    NoLayers,
    /// A layer without content.
    #[error("layer {index} ({name:?}) brings nothing; give it files, directories, symlinks, archives, debs, artifacts or remove")]
    EmptyLayer {
        /// Its place, from 1.
        index: usize,
        /// Its name.
        name: String,
    },
    /// Too many layers.
    #[error("the recipe has {found} layers, the limit is {LAYERS}")]
    TooManyLayers {
        /// How many.
        found: usize,
    },
    /// With no base to take it from, the platform must be written down.
    #[error("base is scratch: `platforms` must name at least one, such as \"linux/amd64\"")]
    NoPlatform,
    /// One platform twice.
    #[error("platform {platform} stands twice")]
    DuplicatePlatform {
        /// The platform.
        platform: String,
    },
    /// A layer for a platform that the recipe does not build.
    #[error("layer {index} is for {platform}, which `platforms` does not list")]
    LayerPlatform {
        /// Its place, from 1.
        index: usize,
        /// The platform.
        platform: String,
    },
    /// A value of `[config]` that engines could not use.
    #[error("config.{field}: {found:?} {why}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Annotations that the build itself writes.
    #[error("annotation {key:?} is written by the build")]
    ReservedAnnotation {
        /// Its key.
        key: String,
    },
}

impl RecipeError {
    /// The stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        "RecipeInvalid"
    }
}

/// A recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Version of this file's form: 1.
    pub version: u64,
    /// `scratch`, or an image by digest: `HOST/PATH@sha256:HEX` in a registry, `oci:DIR@sha256:HEX` in a layout of the
    /// repository, `docker-archive:FILE@sha256:HEX` for a `docker save` file of the repository with this SHA-256.
    pub base: Base,
    /// Platforms to build for, such as `linux/amd64` or `linux/arm/v7`. Several make an index. Default: the base's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformName>,
    /// How layers are compressed, if they do not say: gzip (default), zstd or none.
    #[serde(default)]
    pub compression: Compression,
    /// Format version of the image's bytes. Default: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u64>,
    /// How a container of the image is started. What is not said stays as the base has it.
    #[serde(default)]
    pub config: ConfigSection,
    /// Annotations of the image, beside those the build writes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The layers on top of the base, the lowest first.
    #[serde(default, rename = "layer", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// One layer. All its sources together make one set of paths; their order does not matter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// A name for people; it stands in the image's history.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Only for these platforms. Default: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformName>,
    /// How this layer is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Time of what comes from the repository: `commit` (default) or an RFC 3339 time. A fixed time lets a layer that did
    /// not change keep its digest from commit to commit. Files of archives keep their time unless it is later than this.
    #[serde(default)]
    pub mtime: Stamp,
    /// What this layer may hold although it is often a mistake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
    /// Files of the repository, or of a build's output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Files>,
    /// Empty directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Directory>,
    /// Symbolic links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symlinks: Vec<Symlink>,
    /// Tar archives of the repository, plain, gzip or zstd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
    /// Debian packages of the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debs: Vec<Deb>,
    /// Packed outputs of builds, by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactSource>,
    /// Paths of lower layers to take away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Destination>,
}

impl Layer {
    fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.directories.is_empty()
            && self.symlinks.is_empty()
            && self.archives.is_empty()
            && self.debs.is_empty()
            && self.artifacts.is_empty()
            && self.remove.is_empty()
    }

    /// What `allow` says, in the form the layer plan takes.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        Allowed {
            setuid: self.allow.contains(&Allow::Setuid),
            world_writable: self.allow.contains(&Allow::WorldWritable),
            case_clash: self.allow.contains(&Allow::CaseClash),
            xattrs: self.allow.contains(&Allow::Xattrs),
        }
    }

    /// Whether this layer belongs to the image for `platform`.
    #[must_use]
    pub fn is_for(&self, platform: &PlatformName) -> bool {
        self.platforms.is_empty() || self.platforms.contains(platform)
    }
}

/// What a layer may hold although it is often a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allow {
    /// Files with the setuid or setgid bit.
    Setuid,
    /// Files, or directories without the sticky bit, that everybody may write.
    WorldWritable,
    /// Paths that differ in case alone.
    CaseClash,
    /// Extended attributes such as file capabilities, from archives.
    Xattrs,
    /// Symbolic links of the repository with an absolute target.
    AbsoluteLinks,
}

/// Files of the repository. Links are copied as links, never followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Files {
    /// A file, a directory (its contents are taken), or a pattern with `*`, `?` and `**`, relative to the repository's root.
    pub from: SourcePath,
    /// Absolute place in the image. With a `/` at the end, a directory that a single file keeps its name in.
    pub to: Destination,
    /// Patterns of what to leave out, relative to what `from` takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
    /// `UID` or `UID:GID`, numbers. Default `0:0`.
    #[serde(default)]
    pub owner: Owner,
    /// Octal mode of files. Default: `0755` if the owner may execute the file, else `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Octal mode of directories. Default `0755`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_mode: Option<Mode>,
}

/// An empty directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Directory {
    /// Absolute place in the image.
    pub path: Destination,
    /// `UID` or `UID:GID`. Default `0:0`.
    #[serde(default)]
    pub owner: Owner,
    /// Octal mode. Default `0755`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Symlink {
    /// Absolute place in the image.
    pub path: Destination,
    /// What the link says.
    pub target: String,
    /// `UID` or `UID:GID`. Default `0:0`.
    #[serde(default)]
    pub owner: Owner,
}

/// A tar archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Archive {
    /// The file, relative to the repository's root.
    pub path: SourcePath,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: Sha256Hex,
    /// Absolute directory in the image. Default `/`.
    #[serde(default)]
    pub to: Destination,
    /// Leading components to take off each name.
    #[serde(default)]
    pub strip: usize,
    /// Owner of everything, instead of the archive's numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Patterns of what to leave out, relative to the archive's root after `strip`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
}

/// A Debian package: its files, and an entry in `/var/lib/dpkg/status.d` so that scanners know it. Maintainer scripts do not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deb {
    /// The file, relative to the repository's root.
    pub path: SourcePath,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: Sha256Hex,
    /// Patterns of what to leave out, relative to the image's root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
}

/// The packed output of a build (`application/vnd.assay.output.v1`). Which one is said when building: `--artifact NAME=REFERENCE@DIGEST`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ArtifactSource {
    /// Name under which the build gets it.
    pub name: String,
    /// Its digest, if it is known when the recipe is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Absolute directory in the image. Default `/`.
    #[serde(default)]
    pub to: Destination,
    /// Leading components to take off each name.
    #[serde(default)]
    pub strip: usize,
    /// Owner of everything. Default: what `pack` wrote, `0:0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Patterns of what to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
}

impl Recipe {
    /// Parses and checks the bytes of a recipe file.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecipeError> {
        if bytes.len() > limits::DOCUMENT_BYTES {
            return Err(RecipeError::TooLarge { found: bytes.len(), limit: limits::DOCUMENT_BYTES });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RecipeError::NotUtf8)?;
        let recipe: Self = toml::from_str(text).map_err(|source| RecipeError::Parse { source: Box::new(source) })?;
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), RecipeError> {
        if self.version != 1 {
            return Err(RecipeError::Version { found: self.version });
        }
        if self.layers.is_empty() {
            return Err(RecipeError::NoLayers);
        }
        if self.layers.len() > LAYERS {
            return Err(RecipeError::TooManyLayers { found: self.layers.len() });
        }
        if self.base == Base::Scratch && self.platforms.is_empty() {
            return Err(RecipeError::NoPlatform);
        }
        for (index, platform) in self.platforms.iter().enumerate() {
            if self.platforms.iter().take(index).any(|earlier| earlier == platform) {
                return Err(RecipeError::DuplicatePlatform { platform: platform.to_string() });
            }
        }
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.is_empty() {
                return Err(RecipeError::EmptyLayer { index: index + 1, name: layer.name.clone() });
            }
            if !self.platforms.is_empty()
                && let Some(platform) = layer.platforms.iter().find(|platform| !self.platforms.contains(platform))
            {
                return Err(RecipeError::LayerPlatform { index: index + 1, platform: platform.to_string() });
            }
        }
        if let Some(key) = self.annotations.keys().find(|key| image::writes(key)) {
            return Err(RecipeError::ReservedAnnotation { key: key.clone() });
        }
        self.config.check()
    }

    /// The JSON Schema of the file, for editors.
    #[must_use]
    pub fn json_schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self).to_value();
        if let Some(object) = schema.as_object_mut() {
            object.insert("$id".to_owned(), "https://assay.dev/schema/recipe/v1".into());
            object.insert("title".to_owned(), "Assay image recipe (assay.toml)".into());
        }
        schema
    }
}

#[cfg(test)]
mod tests;
