//! `assay-push`: the image and all evidence to the registry, read back, and the completion record last.
//!
//! Chains signs failed runs too. What tells a complete run from one that ended early is the record that this step writes when everything
//! else is done: a digest over all facts.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use assay_adapters::evidence::{Parts, copy_image, definition_at, publish_parts, read_back};
use assay_adapters::store::{Access, Connection, Layout, Location, Store};
use assay_core::digest::Digest;
use assay_core::edge::Edge;
use assay_core::evidence::DefinitionEvidence;
use assay_core::oci::Descriptor;
use assay_core::provenance::facts::Completion;
use assay_core::reference::{Reference, Repository};
use assay_step::{Artifact, Facts, Failure, OrFail as _, RegistryArgs, Step, Work, edge, given, store};

/// Parameters: where the image goes, and where its definition is.
#[derive(Debug, clap::Args)]
struct Args {
    /// The image's repository
    #[arg(long, value_name = "HOST/PATH")]
    image: Repository,
    /// A tag for the image, set when everything else is there
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The signed definition by digest (the gate's result `definition-ref`)
    #[arg(long, value_name = "HOST/PATH@DIGEST")]
    definition_ref: Option<String>,
    /// Folder that the steps of this Task share
    #[arg(long, value_name = "DIR", default_value = "/assay/work")]
    work: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn main() -> ExitCode {
    assay_step::run("assay-push", "Push the image and all its evidence, read it back, and record that the run is complete", run)
}

async fn run(args: Args, step: Step) -> Result<(), Failure> {
    let work = Work::open(&args.work)?;
    let (facts, built, source, vsa) = (work.facts()?, work.built()?, work.source_evidence()?, work.vsa()?);
    let connection = args.registry.connection()?;
    let definition = definition(&args, &facts, &connection).await?;
    let mut sboms: Vec<(Descriptor, Vec<u8>)> = Vec::new();
    for platform in &built.platforms {
        sboms.push((platform.clone(), work.sbom(&platform.digest)?));
    }
    let tag = given(&args.tag);
    let reference = match tag {
        Some(tag) => format!("{}:{tag}", args.image).parse::<Reference>().or_usage("TagInvalid")?,
        None => Reference { repository: args.image.clone(), tag: None, digest: None },
    };
    let registry = Store::open(&Location::Registry(reference), Access::Push, &connection).await.map_err(store)?;
    let layout = Store::Layout(Layout::open(&work.layout()).map_err(store)?);
    let image = built.image.digest;
    let copied = copy_image(&layout, &registry, image, None).await.map_err(store)?;
    tracing::info!(%image, bytes = copied.bytes, repository = %args.image, "pushed");
    let parts = Parts { source: &source, definition: definition.as_ref(), vsa: Some(&vsa), sboms: &sboms };
    publish_parts(&registry, &built.image.bare(), &parts, facts.commit_time).await.map_err(store)?;
    read_back(&registry, &args.image, image, &parts).await.map_err(store)?;
    tracing::info!(%image, "the registry gives back all evidence");
    if tag.is_some() {
        // Last, so that a tag never names an image whose evidence is not there.
        let manifest = layout.manifest(&image).await.map_err(store)?;
        registry.push_manifest(&manifest, tag).await.map_err(store)?;
    }
    record(&args, &step, &facts, image, definition.as_ref(), &sboms)
}

/// Writes the results, the completion record at the end.
fn record(
    args: &Args,
    step: &Step,
    facts: &Facts,
    image: Digest,
    definition: Option<&DefinitionEvidence>,
    sboms: &[(Descriptor, Vec<u8>)],
) -> Result<(), Failure> {
    let repository = args.image.to_string();
    let artifact = |digest| Artifact { uri: format!("oci://{repository}"), digest };
    let definition = definition.map(|definition| Digest::of(&definition.sbom));
    let sboms: Vec<Digest> = sboms.iter().map(|(_, bytes)| Digest::of(bytes)).collect();
    let results = &step.results;
    results.write("IMAGE_URL", &repository)?;
    results.write("IMAGE_DIGEST", &image.to_string())?;
    results.write_artifact("source_ARTIFACT_INPUTS", &artifact(facts.source_digest))?;
    results.write_artifact("vsa_ARTIFACT_INPUTS", &artifact(facts.vsa_digest))?;
    if let Some(definition) = definition {
        results.write_artifact("definition_ARTIFACT_INPUTS", &artifact(definition))?;
    }
    if let [first, ..] = sboms.as_slice() {
        results.write_artifact("sbom_ARTIFACT_OUTPUTS", &artifact(*first))?;
    }
    if sboms.len() > 1 {
        let all: Vec<String> = sboms.iter().map(Digest::to_string).collect();
        results.write("ASSAY_SBOMS", &all.join(" "))?;
    }
    let completion = Completion {
        image,
        repository: &repository,
        url: &facts.url,
        commit: facts.commit,
        tree_digest: facts.tree_digest,
        source: facts.source_digest,
        definition,
        vsa: Some(facts.vsa_digest),
        sboms: &sboms,
    };
    results.write("ASSAY_COMPLETE", &completion.digest().to_string())
}

/// The signed definition, which must be the one that the gate approved.
async fn definition(args: &Args, facts: &Facts, connection: &Connection) -> Result<Option<DefinitionEvidence>, Failure> {
    let refused = |reason: &str, error: anyhow::Error| edge(Edge::E9, reason, error);
    match (given(&args.definition_ref), facts.definition_digest) {
        (None, None) => Ok(None),
        (None, Some(expected)) => {
            Err(refused("DefinitionMissing", anyhow!("the gate approved the definition {expected}: give --definition-ref")))
        }
        (Some(text), expected) => {
            let reference: Reference = text.parse().or_usage("DefinitionRefInvalid")?;
            let digest =
                reference.digest.ok_or_else(|| Failure::usage("DefinitionRefInvalid", anyhow!("{text:?} names no digest")))?;
            let from = Store::open(&Location::Registry(reference), Access::Pull, connection).await.map_err(store)?;
            let definition = definition_at(&from, &digest).await.map_err(store)?;
            let found = Digest::of(&definition.sbom);
            if Some(found) != expected {
                let expected = expected.map_or("none".to_owned(), |digest| digest.to_string());
                return Err(refused("GateMismatch", anyhow!("the gate approved the definition {expected}, {text} is {found}")));
            }
            Ok(Some(definition))
        }
    }
}
