//! Referrers: what was attached to an image, by the referrers API or the fallback tag (distribution specification 1.1,
//! "Listing Referrers", "Pushing Manifests with Subject").

use std::time::Duration;

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::{Descriptor, Document, Index, media_type};
use futures::stream::{self, StreamExt};
use http::header::ACCEPT;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::registry::{PAGES, Registry};
use super::transport::{Call, shown};
use super::{StoreError, parse_json};

/// How often a fallback tag is written until our entry stays in it.
const TRIES: usize = 12;
/// Most entries without a type whose manifests are read to learn it.
const UNTYPED: usize = 128;
/// Requests for such manifests under way at the same time.
const AT_ONCE: usize = 8;

/// What a list of referrers gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The referrers, in the store's order, at most [`limits::REFERRERS`].
    pub found: Vec<Descriptor>,
    /// Why there may be more than `found`; empty where the list is whole.
    pub incomplete: Option<String>,
}

/// Listings by artifact type, filled in one walk over a list. Each has a cap of its own, so that many entries of one kind do not
/// crowd out another.
#[derive(Debug)]
pub(super) struct Collector {
    kinds: Vec<(Option<String>, Listing)>,
    /// Entries whose list does not say what they are, at most one more than are looked at.
    untyped: Vec<Descriptor>,
}

impl Collector {
    /// Of these artifact types; `None` takes all.
    pub(super) fn of(kinds: &[Option<&str>]) -> Self {
        Self { kinds: kinds.iter().map(|kind| (kind.map(str::to_owned), Listing::default())).collect(), untyped: Vec::new() }
    }

    /// Whether an entry that says this artifact type is wanted.
    pub(super) fn wants(&self, artifact_type: &str) -> bool {
        self.kinds.iter().any(|(kind, _)| kind.as_deref().is_none_or(|kind| kind == artifact_type))
    }

    /// Takes one entry of a list as it came; `false` once no more are taken at all.
    fn take(&mut self, entry: Value, what: &str) -> bool {
        // One entry that cannot be read must not hide the others.
        let Ok(entry) = serde_json::from_value::<Descriptor>(entry) else { return true };
        self.push(entry, what)
    }

    /// As [`Self::take`], of an entry that was read already.
    pub(super) fn push(&mut self, entry: Descriptor, what: &str) -> bool {
        let said = entry.artifact_type.as_deref();
        let Some((_, listing)) = self.kinds.iter_mut().find(|(kind, _)| kind.is_none() || kind.as_deref() == said) else {
            // The type of an empty config is nobody's artifact type: a list that says it took it for one.
            if said.is_none_or(|said| said == media_type::EMPTY) && self.untyped.len() <= UNTYPED {
                self.untyped.push(entry);
            }
            return true;
        };
        if listing.incomplete.is_none() && !listing.found.iter().any(|known| known.digest == entry.digest) {
            if listing.found.len() >= limits::REFERRERS {
                let kind = said.unwrap_or("one kind");
                listing.incomplete = Some(format!("{what} lists more than {} referrers of {kind}", limits::REFERRERS));
            } else {
                listing.found.push(entry);
            }
        }
        self.kinds.iter().any(|(_, listing)| listing.incomplete.is_none())
    }

    /// Says of all that are not full why there may be more.
    fn cut_short(&mut self, why: &str) {
        for (_, listing) in &mut self.kinds {
            listing.incomplete.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The listings, in the order of the kinds asked for.
    pub(super) fn finish(self) -> Vec<Listing> {
        self.kinds.into_iter().map(|(_, listing)| listing).collect()
    }
}

/// A list of referrers as it comes: entries are read one by one.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    manifests: Option<Vec<Value>>,
}

/// The tag that holds the referrers of `subject` where there is no referrers API.
#[must_use]
pub fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The entry of a list of referrers for a manifest: its descriptor with artifact type and annotations.
///
/// # Errors
/// [`StoreError::Malformed`] if `bytes` are no manifest or say no subject.
pub fn entry_of(bytes: &[u8]) -> Result<(Digest, Descriptor), StoreError> {
    let digest = Digest::of(bytes);
    let document = super::document(bytes, &digest.to_string())?;
    let subject = document
        .subject()
        .map(|subject| subject.digest)
        .ok_or_else(|| StoreError::Malformed { what: digest.to_string(), why: "says no subject, so it refers to nothing" })?;
    let mut entry = Descriptor::of(document.media_type(), bytes);
    match document.inner() {
        Document::Manifest(manifest) => {
            entry.artifact_type = Some(manifest.kind().to_owned());
            entry.annotations.clone_from(&manifest.annotations);
        }
        Document::Index(index) => {
            entry.artifact_type.clone_from(&index.artifact_type);
            entry.annotations.clone_from(&index.annotations);
        }
    }
    Ok((subject, entry))
}

/// `index` with `entry` added, if it was not there. What others wrote stays as it is, known to us or not.
pub(super) fn with_entry(index: Option<&[u8]>, entry: &Descriptor, what: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut document = match index {
        Some(bytes) => Index::parse(bytes)
            .map_err(|_| StoreError::Malformed { what: what.to_owned(), why: "is not an index; it is left as it is" })?,
        None => Index::new(Vec::new()),
    };
    if document.manifests.iter().any(|known| known.digest == entry.digest) {
        return Ok(None);
    }
    document.manifests.push(entry.clone());
    document.media_type = Some(media_type::INDEX.to_owned());
    let bytes = document.to_bytes();
    if bytes.len() > limits::MANIFEST_BYTES {
        return Err(StoreError::TooLarge { what: what.to_owned(), limit: limits::MANIFEST_BYTES as u64 });
    }
    Ok(Some(bytes))
}

impl Registry {
    /// What was attached to `subject`, of one artifact type or of all.
    ///
    /// The registry's filter is used but not believed. Where there is no referrers API the fallback tag is read. Of entries that
    /// do not say what they are the manifest is read. That nothing is listed proves nothing.
    ///
    /// # Errors
    /// [`StoreError::Redirect`] if a page lies elsewhere; else as for every request.
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Listing, StoreError> {
        let collector = self.collect(subject, artifact_type, Collector::of(&[artifact_type])).await?;
        Ok(collector.finish().pop().unwrap_or_default())
    }

    /// What was attached to `subject` of each of these artifact types, in their order: one walk over the unfiltered list, and
    /// where that is too long, one walk over the filtered list of each.
    ///
    /// # Errors
    /// As [`Self::referrers`].
    pub async fn referrers_by_kind(&self, subject: &Digest, kinds: &[&str]) -> Result<Vec<Listing>, StoreError> {
        let wanted: Vec<_> = kinds.iter().copied().map(Some).collect();
        let mut listings = self.collect(subject, None, Collector::of(&wanted)).await?.finish();
        for (listing, kind) in listings.iter_mut().zip(kinds) {
            if listing.incomplete.is_some() {
                *listing = self.referrers(subject, Some(kind)).await?;
            }
        }
        Ok(listings)
    }

    async fn collect(&self, subject: &Digest, filter: Option<&str>, mut into: Collector) -> Result<Collector, StoreError> {
        if !self.walk_api(subject, filter, &mut into).await? {
            self.walk_tag(subject, &mut into).await?;
        }
        self.look_at_untyped(subject, &mut into).await;
        Ok(into)
    }

    /// By the fallback tag.
    async fn walk_tag(&self, subject: &Digest, into: &mut Collector) -> Result<(), StoreError> {
        let tag = fallback_tag(subject);
        let bytes = match self.tagged(&tag).await {
            Ok((_, bytes)) => bytes,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let what = format!("{}:{tag}", self.name());
        for entry in parse_json::<Page>(&what, &bytes, limits::MANIFEST_BYTES)?.manifests.unwrap_or_default() {
            if !into.take(entry, &what) {
                break;
            }
        }
        Ok(())
    }

    /// Takes the entries whose list does not say what they are by what their manifests say.
    ///
    /// go-containerregistry's registry lists every referrer as its config's media type, which for an artifact is that of the empty
    /// config, though the specification wants the manifest's `artifactType` where there is one.
    async fn look_at_untyped(&self, subject: &Digest, into: &mut Collector) {
        let mut untyped = std::mem::take(&mut into.untyped);
        let mut why = (untyped.len() > UNTYPED)
            .then(|| format!("{} lists more than {UNTYPED} referrers without saying what they are", self.name()));
        untyped.truncate(UNTYPED);
        let what = self.name();
        let mut manifests = stream::iter(untyped)
            .map(|entry| async move { (entry.digest, self.manifest(&entry.digest).await) })
            .buffered(AT_ONCE);
        while let Some((digest, bytes)) = manifests.next().await {
            match bytes {
                // What is malformed, or refers to something else, is no referrer of this subject whatever a list says.
                Ok(bytes) => {
                    if let Ok((said, entry)) = entry_of(&bytes)
                        && said == *subject
                    {
                        into.push(entry, &what);
                    }
                }
                Err(error) => {
                    why.get_or_insert_with(|| format!("referrer {digest}: {error}"));
                }
            }
        }
        // Last, since a list that is cut short takes no more.
        if let Some(why) = why {
            into.cut_short(&why);
        }
    }

    /// By the referrers API; `false` where the registry has none.
    async fn walk_api(&self, subject: &Digest, filter: Option<&str>, into: &mut Collector) -> Result<bool, StoreError> {
        let mut url = self.url(&format!("referrers/{subject}"));
        if let Some(wanted) = filter {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        for page in 0..PAGES {
            let call = Call::new(Method::GET, url.clone()).header(ACCEPT, media_type::INDEX);
            let what = shown(&call.method, &url);
            let (status, headers, body) = self.transport.fetch(call, limits::MANIFEST_BYTES).await?;
            match status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if page == 0 => return Ok(false),
                status => return Err(StoreError::Status { what, status: status.as_u16() }),
            }
            for entry in parse_json::<Page>(&what, &body, limits::MANIFEST_BYTES)?.manifests.unwrap_or_default() {
                if !into.take(entry, &what) {
                    return Ok(true);
                }
            }
            match self.next_page(&url, &headers)? {
                Some(next) => url = next,
                None => return Ok(true),
            }
        }
        into.cut_short(&format!("{} has more than {PAGES} pages of referrers", self.name()));
        Ok(true)
    }

    /// Stores a manifest that says a subject, so that [`Self::referrers`] of the subject lists it. Its blobs must be there.
    ///
    /// Where the registry does not keep the list itself, the fallback tag is written, read again, and written again until our
    /// entry stays: others write there too, and registries offer no way to compare and swap.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if it does not stay; [`StoreError::Malformed`] if `bytes` say no subject; else as for every request.
    pub async fn attach(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let (subject, entry) = entry_of(bytes)?;
        let (digest, headers) = self.put_manifest(bytes, None).await?;
        let said = headers.get("oci-subject").is_some_and(|value| value.as_bytes() == subject.to_string().as_bytes());
        if !said && !self.has_referrers_api(&subject).await? {
            self.add_to_fallback_tag(&subject, &entry).await?;
        }
        Ok(digest)
    }

    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool, StoreError> {
        let call = Call::new(Method::GET, self.url(&format!("referrers/{subject}"))).header(ACCEPT, media_type::INDEX);
        let answer = self.transport.open(&call).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.status_error()),
        }
    }

    async fn add_to_fallback_tag(&self, subject: &Digest, entry: &Descriptor) -> Result<(), StoreError> {
        let tag = fallback_tag(subject);
        let what = format!("{}:{tag}", self.name());
        // Two writers that wait equally long would go on overwriting each other: the entry's digest tells them apart.
        let offset = entry.digest.as_bytes().first().copied().map_or(0, u64::from);
        let mut stayed = 0;
        for attempt in 0..TRIES {
            let now = match self.tagged(&tag).await {
                Ok((_, bytes)) => Some(bytes),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            };
            match with_entry(now.as_deref(), entry, &what)? {
                Some(bytes) => {
                    stayed = 0;
                    self.put_manifest(&bytes, Some(&tag)).await?;
                }
                // Seen once right after our own write may be just before another's; seen again after a pause is there to stay.
                None if stayed == 1 || attempt == 0 => return Ok(()),
                None => stayed += 1,
            }
            let pause = 10 + offset / 8 + (attempt as u64) * (8 + offset / 4);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if stayed > 0 {
            return Ok(());
        }
        Err(StoreError::Contended { digest: entry.digest, tag, tries: TRIES })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn entry(text: &str) -> Descriptor {
        let mut entry = Descriptor::of(media_type::MANIFEST, text.as_bytes());
        entry.artifact_type = Some("a/b".into());
        entry
    }

    #[test]
    fn what_others_wrote_is_kept() {
        let foreign = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":1,"newer":{{"x":[1]}}}}],"annotations":{{"k":"v"}},"other":true}}"#,
            media_type::INDEX,
            media_type::MANIFEST,
            Digest::of(b"theirs")
        );
        let with = with_entry(Some(foreign.as_bytes()), &entry("ours"), "t").unwrap().unwrap();
        let read: Map<String, Value> = serde_json::from_slice(&with).unwrap();
        assert_eq!(read["manifests"][0]["newer"]["x"][0], 1);
        assert_eq!(read["annotations"]["k"], "v");
        assert_eq!(read["other"], true);
        assert_eq!(read["manifests"][1]["digest"], Digest::of(b"ours").to_string());
        assert_eq!(with_entry(Some(&with), &entry("ours"), "t").unwrap(), None);
    }

    #[test]
    fn a_fallback_tag_that_is_something_else_is_left_alone() {
        assert!(matches!(with_entry(Some(b"{}"), &entry("ours"), "t"), Err(StoreError::Malformed { .. })));
    }

    #[test]
    fn lesson_l9_the_cap_is_per_kind_and_is_said() {
        let mut collector = Collector::of(&[Some("a/b"), Some("c/d")]);
        for number in 0..10_000 {
            let mut junk = entry(&number.to_string());
            junk.artifact_type = Some("junk/x".into());
            assert!(collector.push(junk, "t"));
        }
        for number in 0..2_000 {
            assert!(collector.push(entry(&number.to_string()), "t"));
        }
        let mut ours = entry("ours");
        ours.artifact_type = Some("c/d".into());
        assert!(collector.push(ours, "t"));
        let [crowded, good] = &*collector.finish() else { panic!() };
        assert_eq!(crowded.found.len(), limits::REFERRERS);
        assert!(crowded.incomplete.is_some());
        assert_eq!((good.found.len(), good.incomplete.clone()), (1, None));
    }
}
