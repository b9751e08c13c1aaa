//! Rebuilders' heads: whether everything that a named rebuilder ever said of this image is at hand.
//!
//! Whoever can write to a registry can leave out a mismatch, so its absence means nothing without a head that is signed, not expired and
//! not older than one seen before.

use std::collections::{BTreeMap, BTreeSet};

use super::super::signers;
use super::super::word::Listener;
use crate::digest::Digest;
use crate::limits;
use crate::policy::types;
use crate::rebuild::index::{HEAD_TYPE, Head, Page, STATEMENTS, root};
use crate::signature;
use crate::verdict::Used;

/// What is known of one rebuilder's statements about the image.
struct Listed {
    number: u64,
    head: Digest,
    statements: BTreeSet<Digest>,
}

/// The newest current head of each rebuilder.
#[derive(Default)]
pub(super) struct Heads {
    listed: BTreeMap<String, Listed>,
    /// Rebuilders of whom there are two heads of one number: they say one thing here and another there.
    forked: BTreeSet<String>,
    /// Why a head does not count, by rebuilder.
    refused: BTreeMap<String, String>,
}

pub(super) fn judge(listener: Listener<'_>, required: &types::Rebuilds, identities: &[signature::Identity]) -> Heads {
    let Listener { evidence, state, revoked, now } = listener;
    let mut heads = Heads::default();
    for found in evidence.rebuilder_heads.iter().take(limits::SIGNATURES) {
        let Ok(signed) = signers::of_attestation(&found.head, identities, state.trust_root, revoked, now) else { continue };
        if signed.statement.predicate_type != HEAD_TYPE {
            continue;
        }
        let name = signed.signed_by.identity.clone();
        let read = || -> Result<Listed, String> {
            let head: Head = signed.statement.predicate().map_err(|error| error.to_string())?;
            if !signed.statement.is_about(&root(&head.pages)) {
                return Err("it is about other pages than it names".to_owned());
            }
            let lowest = state.rebuilder_heads.get(&name).copied().unwrap_or_default();
            if head.number < lowest {
                return Err(format!("head {} is older than head {lowest}, which was seen before", head.number));
            }
            if head.expires <= now || head.issued > now {
                return Err(format!("head {} counts from {} to {}, it is {now}", head.number, head.issued, head.expires));
            }
            let age = now.seconds().saturating_sub(head.issued.seconds());
            if let Some(heads) = &required.heads
                && age > i64::from(heads.max_age_seconds)
            {
                return Err(format!("head {} was issued {age} s ago, {} s are allowed", head.number, heads.max_age_seconds));
            }
            let (_, page) =
                head.page_of(&evidence.digest).ok_or_else(|| format!("head {} has no page for the image", head.number))?;
            if Digest::of(&found.page) != page {
                return Err(format!("the page that head {} names is not there", head.number));
            }
            let mut page = Page::parse(&found.page).map_err(|error| error.to_string())?;
            let statements = page.images.remove(&evidence.digest).unwrap_or_default();
            if statements.len() > STATEMENTS {
                return Err(format!("it lists {} statements about the image", statements.len()));
            }
            Ok(Listed { number: head.number, head: Digest::of(&signed.payload), statements })
        };
        match read() {
            Ok(listed) => heads.take(name, listed),
            Err(why) => {
                heads.refused.entry(name).or_insert(why);
            }
        }
    }
    heads
}

impl Heads {
    fn take(&mut self, name: String, listed: Listed) {
        match self.listed.get(&name) {
            Some(known) if known.number > listed.number => {}
            Some(known) if known.number == listed.number => {
                if known.head != listed.head {
                    self.forked.insert(name);
                }
            }
            _ => {
                self.listed.insert(name, listed);
            }
        }
    }

    /// Which rebuilder cannot be believed to have said all, if so.
    pub(super) fn stale(&self, required: &types::Rebuilds) -> Option<String> {
        if let Some(name) = self.forked.first() {
            return Some(format!("{name} signed two heads with one number"));
        }
        required.heads.as_ref()?;
        let name = &required.identities.iter().find(|identity| !self.listed.contains_key(&identity.name))?.name;
        Some(format!("no current head of {name}: {}", self.refused.get(name).map_or("there is none", String::as_str)))
    }

    /// Which statement is listed and not at hand, if so.
    pub(super) fn withheld(&self, at_hand: impl Fn(&str, &Digest) -> bool) -> Option<String> {
        self.listed.iter().find_map(|(name, listed)| {
            let missing = listed.statements.iter().find(|statement| !at_hand(name, statement))?;
            Some(format!("head {} of {name} lists statement {missing}", listed.number))
        })
    }

    pub(super) fn used(&self) -> Vec<Used> {
        let used = |(name, listed): (&String, &Listed)| Used {
            kind: "rebuilder's head",
            digest: listed.head,
            signed_by: vec![name.clone()],
            facts: vec![
                ("number".to_owned(), listed.number.to_string()),
                ("statements about the image".to_owned(), listed.statements.len().to_string()),
            ],
        };
        self.listed.iter().map(used).collect()
    }
}
