//! E10: enough distinct rebuilders got the same digest from the same inputs. Identities count, not attestations or keys.
//!
//! A match is two documents by one signer: the small statement of what was compared with what, and SLSA provenance of its own over the
//! same subject, whose facts are compared with those of the original. A mismatch needs nothing but its signature to block.

mod heads;
mod quorum;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use self::heads::Heads;
use super::signers;
use super::word::Listener;
use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::limits;
use crate::policy::Policy;
use crate::policy::types;
use crate::provenance::{self, BuildFacts, slsa, tekton};
use crate::reason::Reason;
use crate::rebuild::{MATCH, PREDICATE_TYPE};
use crate::signature::SignedStatement;
use crate::statement::ResourceDescriptor;
use crate::time::Timestamp;
use crate::verdict::{Rebuilder, RebuilderSays, Used};

/// A rebuilder's statement as it is read: whatever is odd about it must not keep a mismatch from being heard.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Heard {
    original: Value,
    builder: Value,
    result: Value,
    differences: Vec<Value>,
    finished_on: Value,
    provenance: Value,
}

/// One statement by a named rebuilder.
struct Said {
    name: String,
    statement: Digest,
    claim: Claim,
}

enum Claim {
    Match(Match),
    Mismatch,
    Released(String),
}

/// What a match rests on. What is missing is none, and then it does not count.
struct Match {
    original: Option<Digest>,
    builder: String,
    provenance: Option<Digest>,
    finished: Option<Timestamp>,
}

impl Match {
    fn of(heard: &Heard) -> Self {
        let digest = |value: &Value| ResourceDescriptor::deserialize(value).ok().and_then(|descriptor| descriptor.sha256());
        Self {
            original: digest(&heard.original),
            builder: heard.builder.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
            provenance: digest(&heard.provenance),
            finished: heard.finished_on.as_str().and_then(|text| text.parse().ok()),
        }
    }
}

/// What the rebuilders said of one image.
pub(super) struct Rebuilds<'a> {
    required: Option<&'a types::Rebuilds>,
    image: Digest,
    now: Timestamp,
    said: Vec<Said>,
    /// Facts of the rebuilders' own provenance, by signer and statement.
    provenances: BTreeMap<(String, Digest), BuildFacts>,
    heads: Heads,
    used: Vec<Used>,
}

/// What they come to for one provenance statement.
pub(super) struct Counted {
    /// One entry for each named rebuilder, in the order of their names.
    pub(super) rebuilders: Vec<Rebuilder>,
    /// How many of those that match are distinct.
    distinct: usize,
}

pub(super) fn judge<'a>(listener: Listener<'_>, policy: &'a Policy, seen: Timestamp) -> Rebuilds<'a> {
    let Listener { evidence, state, revoked, now } = listener;
    let required = policy.spec().rebuilds.as_ref();
    let mut rebuilds = Rebuilds {
        required,
        image: evidence.digest,
        now,
        said: Vec::new(),
        provenances: BTreeMap::new(),
        heads: Heads::default(),
        used: Vec::new(),
    };
    let Some(required) = required else { return rebuilds };
    let identities = signers::verifier(&required.identities);
    let releases = required.release_authority.as_ref().map(|authority| listener.releases(authority));
    let here = evidence.attestations.iter().take(limits::REFERRERS);
    for attestation in here.chain(state.rebuilds_seen.iter().take(limits::REFERRERS)) {
        let signed = signers::of_attestation(&attestation.bytes, &identities, state.trust_root, revoked, seen);
        let Ok(signed) = signed else { continue };
        if !signed.statement.is_about(&evidence.digest) {
            continue;
        }
        match signed.statement.predicate_type.as_str() {
            PREDICATE_TYPE => rebuilds.hear(signed, |statement| releases.as_ref().and_then(|words| words.lifted(statement))),
            slsa::PREDICATE_TYPE => {
                if let Ok(facts) = provenance::read(&signed.statement) {
                    rebuilds.provenances.insert((signed.signed_by.identity, Digest::of(&signed.payload)), facts);
                }
            }
            _ => {}
        }
    }
    rebuilds.used.extend(releases.into_iter().flat_map(|releases| releases.used));
    rebuilds.heads = heads::judge(listener, required, &identities);
    rebuilds.used.extend(rebuilds.heads.used());
    rebuilds
}

impl Rebuilds<'_> {
    fn hear(&mut self, signed: SignedStatement, lifted: impl Fn(&Digest) -> Option<String>) {
        let name = signed.signed_by.identity;
        let statement = Digest::of(&signed.payload);
        if self.said.iter().any(|said| said.statement == statement && said.name == name) {
            return;
        }
        // A predicate that is nothing we know is no match, so it is taken for the other thing.
        let heard: Heard = signed.statement.predicate().unwrap_or_default();
        let matches = heard.result.as_str() == Some(MATCH) && heard.differences.is_empty();
        let parts = Match::of(&heard);
        let text = |value: &Value| value.as_str().unwrap_or("nothing known").chars().take(40).collect::<String>();
        let mut facts = vec![("result".to_owned(), text(&heard.result))];
        facts.extend(parts.original.map(|digest| ("of provenance".to_owned(), digest.to_string())));
        facts.extend(parts.provenance.map(|digest| ("own provenance".to_owned(), digest.to_string())));
        facts.extend((!parts.builder.is_empty()).then(|| ("builder".to_owned(), parts.builder.clone())));
        facts.extend(parts.finished.map(|time| ("finished".to_owned(), time.to_string())));
        let claim = if matches {
            Claim::Match(parts)
        } else if let Some(by) = lifted(&statement) {
            facts.push(("released by".to_owned(), by.clone()));
            Claim::Released(by)
        } else {
            Claim::Mismatch
        };
        self.used.push(Used { kind: "rebuild", digest: statement, signed_by: vec![name.clone()], facts });
        self.said.push(Said { name, statement, claim });
    }

    pub(super) fn used(&self) -> Vec<Used> {
        self.used.clone()
    }

    /// Counts them for the provenance statement whose build they must have repeated; without one, for any that most agree on.
    pub(super) fn count(&self, original: Option<(Digest, &BuildFacts)>) -> Counted {
        if let Some(original) = original {
            return self.count_for(original, true);
        }
        // No builder is trusted: whatever the rebuilders repeated, they must have repeated the same, from the same inputs.
        let mut best = None;
        for said in &self.said {
            let Claim::Match(parts) = &said.claim else { continue };
            let own = parts.provenance.and_then(|digest| self.provenances.get(&(said.name.clone(), digest)));
            let (Some(digest), Some(own)) = (parts.original, own) else { continue };
            let counted = self.count_for((digest, own), false);
            if best.as_ref().is_none_or(|best: &Counted| best.distinct < counted.distinct) {
                best = Some(counted);
            }
        }
        best.unwrap_or_else(|| self.rebuilders(|_, _| Err("its own provenance is not there".to_owned())))
    }

    fn count_for(&self, (digest, facts): (Digest, &BuildFacts), trusted: bool) -> Counted {
        self.rebuilders(|name, parts| {
            if parts.original != Some(digest) {
                let found = parts.original.map_or_else(|| "no provenance".to_owned(), |found| found.to_string());
                return Err(format!("it repeated {found}, not {digest}"));
            }
            if parts.builder.is_empty() || (trusted && parts.builder == facts.builder_id) {
                return Err(format!("its builder id {:?} is not one of its own", parts.builder));
            }
            self.check_age(parts)?;
            let own = parts.provenance.and_then(|digest| self.provenances.get(&(name.to_owned(), digest)));
            let own = own.ok_or_else(|| "its own provenance is not there".to_owned())?;
            if own.builder_id != parts.builder {
                return Err(format!("its provenance is by builder {:?}, its statement by {:?}", own.builder_id, parts.builder));
            }
            if own.complete != Some(own.completion(&self.image)) {
                return Err("its own build did not complete".to_owned());
            }
            same_inputs(facts, own)
        })
    }

    fn check_age(&self, parts: &Match) -> Result<(), String> {
        let finished = parts.finished.ok_or_else(|| "it does not say when it ended".to_owned())?;
        let age = self.now.seconds().saturating_sub(finished.seconds());
        if age < 0 {
            return Err(format!("it ended at {finished}, which is yet to come"));
        }
        match self.required.and_then(|required| required.max_age_seconds) {
            Some(most) if age > i64::from(most) => Err(format!("it ended at {finished}, more than {most} s ago")),
            _ => Ok(()),
        }
    }

    /// One entry for each named rebuilder: the gravest thing it said.
    fn rebuilders(&self, counts: impl Fn(&str, &Match) -> Result<(), String>) -> Counted {
        let mut names: Vec<&str> =
            self.required.iter().flat_map(|required| required.identities.iter()).map(|identity| identity.name.as_str()).collect();
        names.sort_unstable();
        let mut claims = Vec::new();
        let mut rebuilders = Vec::new();
        for name in names {
            let mut shown = Rebuilder { name: name.to_owned(), says: RebuilderSays::Silent, statement: None, why: String::new() };
            let mut builders = Vec::new();
            for said in self.said.iter().filter(|said| said.name == name) {
                let (says, why) = match &said.claim {
                    Claim::Mismatch => (RebuilderSays::Mismatch, String::new()),
                    Claim::Released(by) => (RebuilderSays::Released, format!("released by {by}")),
                    Claim::Match(parts) => match counts(name, parts) {
                        Ok(()) => {
                            builders.push(parts.builder.as_str());
                            (RebuilderSays::Match, String::new())
                        }
                        Err(why) => (RebuilderSays::NotCounted, why),
                    },
                };
                if rank(says) < rank(shown.says) {
                    shown = Rebuilder { name: name.to_owned(), says, statement: Some(said.statement), why };
                }
            }
            claims.push(builders);
            rebuilders.push(shown);
        }
        Counted { distinct: quorum::distinct(&claims), rebuilders }
    }

    pub(super) fn finding(&self, counted: &Counted) -> Finding {
        let Some(required) = self.required else { return Finding::not_required(Edge::E10) };
        let threshold = required.threshold;
        let expected = format!("{threshold} distinct rebuilders with the same digest from the same inputs");
        let found = describe(&counted.rebuilders);
        let refused = |reason, found: String| Finding::refused(Edge::E10, reason, expected.clone(), found);
        if self.said.iter().any(|said| matches!(said.claim, Claim::Mismatch)) {
            return refused(Reason::RebuildMismatch, found);
        }
        if let Some(why) = self.heads.stale(required) {
            return refused(Reason::RebuilderStale, format!("{why}; {found}"));
        }
        if let Some(why) =
            self.heads.withheld(|name, digest| self.said.iter().any(|said| said.name == name && said.statement == *digest))
        {
            return refused(Reason::RebuildWithheld, format!("{why}; {found}"));
        }
        if counted.distinct >= usize::from(threshold).max(1) {
            Finding::ok(Edge::E10, expected, found)
        } else {
            refused(Reason::TooFewRebuilds, format!("{} of {threshold}; {found}", counted.distinct))
        }
    }
}

/// What is shown of a rebuilder that said several things: what blocks before what counts before what does not.
const fn rank(says: RebuilderSays) -> u8 {
    match says {
        RebuilderSays::Mismatch => 0,
        RebuilderSays::Match => 1,
        RebuilderSays::Released => 2,
        RebuilderSays::NotCounted => 3,
        RebuilderSays::Silent => 4,
    }
}

/// Who matched, who did not, and who is silent.
fn describe(rebuilders: &[Rebuilder]) -> String {
    let mut parts = Vec::new();
    for says in
        [RebuilderSays::Match, RebuilderSays::Mismatch, RebuilderSays::Released, RebuilderSays::NotCounted, RebuilderSays::Silent]
    {
        let names: Vec<String> = rebuilders
            .iter()
            .filter(|rebuilder| rebuilder.says == says)
            .map(|rebuilder| match (&rebuilder.statement, says) {
                (Some(statement), RebuilderSays::Mismatch) => format!("{} (statement {statement})", rebuilder.name),
                _ if rebuilder.why.is_empty() => rebuilder.name.clone(),
                _ => format!("{} ({})", rebuilder.name, rebuilder.why),
            })
            .collect();
        if !names.is_empty() {
            parts.push(format!("{}: {}", says.word(), names.join(", ")));
        }
    }
    if parts.is_empty() { "nobody".to_owned() } else { parts.join("; ") }
}

/// Whether a rebuild went in with what the original says went in.
fn same_inputs(original: &BuildFacts, own: &BuildFacts) -> Result<(), String> {
    let differs = |what: &str, one: String, two: String| Err(format!("its {what} was {two}, not {one}"));
    if own.commit != original.commit {
        return differs("commit", original.commit.to_string(), own.commit.to_string());
    }
    if own.tree_digest != original.tree_digest {
        return differs("tree", original.tree_digest.to_string(), own.tree_digest.to_string());
    }
    if own.source != original.source {
        return differs("source SBOM", original.source.to_string(), own.source.to_string());
    }
    if own.url != original.url {
        return differs("source repository", original.url.clone(), own.url.clone());
    }
    if own.repository != original.repository {
        return differs("image repository", original.repository.clone(), own.repository.clone());
    }
    if let (Some((path, digest)), Some((own_path, own_digest))) = (&original.recipe, &own.recipe)
        && (path, digest) != (own_path, own_digest)
    {
        return differs("recipe", format!("{path} {digest}"), format!("{own_path} {own_digest}"));
    }
    let digests = |facts: &BuildFacts| -> std::collections::BTreeSet<Option<Digest>> {
        facts.inputs.iter().map(ResourceDescriptor::sha256).collect()
    };
    let (there, here) = (digests(original), digests(own));
    match &original.tekton {
        // The inputs of a TaskRun are its step images, which a rebuild elsewhere has no use for; what it took besides are outputs.
        Some(run) if own.tekton.is_none() => {
            let outputs = tekton::outputs(run);
            match outputs.iter().find(|output| !here.contains(&Some(**output))) {
                Some(missing) => Err(format!("it was built without the output {missing}")),
                None => Ok(()),
            }
        }
        _ if there == here => Ok(()),
        _ => {
            let odd = there.symmetric_difference(&here).flatten().next();
            Err(format!("its inputs were others: {}", odd.map_or_else(|| "one without digest".to_owned(), Digest::to_string)))
        }
    }
}
