//! What docs/reproducible.md says, per language: a real program built twice in different places under `assay exec` has the same bytes.
//!
//! Each test also builds once without the setting that the page asks for, or at another time, where that shows that the setting matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use assay_tests::program;

/// Runs a command in `place` under `assay exec`, with the tool directories of this machine in the path.
fn exec(place: &Path, more: &[&str], command: &[&str]) {
    let home = place.with_extension("home");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut assay = program::command();
    assay.args(["exec", "--source-date-epoch", "1770000000", "--path", &path, "--home", home.to_str().unwrap()]);
    assay.arg("--source").arg(place).args(more).arg("--").args(command);
    let output = assay.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed; hack/setup installs the compilers the tests need: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn passed_on(names: &[&'static str]) -> Vec<&'static str> {
    names.iter().filter(|name| std::env::var_os(name).is_some()).flat_map(|name| ["--env", *name]).collect()
}

/// Builds in two places of different depth and gives the results' bytes.
fn twice(prepare: &dyn Fn(&Path), build: &dyn Fn(&Path), result: &str) -> (Vec<u8>, Vec<u8>) {
    let root = tempfile::tempdir().unwrap();
    let one = |name: &str| -> Vec<u8> {
        let place: PathBuf = root.path().join(name);
        fs::create_dir_all(&place).unwrap();
        prepare(&place);
        build(&place);
        fs::read(place.join(result)).unwrap()
    };
    (one("a"), one("some/longer/place/b"))
}

#[test]
fn c_needs_the_prefix_map() {
    let prepare = |place: &Path| {
        let source = "#include <stdio.h>\nint main(void) { printf(\"%s %s %s\\n\", __FILE__, __DATE__, __TIME__); return 0; }\n";
        fs::write(place.join("main.c"), source).unwrap();
    };
    let build = |flags: &'static str| {
        move |place: &Path| exec(place, &[], &["sh", "-c", &format!("cc -g -O2 {flags} -o app \"$PWD/main.c\"")])
    };
    let (one, two) = twice(&prepare, &build("-ffile-prefix-map=\"$PWD\"=."), "app");
    assert!(one == two);
    let (one, two) = twice(&prepare, &build(""), "app");
    assert!(one != two, "the page's advice would be idle");
}

#[test]
fn static_libraries_need_a_deterministic_ar() {
    let prepare = |place: &Path| fs::write(place.join("a.c"), "int a(void) { return 1; }\n").unwrap();
    let build = |place: &Path| exec(place, &[], &["sh", "-c", "cc -c a.c && ar rcD liba.a a.o"]);
    let (one, two) = twice(&prepare, &build, "liba.a");
    assert!(one == two);
}

#[test]
fn rust_needs_the_remapped_path() {
    let prepare = |place: &Path| {
        fs::write(
            place.join("main.rs"),
            "fn main() { let n: Option<u8> = std::env::args().nth(9).map(|_| 1); println!(\"{} {}\", file!(), n.unwrap()); }\n",
        )
        .unwrap();
    };
    let build = |place: &Path| {
        let more = passed_on(&["RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"]);
        let home =
            std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{}/.rustup", std::env::var("HOME").unwrap_or_default()));
        let rustup = format!("RUSTUP_HOME={home}");
        let mut all = vec!["--env", rustup.as_str()];
        all.extend(
            more.iter()
                .filter(|word| !word.ends_with("RUSTUP_HOME"))
                .copied()
                .filter(|word| *word != "--env")
                .flat_map(|name| ["--env", name]),
        );
        exec(place, &all, &["sh", "-c", "rustc -g --remap-path-prefix=\"$PWD\"=/src \"$PWD/main.rs\" -o app"]);
    };
    let (one, two) = twice(&prepare, &build, "app");
    assert!(one == two);
}

#[test]
#[ignore = "tier all: compiles Go's standard library four times"]
fn go_needs_trimpath() {
    let prepare = |place: &Path| {
        fs::write(place.join("go.mod"), "module example.com/app\n\ngo 1.21\n").unwrap();
        fs::write(
            place.join("main.go"),
            "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\\n\") }\n",
        )
        .unwrap();
    };
    let build = |flags: &'static str| {
        move |place: &Path| {
            let more =
                ["--env", "GOTOOLCHAIN=local", "--env", "GOFLAGS=-mod=mod", "--env", "GOPROXY=off", "--env", "CGO_ENABLED=0"];
            exec(place, &more, &["sh", "-c", &format!("go build {flags} -buildvcs=false -o app .")]);
        }
    };
    let (one, two) = twice(&prepare, &build("-trimpath"), "app");
    assert!(one == two);
    let (one, two) = twice(&prepare, &build(""), "app");
    assert!(one != two, "the page's advice would be idle");
}

#[test]
fn python_byte_code_needs_hashes_instead_of_times() {
    let prepare = |place: &Path| {
        fs::create_dir_all(place.join("app")).unwrap();
        fs::write(place.join("app/main.py"), "NAMES = {'a', 'b', 'c', 'd'}\nprint(sorted(NAMES))\n").unwrap();
        let seconds = 1_600_000_000 + place.as_os_str().len() as u64;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().append(true).open(place.join("app/main.py")).unwrap().set_modified(time).unwrap();
    };
    let build = |mode: &'static str| {
        move |place: &Path| {
            let compile = format!(
                "python3 -m compileall -q --invalidation-mode {mode} -s \"$PWD\" -p / app && cp app/__pycache__/*.pyc main.pyc"
            );
            exec(place, &["--env", "PYTHONHASHSEED=0"], &["sh", "-c", &compile]);
        }
    };
    let (one, two) = twice(&prepare, &build("checked-hash"), "main.pyc");
    assert!(one == two);
    let (one, two) = twice(&prepare, &build("timestamp"), "main.pyc");
    assert!(one != two, "the page's advice would be idle");
}

#[test]
fn java_archives_need_a_date() {
    let prepare = |place: &Path| {
        fs::write(
            place.join("Main.java"),
            "public class Main { public static void main(String[] a) { System.out.println(\"hi\"); } }\n",
        )
        .unwrap();
    };
    let build = |date: &'static str| {
        move |place: &Path| {
            let script = format!("javac -g Main.java && jar --create --file app.jar {date} --main-class Main Main.class");
            exec(place, &passed_on(&["JAVA_HOME"]), &["sh", "-c", &script]);
        }
    };
    let (one, two) = twice(&prepare, &build("--date=\"$(date -u -d @$SOURCE_DATE_EPOCH +%Y-%m-%dT%H:%M:%SZ)\""), "app.jar");
    assert!(one == two);
}

#[test]
fn npm_packages_are_the_same_without_more() {
    let prepare = |place: &Path| {
        fs::write(place.join("package.json"), r#"{"name":"app","version":"1.0.0","main":"index.js","files":["index.js"]}"#)
            .unwrap();
        fs::write(place.join("index.js"), "module.exports = 1;\n").unwrap();
    };
    let build = |place: &Path| exec(place, &[], &["npm", "pack", "--offline", "--silent"]);
    let (one, two) = twice(&prepare, &build, "app-1.0.0.tgz");
    assert!(one == two);
}
