//! `assay build` as people run it: other tools read the image and agree, nothing outside the recipe changes the digest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use assay_tests::program;

const RECIPE: &str = r#"
version = 1
base = "scratch"
platforms = ["linux/amd64"]
[config]
entrypoint = ["/usr/bin/app"]
cmd = ["--serve"]
env = { PATH = "/usr/bin" }
user = "65532:65532"
workdir = "/srv"
labels = { team = "assay" }
ports = ["8080"]
volumes = ["/data"]
stop-signal = "SIGTERM"
[[layer]]
name = "app"
files = [{ from = "bin", to = "/usr/bin" }]
directories = [{ path = "/tmp", mode = "1777" }, { path = "/data", owner = "65532:65532", mode = "0700" }]
symlinks = [{ path = "/bin", target = "usr/bin" }]
[[layer]]
name = "web"
compression = "COMPRESSION"
files = [{ from = "web/**/*.txt", to = "/srv/", exclude = ["**/draft*"], owner = "65532:65532" }]
"#;

fn fill(directory: &Path, reverse: bool) {
    fs::create_dir_all(directory.join("bin")).unwrap();
    fs::create_dir_all(directory.join("web/deep/deeper")).unwrap();
    let mut numbers: Vec<usize> = (0..300).collect();
    if reverse {
        numbers.reverse();
    }
    for number in numbers {
        fs::write(directory.join(format!("web/deep/deeper/{number}.txt")), format!("text {number}\n").repeat(number)).unwrap();
    }
    fs::write(directory.join("web/draft.txt"), "not this").unwrap();
    fs::write(directory.join(format!("web/{}.txt", "lang-ö".repeat(30))), "long name").unwrap();
    fs::write(directory.join("bin/app"), "#!/bin/sh\necho hello\n").unwrap();
    fs::set_permissions(directory.join("bin/app"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("app", directory.join("bin/hello")).unwrap();
    fs::write(directory.join("assay.toml"), RECIPE.replace("COMPRESSION", "gzip")).unwrap();
}

fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("{name} does not start ({error}); hack/setup installs what the tests need: apt-get install skopeo umoci diffoscope-minimal")
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn assay(arguments: &[&str], cache: &Path) -> serde_json::Value {
    let mut command = program::command();
    command.env("XDG_CACHE_HOME", cache).args(arguments).args(["--output", "json"]);
    serde_json::from_slice(&run(&mut command).stdout).unwrap()
}

fn build(source: &Path, to: &str, cache: &Path, more: &[&str]) -> serde_json::Value {
    let source = source.to_str().unwrap();
    let mut arguments = vec!["build", "--source", source, "--to", to, "--source-date-epoch", "1770000000"];
    arguments.extend(more);
    assay(&arguments, cache)
}

#[test]
fn nothing_but_the_inputs_changes_the_digest() {
    let place = tempfile::tempdir().unwrap();
    let (cache, one) = (place.path().join("cache"), place.path().join("one"));
    fill(&one, false);
    let first = build(&one, &format!("oci:{}", place.path().join("a").display()), &cache, &[]);
    // The same sources elsewhere, made in another order, on a memory file system, under other settings.
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let two = memory.path().join("somewhere else/with a longer name");
    fill(&two, true);
    for (number, (name, value)) in [
        ("TZ", "Asia/Kathmandu"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("USER", "somebody"),
        ("HOME", "/nowhere"),
        ("RAYON_NUM_THREADS", "1"),
    ]
    .iter()
    .enumerate()
    {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(program::assay()).args([
            "build",
            "--no-cache",
            "--output",
            "json",
        ]);
        command.arg("--source").arg(&two).args(["--source-date-epoch", "1770000000", "--threads", &(number + 1).to_string()]);
        command.arg("--to").arg(format!("oci:{}", memory.path().join(format!("out{number}")).display()));
        command.env("ASSAY_CONFIG", "/dev/null").env(name, value);
        let again: serde_json::Value = serde_json::from_slice(&run(&mut command).stdout).unwrap();
        assert_eq!(again["digest"], first["digest"], "{name}={value}");
    }
    // With the warm cache, and checked by the program itself.
    let checked = build(&one, &format!("oci:{}", place.path().join("b").display()), &cache, &["--check-reproducible"]);
    assert_eq!(checked["digest"], first["digest"]);
    assert_eq!(checked["reproducible"], true);
}

#[test]
fn skopeo_and_umoci_read_what_was_built() {
    for compression in ["gzip", "zstd", "none"] {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("source");
        fill(&source, false);
        fs::write(source.join("assay.toml"), RECIPE.replace("COMPRESSION", compression)).unwrap();
        let layout = place.path().join("layout");
        let built = build(&source, &format!("oci:{}:app", layout.display()), place.path(), &[]);
        let image = format!("oci:{}:app", layout.display());
        let inspected = run(Command::new("skopeo").args(["inspect", &image]));
        let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(inspected["Digest"], built["digest"]);
        // skopeo checks every digest, of the compressed and of the plain bytes, on the way.
        let copy = format!("dir:{}", place.path().join("copy").display());
        run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &image, &copy]));
        if compression == "zstd" {
            // Docker's archives and Debian's umoci 0.4 know no zstd.
            continue;
        }
        let docker = format!("docker-archive:{}:app:1", place.path().join("skopeo.tar").display());
        run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &image, &docker]));
        let bundle = place.path().join("bundle");
        run(Command::new("umoci").args(["unpack", "--rootless", "--image", &format!("{}:app", layout.display())]).arg(&bundle));
        let root = bundle.join("rootfs");
        assert_eq!(fs::read(root.join("usr/bin/app")).unwrap(), fs::read(source.join("bin/app")).unwrap());
        assert_eq!(fs::read_link(root.join("usr/bin/hello")).unwrap(), Path::new("app"));
        assert_eq!(fs::read_link(root.join("bin")).unwrap(), Path::new("usr/bin"));
        assert_eq!(fs::metadata(root.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_to_string(root.join("srv/deep/deeper/7.txt")).unwrap(), "text 7\n".repeat(7));
        assert!(root.join(format!("srv/{}.txt", "lang-ö".repeat(30))).exists());
        assert!(!root.join("srv/draft.txt").exists());
    }
}

#[test]
fn diffoscope_agrees_that_two_builds_are_identical_and_that_two_others_are_not() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    fill(&one, false);
    fill(&two, true);
    let archive = |source: &Path, name: &str| {
        let file = place.path().join(name);
        build(source, &format!("docker-archive:{}", file.display()), place.path(), &[]);
        file
    };
    let (first, second) = (archive(&one, "first.tar"), archive(&two, "second.tar"));
    run(Command::new("diffoscope").args(["--exclude-directory-metadata", "yes"]).arg(&first).arg(&second));
    run(Command::new("skopeo").args(["inspect", &format!("docker-archive:{}", first.display())]));
    fs::write(two.join("bin/app"), "#!/bin/sh\necho other\n").unwrap();
    let third = archive(&two, "third.tar");
    let different = Command::new("diffoscope").arg(&first).arg(&third).output().unwrap();
    assert_eq!(different.status.code(), Some(1));
}

#[test]
fn compare_says_what_differs_and_exits_with_5() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fill(&source, false);
    let to = |name: &str| format!("oci:{}", place.path().join(name).display());
    build(&source, &to("one"), place.path(), &[]);
    fs::write(source.join("web/deep/deeper/7.txt"), "built at 2026-01-01 00:00:00").unwrap();
    build(&source, &to("two"), place.path(), &[]);
    let equal = assay(&["compare", &to("one"), &to("one")], place.path());
    assert_eq!(equal["equal"], true);
    let output = program::command().args(["compare", &to("one"), &to("two"), "--output", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = told["differences"].as_array().unwrap();
    assert!(
        found.iter().any(|difference| difference["path"] == "srv/deep/deeper/7.txt"
            && difference["field"] == "bytes"
            && difference["layer"] == 2
            && difference["offset"] == 0),
        "{found:?}"
    );
}

#[test]
fn a_build_that_fails_leaves_the_layout_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fill(&source, false);
    let layout = place.path().join("layout");
    let to = format!("oci:{}:app", layout.display());
    let before = build(&source, &to, place.path(), &[]);
    symlink("/etc", source.join("web/deep/etc.txt")).unwrap();
    let failed = program::command()
        .args(["build", "--source", source.to_str().unwrap(), "--to", &to, "--source-date-epoch", "1770000000"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(4), "{}", String::from_utf8_lossy(&failed.stderr));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("AbsoluteLink"));
    let inspected = run(Command::new("skopeo").args(["inspect", &to]));
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["Digest"], before["digest"]);
}

#[test]
fn commands_get_the_same_environment_everywhere() {
    let place = tempfile::tempdir().unwrap();
    let told = |home: &str| {
        let mut command = program::command();
        command.env("SECRET", "inherited").env("TZ", "Asia/Tokyo").args([
            "exec",
            "--source-date-epoch",
            "1770000000",
            "--home",
            home,
        ]);
        command.arg("--source").arg(place.path()).args(["--", "sh", "-c", "umask; env | grep -v ^PWD= | sort"]);
        String::from_utf8(run(&mut command).stdout).unwrap()
    };
    let home = place.path().join("home").display().to_string();
    let text = told(&home);
    assert_eq!(text, told(&home));
    assert!(text.starts_with("0022\n") && text.contains("SOURCE_DATE_EPOCH=1770000000\n") && text.contains("TZ=UTC\n"), "{text}");
    assert!(text.contains("LC_ALL=C.UTF-8\n") && !text.contains("SECRET"), "{text}");
    assert!(!Path::new(&home).exists());
    let failed = program::command().args(["exec", "--source-date-epoch", "0", "--home", &home, "--", "false"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
}
