//! E10: what a rebuilder signs, field by field; who is counted; and what a head over all statements adds.

use std::collections::{BTreeMap, BTreeSet};

use assay_core::digest::{Digest, GitOid};
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::{Attestation, RebuilderHead};
use assay_core::provenance::BuildFacts;
use assay_core::provenance::local::{self, LocalBuild};
use assay_core::reason::Reason;
use assay_core::rebuild::index::{Head, Statements, pages};
use assay_core::statement::{ResourceDescriptor, render};
use assay_core::time::Timestamp;
use assay_core::verdict::{RebuilderSays, Verdict};
use assay_core::verify::{REBUILD_TYPE, State};
use serde_json::{Value, json};

use super::threats::{broken, rebuilds_policy, with_policy};
use super::world::{Draft, Key, NOW, World, identity, now, rebuilder};

/// What a rebuilder signs, before it is signed.
pub(crate) struct Rebuild {
    key: Key,
    image: Digest,
    builder: String,
    pub(crate) facts: BuildFacts,
    pub(crate) predicate: Value,
    matches: bool,
}

impl Rebuild {
    pub(crate) fn of(world: &World, n: u8, result: &str) -> Self {
        let builder = format!("https://rebuilder-{}.example.com", n % 10);
        let facts = BuildFacts {
            builder_id: builder.clone(),
            run: format!("rebuild-{n}"),
            started: time(NOW - 100),
            vsa: None,
            ..world.facts.clone()
        };
        let predicate = json!({
            "original": ResourceDescriptor::new("provenance", "", Digest::of(&world.provenance)),
            "builder": {"id": builder}, "result": result, "compared": ["manifest"], "differences": [],
            "finishedOn": time(NOW - 90).to_string(), "run": n,
        });
        Self { key: rebuilder(n % 10), image: world.evidence.digest, builder, facts, predicate, matches: result == "MATCH" }
    }

    fn by(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    fn provenance(&self) -> Vec<u8> {
        let build = LocalBuild { facts: &self.facts, image: self.image, format_version: 1, finished: time(NOW - 90) };
        local::render(&build).unwrap()
    }

    fn statement(&self) -> Vec<u8> {
        let mut predicate = self.predicate.clone();
        if self.matches && predicate.get("provenance").is_none() {
            predicate["provenance"] = json!(ResourceDescriptor::new("", "", Digest::of(&self.provenance())));
        }
        render(&[ResourceDescriptor::new("", "", self.image)], REBUILD_TYPE, &predicate).unwrap()
    }

    pub(crate) fn attestations(&self) -> Vec<Attestation> {
        let statement = self.key.attestation(&self.statement());
        if self.matches { vec![statement, self.key.attestation(&self.provenance())] } else { vec![statement] }
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn says(verdict: &Verdict, name: &str) -> RebuilderSays {
    verdict.rebuilders().iter().find(|rebuilder| rebuilder.name == name).unwrap().says
}

fn unknown(verdict: &Verdict, reason: Reason) {
    let finding = verdict.edge(Edge::E10).unwrap();
    assert_eq!((finding.state, finding.reason), (EdgeState::Unknown, reason), "{finding:?}");
    assert!(verdict.verified().is_none());
}

fn policy(threshold: u8, more: &str) -> Draft {
    with_policy(rebuilds_policy(threshold).replace("rebuilds: {", &format!("rebuilds: {{{more}")))
}

fn judged(draft: &Draft, rebuilds: &[Rebuild]) -> Verdict {
    let mut world = draft.build();
    world.evidence.attestations.extend(rebuilds.iter().flat_map(Rebuild::attestations));
    world.verdict()
}

#[test]
fn the_verdict_lists_who_matched_who_did_not_and_who_is_silent() {
    let three = format!(
        "  rebuilds: {{threshold: 2, identities: [{}, {}, {}]}}\n",
        identity("org-one", &rebuilder(1)),
        identity("org-two", &rebuilder(2)),
        identity("org-three", &rebuilder(3))
    );
    let draft = with_policy(three);
    let world = draft.build();
    let all = |results: &[(u8, &str)]| {
        judged(&draft, &results.iter().map(|(n, result)| Rebuild::of(&world, *n, result)).collect::<Vec<_>>())
    };
    let verdict = all(&[(1, "MATCH")]);
    broken(&verdict, Edge::E10, Reason::TooFewRebuilds);
    assert!(verdict.edge(Edge::E10).unwrap().found.contains("match: org-one; silent: org-three, org-two"));
    let verdict = all(&[(1, "MATCH"), (2, "MATCH")]);
    assert!(verdict.verified().is_some(), "{:?}", verdict.edge(Edge::E10));
    assert_eq!(says(&verdict, "org-three"), RebuilderSays::Silent);
    // The third proves a difference: blocked, whatever the others say.
    let verdict = all(&[(1, "MATCH"), (2, "MATCH"), (3, "MISMATCH")]);
    broken(&verdict, Edge::E10, Reason::RebuildMismatch);
    assert_eq!((says(&verdict, "org-one"), says(&verdict, "org-three")), (RebuilderSays::Match, RebuilderSays::Mismatch));
}

/// Every field of the small statement: changed or absent, the match does not count, or it is listed as free with the reason.
#[test]
fn each_field_of_a_match_is_compared() {
    const FREE: [(&str, &str); 3] = [
        ("/run", "not part of the predicate: extra members say nothing"),
        ("/compared/0", "shown, not compared: equal manifests are equal in everything"),
        ("/original/name", "a statement counts by digest, whatever it is called"),
    ];
    let draft = policy(1, "maxAgeSeconds: 3600, ");
    let world = draft.build();
    let honest = Rebuild::of(&world, 1, "MATCH");
    assert!(judged(&draft, &[honest]).verified().is_some());
    for (pointer, other) in [
        ("/original/name", json!("other")),
        ("/original/digest/sha256", json!("00".repeat(32))),
        ("/builder/id", json!("https://other.example.com")),
        ("/result", json!("MISMATCH")),
        ("/result", json!("match")),
        ("/differences", json!([{}])),
        ("/finishedOn", json!(time(NOW + 1).to_string())),
        ("/finishedOn", json!(time(NOW - 3_601).to_string())),
        ("/compared/0", json!("config")),
        ("/run", json!(0)),
    ] {
        let free = FREE.iter().any(|(listed, _)| *listed == pointer);
        let mut changed = Rebuild::of(&world, 1, "MATCH");
        *changed.predicate.pointer_mut(pointer).unwrap() = other;
        assert_eq!(judged(&draft, &[changed]).verified().is_some(), free, "another {pointer}");
    }
    for name in ["original", "builder", "result", "finishedOn"] {
        let mut changed = Rebuild::of(&world, 1, "MATCH");
        changed.predicate.as_object_mut().unwrap().remove(name);
        assert!(judged(&draft, &[changed]).verified().is_none(), "without {name}");
    }
    let mut changed = Rebuild::of(&world, 1, "MATCH");
    changed.predicate["provenance"] = json!(ResourceDescriptor::new("", "", Digest::of(b"other")));
    broken(&judged(&draft, &[changed]), Edge::E10, Reason::TooFewRebuilds);
    // A predicate that is nothing known blocks like a mismatch: the rebuilder did not say that it matches.
    let mut odd = Rebuild::of(&world, 1, "MISMATCH");
    odd.predicate = json!([1]);
    broken(&judged(&draft, &[odd]), Edge::E10, Reason::RebuildMismatch);
}

/// Every fact of the rebuilder's own provenance that the original records too.
#[test]
fn threat_a_rebuild_from_other_inputs_does_not_count() {
    let draft = policy(1, "");
    let world = draft.build();
    let other = Digest::of(b"other");
    type Change = fn(&mut BuildFacts, Digest);
    let changes: [(&str, Change); 8] = [
        ("commit", |facts, _| facts.commit = GitOid::sha1_of("commit", b"other")),
        ("tree", |facts, other| facts.tree_digest = other),
        ("source SBOM", |facts, other| facts.source = other),
        ("source repository", |facts, _| facts.url = "https://git.example.com/team/other.git".into()),
        ("image repository", |facts, _| facts.repository = "registry.example.com/team/other".into()),
        ("recipe", |facts, other| facts.recipe = Some(("assay.toml".into(), other))),
        ("inputs", |facts, _| facts.inputs.clear()),
        ("inputs", |facts, other| facts.inputs.push(ResourceDescriptor::new("more", "", other))),
    ];
    for (what, change) in changes {
        let mut rebuild = Rebuild::of(&world, 1, "MATCH");
        change(&mut rebuild.facts, other);
        let verdict = judged(&draft, &[rebuild]);
        broken(&verdict, Edge::E10, Reason::TooFewRebuilds);
        let shown = &verdict.rebuilders()[0];
        assert_eq!(shown.says, RebuilderSays::NotCounted);
        assert!(shown.why.contains(what), "{what}: {}", shown.why);
    }
}

#[test]
fn threat_a_rebuilder_without_provenance_of_its_own_or_with_somebody_elses() {
    let draft = policy(1, "");
    let world = draft.build();
    let rebuild = Rebuild::of(&world, 1, "MATCH");
    let mut without = draft.build();
    without.evidence.attestations.push(rebuild.attestations()[0].clone());
    broken(&without.verdict(), Edge::E10, Reason::TooFewRebuilds);
    // Provenance that org-two signed does not make org-one's statement count.
    without.evidence.attestations.push(rebuilder(2).attestation(&rebuild.provenance()));
    broken(&without.verdict(), Edge::E10, Reason::TooFewRebuilds);
    // The original's builder confirms nothing, and neither does provenance by another builder id than the statement's.
    let mut own = Rebuild::of(&world, 1, "MATCH");
    own.facts.builder_id.clone_from(&world.facts.builder_id);
    broken(&judged(&draft, &[own]), Edge::E10, Reason::TooFewRebuilds);
    let mut own = Rebuild::of(&world, 1, "MATCH");
    own.facts.builder_id.clone_from(&world.facts.builder_id);
    own.predicate["builder"]["id"] = json!(world.facts.builder_id);
    broken(&judged(&draft, &[own]), Edge::E10, Reason::TooFewRebuilds);
}

#[test]
fn threat_a_rebuilder_that_colludes_with_itself_under_two_keys_or_two_names() {
    let one = identity("org-one", &rebuilder(1))
        .replace("}]}", &format!("}}, {{key: {}}}]}}", Value::from(rebuilder(5).public().to_pem())));
    let draft =
        with_policy(format!("  rebuilds: {{threshold: 2, identities: [{one}, {}]}}\n", identity("org-two", &rebuilder(2))));
    let world = draft.build();
    // Two keys of one identity, even as two builders.
    let verdict = judged(&draft, &[Rebuild::of(&world, 1, "MATCH"), Rebuild::of(&world, 5, "MATCH")]);
    broken(&verdict, Edge::E10, Reason::TooFewRebuilds);
    // Two identities that are one builder.
    let same = Rebuild::of(&world, 1, "MATCH");
    let twin = Rebuild::of(&world, 1, "MATCH").by(rebuilder(2));
    assert_eq!(same.builder, twin.builder);
    broken(&judged(&draft, &[same, twin]), Edge::E10, Reason::TooFewRebuilds);
    assert!(judged(&draft, &[Rebuild::of(&world, 5, "MATCH"), Rebuild::of(&world, 2, "MATCH")]).verified().is_some());
}

#[test]
fn threat_old_rebuilds_replayed_and_rebuilds_of_other_builds() {
    let draft = policy(1, "maxAgeSeconds: 60, ");
    let world = draft.build();
    broken(&judged(&draft, &[Rebuild::of(&world, 1, "MATCH")]), Edge::E10, Reason::TooFewRebuilds);
    // A mismatch never grows too old.
    broken(&judged(&draft, &[Rebuild::of(&world, 1, "MISMATCH")]), Edge::E10, Reason::RebuildMismatch);
    let other = Draft { facts: Box::new(|facts| facts.run = "run-2".into()), ..policy(1, "") }.build();
    broken(&judged(&policy(1, ""), &[Rebuild::of(&other, 1, "MATCH")]), Edge::E10, Reason::TooFewRebuilds);
}

#[test]
fn threat_a_mismatch_seen_once_and_then_withdrawn_from_the_registry() {
    let draft = policy(1, "");
    let mut world = draft.build();
    world.evidence.attestations.extend(Rebuild::of(&world, 1, "MATCH").attestations());
    assert!(world.verdict().verified().is_some());
    let seen = Rebuild::of(&world, 2, "MISMATCH").attestations();
    let state = State { rebuilds_seen: &seen, ..State::first_look() };
    broken(&world.verdict_with(&state), Edge::E10, Reason::RebuildMismatch);
}

/// A head by `key` that lists these statements about these images.
fn head(key: &Key, number: u64, from: i64, to: i64, listed: &[(Digest, Digest)]) -> RebuilderHead {
    let mut statements = Statements::new();
    for (image, statement) in listed {
        statements.entry(*image).or_default().insert(*statement);
    }
    let pages = pages(&statements).unwrap();
    let head = Head::over(&pages, statements.len(), number, time(from), time(to));
    RebuilderHead { head: key.attestation(&head.render("https://rebuilder.example.com").unwrap()).bytes, page: pages[0].clone() }
}

#[test]
fn threat_withheld_mismatches_and_stale_heads() {
    let draft = policy(1, "mirrors: [mirror.example.com/rebuilds], heads: {maxAgeSeconds: 100}, ");
    let world = draft.build();
    let image = world.evidence.digest;
    let matched = Rebuild::of(&world, 1, "MATCH");
    let mismatch = Rebuild::of(&world, 2, "MISMATCH");
    let (one, two) = (Digest::of(&matched.statement()), Digest::of(&mismatch.statement()));
    let with = |heads: Vec<RebuilderHead>, lowest: u64| {
        let mut world = draft.build();
        world.evidence.attestations.extend(matched.attestations());
        world.evidence.rebuilder_heads = heads;
        let numbers = BTreeMap::from([("org-two".to_owned(), lowest)]);
        world.verdict_with(&State { rebuilder_heads: numbers, ..State::first_look() })
    };
    let of_one = || head(&rebuilder(1), 1, NOW - 10, NOW + 10, &[(image, one)]);
    let of_two = |number, from, to| head(&rebuilder(2), number, from, to, &[]);
    assert!(with(vec![of_one(), of_two(7, NOW - 10, NOW + 10)], 7).verified().is_some());
    // No head, an expired one, one from tomorrow, one issued too long ago, one older than was seen before.
    unknown(&with(vec![of_one()], 0), Reason::RebuilderStale);
    unknown(&with(vec![of_one(), of_two(7, NOW - 10, NOW)], 0), Reason::RebuilderStale);
    unknown(&with(vec![of_one(), of_two(7, NOW + 1, NOW + 10)], 0), Reason::RebuilderStale);
    unknown(&with(vec![of_one(), of_two(7, NOW - 101, NOW + 10)], 0), Reason::RebuilderStale);
    unknown(&with(vec![of_one(), of_two(6, NOW - 10, NOW + 10)], 7), Reason::RebuilderStale);
    // Signed by somebody else, or with a page of somebody else.
    unknown(&with(vec![of_one(), head(&rebuilder(1), 7, NOW - 10, NOW + 10, &[])], 0), Reason::RebuilderStale);
    let swapped = RebuilderHead { page: of_one().page, ..of_two(7, NOW - 10, NOW + 10) };
    unknown(&with(vec![of_one(), swapped], 0), Reason::RebuilderStale);
    // Two heads with one number: it says one thing here and another there.
    let other = head(&rebuilder(2), 7, NOW - 10, NOW + 10, &[(Digest::of(b"x"), two)]);
    unknown(&with(vec![of_one(), of_two(7, NOW - 10, NOW + 10), other], 0), Reason::RebuilderStale);
    // The head lists a statement that nobody shows: an older head, or another rebuilder's, does not make up for it.
    let lists = head(&rebuilder(2), 8, NOW - 10, NOW + 10, &[(image, two)]);
    unknown(&with(vec![of_one(), lists.clone()], 0), Reason::RebuildWithheld);
    unknown(&with(vec![of_one(), of_two(7, NOW - 10, NOW + 10), lists.clone()], 0), Reason::RebuildWithheld);
    let mut shown = draft.build();
    shown.evidence.attestations.extend(matched.attestations().into_iter().chain(mismatch.attestations()));
    shown.evidence.rebuilder_heads = vec![of_one(), lists];
    broken(&shown.verdict(), Edge::E10, Reason::RebuildMismatch);
    // What is in the verdict names the number, for the arbiter to keep.
    let used = shown.verdict().evidence().iter().filter(|used| used.kind == "rebuilder's head").count();
    assert_eq!(used, 2);
    assert_eq!(now(), time(NOW));
}

/// Each field of a head, changed after it was signed by the rebuilder's own key: only the number and a longer life are free.
#[test]
fn each_field_of_a_head_is_compared() {
    let draft = policy(1, "mirrors: [mirror.example.com/rebuilds], heads: {maxAgeSeconds: 100}, ").build();
    let statements: Statements = BTreeMap::from([(draft.evidence.digest, BTreeSet::new())]);
    let pages = pages(&statements).unwrap();
    let honest = Head::over(&pages, 1, 1, time(NOW - 10), time(NOW + 10));
    let with = |change: &dyn Fn(&mut Value), subject: Option<Digest>| {
        let mut predicate = serde_json::to_value(&honest).unwrap();
        change(&mut predicate);
        let subject = ResourceDescriptor::new("", "", subject.unwrap_or_else(|| assay_core::rebuild::index::root(&honest.pages)));
        let bytes = render(&[subject], assay_core::rebuild::index::HEAD_TYPE, &predicate).unwrap();
        let mut world = policy(1, "mirrors: [mirror.example.com/rebuilds], heads: {maxAgeSeconds: 100}, ").build();
        world.evidence.attestations.extend(Rebuild::of(&world, 1, "MATCH").attestations());
        world.evidence.rebuilder_heads =
            [1, 2].map(|n| RebuilderHead { head: rebuilder(n).attestation(&bytes).bytes, page: pages[0].clone() }).to_vec();
        world.verdict()
    };
    assert!(with(&|_| (), None).verified().is_some());
    unknown(&with(&|_| (), Some(Digest::of(b"other"))), Reason::RebuilderStale);
    for (name, value) in [
        ("number", json!("1")),
        ("issued", json!(time(NOW + 1).to_string())),
        ("expires", json!(time(NOW).to_string())),
        ("pages", json!([Digest::of(b"other").to_string()])),
        ("pages", json!([])),
        ("images", json!(-1)),
        ("more", json!(1)),
    ] {
        unknown(&with(&|predicate| predicate[name] = value.clone(), None), Reason::RebuilderStale);
    }
    for name in ["number", "issued", "expires", "pages", "images"] {
        unknown(&with(&|predicate| drop(predicate.as_object_mut().unwrap().remove(name)), None), Reason::RebuilderStale);
    }
}

#[test]
fn without_a_builder_all_must_have_repeated_the_same_build() {
    let alone = format!(
        "apiVersion: assay.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: r}}\nspec:\n  mode: Enforce\n  images: [{{host: registry.example.com, path: team/app}}]\n{}",
        rebuilds_policy(2)
    );
    let draft = Draft { policy: Box::new(move |text| text.clone_from(&alone)), ..Draft::default() };
    let world = draft.build();
    let (one, two) = (Rebuild::of(&world, 1, "MATCH"), Rebuild::of(&world, 2, "MATCH"));
    assert!(judged(&draft, &[one, two]).verified().is_some());
    let (one, mut two) = (Rebuild::of(&world, 1, "MATCH"), Rebuild::of(&world, 2, "MATCH"));
    two.facts.inputs.clear();
    broken(&judged(&draft, &[one, two]), Edge::E10, Reason::TooFewRebuilds);
}
