//! Properties that hold for every format, over mutated samples.

use proptest::prelude::*;

use super::{Format, Inventory, parse, scan};

macro_rules! sample {
    ($format:ident, $file:literal) => {
        (Format::$format, include_bytes!(concat!("../../../hack/fuzz/seeds/", $file)).as_slice())
    };
}

const SAMPLES: &[(Format, &[u8])] = &[
    sample!(CargoLock, "lockfile_cargo/sample.lock"),
    sample!(PackageLock, "lockfile_npm/sample.json"),
    sample!(GoMod, "lockfile_go_mod/sample.mod"),
    sample!(GoSum, "lockfile_go_sum/sample.sum"),
    sample!(PnpmLock, "lockfile_pnpm/v5.yaml"),
    sample!(PnpmLock, "lockfile_pnpm/v6.yaml"),
    sample!(PnpmLock, "lockfile_pnpm/v9.yaml"),
    sample!(YarnLock, "lockfile_yarn/berry.lock"),
    sample!(YarnLock, "lockfile_yarn/classic.lock"),
    sample!(Requirements, "lockfile_requirements/sample.txt"),
    sample!(PoetryLock, "lockfile_poetry/sample.lock"),
    sample!(UvLock, "lockfile_uv/sample.lock"),
    sample!(PipfileLock, "lockfile_pipfile/sample.json"),
    sample!(GemfileLock, "lockfile_gemfile/sample.lock"),
    sample!(ComposerLock, "lockfile_composer/sample.json"),
    sample!(Pom, "lockfile_pom/sample.xml"),
    sample!(GradleLockfile, "lockfile_gradle/sample.lockfile"),
    sample!(NuGetLock, "lockfile_nuget/sample.json"),
];

#[test]
fn every_format_has_a_sample_that_is_read() {
    for format in Format::ALL {
        assert!(SAMPLES.iter().any(|(sample, _)| sample == format), "{format:?}");
    }
    for (format, bytes) in SAMPLES {
        let found = parse(*format, "sample", bytes).unwrap_or_else(|error| panic!("{format:?}: {error}"));
        assert!(!found.is_empty() || *format == Format::GoSum, "{format:?}");
    }
}

fn sound(found: &Inventory) {
    for package in found.packages() {
        assert!(package.purl.starts_with("pkg:"));
        for to in &package.depends_on {
            assert!(found.package(to).is_some(), "{to}");
            assert_ne!(to, &package.purl);
        }
        for sum in &package.checksums {
            assert_eq!(sum.hex.len(), sum.algorithm.length() * 2);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn damaged_files_never_panic_and_are_read_alike(
        sample in 0..SAMPLES.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let (format, bytes) = SAMPLES[sample];
        let mut bytes = bytes.to_vec();
        for (at, byte, kind) in edits {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(found) = parse(format, "p", &bytes) {
            sound(&found);
            prop_assert_eq!(parse(format, "p", &bytes).ok(), Some(found));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(format in 0..Format::ALL.len(), text in "[ -~\n\u{e9}]{0,200}") {
        if let Ok(found) = parse(Format::ALL[format], "p", text.as_bytes()) {
            sound(&found);
        }
    }

    #[test]
    fn the_order_of_files_does_not_matter(order in Just((0..SAMPLES.len()).collect::<Vec<_>>()).prop_shuffle()) {
        let names = ["Cargo.lock", "package-lock.json", "go.mod", "go.sum", "a/pnpm-lock.yaml", "b/pnpm-lock.yaml", "c/pnpm-lock.yaml",
            "a/yarn.lock", "b/yarn.lock", "requirements.txt", "poetry.lock", "uv.lock", "Pipfile.lock", "Gemfile.lock", "composer.lock",
            "pom.xml", "gradle.lockfile", "packages.lock.json"];
        let file = |index: usize| (names[index], SAMPLES[index].1);
        let forwards = scan((0..SAMPLES.len()).map(file));
        let shuffled = scan(order.into_iter().map(file));
        prop_assert_eq!(forwards, shuffled);
    }
}
