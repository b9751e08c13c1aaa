//! Everything a rebuilder ever said, as static files: pages of statement digests by image, and one signed head over the pages.
//!
//! An image belongs to the page its digest begins with, so a page proves what there is about an image and what there is not. The head
//! names every page by digest; it is numbered and expires, so that whoever carries the files can neither leave out a statement nor
//! show an old state for long. Head and pages can be mirrored by anybody: only the rebuilder's key makes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::limits;
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;

/// The head's predicate type.
pub const HEAD_TYPE: &str = "https://assay.dev/attestation/rebuilds/v1";
/// Images per page from which on pages are made smaller.
const PAGE_IMAGES: usize = 2_048;
/// Most hexadecimal digits of an image's digest that choose its page: 4,096 pages.
const MOST_DIGITS: u32 = 3;
/// Most statements by one rebuilder about one image.
pub const STATEMENTS: usize = limits::SIGNATURES;

/// The head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Head {
    /// Grows with each head; an older head never replaces a newer one.
    pub number: u64,
    /// When it was written.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// How many images there are on all pages.
    pub images: u64,
    /// SHA-256 of each page, in order: 1, 16, 256 or 4,096 of them.
    pub pages: Vec<Digest>,
}

/// One page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Page {
    /// SHA-256 of each statement, by the image it is about.
    pub images: BTreeMap<Digest, BTreeSet<Digest>>,
}

/// Everything a rebuilder said, by image.
pub type Statements = BTreeMap<Digest, BTreeSet<Digest>>;

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// What is wrong with its JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse(bytes, limits::DOCUMENT_BYTES)
    }
}

/// The pages of all statements, each RFC 8785.
///
/// # Errors
/// As [`json::canonical`]; none is known to fail.
pub fn pages(statements: &Statements) -> Result<Vec<Vec<u8>>, JsonError> {
    let mut digits = 0;
    while digits < MOST_DIGITS && statements.len() > PAGE_IMAGES.saturating_mul(16_usize.pow(digits)) {
        digits += 1;
    }
    let count = 16_usize.pow(digits);
    let mut pages = vec![Page::default(); count];
    for (image, said) in statements {
        if let Some(page) = place(image, count).and_then(|place| pages.get_mut(place)) {
            page.images.insert(*image, said.clone());
        }
    }
    pages.iter().map(json::canonical).collect()
}

/// Which of `count` pages an image belongs to; none for a count that no head has.
fn place(image: &Digest, count: usize) -> Option<usize> {
    let digits = match count {
        1 => return Some(0),
        16 => 1,
        256 => 2,
        4_096 => 3,
        _ => return None,
    };
    usize::from_str_radix(image.hex().get(..digits)?, 16).ok()
}

/// The head's subject: SHA-256 over the digests of all pages, one after the other.
#[must_use]
pub fn root(pages: &[Digest]) -> Digest {
    Digest::of(&pages.iter().flat_map(|page| page.as_bytes().iter().copied()).collect::<Vec<u8>>())
}

impl Head {
    /// A head over these pages.
    #[must_use]
    pub fn over(pages: &[Vec<u8>], images: usize, number: u64, issued: Timestamp, expires: Timestamp) -> Self {
        let pages = pages.iter().map(|page| Digest::of(page)).collect();
        Self { number, issued, expires, images: u64::try_from(images).unwrap_or(u64::MAX), pages }
    }

    /// Which page an image belongs to, and its digest; none for a head with another number of pages than 1, 16, 256 or 4,096.
    #[must_use]
    pub fn page_of(&self, image: &Digest) -> Option<(usize, Digest)> {
        let place = place(image, self.pages.len())?;
        Some((place, *self.pages.get(place)?))
    }

    /// RFC 8785 bytes of the Statement, which is about its pages.
    ///
    /// # Errors
    /// [`StatementError::Parse`] if it has no canonical form, which none is known not to have.
    pub fn render(&self, rebuilder: &str) -> Result<Vec<u8>, StatementError> {
        statement::render(&[ResourceDescriptor::new(rebuilder, "", root(&self.pages))], HEAD_TYPE, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Statements {
        (0..count).map(|n| (Digest::of(n.to_string().as_bytes()), BTreeSet::from([Digest::of(b"statement")]))).collect()
    }

    #[test]
    fn every_image_lies_on_the_page_its_digest_begins_with() {
        for (count, pages_wanted) in [(0, 1), (2_048, 1), (2_049, 16), (40_000, 256)] {
            let statements = images(count);
            let pages = pages(&statements).unwrap();
            assert_eq!(pages.len(), pages_wanted);
            let time = Timestamp::EPOCH;
            let head = Head::over(&pages, statements.len(), 1, time, time);
            for image in statements.keys().step_by(97) {
                let (place, digest) = head.page_of(image).unwrap();
                assert_eq!(digest, Digest::of(&pages[place]));
                assert!(Page::parse(&pages[place]).unwrap().images.contains_key(image));
            }
        }
    }

    #[test]
    fn a_head_with_another_number_of_pages_has_no_place_for_an_image() {
        for count in [0, 2, 17, 65_536] {
            let head = Head {
                number: 1,
                issued: Timestamp::EPOCH,
                expires: Timestamp::EPOCH,
                images: 0,
                pages: vec![Digest::of(b""); count],
            };
            assert_eq!(head.page_of(&Digest::of(b"x")), None);
        }
    }

    #[test]
    fn ten_million_images_fit_the_caps() {
        // 2,442 images on each of 4,096 pages, one statement each.
        let page = Page { images: images(2_442) };
        assert!(json::canonical(&page).unwrap().len() < limits::DOCUMENT_BYTES / 8);
        let head = Head {
            number: 1,
            issued: Timestamp::EPOCH,
            expires: Timestamp::EPOCH,
            images: 10_000_000,
            pages: vec![Digest::of(b""); 4_096],
        };
        // Base64 in a bundle makes four bytes of three.
        assert!(head.render("https://rebuild.example.org").unwrap().len() / 3 * 4 < limits::BUNDLE_BYTES * 3 / 4);
    }
}
