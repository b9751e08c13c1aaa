//! The layout: moves, losses, damage, and writers at the same time.

use std::fs::{self, File};

use assay_core::oci::{Artifact, Descriptor, media_type};
use assay_core::time::Timestamp;

use crate::store::{Layout, StoreError};

fn empty() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(&dir.path().join("images")).unwrap();
    (dir, layout)
}

fn image(layout: &Layout, text: &str, tag: Option<&str>) -> Descriptor {
    let config = layout.push_blob(b"{}").unwrap();
    let bytes = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config}","size":2}},"layers":[],"annotations":{{"x":"{text}"}}}}"#,
        media_type::MANIFEST,
        media_type::CONFIG
    );
    layout.push_manifest(bytes.as_bytes(), tag).unwrap();
    Descriptor::of(media_type::MANIFEST, bytes.as_bytes())
}

fn evidence(layout: &Layout, subject: &Descriptor, kind: &str, text: &str) -> Vec<u8> {
    layout.push_blob(b"{}").unwrap();
    layout.push_blob(text.as_bytes()).unwrap();
    Artifact {
        artifact_type: kind.into(),
        subject: Some(subject.clone()),
        layers: vec![Descriptor::of("text/plain", text.as_bytes())],
        annotations: std::collections::BTreeMap::new(),
        created: Timestamp::EPOCH,
    }
    .render()
    .unwrap()
    .0
}

#[test]
fn tags_move_and_images_stay() {
    let (_dir, layout) = empty();
    let one = image(&layout, "one", Some("v1"));
    assert_eq!(layout.resolve(None).unwrap(), one.digest);
    let two = image(&layout, "two", Some("v1"));
    assert_eq!(layout.resolve(Some("v1")).unwrap(), two.digest);
    assert!(matches!(layout.resolve(None), Err(StoreError::Ambiguous { count: 2, .. })));
    assert!(layout.resolve(Some("v2")).unwrap_err().is_not_found());
    assert_eq!(layout.tags().unwrap(), ["v1"]);
    image(&layout, "one", Some("v1"));
    image(&layout, "two", Some("v1"));
    assert_eq!(layout.index().unwrap().manifests.len(), 2);
}

#[test]
fn attached_evidence_is_listed_once_by_kind_and_subject() {
    let (_dir, layout) = empty();
    let one = image(&layout, "one", Some("v1"));
    let two = image(&layout, "two", Some("v2"));
    for _ in 0..2 {
        layout.attach(&evidence(&layout, &one, "a/b", "first")).unwrap();
        layout.attach(&evidence(&layout, &one, "c/d", "second")).unwrap();
        layout.attach(&evidence(&layout, &two, "a/b", "other")).unwrap();
    }
    assert_eq!(layout.referrers(&one.digest, Some("a/b")).unwrap().found.len(), 1);
    let all = layout.referrers(&one.digest, None).unwrap();
    assert_eq!(all.found.len(), 2);
    assert!(
        all.found
            .iter()
            .all(|entry| entry.artifact_type.is_some() && entry.annotations.contains_key(media_type::ANNOTATION_CREATED))
    );
    assert_eq!(layout.resolve(Some("v1")).unwrap(), one.digest);
    assert!(matches!(layout.resolve(None), Err(StoreError::Ambiguous { count: 2, .. })));
}

#[test]
fn evidence_attached_by_tools_that_only_list_it_is_found() {
    let (_dir, layout) = empty();
    let one = image(&layout, "one", Some("v1"));
    layout.push_manifest(&evidence(&layout, &one, "a/b", "listed"), None).unwrap();
    assert_eq!(layout.referrers(&one.digest, Some("a/b")).unwrap().found.len(), 1);
}

#[test]
fn altered_files_are_refused() {
    let (_dir, layout) = empty();
    let one = image(&layout, "one", Some("v1"));
    fs::write(layout.blob_path(&one.digest), b"{}").unwrap();
    assert!(matches!(layout.manifest(&one.digest), Err(StoreError::DigestMismatch { .. })));
    let blob = Descriptor::of("x/y", b"12345");
    layout.push_blob(b"12345").unwrap();
    fs::write(layout.blob_path(&blob.digest), b"12346").unwrap();
    assert!(matches!(layout.blob(&blob, 10), Err(StoreError::DigestMismatch { .. })));
    fs::write(layout.blob_path(&blob.digest), b"123456").unwrap();
    assert!(matches!(layout.blob(&blob, 10), Err(StoreError::SizeMismatch { .. })));
    assert!(matches!(layout.blob(&blob, 4), Err(StoreError::TooLarge { .. })));
    // Stored again, it is whole again.
    layout.push_blob(b"12345").unwrap();
    assert_eq!(layout.blob(&blob, 10).unwrap(), b"12345");
}

#[test]
fn lesson_l9_what_is_no_regular_file_is_not_read() {
    let (_dir, layout) = empty();
    let blob = Descriptor::of("x/y", b"1");
    for target in ["/dev/zero", "/proc/self/fd"] {
        std::os::unix::fs::symlink(target, layout.blob_path(&blob.digest)).unwrap();
        assert!(matches!(layout.manifest(&blob.digest), Err(StoreError::Malformed { .. })), "{target}");
        assert!(layout.blob(&blob, 10).is_err());
        fs::remove_file(layout.blob_path(&blob.digest)).unwrap();
    }
    File::create(layout.dir().join("index.json")).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    assert!(matches!(layout.index(), Err(StoreError::TooLarge { .. })));
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let (_dir, layout) = empty();
    let before = layout.index().unwrap();
    let blob = Descriptor::of("x/y", b"12345");
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), b"54321").unwrap();
    assert!(matches!(layout.push_blob_file(other.path(), &blob), Err(StoreError::DigestMismatch { .. })));
    fs::write(other.path(), b"1234567").unwrap();
    assert!(matches!(layout.push_blob_file(other.path(), &blob), Err(StoreError::SizeMismatch { .. })));
    assert!(layout.push_manifest(b"{\"schemaVersion\":2}", Some("v1")).is_err());
    assert!(!layout.blob_path(&blob.digest).exists());
    assert_eq!(layout.index().unwrap(), before);
    let names: Vec<_> = fs::read_dir(layout.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".assay-")), "{names:?}");
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let (_dir, layout) = empty();
    let one = image(&layout, "one", Some("v1"));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (dir, one) = (layout.dir().to_owned(), &one);
            scope.spawn(move || {
                let layout = Layout::open(&dir).unwrap();
                for number in 0..5 {
                    layout.attach(&evidence(&layout, one, "a/b", &format!("{writer}-{number}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(layout.referrers(&one.digest, Some("a/b")).unwrap().found.len(), 20);
}

#[test]
fn a_folder_with_other_things_does_not_become_a_layout() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Layout::open(dir.path()).unwrap_err().is_not_found());
    fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
    assert!(matches!(Layout::create(dir.path()), Err(StoreError::Malformed { .. })));
    assert!(!dir.path().join("oci-layout").exists());
}
