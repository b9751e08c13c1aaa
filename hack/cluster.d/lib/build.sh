# shellcheck shell=bash
# Binaries: Go components of this folder and Debian packages, each built or fetched at most once per machine.
# What is finished is renamed into the cache as a whole, so an interrupted run leaves nothing half done.

# To be raised when something below changes what comes out of a build.
BUILD_RECIPE=1

GO_ENVIRONMENT=(GOFLAGS=-mod=readonly GOTOOLCHAIN=local CGO_ENABLED=0)

# ensure_binaries COMPONENT...: sets KUBE_BIN, TEKTON_BIN and so on.
ensure_binaries() {
    local component
    for component in "$@"; do
        declare -g "${component^^}_BIN=$(component_folder "$component")"
        build_component "$component" "$(component_folder "$component")"
    done
}

component_folder() {
    local folder=$HERE/$1
    echo "$CACHE/bin/$1-$({
        go env GOVERSION GOARCH
        cat "$folder"/go.mod "$folder"/go.sum
        find "$folder" -name '*.go' -print0 | sort -z | xargs -0r cat
        echo "$BUILD_RECIPE"
    } | sha256sum | cut -c1-16)"
}

build_component() {
    local component=$1 folder=$2 work
    used "$folder" && return 0
    command -v go >/dev/null || die "Go is needed to build $component"
    mkdir -p "$CACHE/bin" "$CACHE/tmp"
    (
        flock 8
        [[ -e $folder ]] && exit 0
        say "building $component (once per machine and version)"
        work=$(work_folder "$component")
        trap 'rm -rf "$work"' EXIT
        compile_component "$component" "$work"
        mv -T "$work" "$folder"
        forget_unused "$CACHE/bin"
        say "built $component: $(du -sm "$folder" | cut -f1) MB"
    ) 8>"$CACHE/tmp/$component.lock"
    [[ -e $folder ]] || die "building $component failed"
}

# used PATH: there is such a thing in the cache, and it is needed today.
used() {
    [[ -e $1 ]] && touch -c "$1"
}

# forget_unused FOLDER: what no command has needed for two weeks.
forget_unused() {
    find "$1" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +
}

# work_folder NAME: a new folder on the cache's disk; what killed runs left under that name goes. The caller holds NAME's lock.
work_folder() {
    find "$CACHE/tmp" -mindepth 1 -maxdepth 1 -type d -name "$1.??????" -exec rm -rf {} +
    mktemp -d "$CACHE/tmp/$1.XXXXXX"
}

compile_component() {
    local component=$1 out=$2 package
    cd "$HERE/$component" || return
    if [[ -e main.go ]]; then
        go_build "$component" "$out/$component" .
    fi
    # The folder of a tool's module tells programs of one name apart: pipeline-controller, triggers-controller.
    for package in $(go_list -f '{{.ImportPath}}' tool 2>/dev/null); do
        go_build "$component" "$out/$(tool_name "$package")" "$package"
    done
    if [[ $component == kube ]]; then
        for package in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
            ln -s kube "$out/$package"
        done
    fi
}

go_build() {
    env "${GO_ENVIRONMENT[@]}" nice -n "${ASSAY_BUILD_NICE:-10}" go build -p "${ASSAY_BUILD_JOBS:-$(nproc)}" \
        -trimpath -buildvcs=false -ldflags "-s -w $(link_flags "$1")" -o "$2" "$3"
}

go_list() {
    env "${GO_ENVIRONMENT[@]}" go list "$@"
}

# link_flags: Kubernetes built without its version says v0.0.0, which version skew checks refuse.
link_flags() {
    [[ $1 == kube ]] || return 0
    local version
    version=$(go_list -m -f '{{.Version}}' k8s.io/kubernetes)
    printf -- '-X k8s.io/component-base/version.gitVersion=%s -X k8s.io/client-go/pkg/version.gitVersion=%s ' "$version" "$version"
    printf -- '-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=%s' "$(cut -d. -f2 <<<"$version")"
}

tool_name() {
    case $1 in
    */cmd/cosign | */cmd/timestamp-server) basename "$1" ;;
    */cmd/*) echo "$(basename "${1%/cmd/*}")-$(basename "$1")" ;;
    *) basename "$1" ;;
    esac
}

# module_folder COMPONENT MODULE: where the module proxy's copy lies, checked against go.sum.
module_folder() {
    (cd "$HERE/$1" && env "${GO_ENVIRONMENT[@]}" go mod download "$2" && go_list -m -f '{{.Dir}}' "$2")
}

# ensure_debian SET: unpacks the packages of one set of debian.lock and prints the folder. Nothing is installed.
ensure_debian() {
    local set=$1 folder work package
    folder=$CACHE/debian/$set-$(grep "^$set " "$HERE/debian.lock" | sha256sum | cut -c1-16)
    if [[ ! -e $folder ]]; then
        mkdir -p "$CACHE/debian" "$CACHE/tmp"
        (
            flock 8
            [[ -e $folder ]] && exit 0
            say "fetching Debian packages: $set"
            work=$(work_folder debian)
            trap 'rm -rf "$work"' EXIT
            mkdir "$work/debs" "$work/root"
            fetch_debs "$set" "$work/debs"
            for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/root"; done
            mv -T "$work/root" "$folder"
        ) 8>"$CACHE/tmp/debian.lock"
    fi
    [[ -e $folder ]] || die "fetching the Debian packages of '$set' failed"
    echo "$folder"
}

# fetch_debs SET FOLDER: all in one run of apt-get, then each against its locked sum.
fetch_debs() {
    local set=$1 folder=$2 wanted=() package version architecture sum
    while read -r _ package version architecture _; do
        wanted+=("$package:$architecture=$version")
    done < <(grep "^$set " "$HERE/debian.lock")
    (
        cd "$folder" || exit
        apt-get download -qq "${wanted[@]}" 2>/dev/null ||
            { apt-get update -qq && apt-get download -qq "${wanted[@]}"; } ||
            die "not all packages of '$set' are to be had: if Debian has newer ones, run hack/cluster.d/update-debian"
        grep "^$set " "$HERE/debian.lock" | while read -r _ package _ _ sum; do
            sha256sum --quiet -c - <<<"$sum  $(ls "$package"_*.deb)" || die "$package does not have the locked SHA-256"
        done
    )
}
