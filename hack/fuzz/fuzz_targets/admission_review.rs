//! Admission reviews: whatever is read has an answer of the same uid, and every image that is found stands where its pointer says.
#![no_main]

use assay_core::admission::review::{Answer, Request};
use assay_core::admission::workload;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::parse(bytes) else { return };
    let answer = Answer::deny("no").to_json(&request.uid);
    assert_eq!(answer.pointer("/response/uid").and_then(|uid| uid.as_str()), Some(request.uid.as_str()));
    let Ok(images) = workload::images(&request.kind, &request.object) else { return };
    assert!(!images.is_empty());
    for image in &images {
        if !image.text.is_empty() {
            assert_eq!(request.object.pointer(&image.pointer).and_then(|text| text.as_str()), Some(image.text.as_str()));
        }
        if let Ok(reference) = image.reference() {
            // One image has one name, and reading it again changes nothing.
            let again = reference.to_string();
            assert_eq!(again.parse::<assay_core::reference::Reference>().as_ref(), Ok(&reference));
        }
    }
    assert!(workload::brought_in(&images, images.clone()).is_empty());
});
