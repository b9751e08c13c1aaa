//! A signed definition in a folder: the documents, their SBOM, and the signatures over it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_core::definition::{DefinitionError, Origin, Source, write};
use assay_core::evidence::{DefinitionEvidence, SignatureDocument};
use assay_core::limits;
use assay_core::signature::SignatureFormat;
use assay_core::tekton::rules::{self, Rules};
use assay_core::tekton::{Document, Kind, Mismatch, edit};
use serde_json::Value;

use crate::exit::{Failure, OrFail as _};
use crate::input;

/// Name of the definition SBOM in the folder.
pub(super) const SBOM: &str = "definition.spdx.json";
/// Folder of the signatures over it.
pub(super) const SIGNATURES: &str = "signatures";

/// A document as it will be signed.
pub(super) struct Written {
    /// Where it was read from.
    pub(super) path: PathBuf,
    /// Its text, in its namespace.
    pub(super) text: String,
    /// As Tekton reads it.
    pub(super) document: Document,
}

/// Where the documents of a definition are found when it runs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// The Pipeline, and every Task and StepAction it uses: YAML files, one object each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Namespace in which the cluster resolver finds them; files that name none are put into it
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// Accept Pipelines without a gate
    #[arg(long)]
    without_gate: bool,
}

impl Place {
    /// Reads the files, puts them into their namespace, and checks that a gate would let the Pipeline go on.
    ///
    /// # Errors
    /// Exit 4 for what Tekton would not read or what must not be signed.
    pub(super) fn read(&self) -> Result<Vec<Written>, Failure> {
        let mut written = Vec::new();
        for path in &self.files {
            let shown = path.display();
            let bytes = input::read(path, limits::DOCUMENT_BYTES)?;
            let text =
                String::from_utf8(bytes).with_context(|| format!("{shown}: not UTF-8")).or_configuration("DefinitionInvalid")?;
            let text = edit::in_namespace(&text, &self.namespace)
                .map_err(|error| Failure::configuration(error.reason(), anyhow!("{shown}: {error}")))?;
            let document = Document::parse(text.as_bytes())
                .map_err(|error| Failure::configuration(error.reason(), anyhow!("{shown}: {error}")))?;
            written.push(Written { path: path.clone(), text, document });
        }
        self.check(&written)?;
        Ok(written)
    }

    fn check(&self, written: &[Written]) -> Result<(), Failure> {
        let refused = |path: &Path, mismatch: &Mismatch| {
            Failure::configuration(mismatch.reason(), anyhow!("{}: {mismatch}", path.display()))
        };
        let documents: Vec<Document> = written.iter().map(|one| one.document.clone()).collect();
        for one in written {
            if one.document.kind() != Kind::Pipeline {
                rules::check_task_document(&one.document).map_err(|mismatch| refused(&one.path, &mismatch))?;
                continue;
            }
            let rules = Rules { gate: None, without_gate: self.without_gate, custom_tasks: &[] };
            rules::check(&one.document, &rules).map_err(|mismatch| refused(&one.path, &mismatch))?;
            rules::check_scripts(&one.document, &documents).map_err(|mismatch| refused(&one.path, &mismatch))?;
            self.complete(one, &documents)?;
        }
        Ok(())
    }

    /// What the cluster resolver is asked for is among the files: a definition that lacks a Task would be refused by every gate.
    fn complete(&self, pipeline: &Written, documents: &[Document]) -> Result<(), Failure> {
        let spec: Value = serde_json::from_slice(pipeline.document.canonical()).or_internal("Internal")?;
        let lists = ["/spec/tasks", "/spec/finally"].into_iter().filter_map(|list| spec.pointer(list)?.as_array());
        for task in lists.flatten() {
            let Some(reference) = task.get("taskRef").filter(|reference| reference["resolver"] == "cluster") else { continue };
            let param = |name: &str| {
                let params = reference["params"].as_array().into_iter().flatten();
                params.filter(|param| param["name"] == name).find_map(|param| param["value"].as_str()).unwrap_or_default()
            };
            let (name, namespace) = (param("name"), param("namespace"));
            let wrong = |why: String| {
                Failure::configuration(
                    "DefinitionIncomplete",
                    anyhow!("{}: task {}: {why}", pipeline.path.display(), task["name"]),
                )
            };
            if namespace != self.namespace {
                return Err(wrong(format!("it is looked for in namespace {namespace:?}, not in {:?}", self.namespace)));
            }
            if !documents.iter().any(|document| document.kind() == Kind::Task && document.name() == name) {
                return Err(wrong(format!("Task {name:?} is not among the files")));
            }
        }
        Ok(())
    }

    /// The definition SBOM of the documents.
    ///
    /// # Errors
    /// Exit 4 for an image by tag and the like.
    pub(super) fn sbom(&self, texts: &[&str]) -> Result<Vec<u8>, Failure> {
        let origin = Origin::Cluster { namespace: self.namespace.clone() };
        let sources: Vec<Source<'_>> = texts.iter().map(|text| Source { bytes: text.as_bytes(), origin: &origin }).collect();
        write(&sources).map_err(|error| Failure::configuration(reason(&error), error))
    }
}

pub(super) const fn reason(error: &DefinitionError) -> &'static str {
    match error {
        DefinitionError::NotPinned { .. } => "DefinitionNotPinned",
        DefinitionError::ParseSbom { .. } | DefinitionError::ParseDocument { .. } => "DefinitionInvalid",
    }
}

/// Reads a signed definition from its folder.
///
/// # Errors
/// Exit 4 for a folder that holds none.
pub(super) fn read(folder: &Path) -> Result<DefinitionEvidence, Failure> {
    let files = |folder: &Path| -> Result<Vec<PathBuf>, Failure> {
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("read {}", folder.display()))
            .or_configuration("UnreadableInput")?;
        let mut paths = Vec::new();
        for entry in entries.take(limits::SIGNATURES * 2) {
            paths.push(entry.with_context(|| format!("read {}", folder.display()))?.path());
        }
        paths.sort();
        Ok(paths)
    };
    let mut evidence =
        DefinitionEvidence { sbom: input::read(&folder.join(SBOM), limits::SBOM_BYTES)?, ..DefinitionEvidence::default() };
    for path in files(folder)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        evidence.documents.push(input::read(path, limits::DOCUMENT_BYTES)?);
    }
    for path in files(&folder.join(SIGNATURES))? {
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(format) = SignatureFormat::from_file_name(&file_name) else {
            return Err(Failure::configuration("UnknownSignature", anyhow!("{} is the name of no signature", path.display())));
        };
        let bytes = input::read(&path, limits::BUNDLE_BYTES)?;
        evidence.signatures.push(SignatureDocument { media_type: format.media_type().to_owned(), file_name, bytes });
    }
    Ok(evidence)
}
